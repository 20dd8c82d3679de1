"""Catalogue entries to ClickHouse SQL: one typed extraction a batch, one expression a column. Pure.

The expressions stand over four aliases: `record` (String, the clear JSON text), `source`, `earlier` (String, see
`together`) and `t`, the one `JSONExtract(record, tuple_type)`. They run unchanged on an embedded and on a clustered
ClickHouse. A time and an address stay the texts they are: what is made of them is the same for all entries (`finishing`).
The same text for the same sub-expression matters: the engine computes equal expressions once, so the number of the
case that holds and each pattern's groups cost one pass however many columns use them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from muniment.sources.catalogue import Entry
from muniment.sources.columns import ANY_TIME, COLUMNS
from muniment.sources.paths import Segment, TypeTree, spelled
from muniment.sources.rules import Case
from muniment.sources.sql import EMPTY, array, first_filled, literal, quote, quote_name
from muniment.sources.together import EARLIER
from muniment.sources.values import Call, Condition, Const, Path, Ref, Scope, Test, Value, walk
from muniment.sources.words import type_sql

__all__ = ["CompiledMapping", "compile_entry", "paths_of", "values_of"]

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GIVEN = ("record", "source", EARLIER)
"""What expressions may name besides steps."""

_NUMERIC_CALLS = ("class", "activity", "severity")


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """One entry as SQL. `columns` names the step of every column of `columns.COLUMNS` that can be filled."""

    name: str
    tuple_type: str
    columns: Mapping[str, str]
    steps: Mapping[str, str]
    tuples: Mapping[str, str]
    """What `steps` read from: extractions from `_read`, or from the record itself when that is what is read."""
    read_sql: str = "record"
    """The JSON text that is extracted from."""

    def select_sql(self, table_sql: str, passthrough: Sequence[str] = ()) -> str:
        """A SELECT of `passthrough` and all columns from rows of (record, source, earlier, ...).

        The way to use a mapping: shared sub-expressions stand once, by name, so that the engine reads a few KiB of
        SQL for a batch. A step that uses others stands one SELECT above them, or the engine would put their whole text
        in the place of each name. Each SELECT hands on what is still asked for: the engine plans every column of each
        (measured: 0.1 ms), so few of them and few columns in each is what makes a small batch cheap.
        """
        steps = _used(self.steps, self.columns)
        given = list(dict.fromkeys((*passthrough, *_GIVEN)))
        found = table_sql
        if self.read_sql != "record":
            found = f"(SELECT {', '.join(given)}, {self.read_sql} AS _read FROM {found})"
        tuples = [f"{sql} AS {name}" for name, sql in self.tuples.items()]
        found = f"SELECT {', '.join([*given, *tuples])} FROM {found}"
        uses = {name: _names_in(sql) for name, sql in steps.items()}
        levels = _levels(uses)
        for level in range(max(levels.values(), default=-1) + 1):
            asked = {*self.columns}.union(*(uses[name] for name in uses if levels[name] > level))
            kept = [name for name in (*self.tuples, *_GIVEN) if name in asked and name not in passthrough]
            known = [name for name in uses if levels[name] < level and name in asked]
            new = [f"{sql} AS {name}" for name, sql in steps.items() if levels[name] == level]
            found = f"SELECT {', '.join([*passthrough, *kept, *known, *new])} FROM ({found})"
        return found


def _names_in(sql: str) -> frozenset[str]:
    return frozenset(_NAME.findall(_QUOTED.sub("", sql)))


def _used(steps: Mapping[str, str], columns: Collection[str]) -> dict[str, str]:
    """The steps that the columns stand on."""
    used: set[str] = set()
    asked = set(columns)
    while asked:
        used |= asked
        asked = set[str]().union(*(_names_in(steps[name]) for name in asked if name in steps)) & steps.keys() - used
    return {name: sql for name, sql in steps.items() if name in used}


def _levels(uses: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """In which SELECT each step stands, from 0, the innermost: as far out as those that name it allow.

    What reads only a little of the record is made where it is asked for, and not handed on from below: the record's
    tuple is one column, what is read from it are dozens.
    """
    last = max(_depths(uses).values(), default=-1)
    levels: dict[str, int] = {}
    for name in reversed(list(uses)):  # a step is written after those it names
        levels[name] = min((levels[user] for user, used in uses.items() if name in used), default=last + 1) - 1
    return levels


def _depths(uses: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """How many SELECTs below it each step needs: one more than the deepest step it names."""
    depths: dict[str, int] = {}
    for name, used in uses.items():
        depths[name] = max((depths[other] + 1 for other in used if other in depths), default=0)
    return depths


def compile_entry(entry: Entry, absent: Set[str] = frozenset()) -> CompiledMapping:
    """The SQL of one entry, for records that have none of the keys `absent`, at any place."""
    compiler = _Compiler(entry, absent)
    columns = {column: step for column, step in compiler.compile().items() if compiler.steps[step] != EMPTY}
    unwrapped = [found for path in entry.mapping.unwrap if (found := [key for key in path.keys if key not in absent])]
    return CompiledMapping(
        entry.name,
        compiler.tree.tuple_type,
        columns,
        {step: sql for step, sql in compiler.steps.items() if sql != EMPTY},
        compiler.tree.extractions("_read" if unwrapped else "record"),
        _unwrapped_sql(unwrapped),
    )


def paths_of(entry: Entry) -> list[tuple[Segment, ...]]:
    """All that a mapping reads directly from its records."""
    return [found.segments for value in values_of(entry) for found in walk(value) if isinstance(found, Path)]


def values_of(entry: Entry) -> list[Value | Condition]:
    """All values and conditions of a mapping."""
    rules = entry.mapping
    values: list[Value | Condition] = [*rules.time, *rules.let.values(), *rules.fields.values()]
    for case in rules.cases:
        values += [*case.sets.values(), *([case.when] if case.when else []), *([case.text] if case.text else [])]
    return values


def _unwrapped_sql(spelled: Sequence[Sequence[str]]) -> str:
    """The record, with what stands in the objects below some keys (or in texts that are objects) beside its own keys.

    Two levels of them: `data.attributes`, a message with details. Written behind, the outer before the inner, and the
    engine reads the first of two equal keys: the record's own count. No step can fail: a text that is no JSON stays one.
    """
    if not spelled:
        return "record"
    keys = [key for some in spelled for key in some]
    in_order = [some[0] for some in spelled] + [key for some in spelled for key in some[1:]]  # as in a `TypeTree`
    kinds = quote(f"Tuple({', '.join(f'{quote_name(key)} String' for key in in_order)})")
    trimmed = r"trim(BOTH ' \t\r\n' FROM x)"  # of what is an object: a pattern for what stands between its brackets took 1 to 4 us
    bodies = f"arrayMap(x -> substring({trimmed}, 2, length({trimmed}) - 2), o)"

    def below(text: str) -> str:
        texts = f"[{', '.join(f'tupleElement(w, {quote(key)})' for key in keys)}]"
        objects = rf"arrayFilter(x -> match(x, '^\\s*\\{{\\s*\"') AND isValidJSON(x), {texts})"
        found = f"arrayMap(w -> {objects}, [JSONExtract({text}, {kinds})])"
        return f"arrayElement(arrayMap(o -> arrayStringConcat({bodies}, ','), {found}), 1)"

    inner = below("concat('{{', b, '}}')".replace("{{", "{").replace("}}", "}"))
    both = f"arrayElement(arrayMap(i -> if(empty(i), b, concat(b, ',', i)), [{inner}]), 1)"
    whole = f"concat(substring(record, 1, length(trimRight(record)) - 1), ',', {both}, '}}')"
    return f"arrayElement(arrayMap(b -> if(empty(b), record, {whole}), [{below('record')}]), 1)"


class _Compiler:
    """Writes the columns of one entry; shared parts become steps of their own and are referred to by name."""

    def __init__(self, entry: Entry, absent: Set[str]) -> None:
        self.steps: dict[str, str] = {}
        self.rules = entry.mapping
        self.is_together = entry.together is not None
        self._absent = absent
        self.tree = TypeTree(map(self.spelled, paths_of(entry)), bind=self.bind, is_split=True)
        self.scope = Scope(path=self.tree.sql, ref=self.ref, part=self.part, spelled=self.spelled)
        self._done: dict[str, str] = {}
        self._possible: set[int] = set()  # numbers of the cases that may hold; see `case_number`

    def spelled(self, path: Sequence[Segment]) -> Sequence[tuple[Segment, ...]]:
        """What a path stands for and may be in the records."""
        return spelled(path, lambda key: key not in self._absent)

    def bind(self, name: str, sql: str) -> str:
        """Give a part a name."""
        assert self.steps.setdefault(name, sql) == sql, f"two meanings of {name}"
        return name

    def part(self, sql: str) -> str:
        """A step of its own for what is read from many places, or all that is read would be carried upwards."""
        if sql == EMPTY:
            return EMPTY
        return self.bind(f"_part_{zlib.crc32(sql.encode()):08x}", sql)

    def compile(self) -> dict[str, str]:
        made = {column: self.column(column) for column in COLUMNS}
        if self.rules.is_any_time:
            made[ANY_TIME] = self.bind(ANY_TIME, self.steps[made.pop("time")])
        return made

    def ref(self, name: str) -> str:
        """What to write for a value with a name: a step, or EMPTY for what cannot be there."""
        if name == EARLIER and self.is_together:
            return EARLIER
        let = self.rules.let.get(name)
        if let is None:
            step = self.column(name)
            return EMPTY if self.steps[step] == EMPTY else step
        if f"${name}" not in self._done:  # written once: lets stand on lets, and each may be named by many
            sql = let.sql(self.scope)
            self._done[f"${name}"] = EMPTY if sql == EMPTY else self.bind(f"v_{name}", sql)
        return self._done[f"${name}"]

    def column(self, column: str) -> str:
        if column not in self._done:
            self._done[column] = self.bind(column, self._column(column))
        return self._done[column]

    def _column(self, column: str) -> str:
        kind = COLUMNS[column]
        if kind == "number":
            return f"toUInt32({self._chosen(column, self._number_base(column), number=True)})"
        base = self.rules.fields[column].sql(self.scope) if column in self.rules.fields else EMPTY
        if column == "time":
            return first_filled([self._chosen(column, EMPTY), *(value.sql(self.scope) for value in self.rules.time)])
        chosen = self._chosen(column, base)
        if column == "src_country" and chosen != EMPTY:
            return f"upper({chosen})"
        if column == "outcome":
            return first_filled([chosen, "'unknown'"])
        return chosen

    def _number_base(self, column: str) -> str:
        if column in self.rules.fields:
            return self._number(self.rules.fields[column])
        if column == "class_uid":
            return f"intDiv({self._type()}, 100)"
        if column == "activity_id":
            return f"modulo({self._type()}, 100)"
        return "1" if column == "severity_id" else "0"

    def _type(self) -> str:
        action = self.ref("action")
        return self.bind("_type", "0" if action == EMPTY else type_sql(action))

    def _number(self, value: Value) -> str:
        if isinstance(value, Call) and value.name in ("class", "activity") and isinstance(value.value, Ref):
            name = self.ref(value.value.name)
            if name == EMPTY:
                return "0"
            both = self.bind(f"_type_{value.value.name}", type_sql(name))
            return f"intDiv({both}, 100)" if value.name == "class" else f"modulo({both}, 100)"
        sql = value.sql(self.scope)
        if isinstance(value, Const) or (isinstance(value, Call) and value.name in _NUMERIC_CALLS):
            return sql
        return f"toUInt32OrZero({sql})"

    def _chosen(self, column: str, base: str, *, number: bool = False) -> str:
        """The case's value where a case holds and sets the column, else `base`."""
        setting = [
            (k, value) for k, case in enumerate(self.rules.cases, 1) if (value := case.sets.get(column)) is not None
        ]
        if not setting:
            return base
        holds = self.case_number()
        numbers: dict[str, list[int]] = {}
        constants: dict[str, str | int] = {}
        for k, value in setting:
            if k not in self._possible:
                continue
            sql = self._number(value) if number else value.sql(self.scope)
            numbers.setdefault(sql, []).append(k)
            if isinstance(value, Const):
                constants[sql] = value.value
        if not numbers:
            return base
        if len(constants) == len(numbers):
            pairs = [(k, constants[sql]) for sql, ks in numbers.items() for k in ks]
            keys = array([k for k, _ in pairs])
            return f"transform({holds}, {keys}, [{', '.join(literal(v) for _, v in pairs)}], {base})"
        branches = [f"{holds} IN ({', '.join(map(str, ks))}), {sql}, " for sql, ks in numbers.items()]
        return f"multiIf({''.join(branches)}{base})"

    def case_number(self) -> str:
        """1.. for the first case that holds, a number above all of them for none."""
        if "" not in self._done:
            self._done[""] = self.bind("_case", self._case_number())
        return self._done[""]

    def _case_number(self) -> str:
        """Cases that ask no more than whether one value is one of some words are a table for each value.

        The others are asked in their order, each only where no table has found an earlier case.
        """
        cases = self.rules.cases
        tables: dict[str, dict[str, int]] = {}
        others: list[tuple[int, str]] = []
        for k, case in enumerate(cases, 1):
            equals = _equals(case)
            value = equals[0].sql(self.scope) if equals else EMPTY
            if equals is None or value == EMPTY:
                test = self._test(case)
                if test != "0":
                    others.append((k, test))
                    self._possible.add(k)
                continue
            self._possible.add(k)
            table = tables.setdefault(value, {})
            for word in equals[1]:
                table.setdefault(word, k)
        none = len(cases) + 1
        first = [
            f"transform({value}, {array(list(table))}, {array(list(table.values()))}, {none})"
            for value, table in tables.items()
        ]
        found = f"least({', '.join(first)})" if len(first) > 1 else "".join(first)
        if not others:
            return found or str(none)
        if found:
            found = self.bind("_case_of_tables", found)
        branches = []
        for k, test in others:
            if found and k > 1:
                branches.append(f"{found} < {k}, {found}")
            branches.append(f"{test}, {k}")
        return f"multiIf({', '.join(branches)}, {found or none})"

    def _test(self, case: Case) -> str:
        """Whether a case holds; exactly `1` or `0` for what is known."""
        tests = [case.when.sql(self.scope)] if case.when else []
        if case.text is not None:
            tests.append(Test(case.text, "matches", (case.pattern,)).sql(self.scope))
        if "0" in tests:
            return "0"
        return " AND ".join(f"({sql})" for sql in tests if sql != "1") or "1"


def _equals(case: Case) -> tuple[Value, tuple[str, ...]] | None:
    """The value and its wanted words, when the case asks just that."""
    when = case.when
    if when is None or case.pattern or len(when.any_of) != 1 or len(when.any_of[0]) != 1:
        return None
    test = when.any_of[0][0]
    return (test.value, test.wanted) if test.kind == "in" and not test.negated else None
