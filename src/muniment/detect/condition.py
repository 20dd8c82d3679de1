"""What a rule asks of an event, as plain data: the one tree from which a matcher, a prefilter and SQL are made.

Semantics, for all of them: a test of a field that is not there is false (so its negation is true); a field of several
values passes when one of them does; texts compare without case unless `is_cased`; numbers and booleans compare as text
and, for `Compare`, as numbers. `field` None asks the whole text of the event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

__all__ = [
    "Address", "All", "AnyOf", "Compare", "Condition", "Exists", "IsNull", "No", "Regex", "SameAs", "Text", "TimePart", "Wild",
    "fields_of", "has_keywords", "reduced",
]  # fmt: skip


class Wild(Enum):
    """A wildcard in a text: any characters, or one."""

    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class No:
    """The part does not hold."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Text:
    """A value is the text; with wildcards where `parts` have them."""

    field: str | None
    parts: tuple[str | Wild, ...]
    is_cased: bool = False


@dataclass(frozen=True, slots=True)
class Regex:
    """The pattern, in RE2's dialect with its flags in front, is found in a value."""

    field: str | None
    pattern: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A value is a number and `operator` (`<`, `<=`, `>`, `>=`, `!=`) holds."""

    field: str
    operator: str
    number: float


@dataclass(frozen=True, slots=True)
class Address:
    """A value is an IP address inside the network."""

    field: str
    network: IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class IsNull:
    """The field is not there, null or empty."""

    field: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, or (`is_wanted` False) is not."""

    field: str
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class SameAs:
    """A value equals (begins with, ends with, contains) a value of another field."""

    field: str
    other: str
    is_start: bool
    is_end: bool


@dataclass(frozen=True, slots=True)
class TimePart:
    """A value is a time whose `unit` (minute, hour, day, week, month, year; UTC) is `number`, or by `operator` less or more."""

    field: str
    unit: str
    number: int
    operator: str = "="


Condition = All | AnyOf | No | Text | Regex | Compare | Address | IsNull | Exists | SameAs | TimePart


def fields_of(condition: Condition) -> set[str]:
    """Every field a condition reads."""
    match condition:
        case All(parts) | AnyOf(parts):
            return set[str]().union(*map(fields_of, parts))
        case No(part):
            return fields_of(part)
        case SameAs(field, other, _, _):
            return {field, other}
        case Text(field) | Regex(field):
            return {field} if field is not None else set()
        case _:
            return {condition.field}


def has_keywords(condition: Condition) -> bool:
    """Does it look through the whole text of an event?"""
    match condition:
        case All(parts) | AnyOf(parts):
            return any(map(has_keywords, parts))
        case No(part):
            return has_keywords(part)
        case Text(None) | Regex(None):
            return True
    return False


def reduced(condition: Condition, holds: Callable[[Condition], bool | None]) -> bool | Condition:
    """What is left of a condition when `holds` says of some of its parts whether they hold, and None of others."""
    decided = holds(condition)
    if decided is not None:
        return decided
    match condition:
        case All(parts) | AnyOf(parts):
            decides = isinstance(condition, AnyOf)
            left: list[Condition] = []
            for part in parts:
                found = reduced(part, holds)
                if found is decides:
                    return decides
                if not isinstance(found, bool):
                    left.append(found)
            if not left:
                return not decides
            return left[0] if len(left) == 1 else type(condition)(tuple(left))
        case No(part):
            inner = reduced(part, holds)
            return not inner if isinstance(inner, bool) else No(inner)
    return condition
