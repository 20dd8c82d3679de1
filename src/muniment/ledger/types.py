"""What goes into the ledger and what comes out: parallel lists for batches, one frozen object for one entry.

Times are UTC nanoseconds; the ledger keeps microseconds. Ids are lower-case UUID text. No logic lives here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

__all__ = ["Appended", "Entries", "EntryBlock", "InclusionProof", "SealedPart", "StoredEntry"]


class SealedPart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One subject's values of one record, encrypted. `subject` and `nz` have 16 bytes, `commitment` 32.

    A msgspec struct, because a batch makes one for each of its entries: a tenth of a dataclass's time.
    """

    subject: bytes
    nz: bytes
    commitment: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """A batch to append, as parallel lists.

    `is_server_id`: which ids the server just made up (they cannot repeat, so they are not looked up); None: none.
    """

    sources: Sequence[str]
    ids: Sequence[str]
    sqs: Sequence[int | None]
    received_at: Sequence[int]
    records: Sequence[bytes]
    parts: Sequence[tuple[SealedPart, ...]]
    is_server_id: Sequence[bool] | None = None

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of each input entry; a duplicate has its first index and that entry's leaf hash."""

    indexes: Sequence[int]
    is_duplicate: Sequence[bool]
    leaf_hashes: Sequence[bytes]
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
    salt: bytes
    record: bytes
    parts: tuple[SealedPart, ...]
    leaf: bytes


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Consecutive entries from `first` on, as parallel lists."""

    first: int
    sources: Sequence[str]
    ids: Sequence[str]
    sqs: Sequence[int | None]
    received_at: Sequence[int]
    salts: Sequence[bytes]
    records: Sequence[bytes]
    parts: Sequence[tuple[SealedPart, ...]]


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That the leaf of `leaf_hash` stands at `index` in the tree of `size` whose root the checkpoint signs."""

    index: int
    size: int
    leaf_hash: bytes
    hashes: Sequence[bytes]
    root_hash: bytes
    checkpoint: bytes
