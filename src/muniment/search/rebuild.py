"""Making the store anew from the ledger, and comparing the two; both while new events keep coming in.

A rebuild fills a fresh table beside the old one with the mappings of today, closes the last gap with writing paused,
and swaps the two names in one step; readers see the old table until then. A crash before the swap changes nothing:
the next rebuild starts again. The comparison reads every record of both sides, 256 indexes to a digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from muniment.search.blocks import Block, LedgerReader, Unsealer, ledger_blocks
from muniment.search.engine import Engine
from muniment.search.projector import Projector
from muniment.search.replica import Replica
from muniment.search.schema import drop_landing, events_sql
from muniment.search.together import Recall

__all__ = ["Difference", "compare", "rebuild"]

_GROUP = 64
_PREFIX = "rebuild"
_NEXT = "events_next"
Progress = Callable[[int, int], None]


def rebuild(projector: Projector, progress: Progress = lambda done, size: None) -> int:
    """Fill a fresh `events` from the ledger and put it in the place of the old one; returns how many entries it has."""
    engine, ledger = projector.engine, projector.ledger
    replicas = [projector.replica(node, _NEXT, _PREFIX) for node in engine.nodes]
    for replica in replicas:
        engine.command(f"DROP TABLE IF EXISTS {_NEXT} SYNC", node=replica.node)
        engine.command(events_sql(_NEXT), node=replica.node)
        replica.prepare()
    done, recall = 0, projector.recall()
    while (size := ledger.size) - done > 10_000:
        done = _copy(projector, replicas, recall, done, size, progress)
    with projector.pause():  # nothing is written between the last copy and the swap
        done = _copy(projector, replicas, recall, done, ledger.size, progress)
        for replica in replicas:
            engine.command(f"EXCHANGE TABLES {engine.local_table} AND {_NEXT}", node=replica.node)
        projector.jump(done)
    for replica in replicas:
        drop_landing(engine, replica.node, _PREFIX)
        engine.command(f"DROP TABLE IF EXISTS {_NEXT} SYNC", node=replica.node)
    return done


def _copy(
    projector: Projector, replicas: list[Replica], recall: Recall, start: int, end: int, progress: Progress
) -> int:
    for block in recall.blocks(ledger_blocks(projector.ledger, projector.unsealer, start, end)):
        for replica in replicas:
            replica.fill(block)
        progress(block.end, end)
    return end


@dataclass(frozen=True, slots=True)
class Difference:
    """A run of indexes in which store and ledger differ: other rows, or another number of them."""

    start: int
    end: int
    in_ledger: int
    in_store: int


def compare(
    engine: Engine,
    ledger: LedgerReader,
    unsealer: Unsealer | None,
    end: int,
    progress: Progress = lambda done, size: None,
) -> Iterator[Difference]:
    """Where store and ledger differ below `end`: id, source, time of receipt or record of some entry."""
    for block in ledger_blocks(ledger, unsealer, 0, end):
        yield from _compared(engine, block)
        progress(block.end, end)


def _compared(engine: Engine, block: Block) -> Iterator[Difference]:
    rows = engine.query(
        f"SELECT intDiv(`index`, {_GROUP}) AS part, count(), groupBitXor(xxHash64(concat(toString(`index`), '\\n', "
        "toString(id), '\\n', source, '\\n', toString(toUnixTimestamp64Micro(received_at)), '\\n', record))) "
        "FROM events WHERE `index` >= {a:UInt64} AND `index` < {b:UInt64} GROUP BY part",
        {"a": block.first, "b": block.end},
        timeout_ms=120_000,
    ).rows
    stored = {int(part): (int(n), int(digest)) for part, n, digest in rows}
    hashes = np.fromiter(map(_hash, _lines(block)), np.uint64, len(block.records))
    starts = [block.first, *range((block.first // _GROUP + 1) * _GROUP, block.end, _GROUP)]
    digests = np.bitwise_xor.reduceat(hashes, [start - block.first for start in starts])
    for start, end, digest in zip(starts, [*starts[1:], block.end], digests, strict=True):
        found = stored.get(start // _GROUP, (0, 0))
        if found != (end - start, int(digest)):
            yield Difference(start, end, end - start, found[0])


def _lines(block: Block) -> Iterator[bytes]:
    for k, record in enumerate(block.records):
        head = f"{block.first + k}\n{block.ids[k]}\n{block.sources[k]}\n{block.received_at[k] // 1_000}\n"
        yield head.encode() + record


def _hash(line: bytes) -> int:
    return int(xxhash.xxh64_intdigest(line))
