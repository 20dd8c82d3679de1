"""Where values stand in JSON text: `Reader` fetches the values at given paths, `spans` finds their byte ranges. Pure.

`Reader` is the quick way: one decode of each object and array that holds a place, which leaves all values as they are and
checks the JSON as it goes.
`Spans` is the thorough way: it walks all tokens, so it also finds every one of several equal keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from muniment.errors import RejectedError
from muniment.privacy.plan import Step
from muniment.spelling import letters, spellings

__all__ = ["Reader", "Spans", "has_twins", "is_object", "spans"]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_ANY_OBJECT = msgspec.json.Decoder(msgspec.defstruct("AnyObject", []))
_KEY = re.compile(rb'"([^"\\]+)"\s*:')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


def is_object(record: bytes) -> bool:
    """Whether the bytes are one JSON object in UTF-8."""
    try:
        _ANY_OBJECT.decode(record)
        return record.isascii() or record.decode() is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def has_twins(record: bytes, names: frozenset[bytes]) -> bool:
    """Whether some object of valid JSON has a key twice, of which a decoder would show one only.

    `names`: the keys that matter; when none of them stands twice in the text, no object is looked at.
    """
    if b"\\u" not in record:
        keys = _KEY.findall(record)
        if len(set(keys)) == len(keys) or not any(keys.count(key) > 1 for key in names.intersection(keys)):
            return False
    try:
        json.loads(record, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)
    except _TwinsError:
        return True
    except (ValueError, RecursionError):
        return True  # too deep to look: read all of it, token by token
    return False


class _TwinsError(Exception):
    """An object with a key twice."""


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _TwinsError


class _Place:
    """What is wanted of a value: itself (the numbers of its paths), and what is below it by key and in elements.

    `named`: below keys that are said by their words, by the letters of those.
    """

    __slots__ = ("keys", "named", "numbers", "picks")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.keys: dict[str, _Place] = {}
        self.named: dict[str, _Place] = {}
        self.picks: dict[int | tuple[str, ...], _Place] = {}


class _Places:
    """All wanted places, from the record down. `letters_of`: those of each key that is a spelling of some name."""

    def __init__(self, paths: Sequence[tuple[Step, ...]]) -> None:
        self.root = _Place()
        self.letters_of: dict[str, str] = {}
        for number, path in enumerate(paths):
            place = self.root
            for step in path:
                place = self._below(place, step)
            place.numbers.append(number)

    def _below(self, place: _Place, step: Step) -> _Place:
        if isinstance(step, str):
            return place.keys.setdefault(step, _Place())
        if isinstance(step, tuple) and len(step) == 1:
            name = letters(step[0])
            self.letters_of |= dict.fromkeys(spellings(step[0]), name)
            return place.named.setdefault(name, _Place())
        return place.picks.setdefault(step, _Place())

    def below_key(self, places: Sequence[_Place], key: str) -> list[_Place]:
        """The places of what stands below a key of an object at these places."""
        name = self.letters_of.get(key)
        found = []
        for place in places:
            if (below := place.keys.get(key)) is not None:
                found.append(below)
            if name is not None and (below := place.named.get(name)) is not None:
                found.append(below)
        return found


class Reader:
    """Reads the raw JSON text at each of `paths`; compiled once per plan. What it costs follows from what a record has, not from
    how many places there are: every object and array that holds a place is decoded once.
    """

    def __init__(self, paths: Sequence[tuple[Step, ...]]) -> None:
        self._places = _Places(paths)
        self.letters_of = self._places.letters_of

    def read(self, record: bytes) -> dict[int, list[bytes]]:
        """By the number of the path, the raw values found, where there are any; a null counts as not found.

        Raises:
            RejectedError: not one JSON object in UTF-8.
        """
        found: dict[int, list[bytes]] = {}
        try:
            if not record.isascii():
                record.decode()
            self._fetch(record, (self._places.root,), found)
        except msgspec.ValidationError:  # valid JSON, and no object
            raise RejectedError("not a JSON object") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RejectedError(f"not a JSON object: {error}") from None
        return found

    def _fetch(self, text: bytes, places: Sequence[_Place], found: dict[int, list[bytes]]) -> None:
        """All that is wanted below an object that stands at these places."""
        below_key = self._places.below_key
        for key, value in _OBJECT.decode(text).items():
            below = below_key(places, key)
            if below:
                self._take(bytes(value), below, found)

    def _take(self, raw: bytes, places: Sequence[_Place], found: dict[int, list[bytes]]) -> None:
        """The value, where it is wanted, and what is wanted below it."""
        if raw == b"null":
            return
        for place in places:
            for number in place.numbers:
                found.setdefault(number, []).append(raw)
        if raw[0] == 0x7B and any(place.keys or place.named for place in places):
            self._fetch(raw, places, found)
        if raw[0] == 0x5B and any(place.picks for place in places):
            elements = [bytes(element) for element in _ARRAY.decode(raw)]
            for place in places:
                for step, below in place.picks.items():
                    for element in _picked(elements, step):
                        self._take(element, (below,), found)


def _picked(elements: list[bytes], step: int | tuple[str, ...]) -> list[bytes]:
    if isinstance(step, int):
        return elements if step < 0 else elements[step : step + 1]
    key, value = step[0], step[1]
    return [element for element in elements if element[0] == 0x7B and _has(element, key, value)]


def _has(element: bytes, key: str, value: str) -> bool:
    found = _OBJECT.decode(element).get(key)
    return found is not None and _is_text(bytes(found), value)


def _is_text(raw: bytes, text: str) -> bool:
    try:
        return _TEXT.decode(raw) == text
    except msgspec.ValidationError:
        return raw == text.encode()


class Spans:
    """The byte ranges of all values at `paths` in valid JSON, found in one walk over its tokens."""

    def __init__(self, paths: Sequence[tuple[Step, ...]]) -> None:
        self._places = _Places(paths)

    def of(self, record: bytes) -> dict[int, list[tuple[int, int]]]:
        """By the number of the path, where there are any. A `key=value` step takes every element."""
        found: dict[int, list[tuple[int, int]]] = {}
        at: list[str | int] = []  # the path of the value that comes next
        opened: list[tuple[int, list[_Place]]] = []  # the objects and arrays around it: where, and at which places
        is_key = False

        def ended(start: int, end: int, places: list[_Place]) -> None:
            for place in places:
                for number in place.numbers:
                    found.setdefault(number, []).append((start, end))

        for token in _TOKEN.finditer(record):
            text, (start, end) = token.group(), token.span()
            if text in (b"{", b"["):
                opened.append((start, self._next(opened, at)))
                is_key = text == b"{"
                at.append("" if is_key else 0)
            elif text in (b"}", b"]"):
                at.pop()
                begun, places = opened.pop()
                ended(begun, end, places)
                is_key = False
            elif text == b",":
                last = at[-1]
                is_key = isinstance(last, str)
                if isinstance(last, int):
                    at[-1] = last + 1
            elif text == b":":
                is_key = False
            elif is_key:
                at[-1] = _TEXT.decode(text)
            else:
                ended(start, end, self._next(opened, at))
        return found

    def _next(self, opened: Sequence[tuple[int, list[_Place]]], at: Sequence[str | int]) -> list[_Place]:
        """The places of the value that comes next."""
        if not opened:
            return [self._places.root]
        around, step = opened[-1][1], at[-1]
        if isinstance(step, str):
            return self._places.below_key(around, step)
        return [
            below
            for place in around
            for wanted, below in place.picks.items()
            if wanted in (step, -1) or isinstance(wanted, tuple)
        ]


def spans(record: bytes, path: Sequence[Step]) -> list[tuple[int, int]]:
    """The byte ranges of all values at `path` in valid JSON. A `key=value` step takes every element."""
    return Spans([tuple(path)]).of(record).get(0, [])
