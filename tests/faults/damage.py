"""R6: damage to a file of a ledger, its head or its key table is named. R7: what was rolled back does not start.

Each case works on a copy of a folder at rest: one file is damaged in one of ten ways, then a server's start and the
check are asked. Either they name the file (or its shard and entries), or the damage did no harm: every entry, every
tile, the head and every subject key read as before (a torn tail beyond the head is cut, for instance).
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.campaign import ORIGIN, entries

from muniment.errors import AuditError
from muniment.ledger.check import check_ledger
from muniment.ledger.ledger import Ledger
from muniment.merkle.tiles import TILE_WIDTH, tile_path
from muniment.privacy.keys import KeyStore

__all__ = ["damages", "make", "rollbacks"]

PERSONS = [("app", f"person {number}") for number in range(300)]


def make(folder: Path, count: int) -> None:
    """A ledger at rest with its head and a table of subject keys."""
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))
    for first in range(0, count, 10_000):
        ledger.append(entries(first, min(10_000, count - first)))
    ledger.close()
    keys = KeyStore.open(folder / "keys")
    keys.subjects(PERSONS)
    keys.close()
    check_ledger(folder / "ledger")


Damage = Callable[[bytes, random.Random], bytes | None]


def _at(data: bytes, draw: random.Random) -> int:
    return draw.randrange(max(1, len(data)))


def _flip(data: bytes, draw: random.Random) -> bytes:
    at = _at(data, draw)
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :] if data else b""


def _write(data: bytes, draw: random.Random, what: bytes) -> bytes:
    at = _at(data, draw) // 512 * 512
    return (data[:at] + what + data[at + len(what) :])[: len(data)]


def _cut_out(data: bytes, draw: random.Random) -> bytes:
    at = _at(data, draw)
    return data[:at] + data[at + draw.randrange(1, 600) :]


def _put_in(data: bytes, draw: random.Random) -> bytes:
    at, other = _at(data, draw), _at(data, draw)
    return data[:at] + data[other : other + draw.randrange(1, 600)] + data[at:]


DAMAGES: dict[str, Damage] = {
    "a bit flipped": _flip,
    "zeroes": lambda data, draw: _write(data, draw, bytes(512)),
    "noise": lambda data, draw: _write(data, draw, draw.randbytes(512)),
    "another part of itself": lambda data, draw: _write(data, draw, data[_at(data, draw) :][:512]),
    "cut short": lambda data, draw: data[: _at(data, draw)],
    "a piece missing": _cut_out,
    "a piece twice": _put_in,
    "longer": lambda data, draw: data + draw.randbytes(draw.randrange(1, 600)),
    "empty": lambda data, draw: b"",
    "gone": lambda data, draw: None,
}


def damages(original: Path, work: Path, count: int, seed: int = 0) -> Counter[str]:
    """Damage `count` files, one after the other, each file and each way in turn; how many were "named" and "harmless".

    Raises:
        AssertionError: something reads differently and nobody complained, or the complaint names nothing.
    """
    draw, found = random.Random(seed), Counter[str]()
    before = _content(_copy(original, work))
    paths = [path.relative_to(original) for path in sorted(original.rglob("*")) if path.is_file()]
    paths = [path for path in paths if path.suffix != ".tmp" and path.name != "lock"]
    cases = [(path, name) for path in paths for name in DAMAGES]
    draw.shuffle(cases)
    for number in range(count):
        path, name = cases[number % len(cases)]
        data = (original / path).read_bytes()
        changed = DAMAGES[name](data, draw)
        if changed == data:
            continue
        folder = _copy(original, work)
        if changed is None:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(changed)
        case = f"{path}, {name} (seed {seed}, number {number})"
        try:
            complaint = _complaint(folder, is_checked_first=number % 2 == 0)
            if complaint:
                shard = next((part for part in path.parts if part.startswith("20")), path.parts[0])
                assert path.name in complaint or shard in complaint or _kind(path) in complaint, f"{case}: {complaint}"
                found["named"] += 1
            else:
                assert _content(folder) == before, f"{case}: nobody noticed"
                found["harmless"] += 1
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
    return found


def _kind(path: Path) -> str:
    return {"head": "head", "tenant.key": "tenant key", "log.key": "private key", "subjects.db": "key table"}.get(
        path.name, path.name
    )


def _copy(original: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(original, work)
    return work


def _complaint(folder: Path, *, is_checked_first: bool) -> str:
    """What a start of the server and the check say: a start writes what it can derive (tiles, checkpoint) again."""
    try:
        if is_checked_first:
            check_ledger(folder / "ledger")
        keys = KeyStore.open(folder / "keys")
        try:
            keys.check()
        finally:
            keys.close()
        Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head")).close()
        check_ledger(folder / "ledger")
    except AuditError as error:
        return str(error)
    return ""


def _content(folder: Path) -> str:
    """A digest of all that a reader can see."""
    digest = hashlib.sha256()
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))
    try:
        for block in ledger.blocks(0, ledger.size):
            for event_id, record, salt in zip(block.ids, block.records, block.salts, strict=True):
                digest.update(event_id.encode() + record + salt)
        level = 0
        while count := ledger.size >> 8 * level:
            for number in range(count // TILE_WIDTH + 1):
                width = min(TILE_WIDTH, count - number * TILE_WIDTH)
                digest.update(ledger.tile_file(tile_path(level, number, width)) or b"-" if width else b"-")
            level += 1
        digest.update(ledger.vkeys[0].encode())
    finally:
        ledger.close()
    keys = KeyStore.open(folder / "keys")
    for name, key in sorted(keys.subjects(PERSONS).items()):
        digest.update(json.dumps(name).encode() + key.subject + key.key)
    keys.close()
    return digest.hexdigest()


def rollbacks(folder: Path, count: int, seed: int = 0) -> int:
    """Put an older copy of the ledger under the newer head, `count` times; each start must be refused.

    The copies are whole folders and single files (segments, packs, tiles, checkpoints) of an earlier moment.
    """
    draw, moments = random.Random(seed), folder / "moments"
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))
    n = 0
    for number in range(12):
        size = draw.choice((1, 40, 300, 9_000))
        ledger.append(entries(n, size))
        n += size
        ledger.wait_until_published()
        shutil.copytree(folder / "ledger", moments / f"{number:02d}" / "ledger")
    ledger.close()
    after = folder / "after"
    shutil.copytree(folder / "ledger", after / "ledger")
    shutil.copytree(folder / "head", after / "head")
    for number in range(count):
        work = _copy(after, folder / "work")
        moment = moments / f"{draw.randrange(11):02d}" / "ledger"
        segments = sorted(path.relative_to(moment) for path in moment.rglob("*.seg"))
        if draw.random() < 0.5:
            shutil.rmtree(work / "ledger")
            shutil.copytree(moment, work / "ledger")
        else:
            shutil.copy2(moment / segments[-1], work / "ledger" / segments[-1])
        said = _complaint_of_start(work)
        assert said, f"number {number}, seed {seed}: {moment.parent.name} started under a newer head"
        assert "entries" in said or "root" in said, f"number {number}: {said}"
    return count


def _complaint_of_start(folder: Path) -> str:
    try:
        Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head")).close()
    except AuditError as error:
        return str(error)
    return ""
