"""What must stand in an event's JSON for a condition to hold, and many rules looked for in one pass over its bytes.

From each condition follows a **need**: a tree of literal texts without which it cannot hold. Of each rule the rarest
looking texts of its need are looked for, those of all rules at once (hyperscan), so the cost of a rule that does not match
does not grow with their number. Where one is met, the rest of the need is looked up in the bytes, and only what has all of it
is tried. A rule from which no literal follows is tried on every event.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hyperscan
import orjson

from muniment.detect.condition import All, AnyOf, Condition, Regex, Text, Wild
from muniment.detect.patterns import texts_of

__all__ = ["Every", "Need", "Prefilter", "Some", "literals", "need_of"]

_COMMON: Final = frozenset({b"success", b"failure", b"user", b"true", b"false", b"system", b"service"})
"""Texts that stand in so many events that looking for them chooses nothing."""

_SAFE: Final = re.compile(r"[ -~]{3,}")
"""Runs of characters with one spelling in JSON text that has no needless escapes."""

_NO_TEXT: Final = re.compile(rb'^[-+.0-9e]*$|^[truefalsn]*$|["{}\[\]]')
"""What may stand in JSON without quotes around it, or is part of an object shown as text."""

_STRUCTURE: Final = re.compile(r'["\\\\{}\[\]:,]')
"""What stands between the texts of a JSON object."""

_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\[u/]")
_DECODER: Final = json.JSONDecoder()
_LOOKED_UP_MAX: Final = 24
"""A longer list of alternatives is not looked up text by text; the condition itself decides sooner."""

NON_ASCII: Final = b"\x80"
"""Stands in a need for any character beyond ASCII."""

Near = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Every:
    """All of these are needed."""

    parts: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of these is needed."""

    parts: tuple[Need, ...]


Need = bytes | Every | Some
"""A text in lower case as it stands in JSON, or several."""


def need_of(condition: Condition) -> Need | None:
    """What must stand in an event's JSON (lower case, `unescaped`); None: nothing follows."""
    match condition:
        case All(parts):
            return _joined(Every, [need for part in parts if (need := need_of(part)) is not None])
        case AnyOf(parts):
            needs = [need_of(part) for part in parts]
            return None if None in needs else _joined(Some, [need for need in needs if need is not None])
        case Text(field, parts):
            return _joined(Every, list(_texts(parts, is_field=field is not None)))
        case Regex(field, pattern):
            texts = _texts_of_pattern(pattern, is_field=field is not None)
            return None if texts is None else _joined(Some, sorted(texts))
        case _:
            return None


def _joined(kind: type[Every] | type[Some], parts: Sequence[Need]) -> Need | None:
    different = tuple(dict.fromkeys(parts))
    return None if not different else different[0] if len(different) == 1 else kind(different)


def _texts(parts: tuple[str | Wild, ...], *, is_field: bool) -> Iterator[bytes]:
    """Stretches of a text with wildcards; with the quote of JSON where the value of a field begins or ends with one."""
    last = len(parts) - 1
    for place, part in enumerate(parts):
        if not isinstance(part, str):
            continue
        if is_field and '"' in part:
            yield from _of_object(part)
            continue
        for run in _SAFE.finditer(part):
            text = orjson.dumps(run[0].lower())[1:-1]
            if is_field and not _NO_TEXT.search(text):
                begins, ends = place == 0 and run.start() == 0, place == last and run.end() == len(part)
                text = b'"' * begins + text + b'"' * ends
            yield text
        if not part.lower().isascii():
            yield NON_ASCII


def _of_object(part: str) -> Iterator[bytes]:
    """Stretches of what stands in a text, where its quotes are escaped, or in an object shown as text, where they are not."""
    for piece in _STRUCTURE.split(part.lower()):
        yield from (run[0].encode() for run in _SAFE.finditer(piece))


def _texts_of_pattern(pattern: str, *, is_field: bool) -> frozenset[bytes] | None:
    texts = texts_of(pattern)
    if texts is None or not all(_SAFE.fullmatch(text) for text in texts):
        return None
    if not is_field or not any('"' in text for text in texts):
        return frozenset(orjson.dumps(text)[1:-1] for text in texts)
    longest = [max(_of_object(text), key=len, default=b"") for text in texts]
    return frozenset(longest) if all(longest) else None


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
        case Text(field, parts):
            texts = [part for part in parts if isinstance(part, str)]
            if field is not None and any('"' in text for text in texts):
                longest = max((each for text in texts for each in _of_object(text)), key=len, default=b"")
                return frozenset([longest]) if longest else None
            runs = [run for text in texts for run in _SAFE.findall(text)]
            return frozenset([orjson.dumps(max(runs, key=len).lower())[1:-1]]) if runs else None
        case Regex(field, pattern):
            return _texts_of_pattern(pattern, is_field=field is not None)
        case _:
            return None


def _worth(texts: frozenset[bytes]) -> tuple[int, int]:
    """Longer and fewer texts name fewer events; words that stand in most events name none."""
    plain = {text.strip(b'"') for text in texts}
    return (0 if plain & _COMMON else min(map(len, texts))) if texts else 99, -len(texts)


def _unescaped(record: bytes) -> bytes:
    """The record without escapes that hide plain characters (`\\u0063md`, `\\/`): nobody slips past by spelling.

    It may be several JSON texts, one after the other: typed columns and the record that they are of.
    """
    if not _ESCAPE.search(record):
        return record
    try:
        return orjson.dumps(orjson.loads(record))
    except orjson.JSONDecodeError:
        found = _documents(record.decode("utf-8", "replace"))
        return b"".join(json.dumps(each, ensure_ascii=False).encode("utf-8", "surrogatepass") for each in found)


def _documents(text: str) -> Iterator[Any]:
    place = 0
    while place < len(text):
        document, place = _DECODER.raw_decode(text, place)
        yield document
        while place < len(text) and text[place].isspace():
            place += 1


# --- many at once -----------------------------------------------------------------------------------------------------


def _sought(need: Need) -> frozenset[bytes]:
    """The texts to look for: one of them stands in whatever satisfies the need, and they are as rare as can be had."""
    match need:
        case Every(parts):
            return max(map(_sought, parts), key=_worth)
        case Some(parts):
            return frozenset[bytes]().union(*map(_sought, parts))
    return frozenset({need})


def _size(need: Need) -> int:
    return sum(map(_size, need.parts)) if isinstance(need, Every | Some) else 1


def _near(need: Need, known: frozenset[bytes] = frozenset()) -> Near | None:
    """Is a need satisfied in these bytes (lower case), as far as that is quickly told? None: nothing is left to ask.

    `known`: texts of which one was met.
    """
    if not isinstance(need, Every | Some):
        if need == NON_ASCII:
            return lambda data: not data.isascii()
        return None if known == {need} else lambda data: need in data
    if isinstance(need, Every):
        parts = sorted((part for part in need.parts if _leaves(part) != known), key=_size)
        tests = [test for part in parts if (test := _near(part)) is not None]
        return _all_of(tests) if tests else None
    if _leaves(need) == known or _size(need) > _LOOKED_UP_MAX:
        return None
    some = [_near(part) for part in need.parts]
    return None if None in some else _any_of([test for test in some if test is not None])


def _leaves(need: Need) -> frozenset[bytes]:
    """The texts of a plain list of alternatives; empty for what is more than that."""
    if isinstance(need, bytes):
        return frozenset({need})
    if isinstance(need, Some) and all(isinstance(part, bytes) for part in need.parts):
        return frozenset(part for part in need.parts if isinstance(part, bytes))
    return frozenset()


def _all_of(tests: Sequence[Near]) -> Near:
    if len(tests) == 1:
        return tests[0]

    def every(data: bytes) -> bool:
        for test in tests:  # noqa: SIM110  (a generator costs more than most tests)
            if not test(data):
                return False
        return True

    return every


def _any_of(tests: Sequence[Near]) -> Near:
    def some(data: bytes) -> bool:
        for test in tests:  # noqa: SIM110
            if test(data):
                return True
        return False

    return some


class Prefilter:
    """Which of many conditions may hold for an event. Not thread-safe."""

    def __init__(self, needs: Mapping[int, Need | None]) -> None:
        """Needs by a number of the caller's; None: always to be tried."""
        self.always = [number for number, need in needs.items() if need is None]
        by_text: dict[bytes, list[tuple[int, Near | None]]] = defaultdict(list)
        for number, need in needs.items():
            if need is not None:
                sought = _sought(need)
                near = _near(need, sought)
                for text in sought:
                    by_text[text].append((number, near))
        self._by_text = [*by_text.values(), []]  # the last is not a text: escapes, which may hide one
        self._hits: list[int] = []
        self._database: hyperscan.Database | None = None
        if by_text:
            flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            texts = [b"[\\x80-\\xff]" if text == NON_ASCII else re.escape(text) for text in by_text]
            self._database.compile(
                expressions=[*texts, rb"\\[u/]"], ids=list(range(len(texts) + 1)), elements=len(texts) + 1,
                flags=[*([flags] * len(texts)), hyperscan.HS_FLAG_SINGLEMATCH],
            )  # fmt: skip
            self._scratch = hyperscan.Scratch(self._database)

    @property
    def is_empty(self) -> bool:
        """Is nothing ever to be tried?"""
        return not self.always and self._database is None

    def candidates(self, data: bytes) -> Collection[int]:
        """Numbers of what may hold for an event, by its JSON."""
        if self._database is None:
            return self.always
        hits = self._hits
        hits.clear()
        self._database.scan(data, match_event_handler=self._hit, scratch=self._scratch)
        if not hits:
            return self.always
        if len(self._by_text) - 1 in hits and (plain := _unescaped(data)) != data:
            data = plain
            hits.clear()
            self._database.scan(data, match_event_handler=self._hit, scratch=self._scratch)
        low, seen, found = data.lower(), set[int](), list(self.always)
        for hit in hits:
            for number, near in self._by_text[hit]:
                if number not in seen:
                    seen.add(number)
                    if near is None or near(low):
                        found.append(number)
        return found

    def _hit(self, identity: int, _start: int, _end: int, _flags: int, _context: object) -> None:
        self._hits.append(identity)
