"""One shard: one origin, one key, one tree. The write path in the order of INTEGRITY.md 2.7, and reading back.

`append` (the caller holds the writer's turn):
    (1) assign indexes, make leaves and hashes, grow the edge - on copies, in memory
    (2) stage: one frame to the segment, fdatasync
    (3) move the head by compare-and-swap, durable
    (4) sign the checkpoint; from here on readers see the new size, and the batch may be acknowledged
    (5) later, in `publish`: tiles, packs, the public checkpoint file - all derivable again, all idempotent

What a crash leaves: before (2) nothing; between (2) and (3) a frame beyond the head, which start-up adopts; after (3)
everything. If (2) fails for lack of space the frame is cut off again and the shard stays usable; any other failure
of (2) or (3) poisons it: nothing more is acknowledged until a restart has re-verified what the disk holds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from muniment.errors import AuditError, BusyError, StorageError, VerificationError
from muniment.ledger.folder import Appender, Folder
from muniment.ledger.head import Head, HeadStore
from muniment.ledger.leaf import build_leaves
from muniment.ledger.packs import PackReader, write_pack
from muniment.ledger.segment import Frame, encode_frame
from muniment.ledger.tree import FullTile, Tails, TileReader, fold
from muniment.ledger.types import Entries, InclusionProof, StoredEntry
from muniment.limits import DISK_RESERVE_BYTES, LEAF_BYTES_MAX, PACK_ENTRIES
from muniment.merkle.note import Signer, checkpoint_body
from muniment.merkle.tiles import TILE_WIDTH, bundle_path, encode_bundle, parse_tile_path, tile_path

__all__ = ["SEGMENT_BYTES_MAX", "Shard", "leaf_hashes", "leaves_of", "segment_path", "slice_frame"]

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
UNPACKED_MAX = 6 * PACK_ENTRIES
"""Entries held in memory until packed; past it the writer waits for the publisher."""


def segment_path(first: int) -> str:
    """The segment whose first frame starts at entry `first`."""
    return f"segments/{first:020d}.seg"


@dataclass(frozen=True, slots=True)
class _State:
    """What readers see: replaced as a whole, never changed."""

    tails: Tails
    head: Head
    checkpoint: bytes


class Shard:
    """The open, writable shard. One writer, one publisher, any number of readers."""

    def __init__(
        self, files: Folder, head_store: HeadStore, head: Head, signer: Signer, tails: Tails, frames: Sequence[Frame],
        packed: int, segments: Sequence[tuple[int, int]], *, static_bundles: bool = False,
        unpublished: Sequence[FullTile] = (),
    ) -> None:  # fmt: skip
        self.files = files
        self.name = head.shard
        self.signer = signer
        self._head_store = head_store
        self._static_bundles = static_bundles
        self.tiles = TileReader(files)
        self._packs = PackReader(files)
        self._lock = threading.Condition()
        self._publishing = threading.Lock()  # the publisher, and a writer that closes the shard
        self._frames: list[Frame] = list(frames)  # not yet packed, in order
        self._unpublished: list[FullTile] = list(unpublished)
        self.tiles.hold(unpublished)
        self._packed = packed
        self._segments: list[tuple[int, int]] = list(segments)  # (first, end) of closed ones
        self._segment: Appender | None = None
        self._segment_first = 0
        self._segment_bytes = 0
        self._poison = ""
        self._published = 0
        self._is_sealed = False
        self._partials: list[str] = []
        body = checkpoint_body(signer.name, tails.size, tails.root())
        self._state = _State(tails, head, signer.sign(body))

    # --- what readers see -------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Entries acknowledged."""
        return self._state.tails.size

    @property
    def checkpoint(self) -> bytes:
        """The signed note over `size`."""
        return self._state.checkpoint

    @property
    def time_ns(self) -> int:
        """When the newest checkpoint was signed."""
        return self._state.head.time_ns

    @property
    def published(self) -> int:
        """Up to which size tiles and checkpoint are on disk."""
        return self._published

    def leaf_hash(self, index: int) -> bytes:
        """The leaf hash of one entry."""
        return self.tiles.reader(self._state.tails)(0, index)

    @property
    def trouble(self) -> str:
        """Why nothing can be appended; empty when it can."""
        return self._poison

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, entries: Entries, now_ns: int) -> tuple[int, list[bytes]]:
        """Append all entries; their first index and leaf hashes. Durable and signed on return.

        Raises:
            BusyError: the clock stands before the last checkpoint's; signing waits for it.
            StorageError: the disk refused; nothing of this batch is or will be acknowledged.
        """
        if self._poison:
            raise StorageError(self._poison)
        state = self._state
        if now_ns <= state.head.time_ns:
            raise BusyError("the clock went back; signing waits until it has passed the last checkpoint")
        if self.files.free_bytes() < DISK_RESERVE_BYTES:
            raise StorageError("the disk is full but for the reserve", is_full=True)
        # (1)
        first, count = state.tails.size, len(entries)
        random = self.files.random(16 * count)
        frame = Frame(
            first, entries.ids, entries.sources, entries.sqs, [t // 1000 for t in entries.received_at],
            [random[k : k + 16] for k in range(0, 16 * count, 16)], entries.records, entries.parts,
        )  # fmt: skip
        leaves = leaves_of(frame)
        hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
        tails, full = state.tails.grown(hashes)
        head = Head(self.name, tails.size, tails.root(), now_ns)
        # (2)
        staged = self._stage(frame)
        # (3)
        self._move_head(state.head, head, staged)
        # (4)
        checkpoint = self.signer.sign(checkpoint_body(self.signer.name, head.size, head.root))
        self.tiles.hold(full)
        with self._lock:
            self._frames.append(frame)
            self._unpublished += full
            self._state = _State(tails, head, checkpoint)
            self._lock.notify_all()
            while tails.size - self._packed > UNPACKED_MAX and not self._poison:
                if not self._lock.wait(timeout=60):
                    self._poison = "the publisher has not packed anything for a minute"
        return first, hashes

    def _stage(self, frame: Frame) -> int:
        data = encode_frame(frame)
        if self._segment is None:
            self._open_segment(frame.first)
        segment = self._segment
        assert segment is not None
        try:
            segment.write(data)
        except StorageError as error:
            self._unstage(error)
            raise
        try:
            segment.sync()
        except StorageError as error:
            # Never retried: the page cache may show what the disk does not have.
            self._poison = f"staging failed, restart to verify the disk: {error}"
            raise
        self._segment_bytes += len(data)
        return len(data)

    def _open_segment(self, first: int) -> None:
        path = segment_path(first)
        # A name that is taken can only be an empty or torn file of a batch that was never acknowledged.
        self._segment = self.files.open_append(path, is_new=not self.files.exists(path))
        self._segment.truncate(0)
        self._segment_first = first
        self._segment_bytes = 0

    def _unstage(self, error: StorageError) -> None:
        """Cut off a frame that did not get in whole. Only lack of space is survivable."""
        assert self._segment is not None
        try:
            self._segment.truncate(self._segment_bytes)
        except StorageError as second:
            self._poison = f"staging failed and could not be undone: {second}"
        if not error.is_full:
            self._poison = self._poison or f"staging failed, restart to verify the disk: {error}"

    def _move_head(self, old: Head, new: Head, staged: int) -> None:
        try:
            self._head_store.swap(old, new)
        except AuditError as error:
            still_old = False
            if isinstance(error, StorageError) and error.is_full:
                try:
                    still_old = self._head_store.load() == old
                    if still_old:
                        assert self._segment is not None
                        self._segment_bytes -= staged
                        self._segment.truncate(self._segment_bytes)
                        self._segment.sync()
                except AuditError:
                    still_old = False
            if not still_old:
                self._poison = f"the head could not be moved, restart to find out where it is: {error}"
            raise

    # --- publishing -------------------------------------------------------------------------------------------------

    def wait_for_work(self, timeout_s: float) -> bool:
        """For the publisher: has anything been appended since?"""
        with self._lock:
            return self._lock.wait_for(lambda: self._state.tails.size > self._published, timeout_s)

    def publish(self) -> None:
        """Step (5): tiles, packs, the public checkpoint. Idempotent; safe to be cut off anywhere."""
        with self._publishing:
            self._publish()

    def seal(self) -> None:
        """Publish, and make durable what no pack will: the shard takes nothing more and is not published again."""
        with self._publishing:
            self._publish()
            for path in self._partials:
                self.files.sync_file(path)
            for number in range(self._packed // TILE_WIDTH, self._published // TILE_WIDTH):
                self.files.sync_file(tile_path(0, number))
            self._is_sealed = True

    def _publish(self) -> None:
        if self._is_sealed:
            return  # writing again what is durable would make it less so
        with self._lock:
            state, full = self._state, list(self._unpublished)
        for level, number, data in full:
            self.files.write_atomic(tile_path(level, number), data, is_durable=False)
            if level == 0 and self._static_bundles:
                leaves = self.leaves(number * TILE_WIDTH, (number + 1) * TILE_WIDTH)
                self.files.write_atomic(bundle_path(number), encode_bundle(leaves), is_durable=False)
        # Only now: had a write failed, the next call would write all of them again.
        with self._lock:
            del self._unpublished[: len(full)]
        for level, number, _ in full:
            self.tiles.release(level, number)
        while state.tails.size - self._packed >= PACK_ENTRIES:
            self._pack(self._packed // PACK_ENTRIES)
        self._publish_checkpoint(state)
        self._published = state.tails.size

    def _publish_checkpoint(self, state: _State) -> None:
        """Partial tiles first, then the checkpoint that needs them; then the partial tiles it replaces."""
        stale, self._partials = self._partials, []
        for level, tail in enumerate(state.tails.tails):
            if tail:
                path = tile_path(level, (state.tails.size >> 8 * level) // TILE_WIDTH, len(tail))
                self.files.write_atomic(path, b"".join(tail), is_durable=False)
                self._partials.append(path)
        if self._static_bundles and state.tails.size % TILE_WIDTH:
            number, width = divmod(state.tails.size, TILE_WIDTH)
            path = bundle_path(number, width)
            leaves = self.leaves(number * TILE_WIDTH, state.tails.size)
            self.files.write_atomic(path, encode_bundle(leaves), is_durable=False)
            self._partials.append(path)
        self.files.write_atomic("checkpoint", state.checkpoint, is_durable=True)
        for path in stale:
            if path not in self._partials:
                self.files.unlink(path)

    def _pack(self, number: int) -> None:
        """Write one pack, make its tiles durable, then let go of frames and segments it covers."""
        start, end = number * PACK_ENTRIES, (number + 1) * PACK_ENTRIES
        with self._lock:
            frames = _cut(self._frames, start, end)
        level_1 = self.tiles.full_tile(1, number)
        root = fold([level_1[k : k + 32] for k in range(0, len(level_1), 32)])
        write_pack(self.files, number, frames, self.signer.name, root)
        for k in range(start // TILE_WIDTH, end // TILE_WIDTH):
            self.files.sync_file(tile_path(0, k))
        self.files.sync_file(tile_path(1, number))
        if (number + 1) % TILE_WIDTH == 0:
            self.files.sync_file(tile_path(2, number // TILE_WIDTH))
        with self._lock:
            self._packed = end
            self._frames = [frame for frame in self._frames if frame.end > end]
            self._lock.notify_all()
        self._drop_segments(end)

    def _drop_segments(self, packed: int) -> None:
        for first, end in [pair for pair in self._segments if pair[1] <= packed]:
            self.files.unlink(segment_path(first))
            self._segments.remove((first, end))

    def roll_segment(self) -> None:
        """Begin a new segment when the current one is long enough. The writer calls this between batches."""
        if self._segment is None:
            return
        size = self._state.tails.size
        if size - self._segment_first >= PACK_ENTRIES or self._segment_bytes >= SEGMENT_BYTES_MAX:
            self._segment.close()
            self._segments.append((self._segment_first, size))
            self._segment = None

    def close(self) -> None:
        """Publish what is left and let go of the segment."""
        if not self._poison:
            self.publish()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    # --- reading ----------------------------------------------------------------------------------------------------

    def frame_at(self, index: int) -> Frame:
        """The frame or row group that holds entry `index`."""
        if index < self._packed:
            return self._packs.group(index)
        with self._lock:
            low, high = 0, len(self._frames)
            while low < high:
                middle = (low + high) // 2
                if self._frames[middle].end <= index:
                    low = middle + 1
                else:
                    high = middle
            if low < len(self._frames) and self._frames[low].first <= index:
                return self._frames[low]
        return self._packs.group(index)  # packed in between

    def frames(self, start: int, end: int) -> Iterator[Frame]:
        """Entries [start, end) in runs."""
        while start < end:
            frame = self.frame_at(start)
            yield slice_frame(frame, start, end)
            start = frame.end

    def entry(self, index: int) -> StoredEntry:
        """One entry."""
        frame = self._packs.row(index) if index < self._packed else self.frame_at(index)
        k = index - frame.first
        leaf = leaves_of(slice_frame(frame, index, index + 1))[0]
        return StoredEntry(
            index, frame.ids[k], frame.sources[k], frame.sqs[k], frame.received_us[k] * 1000, frame.salts[k],
            frame.records[k], frame.parts[k], leaf,
        )  # fmt: skip

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaves of [start, end)."""
        return [leaf for frame in self.frames(start, end) for leaf in leaves_of(frame)]

    def inclusion_proof(self, index: int) -> InclusionProof:
        """The proof of one entry against the newest checkpoint, all from one moment."""
        state = self._state
        leaf_hash = self.tiles.reader(state.tails)(0, index)
        hashes = self.tiles.inclusion(state.tails, index, state.tails.size)
        return InclusionProof(index, state.tails.size, leaf_hash, hashes, state.head.root, state.checkpoint)

    def inclusion_hashes(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof of `index` in an older tree."""
        return self.tiles.inclusion(self._state.tails, index, size)

    def consistency_hashes(self, size1: int, size2: int) -> list[bytes]:
        """The consistency proof between two sizes."""
        return self.tiles.consistency(self._state.tails, size1, size2)

    def tile_file(self, path: str) -> bytes | None:
        """A file of the C2SP layout, byte for byte; None when it does not exist (yet)."""
        state = self._state
        if path == "checkpoint":
            return state.checkpoint
        tile = parse_tile_path(path)
        level = tile.level or 0
        width = (state.tails.size >> 8 * level) - tile.number * TILE_WIDTH
        if width < tile.width:
            return None
        if tile.level is None:
            start = tile.number * TILE_WIDTH
            return encode_bundle(self.leaves(start, start + tile.width))
        if width >= TILE_WIDTH:
            return self.tiles.full_tile(level, tile.number)[: 32 * tile.width]
        return b"".join(state.tails.tails[level][: tile.width])


def leaves_of(frame: Frame) -> list[bytes]:
    """The leaves of a frame, each small enough for a bundle."""
    found = build_leaves(
        frame.first, frame.ids, frame.received_us, frame.sqs, frame.sources, frame.salts, frame.records, frame.parts
    )
    if max(map(len, found)) > LEAF_BYTES_MAX:
        raise VerificationError("a leaf is larger than a bundle can hold")
    return found


def leaf_hashes(frame: Frame) -> list[bytes]:
    """The leaf hashes of a frame."""
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves_of(frame)]


def slice_frame(frame: Frame, start: int, end: int) -> Frame:
    """The part of a frame with indexes in [start, end)."""
    a, b = max(0, start - frame.first), min(len(frame.records), end - frame.first)
    if a == 0 and b == len(frame.records):
        return frame
    return Frame(
        frame.first + a, frame.ids[a:b], frame.sources[a:b], frame.sqs[a:b], frame.received_us[a:b], frame.salts[a:b],
        frame.records[a:b], frame.parts[a:b],
    )  # fmt: skip


def _cut(frames: Sequence[Frame], start: int, end: int) -> list[Frame]:
    return [slice_frame(frame, start, end) for frame in frames if frame.end > start and frame.first < end]
