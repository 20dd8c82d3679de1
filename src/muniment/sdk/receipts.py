"""What the ledger acknowledged: event id -> entry, leaf hash, signed checkpoint. Kept beside the spool in SQLite.

Processes share the file. A receipt is written before the spool lets its event go. The oldest go when there are more
than RECEIPTS_MAX; a checkpoint goes with its last receipt. Connections live for one call, so a fork inherits none.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.sdk.limits import MEMORY_EVENTS_MAX, RECEIPTS_MAX

if TYPE_CHECKING:  # loaded when the first receipt comes
    import sqlite3

__all__ = ["Receipt", "ReceiptBook"]

_TABLES = """
CREATE TABLE IF NOT EXISTS checkpoints (id INTEGER PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS receipts (
    n INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, entry INTEGER NOT NULL, leaf_hash BLOB NOT NULL,
    is_duplicate INTEGER NOT NULL, checkpoint INTEGER NOT NULL REFERENCES checkpoints (id)
);
CREATE INDEX IF NOT EXISTS receipts_of_checkpoint ON receipts (checkpoint);
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ledger's acknowledgement of one event: entry `index`, covered by `checkpoint` (a signed note of `size`)."""

    event_id: str
    index: int
    leaf_hash: bytes
    size: int
    checkpoint: str
    is_duplicate: bool


class ReceiptBook:
    """Receipts in `path`, or the newest of them in memory. Used from any thread."""

    def __init__(self, path: Path | None, receipts_max: int = RECEIPTS_MAX) -> None:
        self._path = path
        self._receipts_max = receipts_max if path is not None else min(receipts_max, MEMORY_EVENTS_MAX)
        self._memory: dict[str, Receipt] = {}
        self._lock = threading.Lock()

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Keep them; the first receipt of an event stays. Raises OSError when the disk refuses."""
        if self._path is None:
            with self._lock:
                for one in receipts:
                    self._memory.setdefault(one.event_id, one)
                while len(self._memory) > self._receipts_max:
                    del self._memory[next(iter(self._memory))]
            return
        if not receipts:
            return
        with self._open(self._path) as base:
            for size, note in {(one.size, one.checkpoint) for one in receipts}:
                base.execute("INSERT OR IGNORE INTO checkpoints (size, note) VALUES (?, ?)", (size, note))
            base.executemany(
                "INSERT OR IGNORE INTO receipts (event_id, entry, leaf_hash, is_duplicate, checkpoint)"
                " VALUES (?, ?, ?, ?, (SELECT id FROM checkpoints WHERE note = ?))",
                [(one.event_id, one.index, one.leaf_hash, one.is_duplicate, one.checkpoint) for one in receipts],
            )
            newest = base.execute("SELECT max(n) FROM receipts").fetchone()[0]
            gone = base.execute("DELETE FROM receipts WHERE n <= ?", (newest - self._receipts_max,))
            if gone.rowcount:
                base.execute("DELETE FROM checkpoints WHERE id NOT IN (SELECT checkpoint FROM receipts)")

    def find(self, event_id: str) -> Receipt | None:
        """The receipt of an event; None if there is none (yet, or any more)."""
        if self._path is None:
            with self._lock:
                return self._memory.get(event_id)
        if not self._path.exists():
            return None
        with self._open(self._path) as base:
            row = base.execute(
                "SELECT event_id, entry, leaf_hash, size, note, is_duplicate"
                " FROM receipts JOIN checkpoints ON checkpoints.id = checkpoint WHERE event_id = ?",
                (event_id,),
            ).fetchone()
        return Receipt(row[0], row[1], row[2], row[3], row[4], bool(row[5])) if row else None

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[sqlite3.Connection]:
        import sqlite3

        try:
            base = sqlite3.connect(path, timeout=10)
            try:
                if base.execute("PRAGMA user_version").fetchone()[0] == 0:
                    base.execute("PRAGMA journal_mode = WAL")
                    base.executescript(_TABLES + "PRAGMA user_version = 1;")
                base.execute("PRAGMA synchronous = NORMAL")
                with base:
                    yield base
            finally:
                base.close()
        except sqlite3.Error as error:
            raise OSError(f"the receipts in {path}: {error}") from error
