"""The correlations of a set of rules, running: matches go in, what fires comes out. Pure.

Matches come one by one (a trial, a back-test) or for a whole batch as columns (what has just come in); both mean the same.
A correlation may be about others: in a batch those come first, and what they found is a match for it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from muniment.detect.batch import Batch, Row
from muniment.detect.behaviour import BehaviourCorrelator, Surroundings
from muniment.detect.correlation import Correlation, Firing, Match, Matches
from muniment.detect.logsources import PRODUCT
from muniment.detect.rule import Rule
from muniment.detect.windows import Correlator
from muniment.limits import DETECT_LATENESS_S

__all__ = ["ENRICHING", "Correlators", "Part", "Running"]

_log = logging.getLogger(__name__)

ENRICHING = "informational"
"""Sigma's level of rules that tag events for others and alert nobody."""

Running = Correlator | BehaviourCorrelator
"""One correlation with what it has seen."""
ValuesOf = Callable[[Row, Rule], Callable[[str], Sequence[str]]]
"""The fields of an event as a rule sees them."""


class Correlators:
    """All correlations of a set of rules. Not thread-safe: they keep what they have seen."""

    def __init__(
        self,
        correlations: Sequence[Correlation],
        kept: Mapping[str, Running] | None,
        around: Surroundings,
        values_of: ValuesOf,
    ) -> None:
        """`kept`: correlations that go on with what they have seen. `failures`: those that failed, and how."""
        self.running: dict[str, Running] = dict(kept or {c.key: _running(c, around) for c in correlations})
        self.failures: dict[str, str] = {}
        self._values_of = values_of
        self._listeners: dict[str, list[tuple[str, Running]]] = defaultdict(list)
        for key, each in self.running.items():
            for name in each.correlation.rules:
                self._listeners[name].append((key, each))
        self._in_order = list(self._ordered())

    def about(self, rule: str) -> Sequence[Correlation]:
        """The correlations about a rule."""
        return [each.correlation for _, each in self._listeners.get(rule, ())]

    def fed(self, row: Row, rule: Rule, among: Collection[str] | None = None) -> Iterator[Firing]:
        """Give a match to the correlations about its rule (only those `among`); what fires, and because of that."""
        listeners = self._listeners.get(rule.key)
        if not listeners:
            return
        match = Match(rule.key, row.index, row.time_us, self._values_of(row, rule))
        for key, correlator in listeners:
            if among is None or key in among:
                for firing in self._added(key, correlator, match):
                    yield from self._heard(firing)

    def fed_all(self, found: Iterable[Part], among: Collection[str] | None = None) -> list[Firing]:
        """Give all matches of a stretch of the ledger to all correlations (only those `among`); what fires, in its order."""
        parts = {part.rule.key: part for part in found if part.rule.key in self._listeners}
        heard: dict[str, list[Match]] = defaultdict(list)
        firings: list[Firing] = []
        for key, correlator in self._in_order:
            rules = correlator.correlation.rules
            mine = [parts[name] for name in rules if name in parts]
            if (not mine and key not in heard) or (among is not None and key not in among):
                continue
            for firing in self._added_all(key, correlator, mine, heard[key]):
                if _is_told(firing):
                    firings.append(firing)
                if not firing.is_more:
                    for listener, _ in self._listeners.get(key, ()):
                        heard[listener].append(_as_match(firing))
        firings.sort(key=lambda firing: firing.indexes[-1])
        return firings

    def advanced(self, now_us: int) -> Iterator[Firing]:
        """Event time has come so far: what fires because windows are over."""
        for correlator in self.running.values():
            try:
                fired: Sequence[Firing] = list(correlator.advance(now_us))
            except Exception as error:  # one rule's mistake must not stop the others
                fired = self._failed(correlator.correlation, error)
            for firing in fired:
                yield from self._heard(firing)

    # --- one correlation ------------------------------------------------------------------------------------------

    def _added(self, key: str, correlator: Running, match: Match) -> Sequence[Firing]:
        """What a correlation makes of a match; one that fails is left out from then on."""
        if key in self.failures:
            return ()
        try:
            return correlator.add(match)
        except Exception as error:  # one rule's mistake must not stop the others
            return self._failed(correlator.correlation, error)

    def _added_all(
        self, key: str, correlator: Running, parts: Sequence[Part], heard: Sequence[Match]
    ) -> Sequence[Firing]:
        """What a correlation makes of its matches in a batch: by columns where all it reads was read so."""
        if key in self.failures:
            return ()
        try:
            is_plain = not heard and correlator.takes_columns
            if is_plain and all(part.has_columns(correlator.names_of(part.rule.key)) for part in parts):
                return correlator.add_all([part.matches for part in parts])
            one_by_one = (part.one_by_one(self._values_of, correlator.names_of(part.rule.key)) for part in parts)
            matches = [*heard, *(match for each in one_by_one for match in each)]
            matches.sort(key=lambda match: match.index)
            return [firing for match in matches for firing in correlator.add(match)]
        except Exception as error:  # one rule's mistake must not stop the others
            return self._failed(correlator.correlation, error)

    def _failed(self, correlation: Correlation, error: Exception) -> Sequence[Firing]:
        _log.error("rule %s (%s) failed", correlation.key, correlation.title, exc_info=error)
        self.failures[correlation.key] = f"it failed: {error!r}"
        return ()

    def _heard(self, firing: Firing) -> Iterator[Firing]:
        """A firing, if it alerts by itself, and those of correlations that are about it."""
        if _is_told(firing):
            yield firing
        if firing.is_more:
            return
        match = _as_match(firing)
        for key, correlator in self._listeners.get(firing.correlation.key, ()):
            for further in self._added(key, correlator, match):
                yield from self._heard(further)

    def _ordered(self) -> Iterator[tuple[str, Running]]:
        """Each correlation after those it is about; none is about itself (`rules` refuses that)."""
        left = dict(self.running)
        while left:
            ready = [key for key, each in left.items() if left.keys().isdisjoint(each.correlation.rules)]
            for key in ready or list(left):
                yield key, left.pop(key)


class Part:
    """The matches of one rule in a batch; columns are cut out once for all correlations."""

    def __init__(self, rows: Batch, rule: Rule, places: Sequence[int]) -> None:
        """`places`: where they stand, in the order of the ledger. `n_read`: events among which they were found."""
        self.rule = rule
        self._rows = rows
        self._places = places
        self._columns: dict[str, Sequence[str]] = {}
        self.n_read = len(rows)
        self._is_whole = len(places) == len(rows)
        indexes = rows.indexes if self._is_whole else [rows.indexes[place] for place in places]
        times_us = rows.times_us if self._is_whole else rows.times_us[list(places)]
        self.matches = Matches(rule.key, indexes, times_us.tolist(), self._texts)

    def _texts(self, name: str) -> Sequence[str]:
        found = self._columns.get(name)
        if found is None:
            found = self._rows.texts_at(name, self._places)
            if "::" in found:
                found = [text if text != "::" else "" for text in found]
            self._columns[name] = found
        return found

    def has_columns(self, names: Sequence[str]) -> bool:
        """Do the columns say what the rule sees in these fields? Rules over records see what those say."""
        return self.rule.logsource.product == PRODUCT and self._rows.has(names)

    def one_by_one(self, values_of: ValuesOf, names: Sequence[str]) -> Iterator[Match]:
        """Each match by itself, for one that reads `names`."""
        if self.has_columns(names):
            columns = [self._texts(name) for name in names]
            for index, us, *texts in zip(self.matches.indexes, self.matches.times_us, *columns, strict=True):
                values = {name: (text,) if text else () for name, text in zip(names, texts, strict=True)}
                yield Match(self.rule.key, index, us, values.__getitem__)
            return
        for place in self._places:
            row = self._rows[place]
            yield Match(self.rule.key, row.index, row.time_us, values_of(row, self.rule))


def _running(correlation: Correlation, around: Surroundings) -> Running:
    if correlation.behaviour is not None:
        return BehaviourCorrelator(correlation, correlation.behaviour, around)
    return Correlator(correlation, DETECT_LATENESS_S)


def _is_told(firing: Firing) -> bool:
    """Does it alert by itself?"""
    correlation = firing.correlation
    return not (correlation.is_silent or correlation.level.lower() == ENRICHING)


def _as_match(firing: Firing) -> Match:
    """A firing as those correlations see it that are about it."""
    group = dict(firing.group)

    def values(name: str) -> Sequence[str]:
        return (group[name],) if name in group else ()

    return Match(firing.correlation.key, firing.indexes[-1], firing.last_us, values)
