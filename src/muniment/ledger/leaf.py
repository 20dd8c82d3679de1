"""Leaves: the canonical header that the tree hashes, made for a whole batch at once (ARCHITECTURE section 3).

JCS bytes of {"c":[commitments],"i":index,"id":uuid,"rt":time,"sq":counter|null,"src":source,"v":1}: keys sorted, no
spaces. The hashed bytes are the stored bytes; nobody ever re-serialises.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from muniment.ledger.types import SealedPart

__all__ = ["build_leaf", "build_leaves", "json_text", "time_text"]

_ESCAPED = {'"': '\\"', "\\": "\\\\"}


@lru_cache(maxsize=4096)
def time_text(time_us: int) -> str:
    """RFC 3339, UTC, microseconds.

    >>> time_text(1_000_001)
    '1970-01-01T00:00:01.000001Z'
    """
    seconds, us = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{us:06d}Z"


@lru_cache(maxsize=4096)
def json_text(source: str) -> str:
    """A source id as a JSON string; source ids are plain ASCII, so escaping is the two characters of RFC 8785."""
    return '"' + "".join(_ESCAPED.get(char, char) for char in source) + '"'


def build_leaf(
    index: int, event_id: str, received_us: int, sq: int | None, source: str, commitments: Sequence[bytes]
) -> bytes:
    """One leaf."""
    joined = '","'.join(b2a_base64(c, newline=False).decode() for c in commitments)
    number = "null" if sq is None else sq
    return (
        f'{{"c":["{joined}"],"i":{index},"id":"{event_id}","rt":"{time_text(received_us)}","sq":{number},'
        f'"src":{json_text(source)},"v":1}}'
    ).encode()


def build_leaves(
    first: int,
    ids: Sequence[str],
    received_us: Sequence[int],
    sqs: Sequence[int | None],
    sources: Sequence[str],
    salts: Sequence[bytes],
    records: Sequence[bytes],
    parts: Sequence[tuple[SealedPart, ...]],
) -> list[bytes]:
    """The leaves of consecutive entries."""
    found: list[bytes] = []
    append = found.append
    last_us, last_source, rt, src = -1, "", "", ""
    for index, (event_id, us, sq, source, salt, record, sealed) in enumerate(
        zip(ids, received_us, sqs, sources, salts, records, parts, strict=True), first
    ):
        if us != last_us:  # a batch has one time and mostly one source
            last_us, rt = us, time_text(us)
        if source != last_source:
            last_source, src = source, json_text(source)
        c = b2a_base64(sha256(salt + record).digest(), newline=False).decode()
        if sealed:
            c = '","'.join([c, *(b2a_base64(part.commitment, newline=False).decode() for part in sealed)])
        append(
            f'{{"c":["{c}"],"i":{index},"id":"{event_id}","rt":"{rt}","sq":{"null" if sq is None else sq},'
            f'"src":{src},"v":1}}'.encode()
        )
    return found
