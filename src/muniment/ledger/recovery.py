"""Start-up: what the disk holds against what the head says. Fails closed, and says which file, range and repair.

The head is the truth. Behind it: refuse (loss or rollback). At it: the roots must agree. Beyond it, whole frames are
adopted (they were durable, the head was about to move; a resend of theirs is a no-op by id), a torn tail is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from muniment.errors import VerificationError
from muniment.ledger.folder import Folder
from muniment.ledger.head import Head, HeadStore
from muniment.ledger.packs import pack_path
from muniment.ledger.segment import Frame, decode_frames
from muniment.ledger.shard import Shard, leaf_hashes, slice_frame
from muniment.ledger.tree import Tails, TileReader, fold
from muniment.limits import PACK_ENTRIES
from muniment.merkle.note import Signer
from muniment.merkle.tiles import TILE_WIDTH

__all__ = ["recover_shard", "tails_at"]


@dataclass(slots=True)
class _Found:
    """What the segments hold beyond the packs."""

    tails: Tails
    frames: list[Frame]
    segments: list[tuple[int, int]]
    torn: tuple[str, int] | None = None
    full: list[tuple[int, int, bytes]] = field(default_factory=list)


def recover_shard(
    files: Folder,
    head_store: HeadStore,
    head: Head,
    signer: Signer,
    *,
    static_bundles: bool = False,
    is_closed: bool = False,
) -> Shard:
    """The shard of `head`, ready to append.

    Raises:
        VerificationError: the folder is behind the head, or differs from it; nothing was changed.
    """
    try:
        packed = _packed(files)
        found = _replay(files, tails_at(TileReader(files), packed), packed, head)
        _check_complete(found, head)
    except VerificationError as error:
        raise VerificationError(
            f"{head.shard}: {error}", expected=error.expected, computed=error.computed, evidence=error.evidence
        ) from error
    if found.torn:
        path, at = found.torn
        appender = files.open_append(path, is_new=False)
        appender.truncate(at)
        appender.sync()
        appender.close()
    if found.tails.size > head.size and not is_closed:
        new = Head(head.shard, found.tails.size, found.tails.root(), max(head.time_ns + 1, files.now_ns()))
        head_store.swap(head, new)
        head = new
    _remove_leftovers(files)
    return Shard(
        files,
        head_store,
        head,
        signer,
        found.tails,
        found.frames,
        packed,
        found.segments,
        static_bundles=static_bundles,
        unpublished=found.full,
    )


def _check_complete(found: _Found, head: Head) -> None:
    if found.tails.size < head.size:
        where = f"{found.torn[0]} is damaged at byte {found.torn[1]}" if found.torn else "the segments end there"
        raise VerificationError(
            f"the head says {head.size} entries, the folder holds {found.tails.size}: {where}. Entries "
            f"[{found.tails.size}, {head.size}) are lost or rolled back; restore them from a mirror, do not start over",
            expected=head.size, computed=found.tails.size,
        )  # fmt: skip


def tails_at(tiles: TileReader, size: int) -> Tails:
    """The edge of a tree of `size` leaves, a multiple of PACK_ENTRIES, from its full tiles."""
    tails: list[list[bytes]] = []
    level, count = 0, size
    while count:
        rest = count % TILE_WIDTH
        start = count - rest
        tails.append(
            [fold(_hashes(tiles.full_tile(level - 1, k))) for k in range(start, count)] if level and rest else []
        )
        count //= TILE_WIDTH
        level += 1
    return Tails(size, tails)


def _hashes(tile: bytes) -> list[bytes]:
    return [tile[k : k + 32] for k in range(0, len(tile), 32)]


def _packed(files: Folder) -> int:
    """Entries in packs; a gap between packs is damage."""
    names = {name for name in files.list("packs") if name.endswith(".parquet")}
    whole = 0
    while f"{whole:08d}.parquet" in names and files.exists(f"{pack_path(whole)}.sha256"):
        whole += 1
    beyond = sorted(name for name in names if int(name.partition(".")[0]) > whole)
    if beyond:
        raise VerificationError(
            f"{pack_path(whole)} is missing while packs/{beyond[0]} is there; restore it from a mirror"
        )
    return whole * PACK_ENTRIES


def _replay(files: Folder, tails: Tails, packed: int, head: Head) -> _Found:
    found = _Found(tails, [], [])
    _check_root(found.tails, head, "the packs")
    names = sorted(name for name in files.list("segments") if name.endswith(".seg"))
    for position, name in enumerate(names):
        path = f"segments/{name}"
        first = int(name.partition(".")[0])
        end = first
        for offset, frame in decode_frames(files.read(path), path):
            if frame is None:
                if position != len(names) - 1 and found.tails.size < head.size:
                    raise VerificationError(
                        f"{path} is damaged at byte {offset}, entries from {end} on; restore it from a mirror"
                    )
                found.torn = (path, offset)
                break
            end = frame.end
            if frame.end <= packed:
                continue
            _take(found, frame, path, head)
        found.segments.append((first, end))
    return found


def _take(found: _Found, frame: Frame, path: str, head: Head) -> None:
    size = found.tails.size
    if frame.end <= size:
        return
    if frame.first > size:
        raise VerificationError(
            f"{path}: expected entry {size}, got {frame.first}; entries between are missing, restore them from a mirror",
            expected=size, computed=frame.first,
        )  # fmt: skip
    found.tails, full = found.tails.grown(leaf_hashes(slice_frame(frame, size, frame.end)))
    found.full += full  # whether they reached the disk before the stop is unknown: written again
    found.frames.append(frame)
    _check_root(found.tails, head, path)


def _check_root(tails: Tails, head: Head, path: str) -> None:
    if tails.size == head.size and tails.root() != head.root:
        raise VerificationError(
            f"{path}: the root over {tails.size} entries is not the head's; a file was changed, run "
            "'muniment verify --folder' to name it",
            expected=head.root, computed=tails.root(),
        )  # fmt: skip


def _remove_leftovers(files: Folder) -> None:
    """Temporary files of writes that were cut off; nothing refers to them."""
    for folder in ("", "packs"):
        for name in files.list(folder):
            if name.endswith(".tmp"):
                files.unlink(f"{folder}/{name}" if folder else name)
