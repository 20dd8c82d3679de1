"""Rules over what is in the store already: back-tests, and the matches a correlation is warmed up with.

The candidates come by SQL (`candidates`), the rule's own function decides; a correlation is run over the matches of its
rules as if they came in now.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from muniment.detect.alerts import SOURCE
from muniment.detect.candidates import Candidates, candidates
from muniment.detect.correlation import Correlation, Firing
from muniment.detect.evaluate import Ready
from muniment.detect.logsources import PRODUCT
from muniment.detect.match import compiled
from muniment.detect.reading import Formats, Row
from muniment.detect.rulebook import RuleBook
from muniment.detect.rules import Rule
from muniment.limits import BACKTEST_HITS_MAX, DETECT_LATENESS_S, DETECT_WARM_UP_EVENTS_MAX
from muniment.search.engine import Engine

__all__ = ["BackTest", "History"]


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

    def __init__(self, engine: Engine, book: RuleBook, formats: Formats) -> None:
        self._engine = engine
        self._book = book
        self._formats = formats

    def warm_up(self, ready: Ready, now_us: int, below: int) -> None:
        """Fill the windows of all correlations with what matched before `below`; nothing of it fires again."""
        reach_s: dict[str, int] = {}
        for correlation in ready.correlations:
            for each in self._needed(correlation):
                reach_s[each.key] = max(reach_s.get(each.key, 0), correlation.timespan_s)
        found: list[tuple[Row, Rule]] = []
        for key, seconds in reach_s.items():
            rule = ready.by_key.get(key)
            if isinstance(rule, Rule):
                span = _Range(below, now_us - (seconds + DETECT_LATENESS_S) * 1_000_000, None)
                found += [(row, rule) for row in self._found(rule, span)]
        found.sort(key=lambda each: each[0].index)
        for row, rule in found:
            for _ in ready.fed(row, rule):
                pass

    def back_test(self, key: str, since_us: int | None, until_us: int | None, below: int) -> BackTest:
        """What a rule would have found in a range of time."""
        began = time.perf_counter()
        rule, span = self._book.get(key), _Range(below, since_us, until_us)
        if isinstance(rule, Correlation):
            return self._run(rule, span, began)
        exact = self._candidates(rule)
        if exact.is_exact:
            return self._counted(exact, span, began)
        rows = list(self._found(rule, span))
        days = Counter(_day(row.time_us) for row in rows)
        indexes = tuple(row.index for row in rows[-BACKTEST_HITS_MAX:])
        return BackTest(len(rows), indexes, dict(days), len(rows), (time.perf_counter() - began) * 1_000)

    def _candidates(self, rule: Rule) -> Candidates:
        formats = tuple(
            name
            for name, (kind, _) in self._formats.items()
            if kind.has(rule.logsource) or (kind.product == "windows" and rule.logsource.product in {"windows", ""})
        )
        return candidates(rule, formats or ("",))

    def _found(self, rule: Rule, span: _Range) -> Iterator[Row]:
        """Events of a rule, from the newest candidates, in the order of the ledger."""
        wanted = self._candidates(rule)
        ready = Ready((rule,), (), self._formats)
        condition, parameters = span.condition()
        rows = ready.wanted.read(
            self._engine, f"{condition} AND ({wanted.sql})", {**parameters, **wanted.parameters},
            f"ORDER BY `index` DESC LIMIT {DETECT_WARM_UP_EVENTS_MAX}",
        )  # fmt: skip
        test = compiled(rule.condition)
        for row in reversed(rows):
            if (wanted.is_exact and rule.logsource.product == PRODUCT) or ready.holds(rule, test, row):
                yield row

    def _counted(self, wanted: Candidates, span: _Range, began: float) -> BackTest:
        """A rule that is wholly SQL: the store counts."""
        condition, parameters = span.condition()
        where = f"{condition} AND ({wanted.sql})"
        parameters |= wanted.parameters
        days = self._engine.query(
            f"SELECT toString(toDate(time)) AS day, count() FROM events WHERE {where} GROUP BY day ORDER BY day",
            parameters,
        ).rows
        newest = self._engine.query(
            f"SELECT `index` FROM events WHERE {where} ORDER BY `index` DESC LIMIT {BACKTEST_HITS_MAX}", parameters
        ).rows
        by_day = {str(day): int(n) for day, n in days}
        indexes = tuple(sorted(int(row[0]) for row in newest))
        return BackTest(sum(by_day.values()), indexes, by_day, 0, (time.perf_counter() - began) * 1_000)

    def _run(self, correlation: Correlation, span: _Range, began: float) -> BackTest:
        """Run a correlation, and those it is about, over the matches of a range."""
        needed = self._needed(correlation)
        rules = [each for each in needed if isinstance(each, Rule)]
        ready = Ready(rules, [each for each in needed if isinstance(each, Correlation)], self._formats)
        found = sorted(
            ((row, rule) for rule in rules for row in self._found(rule, span)), key=lambda each: each[0].index
        )
        firings: list[Firing] = []
        newest = 0
        for row, rule in found:
            firings += ready.fed(row, rule)
            newest = max(newest, row.time_us)
        longest = max(each.timespan_s for each in ready.correlations)
        firings += ready.advanced(newest + (longest + 1) * 1_000_000)
        begun = [firing for firing in firings if not firing.is_more and firing.correlation.key == correlation.key]
        days = Counter(_day(firing.last_us) for firing in begun)
        indexes = tuple(firing.indexes[-1] for firing in begun[-BACKTEST_HITS_MAX:])
        return BackTest(len(begun), indexes, dict(days), len(found), (time.perf_counter() - began) * 1_000)

    def _needed(self, rule: Rule | Correlation) -> list[Rule | Correlation]:
        if isinstance(rule, Rule):
            return [rule]
        below: list[Rule | Correlation] = []
        for name in rule.rules:
            below += [each for each in self._needed(self._book.get(name)) if each not in below]
        return [*below, rule]


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_us // 1_000_000))
