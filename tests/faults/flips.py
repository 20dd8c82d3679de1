"""R3: one flipped bit in any byte of any file of a ledger is found, and the file that holds it is named."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.faults.campaign import ORIGIN, entries

from muniment.errors import AuditError
from muniment.ledger.check import check_ledger
from muniment.ledger.ledger import Ledger

__all__ = ["flips", "make"]


def make(folder: Path, count: int) -> None:
    """A ledger at rest, with full and partial tiles; with a pack when `count` is large enough."""
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))
    for first in range(0, count, 10_000):
        ledger.append(entries(first, min(10_000, count - first)))
    ledger.close()
    check_ledger(folder / "ledger")


def flips(folder: Path, seed: int = 0, count: int = 0, only: str = "") -> int:
    """Flip one bit at `count` places (0: in each byte), one after the other; how many were found.

    Raises:
        AssertionError: a flip went unnoticed, or the error does not name the file.
    """
    draw = random.Random(seed)
    done = 0
    for path, at in _places(folder, draw, count, only):
        data = path.read_bytes()
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
        try:
            complaint = _complaint(folder)
        finally:
            path.write_bytes(data)
        assert complaint, f"{path.name}: byte {at} was changed and nobody noticed"
        shard = next(part for part in path.parts[::-1] if part.startswith("20"))
        assert shard in complaint or path.name in complaint, f"{path.name}, byte {at}: {complaint}"
        done += 1
    return done


def _places(folder: Path, draw: random.Random, count: int, only: str) -> Iterator[tuple[Path, int]]:
    paths = [path for path in sorted((folder / "ledger").rglob("*")) if path.is_file() and path.suffix != ".tmp"]
    paths = [path for path in paths if only in str(path)]
    if not count:
        yield from ((path, at) for path in paths for at in range(path.stat().st_size))
        return
    for number in range(count):  # every file gets its share, however small it is
        path = paths[number % len(paths)]
        yield path, draw.randrange(path.stat().st_size)


def _complaint(folder: Path) -> str:
    """What the check says, or the start of a server: the private key is its own business."""
    try:
        check_ledger(folder / "ledger")
        Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head")).close()
    except AuditError as error:
        return str(error)
    return ""
