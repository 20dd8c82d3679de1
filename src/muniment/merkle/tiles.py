"""C2SP tlog-tiles: where a hash stands, what a path means, how a bundle is made. Pure. Implements c2sp.org/tlog-tiles.

Tile (level L, number N) holds up to 256 hashes of subtrees of 256**L leaves. Full tiles never change; partial tiles
are named by their width. Bundles are u16-BE length-prefixed leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muniment.errors import RejectedError, VerificationError

__all__ = [
    "TILE_WIDTH",
    "TilePath",
    "bundle_path",
    "decode_bundle",
    "encode_bundle",
    "parse_tile_path",
    "tile_path",
    "tiles_of",
]

TILE_WIDTH = 256
_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

_PATH_CHARS_MAX = 64
"""A number below 2**63 needs 7 groups: tile/entries/x999/.../999.p/255 has 52 characters."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """A parsed path; `level` None for entry bundles, `width` 256 for full ones."""

    level: int | None
    number: int
    width: int


def _number_path(number: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """The path of a hash tile.

    >>> tile_path(0, 1234067)
    'tile/0/x001/x234/067'
    """
    return f"tile/{level}/{_number_path(number)}" + ("" if width == TILE_WIDTH else f".p/{width}")


def bundle_path(number: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle.

    >>> bundle_path(0, 7)
    'tile/entries/000.p/7'
    """
    return f"tile/entries/{_number_path(number)}" + ("" if width == TILE_WIDTH else f".p/{width}")


def parse_tile_path(path: str) -> TilePath:
    """The tile a path names; only the canonical spelling is accepted.

    Raises:
        RejectedError: it names none.
    """
    match = _PATH.fullmatch(path) if len(path) <= _PATH_CHARS_MAX else None
    if match:
        level = None if match[1] == "entries" else int(match[1])
        number = int(match[2].replace("x", "").replace("/", ""))
        width = int(match[3] or TILE_WIDTH)
        made = bundle_path(number, width) if level is None else tile_path(level, number, width)
        if made == path and width <= TILE_WIDTH:
            return TilePath(level, number, width)
    raise RejectedError("this is no tile path", field="path", status=404)


def encode_bundle(leaves: Sequence[bytes]) -> bytes:
    """A bundle of up to 256 leaves."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def decode_bundle(data: bytes) -> list[bytes]:
    """The leaves of a bundle.

    Raises:
        VerificationError: a length goes past the end, or there are more than 256.
    """
    found, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise VerificationError("the bundle ends inside an entry", expected=end, computed=len(data))
        found.append(data[at + 2 : end])
        at = end
    if len(found) > TILE_WIDTH:
        raise VerificationError("a bundle holds at most 256 entries", expected=TILE_WIDTH, computed=len(found))
    return found


def tiles_of(size: int) -> Iterator[TilePath]:
    """Every hash tile of a tree of `size` leaves, full ones first within a level."""
    level, width = 0, size
    while width:
        for number in range(width // TILE_WIDTH):
            yield TilePath(level, number, TILE_WIDTH)
        if width % TILE_WIDTH:
            yield TilePath(level, width // TILE_WIDTH, width % TILE_WIDTH)
        level, width = level + 1, width // TILE_WIDTH
