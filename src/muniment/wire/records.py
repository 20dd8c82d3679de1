"""What a wire parser hands over: parallel lists of records, and the quarantine record for what was not understood.

Pure. A record is the UTF-8 text of one JSON object. Nothing a sender was told is received may be missing: bytes
that are no event become `{"$quarantine": {"reason", "door", ...}, "$raw": text}` (or `"$raw_b64"` when they are not
UTF-8). An event larger than RECORD_BYTES_MAX is kept whole, cut over several such records that name their part,
the number of parts and the SHA-256 of the whole, so that it can be joined again.

Stops at records: ids become UUIDs, and secrets are searched for, later.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from muniment.limits import PRODUCER_ID_CHARS_MAX, RECORD_BYTES_MAX

__all__ = ["Records", "judged_records", "producer_id", "quarantine_records"]


@dataclass(slots=True)
class Records:
    """Records being collected, in the order received. `items[k]` is the number of the sender's event they stem from.

    One sender's event is one record, except when it is oversized; answers per item go through `item_first`.
    """

    records: list[bytes] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    sqs: list[int | None] = field(default_factory=list)
    quarantined: list[str | None] = field(default_factory=list)
    item_first: list[int] = field(default_factory=list)

    def add(self, record: bytes, event_id: str | None, sq: int | None, *, door: str) -> None:
        """One understood event. Above RECORD_BYTES_MAX it is quarantined in parts instead."""
        if len(record) > RECORD_BYTES_MAX:
            self.quarantine(record, "oversized", door=door, event_id=event_id)
            return
        self.item_first.append(len(self.records))
        self.records.append(record)
        self.ids.append(event_id)
        self.sqs.append(sq)
        self.quarantined.append(None)

    def add_all(self, records: Sequence[bytes], ids: Sequence[str | None], sqs: Sequence[int | None]) -> None:
        """Many understood events within bounds; the caller has checked each against RECORD_BYTES_MAX."""
        first = len(self.records)
        self.item_first.extend(range(first, first + len(records)))
        self.records.extend(records)
        self.ids.extend(ids)
        self.sqs.extend(sqs)
        self.quarantined.extend([None] * len(records))

    def quarantine(self, raw: bytes, reason: str, *, door: str, event_id: str | None = None) -> None:
        """Bytes that are no event, kept as they came."""
        self.item_first.append(len(self.records))
        for number, record in enumerate(quarantine_records(raw, reason, door)):
            self.records.append(record)
            self.ids.append(event_id if number == 0 or event_id is None else f"{event_id}#part{number + 1}")
            self.sqs.append(None)
            self.quarantined.append(reason)

    @property
    def n_items(self) -> int:
        """How many events the sender gave."""
        return len(self.item_first)

    @property
    def n_quarantined(self) -> int:
        """How many of them were not understood."""
        if not any(self.quarantined):
            return 0
        return sum(1 for first in self.item_first if self.quarantined[first] is not None)


def producer_id(value: object) -> str | None:
    """A producer's own event id from a JSON value: a non-empty string within bounds or a whole number, else None."""
    if type(value) is str:
        return value if 0 < len(value) <= PRODUCER_ID_CHARS_MAX else None
    return str(value) if type(value) is int else None


def judged_records(found: Records, reasons: Sequence[str | None], *, door: str) -> Records:
    """`found`, with every record that has a reason in quarantine; for records built here and judged afterwards."""
    if not any(reasons):
        return found
    judged = Records()
    for item, first in enumerate(found.item_first):
        known, reason = found.quarantined[first], reasons[first]
        if known is None and reason is not None:
            judged.quarantine(found.records[first], reason, door=door, event_id=found.ids[first])
            continue
        last = found.item_first[item + 1] if item + 1 < found.n_items else len(found.records)
        judged.item_first.append(len(judged.records))
        judged.records += found.records[first:last]
        judged.ids += found.ids[first:last]
        judged.sqs += found.sqs[first:last]
        judged.quarantined += found.quarantined[first:last]
    return judged


def quarantine_records(raw: bytes, reason: str, door: str) -> list[bytes]:
    """The records that keep `raw`, each at most RECORD_BYTES_MAX; one, unless the bytes are many.

    >>> quarantine_records(b"<oops", "not JSON", "http")
    [b'{"$quarantine":{"reason":"not JSON","door":"http"},"$raw":"<oops"}']
    """
    whole = _record({"reason": reason, "door": door}, raw)
    if len(whole) <= RECORD_BYTES_MAX:
        return [whole]
    # JSON escapes one byte as up to six, base64 three as four: a sixth of the bound always fits, beside the header.
    step = RECORD_BYTES_MAX // 6 - 256
    pieces: list[bytes] = []
    start = 0
    while start < len(raw):
        end = min(start + step, len(raw))
        for _ in range(3 if end < len(raw) else 0):
            if raw[end] & 0xC0 != 0x80:
                break
            end -= 1  # not inside a UTF-8 sequence: the halves of one would both be bytes instead of text
        pieces.append(raw[start:end])
        start = end
    shared = {"parts": len(pieces), "n_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    return [
        _record({"reason": reason, "door": door, "part": number, **shared}, piece)
        for number, piece in enumerate(pieces, start=1)
    ]


def _record(header: dict[str, object], raw: bytes) -> bytes:
    try:
        return orjson.dumps({"$quarantine": header, "$raw": raw.decode()})
    except UnicodeDecodeError:
        return orjson.dumps({"$quarantine": header, "$raw_b64": base64.b64encode(raw).decode()})
