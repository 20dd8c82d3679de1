"""Records of several shards: each is proved in its own tree, and one evidence file holds them side by side."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.campaign import NEW_YEAR_NS, entries

from muniment.api.evidence_file import evidence_bytes
from muniment.errors import VerificationError
from muniment.evidence.bundle import verify_evidence
from muniment.ledger.check import check_ledger
from muniment.ledger.folder import Folder
from muniment.ledger.head import FolderHeadStore
from muniment.ledger.ledger import Ledger
from muniment.ledger.storage import LocalFiles
from muniment.merkle.note import VerifierKey


class Clocked(LocalFiles):
    """The real disk with a clock that can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.time_ns = NEW_YEAR_NS - 10**9

    def now_ns(self) -> int:
        self.time_ns += 1_000
        return self.time_ns


def start(folder: Path, clock: Clocked) -> Ledger:
    (folder / "ledger").mkdir(exist_ok=True)
    (folder / "head").mkdir(exist_ok=True)
    head = FolderHeadStore(Folder(clock, str(folder / "head")), folder / "head" / "lock")
    return Ledger(Folder(clock, str(folder / "ledger")), head, "log.example/audit", is_publishing=False)


def services(ledger: Ledger, clock: Clocked) -> Any:
    return SimpleNamespace(ledger=ledger, clock=clock.now_ns, open_part=lambda part: None)


def test_one_file_proves_records_on_both_sides_of_a_change_of_shards(tmp_path: Path) -> None:
    clock = Clocked()
    ledger = start(tmp_path, clock)
    before = ledger.append(entries(0, 300)).indexes
    clock.time_ns = NEW_YEAR_NS
    after = ledger.append(entries(300, 300)).indexes
    assert ledger.append(entries(250, 100)).is_duplicate == [True] * 100
    assert after[0] == before[-1] + 3  # shard.close and shard.open stand between
    ledger.close()
    ledger = start(tmp_path, clock)
    assert ledger.append(entries(250, 100)).is_duplicate == [True] * 100
    wanted = [before[0], before[299], after[0], after[299]]
    data = evidence_bytes(services(ledger, clock), wanted)
    keys = [VerifierKey.parse(vkey) for vkey in ledger.vkeys]
    found = verify_evidence(data, keys)
    assert sorted((f.origin[-6:], f.index) for f in found.findings) == [
        ("2026h2", 1), ("2026h2", 300), ("2027h1", 1), ("2027h1", 300),
    ]  # fmt: skip
    assert {f.record for f in found.findings} == {entries(n, 1).records[0] for n in (0, 299, 300, 599)}
    assert [(origin[-6:], size) for origin, size in found.logs] == [("2026h2", 302), ("2027h1", 301)]
    assert [ledger.entry(index).index for index in wanted] == wanted
    ledger.publish()
    ledger.close()
    assert check_ledger(tmp_path / "ledger").shards == 2


def test_a_whole_shard_that_is_gone_is_missed(tmp_path: Path) -> None:
    clock = Clocked()
    ledger = start(tmp_path, clock)
    ledger.append(entries(0, 10))
    clock.time_ns = NEW_YEAR_NS
    ledger.append(entries(10, 10))
    ledger.close()
    shutil.rmtree(tmp_path / "ledger" / "2026h2")
    with pytest.raises(VerificationError, match="2026h2"):
        check_ledger(tmp_path / "ledger")
    with pytest.raises(VerificationError, match="restore the missing shard"):
        start(tmp_path, clock)
