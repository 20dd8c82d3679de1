"""Blocks on their way to the store: runs of consecutive ledger entries as parallel lists, and as Arrow. Pure.

A block's records are clear text: what the writer had in hand, or what the keys still open on catch-up.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from muniment.envelope import COLLECTED_BEGINNING, COLLECTED_MARK, ENVELOPE_FORMS, opened
from muniment.limits import PROJECTOR_BLOCK_BYTES_MAX, PROJECTOR_BLOCK_EVENTS_MAX
from muniment.sources.catalogue import AUTO, OWN
from muniment.sources.finder import Finder

__all__ = ["Block", "LedgerReader", "Unsealer", "as_arrow", "cut", "join", "ledger_blocks", "whole", "with_opened"]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive entries from index `first` on, in order."""

    first: int
    ids: Sequence[str]
    sources: Sequence[str]
    received_at: Sequence[int]  # UTC nanoseconds
    records: Sequence[bytes]
    earlier: Sequence[str] | None = None  # what earlier records of each one's event say; see `together`

    @property
    def end(self) -> int:
        """The index after the last."""
        return self.first + len(self.records)

    @property
    def n_bytes(self) -> int:
        """Bytes of all records."""
        return sum(map(len, self.records))

    def slice(self, start: int, end: int) -> Block:
        """The part with indexes in [start, end)."""
        a, b = max(0, start - self.first), max(0, end - self.first)
        earlier = None if self.earlier is None else self.earlier[a:b]
        return Block(
            self.first + a, self.ids[a:b], self.sources[a:b], self.received_at[a:b], self.records[a:b], earlier
        )


class StoredBlock(Protocol):
    """What the ledger yields: columns of consecutive entries, records still sealed."""

    @property
    def first(self) -> int: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def received_at(self) -> Sequence[int]: ...
    @property
    def records(self) -> Sequence[bytes]: ...
    @property
    def parts(self) -> Sequence[tuple[object, ...]]: ...


class LedgerReader(Protocol):
    """The ledger as the store reads it. Entries below `size` never change."""

    @property
    def size(self) -> int: ...
    def blocks(self, start: int, end: int) -> Iterator[StoredBlock]: ...


class Unsealer(Protocol):
    """Puts sealed values back where a key still opens them; erased ones stay placeholders."""

    def unseal(self, records: Sequence[bytes], parts: Sequence[tuple[Any, ...]]) -> list[bytes]: ...


def ledger_blocks(ledger: LedgerReader, unsealer: Unsealer | None, start: int, end: int) -> Iterator[Block]:
    """Clear blocks of [start, end) from the ledger, each one good insert.

    The ledger yields batches as they came: a trickle is thousands of small ones, and an insert costs the same for one
    entry as for thousands, so small ones that follow each other are joined.
    """
    waiting: list[Block] = []
    n_events = n_bytes = 0
    for stored in ledger.blocks(start, end):
        records = unsealer.unseal(stored.records, stored.parts) if unsealer else stored.records
        block = Block(stored.first, stored.ids, stored.sources, stored.received_at, records).slice(start, end)
        for part in cut(block):
            size = part.n_bytes
            is_too_much = (
                n_events + len(part.records) > PROJECTOR_BLOCK_EVENTS_MAX or n_bytes + size > PROJECTOR_BLOCK_BYTES_MAX
            )
            if waiting and is_too_much:
                yield join(waiting)
                waiting, n_events, n_bytes = [], 0, 0
            waiting.append(part)
            n_events += len(part.records)
            n_bytes += size
    if waiting:
        yield join(waiting)


def cut(block: Block) -> Iterator[Block]:
    """The same entries in blocks within the limits of one insert."""
    start, n_bytes = block.first, 0
    for index, record in enumerate(block.records, block.first):
        if index > start and (
            index - start >= PROJECTOR_BLOCK_EVENTS_MAX or n_bytes + len(record) > PROJECTOR_BLOCK_BYTES_MAX
        ):
            yield block.slice(start, index)
            start, n_bytes = index, 0
        n_bytes += len(record)
    if start < block.end:
        yield block.slice(start, block.end)


def join(blocks: Sequence[Block]) -> Block:
    """One block of consecutive ones."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        blocks[0].first,
        [each for block in blocks for each in block.ids],
        [each for block in blocks for each in block.sources],
        [each for block in blocks for each in block.received_at],
        [each for block in blocks for each in block.records],
    )


def as_arrow(block: Block, format_of: Callable[[str], str], quarantine: str = "") -> pa.Table:
    """The block as rows of a landing table; with `quarantine`, of format `unmapped` and marked so."""
    n = len(block.records)
    formats = {source: format_of(source) for source in set(block.sources)}
    records = pa.array(block.records, pa.binary())
    times = np.asarray(block.received_at, np.int64) // 1_000
    return pa.table(
        {
            "index": pa.array(np.arange(block.first, block.end, dtype=np.uint64)),
            "id": pa.array(block.ids, pa.string()),
            "source": pa.array(block.sources, pa.string()),
            "format": pa.array(
                ["unmapped"] * n if quarantine else [formats[source] for source in block.sources], pa.string()
            ),
            "received_at": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "record": records,
            "added": pa.array(np.zeros(n, np.uint32)),
            "is_raw": _has_control_bytes(records, n),
            "earlier": pa.array(block.earlier if block.earlier is not None else [""] * n, pa.string()),
            "quarantine": pa.array([quarantine] * n, pa.string()),
        }
    )


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, which is copied only where it is in several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def with_opened(rows: pa.Table, by_content: Container[str]) -> pa.Table:
    """Rows of a landing table, each envelope's payload in front of it; the same table where none is one. Our own events are none.

    What is inside may be of any kind: rows of formats that are found `by_content` are of format `auto` then.
    """
    others = np.flatnonzero(pc.not_equal(rows.column("format"), OWN).to_numpy())
    if not len(others):
        return rows
    told = whole(rows.column("record"))
    if len(others) < len(told):
        told = told.take(pa.array(others))
    found = _may_be_envelopes(told)
    opening = told.take(pa.array(found, pa.int64())).to_pylist()
    put = [(k, *opened(record)) for k, record in zip(others[found].tolist(), opening, strict=True)]
    put = [each for each in put if each[2]]
    if not put:
        return rows
    is_put = np.zeros(rows.num_rows, bool)
    is_put[[k for k, _, _ in put]] = True
    formats = rows.column("format").filter(pa.array(is_put)).to_pylist()
    new = {
        "record": [record for _, record, _ in put],
        "added": [n_added for _, _, n_added in put],
        "format": [AUTO if name in by_content and AUTO in by_content else name for name in formats],
    }
    for name, values in new.items():
        field, column = rows.schema.field(name), whole(rows.column(name))
        changed = pc.replace_with_mask(column, pa.array(is_put), pa.array(values, field.type))
        rows = rows.set_column(rows.schema.get_field_index(name), field, changed)
    return rows


def _may_be_envelopes(records: pa.BinaryArray) -> list[int]:
    """The places of those that are worth opening, in order."""
    found = _FORMS.places(records)
    if pc.any(begun := pc.match_substring_regex(records, COLLECTED_BEGINNING)).as_py():
        begun = np.flatnonzero(begun.to_numpy(zero_copy_only=False))
        marked = _MARK.places(records.take(pa.array(begun)))
        found = sorted({*found, *begun[marked].tolist()})
    return found


_FORMS = Finder([ENVELOPE_FORMS])
_MARK = Finder([COLLECTED_MARK])
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r")


def _has_control_bytes(records: pa.Array, n: int) -> pa.Array:
    """Per record: does it hold a raw control byte? One look at the whole block answers for nearly all blocks."""
    data = records.buffers()[2]
    if data is None or not len(data) or int(np.frombuffer(data, np.uint8).min()) >= 0x20:
        return pa.array(np.zeros(n, np.uint8))
    flags = [len(record.translate(None, _CONTROL)) != len(record) for record in records.to_pylist()]
    return pa.array(np.asarray(flags, np.uint8))
