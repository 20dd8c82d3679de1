"""R6 and R7 in short; `python -m tests.faults.campaign --long --only R6` (R7) for long."""

from pathlib import Path

import pytest
from tests.faults.damage import DAMAGES, damages, make, rollbacks

from muniment.errors import AuditError
from muniment.privacy.keys import KeyStore


def test_every_damaged_file_is_named_or_does_no_harm(tmp_path: Path) -> None:
    make(tmp_path / "original", 1_000)
    found = damages(tmp_path / "original", tmp_path / "work", 600, seed=1)
    assert found["named"] > 300
    assert sum(found.values()) > 550
    assert len(DAMAGES) == 10


def test_a_damaged_pack_or_tile_of_a_larger_ledger_too(tmp_path: Path) -> None:
    make(tmp_path / "original", 66_000)
    assert damages(tmp_path / "original", tmp_path / "work", 25, seed=2)["named"] > 15


def test_an_older_copy_under_a_newer_head_never_starts(tmp_path: Path) -> None:
    assert rollbacks(tmp_path, 40, seed=3) == 40


def test_a_first_start_that_was_cut_off_begins_again(tmp_path: Path) -> None:
    """The key is written under another name until the table is there."""
    keys = KeyStore.open(tmp_path)
    keys.close()
    for left in ([], ["tenant.key.new"], ["tenant.key.new", "subjects.db"]):
        folder = tmp_path / "+".join(["again", *left])
        folder.mkdir()
        for name in left:
            (folder / name).write_bytes(b"half" if "key" in name else (tmp_path / "subjects.db").read_bytes())
        keys = KeyStore.open(folder)
        keys.subjects([("app", "anna")])
        keys.close()
        assert KeyStore.open(folder).check() == 1
    (folder / "subjects.db").unlink()
    with pytest.raises(AuditError, match="key table is missing"):
        KeyStore.open(folder)
