"""Which sources feed a rule: who sent, in the last days, events that it could be about. Pure but for two queries.

Coverage that only stands on paper must look different from one that is fed. So the store is asked once which kinds of
events (source, format, class, action, outcome) came in, and a rule is asked of each kind whether it could match: what
the kind tells is decided, everything else is taken as possible. A rule that no kind could match cannot fire, and what it
lacks is named. Where only the record tells the log source (Windows by channel and id, auditd by what was done), the newest
records of each kind are looked into, as the rules do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from muniment.detect.absent import remark_on_fields
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
from muniment.detect.kinds import is_told_apart, kind_of
from muniment.detect.logsources import PRODUCT, Kind, typed_kind, windows_places
from muniment.detect.match import Event, Test, compiled
from muniment.detect.reading import Formats
from muniment.detect.risk import RISK
from muniment.detect.rule import LogSource, Rule, RuleSet
from muniment.limits import FEEDING_DAYS, FEEDING_EVERY_S, FEEDING_KINDS_MAX, FEEDING_LOOKED_AT, FEEDING_SHARE
from muniment.search.engine import Engine

__all__ = ["Fed", "Feeding", "Kinds", "Sent", "feeds_of"]

_COLUMNS = ("source", "format", "class_name", "action", "outcome")
_SINCE = "time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"


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


@dataclass(frozen=True, slots=True)
class Fed:
    """The sources that feed a rule; where there are none, what is `missing`, in words.

    `remark`: fields it names that none of its events can hold, in the formats that come in.
    """

    sources: tuple[str, ...] = ()
    missing: str = ""
    remark: str = ""


Kinds = Mapping[tuple[str, str], Collection[Kind]]
"""By source and format, where only records tell: what kinds of events they were."""


def feeds_of(rules: RuleSet, formats: Formats, sent: Sequence[Sent], kinds: Kinds) -> dict[str, Fed]:
    """What feeds each rule, by its key. A correlation is fed when all its parts are, by any of their sources."""
    events = [(each, Event(each.columns)) for each in sent]
    found: dict[str, Fed] = {}
    tests: dict[Condition, Test] = {}
    coming = {each.format: formats[each.format] for each in sent if each.format in formats}
    for rule in rules.all_rules:
        if isinstance(rule, Rule):
            sources = _feeding(rule, formats, events, kinds, tests)
            missing = "" if sources else _missing(rule.logsource, formats, sent, kinds)
            found[rule.key] = Fed(sources, missing, remark_on_fields(rule, coming))
    titles = {rule.key: rule.title for rule in rules.all_rules}
    for each in rules.all_rules:
        if isinstance(each, Correlation):
            found[each.key] = _feeding_parts(each, found, titles)
    return found


def _feeding_parts(correlation: Correlation, found: Mapping[str, Fed], titles: Mapping[str, str]) -> Fed:
    behaviour = correlation.behaviour
    if behaviour is not None and behaviour.kind == RISK:
        return Fed(("muniment.alerts",))
    parts = {name: found.get(name, Fed()).sources for name in correlation.rules}
    is_any = correlation.presence is not None or not correlation.is_temporal or behaviour is not None
    if not parts or not (any(parts.values()) if is_any else all(parts.values())):
        unfed = [titles.get(name, name) for name, sources in parts.items() if not sources]
        return Fed((), f"what feeds {_or(unfed) if is_any else _and(unfed)}" if unfed else "")
    return Fed(tuple(sorted({source for sources in parts.values() for source in sources})))


def _feeding(
    rule: Rule, formats: Formats, events: Sequence[tuple[Sent, Event]], kinds: Kinds, tests: dict[Condition, Test]
) -> tuple[str, ...]:
    sources: set[str] = set()
    for sent, event in events:
        if sent.source in sources:
            continue
        if rule.logsource.product != PRODUCT:
            if any(kind.has(rule.logsource) for kind in _kinds_of(sent, formats, kinds)):
                sources.add(sent.source)
        elif typed_kind(sent.format, sent.class_name).has(rule.logsource) and _could_match(
            rule.condition, event, tests
        ):
            sources.add(sent.source)
    return tuple(sorted(sources))


def _kinds_of(sent: Sent, formats: Formats, kinds: Kinds) -> Collection[Kind]:
    if sent.format not in formats:
        return ()
    kind = formats[sent.format][0]
    return kinds.get((sent.source, sent.format), ()) if is_told_apart(kind) else (kind,)


def _missing(wanted: LogSource, formats: Formats, sent: Sequence[Sent], kinds: Kinds) -> str:
    """What would feed a rule with this log source, and who sends something near it."""
    asked = " ".join(each for each in (wanted.product, wanted.category, wanted.service) if each)
    if wanted.product == PRODUCT:
        if wanted.service and all(each.format != wanted.service for each in sent):
            return f"events of the format {wanted.service}"
        if wanted.category and all(not typed_kind("", each.class_name).has(_only(wanted)) for each in sent):
            return f"events of the class {wanted.category.replace('_', ' ')}"
        return "events with the action, class or outcome that its conditions name"
    if wanted.product == "windows":
        places = windows_places(wanted)
        if not places:
            return f"events of {asked}, which is no log source that Windows events are known by"
        which = _or([f"{name} (event {_or([str(n) for n in ids])})" if ids else name for name, ids in places[:6]])
        text = f"Windows events of the channel {which}"
        senders = {
            each.source: None
            for each in sent
            if each.format in formats and formats[each.format][0].product == "windows"
        }
        seen = sorted(
            {
                service
                for (source, _), found in kinds.items()
                if source in senders
                for kind in found
                for service in kind.services
            }
        )
        return (
            f"{text}; {_and(list(senders)[:3])} sent Windows events of {_and(seen) or 'other channels'} only"
            if senders
            else text
        )
    serving = sorted(name for name, (kind, _) in formats.items() if kind.has(wanted))
    if not serving:
        return f"an entry of the catalogue that says it is {asked}"
    senders = {each.source: None for each in sent if each.format in serving}
    text = f"events of {asked}, which come in the format {_or(serving[:6])}"
    return f"{text}; what {_and(list(senders)[:3])} sent was none" if senders else text


def _only(wanted: LogSource) -> LogSource:
    return LogSource(category=wanted.category, product=wanted.product)


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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
    """What came in. A look is so old at most that looks take `FEEDING_SHARE` of the time, and `FEEDING_EVERY_S`: where they are quick,
    what has just come is seen soon. Thread-safe enough: a look lost is asked again. `at_us` is when the last one was, 0 for never.
    """

    def __init__(self, engine: Engine, formats: Formats) -> None:
        self._engine = engine
        self._formats = formats
        self._next = 0.0
        self.at_us = 0
        self._made: tuple[int, dict[str, Fed]] | None = None
        self._sent: list[Sent] = []
        self._kinds: dict[tuple[str, str], dict[Kind, int]] = {}
        self._looked_at: set[int] = set()

    def of(self, rules: RuleSet, now_us: int) -> Mapping[str, Fed]:
        """What feeds each rule."""
        began = time.monotonic()
        if began >= self._next:
            since = now_us - FEEDING_DAYS * 86_400_000_000
            self._sent, self._kinds, self._made, self.at_us = self._asked(since), self._told_apart(since), None, now_us
        made = self._made
        if made is None or made[0] != rules.version:
            made = self._made = (rules.version, feeds_of(rules, self._formats, self._sent, self._kinds))
        if began >= self._next:
            done = time.monotonic()
            self._next = done + min(FEEDING_EVERY_S, (done - began) / FEEDING_SHARE)
        return made[1]

    def _asked(self, since_us: int) -> list[Sent]:
        names = ", ".join(f"toString({name})" for name in _COLUMNS)
        sql = f"SELECT {names}, count() AS n FROM events WHERE {_SINCE} GROUP BY ALL ORDER BY n DESC LIMIT {FEEDING_KINDS_MAX}"
        return [
            Sent(str(source), str(format), str(class_name), str(action), str(outcome), int(n))
            for source, format, class_name, action, outcome, n in self._engine.query(sql, {"since": since_us}).rows
        ]

    def _told_apart(self, since_us: int) -> dict[tuple[str, str], dict[Kind, int]]:
        """What the newest records of each kind of event were, with when such was last seen; a record is read once."""
        formats = sorted(name for name, (kind, _) in self._formats.items() if is_told_apart(kind))
        if not formats:
            return {}
        parameters: dict[str, object] = {"since": since_us, "formats": formats}
        sql = (
            f"SELECT groupArraySorted({FEEDING_LOOKED_AT})(-toInt64(`index`)) FROM events "
            f"WHERE {_SINCE} AND format IN {{formats:Array(String)}} "
            f"GROUP BY source, format, {', '.join(_COLUMNS[2:])}, app ORDER BY count() DESC LIMIT {FEEDING_KINDS_MAX}"
        )
        newest = {-int(index) for (found,) in self._engine.query(sql, parameters).rows for index in found}
        kinds: dict[tuple[str, str], dict[Kind, int]] = defaultdict(dict)
        for key, known in self._kinds.items():
            kinds[key] = {kind: at for kind, at in known.items() if at >= since_us}
        sql = (
            "SELECT toString(source), toString(format), toString(action), toUnixTimestamp64Micro(time), record FROM events "
            "WHERE `index` IN {wanted:Array(UInt64)}"
        )
        wanted = sorted(newest - self._looked_at)
        for source, format, action, at, record in self._engine.query(sql, {"wanted": wanted}).rows if wanted else ():
            kind = kind_of(*self._formats[str(format)], str(action), str(record))
            known = kinds[str(source), str(format)]
            known[kind] = max(known.get(kind, 0), int(at))
        self._looked_at = newest
        return dict(kinds)
