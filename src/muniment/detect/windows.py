"""The matches of one correlation in their windows, and when they fire. Pure.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, product, repeat
from typing import Final

from muniment.detect.correlation import Correlation, Firing, Match, Matches, denied, holds, tuples
from muniment.limits import CORRELATION_GROUPS_MAX, CORRELATION_MATCHES_MAX

__all__ = ["Correlator"]

Entry = tuple[int, int, str, tuple[str, ...]]  # time, index, rule, value
_LOOKED_AT: Final = 16
"""So many matches that were there already are looked at for each new one."""


@dataclass(slots=True)
class _Group:
    """What is known of one combination of group-by values, in the order of time."""

    entries: list[Entry] = field(default_factory=list)
    fired_until: int | None = None
    window: dict[tuple[str, ...], int] = field(default_factory=dict)
    window_start: int = 0  # position of the first entry of the last window
    is_counted: bool = False
    open_since: int | None = None  # for conditions that are decided at the end
    rules: tuple[str, ...] = ()  # of a temporal correlation: those that have matched, perhaps longer ago than is kept


class Correlator:
    """The matches of one correlation, and when they fire. Not thread-safe. `add` them in the order of the ledger."""

    takes_columns = True

    def __init__(self, correlation: Correlation, lateness_s: int) -> None:
        self.correlation = correlation
        self._span_us = correlation.timespan_s * 1_000_000
        self._kept_us = self._span_us + lateness_s * 1_000_000
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._newest = self._tidied = 0
        self._is_temporal = correlation.is_temporal
        self._fields_of = cache(correlation.fields_of)
        self._needs_the_end = correlation.needs_the_end
        self._is_bounded = correlation.is_bounded
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

    def names_of(self, rule: str) -> Sequence[str]:
        """The fields it reads of a rule's events."""
        group_by, fields = self._fields_of(rule)
        return (*group_by, *fields)

    def add_all(self, found: Sequence[Matches]) -> list[Firing]:
        """Take all matches of a batch; what fires because of them, group by group. As `add` of each in turn, but a group that
        has too few to fire costs one look.
        """
        c = self.correlation
        entries: dict[tuple[str, ...], list[Entry]] = {}
        for each in found:
            group_by, fields = self._fields_of(each.rule)
            keys = tuples([each.values(name) for name in group_by])
            values = tuples([each.values(name) for name in fields])
            for key, entry in zip(keys, zip(each.times_us, each.indexes, repeat(each.rule), values), strict=False):
                held = entries.get(key)
                if held is None:
                    entries[key] = [entry]
                else:
                    held.append(entry)
        firings: list[Firing] = []
        for key, new in entries.items():
            if c.fields:
                new = [entry for entry in new if all(entry[3])]
            if not new or not all(key):
                continue
            if len(found) > 1:
                new.sort(key=_index_of)
            self._newest = max(self._newest, max(new)[0])
            group = self._group(key)
            if self._is_quiet(group, new):
                _extend(group, new)
                continue
            for entry in new:
                firings += self._enter(key, group, entry)
        return firings

    def _is_quiet(self, group: _Group, new: Sequence[Entry]) -> bool:
        """Has the group, with these, too few for any window to hold, and no window that goes on?"""
        n = len(group.entries) + len(new)
        if not self._is_bounded or n > CORRELATION_MATCHES_MAX:
            return False
        if group.fired_until is not None and min(new)[0] - group.fired_until <= self._span_us:
            return False
        if self._is_temporal:
            for entry in new:
                if entry[2] not in group.rules:
                    group.rules += (entry[2],)
            n = len(group.rules)
        return not self.correlation.is_met(n) or self._is_spread(group, new)

    def _is_spread(self, group: _Group, new: Sequence[Entry]) -> bool:
        """Does no stretch of a time span have so many as are asked for? Not looked at where few came to many."""
        if len(group.entries) > _LOOKED_AT * len(new):
            return False
        least = self.correlation.at_least
        times = sorted([entry[0] for entry in group.entries] + [entry[0] for entry in new])
        return all(last - first > self._span_us for first, last in zip(times, times[least - 1 :], strict=False))

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
        if self._is_temporal and entry[2] not in group.rules:
            group.rules += (entry[2],)
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
            return c.is_met(len(group.entries) - self._window_start(group, len(group.entries) - 1))
        if c.kind == "value_count":
            return c.is_met(len(self._counted(group)))
        if c.presence is None and c.kind in {"temporal", "temporal_ordered"}:
            present = len(self._counted(group))
            if c.kind == "temporal" or not c.is_met(present):  # in order there are no more of them
                return c.is_met(present)
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
            self._uncount(window, group.entries[group.window_start : start])
        group.window_start = start
        return group.window

    def _uncount(self, window: dict[tuple[str, ...], int], gone: Sequence[Entry]) -> None:
        for entry in gone:
            what = self._what(entry)
            left = window[what] - 1
            if left:
                window[what] = left
            else:
                del window[what]

    def _what(self, entry: Entry) -> tuple[str, ...]:
        return (entry[2],) if self._is_temporal else entry[3]

    def _holds(self, window: Sequence[Entry]) -> bool:
        c = self.correlation
        if c.kind in {"temporal", "temporal_ordered"}:
            return _holds_in_time(c, window)
        if c.kind == "event_count":
            return c.is_met(len(window))
        if c.kind == "value_count":
            return c.is_met(len({entry[3] for entry in window}))
        numbers = [number for entry in window if (number := _number(entry[3][0])) is not None]
        return bool(numbers) and c.is_met(_measure(c, numbers))

    def _firing(self, key: tuple[str, ...], window: Sequence[Entry], *, is_more: bool = False) -> Firing:
        group = tuple(zip(self.correlation.group_by, key, strict=True))
        return Firing(self.correlation, group, tuple(e[1] for e in window), window[0][0], window[-1][0], is_more)

    def _cut(self, group: _Group, n: int) -> None:
        """Forget the oldest. A group that is full and does not fire comes here with each match, so nothing is counted anew."""
        gone = group.entries[:n]
        del group.entries[:n]
        if group.is_counted:
            self._uncount(group.window, gone[group.window_start :])
            group.window_start = max(0, group.window_start - n)
        if self._is_temporal:
            rules = {entry[2] for entry in gone}
            group.rules = tuple(
                rule for rule in group.rules if rule not in rules or any(entry[2] == rule for entry in group.entries)
            )


def _index_of(entry: Entry) -> int:
    return entry[1]


def _extend(group: _Group, new: list[Entry]) -> None:
    """Put entries, in any order, where they belong."""
    new.sort()
    is_behind = not group.entries or new[0] > group.entries[-1]
    group.entries += new
    if not is_behind:
        group.entries.sort()
    group.is_counted = False


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
        if not holds(c.presence, present):
            return False
        wanted = [rule for rule in c.rules if rule in present and rule not in denied(c.presence)]
        return c.kind == "temporal" or _longest(wanted, window) == len(wanted)
    if c.kind == "temporal":
        return c.is_met(len(present))
    return c.is_met(_longest(c.rules, window))


def _longest(wanted: Sequence[str], window: Sequence[Entry]) -> int:
    """Of `wanted`, how many occur in that order, each in a later event than the one before."""
    best = [0] * (len(wanted) + 1)
    for _, together in groupby(window, key=lambda entry: entry[1]):
        rules = {entry[2] for entry in together}
        for place in range(len(wanted), 0, -1):
            if wanted[place - 1] in rules:
                best[place] = max(best[place], 1 + max(best[:place]))
    return max(best)
