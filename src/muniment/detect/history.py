"""Rules over what is in the store already: back-tests, and the matches a correlation is warmed up with.

The candidates come by SQL (`candidates`), the rule's own function decides; a correlation is run over the matches of its
rules as if they came in now.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muniment.detect.alerts import SOURCE
from muniment.detect.baseline import aggregate
from muniment.detect.behaviour import BehaviourCorrelator, Surroundings
from muniment.detect.candidates import Candidates, candidates
from muniment.detect.correlation import Correlation
from muniment.detect.correlators import Part
from muniment.detect.evaluate import Ready
from muniment.detect.logsources import PRODUCT
from muniment.detect.match import compiled
from muniment.detect.reading import Formats, Store
from muniment.detect.rule import Rule
from muniment.limits import BACKTEST_HITS_MAX, DETECT_LATENESS_S, DETECT_WARM_UP_EVENTS_MAX

__all__ = ["BackTest", "History"]


_NOTHING_AROUND = Surroundings()


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
            behaving = correlation.behaviour is not None and self._learn(ready, correlation, now_us, below)
            if behaving and not self._heard_for(ready, correlation):
                continue  # it knows everything already, and no other rule hears of it
            among.add(correlation.key)
            span_s = self._heard_for(ready, correlation) if behaving else correlation.timespan_s
            if correlation.behaviour is not None and not behaving:
                span_s = correlation.behaviour.history_us // 1_000_000
            for each in self._needed(correlation):
                reach_s[each.key] = max(reach_s.get(each.key, 0), span_s)
        parts: list[Part] = []
        for key, seconds in reach_s.items():
            rule = ready.by_key.get(key)
            if isinstance(rule, Rule):
                span = _Range(below, now_us - (seconds + DETECT_LATENESS_S) * 1_000_000, None)
                parts.append(self._found(rule, span, ready.correlations))
        ready.fed_all(parts, among)

    def _heard_for(self, ready: Ready, correlation: Correlation) -> int:
        """How many seconds back other rules look for what it finds."""
        return max((each.timespan_s for each in ready.correlations if correlation.key in each.rules), default=0)

    def _learn(self, ready: Ready, correlation: Correlation, now_us: int, below: int) -> bool:
        """Let a behaviour know what was there before, by one aggregate a rule; False when SQL cannot say it exactly."""
        behaviour, correlator = correlation.behaviour, ready.correlators.get(correlation.key)
        assert behaviour is not None
        if behaviour.kind == "look_alike" or not isinstance(correlator, BehaviourCorrelator):
            return True
        rules = [self._rule_of(name) for name in correlation.rules]
        asked = [aggregate(correlation, rule, self._candidates(rule)) for rule in rules if isinstance(rule, Rule)]
        if len(asked) < len(rules) or None in asked:
            return False
        until = (
            now_us - self._heard_for(ready, correlation) * 1_000_000 if self._heard_for(ready, correlation) else None
        )
        since = now_us - max(behaviour.history_us, 4 * behaviour.after_us)
        condition, parameters = _Range(below, since, until).condition()
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
        exact = self._candidates(rule)
        if exact.is_exact:
            return self._counted(exact, span, began)
        found = self._found(rule, span).matches
        days = Counter(map(_day, found.times_us))
        indexes = tuple(found.indexes[-BACKTEST_HITS_MAX:])
        return BackTest(
            len(found.indexes), indexes, dict(days), len(found.indexes), (time.perf_counter() - began) * 1_000
        )

    def _candidates(self, rule: Rule) -> Candidates:
        formats = tuple(
            name
            for name, (kind, _) in self._formats.items()
            if kind.has(rule.logsource) or (kind.product == "windows" and rule.logsource.product in {"windows", ""})
        )
        return candidates(rule, formats or ("",))

    def _found(self, rule: Rule, span: _Range, correlations: Sequence[Correlation] = ()) -> Part:
        """Events of a rule, from the newest candidates, in the order of the ledger, with what the correlations read of them."""
        wanted = self._candidates(rule)
        about = [each for each in correlations if rule.key in each.rules]
        ready = Ready((rule,), about, self._formats, around=self._around)
        is_sure = wanted.is_exact and rule.logsource.product == PRODUCT
        condition, parameters = span.condition()
        rows = ready.wanted.read_newest(
            self._store, f"{condition} AND ({wanted.sql})", {**parameters, **wanted.parameters}, DETECT_WARM_UP_EVENTS_MAX,
            has_only_columns=is_sure and bool(about) and all(ready.reads_columns(each, rule) for each in about),
        )  # fmt: skip
        places: Sequence[int] = range(len(rows))
        if not is_sure:
            test = compiled(rule.condition)
            places = [place for place in places if ready.holds(rule, test, rows[place])]
        return Part(rows, rule, places)

    def _counted(self, wanted: Candidates, span: _Range, began: float) -> BackTest:
        """A rule that is wholly SQL: the store counts."""
        condition, parameters = span.condition()
        where = f"{condition} AND ({wanted.sql})"
        parameters |= wanted.parameters
        days = self._store.query(
            f"SELECT toString(toDate(time)) AS day, count() FROM events WHERE {where} GROUP BY day ORDER BY day",
            parameters,
        ).rows
        newest = self._store.query(
            f"SELECT `index` FROM events WHERE {where} ORDER BY `index` DESC LIMIT {BACKTEST_HITS_MAX}", parameters
        ).rows
        by_day = {str(day): int(n) for day, n in days}
        indexes = tuple(sorted(int(row[0]) for row in newest))
        return BackTest(sum(by_day.values()), indexes, by_day, 0, (time.perf_counter() - began) * 1_000)

    def _run(self, correlation: Correlation, span: _Range, began: float) -> BackTest:
        """Run a correlation, and those it is about, over the matches of a range."""
        needed = self._needed(correlation)
        rules = [each for each in needed if isinstance(each, Rule)]
        correlations = [each for each in needed if isinstance(each, Correlation)]
        ready = Ready(rules, correlations, self._formats, around=self._around)
        for each in correlations:
            if each.behaviour is not None and span.since_us is not None:
                self._learn(ready, each, span.since_us, below=span.below)
        parts = [self._found(rule, span, correlations) for rule in rules]
        firings = ready.fed_all(parts)
        newest = max((us for part in parts for us in part.matches.times_us), default=0)
        longest = max(each.timespan_s for each in ready.correlations)
        firings += ready.advanced(newest + (longest + 1) * 1_000_000)
        n_found = sum(len(part.matches.indexes) for part in parts)
        begun = [firing for firing in firings if not firing.is_more and firing.correlation.key == correlation.key]
        days = Counter(_day(firing.last_us) for firing in begun)
        indexes = tuple(firing.indexes[-1] for firing in begun[-BACKTEST_HITS_MAX:])
        return BackTest(len(begun), indexes, dict(days), n_found, (time.perf_counter() - began) * 1_000)

    def _needed(self, rule: Rule | Correlation) -> list[Rule | Correlation]:
        if isinstance(rule, Rule):
            return [rule]
        below: list[Rule | Correlation] = []
        for name in rule.rules:
            below += [each for each in self._needed(self._rule_of(name)) if each not in below]
        return [*below, rule]


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_us // 1_000_000))
