"""One stream of the spool: a folder with append-only files, one writer, its own counter `sq` without gaps.

    <spool>/s-<stream>.<owner>/lock                      held (flock) as long as the owner lives
                               00000000000000000042.log  records from sq 42 on; the name keeps the counter when empty
                               acked                     how far the ledger has acknowledged; a hint, never fsynced

A record is one line: CRC-32 of the rest, event id, JSON text. Rules:
- `append` returns when the records are on disk (fdatasync); threads that come together share one. With `is_synced`
  false it returns when the kernel has them: safe from the death of the process, not from that of the machine.
- What could not be written is cut off again; after a failed fsync the file is left alone and a new one begun, because
  the kernel may have dropped the pages and would not say so twice.
- A torn last line is no record. A damaged line inside is skipped and counted in `n_damaged`.
- Losing `acked` means sending again what the ledger then recognises by its id.
- A folder whose owner died is claimed by taking its lock and renaming it; the rename fails for whoever comes second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment.sdk.limits import EVENT_BYTES_MAX, SEGMENT_BYTES_MAX

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]

__all__ = ["HAS_LOCKS", "Record", "Stream", "stream_folders"]

HAS_LOCKS: Final = fcntl is not None

_HEAD: Final = 8 + 1 + 36 + 1
_LINE_MAX: Final = _HEAD + EVENT_BYTES_MAX + 256
_IDLE_ROTATE_BYTES: Final = 64 * 1024
_fdatasync = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it will be sent. `end` is where its line ends in the file that starts with `segment`."""

    event_id: str
    text: bytes
    segment: int = 0
    end: int = 0


def stream_folders(spool: Path) -> list[Path]:
    """All streams of a spool, the one used last first."""
    found = []
    for path in spool.glob("s-*.*"):
        with contextlib.suppress(OSError):  # a sibling renames what it claims
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


class Stream:
    """Made by `create` or `claim`. Any thread may append; one thread reads (`take`, `done`)."""

    def __init__(self, folder: Path, lock_fd: int, is_synced: bool = True) -> None:
        self.folder = folder
        self.id = folder.name[2:].partition(".")[0]
        self.n_damaged = 0
        self._is_synced = is_synced
        self._lock_fd = lock_fd
        self._write_lock = threading.Lock()  # file, position and counter
        self._sync_lock = threading.Lock()  # taken first where both are
        self._segments = sorted(int(path.stem) for path in folder.glob("*.log"))
        self._sq = self._next_sq()
        self.n_bytes = sum(self._path(first).stat().st_size for first in self._segments)
        self._fd: int | None = None
        self._live: int | None = None  # first sq of the file being written
        self._epoch = 0  # counts the files begun and left
        self._end = self._synced_end = 0  # in that file
        self._synced_sq = self._sq
        self._written = self._synced = 0  # bytes ever, to compare moments
        self._lost: list[tuple[int, int]] = []  # moments whose fsync failed
        self._acked_fd = os.open(folder / "acked", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._reading, self._offset = self._read_acked()

    @classmethod
    def create(cls, spool: Path, owner: str, is_synced: bool = True) -> Stream:
        """A new stream, its lock held before others can see it."""
        name = f"s-{os.urandom(4).hex()}.{owner}"
        fresh = spool / f".new-{name}"
        fresh.mkdir(mode=0o700)
        lock_fd = os.open(fresh / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(spool / name)
            _sync_folder(spool)
            return cls(spool / name, lock_fd, is_synced)
        except BaseException:
            os.close(lock_fd)
            raise

    @classmethod
    def claim(cls, folder: Path, owner: str, is_synced: bool = True) -> Stream | None:
        """The stream of a process that is gone; None if it lives, or somebody else was quicker."""
        claimed = folder.with_name(f"{folder.name.partition('.')[0]}.{owner}")
        try:
            lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.rename(claimed)
            return cls(claimed, lock_fd, is_synced)
        except (BlockingIOError, FileNotFoundError):
            os.close(lock_fd)
            return None
        except BaseException:
            os.close(lock_fd)
            raise

    # --- writing -------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Put (id, JSON text) pairs on disk, durable on return; raises OSError if they are not."""
        with self._write_lock:
            if self._fd is None:
                self._begin()
            lines = [self._line(self._sq + k, event_id, text) for k, (event_id, text) in enumerate(events)]
            data = b"".join(lines)
            self._write(data)
            self._sq += len(lines)
            self._end += len(data)
            self._written += len(data)
            self.n_bytes += len(data)
            mine = self._written
        with self._sync_lock:
            if self._synced < mine:
                self._sync()
            if any(start < mine <= end for start, end in self._lost):
                raise OSError("the disk did not confirm the write")
            if self._synced_end >= SEGMENT_BYTES_MAX:
                with self._write_lock, contextlib.suppress(OSError):
                    self._rotate()

    @property
    def next_sq(self) -> int:
        """One more than the counter of the last record that is safe; what is being written does not count yet."""
        with self._write_lock:
            return self._synced_sq

    def _line(self, sq: int, event_id: str, text: bytes) -> bytes:
        rest = b'%s {"sq":%d,"spool":"%s",%s\n' % (event_id.encode(), sq, self.id.encode(), text[1:])
        return b"%08x %s" % (zlib.crc32(rest), rest)

    def _write(self, data: bytes) -> None:
        assert self._fd is not None
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, memoryview(data)[done:], self._end + done)
        except OSError:
            try:
                os.ftruncate(self._fd, self._end)
            except OSError:
                self._abandon()
            raise

    def _sync(self) -> None:
        """Make everything written so far durable, or declare it lost. Under the sync lock."""
        with self._write_lock:
            fd, epoch, written, end, sq = self._fd, self._epoch, self._written, self._end, self._sq
        try:
            if fd is None:
                raise OSError("the file was left after a failed write")
            if self._is_synced:
                _fdatasync(fd)
            is_durable = True
        except OSError:
            is_durable = False
        with self._write_lock:
            if is_durable and epoch == self._epoch:
                self._synced, self._synced_end, self._synced_sq = written, end, sq
                return
            self._lost = [*self._lost[-15:], (self._synced, self._written)]
            self._synced = self._written
            if fd is not None and epoch == self._epoch:
                self.n_bytes -= self._end - self._synced_end
                self._sq = self._synced_sq
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, self._synced_end)
                self._abandon()

    def _begin(self) -> None:
        """Open a new file, named for the next sq. If it exists, it holds no whole record."""
        path = self._path(self._sq)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _sync_folder(self.folder)
        except OSError:
            os.close(fd)
            raise
        if self._sq not in self._segments:
            self._segments.append(self._sq)
        self._fd, self._live, self._synced_sq = fd, self._sq, self._sq
        self._end = self._synced_end = 0
        self._epoch += 1

    def _rotate(self) -> None:
        """Under both locks, when everything written is synced."""
        if self._written == self._synced and self._end and self._fd is not None:
            old = self._fd
            self._begin()
            os.close(old)

    def _abandon(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._live = None
        self._epoch += 1

    # --- reading -------------------------------------------------------------------------------------------------

    def take(self, n_events: int, n_bytes: int) -> list[Record]:
        """The oldest records that are not acknowledged; they stay until `done`."""
        while True:
            with self._write_lock:
                later = [first for first in self._segments if first >= self._reading]
                live, live_end = self._live, self._synced_end
            if not later:
                return []
            if later[0] != self._reading:
                self._reading, self._offset = later[0], 0
            is_live = self._reading == live
            limit = live_end if is_live else self._size(self._reading)
            found, scanned = self._read(limit, n_events, n_bytes)
            if found:
                return found
            self._offset = scanned
            if is_live or not self._leave():
                return []

    def _read(self, limit: int, n_events: int, n_bytes: int) -> tuple[list[Record], int]:
        """Records from the offset on, and where reading may go on if there are none."""
        found: list[Record] = []
        if self._offset >= limit:
            return found, self._offset
        with open(self._path(self._reading), "rb", buffering=0) as file:
            data = os.pread(file.fileno(), min(limit - self._offset, max(n_bytes, _HEAD)), self._offset)
            if b"\n" not in data and self._offset + len(data) < limit:
                data = os.pread(file.fileno(), min(limit - self._offset, _LINE_MAX), self._offset)
        at, total = 0, 0
        while len(found) < n_events:
            end = data.find(b"\n", at) + 1
            if not end or (found and total + end - at > n_bytes):
                break
            record = _parse(data[at:end], self._reading, self._offset + end)
            if record is None:
                self.n_damaged += 1
            else:
                found.append(record)
            total += end - at
            at = end
        if not at:  # a torn tail, or a line longer than any of ours: nothing behind it can be read
            self.n_damaged += self._offset + len(data) < limit
            return found, limit
        return found, self._offset + at

    def done(self, last: Record) -> None:
        """The ledger has everything up to `last`."""
        self._reading, self._offset = last.segment, last.end
        with contextlib.suppress(OSError):
            os.pwrite(self._acked_fd, b"%020d %020d\n" % (last.segment, last.end), 0)
        with self._write_lock:
            is_live, limit = last.segment == self._live, self._end
        if is_live and last.end == limit and limit >= _IDLE_ROTATE_BYTES:
            with self._sync_lock, self._write_lock, contextlib.suppress(OSError):
                if self._end == last.end:
                    self._rotate()
            is_live = last.segment == self._live
        if not is_live and last.end >= self._size(last.segment):
            self._leave()

    def _leave(self) -> bool:
        """Remove a file that was read to its end; False if it is the last, which keeps the counter."""
        with self._write_lock:
            if self._reading == self._segments[-1]:
                return False
            size = self._size(self._reading)
            with contextlib.suppress(OSError):
                self._path(self._reading).unlink()
            self._segments.remove(self._reading)
            self.n_bytes -= size
            self._reading, self._offset = self._segments[0], 0
        return True

    # --- opening and closing -------------------------------------------------------------------------------------

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:020d}.log"

    def _size(self, first: int) -> int:
        try:
            return self._path(first).stat().st_size
        except OSError:
            return 0

    def _next_sq(self) -> int:
        """One more than the last whole record's counter, else what the last file's name says.

        A last file without any line is emptied: its name will be used again, and the torn bytes are no record.
        """
        if not self._segments:
            return 0
        first = self._segments[-1]
        data = self._path(first).read_bytes()
        for line in reversed(
            data.split(b"\n")[:-1]
        ):  # without its line end the last one is torn, even if all else is there
            record = _parse(line + b"\n", first, 0)
            if record is not None:
                return int(record.text[6 : record.text.index(b",")]) + 1
        if b"\n" in data:
            return first + data.count(b"\n")  # damaged lines, to be counted by the reader: keep the file
        os.truncate(self._path(first), 0)
        return first

    def _read_acked(self) -> tuple[int, int]:
        words = os.pread(self._acked_fd, 64, 0).split()
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[0]) in self._segments:
            first, offset = int(words[0]), int(words[1])
            with open(self._path(first), "rb") as file:
                file.seek(max(0, offset - 1))
                if offset == 0 or file.read(1) == b"\n":
                    return first, offset
        return (self._segments[0] if self._segments else 0), 0

    def close(self, *, remove: bool = False) -> None:
        """Give the stream up: the next start may claim it. `remove`: it is delivered and nobody writes it again."""
        with self._sync_lock, self._write_lock:
            self._abandon()
            for fd in (self._acked_fd, self._lock_fd):
                if fd >= 0:
                    if remove and fd == self._lock_fd:
                        import shutil  # seldom needed, and slow to load

                        shutil.rmtree(self.folder, ignore_errors=True)
                    os.close(fd)
            self._acked_fd = self._lock_fd = -1

    def drop_in_child(self) -> None:
        """After a fork: close our copies of the descriptors. The lock stays with the parent."""
        for fd in (self._fd, self._acked_fd, self._lock_fd):
            if fd is not None and fd >= 0:
                os.close(fd)


def _parse(line: bytes, segment: int, end: int) -> Record | None:
    rest = line[9:]
    try:
        is_whole = line[8:9] == b" " and int(line[:8], 16) == zlib.crc32(rest)
    except ValueError:
        is_whole = False
    if not is_whole or len(line) < _HEAD + 8:
        return None
    return Record(rest[:36].decode("ascii", "replace"), rest[37:-1], segment, end)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
