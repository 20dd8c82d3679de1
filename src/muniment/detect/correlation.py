"""Sigma correlations as data: what a rule asks for, a match, a firing. Pure; SigmaHQ correlation specification.

`windows` runs one, `correlators` all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from math import ceil, floor
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from muniment.detect.behaviour import Behaviour

__all__ = [
    "All", "Correlation", "Firing", "Has", "Match", "Matches", "Not", "Presence", "Some", "denied", "holds", "tuples",
]  # fmt: skip


_BOUNDED: Final = frozenset({"event_count", "value_count", "temporal", "temporal_ordered"})


@dataclass(frozen=True, slots=True)
class Has:
    """The rule matched in the window."""

    rule: str


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Presence, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Some part holds."""

    parts: tuple[Presence, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold in the whole window."""

    part: Presence


Presence = Has | All | Some | Not


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation rule that can be run. `rules` are keys of what it is about, which may be correlations themselves."""

    id: str
    name: str
    title: str
    level: str
    status: str
    author: str
    description: str
    references: Sequence[str]
    tags: Sequence[str]
    false_positives: Sequence[str]
    kind: str
    rules: tuple[str, ...]
    timespan_s: int
    group_by: tuple[str, ...] = ()
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    operator: str = "gte"
    count: float = 1
    also: tuple[tuple[str, float], ...] = ()
    """Further operators and numbers: of a range, the other end."""
    percentile: int = 0
    presence: Presence | None = None
    is_silent: bool = False
    file: str = ""
    remarks: Sequence[str] = ()
    behaviour: Behaviour | None = None

    @property
    def key(self) -> str:
        """What others call it by."""
        return self.id or self.name or self.title

    def field_of(self, name: str, rule: str) -> str:
        """The field of `rule`'s events that a group-by name stands for."""
        return self.aliases.get(name, {}).get(rule, name)

    def fields_of(self, rule: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fields of `rule`'s events that `group_by` and `fields` stand for."""
        return (
            tuple(self.field_of(name, rule) for name in self.group_by),
            tuple(self.field_of(name, rule) for name in self.fields),
        )

    @property
    def needs_the_end(self) -> bool:
        """Can a later event of the window undo the condition?"""
        if self.presence is not None:
            return _has_not(self.presence)
        return not {"gt", "gte"}.issuperset((self.operator, *(operator for operator, _ in self.also)))

    @property
    def is_temporal(self) -> bool:
        """Is it about which rules matched, and not how often?"""
        return self.kind.startswith("temporal")

    @property
    def is_bounded(self) -> bool:
        """Can it not hold with fewer matches, or of fewer rules, than it asks for, and only sooner with more?"""
        return self.kind in _BOUNDED and self.presence is None and not self.needs_the_end

    @property
    def at_least(self) -> int:
        """The least count that satisfies a condition which no later event can undo."""
        limits = ((self.operator, self.count), *self.also)
        return max(1, *(floor(number) + 1 if operator == "gt" else ceil(number) for operator, number in limits))

    def is_met(self, number: float) -> bool:
        """Does a number satisfy the condition?"""
        if not _compare(self.operator, number, self.count):
            return False
        return not self.also or all(_compare(operator, number, wanted) for operator, wanted in self.also)


class Match(msgspec.Struct, frozen=True):
    """One event that a rule matched. `time_us` is the event's own; `values` gives the texts of a field.

    A struct, as one is made for each match: a tenth of what a frozen dataclass takes.
    """

    rule: str
    index: int
    time_us: int
    values: Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Matches:
    """The events of a batch that one rule matched, as columns, in the order of the ledger. `values` gives a field's text for
    each, '' where it has none; it is for fields that never have several.
    """

    rule: str
    indexes: Sequence[int]
    times_us: Sequence[int]
    values: Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Firing:
    """A correlation holds for a group. `indexes` are the events of the window, the last the one that decided.

    `is_more`: the window of an earlier firing goes on, and this is its next event. `why`: the reason in words.
    """

    correlation: Correlation
    group: tuple[tuple[str, str], ...]
    indexes: tuple[int, ...]
    first_us: int
    last_us: int
    is_more: bool = False
    why: str = ""


def tuples(columns: Sequence[Sequence[str]]) -> Iterable[tuple[str, ...]]:
    """The rows of columns; without columns, as many empty ones as anybody wants."""
    return zip(*columns, strict=True) if columns else repeat(())


def holds(presence: Presence, rules: set[str]) -> bool:
    """Does the condition hold for a window in which these rules matched?"""
    match presence:
        case Has(rule):
            return rule in rules
        case All(parts):
            return all(holds(part, rules) for part in parts)
        case Some(parts):
            return any(holds(part, rules) for part in parts)
        case Not(part):
            return not holds(part, rules)


def _has_not(presence: Presence) -> bool:
    match presence:
        case Has():
            return False
        case Not():
            return True
        case All(parts) | Some(parts):
            return any(map(_has_not, parts))


def denied(presence: Presence) -> set[str]:
    """Rules that stand below a `not`."""
    match presence:
        case Has():
            return set()
        case Not(part):
            return _named(part)
        case All(parts) | Some(parts):
            return set[str]().union(*map(denied, parts))


def _named(presence: Presence) -> set[str]:
    match presence:
        case Has(rule):
            return {rule}
        case Not(part):
            return _named(part)
        case All(parts) | Some(parts):
            return set[str]().union(*map(_named, parts))


def _compare(operator: str, found: float, wanted: float) -> bool:
    match operator:
        case "gt":
            return found > wanted
        case "gte":
            return found >= wanted
        case "lt":
            return found < wanted
        case "lte":
            return found <= wanted
        case "eq":
            return found == wanted
    return found != wanted
