"""Where the bars of the histogram stand: positions in per cent across, pixels down. Pure.

Failures stand at the bottom of each bar, where small numbers can be compared. What the store has not seen yet is a
region of its own, never zero; so is a stretch in which nothing at all was recorded, not even a heartbeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from muniment.limits import HEARTBEAT_S
from muniment.web.backend import Series
from muniment.web.times import clock_text, utc_text

__all__ = ["HEIGHT", "Bar", "Chart", "Gap", "Tick", "chart", "gaps"]

HEIGHT: Final = 96
"""Of the bars, in pixels."""

ORDER: Final = ("failure", "unknown", "success")
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
                   86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One coloured piece of a bar."""

    name: str
    count: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket: its span as a `when` text, its place, its parts from the bottom up."""

    when: str
    label: str
    x: float
    width: float
    total: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label under the bars; the first says the day too."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch in which nobody sent anything and the ledger itself was silent: unknown, not zero."""

    x: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the picture needs. `unseen_x`: from here to the right nothing is complete; 100 when all is seen."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    top: int
    totals: tuple[tuple[str, int], ...]
    total: int
    unseen_x: float
    start: int
    end: int
    step_ns: int
    gaps: tuple[Gap, ...] = ()


def gaps(everything: Series, zone: tzinfo) -> tuple[Gap, ...]:
    """Where nothing was recorded for longer than an idle ledger stays silent (`HEARTBEAT_S`)."""
    totals = [sum(counts) for counts in zip(*everything.series.values(), strict=True)]
    span, step = max(1, everything.end - everything.start), everything.step_ns
    found: list[Gap] = []
    at = 0
    while at < len(totals):
        run = at
        while run < len(totals) and not totals[run]:
            run += 1
        first, last = everything.start + at * step, min(everything.start + run * step, everything.end)
        if last - first >= 2 * HEARTBEAT_S * 10**9:
            words = "Before the first record" if not any(totals[:at]) else "Nothing was recorded"
            if not any(totals[run:]):
                words = "Nothing recorded after this"
            label = f"{words}: {clock_text(first, zone, 'minute')} to {clock_text(last, zone, 'minute')}"
            found.append(
                Gap(round(100 * (first - everything.start) / span, 3), round(100 * (last - first) / span, 3), label)
            )
        at = max(run, at + 1)
    return tuple(found)


def chart(found: Series, complete_to_ns: int, pending: int, zone: tzinfo) -> Chart:
    """The picture of a series."""
    names = [name for name in ORDER if name in found.series] + [n for n in found.series if n not in ORDER]
    n_bars = max((len(found.series[name]) for name in names), default=0)
    totals = [sum(found.series[name][k] for name in names) for k in range(n_bars)]
    top = max(totals, default=0)
    span = max(1, found.end - found.start)
    slot = 100 * found.step_ns / span
    bars = tuple(
        _bar(found, names, k, totals[k], top, slot, zone)
        for k in range(n_bars)
        if found.start + k * found.step_ns < found.end
    )
    unseen_x = 100.0
    if pending and complete_to_ns < found.end:
        unseen_x = max(0.0, 100 * (complete_to_ns - found.start) / span)
    return Chart(
        bars,
        tuple(_ticks(found.start, found.end, zone)),
        top,
        tuple(
            (name, sum(found.series[name])) for name in (*ORDER, *[n for n in names if n not in ORDER]) if name in names
        ),
        sum(totals),
        round(unseen_x, 3),
        found.start,
        found.end,
        found.step_ns,
    )


def _bar(found: Series, names: Sequence[str], k: int, total: int, top: int, slot: float, zone: tzinfo) -> Bar:
    start = found.start + k * found.step_ns
    end = min(start + found.step_ns, found.end)
    y, parts = float(HEIGHT), []
    for name in names:
        count = found.series[name][k]
        if count:
            # A single failure among thousands must still be seen: never less than 1.5 pixels.
            height = max(1.5, (HEIGHT - 2) * count / top)
            y = max(0.0, y - height)
            parts.append(Part(name, count, round(y, 2), round(height, 2)))
    words = ", ".join(f"{part.count:,} {part.name}" for part in parts) or "nothing"
    label = f"{clock_text(start, zone, 'minute')} to {clock_text(end, zone, 'minute')[-5:]}: {words}"
    return Bar(
        f"{utc_text(start)}/{utc_text(end)}", label, round(k * slot, 4), round(slot * 0.86, 4), total, tuple(parts)
    )


def _ticks(start: int, end: int, zone: tzinfo) -> list[Tick]:
    span_s = (end - start) / 1e9
    step = next((s for s in _STEPS_S if span_s / s <= 7), _STEPS_S[-1])
    first = datetime.fromtimestamp(start / 1e9, UTC).astimezone(zone)
    offset = first.utcoffset() or timedelta()
    at = (start // 10**9 + int(offset.total_seconds())) // step * step + step - int(offset.total_seconds())
    ticks: list[Tick] = []
    last_day = ""
    while at * 10**9 < end:
        moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
        day = f"{moment.day} {moment:%b}"
        clock = f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
        text = day if step >= 86_400 else (f"{day} {clock}" if day != last_day else clock)
        x = 100 * (at * 10**9 - start) / max(1, end - start)
        if 2 <= x <= 96:
            ticks.append(Tick(round(x, 3), text))
            last_day = day
        at += step
    return ticks
