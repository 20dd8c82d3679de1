"""A pack may be written again, smaller: the same entries, and at every moment a file that its digests list."""

import hashlib
import random
from copy import deepcopy
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.faults.disk import Crash, SimulatedDisk

from muniment.errors import StorageError, VerificationError
from muniment.ledger import packs
from muniment.ledger.check import check_ledger
from muniment.ledger.folder import Folder
from muniment.ledger.ledger import Ledger
from muniment.ledger.packs import PackReader, pack_path, read_digests, tighten_pack, write_pack
from muniment.ledger.segment import Frame
from muniment.ledger.storage import LocalFiles
from muniment.ledger.types import Entries
from muniment.limits import PACK_ENTRIES

WORDS = "invoice customer export approve delete login session report payroll contract".split()


def frame() -> Frame:
    """One pack of entries, the same at every call."""
    draw, n = random.Random(1), PACK_ENTRIES
    records = [b'{"n":%d,"w":"%s"}' % (k, " ".join(draw.choices(WORDS, k=12)).encode()) for k in range(n)]
    ids = [f"{k:08x}-0000-7000-8000-{draw.getrandbits(48):012x}" for k in range(n)]
    salts = [draw.randbytes(16) for _ in range(n)]
    return Frame(0, ids, ["app"] * n, list(range(n)), list(range(n)), salts, records, [()] * n)


FRAME = frame()


def on_disk(disk: SimulatedDisk) -> Folder:
    disk.makedirs("/shard/packs")
    return Folder(disk, "/shard")


def is_listed(files: Folder) -> bool:
    return hashlib.sha256(files.view(pack_path(0))).hexdigest() in read_digests(files, 0)


def test_a_tightened_pack_is_smaller_and_reads_the_same(tmp_path: Path) -> None:
    files = Folder(LocalFiles(), str(tmp_path))
    files.make_folder("packs")
    write_pack(files, 0, [FRAME], "log.example", b"r" * 32)
    size, before = len(files.view(pack_path(0))), pq.read_table(tmp_path / pack_path(0))
    saved = tighten_pack(files, 0)
    assert saved == size - len(files.view(pack_path(0))) > size // 20
    assert pq.read_table(tmp_path / pack_path(0)).equals(before)
    assert PackReader(files).group(70).records == FRAME.records[:4096]
    assert (len(read_digests(files, 0)), is_listed(files)) == (1, True)
    assert tighten_pack(files, 0) == 0


def test_the_power_may_go_at_any_moment_of_it() -> None:
    made = SimulatedDisk()
    write_pack(on_disk(made), 0, [FRAME], "log.example", b"r" * 32)
    whole = deepcopy(made)
    tighten_pack(Folder(whole, "/shard"), 0)
    calls = whole.calls - made.calls
    assert calls > 8
    for call in range(1, calls + 1):
        disk = deepcopy(made)
        disk.crash_at = made.calls + call
        with pytest.raises(Crash):
            tighten_pack(Folder(disk, "/shard"), 0)
        for seed in range(5):
            found = Folder(disk.after_crash(seed), "/shard")
            assert is_listed(found), (call, seed)
        tighten_pack(found, 0)
        assert is_listed(found)
        assert tighten_pack(found, 0) == 0


def test_a_full_disk_leaves_the_pack_as_it_is() -> None:
    disk = SimulatedDisk()
    files = on_disk(disk)
    write_pack(files, 0, [FRAME], "log.example", b"r" * 32)
    disk.full_from, disk.full_until = disk.calls, disk.calls + 2
    with pytest.raises(StorageError):
        tighten_pack(files, 0)
    assert is_listed(files)
    disk.full_from = disk.full_until = 1 << 60
    assert tighten_pack(files, 0) > 0
    assert is_listed(files)


def test_a_damaged_pack_is_named_and_left_alone(tmp_path: Path) -> None:
    files = Folder(LocalFiles(), str(tmp_path))
    files.make_folder("packs")
    write_pack(files, 0, [FRAME], "log.example", b"r" * 32)
    damaged = bytearray((tmp_path / pack_path(0)).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / pack_path(0)).write_bytes(damaged)
    with pytest.raises(VerificationError, match="00000000"):
        tighten_pack(files, 0)
    assert (tmp_path / pack_path(0)).read_bytes() == damaged


def test_a_ledger_tightens_its_packs_and_still_proves_every_entry(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger", origin="log.example/audit", head=str(tmp_path / "head"))
    ids, records = FRAME.ids, FRAME.records
    for start in range(0, PACK_ENTRIES, 1 << 14):
        n = len(ids[start : start + (1 << 14)])
        ledger.append(
            Entries(["app"] * n, ids[start : start + n], [None] * n, [10**18] * n, records[start : start + n], [()] * n)
        )
    ledger.publish()
    assert ledger.entry(1000).record == records[999]  # before it comes shard.open
    assert ledger.tighten(30) > 0
    assert ledger.tighten(30) == 0
    assert ledger.entry(1000).record == records[999]
    ledger.close()
    report = check_ledger(tmp_path / "ledger")
    assert report.packs == 1
    assert packs.TIGHT_LEVEL > packs.HASTY_LEVEL
