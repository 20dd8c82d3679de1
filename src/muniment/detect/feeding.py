"""Which sources feed a rule: who sent, in the last days, events that it could be about. Pure but for one query.

Coverage that only stands on paper must look different from one that is fed. So the store is asked once which kinds of
events (source, format, class, action, outcome) came in, and a rule is asked of each kind whether it could match: what
the kind tells is decided, everything else is taken as possible. A rule that no kind could match cannot fire.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muniment.detect.condition import (
    Address,
    Compare,
    Condition,
    Exists,
    IsNull,
    Regex,
    Text,
    TimePart,
    reduced,
)
from muniment.detect.correlation import Correlation
from muniment.detect.logsources import PRODUCT, typed_kind
from muniment.detect.match import Event, Test, compiled
from muniment.detect.reading import Formats
from muniment.detect.risk import RISK
from muniment.detect.rule import Rule, RuleSet
from muniment.limits import FEEDING_DAYS, FEEDING_EVERY_S, FEEDING_KINDS_MAX
from muniment.search.engine import Engine

__all__ = ["Feeding", "Sent", "feeds_of"]

_COLUMNS = ("source", "format", "class_name", "action", "outcome")


@dataclass(frozen=True, slots=True)
class Sent:
    """A kind of event that came in, and how often."""

    source: str
    format: str
    class_name: str
    action: str
    outcome: str
    count: int

    @property
    def columns(self) -> dict[str, str]:
        """What a rule may know of it."""
        return {name: getattr(self, name) for name in _COLUMNS}


def feeds_of(rules: RuleSet, formats: Formats, sent: Sequence[Sent]) -> dict[str, tuple[str, ...]]:
    """The sources that feed each rule, by its key. A correlation is fed when all its parts are, by any of their sources."""
    events = [(each, Event(each.columns)) for each in sent]
    found: dict[str, tuple[str, ...]] = {}
    tests: dict[Condition, Test] = {}
    for rule in rules.all_rules:
        if isinstance(rule, Rule):
            found[rule.key] = _feeding(rule, formats, events, tests)
    for each in rules.all_rules:
        if isinstance(each, Correlation):
            found[each.key] = _feeding_parts(each, found)
    return found


def _feeding_parts(correlation: Correlation, found: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    behaviour = correlation.behaviour
    if behaviour is not None and behaviour.kind == RISK:
        return ("muniment.alerts",)
    parts = [found.get(name, ()) for name in correlation.rules]
    is_any = (
        correlation.presence is not None or correlation.kind in {"event_count", "value_count"} or behaviour is not None
    )
    if not parts or not (any(parts) if is_any else all(parts)):
        return ()
    return tuple(sorted({source for part in parts for source in part}))


def _feeding(
    rule: Rule, formats: Formats, events: Sequence[tuple[Sent, Event]], tests: dict[Condition, Test]
) -> tuple[str, ...]:
    sources: set[str] = set()
    for sent, event in events:
        if sent.source in sources:
            continue
        if rule.logsource.product != PRODUCT:
            kind = formats[sent.format][0] if sent.format in formats else None
            is_windows = kind is not None and kind.product == "windows" == rule.logsource.product
            if kind is not None and (is_windows or kind.has(rule.logsource)):
                sources.add(sent.source)
        elif typed_kind(sent.format, sent.class_name).has(rule.logsource) and _could_match(
            rule.condition, event, tests
        ):
            sources.add(sent.source)
    return tuple(sorted(sources))


def _could_match(condition: Condition, event: Event, tests: dict[Condition, Test]) -> bool:
    def holds(part: Condition) -> bool | None:
        if isinstance(part, Text | Regex | Compare | Address | Exists | IsNull | TimePart) and part.field in _COLUMNS:
            test = tests.get(part)
            if test is None:
                test = tests[part] = compiled(part)
            return test(event)
        return None

    return reduced(condition, holds) is not False


class Feeding:
    """What came in, asked for anew when it is older than `FEEDING_EVERY_S`. Thread-safe enough: a look lost is asked again."""

    def __init__(self, engine: Engine, formats: Formats) -> None:
        self._engine = engine
        self._formats = formats
        self._at = 0.0
        self._made: tuple[int, dict[str, tuple[str, ...]]] | None = None
        self._sent: list[Sent] = []

    def of(self, rules: RuleSet, now_us: int) -> Mapping[str, tuple[str, ...]]:
        """The sources that feed each rule."""
        now = time.monotonic()
        if not self._at or now - self._at > FEEDING_EVERY_S:
            self._at, self._sent, self._made = now, self._asked(now_us), None
        made = self._made
        if made is None or made[0] != rules.version:
            made = self._made = (rules.version, feeds_of(rules, self._formats, self._sent))
        return made[1]

    def _asked(self, now_us: int) -> list[Sent]:
        names = ", ".join(f"toString({name})" for name in _COLUMNS)
        sql = (
            f"SELECT {names}, count() AS n FROM events WHERE time >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') "
            f"GROUP BY ALL ORDER BY n DESC LIMIT {FEEDING_KINDS_MAX}"
        )
        since = now_us - FEEDING_DAYS * 86_400_000_000
        return [
            Sent(str(source), str(format), str(class_name), str(action), str(outcome), int(n))
            for source, format, class_name, action, outcome, n in self._engine.query(sql, {"since": since}).rows
        ]
