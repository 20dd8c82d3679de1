"""Idempotency: which (source, id) pairs are in the ledger, as 64-bit fingerprints; a hit is confirmed by the entry.

Recent entries stand in a dictionary, older ones in sorted arrays (runs) merged geometrically, 12 bytes an entry.
Runs are derived from packs at start, so they are no part of the truth. A false hit costs one look at an entry, never
an event; a fingerprint is keyed arithmetic over the id's 128 bits, so that a batch of them is a few vector operations.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from muniment.errors import VerificationError
from muniment.ledger.folder import Folder
from muniment.ledger.packs import pack_path

__all__ = ["Dedup", "fingerprints", "packed_prints"]

RECENT_MAX: Final = 131_072
_KEYS: Final = tuple(np.uint64(secrets.randbits(64) | 1) for _ in range(2))
"""Made anew by every process: fingerprints are never stored, and nobody can make ids that collide on purpose."""
Prints = npt.NDArray[np.uint64]


@lru_cache(maxsize=65_536)
def _source_print(source: str) -> int:
    return int.from_bytes(blake2b(source.encode(), digest_size=8).digest(), "big")


def fingerprints(ids: bytes, sources: Sequence[str]) -> Prints:
    """One fingerprint per entry; `ids` holds 16 bytes each, joined."""
    return _mixed(ids, np.array([_source_print(source) for source in sources], np.uint64))


def packed_prints(files: Folder) -> Iterator[Prints]:
    """The fingerprints of each pack of a shard, in order; a source's name is looked at once a pack, not once an entry.

    Raises:
        VerificationError: a pack cannot be read; names the file.
    """
    number = 0
    while files.exists(pack_path(number)):
        try:
            with pq.ParquetFile(
                pa.BufferReader(pa.py_buffer(files.view(pack_path(number)))), read_dictionary=["source"]
            ) as file:
                table = file.read(columns=["id", "source"], use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise VerificationError(
                f"{pack_path(number)}: cannot be read as a pack ({error}); restore it from a mirror"
            ) from error
        ids = b"".join(
            bytes(chunk.buffers()[1])[16 * chunk.offset : 16 * (chunk.offset + len(chunk))]
            for chunk in table["id"].chunks
        )
        named = [
            np.array([_source_print(name) for name in chunk.dictionary.to_pylist()], np.uint64)[
                chunk.indices.to_numpy(zero_copy_only=False)
            ]
            for chunk in table["source"].chunks
        ]
        yield _mixed(ids, np.concatenate(named))
        number += 1


def _mixed(ids: bytes, named: Prints) -> Prints:
    words = np.frombuffer(ids, ">u8").astype(np.uint64).reshape(-1, 2)
    mixed: Prints = (words[:, 0] * _KEYS[0] + words[:, 1] * _KEYS[1]) ^ named
    return mixed


class Dedup:
    """Fingerprint -> index. Used by the one writer."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._twins: dict[int, list[int]] = {}  # further indexes of a fingerprint that two different ids share
        self._runs: list[tuple[Prints, npt.NDArray[np.unsignedinteger[Any]]]] = []

    def add(self, prints: Prints, first: int) -> None:
        """Consecutive entries from index `first`."""
        listed = prints.tolist()
        if not self._recent.keys().isdisjoint(listed):
            for value, index in zip(listed, range(first, first + len(listed)), strict=True):
                if self._recent.setdefault(value, index) != index:
                    self._twins.setdefault(value, []).append(index)
        else:
            self._recent.update(zip(listed, range(first, first + len(listed)), strict=True))
        if len(self._recent) >= RECENT_MAX:
            keys = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
            values = np.fromiter(self._recent.values(), np.uint64, len(self._recent))
            self._recent = {}
            self.add_run(keys, values)

    def add_run(self, keys: Prints, values: Prints) -> None:
        """A run of fingerprints and their indexes, in any order."""
        if len(values) and int(values.max()) < 1 << 32:
            values = values.astype(np.uint32)  # 12 bytes an entry until there are four thousand million
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], values[order]))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (k1, v1), (k2, v2) = self._runs[-2:]
            merged = np.concatenate([k1, k2])
            order = np.argsort(merged, kind="stable")
            self._runs[-2:] = [(merged[order], np.concatenate([v1, v2])[order])]

    def candidates(self, prints: Prints) -> dict[int, list[int]]:
        """Position in `prints` -> indexes that may be the same event; only positions that have any."""
        found: dict[int, list[int]] = {}
        listed = prints.tolist()
        if not self._recent.keys().isdisjoint(listed):
            for at, value in enumerate(listed):
                if value in self._recent:
                    found.setdefault(at, []).extend([self._recent[value], *self._twins.get(value, ())])
        if self._twins:
            for at, value in enumerate(listed):
                if value in self._twins and value not in self._recent:
                    found.setdefault(at, []).extend(self._twins[value])
        for keys, values in self._runs:
            starts = np.searchsorted(keys, prints)
            hits = np.nonzero(keys[np.minimum(starts, len(keys) - 1)] == prints)[0]
            for hit in hits.tolist():
                k = int(starts[hit])
                while k < len(keys) and int(keys[k]) == listed[hit]:
                    found.setdefault(hit, []).append(int(values[k]))
                    k += 1
        return found
