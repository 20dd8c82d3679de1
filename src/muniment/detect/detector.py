"""The detector: runs the rules over each new range of indexes, once it is readable, and makes alerts of what they find.

State is one number, the first index that was not evaluated. A step: (1) read a range from the store, (2) match, (3) feed
correlations, (4) put alerts into the ledger, (5) keep the number. A crash between any two repeats the step, and alerts
know what they have counted. Correlations are warmed up at a start, and when rules change, with the matches of as much
event time as their windows can reach.

One thread, which has the matching done by an `Evaluator`, as a rule in a process of its own. It is derived like the store: when it fails it says so (`last_problem`) and tries again; nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from muniment.detect.alerts import SOURCE, Alert, AlertBook, Finding
from muniment.detect.behaviour import Surroundings
from muniment.detect.evaluator import Evaluator, Evaluators
from muniment.detect.history import BackTest, History
from muniment.detect.reading import Formats
from muniment.detect.risk import KINDS, RISK, risk_of
from muniment.detect.rule import RuleSet
from muniment.detect.rulebook import RuleBook
from muniment.detect.worker import EvaluatorProcess
from muniment.errors import AuditError
from muniment.limits import (
    DETECT_BATCH_EVENTS_MAX,
    DETECT_EASE_EVENTS,
    DETECT_EASE_EVENTS_MAX,
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
        *,
        has_worker: bool = False,
    ) -> None:
        """`told(action, found)` hears of what should be written down: rules changed, a rule paused; `began` of new alerts.

        `has_worker`: rules run in a process of their own.
        """
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
        self._history = History(engine, book.get, formats, around)
        kind = EvaluatorProcess if has_worker else Evaluator
        self._evaluators: Evaluators = kind(engine, around, self._hidden)
        self._adopted: RuleSet | None = None
        self._adopted_formats: Formats = {}
        self._spent_s: dict[str, float] = {}
        self._dropped = 0
        self._position = 0
        self._to_time = 0
        self._problem = ""
        self._is_loaded = False
        self._is_stale = False
        self._latest_look = self._latest_flush = self._latest_budget = 0.0
        self.busy_s = 0.0

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is not evaluated yet is at the next start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._evaluators.close()  # whoever waits for its answer goes on
        if self._thread:
            self._thread.join()
            self._evaluators.close()  # it may just have started another

    def wake(self, start: int, end: int) -> None:
        """There is something new to read."""
        with self._wake:
            self._wake.notify()

    @property
    def is_behind(self) -> bool:
        """Is more readable than a range and a half? Not said while rules catch up with the past, or cannot run."""
        lag = self._projector.horizon().complete_to_index + 1 - self._position
        return self._is_loaded and not self._problem and DETECT_EASE_EVENTS < lag < DETECT_EASE_EVENTS_MAX

    def evaluated(self) -> Evaluated:
        """How far the rules have seen."""
        rules = self._adopted
        counts = (len(rules.rules), len(rules.correlations)) if rules else (0, 0)
        return Evaluated(self._position, self._to_time, *counts, self._dropped, self._problem)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                is_done = self.step()
                self._problem = ""
            except AuditError as error:
                if self._stopping:
                    return
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
        self._adopt()
        horizon = self._projector.horizon()
        end = min(horizon.complete_to_index + 1, self._position + DETECT_BATCH_EVENTS_MAX)
        if end > self._position:
            began = time.perf_counter()
            try:
                self._evaluate(self._position, end)
                self.book.set_position(end)
            except BaseException:
                self._evaluators.close()  # it has counted events that come again
                raise
            self._position = end
            self.busy_s += time.perf_counter() - began
        if self._position >= horizon.complete_to_index + 1:
            self._to_time = horizon.complete_to_time
        now = time.monotonic()
        if now - self._latest_flush > _FLUSH_S:
            self._latest_flush = now
            self.alerts.flush()
            self._pause_the_slow()
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

    def forget(self) -> None:
        """Somebody was erased from the store: alerts and what correlations have seen are made anew from it."""
        self._is_stale = True
        self.load_alerts()
        self.wake(0, 0)

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

    def _adopt(self) -> None:
        """Run the rules of now; correlations that stay keep what they have seen."""
        if self._is_stale:
            self._is_stale = False
            self._evaluators.close()
        rules, formats, before = self.book.current, self._formats, self._adopted
        is_known = before is not None and before.version == rules.version and formats == self._adopted_formats
        if is_known and self._evaluators.is_ready:
            return
        self._adopted, self._adopted_formats = rules, dict(formats)
        self._evaluators.adopt(rules, formats, self._now_ns() // 1_000, self._position)

    def back_test(self, key: str, since_us: int | None, until_us: int | None) -> BackTest:
        """What a rule would have found in a range of time. A correlation says how often it would have begun an alert."""
        below = self._projector.horizon().complete_to_index + 1
        return self._history.back_test(key, since_us, until_us, below)

    # --- evaluating -----------------------------------------------------------------------------------------------

    def _evaluate(self, start: int, end: int) -> None:
        rules = self._adopted
        assert rules is not None
        now_us = self._now_ns() // 1_000
        found = self._evaluators.evaluate(start, end, now_us, has_exceptions=bool(rules.exemptions))
        self._dropped = found.dropped
        for (key, time_us), count in found.matched.items():
            self.book.tally.matched(key, time_us, count)
        for key, seconds in found.spent_s.items():
            self._spent_s[key] = self._spent_s.get(key, 0.0) + seconds
        if found.findings:
            began = self.alerts.apply(found.findings)
            risky = [finding for alert in began for finding in self._risk(rules, alert)]
            self._began([*began, *(self.alerts.apply(risky) if risky else ())])
        for key, why in found.failures:
            self._pause(key, why)

    def _hidden(self, matches: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        """Matches that an exception hides; what each hid is counted. The store decides what a query finds."""
        rules = self._adopted
        assert rules is not None
        now = self._now_ns()
        parts = {c.key: set(c.rules) for c in rules.correlations}
        hidden: set[tuple[int, str]] = set()
        counts: dict[int, int] = {}
        for each in rules.exemptions:
            about = parts.get(each.rule, {each.rule})
            mine = [match for match in matches if not each.rule or match[1] in about]
            if not mine or each.expires_at <= now:
                continue
            condition = where(parse_query(each.query, now).node, "q")
            sql = f"SELECT `index` FROM events WHERE `index` IN {{wanted:Array(UInt64)}} AND ({condition.sql})"
            wanted = sorted({index for index, _ in mine})
            found = {int(row[0]) for row in self._engine.query(sql, {**condition.parameters, "wanted": wanted}).rows}
            gone = {match for match in mine if match[0] in found}
            counts[each.number] = len(gone - hidden)
            hidden |= gone
        self.book.count_hidden({number: n for number, n in counts.items() if n})
        return hidden

    def _risk(self, rules: RuleSet, alert: Alert) -> list[Finding]:
        """What a new alert adds up to for those it names, where a rule asks for that."""
        asked = [c for c in rules.correlations if c.behaviour is not None and c.behaviour.kind == RISK]
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

    def _pause_the_slow(self) -> None:
        """A rule that takes far more than its share is paused, and that is written down."""
        now = time.monotonic()
        if now - self._latest_budget < _BUDGET_S:
            return
        elapsed = now - self._latest_budget if self._latest_budget else _BUDGET_S
        self._latest_budget = now
        now_us = self._now_ns() // 1_000
        spent, self._spent_s = self._spent_s, {}
        there = {each.key for each in self.book.current.all_rules}
        for key, seconds in spent.items():
            self.book.tally.spent(key, now_us, seconds)
            if seconds > RULE_BUDGET_SHARE * elapsed and key in there:  # its file may be gone since
                self._pause(key, f"it took {seconds:.1f} s of {elapsed:.0f} s")
        self.book.tally.flush(now_us)

    def _pause(self, key: str, why: str) -> None:
        title = self.book.get(key).title
        self.book.pause(key, why)
        self._told("rule.pause", {"rule": key, "title": title, "reason": why})
