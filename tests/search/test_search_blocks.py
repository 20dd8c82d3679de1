"""Blocks from the ledger: whole, in order, and each one good insert however small the batches were."""

import pytest
from memory_ledger import MemoryLedger, record

from muniment.search import blocks
from muniment.search.blocks import ledger_blocks


def _ledger(n: int, piece: int) -> MemoryLedger:
    ledger = MemoryLedger(piece=piece)
    ledger.append([record(message=f"number {k}") for k in range(n)])
    return ledger


def test_a_trickle_of_small_batches_is_one_insert_not_thousands() -> None:
    """A rebuild of a day of small batches took an insert for each, and never caught up with a live server."""
    ledger = _ledger(5_000, piece=2)
    (block,) = ledger_blocks(ledger, None, 3, 4_999)
    assert (block.first, block.end) == (3, 4_999)
    assert list(block.records) == ledger.records[3:4_999]
    assert list(block.ids) == ledger.ids[3:4_999]


@pytest.mark.parametrize("piece", [1, 3, 10, 25, 100])
def test_no_block_is_larger_than_an_insert_may_be(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PROJECTOR_BLOCK_EVENTS_MAX", 10)
    ledger = _ledger(95, piece)
    found = list(ledger_blocks(ledger, None, 0, 95))
    assert [block.first for block in found] == [0, *(block.end for block in found[:-1])]
    assert found[-1].end == 95
    assert max(len(block.records) for block in found) <= 10
    assert [each for block in found for each in block.records] == ledger.records


def test_no_block_has_more_bytes_than_an_insert_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = _ledger(50, piece=3)
    size = max(map(len, ledger.records))
    monkeypatch.setattr(blocks, "PROJECTOR_BLOCK_BYTES_MAX", 4 * size)
    found = list(ledger_blocks(ledger, None, 0, 50))
    assert max(block.n_bytes for block in found) <= 4 * size
    assert [each for block in found for each in block.records] == ledger.records


def test_nothing_is_no_block() -> None:
    assert list(ledger_blocks(_ledger(5, 2), None, 5, 5)) == []
