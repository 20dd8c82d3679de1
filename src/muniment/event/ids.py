"""Event ids: UUIDv7 made here, or a producer's id brought to UUID form (ARCHITECTURE section 3, header field `id`).

Pure: time and randomness arrive as arguments. A producer's id that is a UUID is kept. Any other string may be
personal (an e-mail address, an order number), and leaves are public to witnesses, so it becomes a UUIDv8 under a
keyed hash; the original id stays inside the record.
"""

from __future__ import annotations

import hmac
import re

__all__ = ["UUID_PATTERN", "event_uuid", "uuid7"]

UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid7(now_ns: int, random: bytes) -> str:
    """The UUIDv7 of a moment (RFC 9562 section 5.7); `random` holds 10 bytes, of which 74 bits are used.

    >>> uuid7(1_700_000_000_000_000_000, bytes(10))
    '018bcfe5-6800-7000-8000-000000000000'
    """
    value = (now_ns // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return _text(value)


def event_uuid(source: str, producer_id: str, key: bytes) -> str:
    """The ledger's id for a producer's `producer_id`: itself when it is a UUID, else a keyed UUIDv8.

    The same (source, producer_id) always gives the same id, which is what makes a resend a no-op.
    """
    lowered = producer_id.lower()
    if UUID_PATTERN.fullmatch(lowered):
        return lowered
    digest = hmac.digest(
        key,
        b"muniment/event-id/v1\n" + source.encode() + b"\n" + producer_id.encode("utf-8", "surrogatepass"),
        "sha256",
    )
    value = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
    return _text(value)


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
