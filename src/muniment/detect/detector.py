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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson

from muniment.detect.alerts import SOURCE, Alert, AlertBook, Finding
from muniment.detect.candidates import Candidates, candidates
from muniment.detect.condition import fields_of
from muniment.detect.correlation import Correlation, Correlator, Firing, Match
from muniment.detect.logsources import PRODUCT, Kind, Taxonomy, typed_kind, windows_kind
from muniment.detect.match import Event, Matcher, compiled
from muniment.detect.rulebook import RuleBook, RuleSet
from muniment.detect.rules import Rule
from muniment.errors import AuditError
from muniment.limits import (
    BACKTEST_HITS_MAX,
    DETECT_BATCH_EVENTS_MAX,
    DETECT_LATENESS_S,
    DETECT_WARM_UP_EVENTS_MAX,
    RULE_BUDGET_SHARE,
    RULES_LOOK_EVERY_S,
)
from muniment.search.columns import COLUMNS
from muniment.search.engine import Engine
from muniment.search.projector import Horizon
from muniment.search.query.parse import parse_query
from muniment.search.query.sql import where

__all__ = ["BackTest", "Detector", "Evaluated", "Formats"]

_log = logging.getLogger(__name__)
_ENTITIES: Final = ("action", "outcome", "actor_id", "actor_name", "actor_email", "src_ip", "dst_host", "target_id", "target_name", "app", "drill", "class_name")  # fmt: skip
_NEVER: Final = {"index", "id", "received_at", "late", "quarantine"}
_ENRICHING: Final = "informational"
"""Sigma's level of rules that tag events for others and alert nobody."""

_FLUSH_S: Final = 5.0
_BUDGET_S: Final = 60.0

Formats = Mapping[str, tuple[Kind, Taxonomy]]
"""By catalogue entry: which of Sigma's log sources its events are, and where their fields stand."""


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


@dataclass(frozen=True, slots=True)
class BackTest:
    """What a rule would have found: how many events or alerts, the first of them, and how many were looked at."""

    hits: int
    indexes: tuple[int, ...]
    by_day: Mapping[str, int]
    looked_at: int
    took_ms: float


class Row:
    """One event of a range: its place, time and typed columns, and the record where rules read it."""

    __slots__ = ("_columns", "_text", "class_name", "format", "index", "record", "source", "time_us")

    def __init__(self, values: Sequence[Any]) -> None:
        self.index: int = values[0]
        self.time_us: int = values[1]
        self.source: str = values[2]
        self.format: str = values[3]
        self.class_name: str = values[4]
        self._text: str = values[5]
        self.record: str = values[6]
        self._columns: dict[str, Any] | None = None

    @property
    def typed(self) -> bytes:
        """The typed columns as a JSON object."""
        return self._text.encode()

    @property
    def columns(self) -> dict[str, Any]:
        """The typed columns."""
        if self._columns is None:
            self._columns = orjson.loads(self._text)
        return self._columns


@dataclass(slots=True)
class _Running:
    """A set of rules made ready."""

    rules: RuleSet
    typed: Matcher
    raw: Matcher
    formats: frozenset[str]
    select: str
    correlators: dict[str, Correlator]
    listeners: dict[str, list[Correlator]] = field(default_factory=dict)
    by_key: dict[str, Rule | Correlation] = field(default_factory=dict)


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
    ) -> None:
        """`told(action, found)` hears of what should be written down: rules changed, a rule paused."""
        self._engine = engine
        self._projector = projector
        self.book = book
        self.alerts = alerts
        self._formats = formats
        self._now_ns = now_ns
        self._told = told
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._running: _Running | None = None
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
        running = self._running
        rules = len(running.rules.rules) if running else 0
        correlators = running.correlators.values() if running else ()
        dropped = sum(each.dropped for each in correlators)
        return Evaluated(self._position, self._to_time, rules, len(correlators), dropped, self._problem)

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
        running = self._ready()
        horizon = self._projector.horizon()
        end = min(horizon.complete_to_index + 1, self._position + DETECT_BATCH_EVENTS_MAX)
        if end > self._position:
            began = time.perf_counter()
            rows = self._read(running, self._position, end)
            self._evaluate(running, rows)
            self.book.set_position(end)
            self._position = end
            self.busy_s += time.perf_counter() - began
        if self._position >= horizon.complete_to_index + 1:
            self._to_time = horizon.complete_to_time
        now = time.monotonic()
        if now - self._latest_flush > _FLUSH_S:
            self._latest_flush = now
            self.alerts.flush()
            self._pause_the_slow(running)
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

    def _ready(self) -> _Running:
        running = self._running
        rules = self.book.current
        if running is None or running.rules.version != rules.version:
            is_same = running is not None and [c.key for c in running.rules.correlations] == [
                c.key for c in rules.correlations
            ]
            kept = running.correlators if running is not None and is_same else None
            running = self._made_ready(rules, kept)
            if kept is None:
                self._warm_up(running)
            self._running = running
        return running

    def _made_ready(self, rules: RuleSet, kept: dict[str, Correlator] | None) -> _Running:
        typed = [rule for rule in rules.rules if rule.logsource.product == PRODUCT]
        raw = [rule for rule in rules.rules if rule.logsource.product != PRODUCT]
        formats = frozenset(
            name
            for name, (kind, _) in self._formats.items()
            if kind.product == "windows" or any(kind.has(rule.logsource) for rule in raw)
        ) if raw else frozenset[str]()  # fmt: skip
        correlators = kept or {c.key: Correlator(c, DETECT_LATENESS_S) for c in rules.correlations}
        listeners: dict[str, list[Correlator]] = defaultdict(list)
        for each in correlators.values():
            for name in each.correlation.rules:
                listeners[name].append(each)
        everything: list[Rule | Correlation] = [*rules.rules, *rules.correlations]
        return _Running(
            rules, Matcher(typed), Matcher(raw), formats, _select(rules, self._formats, formats), correlators,
            dict(listeners), {rule.key: rule for rule in everything},
        )  # fmt: skip

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self, running: _Running, start: int, end: int) -> list[Row]:
        sql = f"{running.select} WHERE `index` >= {{start:UInt64}} AND `index` < {{end:UInt64}} AND source != {{own:String}} ORDER BY `index`"
        parameters = {"start": start, "end": end, "own": SOURCE, "formats": sorted(running.formats)}
        return [Row(values) for values in self._engine.query(sql, parameters).rows]

    def _matches(self, running: _Running, rows: Sequence[Row]) -> list[tuple[Row, Rule]]:
        """Every match of any rule, in the order of the ledger."""
        found: list[tuple[int, Rule]] = []
        if running.typed.rules:
            kinds = [typed_kind(row.format, row.class_name) for row in rows]
            hits = running.typed.match([row.typed for row in rows], kinds)
            found += [(position, running.typed.rules[number]) for position, number in hits]
        if running.formats:
            raw = [position for position, row in enumerate(rows) if row.format in running.formats]
            records = [rows[position].record.encode() for position in raw]
            taxonomies = [self._formats[rows[position].format][1] for position in raw]
            known = [self._kind(rows[position], record) for position, record in zip(raw, records, strict=True)]
            hits = running.raw.match(records, known, taxonomies, lambda place: rows[raw[place]].columns)
            found += [(raw[place], running.raw.rules[number]) for place, number in hits]
        found.sort(key=lambda each: each[0])
        return [(rows[position], rule) for position, rule in found]

    def _kind(self, row: Row, record: bytes) -> Kind:
        kind, taxonomy = self._formats[row.format]
        if kind.product != "windows":
            return kind
        event = Event(orjson.loads(record), taxonomy)
        channel, number = event.plain("Channel"), event.plain("EventID")
        return windows_kind(channel[0] if channel else "", number[0] if number else "")

    # --- evaluating -----------------------------------------------------------------------------------------------

    def _evaluate(self, running: _Running, rows: Sequence[Row]) -> None:
        matches = self._without_exempt(running, self._matches(running, rows))
        by_index = {row.index: row for row, _ in matches}
        findings: list[Finding] = []
        for row, rule in matches:
            if not (rule.is_silent or rule.level.lower() == _ENRICHING):
                findings.append(_finding_of_match(rule, row))
            findings += [
                self._finding(firing, by_index) for firing in self._fed(running, rule.key, row, self._values(row, rule))
            ]
        newest = max((row.time_us for row in rows), default=0)
        # The clock bounds what a source may claim: one event from the future must not close everybody's windows.
        self._newest_us = max(self._newest_us, min(newest, self._now_ns() // 1_000))
        for correlator in running.correlators.values():
            for firing in correlator.advance(self._newest_us):
                findings += [self._finding(each, by_index) for each in self._heard(running, firing)]
        if findings:
            self.alerts.apply(findings)

    def _fed(self, running: _Running, key: str, row: Row, values: Callable[[str], Sequence[str]]) -> Iterator[Firing]:
        """Give a match to the correlations about its rule; what fires, and what fires because of that."""
        for correlator in running.listeners.get(key, ()):
            for firing in list(correlator.add(Match(key, row.index, row.time_us, values))):
                yield from self._heard(running, firing)

    def _heard(self, running: _Running, firing: Firing) -> Iterator[Firing]:
        """A firing, if it alerts by itself, and those of correlations that are about it."""
        key = firing.correlation.key
        if not (firing.correlation.is_silent or firing.correlation.level.lower() == _ENRICHING):
            yield firing
        if firing.is_more:
            return
        group = dict(firing.group)

        def values(name: str) -> Sequence[str]:
            return (group[name],) if name in group else ()

        for correlator in running.listeners.get(key, ()):
            match = Match(key, firing.indexes[-1], firing.last_us, values)
            for further in list(correlator.add(match)):
                yield from self._heard(running, further)

    def _values(self, row: Row, rule: Rule) -> Callable[[str], Sequence[str]]:
        """Fields of an event for a correlation: as the rule sees them, else as typed columns."""
        event = Event(row.columns)
        if rule.logsource.product == PRODUCT or row.format not in self._formats:
            return lambda name: tuple(filter(None, event.plain(name)))
        raw = Event(orjson.loads(row.record or "{}"), self._formats[row.format][1], row.columns)
        return lambda name: tuple(filter(None, raw.plain(name) or event.plain(name)))

    def _without_exempt(self, running: _Running, matches: Sequence[tuple[Row, Rule]]) -> Sequence[tuple[Row, Rule]]:
        """Matches that no exception hides; what each hid is counted. The store decides what a query finds."""
        if not running.rules.exemptions or not matches:
            return matches
        now = self._now_ns()
        parts = {c.key: set(c.rules) for c in running.rules.correlations}
        hidden: set[tuple[int, str]] = set()
        counts: dict[int, int] = {}
        for each in running.rules.exemptions:
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

    def _finding(self, firing: Firing, by_index: Mapping[int, Row]) -> Finding:
        rows = [by_index[index] for index in firing.indexes if index in by_index]
        missing = [index for index in firing.indexes if index not in by_index][-200:]
        if missing:
            sql = f"{_entity_select()} WHERE `index` IN {{wanted:Array(UInt64)}} ORDER BY `index`"
            rows = [*(Row(values) for values in self._engine.query(sql, {"wanted": missing}).rows), *rows]
        drill = next((str(row.columns.get("drill", "")) for row in rows), "")
        return Finding(
            firing.correlation, firing.group, firing.indexes, firing.first_us, firing.last_us, _entities(rows), drill
        )

    # --- warm start, back-test ------------------------------------------------------------------------------------

    def _warm_up(self, running: _Running) -> None:
        """Fill the windows with what matched before the position; nothing of it alerts again."""
        for correlation in running.rules.correlations:
            rules = [running.by_key[name] for name in correlation.rules]
            reach_s = correlation.timespan_s + DETECT_LATENESS_S
            since_us = self._now_ns() // 1_000 - reach_s * 1_000_000
            found = [
                (row, rule)
                for rule in rules
                if isinstance(rule, Rule)
                for row in self._found(rule, since_us, None, self._position, DETECT_WARM_UP_EVENTS_MAX)
            ]
            found.sort(key=lambda each: each[0].index)
            correlator = running.correlators[correlation.key]
            for row, rule in found:
                for _ in correlator.add(Match(rule.key, row.index, row.time_us, self._values(row, rule))):
                    pass

    def _candidates(self, rule: Rule) -> Candidates:
        formats = tuple(
            name
            for name, (kind, _) in self._formats.items()
            if kind.has(rule.logsource) or (kind.product == "windows" and rule.logsource.product in {"windows", ""})
        )
        return candidates(rule, formats or ("",))

    def _found(self, rule: Rule, since_us: int | None, until_us: int | None, below: int, limit: int) -> Iterator[Row]:
        """Events of a rule in a range of time, newest `limit` candidates, in the order of the ledger."""
        wanted = self._candidates(rule)
        single = RuleSet(0, (rule,), (), (rule,), (), ())
        formats = frozenset() if rule.logsource.product == PRODUCT else frozenset(self._formats)
        select = _select(single, self._formats, formats)
        times = ["`index` < {below:UInt64}", "source != {own:String}"]
        parameters: dict[str, object] = {**wanted.parameters, "below": below, "own": SOURCE, "formats": sorted(formats)}
        for name, sign, value in (("since", ">=", since_us), ("until", "<", until_us)):
            if value is not None:
                times.append(f"time {sign} fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')")
                parameters[name] = value
        sql = f"{select} WHERE {' AND '.join(times)} AND ({wanted.sql}) ORDER BY `index` DESC LIMIT {limit}"
        rows = [Row(values) for values in self._engine.query(sql, parameters).rows]
        rows.reverse()
        test = compiled(rule.condition)
        for row in rows:
            if rule.logsource.product == PRODUCT:
                if typed_kind(row.format, row.class_name).has(rule.logsource) and (
                    wanted.is_exact or test(Event(row.columns))
                ):
                    yield row
            elif row.format in self._formats:
                event = Event(orjson.loads(row.record), self._formats[row.format][1], row.columns)
                if self._kind(row, row.record.encode()).has(rule.logsource) and test(event):
                    yield row

    def back_test(self, key: str, since_us: int | None, until_us: int | None) -> BackTest:
        """What a rule would have found in a range of time. A correlation says how often it would have begun an alert."""
        began = time.perf_counter()
        rule = self.book.get(key)
        below = self._projector.horizon().complete_to_index + 1
        if isinstance(rule, Rule):
            exact = self._candidates(rule)
            if exact.is_exact and rule.logsource.product == PRODUCT:
                return self._counted(exact, since_us, until_us, below, began)
            rows = list(self._found(rule, since_us, until_us, below, DETECT_WARM_UP_EVENTS_MAX))
            days = Counter(_day(row.time_us) for row in rows)
            indexes = tuple(row.index for row in rows[-BACKTEST_HITS_MAX:])
            return BackTest(len(rows), indexes, dict(days), len(rows), (time.perf_counter() - began) * 1_000)
        return self._tried(rule, since_us, until_us, below, began)

    def _counted(
        self, wanted: Candidates, since_us: int | None, until_us: int | None, below: int, began: float
    ) -> BackTest:
        parameters: dict[str, object] = {**wanted.parameters, "below": below, "own": SOURCE}
        times = ["`index` < {below:UInt64}", "source != {own:String}"]
        for name, sign, value in (("since", ">=", since_us), ("until", "<", until_us)):
            if value is not None:
                times.append(f"time {sign} fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')")
                parameters[name] = value
        condition = f"{' AND '.join(times)} AND ({wanted.sql})"
        days = self._engine.query(
            f"SELECT toString(toDate(time)), count() FROM events WHERE {condition} GROUP BY 1 ORDER BY 1", parameters
        ).rows
        first = self._engine.query(
            f"SELECT `index` FROM events WHERE {condition} ORDER BY `index` DESC LIMIT {BACKTEST_HITS_MAX}", parameters
        ).rows
        total = sum(int(n) for _, n in days)
        indexes = tuple(sorted(int(row[0]) for row in first))
        return BackTest(
            total, indexes, {str(day): int(n) for day, n in days}, total, (time.perf_counter() - began) * 1_000
        )

    def _tried(
        self, correlation: Correlation, since_us: int | None, until_us: int | None, below: int, began: float
    ) -> BackTest:
        """Run a correlation, and those it is about, over the matches of a range."""
        needed = self._needed(correlation)
        correlators = [Correlator(each, DETECT_LATENESS_S) for each in needed if isinstance(each, Correlation)]
        running = _Running(
            self.book.current, Matcher(()), Matcher(()), frozenset(), "", {c.correlation.key: c for c in correlators}
        )
        for each in correlators:
            for name in each.correlation.rules:
                running.listeners.setdefault(name, []).append(each)
        found = sorted(
            ((row, rule) for rule in needed if isinstance(rule, Rule)
             for row in self._found(rule, since_us, until_us, below, DETECT_WARM_UP_EVENTS_MAX)),
            key=lambda each: each[0].index,
        )  # fmt: skip
        firings: list[Firing] = []
        newest = 0
        for row, rule in found:
            firings += self._fed(running, rule.key, row, self._values(row, rule))
            newest = max(newest, row.time_us)
        for each in correlators:
            for firing in each.advance(newest + (each.correlation.timespan_s + 1) * 1_000_000):
                firings += self._heard(running, firing)
        begun = [f for f in firings if not f.is_more and f.correlation.key == correlation.key]
        days = Counter(_day(f.last_us) for f in begun)
        indexes = tuple(f.indexes[-1] for f in begun[-BACKTEST_HITS_MAX:])
        return BackTest(len(begun), indexes, dict(days), len(found), (time.perf_counter() - began) * 1_000)

    def _needed(self, rule: Rule | Correlation) -> list[Rule | Correlation]:
        if isinstance(rule, Rule):
            return [rule]
        below: list[Rule | Correlation] = []
        for name in rule.rules:
            below += [each for each in self._needed(self.book.get(name)) if each not in below]
        return [*below, rule]

    # --- budget ---------------------------------------------------------------------------------------------------

    def _pause_the_slow(self, running: _Running) -> None:
        """A rule that takes far more than its share is paused, and that is written down."""
        now = time.monotonic()
        if now - self._latest_budget < _BUDGET_S:
            return
        elapsed = now - self._latest_budget if self._latest_budget else _BUDGET_S
        self._latest_budget = now
        for matcher in (running.typed, running.raw):
            for number, rule in enumerate(matcher.rules):
                if matcher.spent_s[number] > RULE_BUDGET_SHARE * elapsed:
                    why = f"it took {matcher.spent_s[number]:.1f} s of {elapsed:.0f} s"
                    self.book.pause(rule.key, why)
                    self._told("rule.pause", {"rule": rule.key, "title": rule.title, "reason": why})
                matcher.spent_s[number] = 0.0


def _finding_of_match(rule: Rule, row: Row) -> Finding:
    """One match of a rule over single events: grouped by who, from where and on what system."""
    columns = row.columns
    actor = columns.get("actor_name") or columns.get("actor_id") or columns.get("actor_email") or ""
    named = (("actor", actor), ("src_ip", _address(columns)), ("dst_host", columns.get("dst_host", "")))
    group = tuple((name, str(value)) for name, value in named if value) or (("source", row.source),)
    return Finding(rule, group, (row.index,), row.time_us, row.time_us, _entities([row]), str(columns.get("drill", "")))


def _address(columns: Mapping[str, Any]) -> str:
    address = str(columns.get("src_ip", ""))
    return "" if address == "::" else address


def _entities(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Who and what is involved."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in (*rows[-1:], *rows[:-1]):  # the event that decided says most
        columns = row.columns
        for kind, value in (
            ("actors", columns.get("actor_name") or columns.get("actor_id") or columns.get("actor_email")),
            ("addresses", _address(columns)),
            ("hosts", columns.get("dst_host")),
            ("targets", columns.get("target_name") or columns.get("target_id")),
            ("sources", row.source),
            ("actions", columns.get("action")),
        ):
            if value:
                found[kind][str(value)] = None
    return {kind: tuple(values) for kind, values in found.items()}


def _select(rules: RuleSet, formats: Formats, raw: frozenset[str]) -> str:
    """Reads what these rules need of each event: the columns they name, and records of the formats they are about."""
    names = set(_ENTITIES)
    for rule in rules.rules:
        names |= fields_of(rule.condition)
    for correlation in rules.correlations:
        names |= {*correlation.group_by, *correlation.fields}
        names |= {field for alias in correlation.aliases.values() for field in alias.values()}
    for name in raw:
        names |= {path[1:] for paths in formats[name][1].names.values() for path in paths if path.startswith("$")}
    return _selecting(frozenset(name for name in names if name in COLUMNS and name not in _NEVER), bool(raw))


@lru_cache(maxsize=64)
def _selecting(names: frozenset[str], with_records: bool) -> str:
    shown = [
        "replaceOne(IPv6NumToString(src_ip), '::ffff:', '') AS src_ip" if name == "src_ip" else f"`{name}`"
        for name in COLUMNS
        if name in names
    ]
    record = "if(format IN {formats:Array(String)}, record, '')" if with_records else "''"
    return (
        "SELECT `index`, toUnixTimestamp64Micro(time), source, format, class_name, "
        f"formatRowNoNewline('JSONEachRow', {', '.join(shown)}), {record} FROM events"
    )


def _entity_select() -> str:
    return _selecting(frozenset(_ENTITIES), False)


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_us // 1_000_000))


def alert_query(alert: Alert) -> str:
    """A search for the events of an alert."""
    return " OR ".join(f"index:{index}" for index in alert.evidence[:50])
