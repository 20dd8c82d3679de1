"""Re-derive a whole ledger from its folder and compare: the oracle of the ledger's tests and the body of `verify`.

Per shard: (1) the published checkpoint is read first, so a live log may grow meanwhile; (2) every entry of packs and
segments becomes a leaf again; (3) the tree over them must give every tile of every level and the checkpoint's root;
(4) packs must have their check sum, no (source, id) may stand twice, shards must name each other's keys. Damage is
named by file and range and does not spread: where a pack or segment cannot be used, its leaf hashes are taken from the
tiles and the rest is checked on. It writes nothing, and stops at what the folder itself can show: rollback is found
by the head, by witnesses and by older checkpoints (`since`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from muniment.errors import AuditError, StorageError, VerificationError
from muniment.ledger.dedup import fingerprints
from muniment.ledger.folder import Folder
from muniment.ledger.packs import PackReader, pack_path
from muniment.ledger.segment import Frame, decode_frames
from muniment.ledger.shard import leaf_hashes, slice_frame
from muniment.ledger.storage import LocalFiles
from muniment.ledger.tree import FullTile, Tails
from muniment.limits import HEARTBEAT_S, PACK_ENTRIES
from muniment.merkle.note import Checkpoint, VerifierKey, open_checkpoint
from muniment.merkle.tiles import TILE_WIDTH, bundle_path, tile_path

__all__ = ["Damage", "Report", "check_ledger"]

_LISTED_MAX: Final = 1_000
"""Findings of one kind that are listed; further ones are only counted. People act on the first ten."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """`path` is not what was signed; entries [start, end) are concerned."""

    path: str
    start: int
    end: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, entries [{self.start}, {self.end}): {self.reason}"


@dataclass(slots=True)
class Report:
    """What was looked at and what was found. Silences and gaps are findings about sources, not damage."""

    entries: int = 0
    tiles: int = 0
    packs: int = 0
    checkpoints: int = 0
    shards: list[str] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    damaged: int = 0
    silences: list[tuple[str, int, int]] = field(default_factory=list)
    missing_sqs: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, start: int, end: int, reason: str) -> None:
        """Note damage."""
        self.damaged += 1
        if len(self.damage) < _LISTED_MAX:
            self.damage.append(Damage(path, start, end, reason))

    def summary(self) -> dict[str, object]:
        """Counts and findings, for the job's page and the record of the check."""
        return {
            "entries": self.entries, "tiles": self.tiles, "packs": self.packs, "checkpoints": self.checkpoints,
            "shards": list(self.shards), "damaged": self.damaged, "damage": [str(each) for each in self.damage[:100]],
            "silences": [list(each) for each in self.silences[:100]], "missing_sqs": dict(self.missing_sqs),
        }  # fmt: skip


def check_ledger(
    folder: Path, since: Sequence[bytes] = (), progress: Progress | None = None, *, is_raising: bool = True
) -> Report:
    """Check every shard below `folder`; `since` holds older signed checkpoints that must still hold.

    Raises:
        VerificationError: there is damage; `.evidence` is the Report. Not with `is_raising` False.
    """
    root = Folder(LocalFiles(), str(folder.absolute()))
    report = Report()
    names = [name for name in root.list("") if root.exists(f"{name}/segments")]
    if not names:
        report.add(str(folder), 0, 0, "there is no ledger here")
    previous: _ShardCheck | None = None
    for position, name in enumerate(names):
        check = _ShardCheck(root.below(name), name, report, since, progress, is_last=position == len(names) - 1)
        check.run(previous)
        report.shards.append(name)
        previous = check
    if report.damaged and is_raising:
        more = f", and {report.damaged - 1} more" if report.damaged > 1 else ""
        raise VerificationError(
            f"{report.damage[0]}{more}. Restore what is named from a mirror", expected="no damage",
            computed=report.damaged, evidence=report,
        )  # fmt: skip
    return report


class _ShardCheck:
    """The check of one shard."""

    def __init__(
        self, folder: Folder, name: str, report: Report, since: Sequence[bytes], progress: Progress | None,
        *, is_last: bool,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._name = name
        self._report = report
        self._progress = progress
        self._is_last = is_last
        self._since = since
        self._tails = Tails()
        self._packs = PackReader(folder, cached_groups=1)
        self._bad_packs: set[int] = set()
        self._prints: list[npt.NDArray[np.uint64]] = []
        self._print_starts: list[int] = []
        self._unpacked: list[Frame] = []
        self._sqs: dict[str, tuple[int, int, int]] = {}
        self._last_us = 0
        self._wanted: dict[int, list[tuple[str, bytes]]] = {}
        self.key: VerifierKey | None = None
        self.checkpoint: Checkpoint | None = None
        self.first_record: bytes | None = None
        self.last_record: bytes | None = None

    def run(self, previous: _ShardCheck | None) -> None:
        """Everything."""
        try:
            self.key = VerifierKey.parse(self._folder.read("log.vkey").decode("ascii").strip())
            note = self._folder.read("checkpoint")
            self.checkpoint = open_checkpoint(note, self.key.name, [self.key])
        except (AuditError, UnicodeDecodeError) as error:
            self._bad("checkpoint", 0, 0, f"missing or not signed by the shard's key: {error}")
            return
        size = self.checkpoint.size
        self._wanted.setdefault(size, []).append(("checkpoint", self.checkpoint.root_hash))
        for older in self._since:
            self._want_older(older, size)
        for path, frame in self._frames(size):
            for start, end in self._pieces(frame):
                self._take(path, slice_frame(frame, start, end))
        if self._tails.size < size:
            self._bad("segments", self._tails.size, size, "the entries are missing although a checkpoint covers them")
        self._check_partials(note, size)
        self._check_duplicates()
        for source, (count, low, high) in self._sqs.items():
            if high - low + 1 != count:
                self._report.missing_sqs[source] = self._report.missing_sqs.get(source, 0) + high - low + 1 - count
        self._check_links(previous)

    def _bad(self, path: str, start: int, end: int, reason: str) -> None:
        self._report.add(f"{self._name}/{path}", start, end, reason)

    def _want_older(self, note: bytes, size: int) -> None:
        assert self.key is not None
        if note.partition(b"\n")[0].decode("utf-8", "replace") != self.key.name:
            return
        try:
            older = open_checkpoint(note, self.key.name, [self.key])
        except VerificationError as error:
            self._bad("checkpoint", 0, size, f"an older checkpoint given does not open: {error}")
            return
        if older.size > size:
            self._bad("checkpoint", size, older.size, "an older checkpoint covers more entries: rolled back")
        self._wanted.setdefault(older.size, []).append(("older checkpoint", older.root_hash))

    # --- entries ----------------------------------------------------------------------------------------------------

    def _frames(self, size: int) -> Iterator[tuple[str, Frame]]:
        """Every entry up to `size` at least, in order, from packs and then segments."""
        while True:
            at = self._tails.size
            number = at // PACK_ENTRIES
            if at % PACK_ENTRIES == 0 and self._folder.exists(f"{pack_path(number)}.sha256"):
                yield from self._pack(number)
                continue
            try:
                yield from self._segments(size)
            except StorageError:
                # The publisher of a live log has packed meanwhile and dropped the segment.
                if not self._folder.exists(f"{pack_path(self._tails.size // PACK_ENTRIES)}.sha256"):
                    raise
                yield from self._rest_of_pack()
                continue
            return

    def _pack(self, number: int) -> Iterator[tuple[str, Frame]]:
        path, start = pack_path(number), number * PACK_ENTRIES
        self._report.packs += 1
        try:
            expected = self._folder.read(f"{path}.sha256").decode("ascii", "replace").strip()
            digest = hashlib.sha256(self._folder.view(path)).hexdigest()
        except StorageError as error:
            expected, digest = "", str(error)
        if digest != expected:
            self._bad_packs.add(number)
            self._bad(path, start, start + PACK_ENTRIES, f"expected SHA-256 {expected}, got {digest}")
        yield from self._rest_of_pack()

    def _rest_of_pack(self) -> Iterator[tuple[str, Frame]]:
        number = self._tails.size // PACK_ENTRIES
        end = (number + 1) * PACK_ENTRIES
        while self._tails.size < end:
            at = self._tails.size
            try:
                frame = self._packs.group(at)
            except Exception as error:  # Damaged Parquet raises whatever its decoder meets.
                if number not in self._bad_packs:
                    self._bad(pack_path(number), at, end, f"cannot be read: {error}")
                self._grow_from_tiles(at, end)
                return
            yield pack_path(number), slice_frame(frame, at, end)

    def _segments(self, size: int) -> Iterator[tuple[str, Frame]]:
        for name in [name for name in self._folder.list("segments") if name.endswith(".seg")]:
            path = f"segments/{name}"
            for offset, frame in decode_frames(self._folder.read(path), path):
                at = self._tails.size
                if frame is None:
                    if at < size and not self._later_segment_covers(name, at):
                        self._bad(path, at, size, f"damaged at byte {offset}; start-up will refuse")
                    break
                if frame.end <= at:
                    continue
                if frame.first > at:
                    self._bad(path, at, frame.first, "entries are missing before this frame")
                    if not self._grow_from_tiles(at, frame.first):
                        return
                piece = slice_frame(frame, self._tails.size, frame.end)
                self._unpacked.append(piece)
                yield path, piece
        if self._tails.size < size:
            self._grow_from_tiles(self._tails.size, size)

    def _later_segment_covers(self, name: str, at: int) -> bool:
        """A torn frame that was never acknowledged may be followed by the segment that took its place."""
        return any(
            other > name and int(other.partition(".")[0]) <= at
            for other in self._folder.list("segments")
            if other.endswith(".seg")
        )

    def _pieces(self, frame: Frame) -> Iterator[tuple[int, int]]:
        """A frame cut where a root is wanted."""
        cuts = sorted(size for size in self._wanted if frame.first < size < frame.end)
        yield from zip([frame.first, *cuts], [*cuts, frame.end], strict=True)

    def _take(self, path: str, frame: Frame) -> None:
        try:
            hashes = leaf_hashes(frame)
            prints = fingerprints(bytes.fromhex("".join(frame.ids).replace("-", "")), frame.sources)
        except Exception as error:  # Whatever a damaged pack holds, it must not end the check.
            self._bad(path, frame.first, frame.end, f"the entries make no leaves: {error}")
            self._grow_from_tiles(frame.first, frame.end)
            return
        self._prints.append(prints)
        self._print_starts.append(frame.first)
        if frame.first == 0:
            self.first_record = frame.records[0]
        self.last_record = frame.records[-1]
        self._look_at_sources(frame)
        self._grow(hashes, path)
        self._report.entries += len(hashes)
        if self._progress is not None and self.checkpoint is not None:
            self._progress(min(self._tails.size, self.checkpoint.size), self.checkpoint.size)

    def _look_at_sources(self, frame: Frame) -> None:
        for source, sq in zip(frame.sources, frame.sqs, strict=True):
            if sq is not None:
                count, low, high = self._sqs.get(source, (0, sq, sq))
                self._sqs[source] = (count + 1, min(low, sq), max(high, sq))
        times = np.array([self._last_us or frame.received_us[0], *frame.received_us], np.int64)
        for k in np.nonzero(np.diff(times) > 3 * HEARTBEAT_S * 1_000_000)[0].tolist():
            if len(self._report.silences) < _LISTED_MAX:
                gap_s = int(times[k + 1] - times[k]) // 1_000_000
                self._report.silences.append((self._name, frame.first + k, gap_s))
        self._last_us = int(times[-1])

    # --- the tree ---------------------------------------------------------------------------------------------------

    def _grow(self, hashes: Sequence[bytes], path: str) -> None:
        self._tails, full = self._tails.grown(hashes)
        for tile in full:
            self._check_tile(tile, path)
        for what, root in self._wanted.get(self._tails.size, ()):
            self._report.checkpoints += 1
            if self._tails.root() != root:
                self._bad(what, 0, self._tails.size, f"expected the root {root.hex()}, got {self._tails.root().hex()}")

    def _check_tile(self, tile: FullTile, source: str) -> None:
        level, number, data = tile
        span = TILE_WIDTH ** (level + 1)
        assert self.checkpoint is not None
        if (number + 1) * span > self.checkpoint.size:
            return
        path = tile_path(level, number)
        self._report.tiles += 1
        try:
            found = self._folder.read(path)
        except StorageError as error:
            self._bad(path, number * span, (number + 1) * span, f"cannot be read: {error}; rebuild it from the packs")
            return
        if found == data:
            if level == 0 and self._folder.exists(bundle_path(number)):
                self._check_bundle(number)
            return
        unit = span // TILE_WIDTH
        differing = [k for k in range(TILE_WIDTH) if found[32 * k : 32 * k + 32] != data[32 * k : 32 * k + 32]]
        first, last = (differing[0], differing[-1]) if differing else (0, TILE_WIDTH - 1)
        start = number * span
        reason = f"differs from what {source} gives; the checkpoint's root decides which of them was changed"
        self._bad(path, start + first * unit, start + (last + 1) * unit, reason)

    def _check_bundle(self, number: int) -> None:
        """A kept bundle (`static_bundles`) must hash to the tile, which was just found good."""
        start = number * TILE_WIDTH
        data, at, hashes = self._folder.read(bundle_path(number)), 0, []
        while at + 2 <= len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            hashes.append(hashlib.sha256(b"\x00" + data[at + 2 : end]).digest())
            at = end
        if at != len(data) or b"".join(hashes) != self._folder.read(tile_path(0, number)):
            self._bad(bundle_path(number), start, start + TILE_WIDTH, "is not what the tile commits to")

    def _grow_from_tiles(self, start: int, end: int) -> bool:
        """Go on without the entries: their leaf hashes from level 0, so that the rest can still be checked."""
        assert self.checkpoint is not None
        end = min(end, self.checkpoint.size)
        hashes: list[bytes] = []
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            width = min(TILE_WIDTH, self.checkpoint.size - number * TILE_WIDTH)
            try:
                data = self._folder.read(tile_path(0, number, width))
            except StorageError:
                return False
            hashes += [data[k : k + 32] for k in range(0, 32 * width, 32)]
        skip = start % TILE_WIDTH
        hashes = hashes[skip : skip + end - start]
        cuts = [0, *sorted(size - start for size in self._wanted if start < size < end), len(hashes)]
        for low, high in pairwise(cuts):
            self._grow(hashes[low:high], "tile/0")
        return True

    def _check_partials(self, note: bytes, size: int) -> None:
        """Partial tiles belong to one checkpoint; a live log has replaced them when it has a newer one."""
        if self._tails.size != size or self._folder.read("checkpoint") != note:
            return
        for level, tail in enumerate(self._tails.tails):
            if not tail:
                continue
            number = (size >> 8 * level) // TILE_WIDTH
            path = tile_path(level, number, len(tail))
            start = number * TILE_WIDTH ** (level + 1)
            self._report.tiles += 1
            try:
                is_same = self._folder.read(path) == b"".join(tail)
            except StorageError:
                is_same = self._folder.read("checkpoint") != note
            if not is_same:
                self._bad(path, start, size, "missing or not what the entries give")

    # --- once each, and one shard after the other ---------------------------------------------------------------------

    def _check_duplicates(self) -> None:
        if not self._prints:
            return
        prints = np.concatenate(self._prints)
        indexes = np.concatenate(
            [np.arange(s, s + len(p)) for s, p in zip(self._print_starts, self._prints, strict=True)]
        )
        order = np.argsort(prints, kind="stable")
        same = np.nonzero(prints[order][1:] == prints[order][:-1])[0]
        for k in same[:_LISTED_MAX].tolist():
            first, second = int(indexes[order[k]]), int(indexes[order[k + 1]])
            if self._identity(first) == self._identity(second):
                self._bad("entries", first, second + 1, f"entries {first} and {second} have the same source and id")

    def _identity(self, index: int) -> tuple[str, str]:
        for frame in self._unpacked:
            if frame.first <= index < frame.end:
                return frame.sources[index - frame.first], frame.ids[index - frame.first]
        frame = self._packs.group(index)
        return frame.sources[index - frame.first], frame.ids[index - frame.first]

    def _check_links(self, previous: _ShardCheck | None) -> None:
        """Leaf 0 is `shard.open` with our key and the predecessor's final checkpoint, which must be the real one."""
        assert self.key is not None
        assert self.checkpoint is not None
        opened = _own_metadata(self.first_record, "shard.open")
        if self.first_record is not None and (opened is None or opened.get("vkey") != self.key.text):
            self._bad("log.vkey", 0, 1, "entry 0 is no shard.open that names this key")
        if not self._is_last and _own_metadata(self.last_record, "shard.close") is None:
            size = self.checkpoint.size
            self._bad(
                "segments", max(0, size - 1), size, "a newer shard exists, but this one does not end in shard.close"
            )
        if previous is None or previous.key is None or previous.checkpoint is None or opened is None:
            return
        closed = _own_metadata(previous.last_record, "shard.close")
        if closed is not None and closed.get("successor_vkey") != self.key.text:
            self._bad("log.vkey", 0, 1, "the predecessor's shard.close names another key")
        try:
            final = open_checkpoint(
                str(opened.get("predecessor_checkpoint")).encode(), previous.key.name, [previous.key]
            )
        except VerificationError as error:
            self._bad("segments", 0, 1, f"the predecessor's checkpoint in shard.open does not open: {error}")
            return
        if final != previous.checkpoint:
            self._bad("segments", 0, 1, "the predecessor's checkpoint in shard.open is not its final one")


def _own_metadata(record: bytes | None, action: str) -> dict[str, object] | None:
    """The metadata of one of the ledger's own records, None when it is not `action`."""
    try:
        parsed = json.loads(record or b"null")
    except ValueError:
        return None
    if not isinstance(parsed, dict) or parsed.get("action") != action:
        return None
    metadata = parsed.get("metadata")
    return metadata if isinstance(metadata, dict) else None
