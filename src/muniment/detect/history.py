"""Rules over what is in the store already: back-tests, and the matches a correlation is warmed up with.

The candidates come by SQL (`candidates`), the rule's own function decides; a correlation is run over the matches of its
rules as if they came in now.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from heapq import nlargest
from typing import Final, NamedTuple

from muniment.detect.alerts import SOURCE
from muniment.detect.baseline import aggregate
from muniment.detect.behaviour import BehaviourCorrelator, Surroundings
from muniment.detect.candidates import Candidates, candidates
from muniment.detect.correlation import Correlation, Firing
from muniment.detect.correlators import Part
from muniment.detect.dense import Among, dense
from muniment.detect.evaluate import Ready
from muniment.detect.logsources import PRODUCT
from muniment.detect.reading import Formats, Store
from muniment.detect.rule import Rule
from muniment.limits import (
    BACKTEST_HITS_MAX,
    DETECT_DENSE_EVENTS_MIN,
    DETECT_DENSE_GROUPS_MAX,
    DETECT_HISTORY_PART_EVENTS,
    DETECT_HISTORY_STEP,
    DETECT_LATENESS_S,
    DETECT_WARM_UP_EVENTS_MAX,
)

__all__ = ["BackTest", "History"]


_NOTHING_AROUND = Surroundings()
_NEWEST_SQL: Final = "toUnixTimestamp64Micro(max(time))"


@dataclass(frozen=True, slots=True)
class BackTest:
    """What a rule would have found: events, or for a correlation alerts; by day; and which, the newest. `looked_at`:
    candidates that were decided one by one.
    """

    hits: int
    indexes: tuple[int, ...]
    by_day: Mapping[str, int]
    looked_at: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class _Range:
    """Events below an index, in a half-open range of event time; microseconds, None is open."""

    below: int
    since_us: int | None
    until_us: int | None

    def condition(self) -> tuple[str, dict[str, object]]:
        parts = ["`index` < {below:UInt64}", "source != {own:String}"]
        parameters: dict[str, object] = {"below": self.below, "own": SOURCE}
        for name, sign, value in (("since", ">=", self.since_us), ("until", "<", self.until_us)):
            if value is not None:
                parts.append(f"time {sign} fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')")
                parameters[name] = value
        return " AND ".join(parts), parameters


class History:
    """The store as rules see it."""

    def __init__(
        self,
        store: Store,
        rule_of: Callable[[str], Rule | Correlation],
        formats: Formats,
        around: Surroundings = _NOTHING_AROUND,
    ) -> None:
        """`rule_of` gives a rule by its key."""
        self._around = around
        self._store = store
        self._rule_of = rule_of
        self._formats = formats

    def warm_up(self, ready: Ready, now_us: int, below: int) -> None:
        """Fill the windows of all correlations with what matched before `below`; nothing of it fires again."""
        reach_s: dict[str, int] = {}
        among: set[str] = set()
        for correlation in ready.correlations:
            heard_us = self._heard_for(ready, correlation) * 1_000_000
            until_us = now_us - heard_us if heard_us else None
            behaving = correlation.behaviour is not None and self._learn(ready, correlation, now_us, below, until_us)
            if behaving and not self._heard_for(ready, correlation):
                continue  # it knows everything already, and no other rule hears of it
            among.add(correlation.key)
            span_s = self._heard_for(ready, correlation) if behaving else correlation.timespan_s
            if correlation.behaviour is not None and not behaving:
                span_s = correlation.behaviour.history_us // 1_000_000
            for each in self._needed(correlation):
                reach_s[each.key] = max(reach_s.get(each.key, 0), span_s)
        spans = [
            (rule, _Range(below, now_us - (seconds + DETECT_LATENESS_S) * 1_000_000, None))
            for key, seconds in reach_s.items()
            if isinstance(rule := ready.by_key.get(key), Rule)
        ]
        newest = 0
        past = [self._past(rule, span) for rule, span in spans]
        for parts, newest_us in self._read(past, ready.correlations):
            ready.fed_all(parts, among)
            newest = max(newest, newest_us)
            for _ in ready.advanced(min(newest, now_us)):
                pass  # it was told before the restart

    def _heard_for(self, ready: Ready, correlation: Correlation) -> int:
        """How many seconds back other rules look for what it finds."""
        return max((each.timespan_s for each in ready.correlations if correlation.key in each.rules), default=0)

    def _learn(self, ready: Ready, correlation: Correlation, now_us: int, below: int, until_us: int | None) -> bool:
        """Let a behaviour know what was there before `until_us` (None: all there is), by one aggregate a rule; False when SQL
        cannot say it exactly.
        """
        behaviour, correlator = correlation.behaviour, ready.correlators.get(correlation.key)
        assert behaviour is not None
        if behaviour.kind == "look_alike" or not isinstance(correlator, BehaviourCorrelator):
            return True
        rules = [self._rule_of(name) for name in correlation.rules]
        asked = [aggregate(correlation, rule, self._candidates(rule)) for rule in rules if isinstance(rule, Rule)]
        if len(asked) < len(rules) or None in asked:
            return False
        since = now_us - max(behaviour.history_us, 4 * behaviour.after_us)
        condition, parameters = _Range(below, since, until_us).condition()
        for each in asked:
            assert each is not None
            sql = each.sql.replace("{range}", condition)
            for learned in each.learned(self._store.query(sql, {**parameters, **each.parameters}).rows):
                correlator.learn(learned)
        return True

    def back_test(self, key: str, since_us: int | None, until_us: int | None, below: int) -> BackTest:
        """What a rule would have found in a range of time."""
        began = time.perf_counter()
        rule, span = self._rule_of(key), _Range(below, since_us, until_us)
        if isinstance(rule, Correlation):
            return self._run(rule, span, began)
        wanted = self._candidates(rule)
        sure, unsure = self._steps(wanted, span)
        days: Counter[str] = Counter()
        for (_, day), n in sure.items():
            days[day] += n
        newest = self._newest_sure(wanted, span, sure) if sure else []
        looked_at = 0
        if unsure:
            tried: deque[int] = deque(maxlen=BACKTEST_HITS_MAX)
            past = _Past(rule, replace(wanted, sql=wanted.unsure), span, unsure)
            for (part,), _ in self._read([past]):
                looked_at += part.n_read
                days.update(map(_day, part.matches.times_us))
                tried.extend(part.matches.indexes)
            newest = nlargest(BACKTEST_HITS_MAX, [*newest, *tried])
        took_ms = (time.perf_counter() - began) * 1_000
        return BackTest(days.total(), tuple(sorted(newest)), dict(days), looked_at, took_ms)

    def _steps(self, wanted: Candidates, span: _Range) -> tuple[dict[tuple[int, str], int], dict[int, _Step]]:
        """Events that a rule matches for certain, by step of the ledger and day; and those to be looked at, by step."""
        condition, parameters = span.condition()
        certain = "count()" if wanted.is_exact else f"countIf({wanted.sure})"
        rows = self._store.query(
            f"SELECT intDiv(`index`, {DETECT_HISTORY_STEP}) AS step, toString(toDate(time)) AS day, {_NEWEST_SQL} AS newest, "
            f"count() AS n, {certain} AS n_sure FROM events WHERE {condition} AND ({wanted.sql}) GROUP BY step, day",
            {**parameters, **wanted.parameters},
        ).rows
        sure = {(int(step), str(day)): int(n_sure) for step, day, _, _, n_sure in rows if n_sure}
        unsure: dict[int, _Step] = {}
        for step, _, newest, n, n_sure in rows:
            if n > n_sure:
                before = unsure.get(int(step), _Step(0, 0))
                unsure[int(step)] = _Step(before.n + int(n) - int(n_sure), max(before.newest_us, int(newest)))
        return sure, unsure

    def _newest_sure(self, wanted: Candidates, span: _Range, sure: Mapping[tuple[int, str], int]) -> list[int]:
        """The newest events that a rule matches for certain, no more than are shown."""
        first = n = 0
        for (step, _), found in sorted(sure.items(), reverse=True):
            first, n = step, n + found
            if n >= BACKTEST_HITS_MAX:
                break
        condition, parameters = span.condition()
        sql = (
            f"SELECT `index` FROM events WHERE `index` >= {{first:UInt64}} AND {condition} AND ({wanted.sure}) "
            f"ORDER BY `index` DESC LIMIT {BACKTEST_HITS_MAX}"
        )
        rows = self._store.query(sql, {**parameters, **wanted.parameters, "first": first * DETECT_HISTORY_STEP}).rows
        return [int(index) for (index,) in rows]

    def _candidates(self, rule: Rule) -> Candidates:
        formats = tuple(
            name
            for name, (kind, _) in self._formats.items()
            if kind.has(rule.logsource) or (kind.product == "windows" and rule.logsource.product in {"windows", ""})
        )
        return candidates(rule, formats or ("",))

    def _past(self, rule: Rule, span: _Range) -> _Past:
        """The candidates of a rule in a range."""
        wanted = self._candidates(rule)
        condition, parameters = span.condition()
        rows = self._store.query(
            f"SELECT intDiv(`index`, {DETECT_HISTORY_STEP}) AS step, count(), {_NEWEST_SQL} FROM events "
            f"WHERE {condition} AND ({wanted.sql}) GROUP BY step",
            {**parameters, **wanted.parameters},
        ).rows
        return _Past(rule, wanted, span, {int(step): _Step(int(n), int(newest)) for step, n, newest in rows})

    def _read(
        self, past: Sequence[_Past], correlations: Sequence[Correlation] = ()
    ) -> Iterator[tuple[list[Part], int]]:
        """Events of rules with what the correlations read of them, and the latest time there was: from the newest candidates,
        in the order of the ledger, as they came in, so many at once as memory bears. While the caller works on some, the
        next are read.
        """
        readers = [self._reader(each.rule, correlations) for each in past]
        ahead: Counter[int] = Counter()
        for each in past:
            ahead.update({step: found.n for step, found in each.ahead.items()})

        def found(first: int, last: int) -> tuple[list[Part], int]:
            there = [(each, [s for s in each.ahead if first <= s <= last]) for each in past]
            parts = [
                self._found(each, reader, first, last, correlations)
                for (each, steps), reader in zip(there, readers, strict=True)
                if steps
            ]
            return parts, max(each.ahead[step].newest_us for each, steps in there for step in steps)

        with ThreadPoolExecutor(1) as pool:
            reading: deque[Future[tuple[list[Part], int]]] = deque()
            for first, last in _stretches(ahead):
                reading.append(pool.submit(found, first, last))
                if len(reading) > 1:
                    yield reading.popleft().result()
            if reading:
                yield reading.popleft().result()

    def _narrow(self, correlations: Sequence[Correlation], past: Sequence[_Past]) -> None:
        """Leave out events that no correlation can make anything of; each comes after those that it is about."""
        heard = Counter(name for each in correlations for name in each.rules)
        by_key = {each.rule.key: each for each in past}
        silent: set[str] = set()
        for each in correlations:
            own = [by_key[name] for name in each.rules if name in by_key and heard[name] == 1]
            if each.is_bounded and each.is_temporal and len(set(each.rules) - silent) < each.at_least:
                for one in own:
                    one.keep("''", ())
                silent.add(each.key)
            elif len(own) == len(each.rules):
                if sum(one.n for one in own) >= DETECT_DENSE_EVENTS_MIN:
                    self._narrow_to_dense(each, own)
                if each.is_bounded and not any(one.ahead for one in own):
                    silent.add(each.key)

    def _narrow_to_dense(self, correlation: Correlation, past: Sequence[_Past]) -> None:
        """Leave out the events of groups in which a correlation cannot fire, unless they are many that can."""
        asked = dense(correlation, [Among(each.rule, *each.condition()) for each in past])
        if asked is None:
            return
        sql = f"{asked.sql} LIMIT {DETECT_DENSE_GROUPS_MAX + 1}"
        groups = [str(who) for (who,) in self._store.query(sql, asked.parameters).rows]
        if len(groups) <= DETECT_DENSE_GROUPS_MAX:
            for each in past:
                each.keep(asked.keys[each.rule.key], groups)

    def _reader(self, rule: Rule, correlations: Sequence[Correlation]) -> Ready:
        about = [each for each in correlations if rule.key in each.rules]
        return Ready((rule,), about, self._formats, around=self._around)

    def _found(self, past: _Past, ready: Ready, first: int, last: int, correlations: Sequence[Correlation]) -> Part:
        """Events of a rule in the steps of the ledger from `first` to `last`."""
        rule = past.rule
        about = [each for each in correlations if rule.key in each.rules]
        is_sure = past.candidates.is_exact and rule.logsource.product == PRODUCT
        condition, parameters = past.near(first, last)
        rows = ready.wanted.read_history(
            self._store, condition, parameters,
            has_only_columns=is_sure and bool(about) and all(ready.reads_columns(each, rule) for each in about),
        )  # fmt: skip
        if is_sure:
            return Part(rows, rule, range(len(rows)))
        return Part(rows, rule, next((places for each, places in ready.found(rows) if each.key == rule.key), ()))

    def _run(self, correlation: Correlation, span: _Range, began: float) -> BackTest:
        """Run a correlation, and those it is about, over the matches of a range.

        It is told as if it alerted by itself: of a part of others, too, people want to know what it finds.
        """
        told = replace(correlation, is_silent=False, level="low")
        needed = [*self._needed(correlation)[:-1], told]
        rules = [each for each in needed if isinstance(each, Rule)]
        correlations = [each for each in needed if isinstance(each, Correlation)]
        ready = Ready(rules, correlations, self._formats, around=self._around)
        if span.since_us is not None:
            self._learn_before(ready, correlations, span.since_us, span.below)
        begun: list[Firing] = []
        newest = n_found = 0

        def fired(firings: Iterable[Firing]) -> None:
            begun.extend(each for each in firings if not each.is_more and each.correlation.key == correlation.key)

        past = [self._past(rule, span) for rule in rules]
        self._narrow(correlations, past)
        for parts, newest_us in self._read(past, correlations):
            if newest:
                fired(ready.advanced(newest))
            fired(ready.fed_all(parts))
            newest = max(newest, newest_us)
            n_found += sum(len(part.matches.indexes) for part in parts)
        longest = max(each.timespan_s for each in ready.correlations)
        fired(ready.advanced(newest + (longest + 1) * 1_000_000))
        days = Counter(_day(firing.last_us) for firing in begun)
        indexes = tuple(firing.indexes[-1] for firing in begun[-BACKTEST_HITS_MAX:])
        return BackTest(len(begun), indexes, dict(days), n_found, (time.perf_counter() - began) * 1_000)

    def _learn_before(self, ready: Ready, correlations: Sequence[Correlation], since_us: int, below: int) -> None:
        """What behaviours knew when a range of time began, and nothing of what is in it."""
        for each in correlations:
            b = each.behaviour
            if b is None or self._learn(ready, each, since_us, below, since_us):
                continue
            rules = [rule for rule in self._needed(each) if isinstance(rule, Rule)]
            before = _Range(below, since_us - max(b.history_us, 4 * b.after_us), since_us)
            for parts, _ in self._read([self._past(rule, before) for rule in rules], [each]):
                ready.fed_all(parts, {each.key})

    def _needed(self, rule: Rule | Correlation) -> list[Rule | Correlation]:
        if isinstance(rule, Rule):
            return [rule]
        below: list[Rule | Correlation] = []
        for name in rule.rules:
            below += [each for each in self._needed(self._rule_of(name)) if each not in below]
        return [*below, rule]


class _Step(NamedTuple):
    """What is in a step of the ledger: how many, and the latest time of them."""

    n: int
    newest_us: int


class _Past:
    """The candidates of one rule in a range: `ahead` says what there is in each step of the ledger; the newest are kept."""

    def __init__(self, rule: Rule, candidates: Candidates, span: _Range, steps: Mapping[int, _Step]) -> None:
        self.rule, self.candidates = rule, candidates
        condition, parameters = span.condition()
        self._where = f"{condition} AND ({candidates.sql})"
        self._near = candidates.near
        self._parameters = {**parameters, **candidates.parameters}
        self.ahead: dict[int, _Step] = {}
        self.n = 0
        for step in sorted(steps, reverse=True):
            if self.n >= DETECT_WARM_UP_EVENTS_MAX:
                break
            self.ahead[step] = steps[step]
            self.n += steps[step].n

    def keep(self, key_sql: str, groups: Sequence[str]) -> None:
        """Only those of some groups; of none there is nothing ahead."""
        if not groups:
            self.ahead = {}
        self._where += f" AND {key_sql} IN {{groups:Array(String)}}"
        self._parameters["groups"] = list(groups)

    def condition(self, first: int = 0, last: int = 2**40) -> tuple[str, dict[str, object]]:
        """Those in the steps from `first` to `last`; none that are older than the newest that count."""
        parameters = {
            **self._parameters, "first": max(first, min(self.ahead, default=0)) * DETECT_HISTORY_STEP,
            "end": (last + 1) * DETECT_HISTORY_STEP,
        }  # fmt: skip
        return f"`index` >= {{first:UInt64}} AND `index` < {{end:UInt64}} AND {self._where}", parameters

    def near(self, first: int, last: int) -> tuple[str, dict[str, object]]:
        """Those of them whose records may hold what the rule asks for."""
        condition, parameters = self.condition(first, last)
        return f"{condition} AND {self._near}", parameters


def _stretches(ahead: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Steps of the ledger put together until they hold DETECT_HISTORY_PART_EVENTS.

    >>> list(_stretches({7: 60_000, 3: 30_000, 9: 50_000, 4: 10_000}))
    [(3, 7), (9, 9)]
    """
    steps: list[int] = []
    held = 0
    for step in sorted(ahead):
        if steps and held + ahead[step] > DETECT_HISTORY_PART_EVENTS:
            yield steps[0], steps[-1]
            steps, held = [], 0
        steps.append(step)
        held += ahead[step]
    if steps:
        yield steps[0], steps[-1]


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_us // 1_000_000))
