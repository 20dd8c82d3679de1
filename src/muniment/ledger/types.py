"""What goes into the ledger and what comes out: parallel lists for batches, one frozen object for one entry.

Times are UTC nanoseconds; the ledger keeps microseconds. Ids are lower-case UUID text. No logic lives here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Appended", "Entries", "EntryBlock", "SealedPart", "StoredEntry"]


@dataclass(frozen=True, slots=True)
class SealedPart:
    """One subject's values of one record, encrypted. `subject` and `nz` have 16 bytes, `commitment` 32."""

    subject: bytes
    nz: bytes
    commitment: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """A batch to append, as parallel lists.

    `is_server_id`: which ids the server just made up (they cannot repeat, so they are not looked up); None: none.
    """

    sources: list[str]
    ids: list[str]
    sqs: list[int | None]
    received_at: list[int]
    records: list[bytes]
    parts: Sequence[tuple[SealedPart, ...]]
    is_server_id: Sequence[bool] | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of each input entry; a duplicate has its first index and that entry's leaf hash."""

    indexes: list[int]
    is_duplicate: list[bool]
    leaf_hashes: list[bytes]
    size: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as kept. `record` is None when it was withheld or erased; `commitment` stays."""

    index: int
    id: str
    source: str
    sq: int | None
    received_at: int
    salt: bytes | None
    record: bytes | None
    parts: tuple[SealedPart, ...]
    commitment: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Consecutive entries from `first_index` on, as parallel lists."""

    first_index: int
    sources: list[str]
    ids: list[str]
    sqs: list[int | None]
    received_at: list[int]
    salts: list[bytes | None]
    records: list[bytes | None]
    parts: list[tuple[SealedPart, ...]]
