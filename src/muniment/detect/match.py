"""Conditions as functions over one event, and many rules over a batch.

Rules are made ready for each kind of event: what the kind itself tells (the id of a Windows event) is decided once, and
a prefilter of their own names the few that may match, which their conditions then decide.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from time import perf_counter
from typing import Any, NamedTuple

import orjson

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
    TimePart,
    Wild,
    reduced,
)
from muniment.detect.logsources import PLAIN, Kind, Taxonomy
from muniment.detect.prefilter import Prefilter, need_of
from muniment.detect.rule import Rule
from muniment.patterns import PatternError, compiled_pattern

_BIG = 64 << 20
"""Memory for patterns of hundreds of texts: with RE2's own they would be searched slowly."""

__all__ = ["Event", "Matcher", "compiled"]

Test = Callable[["Event"], bool]
_MISSING: tuple[()] = ()
_ENVELOPE = "syslog"
"""Where a line that came by syslog is taken apart: rules ask for its `message` and `hostname`."""
_KINDS_MAX = 4_096
"""So many kinds of event are kept ready; then they are made anew."""
_OPERATE: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "!=": lambda a, b: a != b,
    "=": lambda a, b: a == b,
}


class Event:
    """One event as a rule sees it: fields by dotted name, in nested objects or flat, as texts."""

    __slots__ = ("_below", "_columns", "_document", "_folded", "_plain", "_taxonomy", "_text")

    def __init__(
        self, document: Mapping[str, Any], taxonomy: Taxonomy = PLAIN, columns: Mapping[str, Any] | None = None
    ) -> None:
        """`taxonomy` says where fields stand whose path is not their name; `columns` are the event's typed columns."""
        self._document = document
        self._taxonomy = taxonomy
        self._columns = columns
        self._below: list[Mapping[str, Any]] | None = None
        self._plain: dict[str, tuple[str, ...] | None] = {}
        self._folded: dict[str, tuple[str, ...]] = {}
        self._text: str | None = None

    def has(self, field: str) -> bool:
        """Is the field there, be it null?"""
        return self._values(field) is not None

    def plain(self, field: str) -> tuple[str, ...]:
        """Its values as texts; none when it is missing or null."""
        return self._values(field) or _MISSING

    def folded(self, field: str) -> tuple[str, ...]:
        """The same in lower case."""
        found = self._folded.get(field)
        if found is None:
            found = self._folded[field] = tuple(value.lower() for value in self.plain(field))
        return found

    @property
    def text(self) -> str:
        """Every text in the event, a line each."""
        if self._text is None:
            self._text = "\n".join(_texts(self._document))
        return self._text

    def _values(self, field: str) -> tuple[str, ...] | None:
        if field in self._plain:
            return self._plain[field]
        found: list[Any] = []
        is_there = self._looked_up(field, found)
        values = tuple(_as_text(value) for value in found if value is not None) if is_there else None
        self._plain[field] = values
        return values

    def _looked_up(self, field: str, into: list[Any]) -> bool:
        """The taxonomy's paths first, then the field's own name, then below each of its prefixes."""
        for path in self._taxonomy.names.get(field, ()):
            if self._columned(path, into) if path[0] == "$" else _collect(self._document, path, into):
                return True
        if _collect(self._document, field, into):
            return True
        if self._below is None:  # few prefixes are there in one event, and every field asks
            self._below = list(self._documents_below())
        return any(_collect(document, field, into) for document in self._below)

    def _documents_below(self) -> Iterator[Mapping[str, Any]]:
        for prefix in (*self._taxonomy.prefixes, _ENVELOPE):
            found: list[Any] = []
            if _collect(self._document, prefix, found) and isinstance(found[0], Mapping):
                yield found[0]

    def _columned(self, path: str, into: list[Any]) -> bool:
        value = (self._columns or {}).get(path[1:])
        if value in (None, ""):
            return False
        into.append(value)
        return True


def _collect(document: Any, path: str, into: list[Any]) -> bool:
    """Values at a dotted path, through lists, with or without dots in the keys; a number is a place in a list, from 0."""
    if isinstance(document, list):
        if sum(_collect(each, path, into) for each in document):  # all of them, not the first only
            return True
        head, _, rest = path.partition(".")
        if not (head.isascii() and head.isdecimal() and len(head) < 10 and int(head) < len(document)):
            return False
        if rest:
            return _collect(document[int(head)], rest, into)
        into.append(document[int(head)])
        return True
    if not isinstance(document, Mapping):
        return False
    if path in document:
        value = document[path]
        into.extend(value if isinstance(value, list) else (value,))
        return True
    at = path.find(".")
    while at > 0:
        inner = document.get(path[:at])
        if inner is not None and _collect(inner, path[at + 1 :], into):
            return True
        at = path.find(".", at + 1)
    return False


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return orjson.dumps(value).decode()


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield _as_text(value)


def compiled(condition: Condition) -> Test:
    """The condition as a function."""
    match condition:
        case All(parts):
            tests = [compiled(part) for part in parts]
            return lambda event: all(test(event) for test in tests)
        case AnyOf(parts):
            alone = [part for part in parts if _shape(part) is None and not _is_searched(part)]
            tests = [*_grouped(parts), *_searched(parts), *_placed(parts), *map(compiled, alone)]
            return tests[0] if len(tests) == 1 else lambda event: any(test(event) for test in tests)
        case No(part):
            inner = compiled(part)
            return lambda event: not inner(event)
        case Text():
            return _text_test(condition)
        case Regex(where, pattern):
            if where is not None:
                return _search_test(where, pattern)
            search = compiled_pattern(pattern).search
            return lambda event: search(event.text) is not None
        case Compare(field, operator, number):
            holds = _OPERATE[operator]
            return lambda event: any(
                (found := _number(value)) is not None and holds(found, number) for value in event.plain(field)
            )
        case Address(field, network):
            return _place_test(field, [network])
        case IsNull(field):
            return lambda event: not any(event.plain(field))
        case Exists(field, is_wanted):
            return lambda event: event.has(field) is is_wanted
        case SameAs():
            return _same_test(condition)
        case TimePart(field, unit, number, operator):
            compares = _OPERATE[operator]
            return lambda event: any(
                (part := _part_of(value, unit)) is not None and compares(part, number) for value in event.plain(field)
            )


def _shape(condition: Condition) -> str | None:
    """How a test for one of several texts can be joined with its like: whole, start, end, inner; None: it cannot."""
    if not isinstance(condition, Text) or condition.field is None:
        return None
    match condition.parts:
        case (str(),):
            return "whole"
        case (str(), Wild.MANY):
            return "start"
        case (Wild.MANY, str()):
            return "end"
        case (Wild.MANY, str(), Wild.MANY):
            return "inner"
    return None


def _is_searched(part: Condition) -> bool:
    """Is it joined with its like, other than texts?"""
    return isinstance(part, Address) or (isinstance(part, Regex) and part.field is not None)


def _grouped(parts: Iterable[Condition]) -> Iterable[Test]:
    """One test for all texts of a field and shape among alternatives: lists of a hundred names are common."""
    groups: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for part in parts:
        if isinstance(part, Text) and part.field is not None and (shape := _shape(part)) is not None:
            text = next(each for each in part.parts if isinstance(each, str))
            groups[shape, part.field, part.is_cased].append(text if part.is_cased else text.lower())
    for (shape, field, is_cased), texts in groups.items():
        yield _group_test(shape, field, is_cased, texts)


def _searched(parts: Iterable[Condition]) -> Iterable[Test]:
    """One search for all patterns of a field among alternatives: asking RE2 costs more than the search, where nothing is found."""
    groups: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        if isinstance(part, Regex) and part.field:
            groups[part.field].append(part.pattern)
    for field, patterns in groups.items():
        try:
            yield _search_test(field, "|".join(f"(?:{pattern})" for pattern in patterns))
        except PatternError:  # together they are more than RE2 takes
            yield from (_search_test(field, pattern) for pattern in patterns)


def _search_test(field: str, pattern: str) -> Test:
    search = compiled_pattern(pattern, bytes_max=_BIG).search
    return lambda event: any(search(value) is not None for value in event.plain(field))


def _group_test(shape: str, field: str, is_cased: bool, texts: list[str]) -> Test:
    many = tuple(texts)
    if shape == "whole":
        wanted = frozenset(texts)
        found: Callable[[str], bool] = wanted.__contains__
    elif shape == "start":
        found = lambda value: value.startswith(many)  # noqa: E731
    elif shape == "end":
        found = lambda value: value.endswith(many)  # noqa: E731
    elif len(many) < 4:
        found = lambda value: any(text in value for text in many)  # noqa: E731
    else:
        search = compiled_pattern("|".join(map(re.escape, many)), bytes_max=_BIG).search
        found = lambda value: search(value) is not None  # noqa: E731
    if is_cased:
        return lambda event: any(map(found, event.plain(field)))
    return lambda event: any(map(found, event.folded(field)))


def _text_test(test: Text) -> Test:
    """The usual shapes (whole, begins, ends, contains) without a pattern."""
    field, parts = test.field, test.parts if test.is_cased else tuple(_folded(part) for part in test.parts)
    if field is None:
        found = _search(parts, is_whole=False)
        if test.is_cased:
            return lambda event: found(event.text)
        return lambda event: found(event.text.lower())
    found = _search(parts, is_whole=True)
    if test.is_cased:
        return lambda event: any(found(value) for value in event.plain(field))
    return lambda event: any(found(value) for value in event.folded(field))


def _folded(part: str | Wild) -> str | Wild:
    return part.lower() if isinstance(part, str) else part


def _search(parts: tuple[str | Wild, ...], *, is_whole: bool) -> Callable[[str], bool]:
    match parts:
        case ():
            return lambda value: value == ""
        case (str() as only,):
            return (lambda value: value == only) if is_whole else (lambda value: only in value)
        case (Wild.MANY,):
            return lambda value: True
        case (str() as head, Wild.MANY) if is_whole:
            return lambda value: value.startswith(head)
        case (Wild.MANY, str() as tail) if is_whole:
            return lambda value: value.endswith(tail)
        case (Wild.MANY, str() as inner, Wild.MANY):
            return lambda value: inner in value
    pattern = "".join(
        re.escape(part) if isinstance(part, str) else ".*" if part is Wild.MANY else "." for part in parts
    )
    expression = compiled_pattern(f"(?s)^(?:{pattern})$" if is_whole else f"(?s){pattern}")
    return lambda value: expression.search(value) is not None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _placed(parts: Iterable[Condition]) -> Iterable[Test]:
    """One test for all networks of a field among alternatives: reading an address costs more than ten of them."""
    networks: dict[str, list[Any]] = defaultdict(list)
    for part in parts:
        if isinstance(part, Address):
            networks[part.field].append(part.network)
    for field, of_field in networks.items():
        yield _place_test(field, of_field)


def _place_test(field: str, networks: Sequence[Any]) -> Test:
    return lambda event: any(_is_inside(value, networks) for value in event.plain(field))


def _is_inside(value: str, networks: Sequence[Any]) -> bool:
    try:
        address = ip_address(value.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any((mapped if network.version == 4 else address) in network for network in networks)


def _same_test(test: SameAs) -> Test:
    def same(a: str, b: str) -> bool:
        if test.is_start and test.is_end:
            return b in a
        if test.is_start:
            return a.startswith(b)
        return a.endswith(b) if test.is_end else a == b

    return lambda event: any(same(a, b) for a in event.folded(test.field) for b in event.folded(test.other))


def _part_of(value: str, unit: str) -> int | None:
    number = _number(value)
    try:
        if number is not None:
            time = datetime.fromtimestamp(number / 1_000 if number > 1e11 else number, UTC)
        else:
            time = datetime.fromisoformat(value)
            time = time.astimezone(UTC) if time.tzinfo else time
    except (ValueError, OverflowError, OSError):
        return None
    return time.isocalendar().week if unit == "week" else int(getattr(time, unit))


# --- many rules ---------------------------------------------------------------------------------------------------------


class _Chosen(NamedTuple):
    """Rules about one kind of event, by their number: `sure` match; the others are tried, by `tests`, where `prefilter` says."""

    sure: Sequence[int]
    prefilter: Prefilter
    tests: Mapping[int, Test]


def _named(condition: Condition) -> Iterator[tuple[str, str]]:
    """Fields with the texts (lower case) that a condition compares them with."""
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _named(part)
        case No(part):
            yield from _named(part)
        case Text(str() as field, (str() as text,), False):
            yield field, text.lower()


class Matcher:
    """Many rules over batches of events. Not thread-safe: one for each thread."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.spent_s = [0.0] * len(rules)
        self.failed: dict[int, Exception] = {}
        self._needs = cache(need_of)
        self._tests = cache(compiled)
        self._by_kind: dict[Kind | None, _Chosen] = {}
        self._made: dict[tuple[object, ...], _Chosen] = {}
        self._asked = frozenset(named for rule in rules for named in _named(rule.condition))

    def match(
        self,
        records: Sequence[bytes],
        kinds: Sequence[Kind | None] = (),
        taxonomies: Sequence[Taxonomy] = (),
        typed: Callable[[int], bytes] | None = None,
        documents: Callable[[int], Mapping[str, Any]] | None = None,
    ) -> list[tuple[int, int]]:
        """(record, rule) for every match, by position. Records are JSON objects; `kinds` says what each is, so that
        only rules about such events are tried; without one, or with None, all are. `taxonomies` says where the fields
        of each stand, `typed(position)` gives its typed columns as JSON where a taxonomy names some,
        `documents(position)` the record parsed, if the caller has it.
        """
        found: list[tuple[int, int]] = []
        for position, record in enumerate(records):
            kind = kinds[position] if kinds else None
            chosen = self._chosen(kind)
            found += [(position, number) for number in chosen.sure]
            if chosen.prefilter.is_empty:
                continue
            taxonomy = taxonomies[position] if taxonomies else PLAIN
            columns = typed(position) if typed is not None and taxonomy.has_columns else b""
            numbers = chosen.prefilter.candidates(record + columns)
            if numbers:
                document = documents(position) if documents is not None else orjson.loads(record)
                event = Event(document, taxonomy, orjson.loads(columns) if columns else None)
                found += self.tried(position, event, sorted(numbers), chosen.tests)
        return found

    def tried(
        self, position: int, event: Event, numbers: Sequence[int], tests: Mapping[int, Test]
    ) -> Iterable[tuple[int, int]]:
        """Decide the named rules for one event by `tests`; the time each takes is kept for its budget."""
        began = perf_counter()
        for number in numbers:
            try:
                holds = tests[number](event)
            except Exception as error:  # one rule's mistake must not stop the others
                self.failed[number], holds = error, False
            ended = perf_counter()
            self.spent_s[number] += ended - began
            began = ended
            if holds:
                yield position, number

    def _chosen(self, kind: Kind | None) -> _Chosen:
        """The rules about such events, with what the kind tells already decided."""
        chosen = self._by_kind.get(kind)
        if chosen is None:
            if len(self._by_kind) >= _KINDS_MAX:
                self._by_kind.clear()
                self._made.clear()
            chosen = self._by_kind[kind] = self._made_for(kind)
        return chosen

    def _made_for(self, kind: Kind | None) -> _Chosen:
        told = dict(kind.known) if kind is not None else {}
        for field, text in told.items():
            if (field, text.lower()) not in self._asked:
                told[field] = ""  # values that no rule names are all alike

        def holds(condition: Condition) -> bool | None:
            if isinstance(condition, Text) and condition.field in told:
                match condition.parts:
                    case (str() as text,) if not condition.is_cased:
                        return told[condition.field].lower() == text.lower()
            return None

        left = {
            number: reduced(rule.condition, holds) if told else rule.condition
            for number, rule in enumerate(self.rules)
            if kind is None or kind.has(rule.logsource)
        }
        key = (frozenset(left), tuple(sorted(told.items())))
        if key not in self._made:
            open_ = {number: what for number, what in left.items() if not isinstance(what, bool)}
            self._made[key] = _Chosen(
                tuple(number for number, what in left.items() if what is True),
                Prefilter({number: self._needs(what) for number, what in open_.items()}),
                {number: self._tests(what) for number, what in open_.items()},
            )
        return self._made[key]
