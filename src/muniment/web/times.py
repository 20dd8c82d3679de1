"""Ranges of time as people say them: presets, typed words, absolute. Pure; the zone and the clock are arguments.

One text names a range everywhere (`when` in the URL): `24h`, `mtd`, `yesterday 9-17`, or two moments joined by `/`.
Ranges are half-open: the start belongs to it, the end does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from muniment.errors import RejectedError

__all__ = ["PRESETS", "Range", "absolute", "ago", "clock_text", "parse_range", "span_text", "utc_text", "zone_of"]

SECOND: Final = 10**9
DAY: Final = 86_400 * SECOND
_UNITS: Final = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": DAY, "w": 7 * DAY}
_WORDS: Final = {"sec": "s", "min": "m", "hour": "h", "hr": "h", "day": "d", "week": "w", "second": "s", "minute": "m"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PRESETS: Final = (
    ("15m", "Last 15 minutes"),
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("today", "Today"),
    ("yesterday", "Yesterday"),
    ("mtd", "This month so far"),
    ("last month", "Last month"),
    ("last quarter", "Last quarter"),
    ("all", "Everything"),
)
_LABELS: Final = dict(PRESETS)


@dataclass(frozen=True, slots=True)
class Range:
    """[start, end) in UTC nanoseconds, with the text that names it. `is_open`: it reaches to now."""

    text: str
    label: str
    start: int | None
    end: int
    is_open: bool


def zone_of(name: str) -> tzinfo:
    """A zone by its IANA name; UTC when there is no such zone."""
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", name) or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def parse_range(text: str, now_ns: int, zone: tzinfo) -> Range:
    """The range a text names.

    Raises:
        RejectedError: it names none; the reason shows what would.

    >>> r = parse_range("1h", 7_200 * 10**9, UTC); (r.start, r.end, r.is_open)
    (3600000000000, 7200000000000, True)
    >>> parse_range("1970-01-02", 0, UTC).start == 86_400 * 10**9
    True
    """
    words = " ".join(text.strip().lower().split())
    if words in {"", "all", "everything"}:
        return Range("all", "Everything", None, now_ns, True)
    if "/" in words or ".." in words:
        return _between(text, now_ns, zone)
    named = _named(words, now_ns, zone)
    if named:
        return named
    amount = re.fullmatch(r"(?:last |-)?(\d{1,5}) ?([a-z]+?)s?(?: ago)?", words) or re.fullmatch(
        r"-?(\d{1,5})(s)", words
    )
    if amount:
        unit = _WORDS.get(amount[2], amount[2])
        if unit in _UNITS:
            span = int(amount[1]) * _UNITS[unit]
            short = f"{amount[1]}{unit}"
            return Range(short, _LABELS.get(short, f"Last {span_text(span)}"), max(0, now_ns - span), now_ns, True)
    raise RejectedError(
        f"'{text.strip()[:64]}' is no range; write 24h, yesterday, yesterday 9-17, 2026-11-20, 2026-11-20 09:00-17:30, mtd",
        field="when",
    )


def _named(words: str, now_ns: int, zone: tzinfo) -> Range | None:
    """Days and months, with hours or without."""
    now = _local(now_ns, zone)
    if words in {"mtd", "month to date", "this month"}:
        first = datetime.combine(now.date().replace(day=1), time(), zone)
        return Range("mtd", _LABELS["mtd"], _ns(first), now_ns, True)
    if words in {"last month", "last quarter"}:
        last = now.date().replace(day=1)
        if words == "last quarter":
            last = last.replace(month=last.month - (last.month - 1) % 3)
        first_day = (last - timedelta(days=1)).replace(day=1)
        if words == "last quarter":
            first_day = date(first_day.year, first_day.month - 2, 1)
        return Range(
            words,
            _LABELS[words],
            _ns(datetime.combine(first_day, time(), zone)),
            _ns(datetime.combine(last, time(), zone)),
            False,
        )
    match = re.fullmatch(
        r"(today|yesterday|\d{4}-\d{2}-\d{2})(?: (\d{1,2})(?::(\d{2}))?\s?(?:-|to|–)\s?(\d{1,2})(?::(\d{2}))?)?", words
    )
    if not match:
        return None
    try:
        day = {"today": now.date(), "yesterday": now.date() - timedelta(days=1)}.get(match[1]) or date.fromisoformat(
            match[1]
        )
        if match[2] is None:
            start, end = datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)
        else:
            start = datetime.combine(day, time(int(match[2]), int(match[3] or 0)), zone)
            last_hour = int(match[4])
            end = (
                datetime.combine(day + timedelta(days=1), time(), zone)
                if last_hour == 24
                else datetime.combine(day, time(last_hour, int(match[5] or 0)), zone)
            )
            if end <= start:
                end += timedelta(days=1)
    except ValueError:
        raise RejectedError(f"'{words}' is not on the calendar or the clock", field="when") from None
    is_open = _ns(end) > now_ns
    return Range(
        words,
        _LABELS.get(words, words.capitalize()),
        _ns(start),
        min(_ns(end), now_ns) if is_open and _ns(start) < now_ns else _ns(end),
        is_open,
    )


def _between(text: str, now_ns: int, zone: tzinfo) -> Range:
    first, _, last = text.strip().replace("..", "/").partition("/")
    start, end = _moment(first, now_ns, zone), _moment(last, now_ns, zone)
    if start >= end:
        raise RejectedError("the range ends before it starts", field="when")
    label = f"{clock_text(start, zone, 'minute')} to {clock_text(end, zone, 'minute')}"
    return Range(absolute(start, end), label, start, end, False)


def _moment(text: str, now_ns: int, zone: tzinfo) -> int:
    text = text.strip()
    if text in {"", "now"}:
        return now_ns
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RejectedError(f"'{text[:64]}' is no time; write 2026-11-23T06:36 or 2026-11-23", field="when") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    if not 1970 <= moment.year < 2200:
        raise RejectedError("the time must lie between 1970 and 2200", field="when")
    return _ns(moment)


def absolute(start: int, end: int) -> str:
    """The text of an absolute range: it means the same to everybody, tomorrow too."""
    return f"{utc_text(start)}/{utc_text(end)}"


def utc_text(at_ns: int) -> str:
    """RFC 3339 in UTC with milliseconds where there are any; exact to the microsecond.

    >>> utc_text(1_000_001_000), utc_text(0)
    ('1970-01-01T00:00:01.000001Z', '1970-01-01T00:00:00Z')
    """
    moment = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return moment.replace(tzinfo=None).isoformat() + "Z"


def clock_text(at_ns: int, zone: tzinfo, precision: str = "milli") -> str:
    """A moment on a reader's clock: `2026-11-23 06:36:01.123`."""
    moment = _local(at_ns, zone)
    if precision == "minute":
        return f"{moment:%Y-%m-%d %H:%M}"
    if precision == "second":
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def span_text(span_ns: int) -> str:
    """A length of time in the largest unit that reads well.

    >>> span_text(90 * 10**9), span_text(3 * 86_400 * 10**9), span_text(3_600 * 10**9)
    ('90 seconds', '3 days', '1 hour')
    """
    for unit, name, least in (("d", "day", 2), ("h", "hour", 1), ("m", "minute", 2), ("s", "second", 0)):
        count = span_ns // _UNITS[unit]
        if count >= least or unit == "s":
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("seconds always match")


def ago(at_ns: int | None, now_ns: int) -> str:
    """How long ago, in words."""
    if at_ns is None:
        return "never"
    return "just now" if now_ns - at_ns < 5 * SECOND else f"{span_text(now_ns - at_ns)} ago"


def _local(at_ns: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).astimezone(zone)


def _ns(moment: datetime) -> int:
    delta = moment.astimezone(UTC) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * 1000
