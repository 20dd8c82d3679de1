"""Conditions as functions over one event, and many rules over a batch: a prefilter names the few that may match.

The prefilter looks for literal texts of all rules at once (hyperscan, one pass over each event's bytes), so the cost of a
rule that does not match does not grow with their number; what it names is decided by the condition itself. A rule from
which no literal follows is tried on every event.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from time import perf_counter
from typing import Any

import hyperscan
import orjson
import re2

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
)
from muniment.detect.logsources import PLAIN, Kind, Taxonomy
from muniment.detect.patterns import texts_of
from muniment.detect.rules import Rule

_BIG = re2.Options()
_BIG.max_mem = 64 << 20

__all__ = ["Event", "Matcher", "compiled", "literals"]

Test = Callable[["Event"], bool]
_MISSING: tuple[()] = ()
_DECODER = json.JSONDecoder()
_OPERATE: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "!=": lambda a, b: a != b,
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
        for prefix in self._taxonomy.prefixes:
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
    """Values at a dotted path, through lists, with or without dots in the keys."""
    if isinstance(document, list):
        return sum(_collect(each, path, into) for each in document) > 0  # all of them, not the first only
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
            tests = [*_grouped(parts), *(compiled(part) for part in parts if _shape(part) is None)]
            return tests[0] if len(tests) == 1 else lambda event: any(test(event) for test in tests)
        case No(part):
            inner = compiled(part)
            return lambda event: not inner(event)
        case Text():
            return _text_test(condition)
        case Regex(where, pattern):
            search = re2.compile(pattern).search
            if where is None:
                return lambda event: search(event.text) is not None
            return lambda event: any(search(value) is not None for value in event.plain(where))
        case Compare(field, operator, number):
            holds = _OPERATE[operator]
            return lambda event: any(
                (found := _number(value)) is not None and holds(found, number) for value in event.plain(field)
            )
        case Address(field, network):
            return lambda event: any(_is_inside(value, network) for value in event.plain(field))
        case IsNull(field):
            return lambda event: not any(event.plain(field))
        case Exists(field, is_wanted):
            return lambda event: event.has(field) is is_wanted
        case SameAs():
            return _same_test(condition)
        case TimePart(field, unit, number):
            return lambda event: any(_part_of(value, unit) == number for value in event.plain(field))


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


def _grouped(parts: Iterable[Condition]) -> Iterable[Test]:
    """One test for all texts of a field and shape among alternatives: lists of a hundred names are common."""
    groups: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for part in parts:
        if isinstance(part, Text) and part.field is not None and (shape := _shape(part)) is not None:
            text = next(each for each in part.parts if isinstance(each, str))
            groups[shape, part.field, part.is_cased].append(text if part.is_cased else text.lower())
    for (shape, field, is_cased), texts in groups.items():
        yield _group_test(shape, field, is_cased, texts)


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
        search = re2.compile("|".join(map(re.escape, many)), _BIG).search
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
    expression = re2.compile(f"(?s)^(?:{pattern})$" if is_whole else f"(?s){pattern}")
    return lambda value: expression.search(value) is not None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _is_inside(value: str, network: Any) -> bool:
    try:
        address = ip_address(value.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped if mapped is not None and network.version == 4 else address
    return address.version == network.version and address in network


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


# --- the prefilter ----------------------------------------------------------------------------------------------------

_COMMON = frozenset({b"success", b"failure", b"user", b"true", b"false", b"system", b"service"})
"""Texts that stand in so many events that looking for them chooses nothing."""

_SAFE = re.compile(r"[ -~]{3,}")
"""Runs of characters with one spelling in JSON text that has no needless escapes."""


def literals(
    condition: Condition, is_looked_for: Callable[[str | None], bool] = lambda field: True
) -> frozenset[bytes] | None:
    """Texts (lower case) of which one must stand in an event's JSON for the condition to hold; None: nothing follows.

    Only of fields of which `is_looked_for` says that they stand in what is looked through.
    """
    match condition:
        case All(parts):
            found = [each for part in parts if (each := literals(part, is_looked_for)) is not None]
            return max(found, key=_worth, default=None)
        case AnyOf(parts):
            every = [literals(part, is_looked_for) for part in parts]
            return None if None in every else frozenset[bytes]().union(*(each for each in every if each is not None))
        case Text(field) | Regex(field) if not is_looked_for(field):
            return None
        case Text(_, parts):
            runs = [run for part in parts if isinstance(part, str) for run in _SAFE.findall(part)]
            return frozenset([orjson.dumps(max(runs, key=len).lower())[1:-1]]) if runs else None
        case Regex(_, pattern):
            texts = texts_of(pattern)
            if texts is None or not all(_SAFE.fullmatch(text) for text in texts):
                return None
            return frozenset(orjson.dumps(text)[1:-1] for text in texts)
        case _:
            return None


def _unescaped(record: bytes) -> bytes:
    """The record without escapes that hide plain characters (`\\u0063md`, `\\/`): nobody slips past by spelling.

    It may be several JSON texts, one after the other: typed columns and the record that they are of.
    """
    if b"\\u" not in record and b"\\/" not in record:
        return record
    try:
        return orjson.dumps(orjson.loads(record))
    except orjson.JSONDecodeError:
        return b"".join(map(orjson.dumps, _documents(record.decode("utf-8", "replace"))))


def _documents(text: str) -> Iterator[Any]:
    place = 0
    while place < len(text):
        document, place = _DECODER.raw_decode(text, place)
        yield document
        while place < len(text) and text[place].isspace():
            place += 1


def _worth(texts: frozenset[bytes]) -> tuple[int, int]:
    """Longer and fewer texts name fewer events; words that stand in most events name none."""
    return (0 if texts & _COMMON else min(map(len, texts))) if texts else 99, -len(texts)


class Matcher:
    """Many rules over batches of events. Not thread-safe: one for each thread."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.spent_s = [0.0] * len(rules)
        self._tests = [compiled(rule.condition) for rule in rules]
        self._always: list[int] = []
        self._by_kind: dict[Kind, tuple[Sequence[int], Mapping[int, Sequence[int]], bool]] = {}
        by_text: dict[bytes, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            texts = literals(rule.condition)
            if texts is None:
                self._always.append(number)
            else:
                for text in texts:
                    by_text[text].append(number)
        self._rules_of = list(by_text.values())
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK) if by_text else None
        if self._database is not None:
            flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH
            self._database.compile(
                expressions=[re.escape(text) for text in by_text], ids=list(range(len(by_text))), elements=len(by_text),
                flags=[flags] * len(by_text),
            )  # fmt: skip
            self._scratch = hyperscan.Scratch(self._database)

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
        hits: list[int] = []

        def hit(identity: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            hits.append(identity)

        for position, record in enumerate(records):
            kind = kinds[position] if kinds else None
            if kind is not None and not self._chosen(kind)[2]:
                continue
            taxonomy = taxonomies[position] if taxonomies else PLAIN
            columns = typed(position) if typed is not None and taxonomy.has_columns else b""
            if self._database is not None:
                hits.clear()
                self._database.scan(_unescaped(record) + columns, match_event_handler=hit, scratch=self._scratch)
            if kind is None:
                numbers = {number for identity in hits for number in self._rules_of[identity]}
                numbers.update(self._always)
            else:
                always, by_hit, _ = self._chosen(kind)
                numbers = set(always).union(*(by_hit[identity] for identity in hits if identity in by_hit))
            if numbers:
                document = documents(position) if documents is not None else orjson.loads(record)
                event = Event(document, taxonomy, orjson.loads(columns) if columns else None)
                found += self.tried(position, event, sorted(numbers))
        return found

    def tried(
        self, position: int, event: Event, numbers: Sequence[int], tests: Mapping[int, Test] | None = None
    ) -> Iterable[tuple[int, int]]:
        """Decide the named rules for one event, by `tests` where given; the time each takes is kept for its budget."""
        chosen: Mapping[int, Test] | Sequence[Test] = self._tests if tests is None else tests
        began = perf_counter()
        for number in numbers:
            holds = chosen[number](event)
            ended = perf_counter()
            self.spent_s[number] += ended - began
            began = ended
            if holds:
                yield position, number

    def _chosen(self, kind: Kind) -> tuple[Sequence[int], Mapping[int, Sequence[int]], bool]:
        """Of the rules about such events: those to try on each, those to try when a text was met, and are there any."""
        chosen = self._by_kind.get(kind)
        if chosen is None:
            wanted = {number for number, rule in enumerate(self.rules) if kind.has(rule.logsource)}
            by_hit = {
                identity: kept
                for identity, numbers in enumerate(self._rules_of)
                if (kept := [number for number in numbers if number in wanted])
            }
            always = [number for number in self._always if number in wanted]
            chosen = self._by_kind[kind] = (always, by_hit, bool(wanted))
        return chosen
