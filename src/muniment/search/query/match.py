"""A query tree as a Python predicate over one event, for live views. Pure; agrees with the SQL by construction and test.

An event is a row as the search service gives it: column name to value, times as RFC 3339 text, addresses as text,
with `record`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from muniment.patterns import compiled_pattern
from muniment.search.columns import TEXT_COLUMNS
from muniment.search.query.ast import (
    And,
    Everything,
    Flag,
    Identity,
    Moment,
    Network,
    Node,
    Not,
    Number,
    Or,
    Path,
    Text,
    Words,
)
from muniment.search.query.texts import needle, whole

__all__ = ["Event", "matcher"]

Event = Mapping[str, object]
Test = Callable[[Event], bool]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
_FREE = ("record", *TEXT_COLUMNS, "id")


def matcher(node: Node) -> Test:
    """A predicate that is true for exactly the events the SQL of `node` finds."""
    match node:
        case Everything():
            return lambda event: True
        case And(parts):
            tests = [matcher(part) for part in parts]
            return lambda event: all(test(event) for test in tests)
        case Or(parts):
            tests = [matcher(part) for part in parts]
            return lambda event: any(test(event) for test in tests)
        case Not(part):
            denied = matcher(part)
            return lambda event: not denied(event)
        case Words(value, is_pattern):
            holds = _holds(value, is_pattern)
            return lambda event: any(holds(_lower(_text(event, name))) for name in _FREE)
        case Text(columns, test, value):
            passes = _text_test(test, value)
            return lambda event: any(passes(_text(event, column)) for column in columns)
        case Path():
            return _path_test(node)
        case Number(column, low, high):
            return lambda event: _within(int(str(event[column])), low, high)
        case Flag(column, value):
            return lambda event: bool(event[column]) is value
        case Moment(column, low, high):
            return lambda event: _within(_micros(event[column]), low, None if high is None else high - 1)
        case Network(column, first, last):
            return lambda event: first <= _address(event[column]) <= last
        case Identity(column, value):
            return lambda event: str(event[column]).lower() == value


def _text(event: Event, column: str) -> str:
    return str(event.get(column) or "")


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def _holds(value: str, is_pattern: bool) -> Callable[[str], bool]:
    wanted = needle(value, is_pattern)
    if wanted.part:
        return lambda text: wanted.part in text
    pattern = compiled_pattern(wanted.pattern)
    return lambda text: pattern.search(text) is not None


def _text_test(test: str, value: str) -> Callable[[str], bool]:
    lowered = _lower(value)
    match test:
        case "exact":
            return lambda text: text == value
        case "exists":
            return lambda text: text != ""
        case "words":
            holds = _holds(value, False)
            return lambda text: holds(_lower(text))
        case "regex":
            pattern = compiled_pattern("(?is)" + value)
            return lambda text: pattern.search(text) is not None
        case "from":
            return lambda text: _lower(text).encode() >= lowered.encode()
        case "to":
            return lambda text: _lower(text).encode() <= lowered.encode()
    if value.isascii() and test == "equals":
        return lambda text: _lower(text) == lowered
    if value.isascii():
        pieces = compiled_pattern(whole(lowered, True).replace("(?is)", "(?s)"))
        return lambda text: pieces.search(_lower(text)) is not None
    pattern = compiled_pattern(whole(value, test == "pattern"))
    return lambda text: pattern.search(text) is not None


def _path_test(node: Path) -> Test:
    passes = _text_test("exact" if node.test == "exact" else node.test, node.value)

    def test(event: Event) -> bool:
        found = _found(_text(event, "record"), node.segments)
        if node.test == "exists":
            return found is not None
        if isinstance(found, int | float) and not isinstance(found, bool):
            if node.test in ("pattern", "regex"):
                return passes("")
            return node.number is not None and _compare(node.test, float(found), node.number)
        if isinstance(found, bool):
            return passes("true" if found else "false")
        return passes(found if isinstance(found, str) else "")

    return test


def _compare(test: str, found: float, number: float) -> bool:
    return found >= number if test == "from" else found <= number if test == "to" else found == number


def _found(record: str, segments: tuple[str | int, ...]) -> object:
    try:
        value: Any = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    for segment in segments:
        if isinstance(segment, int):
            value = value[segment] if isinstance(value, list) and segment < len(value) else None
        else:
            value = value.get(segment) if isinstance(value, dict) else None
    return value


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _micros(value: object) -> int:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _address(value: object) -> int:
    text = str(value or "::")
    found = ipaddress.ip_address(text)
    return int(found) + ((0xFFFF << 32) if found.version == 4 else 0)
