"""What travels from a door to the ledger: `Arrival`, one sender's events as they came in one request or read.

Pure. An arrival is a struct of parallel lists, because the hot path works per batch: no object per event exists
unless a later step needs it. Every record is the UTF-8 text of one JSON object, also for protocols that carry
plain text (their wire module builds the object and keeps the bytes as received under `raw` or `raw_b64`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["INTERNAL", "Arrival"]


INTERNAL: Final = "internal"
"""The door of our own records: no reading, and no alert, waits because of what others send."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Events of one sender, in the order received.

    `records[k]` is one JSON object text. `ids[k]` is the producer's own event id or None; `sqs[k]` its gap-free
    counter or None; either list may be None when no event has one. `quarantined[k]` is the reason an event was not
    understood (its record is then `{"$quarantine": {...}, "$raw": ...}`), or None.
    """

    source: str
    door: str
    received_at: int  # UTC nanoseconds, our edge clock
    records: Sequence[bytes]
    ids: Sequence[str | None] | None = None
    sqs: Sequence[int | None] | None = None
    quarantined: Sequence[str | None] | None = None
    peer: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes of all records, what the pipeline's memory bound counts."""
        return sum(map(len, self.records))
