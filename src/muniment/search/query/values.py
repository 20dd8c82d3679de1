"""Times and addresses as people write them, to intervals. Pure; `now_us` arrives as an argument."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta

from muniment.errors import RejectedError

__all__ = ["network", "number", "time_span"]

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"(?:now)?-(\d{1,6})([smhdw])")
_ABSOLUTE = re.compile(
    r"(\d{4})-(\d{2})(?:-(\d{2})(?:[T ](\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d{2}:?\d{2})?)?"
)
_V4_START = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,2})\.\*")
_MAPPED = 0xFFFF << 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_span(text: str, now_us: int) -> tuple[int, int]:
    """The half-open interval a time word covers: a day for a date, a microsecond for `-24h`.

    >>> time_span("1970-01-02", 0)
    (86400000000, 172800000000)
    >>> time_span("-1m", 60_000_000)
    (0, 1)
    """
    if text == "now":
        return now_us, now_us + 1
    if relative := _RELATIVE.fullmatch(text):
        moment = now_us - int(relative[1]) * _UNITS[relative[2]] * 1_000_000
        return moment, moment + 1
    if absolute := _ABSOLUTE.fullmatch(text):
        try:
            return _absolute(absolute)
        except (ValueError, OverflowError):
            pass
    raise RejectedError(f"{text!r} is not a time; write -24h, 2026-11-23 or 2026-11-23T06:30:00Z")


def _absolute(match: re.Match[str]) -> tuple[int, int]:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "0").ljust(6, "0")[:6])
    start = datetime(
        int(year), int(month), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), micros, UTC
    )
    if zone and zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        start -= sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    start_us = (start - _EPOCH) // timedelta(microseconds=1)
    if fraction:
        return start_us, start_us + 1
    if day is None:
        following = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        return start_us, (following - _EPOCH) // timedelta(microseconds=1)
    seconds = 1 if second else 60 if minute else 3_600 if hour else 86_400
    return start_us, start_us + seconds * 1_000_000


def network(text: str) -> tuple[int, int]:
    """First and last address, as IPv6 numbers, of an address, a CIDR network, or `10.0.*`.

    >>> hex(network("10.0.*")[0]), hex(network("10.0.0.0/16")[1])
    ('0xffff0a000000', '0xffff0a00ffff')
    """
    if start := _V4_START.fullmatch(text):
        octets = start[1].split(".")
        text = ".".join(octets + ["0"] * (4 - len(octets))) + f"/{8 * len(octets)}"
    try:
        found = ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        raise RejectedError(
            f"{text!r} is not an address or network; write 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32"
        ) from None
    shift = _MAPPED if found.version == 4 else 0
    return int(found.network_address) + shift, int(found.broadcast_address) + shift


def number(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"-?\d{1,20}", text):
        raise RejectedError(f"{text!r} is not a whole number")
    return int(text)
