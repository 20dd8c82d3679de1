"""The head store: the size and root nobody may go behind, in a folder of its own, moved by compare-and-swap.

It is never restored from a backup together with the data (INTEGRITY.md D6), so a restored or doubled data folder is
found at start. The lock keeps a second server out of the same head on the same machine.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from muniment.errors import StorageError, VerificationError
from muniment.ledger.folder import Folder

__all__ = ["FolderHeadStore", "Head", "HeadStore"]

_FILE = "head"


@dataclass(frozen=True, slots=True)
class Head:
    """What was last decided: `size` entries with `root`, in `shard`, at `time_ns`."""

    shard: str
    size: int
    root: bytes
    time_ns: int


class HeadStore(Protocol):
    """Where the head lives. One writer at a time holds the lock."""

    def load(self) -> Head | None:
        """The head, None before the first. VerificationError: it is there and not readable."""
        ...

    def swap(self, old: Head | None, new: Head) -> None:
        """Make `new` the head if `old` is; durable on return. VerificationError: somebody else moved it."""
        ...

    def close(self) -> None: ...


class FolderHeadStore:
    """One small file, replaced atomically, with a check sum; and a lock file."""

    def __init__(self, files: Folder, lock_path: Path | None = None) -> None:
        self._files = files
        self._lock = -1
        if lock_path is not None:
            lock_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._lock)
                raise StorageError("another server has this head store open", path=str(lock_path)) from None
        self._known = self.load()

    def load(self) -> Head | None:
        if not self._files.exists(_FILE):
            return None
        text = self._files.read(_FILE)
        try:
            body, _, crc = text.rstrip(b"\n").rpartition(b"\n")
            shard, size, root, time_ns = body.decode("ascii").split("\n")
            if int(crc, 16) != zlib.crc32(body) or len(bytes.fromhex(root)) != 32:
                raise ValueError
            return Head(shard, int(size), bytes.fromhex(root), int(time_ns))
        except ValueError:
            raise VerificationError("the head file is damaged; restore it from its own copy, not from a data backup",
                                    evidence=text) from None  # fmt: skip

    def swap(self, old: Head | None, new: Head) -> None:
        if old != self._known or (old is not None and new.size < old.size and new.shard == old.shard):
            raise VerificationError("the head was moved by somebody else", expected=old, computed=self._known)
        body = f"{new.shard}\n{new.size}\n{new.root.hex()}\n{new.time_ns}".encode()
        self._files.write_atomic(_FILE, body + b"\n%08x\n" % zlib.crc32(body), is_durable=True)
        self._known = new

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
