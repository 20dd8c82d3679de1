"""The micro-witness: the last checkpoint of each ledger is kept, and a later one may not be smaller.

Every producer that keeps a checkpoint makes a rolled-back or forked ledger visible, without asking anyone. Compared
are size and root hash. Signatures and consistency proofs are not checked here: the standard library has no Ed25519, and
proofs need a reader's key. The signed note is kept word for word, so `muniment verify --since` can do both.

Processes share the file: a checkpoint read from it *before* a request started must be covered by that request's
answer. One that another process wrote meanwhile says nothing, because answers overtake each other.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.sdk.limits import ORIGINS_MAX

__all__ = ["Checkpoint", "Contradiction", "Witness"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A ledger's word about itself: `size` entries hash to `root_hash`; `note` is the signed text as received."""

    origin: str
    size: int
    root_hash: bytes
    note: str

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """Read the body of a signed note; raises ValueError if it is none."""
        lines = note.split("\n\n", 1)[0].split("\n")
        if len(lines) < 3 or not lines[0] or not (lines[1].isascii() and lines[1].isdigit()):
            raise ValueError("not a checkpoint")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except binascii.Error:
            raise ValueError("not a checkpoint") from None
        return cls(lines[0], int(lines[1]), root, note)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two checkpoints of one ledger that cannot both be true of a log that only grows."""

    kept: Checkpoint
    seen: Checkpoint

    def __str__(self) -> str:
        if self.kept.size == self.seen.size:
            return f"{self.kept.origin}: two different trees of size {self.kept.size}"
        return f"{self.kept.origin}: had {self.kept.size} entries, now says {self.seen.size}"


class Witness:
    """Keeps checkpoints in `path`, or in memory. Used from any thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()

    def known(self) -> Mapping[str, Checkpoint]:
        """What is kept now, also by other processes; to be read before a request starts."""
        with self._lock:
            self._load()
            return dict(self._kept)

    def judge(self, known: Mapping[str, Checkpoint], seen: Checkpoint) -> Contradiction | None:
        """Keep `seen` if it agrees with what was `known` before it was asked for; else say what it contradicts."""
        kept = known.get(seen.origin)
        if kept is not None and (
            seen.size < kept.size or (seen.size == kept.size and seen.root_hash != kept.root_hash)
        ):
            return Contradiction(kept, seen)
        with self._lock:
            self._load()
            newest = self._kept.get(seen.origin)
            if newest is None or newest.size < seen.size:
                self._kept[seen.origin] = seen
                self._save()
        return None

    def forget(self) -> None:
        """Start anew: after an operator has restored the ledger and knows what was lost."""
        with self._lock:
            self._kept.clear()
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            notes = json.loads(self._path.read_text("utf-8"))
            found = [Checkpoint.parse(note) for note in notes]
        except (OSError, ValueError, TypeError, AttributeError):
            return  # none yet, or not readable: what this process has seen itself still counts
        self._kept |= {one.origin: one for one in found if self._size_of(one.origin) < one.size}

    def _size_of(self, origin: str) -> int:
        kept = self._kept.get(origin)
        return -1 if kept is None else kept.size

    def _save(self) -> None:
        while len(self._kept) > ORIGINS_MAX:
            del self._kept[next(iter(self._kept))]
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.{threading.get_ident()}")
        with contextlib.suppress(OSError):  # a full disk must not stop delivery; memory still holds it
            temporary.write_text(json.dumps([one.note for one in self._kept.values()]), "utf-8")
            temporary.replace(self._path)
