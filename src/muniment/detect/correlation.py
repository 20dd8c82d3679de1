"""Sigma correlations: several matches that say more together than each alone. Pure; SigmaHQ correlation specification.

Time is the events' own (`time`, not when we read them). A window is any stretch of `timespan_s` seconds that ends with
an event, so no burst is cut in two by the clock. An event that comes late is put where it belongs and every window it
touches is looked at again; matches are kept for that as long as the time span and `lateness_s` together. Conditions that
more events can undo (`lt`, `lte`, `eq`, `neq`, and `not` among rules) are decided when the window is over: when an event
of a later time than its end has been seen.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, product
from typing import TYPE_CHECKING

import msgspec

from muniment.limits import CORRELATION_GROUPS_MAX, CORRELATION_MATCHES_MAX

if TYPE_CHECKING:
    from muniment.detect.behaviour import Behaviour

__all__ = ["All", "Correlation", "Correlator", "Firing", "Has", "Match", "Not", "Presence", "Some"]


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
        return self.operator not in {"gt", "gte"}


class Match(msgspec.Struct, frozen=True):
    """One event that a rule matched. `time_us` is the event's own; `values` gives the texts of a field.

    A struct, as one is made for each match: a tenth of what a frozen dataclass takes.
    """

    rule: str
    index: int
    time_us: int
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


Entry = tuple[int, int, str, tuple[str, ...]]  # time, index, rule, value


@dataclass(slots=True)
class _Group:
    """What is known of one combination of group-by values, in the order of time."""

    entries: list[Entry] = field(default_factory=list)
    fired_until: int | None = None
    window: dict[tuple[str, ...], int] = field(default_factory=dict)
    window_start: int = 0  # position of the first entry of the last window
    is_counted: bool = False
    open_since: int | None = None  # for conditions that are decided at the end


class Correlator:
    """The matches of one correlation, and when they fire. Not thread-safe. `add` them in the order of the ledger."""

    def __init__(self, correlation: Correlation, lateness_s: int) -> None:
        self.correlation = correlation
        self._span_us = correlation.timespan_s * 1_000_000
        self._kept_us = self._span_us + lateness_s * 1_000_000
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._newest = self._tidied = 0
        self._is_temporal = correlation.kind.startswith("temporal")
        self._fields_of = cache(correlation.fields_of)
        self._needs_the_end = correlation.needs_the_end
        self.dropped = 0

    def add(self, match: Match) -> Sequence[Firing]:
        """Take a match; what fires because of it."""
        group_by, fields = self._fields_of(match.rule)
        names = [match.values(name) for name in group_by]
        if not all(names):
            return ()  # it belongs to no group
        value = tuple([next(iter(match.values(name)), "") for name in fields])
        if fields and not all(value):
            return ()
        if match.time_us > self._newest:
            self._newest = match.time_us
        entry = (match.time_us, match.index, match.rule, value)
        key = tuple([values[0] for values in names])
        if sum(map(len, names)) == len(names):  # nearly always: one value each
            return self._enter(key, self._group(key), entry)
        return [
            firing for key in dict.fromkeys(product(*names)) for firing in self._enter(key, self._group(key), entry)
        ]

    def _group(self, key: tuple[str, ...]) -> _Group:
        group = self._groups.pop(key, None)
        if group is None:
            group = _Group()
            if len(self._groups) >= CORRELATION_GROUPS_MAX:
                del self._groups[next(iter(self._groups))]  # silent longest: they stand in the order of use
                self.dropped += 1
        self._groups[key] = group
        return group

    def advance(self, now_us: int) -> Iterator[Firing]:
        """Event time has come to `now_us`: decide the windows that are over, forget what no window can touch any more."""
        self._newest = max(self._newest, now_us)
        if not self._needs_the_end and self._newest < self._tidied + self._kept_us // 4:
            return
        self._tidied = self._newest
        for key, group in list(self._groups.items()):
            if self._needs_the_end:
                yield from self._closed(key, group)
            oldest = self._newest - self._kept_us
            if group.entries and group.entries[0][0] < oldest:
                self._cut(group, bisect_left(group.entries, (oldest, -1)))
            if not group.entries:
                del self._groups[key]

    @property
    def n_groups(self) -> int:
        """How many combinations of values are being watched."""
        return len(self._groups)

    # --- one group ------------------------------------------------------------------------------------------------

    def _enter(self, key: tuple[str, ...], group: _Group, entry: Entry) -> Sequence[Firing]:
        is_last = not group.entries or entry[:2] > group.entries[-1][:2]
        if is_last:
            group.entries.append(entry)
        else:
            insort(group.entries, entry)
            group.is_counted = False
        if len(group.entries) > CORRELATION_MATCHES_MAX:
            self.dropped += 1
            self._cut(group, len(group.entries) - CORRELATION_MATCHES_MAX)
        if self._needs_the_end:
            group.open_since = entry[0] if group.open_since is None else group.open_since
            return ()
        if is_last:
            if group.fired_until is not None and entry[0] - group.fired_until <= self._span_us:
                group.fired_until = entry[0]
                group.is_counted = False  # nobody asks how many there are now
                return (self._firing(key, [entry], is_more=True),)
            if not self._window_holds(group):
                return ()
            start = self._window_start(group, len(group.entries) - 1)
            group.fired_until = entry[0]
            return (self._firing(key, group.entries[start:]),)
        # It came late: every window with it in it ends between it and a time span later.
        at = bisect_left(group.entries, entry)
        for end in range(at, bisect_right(group.entries, (entry[0] + self._span_us, 2**63))):
            start = self._window_start(group, end)
            if start <= at and self._holds(group.entries[start : end + 1]):
                last = group.entries[end][0]
                is_more = group.fired_until is not None and abs(group.fired_until - last) <= self._span_us
                group.fired_until = max(group.fired_until or 0, last)
                window = [entry] if is_more else group.entries[start : end + 1]
                return (self._firing(key, window, is_more=is_more),)
        return ()

    def _closed(self, key: tuple[str, ...], group: _Group) -> Iterator[Firing]:
        """Windows that begin with an event and whose end has passed, one after another."""
        while group.open_since is not None and group.open_since + self._span_us < self._newest:
            start = bisect_left(group.entries, (group.open_since, -1))
            end = bisect_right(group.entries, (group.open_since + self._span_us, 2**63))
            window = group.entries[start:end]
            if window and self._holds(window):
                yield self._firing(key, window)
            group.open_since = group.entries[end][0] if end < len(group.entries) else None

    def _window_start(self, group: _Group, end: int) -> int:
        return bisect_left(group.entries, (group.entries[end][0] - self._span_us, -1))

    def _window_holds(self, group: _Group) -> bool:
        """The condition for the window that ends with the last entry; kept up to date where counting again would cost."""
        c = self.correlation
        if c.kind == "event_count":
            return _compare(c.operator, len(group.entries) - self._window_start(group, len(group.entries) - 1), c.count)
        if c.kind == "value_count":
            return _compare(c.operator, len(self._counted(group)), c.count)
        if c.presence is None and c.kind in {"temporal", "temporal_ordered"}:
            present = len(self._counted(group))
            if c.kind == "temporal" or not _compare(c.operator, present, c.count):  # in order there are no more of them
                return _compare(c.operator, present, c.count)
        return self._holds(group.entries[self._window_start(group, len(group.entries) - 1) :])

    def _counted(self, group: _Group) -> Mapping[tuple[str, ...], int]:
        start = self._window_start(group, len(group.entries) - 1)
        if not group.is_counted:
            group.window = dict(Counter(map(self._what, group.entries[start:])))
            group.is_counted = True
        else:
            window = group.window
            what = self._what(group.entries[-1])
            window[what] = window.get(what, 0) + 1
            for entry in group.entries[group.window_start : start]:
                what = self._what(entry)
                left = window[what] - 1
                if left:
                    window[what] = left
                else:
                    del window[what]
        group.window_start = start
        return group.window

    def _what(self, entry: Entry) -> tuple[str, ...]:
        return (entry[2],) if self._is_temporal else entry[3]

    def _holds(self, window: Sequence[Entry]) -> bool:
        c = self.correlation
        if c.kind in {"temporal", "temporal_ordered"}:
            return _holds_in_time(c, window)
        if c.kind == "event_count":
            return _compare(c.operator, len(window), c.count)
        if c.kind == "value_count":
            return _compare(c.operator, len({entry[3] for entry in window}), c.count)
        numbers = [number for entry in window if (number := _number(entry[3][0])) is not None]
        return bool(numbers) and _compare(c.operator, _measure(c, numbers), c.count)

    def _firing(self, key: tuple[str, ...], window: Sequence[Entry], *, is_more: bool = False) -> Firing:
        group = tuple(zip(self.correlation.group_by, key, strict=True))
        return Firing(self.correlation, group, tuple(e[1] for e in window), window[0][0], window[-1][0], is_more)

    def _cut(self, group: _Group, n: int) -> None:
        del group.entries[:n]
        group.is_counted = False


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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _measure(c: Correlation, numbers: list[float]) -> float:
    match c.kind:
        case "value_sum":
            return sum(numbers)
        case "value_avg":
            return statistics.fmean(numbers)
        case "value_median":
            return statistics.median(numbers)
    # The nearest rank: the smallest value that at least so many percent do not exceed.
    ordered = sorted(numbers)
    return ordered[max(0, -(-c.percentile * len(ordered) // 100) - 1)]


def _holds_in_time(c: Correlation, window: Sequence[Entry]) -> bool:
    present = {entry[2] for entry in window}
    if c.presence is not None:
        if not _present(c.presence, present):
            return False
        wanted = [rule for rule in c.rules if rule in present and rule not in _denied(c.presence)]
        return c.kind == "temporal" or _longest(wanted, window) == len(wanted)
    if c.kind == "temporal":
        return _compare(c.operator, len(present), c.count)
    return _compare(c.operator, _longest(c.rules, window), c.count)


def _longest(wanted: Sequence[str], window: Sequence[Entry]) -> int:
    """Of `wanted`, how many occur in that order, each in a later event than the one before."""
    best = [0] * (len(wanted) + 1)
    for _, together in groupby(window, key=lambda entry: entry[1]):
        rules = {entry[2] for entry in together}
        for place in range(len(wanted), 0, -1):
            if wanted[place - 1] in rules:
                best[place] = max(best[place], 1 + max(best[:place]))
    return max(best)


def _present(presence: Presence, rules: set[str]) -> bool:
    match presence:
        case Has(rule):
            return rule in rules
        case All(parts):
            return all(_present(part, rules) for part in parts)
        case Some(parts):
            return any(_present(part, rules) for part in parts)
        case Not(part):
            return not _present(part, rules)


def _has_not(presence: Presence) -> bool:
    match presence:
        case Has():
            return False
        case Not():
            return True
        case All(parts) | Some(parts):
            return any(map(_has_not, parts))


def _denied(presence: Presence) -> set[str]:
    """Rules that stand below a `not`."""
    match presence:
        case Has():
            return set()
        case Not(part):
            return _named(part)
        case All(parts) | Some(parts):
            return set[str]().union(*map(_denied, parts))


def _named(presence: Presence) -> set[str]:
    match presence:
        case Has(rule):
            return {rule}
        case Not(part):
            return _named(part)
        case All(parts) | Some(parts):
            return set[str]().union(*map(_named, parts))
