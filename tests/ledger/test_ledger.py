"""What is acknowledged survives, once, provably; what is damaged is named (INTEGRITY.md section 6, I1-I5, R3, R6, R7)."""

import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.errors import ConfigError, StorageError, VerificationError
from muniment.event.ids import uuid7
from muniment.ledger.check import check_ledger
from muniment.ledger.ledger import Ledger
from muniment.ledger.types import Entries, SealedPart
from muniment.merkle.note import VerifierKey, open_checkpoint
from muniment.merkle.tiles import decode_bundle
from muniment.merkle.tree import Edge, leaf_hash, verify_consistency, verify_inclusion

ORIGIN = "log.example/audit/main"


def batch(first: int, count: int, source: str = "app") -> Entries:
    """Entries that are a function of their numbers, so that resending is appending again."""
    numbers = range(first, first + count)
    part = SealedPart(b"s" * 16, b"n" * 16, b"c" * 32, b"sealed")
    return Entries(
        sources=[source] * count,
        ids=[uuid7(1_700_000_000_000_000_000 + n, n.to_bytes(10, "big")) for n in numbers],
        sqs=[n if n % 2 else None for n in numbers],
        received_at=[1_700_000_000_000_000_000 + n * 1000 for n in numbers],
        records=[b'{"n":%d}' % n for n in numbers],
        parts=[(part,) if n % 7 == 0 else () for n in numbers],
    )


def start(folder: Path) -> Ledger:
    return Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))


def shard(folder: Path) -> Path:
    return next(path.parent for path in (folder / "ledger").glob("*/segments"))


def copy_as_after_a_kill(folder: Path, to: Path) -> None:
    """The files of a running server, as they are at this moment."""
    shutil.copytree(folder, to)


def test_an_appended_entry_reads_back_and_proves_itself(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    appended = ledger.append(batch(0, 1000))
    key = VerifierKey.parse(ledger.vkeys[0])
    checkpoint = open_checkpoint(appended.checkpoint, ledger.origin, [key])
    for k in (0, 1, 499, 999):
        entry = ledger.entry(appended.indexes[k])
        assert (entry.record, entry.sq) == (b'{"n":%d}' % k, k if k % 2 else None)
        proof = ledger.inclusion_proof(entry.index)
        verify_inclusion(leaf_hash(entry.leaf), entry.index, checkpoint.size, proof, checkpoint.root_hash)
        assert appended.leaf_hashes[k] == leaf_hash(entry.leaf)
    ledger.close()


def test_tiles_and_bundles_alone_give_the_root(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 700))
    leaves = [leaf for path in ("tile/entries/000", "tile/entries/001", "tile/entries/002.p/189")
              for leaf in decode_bundle(ledger.tile_file(path) or b"")]  # fmt: skip
    edge = Edge()
    edge.append([leaf_hash(leaf) for leaf in leaves])
    checkpoint = open_checkpoint(ledger.checkpoint, ledger.origin, [VerifierKey.parse(ledger.vkeys[0])])
    assert (edge.size, edge.root()) == (checkpoint.size, checkpoint.root_hash)
    ledger.close()


def test_a_resend_gets_the_first_index_also_after_a_restart(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    first = ledger.append(batch(0, 50))
    ledger.close()
    ledger = start(tmp_path)
    again = ledger.append(batch(25, 50))
    assert again.indexes[:25] == first.indexes[25:]
    assert again.is_duplicate == [True] * 25 + [False] * 25
    assert again.leaf_hashes[:25] == first.leaf_hashes[25:]
    ledger.close()
    check_ledger(tmp_path / "ledger")


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    with pytest.raises(StorageError, match="open"):
        start(tmp_path)
    ledger.close()


def test_a_restored_older_copy_is_refused(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 10))
    ledger.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    ledger = start(tmp_path)
    ledger.append(batch(10, 10))
    ledger.close()
    shutil.rmtree(tmp_path / "ledger")
    (tmp_path / "backup").rename(tmp_path / "ledger")
    with pytest.raises(VerificationError, match="lost or rolled back"):
        start(tmp_path)


def test_after_a_kill_everything_acknowledged_is_there_and_proves(tmp_path: Path) -> None:
    ledger = start(tmp_path / "a")
    appended = [ledger.append(batch(first, 300)) for first in range(0, 1500, 300)]
    copy_as_after_a_kill(tmp_path / "a", tmp_path / "b")
    ledger.close()
    survivor = start(tmp_path / "b")
    assert survivor.size == appended[-1].size
    for each in appended:
        proof = survivor.proof(each.indexes[0])
        verify_inclusion(each.leaf_hashes[0], proof.index, proof.size, proof.hashes, proof.root_hash)
    survivor.close()
    assert check_ledger(tmp_path / "b" / "ledger").entries == survivor.size


@pytest.mark.parametrize("kind", ["segment", "tile", "checkpoint"])
def test_a_flipped_bit_is_named(tmp_path: Path, kind: str) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 600))
    ledger.close()
    folder = shard(tmp_path)
    path = {"segment": next((folder / "segments").iterdir()), "tile": folder / "tile/0/000",
            "checkpoint": folder / "checkpoint"}[kind]  # fmt: skip
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=str(path.relative_to(tmp_path / "ledger"))):
        check_ledger(tmp_path / "ledger")


def test_a_damaged_segment_below_the_head_refuses_the_start(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 600))
    ledger.close()
    path = next((shard(tmp_path) / "segments").iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(VerificationError, match=r"segments/.*damaged at byte"):
        start(tmp_path)


def test_readers_see_only_whole_states_while_it_grows(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 10))
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                proof = ledger.proof(5)
                verify_inclusion(proof.leaf_hash, 5, proof.size, proof.hashes, proof.root_hash)
            except Exception as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for first in range(10, 5010, 500):
        ledger.append(batch(first, 500))
    stop.set()
    reader.join()
    ledger.close()
    assert not wrong


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 400), st.booleans()), min_size=1, max_size=6))
def test_any_batches_and_restarts_keep_one_consistent_log(steps: list[tuple[int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = start(folder)
        known: dict[int, int] = {}
        released: list[bytes] = []
        for first, count, is_restarted in steps:
            appended = ledger.append(batch(first, count))
            for number, index in zip(range(first, first + count), appended.indexes, strict=True):
                assert known.setdefault(number, index) == index
            released.append(appended.checkpoint)
            if is_restarted:
                ledger.close()
                ledger = start(folder)
        key = VerifierKey.parse(ledger.vkeys[0])
        new = open_checkpoint(ledger.checkpoint, ledger.origin, [key])
        for note in released:
            old = open_checkpoint(note, ledger.origin, [key])
            proof = ledger.consistency_proof(old.size, new.size)
            verify_consistency(old.size, new.size, old.root_hash, new.root_hash, proof)
        ledger.close()
        assert sorted(set(known.values())) == list(range(1, len(known) + 1))
        check_ledger(folder / "ledger")


def test_blocks_for_catching_up_say_the_same_as_single_entries(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.append(batch(0, 7))
    found = [
        (block.first + k, block.ids[k], block.sources[k], block.received_at[k], block.records[k])
        for block in ledger.blocks(0, ledger.size)
        for k in range(len(block.records))
    ]
    entries = [ledger.entry(index) for index in range(ledger.size)]
    assert found == [(e.index, e.id, e.source, e.received_at, e.record) for e in entries]
    ledger.close()


def test_a_kept_checkpoint_is_looked_at_wherever_it_ends_and_foreign_or_later_ones_are_refused(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    kept = ledger.append(batch(0, 300)).checkpoint
    ledger.append(batch(300, 500))
    ledger.close()
    check_ledger(tmp_path / "ledger", since=kept)
    for text, reason in (
        (b"other.example/log" + kept[kept.index(b"\n") :], "of none of these logs"),
        (b"x", "of none"),
    ):
        with pytest.raises(VerificationError, match=reason):
            check_ledger(tmp_path / "ledger", since=text)
    shutil.copytree(tmp_path / "ledger", tmp_path / "twin" / "ledger")
    shutil.copytree(tmp_path / "head", tmp_path / "twin" / "head")
    twin, ours = start(tmp_path / "twin"), start(tmp_path)
    fork = twin.append(batch(900, 40)).checkpoint
    ours.append(batch(2_000, 90))
    twin.close()
    ours.close()
    with pytest.raises(VerificationError, match="history was rewritten"):
        check_ledger(tmp_path / "ledger", since=fork)
    later = start(tmp_path)
    newest = later.append(batch(3_000, 1)).checkpoint
    later.close()
    with pytest.raises(VerificationError, match="rolled back"):
        check_ledger(tmp_path / "twin" / "ledger", since=newest)


def test_another_origin_is_told_as_such_and_how_to_go_on(tmp_path: Path) -> None:
    """Its key is the right one: only the setting was changed."""
    start(tmp_path).close()
    with pytest.raises(ConfigError) as caught:
        Ledger.open(tmp_path / "ledger", origin="other.example/audit", head=str(tmp_path / "head"))
    assert str(caught.value) == (
        f"origin: the ledger in {tmp_path / 'ledger'} was begun as {ORIGIN}, the setting says other.example/audit; every "
        f"checkpoint and proof names the origin, so it stays: set it back to {ORIGIN}, or begin another ledger in another "
        "folder (settings data and head)"
    )
    start(tmp_path).close()


def test_another_key_is_told_as_such(tmp_path: Path) -> None:
    start(tmp_path).close()
    key = next((tmp_path / "ledger").rglob("log.key"))
    key.write_text("11" * 32)
    with pytest.raises(VerificationError, match=r"log\.key is not the key that log\.vkey names"):
        start(tmp_path)
