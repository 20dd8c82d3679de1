"""Where events wait for the ledger: on disk (`DiskSpool`, streams of this and of dead processes), or in memory.

Both keep the order of one process, hand out what is not acknowledged, and refuse with OSError when they are full;
the caller counts what was refused. Several processes may share a spool folder: each writes a stream of its own.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from muniment.sdk.limits import MEMORY_BYTES_MAX, MEMORY_EVENTS_MAX, RETRY_DISK_S, SPOOL_BYTES_MAX, SWEEP_EVERY_S
from muniment.sdk.stream import HAS_LOCKS, Record, Stream, stream_folders

__all__ = ["DiskSpool", "MemorySpool", "Store"]


class Store(Protocol):
    """`append` from any thread; the rest from the sender's thread. After `append` returned, `take` will find it."""

    def append(self, events: Sequence[tuple[str, bytes]]) -> None: ...
    def take(self, n_events: int, n_bytes: int) -> list[Record]: ...
    def done(self, records: Sequence[Record]) -> None: ...
    def take_damaged(self) -> int: ...
    def next_sq(self) -> int: ...
    def done_sq(self) -> int: ...
    def close(self) -> None: ...
    def drop_in_child(self) -> None: ...


class MemorySpool:
    """A bounded queue. What it holds is gone with the process."""

    def __init__(self, events_max: int = MEMORY_EVENTS_MAX, bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._id = os.urandom(4).hex().encode()
        self._queue: deque[Record] = deque()
        self._n_bytes = 0
        self._sq = 0
        self._limits = (events_max, bytes_max)
        self._lock = threading.Lock()

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        n_bytes = sum(len(text) for _, text in events)
        with self._lock:
            if len(self._queue) + len(events) > self._limits[0] or self._n_bytes + n_bytes > self._limits[1]:
                raise OSError(errno.ENOSPC, "the queue is full")
            for event_id, text in events:
                text = b'{"sq":%d,"spool":"%s",%s' % (self._sq, self._id, text[1:])
                self._sq += 1
                self._n_bytes += len(text)
                self._queue.append(Record(event_id, text))

    def take(self, n_events: int, n_bytes: int) -> list[Record]:
        found: list[Record] = []
        with self._lock:
            for record in self._queue:
                n_bytes -= len(record.text)
                if len(found) == n_events or (found and n_bytes < 0):
                    break
                found.append(record)
        return found

    def done(self, records: Sequence[Record]) -> None:
        with self._lock:
            for _ in records:
                self._n_bytes -= len(self._queue.popleft().text)

    def take_damaged(self) -> int:
        return 0

    def next_sq(self) -> int:
        with self._lock:
            return self._sq

    def done_sq(self) -> int:
        with self._lock:
            return self._sq - len(self._queue)

    def close(self) -> None:
        pass

    def drop_in_child(self) -> None:
        pass


class DiskSpool:
    """A folder of streams. Opened at the first use that works; until then every `append` is refused.

    A refusal for lack of space is remembered for RETRY_DISK_S, so that a full disk costs no system call per event.
    """

    def __init__(self, path: Path, bytes_max: int = SPOOL_BYTES_MAX, *, is_synced: bool = True) -> None:
        if not HAS_LOCKS:
            raise ValueError("a spool on disk needs a POSIX system; leave `spool` out to keep events in memory")
        self.path = path
        self._bytes_max = bytes_max
        self._is_synced = is_synced
        self._own: Stream | None = None
        self._orphans: list[Stream] = []
        self._serving: Stream | None = None
        self._owner = os.urandom(6).hex()
        self._damaged_told = 0
        self._damaged_gone = 0
        self._lock = threading.Lock()
        self._refused_until = 0.0
        self._done_sq = 0
        self._sweep_at = time.monotonic() + min(2.0, SWEEP_EVERY_S)

    def open(self) -> Stream:
        """Our stream: the one a former process left last, its counter going on, or a new one."""
        with self._lock:
            if self._own is None:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                for folder in stream_folders(self.path):
                    self._own = Stream.claim(folder, self._owner, self._is_synced)
                    if self._own is not None:
                        break
                else:
                    self._own = Stream.create(self.path, self._owner, self._is_synced)
                assert self._own is not None
            return self._own

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        if time.monotonic() < self._refused_until:
            raise OSError(errno.ENOSPC, "the spool refused a moment ago")
        try:
            own = self.open()
            # Not under a lock: threads that come together may pass the bound by an event each.
            is_full = own.n_bytes + sum(len(text) + 128 for _, text in events) > self._bytes_max
            if not is_full:
                own.append(events)
                return
        except OSError:
            self._refused_until = time.monotonic() + RETRY_DISK_S
            raise
        raise OSError(errno.ENOSPC, f"the spool holds {own.n_bytes} bytes of {self._bytes_max}")

    def take(self, n_events: int, n_bytes: int) -> list[Record]:
        """From streams of dead processes first; theirs is the older story."""
        self._sweep()
        while self._orphans:
            self._serving = self._orphans[0]
            found = self._serving.take(n_events, n_bytes)
            if found:
                return found
            self._damaged_gone += self._serving.n_damaged
            self._serving.close(remove=True)
            del self._orphans[0]
        self._serving = self._own
        return self._own.take(n_events, n_bytes) if self._own is not None else []

    def done(self, records: Sequence[Record]) -> None:
        assert self._serving is not None
        self._serving.done(records[-1])
        if self._serving is self._own:
            text = records[-1].text
            self._done_sq = int(text[6 : text.index(b",")]) + 1

    def next_sq(self) -> int:
        """Events of this process below this counter are safe, and found by `take` until they are done."""
        return self._own.next_sq if self._own is not None else 0

    def done_sq(self) -> int:
        """Events of this process below this counter are acknowledged."""
        return self._done_sq

    def _sweep(self) -> None:
        if time.monotonic() < self._sweep_at or self._own is None:
            return
        self._sweep_at = time.monotonic() + SWEEP_EVERY_S
        for folder in stream_folders(self.path):
            if not folder.name.endswith(f".{self._owner}"):
                stream = Stream.claim(folder, self._owner)
                if stream is not None:
                    self._orphans.append(stream)

    def take_damaged(self) -> int:
        """How many records turned out to be unreadable since the last call."""
        streams = [*self._orphans, *([self._own] if self._own else [])]
        total = self._damaged_gone + sum(stream.n_damaged for stream in streams)
        fresh, self._damaged_told = total - self._damaged_told, total
        return fresh

    def close(self) -> None:
        """Leave everything for the next start."""
        with self._lock:
            for stream in [*self._orphans, *([self._own] if self._own else [])]:
                stream.close()
            self._own, self._orphans, self._serving = None, [], None

    def drop_in_child(self) -> None:
        """After a fork: the parent's streams are the parent's. The child makes a spool of its own."""
        for stream in [*self._orphans, *([self._own] if self._own else [])]:
            stream.drop_in_child()
