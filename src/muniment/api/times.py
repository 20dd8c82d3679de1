"""Points in time as people and programs write them, to UTC nanoseconds. Pure.

Accepted: RFC 3339 (`2026-11-23T06:36:01.5Z`), a date, `now`, and an offset from now (`-24h`, `-15m`, `-7d`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from muniment.errors import RejectedError

__all__ = ["parse_time", "rfc3339"]

_UNIT_NS: Final = {"s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9, "w": 604_800 * 10**9}
_OFFSET = re.compile(r"([+-]?)([0-9]{1,6})([smhdw])")
_FRACTION = re.compile(r"[.,]([0-9]{1,12})")


def parse_time(text: str, now_ns: int, *, field: str = "time") -> int:
    """The moment `text` names, in UTC nanoseconds; a time without a zone is UTC.

    Raises:
        RejectedError: `text` is none of the accepted forms; `.field` is `field`.

    >>> parse_time("-1h", 7_200_000_000_000)
    3600000000000
    >>> parse_time("1970-01-01T00:00:01.123456789+00:00", 0)
    1123456789
    """
    text = text.strip()
    if text == "now":
        return now_ns
    offset = _OFFSET.fullmatch(text)
    if offset:
        sign, count, unit = offset.groups()
        return max(0, now_ns + (int(count) if sign == "+" else -int(count)) * _UNIT_NS[unit])
    fraction_ns = 0

    def take_fraction(match: re.Match[str]) -> str:
        nonlocal fraction_ns
        fraction_ns = int(match[1][:9].ljust(9, "0"))
        return ""

    try:
        moment = datetime.fromisoformat(_FRACTION.sub(take_fraction, text, count=1))
    except ValueError:
        raise RejectedError(
            f"{text[:64]!r} is no time; write 2026-11-23T06:36:01Z, 2026-11-23, now or -24h", field=field
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if not 0 <= seconds < 8_000_000_000:
        raise RejectedError("the time must lie between 1970 and 2223", field=field)
    return seconds * 10**9 + fraction_ns


def rfc3339(time_ns: int) -> str:
    """UTC with microseconds, the form used everywhere outside.

    >>> rfc3339(1_000_001_000)
    '1970-01-01T00:00:01.000001Z'
    """
    seconds, ns = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1000:06d}Z"
