"""The growing tree of one shard as C2SP tiles: full tiles to write, the right edge in memory, proofs from both.

`_tails[l]` holds the hashes of the last, partial tile of level l, at most 255. A full tile's hash climbs one level, so
every node is hashed once. Growing works on a copy (`grown`), because nothing may be visible before the head has moved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from threading import Lock

from muniment.errors import StorageError, VerificationError
from muniment.ledger.folder import Folder
from muniment.merkle.tiles import TILE_WIDTH, tile_path
from muniment.merkle.tree import EMPTY_ROOT, consistency_path, inclusion_path

__all__ = ["Tails", "TileReader", "fold"]


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [sha256(b"\x01" + level[k] + level[k + 1]).digest() for k in range(0, len(level), 2)]
    return level[0]


FullTile = tuple[int, int, bytes]
"""(level, number, 8,192 bytes)."""


class Tails:
    """The right edge of a tree of `size` leaves."""

    __slots__ = ("size", "tails")

    def __init__(self, size: int = 0, tails: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self.tails = [list(tail) for tail in tails]

    def grown(self, leaf_hashes: Sequence[bytes]) -> tuple[Tails, list[FullTile]]:
        """The edge after appending, and the tiles that became full."""
        new = Tails(self.size, self.tails)
        full: list[FullTile] = []
        run, level = list(leaf_hashes), 0
        size = self.size
        while run:
            if level == len(new.tails):
                new.tails.append([])
            tail = new.tails[level]
            number = (size >> 8 * level) // TILE_WIDTH
            tail += run
            run = []
            while len(tail) >= TILE_WIDTH:
                hashes = tail[:TILE_WIDTH]
                del tail[:TILE_WIDTH]
                full.append((level, number, b"".join(hashes)))
                run.append(fold(hashes))
                number += 1
            level += 1
        new.size = size + len(leaf_hashes)
        return new, full

    def root(self) -> bytes:
        """The root of the whole tree."""
        value = b""
        for tail in self.tails:
            end = len(tail)
            while end:
                width = end & -end
                left = fold(tail[end - width : end])
                value = sha256(b"\x01" + left + value).digest() if value else left
                end -= width
        return value or EMPTY_ROOT


class TileReader:
    """Hashes of any complete subtree: from the edge, from tiles not yet on disk, from disk, with a bounded cache."""

    def __init__(self, files: Folder, cached: int = 1024) -> None:
        self._files = files
        self._cached = cached
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._unwritten: dict[tuple[int, int], bytes] = {}
        self._lock = Lock()

    def hold(self, full: Sequence[FullTile]) -> None:
        """Tiles that are decided and not yet written."""
        for level, number, data in full:
            self._unwritten[level, number] = data

    def release(self, level: int, number: int) -> None:
        """A held tile is on disk now."""
        self._unwritten.pop((level, number), None)

    def full_tile(self, level: int, number: int) -> bytes:
        """The 8,192 bytes of a full tile.

        Raises:
            VerificationError: it is missing or has another length; names the file.
        """
        key = (level, number)
        held = self._unwritten.get(key)
        if held is not None:
            return held
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
                return found
        path = tile_path(level, number)
        try:
            data = self._files.read(path)
        except StorageError:
            raise VerificationError(f"{path}: the tile is missing; rebuild it from the packs or a mirror") from None
        if len(data) != 32 * TILE_WIDTH:
            raise VerificationError(f"{path}: expected 8192 bytes, got {len(data)}", expected=8192, computed=len(data))
        with self._lock:
            self._cache[key] = data
            while len(self._cache) > self._cached:
                self._cache.popitem(last=False)
        return data

    def reader(self, tails: Tails) -> Callable[[int, int], bytes]:
        """(binary level, position) -> hash, for the tree that ends in `tails`."""

        def read(level: int, position: int) -> bytes:
            tile_level, height = divmod(level, 8)
            start = position << height
            number, at = divmod(start, TILE_WIDTH)
            has_tail = tile_level < len(tails.tails)
            if has_tail and number == (tails.size >> 8 * tile_level) // TILE_WIDTH:
                return fold(tails.tails[tile_level][at : at + (1 << height)])
            data = self.full_tile(tile_level, number)
            return fold([data[32 * k : 32 * k + 32] for k in range(at, at + (1 << height))])

        return read

    def inclusion(self, tails: Tails, index: int, size: int) -> list[bytes]:
        """The inclusion proof of `index` in the tree of `size` <= tails.size leaves."""
        return inclusion_path(self.reader(tails), index, size)

    def consistency(self, tails: Tails, size1: int, size2: int) -> list[bytes]:
        """The consistency proof between two sizes up to tails.size."""
        return consistency_path(self.reader(tails), size1, size2)
