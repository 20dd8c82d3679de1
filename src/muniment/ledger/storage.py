"""Every durable step, every clock reading and every random byte of the ledger goes through `Files`.

One call is one step a crash can fall before or after, so a simulator that implements `Files` sees the whole write
path. Paths are absolute strings. Rules: a write is whole or a StorageError; a failed fsync is final (the object is
poisoned and every later call raises), because the kernel may have dropped the pages and would say yes the next time;
handles and the folders of files stay open, because an error belongs to the descriptor that saw it.

It stops at bytes: what a file means is the business of its own module. INTEGRITY.md 2.7 step 4, D9, D10.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from muniment.errors import StorageError

__all__ = ["TEMPORARY_SUFFIX", "Files", "Handle", "LocalFiles", "replace_file"]

TEMPORARY_SUFFIX: Final = ".tmp"
"""Files that were being written when the process ended; start-up removes them."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_T = TypeVar("_T")


class Handle(Protocol):
    """One open file, read and write at offsets. Used by one writer; `pread` may run beside it."""

    @property
    def path(self) -> str: ...
    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data`; visible to readers, durable only after `fdatasync`."""

    def fdatasync(self) -> None:
        """Content and size are durable on return. A failure is final for the whole `Files`."""

    def preallocate(self, n_bytes: int) -> None:
        """The file has at least `n_bytes` (new ones are zero) and writing them needs no new space."""

    def truncate(self, n_bytes: int) -> None:
        """Cut to `n_bytes`; durable after `fdatasync`."""

    def pread(self, n_bytes: int, offset: int) -> bytes:
        """Up to `n_bytes`; fewer only at the end of the file."""

    def size(self) -> int: ...
    def close(self) -> None: ...


class Files(Protocol):
    """The disk, the clock and the random source. Any call may raise StorageError (`is_full` when space ran out)."""

    def open(self, path: str, *, is_new: bool = False, mode: int = 0o644) -> Handle:
        """An existing file, or with `is_new` one that must not exist. The name is durable after `fsync_dir`."""

    def lock(self, path: str) -> Handle:
        """The exclusive lock file, created when missing; held until the handle is closed or the process ends."""

    def read(self, path: str) -> bytes: ...
    def pread(self, path: str, n_bytes: int, offset: int) -> bytes: ...
    def view(self, path: str) -> memoryview:
        """The whole of an immutable file, mapped read-only where the system can; stays valid after `unlink`."""

    def rename(self, old: str, new: str) -> None:
        """Replace `new` in one step; durable after `fsync_dir` of its folder."""

    def fsync_dir(self, path: str) -> None:
        """Names in the folder are durable on return. A failure is final."""

    def unlink(self, path: str) -> None: ...
    def rmdir(self, path: str) -> None: ...
    def listdir(self, path: str) -> list[str]:
        """Sorted names; empty for a folder that does not exist."""

    def exists(self, path: str) -> bool: ...
    def size(self, path: str) -> int: ...
    def mode(self, path: str) -> int:
        """Permission bits."""

    def makedirs(self, path: str) -> None:
        """The folder and its parents exist; each new one is durable on return (its parent was fsynced)."""

    def free_bytes(self, path: str) -> int:
        """Space an ordinary user may still fill."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970. May stand still or go back."""

    def random(self, n_bytes: int) -> bytes:
        """Cryptographic random bytes."""

    @property
    def is_poisoned(self) -> bool:
        """An fsync failed: nothing may be acknowledged any more."""


def replace_file(files: Files, path: str, data: bytes, *, is_folder_synced: bool = True, mode: int = 0o644) -> None:
    """Give `path` the content `data`, whole or not at all. Without `is_folder_synced` the caller fsyncs the folder."""
    temporary = path + TEMPORARY_SUFFIX
    if files.exists(temporary):
        files.unlink(temporary)
    handle = files.open(temporary, is_new=True, mode=mode)
    try:
        handle.pwrite(data, 0)
        handle.fdatasync()
    finally:
        handle.close()
    files.rename(temporary, path)
    if is_folder_synced:
        files.fsync_dir(os.path.dirname(path))


class LocalFiles:
    """`Files` on a real POSIX file system."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._lock = threading.Lock()
        self._poison: StorageError | None = None

    @property
    def is_poisoned(self) -> bool:
        return self._poison is not None

    def open(self, path: str, *, is_new: bool = False, mode: int = 0o644) -> Handle:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if is_new else 0)
        return _LocalHandle(self, path, self._do(path, lambda: os.open(path, flags, mode)))

    def lock(self, path: str) -> Handle:
        fd = self._do(path, lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise StorageError("another process holds the lock; it is the writer of this ledger", path=path) from error
        return _LocalHandle(self, path, fd)

    def read(self, path: str) -> bytes:
        def whole() -> bytes:
            with open(path, "rb") as file:
                return file.read()

        return self._do(path, whole)

    def pread(self, path: str, n_bytes: int, offset: int) -> bytes:
        def part() -> bytes:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(fd, n_bytes, offset)
            finally:
                os.close(fd)

        return self._do(path, part)

    def view(self, path: str) -> memoryview:
        def mapped() -> memoryview:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

        return self._do(path, mapped)

    def rename(self, old: str, new: str) -> None:
        self._do(new, lambda: os.replace(old, new))

    def fsync_dir(self, path: str) -> None:
        with self._lock:
            fd = self._folders.get(path)
            if fd is None:
                if len(self._folders) >= _FOLDERS_OPEN_MAX:
                    os.close(self._folders.pop(next(iter(self._folders))))
                fd = self._folders[path] = self._do(path, lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        self._sync(path, lambda: os.fsync(fd))

    def unlink(self, path: str) -> None:
        self._do(path, lambda: os.unlink(path))

    def rmdir(self, path: str) -> None:
        with self._lock:
            fd = self._folders.pop(path, None)
        if fd is not None:
            os.close(fd)
        self._do(path, lambda: os.rmdir(path))

    def listdir(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _storage_error(path, error) from error

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def size(self, path: str) -> int:
        return self._do(path, lambda: os.stat(path).st_size)

    def mode(self, path: str) -> int:
        return self._do(path, lambda: os.stat(path).st_mode & 0o777)

    def makedirs(self, path: str) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self.makedirs(parent)
        with contextlib.suppress(FileExistsError):
            self._do(path, lambda: os.mkdir(path, 0o755))
        self.fsync_dir(parent)

    def free_bytes(self, path: str) -> int:
        def free() -> int:
            room = os.statvfs(path)
            return room.f_bavail * room.f_frsize

        return self._do(path, free)

    def now_ns(self) -> int:
        return time.time_ns()

    def random(self, n_bytes: int) -> bytes:
        return os.urandom(n_bytes)

    def close(self) -> None:
        """Close the kept folders; handles are closed by who opened them."""
        with self._lock:
            for fd in self._folders.values():
                os.close(fd)
            self._folders.clear()

    def _do(self, path: str, step: Callable[[], _T]) -> _T:
        if self._poison is not None:
            raise StorageError("stopped after a failed fsync", path=self._poison.path) from self._poison
        try:
            return step()
        except FileExistsError:
            raise
        except OSError as error:
            raise _storage_error(path, error) from error

    def _sync(self, path: str, step: Callable[[], None]) -> None:
        try:
            self._do(path, step)
        except StorageError as error:
            self._poison = self._poison or error
            raise


_FOLDERS_OPEN_MAX: Final = 256


class _LocalHandle:
    """`Handle` over one descriptor that stays open."""

    __slots__ = ("_fd", "_files", "path")

    def __init__(self, files: LocalFiles, path: str, fd: int) -> None:
        self._files = files
        self.path = path
        self._fd = fd

    def pwrite(self, data: bytes, offset: int) -> None:
        def write() -> None:
            rest, at = memoryview(data), offset
            while rest:
                n_bytes = os.pwrite(self._fd, rest, at)
                rest, at = rest[n_bytes:], at + n_bytes

        self._files._do(self.path, write)

    def fdatasync(self) -> None:
        self._files._sync(self.path, lambda: os.fdatasync(self._fd))

    def preallocate(self, n_bytes: int) -> None:
        self._files._do(self.path, lambda: os.posix_fallocate(self._fd, 0, n_bytes))

    def truncate(self, n_bytes: int) -> None:
        self._files._do(self.path, lambda: os.ftruncate(self._fd, n_bytes))

    def pread(self, n_bytes: int, offset: int) -> bytes:
        return self._files._do(self.path, lambda: os.pread(self._fd, n_bytes, offset))

    def size(self) -> int:
        return self._files._do(self.path, lambda: os.fstat(self._fd).st_size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _storage_error(path: str, error: OSError) -> StorageError:
    return StorageError(error.strerror or str(error), path=path, is_full=error.errno in _FULL)
