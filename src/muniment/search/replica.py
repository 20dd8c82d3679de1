"""One node's rows: what it has, what is missing, and how a block gets in exactly once.

Rules: the node itself is the watermark. Before anything is inserted whose fate is unknown (a restart, an error, a
kill -9 in the middle of a block) the node is asked which indexes it has, and only the missing ones are sent. An
insert is atomic per month; nothing is ever deleted. A record whose mapping fails is found by halving and
stored with the reason under `quarantine`; the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from muniment.errors import BusyError, StorageError
from muniment.event.place import Place
from muniment.search.blocks import Block, as_arrow, with_opened
from muniment.search.engine import Engine, Node
from muniment.search.landing import Landing, TableLanding
from muniment.search.schema import MappingSet, create_landing, migrate_node
from muniment.search.streamed import StreamLanding

__all__ = ["BIN", "Locate", "Replica"]

Locate = Callable[[str], Place | None]
"""Where an address is said to be."""

BIN = 65_536
"""Indexes a shard holds in one piece, and the grain of the comparison with the ledger (one pack of the ledger)."""


class Replica:
    """The rows of one node. Used by one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        mappings: MappingSet,
        source_format: Callable[[str], str],
        table: str,
        prefix: str = "landing",
        locate: Locate | None = None,
        *,
        has_streams: bool | None = None,
    ) -> None:
        """`locate`: where an address is, for rows whose mapping does not say. `has_streams`: do statements run on; without it,
        where the node allows.
        """
        self.engine = engine
        self.node = node
        self.mappings = mappings
        self.table = table
        self._source_format = source_format
        self.next = 0  # every index of this node's shard below it is in the table
        self.is_up = False
        self.unsure_below = 0  # a block that starts below it may be there in part
        self._prefix = prefix
        self._locate = locate
        self._has_streams = not node.is_shared if has_streams is None else has_streams
        self._tables = TableLanding(engine, node, "")
        self._landing: Landing = self._tables

    def prepare(self) -> None:
        """Make tables and landing; raises StorageError when the node is away."""
        migrate_node(self.engine, self.node)
        name = create_landing(self.engine, self.node, self._prefix)
        self._tables = TableLanding(self.engine, self.node, name)
        self._landing = self._tables
        if self._has_streams:
            self._landing = StreamLanding(self.engine, self.node, name, self._tables)
        rows = self.engine.query(f"SELECT count(), max(`index`) FROM {self.table}", node=self.node).rows
        self.unsure_below = int(rows[0][1]) + 1 if rows[0][0] else 0
        self.is_up = True

    def is_mine(self, index: int) -> bool:
        """Does this node's shard hold `index`?"""
        return index // BIN % self.engine.shards == self.node.shard

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Ranges of this shard below `size` that the table lacks, in order."""
        if size == 0:
            return []
        counted = self.engine.query(
            f"SELECT intDiv(`index`, {BIN}) AS bin, count() FROM {self.table} WHERE `index` < {{size:UInt64}} GROUP BY bin",
            {"size": size},
            node=self.node,
        )
        counts = {int(row[0]): int(row[1]) for row in counted.rows}
        found: list[tuple[int, int]] = []
        for number in range((size - 1) // BIN + 1):
            start, end = number * BIN, min(size, (number + 1) * BIN)
            have = counts.get(number, 0)
            if not self.is_mine(start) or have == end - start:
                continue
            gaps = [(start, end)] if have == 0 else self._gaps(start, end)
            for a, b in gaps:
                if found and found[-1][1] == a:
                    found[-1] = (found[-1][0], b)
                else:
                    found.append((a, b))
        return found

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        rows = self.engine.query(
            f"SELECT DISTINCT `index` FROM {self.table} WHERE `index` >= {{a:UInt64}} AND `index` < {{b:UInt64}}",
            {"a": start, "b": end},
            node=self.node,
        ).rows
        present = np.zeros(end - start, bool)
        present[np.fromiter((int(row[0]) - start for row in rows), np.int64, len(rows))] = True
        edges = np.flatnonzero(np.diff(np.concatenate(([True], present, [True])).astype(np.int8)))
        return [(start + int(a), start + int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def write(self, block: Block) -> None:
        """Put the block's rows of this shard in, once.

        Raises StorageError or BusyError when the node is away or full; then `prepare` before writing again.
        """
        for part in self._mine(block):
            if part.first >= self.unsure_below:
                self._insert(part)
            else:
                self.complete(part)

    def fill(self, block: Block) -> None:
        """Put in rows that `missing` has just named."""
        for part in self._mine(block):
            self._insert(part)

    def complete(self, block: Block) -> None:
        """Put in what of the block is not there; the node is asked first, as others may have filled it meanwhile."""
        for part in self._mine(block):
            for start, end in self._gaps(part.first, part.end):
                self._insert(part.slice(start, end))

    def _mine(self, block: Block) -> Iterator[Block]:
        if self.engine.shards == 1:
            yield block
            return
        for number in range(block.first // BIN, (block.end - 1) // BIN + 1):
            if self.is_mine(number * BIN):
                yield block.slice(number * BIN, (number + 1) * BIN)

    def _insert(self, block: Block, landing: Landing | None = None) -> None:
        try:
            self._send(block, landing or self._landing)
        except (StorageError, BusyError) as error:
            if not _is_about_the_data(error):
                self.is_up = False
                raise
            self._insert_around(block, error)

    def _insert_around(self, block: Block, error: Exception) -> None:
        """Some row of the block cannot be mapped: store what can, and mark what cannot."""
        for start, end in self._gaps(block.first, block.end):
            part = block.slice(start, end)
            if len(part.records) == 1:
                self._tables.put_unmapped(part, f"mapping failed: {str(error)[:200]}")
                self._gather(self._tables, 1)
            else:
                middle = (start + end) // 2
                self._insert(part.slice(start, middle), self._tables)
                self._insert(part.slice(middle, end), self._tables)

    def _send(self, block: Block, landing: Landing) -> None:
        """Each format's rows through its mapping, then all of them in one insert."""
        came = as_arrow(block, lambda source: self.mappings.format_of(self._source_format(source)))
        rows = with_opened(came, self.mappings.recognise)
        landing.put(rows, self.mappings, has_envelopes=rows is not came)
        self._gather(landing, rows.num_rows)

    def _gather(self, landing: Landing, count: int) -> None:
        places = {}
        if (locate := self._locate) is not None:
            found = ((address, locate(address)) for address in landing.unplaced())
            places = {address: place.country for address, place in found if place is not None and place.country}
        landing.gather(self.table, count, places)


_NOT_THE_DATA = (
    "Code: 241", "Code: 243", "Code: 252", "Code: 209", "Code: 210", "Code: 516", "Code: 60.", "Code: 81.", "Code: 999",
    "Code: 395",
)  # fmt: skip
"""Memory, disk, too many parts, network, password, no table, no database, keeper, rows lost by a restart: the same rows
may pass later."""


def _is_about_the_data(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, StorageError) and "Code:" in text and not any(code in text for code in _NOT_THE_DATA)
