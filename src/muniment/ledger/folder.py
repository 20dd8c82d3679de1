"""A folder of one shard: relative paths over `storage.Files`, with the few compound steps the shard takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from muniment.ledger.storage import TEMPORARY_SUFFIX, Files, Handle, replace_file

__all__ = ["Appender", "Folder"]


class Appender:
    """An open file that only grows. One user at a time."""

    def __init__(self, handle: Handle, n_bytes: int) -> None:
        self._handle = handle
        self._n_bytes = n_bytes

    def write(self, data: bytes) -> None:
        """Append; not durable yet."""
        self._handle.pwrite(data, self._n_bytes)
        self._n_bytes += len(data)

    def sync(self) -> None:
        """All that was written is durable on return."""
        self._handle.fdatasync()

    def truncate(self, n_bytes: int) -> None:
        """Cut back to `n_bytes`; used only for what was never acknowledged."""
        self._handle.truncate(n_bytes)
        self._n_bytes = n_bytes

    def close(self) -> None:
        """Let go of the handle."""
        self._handle.close()


@dataclass(frozen=True, slots=True)
class Folder:
    """`files` below `root`."""

    files: Files
    root: str

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def below(self, path: str) -> Folder:
        """A folder below."""
        return Folder(self.files, self._at(path))

    def open_append(self, path: str, *, is_new: bool) -> Appender:
        """Open for appending; a new file's name is durable on return."""
        handle = self.files.open(self._at(path), is_new=is_new, mode=0o600)
        if is_new:
            self.files.fsync_dir(os.path.dirname(self._at(path)))
        return Appender(handle, handle.size())

    def write_atomic(self, path: str, data: bytes, *, is_durable: bool, mode: int = 0o644) -> None:
        """The old content or the new, never a mixture; durable on return if asked for."""
        full = self._at(path)
        folder = os.path.dirname(full)
        if not self.files.exists(folder):
            self.files.makedirs(folder)
        if is_durable:
            replace_file(self.files, full, data, mode=mode)
            return
        temporary = full + TEMPORARY_SUFFIX
        if self.files.exists(temporary):
            self.files.unlink(temporary)
        handle = self.files.open(temporary, is_new=True, mode=mode)
        try:
            handle.pwrite(data, 0)
        finally:
            handle.close()
        self.files.rename(temporary, full)

    def sync_file(self, path: str) -> None:
        """Make an existing file and its name durable."""
        handle = self.files.open(self._at(path))
        try:
            handle.fdatasync()
        finally:
            handle.close()
        self.files.fsync_dir(os.path.dirname(self._at(path)))

    def read(self, path: str) -> bytes:
        """The whole file."""
        return self.files.read(self._at(path))

    def exists(self, path: str) -> bool:
        """Is there such a file or folder?"""
        return self.files.exists(self._at(path))

    def list(self, path: str) -> list[str]:
        """Sorted names."""
        return self.files.listdir(self._at(path))

    def unlink(self, path: str) -> None:
        """Remove a file that may be gone already."""
        if self.files.exists(self._at(path)):
            self.files.unlink(self._at(path))

    def make_folder(self, path: str) -> None:
        """The folder exists, durably."""
        self.files.makedirs(self._at(path))

    def mode(self, path: str) -> int:
        """Permission bits."""
        return self.files.mode(self._at(path))

    def view(self, path: str) -> memoryview:
        """An immutable file, mapped."""
        return self.files.view(self._at(path))

    def local_path(self, path: str) -> Path:
        """Where another engine finds the file."""
        return Path(self._at(path))

    def free_bytes(self) -> int:
        """Space left."""
        return self.files.free_bytes(self.root)

    def now_ns(self) -> int:
        """The clock."""
        return self.files.now_ns()

    def random(self, n_bytes: int) -> bytes:
        """Random bytes."""
        return self.files.random(n_bytes)
