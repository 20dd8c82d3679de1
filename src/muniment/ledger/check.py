"""check_ledger: re-derive everything from what is on disk, and name what does not hold. Safe on a live ledger.

For every shard: each leaf from its record, salts and parts; each commitment; each tile at each level; the root under
the published checkpoint; the checkpoint's signature; pack digests; that no (source, id) stands twice; the links
between shards. Counters of producers and heartbeats are reported as findings: a gap is not damage, it is news.
The checkpoint is read first, so that a ledger that grows meanwhile is judged by what it claimed at the start.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from muniment.errors import ConfigError, StorageError, VerificationError
from muniment.ledger.dedup import fingerprints
from muniment.ledger.folder import Folder
from muniment.ledger.packs import ROW_GROUP, PackReader, pack_path, read_digests
from muniment.ledger.segment import Frame, decode_frames
from muniment.ledger.shard import leaves_of, slice_frame
from muniment.ledger.storage import Files, LocalFiles
from muniment.ledger.tree import Tails
from muniment.limits import PACK_ENTRIES
from muniment.merkle.note import VerifierKey, open_checkpoint
from muniment.merkle.tiles import tile_path
from muniment.merkle.tree import verify_consistency

__all__ = ["Report", "check_grown", "check_ledger"]

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Report:
    """What was found. A report is only returned when everything holds; damage raises."""

    shards: int = 0
    entries: int = 0
    tiles: int = 0
    packs: int = 0
    sequence_gaps: Counter[str] = field(default_factory=Counter)
    heartbeat_gaps: int = 0
    origins: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """As plain data."""
        return {
            "shards": self.shards,
            "entries": self.entries,
            "tiles": self.tiles,
            "packs": self.packs,
            "sequence_gaps": dict(self.sequence_gaps),
            "heartbeat_gaps": self.heartbeat_gaps,
            "origins": self.origins,
        }


def check_ledger(
    folder: Path, *, progress: Progress = lambda done, total: None, files: Files | None = None, since: bytes = b""
) -> Report:
    """Check every shard of a ledger folder. `since` is an older checkpoint that somebody kept; it must be extended.

    Raises:
        VerificationError: something does not hold; the text names file and range and how to repair it.
    """
    root = Folder(files or LocalFiles(), str(folder.absolute()))
    names = [name for name in root.list("") if _is_shard(root.below(name))]
    if not names:
        raise VerificationError(f"{folder}: no shard is there; absence of proof is a failure", computed=None)
    report = Report()
    previous: tuple[str, bytes] | None = None
    shards = [_ShardCheck(root.below(name), name, report, progress) for name in names]
    if since and not any(shard.is_ours(since) for shard in shards):
        raise VerificationError(
            f"the checkpoint that was kept is of none of these logs: {', '.join(shard.origin for shard in shards)}",
            expected=[shard.origin for shard in shards], computed=since[:200], evidence=since,
        )  # fmt: skip
    for shard in shards:
        shard.run(since)
        shard.check_link(*(previous or ("", b"")))
        previous = (shard.origin, shard.note)
        report.shards += 1
        report.origins.append(shard.origin)
    return report


def _is_shard(shard: Folder) -> bool:
    """It holds or claims something; not one whose making was cut off by the power."""
    claims = shard.exists("checkpoint") or shard.exists("final.json") or shard.list("packs")
    return bool(claims) or any(shard.read(f"segments/{name}") for name in shard.list("segments"))


class _ShardCheck:
    def __init__(self, folder: Folder, name: str, report: Report, progress: Progress) -> None:
        self._folder = folder
        self._name = name
        self._report = report
        self._progress = progress
        try:
            self._key = VerifierKey.parse(folder.read("log.vkey").decode("ascii").strip())
            self.note = folder.read("checkpoint")
        except (StorageError, ConfigError, UnicodeDecodeError) as error:
            raise VerificationError(
                f"{name}: the shard's public key or checkpoint is missing or damaged: {error}"
            ) from error
        self.origin = self._key.name
        try:
            self.claim = open_checkpoint(self.note, self.origin, [self._key])
        except VerificationError as error:
            raise VerificationError(f"{name}/checkpoint: {error}", evidence=self.note) from error
        self._tails = Tails()
        self._seen: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self._last_sq: dict[str, int] = {}
        self._last_us = 0
        self._first_record = b""

    def run(self, since: bytes) -> None:
        """Walk the entries up to the claimed size."""
        size = self.claim.size
        older = open_checkpoint(since, self.origin, [self._key]) if since and self.is_ours(since) else None
        if older is not None and older.size > size:
            raise VerificationError(
                f"{self._name}: the checkpoint that was kept covers {older.size} entries, the log claims {size}: it was "
                "rolled back",
                expected=older.size, computed=size, evidence=since,
            )  # fmt: skip
        for frame in self._cut_at(older.size if older is not None else 0, self._frames(size)):
            self._take(frame)
            if older is not None and self._tails.size == older.size and self._tails.root() != older.root_hash:
                raise VerificationError(
                    f"{self._name}: the root over {older.size} entries is not the one of the checkpoint that was kept: "
                    "history was rewritten",
                    expected=older.root_hash, computed=self._tails.root(), evidence=since,
                )  # fmt: skip
            self._report.entries += len(frame.records)
            self._progress(self._report.entries, self._report.entries - self._tails.size + size)
        if self._tails.size < size:
            raise VerificationError(
                f"{self._name}: the checkpoint claims {size} entries, the files hold {self._tails.size}; entries from "
                f"{self._tails.size} on are missing, restore them from a mirror",
                expected=size, computed=self._tails.size,
            )  # fmt: skip
        if self._tails.root() != self.claim.root_hash:
            raise VerificationError(
                f"{self._name}: the root over {size} entries is not the signed one; a record, a salt or a header in "
                f"the segments (entries from {self._packed()} on) was changed",
                expected=self.claim.root_hash, computed=self._tails.root(), evidence=self.note,
            )  # fmt: skip
        self._check_partial_tiles()
        self._check_unique()

    def _cut_at(self, size: int, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same entries, with a frame ending at `size`, so that the root over so many can be looked at."""
        for frame in frames:
            if frame.first < size < frame.end:
                yield slice_frame(frame, frame.first, size)
                yield slice_frame(frame, size, frame.end)
            else:
                yield frame

    def is_ours(self, note: bytes) -> bool:
        """Is this a checkpoint of this log?"""
        return note.split(b"\n", 1)[0].decode("utf-8", "replace") == self.origin

    def _packed(self) -> int:
        n = 0
        while self._folder.exists(pack_path(n)):
            n += 1
        return n * PACK_ENTRIES

    def _frames(self, size: int) -> Iterator[Frame]:
        packed = min(self._packed(), size)
        packs = PackReader(self._folder, cached_groups=1)
        for start in range(0, packed, ROW_GROUP):
            if start % PACK_ENTRIES == 0:
                self._check_pack_digest(start // PACK_ENTRIES)
            yield slice_frame(packs.group(start), start, min(start + ROW_GROUP, size))
        at = packed
        for name in self._folder.list("segments"):
            path = f"segments/{name}"
            try:
                data = self._folder.read(path)
            except StorageError:
                continue  # dropped after it was packed, while we looked
            for offset, frame in decode_frames(data, f"{self._name}/{path}"):
                if at >= size:
                    return
                if frame is None:
                    raise VerificationError(
                        f"{self._name}/{path} is damaged at byte {offset}: entries [{at}, {size}) cannot be read; "
                        "restore the file from a mirror"
                    )
                if frame.end <= at:
                    continue
                if frame.first > at:
                    raise VerificationError(
                        f"{self._name}/{path}: expected entry {at}, got {frame.first}",
                        expected=at,
                        computed=frame.first,
                    )
                part = slice_frame(frame, at, min(frame.end, size))
                yield part
                at = part.end
        if at < size and self._packed() > packed:
            yield from self._frames_from_new_packs(at, size)

    def _frames_from_new_packs(self, at: int, size: int) -> Iterator[Frame]:
        """The publisher packed and dropped segments while we read; what we miss is in packs now."""
        packs = PackReader(self._folder, cached_groups=1)
        while at < size:
            frame = slice_frame(packs.group(at), at, size)
            yield frame
            at = frame.end

    def _check_pack_digest(self, number: int) -> None:
        path = pack_path(number)
        expected = read_digests(self._folder, number)
        computed = hashlib.sha256(self._folder.view(path)).hexdigest()
        if computed not in (*expected, *read_digests(self._folder, number)):  # it may just have been written again
            start = number * PACK_ENTRIES
            raise VerificationError(
                f"{self._name}/{path}: the file's digest differs; entries [{start}, {start + PACK_ENTRIES}) are "
                "suspect, restore the file from a mirror",
                expected=" or ".join(expected), computed=computed,
            )  # fmt: skip
        self._report.packs += 1

    def _take(self, frame: Frame) -> None:
        leaves = leaves_of(frame)
        if frame.first == 0:
            self._first_record = frame.records[0]
        self._tails, full = self._tails.grown([hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves])
        for level, number, data in full:
            path = tile_path(level, number)
            try:
                stored = self._folder.read(path)
            except StorageError:
                if number >= (self.claim.size >> 8 * (level + 1)):
                    continue  # not published when the checkpoint was
                stored = b""
            if stored != data:
                first = number << 8 * (level + 1)
                raise VerificationError(
                    f"{self._name}/{path}: the tile is not what entries [{first}, {first + (1 << 8 * (level + 1))}) "
                    "give; either it or their pack was changed. Restore both from a mirror, or the tile from the pack "
                    "if the pack's digest holds",
                    expected=data, computed=stored,
                )  # fmt: skip
            self._report.tiles += 1
        ids = bytes.fromhex("".join(frame.ids).replace("-", ""))
        self._seen.append(fingerprints(ids, frame.sources))
        self._note_gaps(frame)

    def _note_gaps(self, frame: Frame) -> None:
        for source, sq in zip(frame.sources, frame.sqs, strict=True):
            if sq is not None:
                last = self._last_sq.get(source)
                if last is not None and sq > last + 1:
                    self._report.sequence_gaps[source] += sq - last - 1
                self._last_sq[source] = max(sq, last or 0)
        for us in (frame.received_us[0], frame.received_us[-1]):
            if self._last_us and us - self._last_us > 180 * 1_000_000:
                self._report.heartbeat_gaps += 1
            self._last_us = max(us, self._last_us)

    def _check_partial_tiles(self) -> None:
        for level, tail in enumerate(self._tails.tails):
            if not tail:
                continue
            path = tile_path(level, (self.claim.size >> 8 * level) // 256, len(tail))
            try:
                stored = self._folder.read(path)
            except StorageError:
                if self._folder.exists(path):
                    raise
                continue  # a partial tile goes as soon as a larger one is there
            if stored != b"".join(tail):
                raise VerificationError(f"{self._name}/{path}: the partial tile is not what the entries give")

    def _check_unique(self) -> None:
        """I4: one entry per (source, id). Equal fingerprints are looked at; different ids may share one."""
        if not self._seen:
            return
        prints = np.concatenate(self._seen)
        order = np.argsort(prints, kind="stable")
        same = np.nonzero(prints[order][1:] == prints[order][:-1])[0]
        for k in same.tolist():
            a, b = int(order[k]), int(order[k + 1])
            if self._identity(a) == self._identity(b):
                raise VerificationError(
                    f"{self._name}: entries {a} and {b} have the same source and id", expected=a, computed=b
                )

    def _identity(self, index: int) -> tuple[str, str]:
        for frame in self._frames(self.claim.size):
            if frame.first <= index < frame.end:
                return frame.sources[index - frame.first], frame.ids[index - frame.first]
        raise VerificationError(f"{self._name}: entry {index} is not there")

    def check_link(self, origin: str, note: bytes) -> None:
        """Entry 0 must hold the predecessor's final checkpoint; of the first shard, none (both are empty then)."""
        try:
            metadata = json.loads(self._first_record)["metadata"]
        except (ValueError, KeyError, TypeError):
            metadata = {}
        if not isinstance(metadata, dict):
            metadata = {}
        named, held = metadata.get("predecessor", ""), str(metadata.get("predecessor_checkpoint", ""))
        if named != origin or held.encode() != note:
            raise VerificationError(
                f"{self._name}: entry 0 does not hold the final checkpoint of {origin}" if origin else
                f"{self._name}: entry 0 follows {named!r}, which is not there; restore that shard from a mirror",
                expected=note, computed=held,
            )  # fmt: skip


def check_grown(older: bytes, newer: bytes, key: VerifierKey, proof: list[bytes]) -> None:
    """That the checkpoint `newer` extends `older`, by a consistency proof: for whoever kept only a checkpoint."""
    a, b = open_checkpoint(older, key.name, [key]), open_checkpoint(newer, key.name, [key])
    verify_consistency(a.size, b.size, a.root_hash, b.root_hash, proof)
