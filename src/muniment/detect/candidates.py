"""A rule as SQL, between two bounds: what a back-test and a warm start read instead of everything. Pure.

One condition holds at least for the rule's events, the other for none but those; what lies between them the rule's own
function decides. So there is one meaning of a rule, not two. Typed columns answer exactly where they can, whatever the
record says; of fields of the record the name must stand in it. For rules over records, the literal texts of which one must
stand in an event are looked for in its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, NamedTuple

from muniment.detect.condition import (
    Address,
    All,
    AnyOf,
    Compare,
    Condition,
    Exists,
    IsNull,
    No,
    Regex,
    SameAs,
    Text,
    Wild,
    fields_of,
)
from muniment.detect.derived import (
    ACCOUNT,
    ACCOUNT_SQL,
    DERIVED,
    SUBNET,
    SUBNET_SQL,
    TARGET_ACCOUNT,
    TARGET_ACCOUNT_SQL,
)
from muniment.detect.logsources import PRODUCT
from muniment.detect.prefilter import literals
from muniment.detect.reading import RECORD, is_read
from muniment.detect.rule import LogSource, Rule
from muniment.envelope import CUT_COLLECTED, CUT_FORMS
from muniment.search.columns import COLUMNS, TEXT_COLUMNS, address_sql
from muniment.search.schema import pieces_sql, words_sql

__all__ = ["Candidates", "candidates"]

_ALWAYS: Final = "1"
_NEVER: Final = "0"
_UNESCAPED: Final = re.compile(r'[^"\\/\x00-\x1f]+')
"""Stretches of a text that JSON writes as they are, unless it writes them as \\u and four digits."""
_PIECES: Final = pieces_sql(TEXT_COLUMNS)
_NUMBERS: Final = re.compile(r"[0-9A-Fa-f:.TZ-]+")
"""What stands in the columns that are not among these pieces: ids, times and addresses."""
_MADE: Final = {SUBNET: SUBNET_SQL, ACCOUNT: ACCOUNT_SQL, TARGET_ACCOUNT: TARGET_ACCOUNT_SQL}
"""Of what is made of columns, what the store can make too."""
_LOWERED: Final = frozenset({ACCOUNT, TARGET_ACCOUNT})
"""Those with letters made small: which small letter one has, the engine and Python know by their own editions of Unicode."""
_DOT: Final = re.compile(r"(?<!\\)(?:\\\\)*\.")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Conditions over `events` and their parameters: `sql` finds at least the rule's events, `sure` none but those.

    `near` holds for all of them, too; it reads records, so it is for those that `sql` finds.
    """

    sql: str
    near: str
    sure: str
    parameters: Mapping[str, object]

    @property
    def is_exact(self) -> bool:
        """Does the SQL find the rule's events and no other?"""
        return self.sql == self.sure

    @property
    def has_sure(self) -> bool:
        """Is it known of any event without a look at it that the rule matches?"""
        return self.sure != _NEVER

    @property
    def unsure(self) -> str:
        """Finds the events that must be looked at."""
        return f"{self.sql} AND NOT ({self.sure})" if self.has_sure else self.sql


class _Bounds(NamedTuple):
    """SQL that holds wherever a condition does: `most` by typed columns alone, `near` also by what stands in the record. And `least`,
    which holds nowhere else. Exact where they are one.
    """

    most: str
    near: str
    least: str


_UNKNOWN: Final = _Bounds(_ALWAYS, _ALWAYS, _NEVER)


def candidates(rule: Rule, formats: tuple[str, ...] = ()) -> Candidates:
    """What to read to find a rule's events; `formats` are those whose records it is about, for rules over raw fields."""
    made = _Maker()
    if rule.logsource.product == PRODUCT:
        parts = [*made.logsource(rule.logsource), made.condition(rule.condition)]
        most, near, least = _every(parts)
        return Candidates(most, _ALWAYS if near == most else near, least, made.parameters)
    sql = made.words(rule.condition)
    if formats:
        sql = f"format IN ({', '.join(made.parameter('String', name) for name in formats)}) AND {sql}"
    return Candidates(sql, _ALWAYS, _NEVER, made.parameters)


class _Maker:
    """Makes the text and collects the parameters."""

    def __init__(self) -> None:
        self.parameters: dict[str, object] = {}

    def parameter(self, kind: str, value: object) -> str:
        """A place for `value`."""
        name = f"d{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"

    def logsource(self, source: LogSource) -> Iterable[_Bounds]:
        """What events a rule over typed columns is about, as `logsources.typed_kind` has it."""
        if source.service:
            yield _exact(f"{self.parameter('String', source.service)} = format")
        if source.category:
            yield _exact(f"{self.parameter('String', source.category)} = replaceAll(lower(class_name), ' ', '_')")

    def condition(self, condition: Condition) -> _Bounds:
        """The SQL of a condition of a rule over typed columns."""
        match condition:
            case All(parts):
                return _every(map(self.condition, parts))
            case AnyOf(parts):
                if common := _common(parts):  # what is asked in any case narrows first
                    return _every(map(self.condition, [*common, AnyOf(_without(parts, common))]))
                return _some(map(self.condition, parts))
            case No(part):
                most, _, least = self.condition(part)
                return _Bounds(_not(least), _not(least), _not(most))
            case IsNull() | Exists(_, False):
                return self._test(condition)
        fields = sorted(field for field in fields_of(condition) if field.startswith(RECORD))
        if fields:  # it holds only where they are
            return _every(_Bounds(_ALWAYS, self._named(field), _NEVER) for field in fields)
        return self._test(condition)

    def _test(self, test: Condition) -> _Bounds:
        match test:
            case Text():
                return self._text(test)
            case Regex(field, pattern) if _is_text(field):
                return _of(field, f"match({_column(field)}, {self.parameter('String', _as_re2(pattern))})")
            case IsNull(field) if _is_text(field):
                return _of(field, f"{_column(field)} = ''")
            case SameAs(field, other) if _is_text(field) and _is_text(other):
                return _same(test)
            case Compare(field, operator, number) if is_read(field) and COLUMNS[field].kind == "number":
                return _exact(f"`{field}` {operator} {self.parameter('Float64', number)}")
            case Address("src_ip", network):
                first, last = network.network_address, network.broadcast_address
                mapped = "::ffff:" if isinstance(network, IPv4Network) else ""
                low, high = (self.parameter("IPv6", f"{mapped}{each}") for each in (first, last))
                return _exact(f"events.src_ip BETWEEN {low} AND {high}")
        return _UNKNOWN

    def _named(self, field: str) -> str:
        """Where the name of a field may stand in a record: as it is, behind an escape, or inside of what is opened for
        rules (`batch`), where it may have any spelling. Told from the pieces of a record, as to put it together costs more
        than to read it: a name has no quotes, so it is whole in one of them.
        """
        name = max(_UNESCAPED.findall(field.rpartition(".")[2]), key=len, default="")
        if not name or _NUMBERS.fullmatch(name):
            return _ALWAYS
        stands, hidden = self.parameter("String", name), self.parameter("String", rf"\\u|{CUT_FORMS}")
        begins, says = (self.parameter("String", each) for each in CUT_COLLECTED)
        return (
            f"(position({_PIECES}, {stands}) > 0 OR match({_PIECES}, {hidden}) "
            f"OR (match(rest, {begins}) AND position({_PIECES}, {says}) > 0))"
        )

    def _text(self, test: Text) -> _Bounds:
        texts = [part for part in test.parts if isinstance(part, str)]
        kind = _kind(test.field)
        if test.field is None or not kind or not all(text.isascii() for text in texts):
            return _UNKNOWN
        if kind == "number" and test.parts == tuple(texts):
            return self._number(test.field, "".join(texts))
        if kind == "ip" and test.parts == tuple(texts):
            wanted = self.parameter("String", "".join(texts).lower())
            return _exact(f"{address_sql(f'events.{test.field}')} = {wanted}")
        if kind != "text":
            return _UNKNOWN
        if not test.parts:
            return _between(f"{_column(test.field)} = ''", _NEVER)
        if test.parts == tuple(texts):
            whole = self.parameter("String", "".join(texts) if test.is_cased else "".join(texts).lower())
            return _of(
                test.field, f"{_column(test.field) if test.is_cased else f'lower({_column(test.field)})'} = {whole}"
            )
        pattern = self.parameter("String", "".join(map(_like, test.parts)))
        return _of(test.field, f"{_column(test.field)} {'LIKE' if test.is_cased else 'ILIKE'} {pattern}")

    def _number(self, field: str, text: str) -> _Bounds:
        """A number that is written so; one that no column can hold is none's."""
        is_one = text.isdecimal() and str(int(text[:20])) == text and int(text) < 2**64
        return _exact(f"`{field}` = {self.parameter('UInt64', int(text))}" if is_one else _NEVER)

    def words(self, condition: Condition) -> str:
        """Some text that must stand in the event; hidden by an escape, it is not to be seen, so those are all read."""
        found = literals(condition)
        texts = [max(_plain(text), key=len, default="") for text in found or ()]
        if not texts or min(map(len, texts)) < 3:
            return _ALWAYS
        places = self.parameter("Array(String)", texts)
        return f"(multiSearchAny({words_sql()}, {places}) OR position(rest, '\\\\u') > 0)"


def _common(parts: Sequence[Condition]) -> list[Condition]:
    """What every one of the alternatives asks."""
    first, *others = map(_asked, parts)
    return [each for each in first if others and all(each in other for other in others)]


def _without(parts: Sequence[Condition], common: Sequence[Condition]) -> tuple[Condition, ...]:
    return tuple(All(tuple(each for each in _asked(part) if each not in common)) for part in parts)


def _asked(part: Condition) -> tuple[Condition, ...]:
    return part.parts if isinstance(part, All) else (part,)


def _exact(sql: str) -> _Bounds:
    return _Bounds(sql, sql, sql)


def _of(field: str | None, sql: str) -> _Bounds:
    """A test of a text. Of one that is made in small letters it is sure where all that it is made of is ASCII."""
    if field not in _LOWERED:
        return _exact(sql)
    is_ascii = _ascii(_read_for(field))
    return _between(f"({sql} OR NOT ({is_ascii}))", f"({sql} AND {is_ascii})")


def _read_for(field: str | None) -> Sequence[str]:
    return DERIVED[field].of if field in _LOWERED else [field or ""]


def _ascii(fields: Iterable[str]) -> str:
    return " AND ".join(f"lengthUTF8({_column(field)}) = length({_column(field)})" for field in fields)


def _between(most: str, least: str) -> _Bounds:
    return _Bounds(most, most, least)


def _every(parts: Iterable[_Bounds]) -> _Bounds:
    bounds = list(parts)
    return _Bounds(*(_joined([each[n] for each in bounds], " AND ", _ALWAYS, _NEVER) for n in range(3)))


def _some(parts: Iterable[_Bounds]) -> _Bounds:
    bounds = list(parts)
    return _Bounds(*(_joined([each[n] for each in bounds], " OR ", _NEVER, _ALWAYS) for n in range(3)))


def _joined(parts: Iterable[str], word: str, neutral: str, deciding: str) -> str:
    left = list(dict.fromkeys(part for part in parts if part != neutral))
    if not left or deciding in left:
        return deciding if left else neutral
    return left[0] if len(left) == 1 else f"({word.join(left)})"


def _not(sql: str) -> str:
    return {_ALWAYS: _NEVER, _NEVER: _ALWAYS}.get(sql) or f"NOT ({sql})"


def _same(test: SameAs) -> _Bounds:
    """Texts of two columns, without case. The engine and Python agree on the small letter of every ASCII letter, and
    not on that of all others; so texts with others are looked at, unless they are the same already.
    """
    a, b = f"lower({_column(test.field)})", f"lower({_column(test.other)})"
    is_ascii = _ascii(dict.fromkeys((*_read_for(test.field), *_read_for(test.other))))
    if not (test.is_start or test.is_end) and {test.field, test.other} & _LOWERED:
        return _between(f"({a} = {b} OR NOT ({is_ascii}))", f"({a} = {b} AND {is_ascii})")
    if not (test.is_start or test.is_end):
        return _between(f"({a} = {b} OR NOT ({is_ascii}))", f"({a} = {b})")
    if test.is_start and test.is_end:
        holds = f"position({a}, {b}) > 0"
    else:
        holds = f"{'startsWith' if test.is_start else 'endsWith'}({a}, {b})"
    return _between(f"({holds} OR NOT ({is_ascii}))", f"({holds} AND {is_ascii})")


def _as_re2(pattern: str) -> str:
    """The engine lets `.` be a line break, which it is to rules only where the pattern says so."""
    return f"(?-s){pattern}" if _DOT.search(pattern) else pattern


def _plain(text: bytes) -> list[str]:
    """The stretches of a literal that no escape can cut."""
    return text.decode().replace('\\"', "\\").replace("/", "\\").split("\\")


def _is_text(field: str | None) -> bool:
    return _kind(field) == "text"


def _kind(field: str | None) -> str:
    """Of what kind a column is that rules see; '' for none."""
    if field in _MADE:
        return "text"
    return COLUMNS[field].kind if field is not None and is_read(field) else ""


def _column(field: str | None) -> str:
    if field in _MADE:
        return f"({_MADE[field]})"
    return f"toString(`{field}`)" if field is not None and COLUMNS[field].is_few else f"`{field}`"


def _like(part: str | Wild) -> str:
    if part is Wild.MANY:
        return "%"
    if part is Wild.ONE:
        return "_"
    assert isinstance(part, str)
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
