"""Who hears of a notice: routes by severity, source and time of day, and silences that end by themselves. Pure.

A silence takes channels away and says so: `Routing.silenced_by` names it, for the caller to record. A critical notice
is silenced only by a silence that says critical, so that a broad one made for a noisy rule cannot hide an intrusion.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from muniment.errors import RejectedError
from muniment.limits import SILENCE_SECONDS_MAX
from muniment.respond.notice import SEVERITIES, Notice, Severity

__all__ = ["EVERY_DAY", "Route", "Routing", "Silence", "route"]

EVERY_DAY: Final = frozenset(range(7))
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Route:
    """Channels for the notices it matches. `rules` (titles) and `sources` (where the events came from) are patterns with
    `*`, compared in any case; a notice about several sources is for a route that names one of them.

    `days` count from Monday 0. `from_minute` to before `to_minute` of the day in `zone`; when the first is the later, the
    window runs over midnight and belongs to the day it began on. Equal minutes: the whole day.
    """

    name: str
    channels: tuple[str, ...]
    severity_min: Severity = "low"
    rules: tuple[str, ...] = ("*",)
    sources: tuple[str, ...] = ("*",)
    days: frozenset[int] = EVERY_DAY
    from_minute: int = 0
    to_minute: int = 0
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        if self.severity_min not in SEVERITIES:
            raise RejectedError(f"expected one of {', '.join(SEVERITIES)}", field="severity_min")
        if not (self.channels and self.rules and self.sources and self.days) or not self.days <= EVERY_DAY:
            raise RejectedError("a route has channels, rules, sources and days of 0 to 6", field=self.name)
        if not (0 <= self.from_minute < _DAY_MINUTES and 0 <= self.to_minute < _DAY_MINUTES):
            raise RejectedError(f"minutes of the day are 0 to {_DAY_MINUTES - 1}", field=self.name)

    def matches(self, notice: Notice, now_ns: int) -> bool:
        """Is this notice, now, for these channels?"""
        return (
            SEVERITIES.index(notice.severity) >= SEVERITIES.index(self.severity_min)
            and _is_of(notice.source, self.rules)
            and ("*" in self.sources or any(_is_of(each, self.sources) for each in notice.origins))
            and self._is_open(now_ns)
        )

    @property
    def when(self) -> str:
        """When it is open, in words.

        >>> Route("day", ("mail",), days=frozenset({0, 4}), from_minute=480, to_minute=1080).when
        'Mon Fri, 08:00 to 18:00 UTC'
        """
        days = "every day" if self.days == EVERY_DAY else " ".join(_DAYS[day] for day in sorted(self.days))
        if self.from_minute == self.to_minute:
            return "always" if self.days == EVERY_DAY else days
        first, last = (f"{minute // 60:02}:{minute % 60:02}" for minute in (self.from_minute, self.to_minute))
        return f"{days}, {first} to {last} {self.zone}"

    def _is_open(self, now_ns: int) -> bool:
        local = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        if self.from_minute < self.to_minute:
            return local.weekday() in self.days and self.from_minute <= minute < self.to_minute
        if self.from_minute == self.to_minute or minute >= self.from_minute:
            return local.weekday() in self.days
        return minute < self.to_minute and (local - timedelta(days=1)).weekday() in self.days


@dataclass(frozen=True, slots=True)
class Silence:
    """No notifications of the sources until `until_ns`, up to a severity; somebody answers for it with a reason."""

    id: str
    sources: tuple[str, ...]
    from_ns: int
    until_ns: int
    by: str
    reason: str
    severity_max: Severity = "high"

    def __post_init__(self) -> None:
        if not self.by.strip() or not self.reason.strip():
            raise RejectedError("a silence has somebody who wants it and a reason", field="reason")
        if not self.sources or not all(each.strip() for each in self.sources):
            raise RejectedError("name a rule's title, or * for every rule", field="source")
        if self.severity_max not in SEVERITIES:
            raise RejectedError(f"expected one of {', '.join(SEVERITIES)}", field="severity_max")
        if not 0 < self.until_ns - self.from_ns <= SILENCE_SECONDS_MAX * 1_000_000_000:
            raise RejectedError(f"a silence ends within {SILENCE_SECONDS_MAX // 86_400} days", field="until_ns")

    def covers(self, notice: Notice, now_ns: int) -> bool:
        """Is this notice, now, to be kept quiet?"""
        return (
            self.from_ns <= now_ns < self.until_ns
            and SEVERITIES.index(notice.severity) <= SEVERITIES.index(self.severity_max)
            and _is_of(notice.source, self.sources)
        )


@dataclass(frozen=True, slots=True)
class Routing:
    """Where a notice goes, which routes said so, and which silence kept it from going.

    `channels` empty and `silenced_by` empty: no route matched, which is worth a look.
    """

    channels: tuple[str, ...]
    routes: tuple[str, ...]
    silenced_by: str = ""


def route(notice: Notice, routes: Sequence[Route], silences: Iterable[Silence], now_ns: int) -> Routing:
    """Decide who hears of a notice now: every channel of every matching route, once, unless a silence covers it."""
    matching = [one for one in routes if one.matches(notice, now_ns)]
    names = tuple(one.name for one in matching)
    for silence in silences:
        if silence.covers(notice, now_ns):
            return Routing((), names, silence.id)
    return Routing(tuple(dict.fromkeys(channel for one in matching for channel in one.channels)), names)


def _is_of(source: str, patterns: Iterable[str]) -> bool:
    """Only `*` stands for something else: a title may have brackets in it.

    >>> _is_of("Login [beta]", ["login [beta]"]), _is_of("Login b", ["login [beta]"])
    (True, False)
    """
    known = source.strip().casefold()
    return any(fnmatch.fnmatchcase(known, pattern.strip().casefold().replace("[", "[[]")) for pattern in patterns)
