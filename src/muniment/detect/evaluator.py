"""Runs a set of rules over ranges of indexes: reads them from the store, matches, feeds correlations. No alerts, no files.

The detector owns one, or has one run in a process of its own (`worker`). It holds what correlations have seen; whatever
fails in the middle of a range makes that worthless, so it is thrown away and filled again from the store (`adopt`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from muniment.detect.alerts import SOURCE, Finding
from muniment.detect.batch import Batch
from muniment.detect.behaviour import HOUR_US, Surroundings
from muniment.detect.correlation import Firing
from muniment.detect.correlators import Part
from muniment.detect.evaluate import Found, Ready, alerts_alone, entities, finding_of_match
from muniment.detect.history import History
from muniment.detect.reading import Formats, Store, by_index
from muniment.detect.rule import RuleSet
from muniment.limits import ALERT_EVIDENCE_MAX

__all__ = ["Evaluation", "Evaluator", "Evaluators", "Hidden"]

Hidden = Callable[[Sequence[tuple[int, str]]], set[tuple[int, str]]]
"""Of matches, as (index, key of the rule): those that an exception hides."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a range of events came to. `failures`: rules that failed on an event since the last range, and how; `spent_s`: the
    time each rule took in this range, by its key; `matched`: how often each matched, or began an alert, by its key and the
    hour of the events (its start, microseconds); `dropped`: groups and values forgotten for want of room, in all.
    """

    findings: Sequence[Finding]
    matched: Mapping[tuple[str, int], int]
    failures: Sequence[tuple[str, str]]
    spent_s: Mapping[str, float]
    dropped: int


class Evaluators(Protocol):
    """Something that evaluates, here or elsewhere. One call at a time."""

    @property
    def is_ready(self) -> bool:
        """Does it have rules? False after a failure: what it knew is lost, and `adopt` makes it anew."""

    def adopt(self, rules: RuleSet, formats: Formats, now_us: int, below: int) -> None:
        """These are the rules from index `below` on. Correlations are warmed up with what the store has before it, unless
        they are those of before.
        """

    def evaluate(self, start: int, end: int, now_us: int, *, has_exceptions: bool) -> Evaluation:
        """Run the rules over [start, end), which is the range after the last. StorageError: the store did not answer."""

    def close(self) -> None:
        """Forget everything."""


class Evaluator:
    """Evaluates in this process."""

    def __init__(self, store: Store, around: Surroundings, hidden: Hidden) -> None:
        self._store = store
        self._around = around
        self._hidden = hidden
        self._ready: Ready | None = None
        self._newest_us = 0

    @property
    def is_ready(self) -> bool:
        return self._ready is not None

    def adopt(self, rules: RuleSet, formats: Formats, now_us: int, below: int) -> None:
        before, self._ready = self._ready, None
        is_same = before is not None and list(before.correlations) == list(rules.correlations)
        kept = before.correlators if before is not None and is_same else None
        ready = Ready(rules.rules, rules.correlations, formats, kept, self._around)
        if kept is None:
            History(self._store, rules.get, formats, self._around).warm_up(ready, now_us, below)
        self._ready = ready

    def evaluate(self, start: int, end: int, now_us: int, *, has_exceptions: bool) -> Evaluation:
        ready, self._ready = self._ready, None
        assert ready is not None
        matched: Counter[tuple[str, int]] = Counter()
        rows = ready.wanted.read_new(self._store, start, end, SOURCE)
        findings = self._findings(ready, rows, now_us, matched, has_exceptions=has_exceptions)
        spent_s: dict[str, float] = {}
        for matcher in (ready.typed, ready.raw):
            for number, rule in enumerate(matcher.rules):
                if matcher.spent_s[number]:
                    spent_s[rule.key] = matcher.spent_s[number]
                    matcher.spent_s[number] = 0.0
        dropped = sum(each.dropped for each in ready.correlators.values())
        self._ready = ready
        return Evaluation(findings, matched, ready.take_failures(), spent_s, dropped)

    def close(self) -> None:
        self._ready = None

    def _findings(
        self, ready: Ready, rows: Batch, now_us: int, matched: Counter[tuple[str, int]], *, has_exceptions: bool
    ) -> list[Finding]:
        found = ready.found(rows, self._store)
        if has_exceptions and found:
            found = self._without_hidden(rows, found)
        findings: list[Finding] = []
        for rule, places in found:
            hours, counts = np.unique(rows.times_us[list(places)] // HOUR_US, return_counts=True)
            for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
                matched[rule.key, hour * HOUR_US] += count
            if alerts_alone(rule):
                findings += [finding_of_match(rule, rows[place]) for place in places]
        findings.sort(key=lambda finding: finding.indexes[-1])
        firings = ready.fed_all(Part(rows, rule, places) for rule, places in found)
        # The clock bounds what a source may claim: one event from the future must not close everybody's windows.
        self._newest_us = max(self._newest_us, min(rows.newest_us, now_us))
        firings += ready.advanced(self._newest_us)
        for firing in firings:
            if not firing.is_more:  # what only goes on is not another one
                matched[firing.correlation.key, firing.last_us - firing.last_us % HOUR_US] += 1
        return [*findings, *(self._finding(firing, rows) for firing in firings)]

    def _without_hidden(self, rows: Batch, found: Found) -> Found:
        """Without what exceptions hide."""
        at = rows.indexes
        hidden = self._hidden(sorted((at[place], rule.key) for rule, places in found for place in places))
        left = [(rule, [place for place in places if (at[place], rule.key) not in hidden]) for rule, places in found]
        return [(rule, places) for rule, places in left if places]

    def _finding(self, firing: Firing, batch: Batch) -> Finding:
        """A firing with what its events say; those of earlier ranges are read again."""
        places = {index: batch.place_of(index) for index in firing.indexes}
        rows = [batch[place] for place in places.values() if place is not None]
        missing = [index for index, place in places.items() if place is None][-ALERT_EVIDENCE_MAX:]
        if missing:
            rows = [*by_index(self._store, missing), *rows]
        drill = next((row.drill for row in rows if row.drill), "")
        times = (firing.first_us, firing.last_us)
        at = {row.index: row.address for row in rows}
        origins = tuple(at.get(index, "") for index in firing.indexes)
        return Finding(
            firing.correlation, firing.group, firing.indexes, *times, entities(rows), drill, firing.why, origins
        )
