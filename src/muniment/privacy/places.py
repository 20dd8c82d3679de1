"""Where values stand in JSON text: `Reader` fetches the values at given paths, `spans` finds their byte ranges. Pure.

`Reader` is the quick way: one typed decode that skips everything else and checks the JSON as it goes; what a type
cannot say (array elements, a place wanted both whole and for what is below it) is walked from the raw text around it.
`spans` is the thorough way: it walks all tokens, so it also finds every one of several equal keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from muniment.errors import RejectedError
from muniment.privacy.plan import Step

__all__ = ["Reader", "has_twins", "is_object", "spans"]

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


class Reader:
    """Reads the raw JSON text at each of `paths`; compiled once per plan."""

    def __init__(self, paths: Sequence[tuple[Step, ...]]) -> None:
        self._paths = tuple(paths)
        tree: dict[str, Any] = {}
        cuts = [self._cut(path) for path in paths]
        for prefix, _ in cuts:
            node = tree
            for key in prefix:
                node = node.setdefault(key, {})
        at: dict[tuple[str, ...], list[tuple[int, tuple[Step, ...]]]] = {}
        for number, (prefix, rest) in enumerate(cuts):
            at.setdefault(prefix, []).append((number, rest))
        form, self._looks = _struct(tree, (), at)
        self._decode = msgspec.json.Decoder(form).decode

    def _cut(self, path: tuple[Step, ...]) -> tuple[tuple[str, ...], tuple[Step, ...]]:
        """The leading keys a type can express, and the steps to walk from there."""
        end = 0
        while end < len(path) and isinstance(path[end], str):
            end += 1
            if path[:end] in self._paths or any(
                other[:end] == path[:end] and len(other) > end and not isinstance(other[end], str)
                for other in self._paths
            ):
                break
        return tuple(str(step) for step in path[:end]), path[end:]

    def read(self, record: bytes) -> list[Sequence[bytes]]:
        """For each path the raw values found; a null counts as not found.

        Raises:
            RejectedError: not one JSON object in UTF-8.
        """
        try:
            if not record.isascii():
                record.decode()
            root = self._decode(record)
        except msgspec.ValidationError:  # valid JSON of another shape than the types expect
            return self._read_slowly(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RejectedError(f"not a JSON object: {error}") from None
        found: list[Sequence[bytes]] = [()] * len(self._paths)
        _fetch(root, self._looks, found)
        return found

    def _read_slowly(self, record: bytes) -> list[Sequence[bytes]]:
        if not is_object(record):
            raise RejectedError("not a JSON object")
        return [_walk(record, path) for path in self._paths]


_MISSING = msgspec.Raw()
_Look = tuple[str, list[tuple[int, tuple[Step, ...]]], "list[_Look]"]
"""An attribute; the places that are at it, with the steps that go on from there; or what to look at below."""


def _struct(
    tree: dict[str, Any], prefix: tuple[str, ...], at: dict[tuple[str, ...], list[tuple[int, tuple[Step, ...]]]]
) -> tuple[type[msgspec.Struct], list[_Look]]:
    fields: list[Any] = []
    looks: list[_Look] = []
    for number, (key, below) in enumerate(tree.items()):
        own, path = f"f{number}", (*prefix, key)
        if below:
            form, inner = _struct(below, path, at)
            fields.append((own, form | None, msgspec.field(default=None, name=key)))
            looks.append((own, [], inner))
        else:
            fields.append((own, msgspec.Raw, msgspec.field(default=_MISSING, name=key)))
            looks.append((own, at[path], []))
    return msgspec.defstruct("Place", fields, gc=False), looks


def _fetch(node: Any, looks: list[_Look], found: list[Sequence[bytes]]) -> None:
    """Fill in what is there; most of a plan's places are not in a record."""
    for name, places, below in looks:
        value = getattr(node, name)
        if value is None or value is _MISSING:
            continue
        if below:
            _fetch(value, below, found)
            continue
        raw = bytes(value)
        if raw != b"null":
            for number, rest in places:
                found[number] = _walk(raw, rest) if rest else (raw,)


def _walk(raw: bytes, steps: Sequence[Step]) -> list[bytes]:
    values = [raw]
    for step in steps:
        values = [below for value in values for below in _step(value, step)]
    return [value for value in values if value != b"null"]


def _step(raw: bytes, step: Step) -> list[bytes]:
    try:
        if isinstance(step, str):
            found = _OBJECT.decode(raw).get(step)
            return [] if found is None else [bytes(found)]
        elements = [bytes(element) for element in _ARRAY.decode(raw)]
    except msgspec.ValidationError:
        return []
    if isinstance(step, int):
        return elements if step < 0 else elements[step : step + 1]
    key, value = step
    return [element for element in elements if any(_is_text(found, value) for found in _step(element, key))]


def _is_text(raw: bytes, text: str) -> bool:
    try:
        return _TEXT.decode(raw) == text
    except msgspec.ValidationError:
        return raw == text.encode()


def spans(record: bytes, path: Sequence[Step]) -> list[tuple[int, int]]:
    """The byte ranges of all values at `path` in valid JSON. A `key=value` step takes every element."""
    found: list[tuple[int, int]] = []
    at: list[Step] = []  # the path of the value that comes next
    opened: list[int] = []
    is_key = False

    def ended(start: int, end: int) -> None:
        if len(at) == len(path) and all(map(_fits, at, path)):
            found.append((start, end))

    for token in _TOKEN.finditer(record):
        text, (start, end) = token.group(), token.span()
        if text in (b"{", b"["):
            opened.append(start)
            is_key = text == b"{"
            at.append("" if is_key else 0)
        elif text in (b"}", b"]"):
            at.pop()
            ended(opened.pop(), end)
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
            ended(start, end)
    return found


def _fits(here: Step, wanted: Step) -> bool:
    if isinstance(here, str) or isinstance(wanted, str):
        return here == wanted
    return wanted == here or wanted == -1 or isinstance(wanted, tuple)
