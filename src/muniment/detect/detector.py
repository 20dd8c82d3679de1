"""The detector: runs the rules over each new range of indexes, once it is readable, and makes alerts of what they find.

State is one number, the first index that was not evaluated. A step: (1) read a range from the store, (2) match, (3) feed
correlations, (4) put alerts into the ledger, (5) keep the number. A crash between any two repeats the step, and alerts
know what they have counted. Correlations are warmed up at a start, and when rules change, with the matches of as much
event time as their windows can reach.

One thread. It is derived like the store: when it fails it says so (`last_problem`) and tries again; nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from muniment.detect.alerts import SOURCE, Alert, AlertBook, Finding
from muniment.detect.behaviour import Surroundings
from muniment.detect.correlation import Correlation, Firing
from muniment.detect.evaluate import Ready, alerts_alone, entities, finding_of_match
from muniment.detect.history import BackTest, History
from muniment.detect.reading import Batch, Formats, Row, by_index
from muniment.detect.risk import KINDS, RISK, risk_of
from muniment.detect.rulebook import RuleBook, RuleSet
from muniment.detect.rules import Rule
from muniment.errors import AuditError
from muniment.limits import (
    ALERT_EVIDENCE_MAX,
    DETECT_BATCH_EVENTS_MAX,
    RISK_ENTITIES_MAX,
    RULE_BUDGET_SHARE,
    RULES_LOOK_EVERY_S,
)
from muniment.search.engine import Engine
from muniment.search.projector import Horizon
from muniment.search.query.parse import parse_query
from muniment.search.query.sql import where

__all__ = ["Detector", "Evaluated"]

_log = logging.getLogger(__name__)
_FLUSH_S: Final = 5.0
_BUDGET_S: Final = 60.0


_NOTHING_AROUND: Final = Surroundings()


class _HasHorizon(Protocol):
    def horizon(self) -> Horizon: ...


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How far the rules have seen: every index below `position`, received up to `to_time` (ns)."""

    position: int
    to_time: int
    rules: int
    correlations: int
    dropped: int
    problem: str


class Detector:
    """Runs the rules of `book` over what `engine` holds. `start` it, `wake` it from the projector, `close` it."""

    def __init__(
        self,
        engine: Engine,
        projector: _HasHorizon,
        book: RuleBook,
        alerts: AlertBook,
        formats: Formats,
        now_ns: Callable[[], int],
        told: Callable[[str, dict[str, object]], None] = lambda action, found: None,
        began: Callable[[Sequence[Alert]], None] = lambda alerts: None,
        around: Surroundings = _NOTHING_AROUND,
    ) -> None:
        """`told(action, found)` hears of what should be written down: rules changed, a rule paused; `began` of new alerts."""
        self._engine = engine
        self._projector = projector
        self.book = book
        self.alerts = alerts
        self._formats = formats
        self._now_ns = now_ns
        self._told = told
        self._began = began
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._around = around
        self._history = History(engine, book, formats, around)
        self._running: tuple[RuleSet, Ready] | None = None
        self._position = 0
        self._to_time = 0
        self._newest_us = 0
        self._problem = ""
        self._is_loaded = False
        self._latest_look = self._latest_flush = self._latest_budget = 0.0
        self.busy_s = 0.0

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the range in hand; the rest is evaluated at the next start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread:
            self._thread.join()

    def wake(self, start: int, end: int) -> None:
        """There is something new to read."""
        with self._wake:
            self._wake.notify()

    def evaluated(self) -> Evaluated:
        """How far the rules have seen."""
        ready = self._running[1] if self._running else None
        dropped = sum(each.dropped for each in ready.correlators.values()) if ready else 0
        counts = (len(ready.rules), len(ready.correlations)) if ready else (0, 0)
        return Evaluated(self._position, self._to_time, *counts, dropped, self._problem)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                is_done = self.step()
                self._problem = ""
            except AuditError as error:
                if self._problem != str(error):
                    _log.error("detection is behind: %s", error)
                self._problem = str(error)
                is_done = True
            except Exception as error:  # a mistake of ours must be seen, and must not end detection in silence
                if self._problem != repr(error):
                    _log.exception("detection is behind")
                self._problem = repr(error)
                is_done = True
            if is_done:
                with self._wake:
                    if not self._stopping:
                        self._wake.wait(1.0 if not self._problem else 2.0)

    def step(self) -> bool:
        """Evaluate the next range, if there is one; whether nothing is left to do for now."""
        if not self._is_loaded and not self._load():
            return True
        self._look()
        ready = self._ready()
        horizon = self._projector.horizon()
        end = min(horizon.complete_to_index + 1, self._position + DETECT_BATCH_EVENTS_MAX)
        if end > self._position:
            began = time.perf_counter()
            self._evaluate(ready, self._read(ready, self._position, end))
            self.book.set_position(end)
            self._position = end
            self.busy_s += time.perf_counter() - began
        if self._position >= horizon.complete_to_index + 1:
            self._to_time = horizon.complete_to_time
        now = time.monotonic()
        if now - self._latest_flush > _FLUSH_S:
            self._latest_flush = now
            self.alerts.flush()
            for rule, why in ready.take_failures():
                self._pause(rule, why)
            self._pause_the_slow(ready)
        return self._position >= self._projector.horizon().complete_to_index + 1

    def _load(self) -> bool:
        """What alerts there are, and where to go on; not before the store has what the ledger had."""
        if self._projector.horizon().pending:
            return False
        self.load_alerts()
        position = self.book.position()
        if position is None:  # the first start with detection: what is there is for back-tests
            position = self._projector.horizon().complete_to_index + 1
            self.book.set_position(position)
        self._position = min(position, self._projector.horizon().complete_to_index + 1)
        self._is_loaded = True
        return True

    def load_alerts(self) -> None:
        """The alerts as the store has them."""
        self.alerts.forget()
        sql = (
            "SELECT argMax(record, `index`) FROM events WHERE source = {source:String} GROUP BY target_id "
            "ORDER BY max(`index`)"
        )
        self.alerts.load(str(row[0]) for row in self._engine.query(sql, {"source": SOURCE}).rows)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._latest_look < RULES_LOOK_EVERY_S:
            return
        self._latest_look = now
        if self.book.look():
            found = self.book.current
            refused = [[each.file, each.reason] for each in found.refused[:20]]
            what = {"rules": len(found.rules), "correlations": len(found.correlations), "refused": len(found.refused)}
            self._told("rules.reload", {**what, "first_refused": refused})

    def _ready(self) -> Ready:
        """The rules of now, made ready; correlations that stay keep what they have seen."""
        rules = self.book.current
        if self._running is not None and self._running[0].version == rules.version:
            return self._running[1]
        before = self._running[1] if self._running is not None else None
        is_same = before is not None and list(before.correlations) == list(rules.correlations)
        kept = before.correlators if before is not None and is_same else None
        ready = Ready(rules.rules, rules.correlations, self._formats, kept, self._around)
        if kept is None:
            self._history.warm_up(ready, self._now_ns() // 1_000, self._position)
        self._running = (rules, ready)
        return ready

    def back_test(self, key: str, since_us: int | None, until_us: int | None) -> BackTest:
        """What a rule would have found in a range of time. A correlation says how often it would have begun an alert."""
        below = self._projector.horizon().complete_to_index + 1
        return self._history.back_test(key, since_us, until_us, below)

    # --- evaluating -----------------------------------------------------------------------------------------------

    def _read(self, ready: Ready, start: int, end: int) -> Batch:
        condition = "`index` >= {start:UInt64} AND `index` < {end:UInt64} AND source != {own:String}"
        parameters = {"start": start, "end": end, "own": SOURCE}
        return ready.wanted.read(self._engine, condition, parameters, "ORDER BY `index`", is_lazy=True)

    def _evaluate(self, ready: Ready, rows: Batch) -> None:
        matches = self._without_exempt(ready.matches(rows, self._engine))
        known = {row.index: row for row, _ in matches}
        findings: list[Finding] = []
        for row, rule in matches:
            self.book.tally.matched(rule.key, row.time_us)
            if alerts_alone(rule):
                findings.append(finding_of_match(rule, row))
            firings = list(ready.fed(row, rule))
            findings += [self._finding(firing, known) for firing in firings]
            self._count(firings)
        # The clock bounds what a source may claim: one event from the future must not close everybody's windows.
        self._newest_us = max(self._newest_us, min(rows.newest_us, self._now_ns() // 1_000))
        firings = list(ready.advanced(self._newest_us))
        findings += [self._finding(firing, known) for firing in firings]
        self._count(firings)
        if findings:
            began = self.alerts.apply(findings)
            risky = [finding for alert in began for finding in self._risk(ready, alert)]
            self._began([*began, *(self.alerts.apply(risky) if risky else ())])

    def _count(self, firings: Iterable[Firing]) -> None:
        """Alerts that correlations began, for their counts; what only goes on is not another one."""
        for firing in firings:
            if not firing.is_more:
                self.book.tally.matched(firing.correlation.key, firing.last_us)

    def _without_exempt(self, matches: Sequence[tuple[Row, Rule]]) -> Sequence[tuple[Row, Rule]]:
        """Matches that no exception hides; what each hid is counted. The store decides what a query finds."""
        rules = self.book.current
        if not rules.exemptions or not matches:
            return matches
        now = self._now_ns()
        parts = {c.key: set(c.rules) for c in rules.correlations}
        hidden: set[tuple[int, str]] = set()
        counts: dict[int, int] = {}
        for each in rules.exemptions:
            about = parts.get(each.rule, {each.rule})
            mine = {row.index for row, rule in matches if not each.rule or rule.key in about}
            if not mine or each.expires_at <= now:
                continue
            condition = where(parse_query(each.query, now).node, "q")
            sql = f"SELECT `index` FROM events WHERE `index` IN {{wanted:Array(UInt64)}} AND ({condition.sql})"
            rows = self._engine.query(sql, {**condition.parameters, "wanted": sorted(mine)}).rows
            found = {int(row[0]) for row in rows}
            gone = {
                (row.index, rule.key)
                for row, rule in matches
                if row.index in found and (not each.rule or rule.key in about)
            }
            counts[each.number] = len(gone - hidden)
            hidden |= gone
        self.book.count_hidden({number: n for number, n in counts.items() if n})
        return [(row, rule) for row, rule in matches if (row.index, rule.key) not in hidden]

    def _finding(self, firing: Firing, known: Mapping[int, Row]) -> Finding:
        """A firing with what its events say; those of earlier ranges are read again."""
        rows = [known[index] for index in firing.indexes if index in known]
        missing = [index for index in firing.indexes if index not in known][-ALERT_EVIDENCE_MAX:]
        if missing:
            rows = [*by_index(self._engine, missing), *rows]
        drill = next((row.drill for row in rows if row.drill), "")
        return Finding(
            firing.correlation,
            firing.group,
            firing.indexes,
            firing.first_us,
            firing.last_us,
            entities(rows),
            drill,
            firing.why,
        )

    def _risk(self, ready: Ready, alert: Alert) -> list[Finding]:
        """What a new alert adds up to for those it names, where a rule asks for that."""
        asked = [c for c in ready.correlations if c.behaviour is not None and c.behaviour.kind == RISK]
        named = [(kind, name, value) for name, kind in KINDS.items() for value in alert.of(name)] if asked else []
        found: list[Finding] = []
        for kind, name, value in named[:RISK_ENTITIES_MAX] if not alert.drill else ():
            risk = risk_of(kind, value, self.alerts.all(), self._now_ns())
            for c in asked:
                assert c.behaviour is not None
                if risk.score < c.behaviour.at_least or risk.n_rules < c.behaviour.rules_at_least:
                    continue
                parts = [part.alert for part in risk.parts]
                indexes = tuple(sorted({each.evidence[-1] for each in parts if each.evidence}))
                first, last = min(each.first_us for each in parts), max(each.last_us for each in parts)
                found.append(Finding(c, ((kind, value),), indexes, first, last, {name: (value,)}, "", risk.words))
        return found

    # --- budget ---------------------------------------------------------------------------------------------------

    def _pause_the_slow(self, ready: Ready) -> None:
        """A rule that takes far more than its share is paused, and that is written down."""
        now = time.monotonic()
        if now - self._latest_budget < _BUDGET_S:
            return
        elapsed = now - self._latest_budget if self._latest_budget else _BUDGET_S
        self._latest_budget = now
        for matcher in (ready.typed, ready.raw):
            for number, rule in enumerate(matcher.rules):
                self.book.tally.spent(rule.key, self._now_ns() // 1_000, matcher.spent_s[number])
                if matcher.spent_s[number] > RULE_BUDGET_SHARE * elapsed:
                    self._pause(rule, f"it took {matcher.spent_s[number]:.1f} s of {elapsed:.0f} s")
                matcher.spent_s[number] = 0.0
        self.book.tally.flush(self._now_ns() // 1_000)

    def _pause(self, rule: Rule | Correlation, why: str) -> None:
        self.book.pause(rule.key, why)
        self._told("rule.pause", {"rule": rule.key, "title": rule.title, "reason": why})
