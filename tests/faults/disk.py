"""A simulated disk that forgets: `storage.Files` in memory, with a page cache, durable state, and power cuts.

What is durable: file content at its last fdatasync, names at the last fsync of their folder. A crash keeps the
durable state and, by the policy of a seed, any part of what was written since: nothing, everything, some writes,
a write torn at 512 bytes or 4 KiB, some names. The same seed gives the same states.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from muniment.errors import StorageError

__all__ = ["Crash", "SimulatedDisk"]


class Crash(BaseException):
    """The power went out before this call."""


@dataclass(slots=True)
class _File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    writes: list[tuple[int, bytes]] = field(default_factory=list)  # since the last fdatasync; (-1, n) is a truncate
    length_cut: list[int] = field(default_factory=list)


class SimulatedDisk:
    """Counts calls; at call `crash_at` raises Crash. `fail_at` maps a call number to an error it raises instead."""

    def __init__(self, crash_at: int = -1, start_ns: int = 1_795_500_000_000_000_000) -> None:
        self.calls = 0
        self.crash_at = crash_at
        self.full_from = -1
        self.full_until = -1
        self.eio_at = -1
        self.names: dict[str, _File] = {}
        self.durable_names: dict[str, _File] = {}
        self.folders: set[str] = {"/"}
        self._now = start_ns
        self._random = random.Random(7)
        self._poison: StorageError | None = None

    @property
    def is_poisoned(self) -> bool:
        return self._poison is not None

    # --- the power ------------------------------------------------------------------------------------------------

    def after_crash(self, seed: int) -> SimulatedDisk:
        """The disk as found after the power came back, by the policy of `seed`."""
        rng = random.Random(seed)
        policy = seed % 5  # 0: all unsynced lost; 1: all kept; 2..4: a random part, torn
        found = SimulatedDisk(start_ns=self._now + 10**9)
        found.folders = set(self.folders)
        found._random = random.Random(rng.random())
        paths = sorted(self.names.keys() | self.durable_names.keys())
        for path in paths:
            new, old = self.names.get(path), self.durable_names.get(path)
            file = old if policy == 0 or (policy > 1 and rng.random() < 0.5) else new
            if file is None:
                continue
            copy = _File(bytearray(_survives(file, policy, rng)))
            copy.durable = bytes(copy.content)
            found.names[path] = found.durable_names[path] = copy
        return found

    def _step(self, is_write: bool = False, is_sync: bool = False) -> None:
        if self._poison is not None:
            raise StorageError("stopped after a failed fsync") from self._poison
        self.calls += 1
        if self.calls == self.crash_at:
            raise Crash
        if is_write and self.full_from <= self.calls < self.full_until:
            raise StorageError("no space left on device", is_full=True)
        if is_sync and self.calls >= self.eio_at > 0:
            self._poison = StorageError("input/output error")
            raise self._poison

    def set_time(self, now_ns: int) -> None:
        """Move the clock, forward only."""
        self._now = max(self._now, now_ns)

    # --- Files ----------------------------------------------------------------------------------------------------

    def open(self, path: str, *, is_new: bool = False, mode: int = 0o644) -> _Handle:
        self._step(is_write=is_new)
        if is_new:
            if path in self.names:
                raise FileExistsError(path)
            self.names[path] = _File()
        elif path not in self.names:
            raise StorageError("no such file", path=path)
        return _Handle(self, path, self.names[path])

    def lock(self, path: str) -> _Handle:
        self.names.setdefault(path, _File())
        return _Handle(self, path, self.names[path])

    def read(self, path: str) -> bytes:
        if path not in self.names:
            raise StorageError("no such file", path=path)
        return bytes(self.names[path].content)

    def pread(self, path: str, n_bytes: int, offset: int) -> bytes:
        return self.read(path)[offset : offset + n_bytes]

    def view(self, path: str) -> memoryview:
        return memoryview(self.read(path))

    def rename(self, old: str, new: str) -> None:
        self._step()
        self.names[new] = self.names.pop(old)

    def fsync_dir(self, path: str) -> None:
        self._step(is_sync=True)
        prefix = path.rstrip("/") + "/"

        def here(name: str) -> bool:
            return name.startswith(prefix) and "/" not in name[len(prefix) :]

        for name in [name for name in self.durable_names if here(name) and name not in self.names]:
            del self.durable_names[name]
        self.durable_names.update({name: file for name, file in self.names.items() if here(name)})

    def unlink(self, path: str) -> None:
        self._step()
        del self.names[path]

    def rmdir(self, path: str) -> None:
        self.folders.discard(path)

    def listdir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        entries = [*self.names, *self.folders]
        return sorted({e[len(prefix) :].split("/")[0] for e in entries if e.startswith(prefix) and e != prefix})

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.folders

    def size(self, path: str) -> int:
        return len(self.read(path))

    def mode(self, path: str) -> int:
        return 0o600

    def makedirs(self, path: str) -> None:
        parts = path.strip("/").split("/")
        self.folders |= {"/" + "/".join(parts[: n + 1]) for n in range(len(parts))}

    def free_bytes(self, path: str) -> int:
        return 1 << 40

    def now_ns(self) -> int:
        self._now += 1_000_000
        return self._now

    def random(self, n_bytes: int) -> bytes:
        return self._random.randbytes(n_bytes)


class _Handle:
    def __init__(self, disk: SimulatedDisk, path: str, file: _File) -> None:
        self._disk = disk
        self.path = path
        self._file = file

    def pwrite(self, data: bytes, offset: int) -> None:
        self._disk._step(is_write=True)
        content = self._file.content
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        self._file.writes.append((offset, bytes(data)))

    def fdatasync(self) -> None:
        self._disk._step(is_sync=True)
        self._file.durable = bytes(self._file.content)
        self._file.writes.clear()

    def preallocate(self, n_bytes: int) -> None:
        self._disk._step(is_write=True)

    def truncate(self, n_bytes: int) -> None:
        self._disk._step()
        del self._file.content[n_bytes:]
        self._file.writes.append((-1, n_bytes.to_bytes(8, "big")))

    def pread(self, n_bytes: int, offset: int) -> bytes:
        return bytes(self._file.content[offset : offset + n_bytes])

    def size(self) -> int:
        return len(self._file.content)

    def close(self) -> None:
        return None


def _survives(file: _File, policy: int, rng: random.Random) -> bytes:
    if policy == 1:
        return bytes(file.content)
    content = bytearray(file.durable)
    if policy == 0:
        return bytes(content)
    for offset, data in file.writes:
        if rng.random() < 0.4:
            continue  # lost, while a later write may survive: reordering
        if offset < 0:
            del content[int.from_bytes(data, "big") :]
            continue
        if rng.random() < 0.5:
            unit = rng.choice((512, 4096))
            data = data[: rng.randrange(len(data) // unit + 1) * unit]
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
    return bytes(content)
