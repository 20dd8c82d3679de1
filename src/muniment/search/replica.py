"""One node's rows: what it has, what is missing, and how a block gets in exactly once.

Rules: the node itself is the watermark. Before anything is inserted whose fate is unknown (a restart, an error, a
kill -9 in the middle of a block) the node is asked which indexes it has, and only the missing ones are sent. An
insert is atomic per month; nothing is ever deleted. A record whose mapping fails is found by halving and
stored with the reason under `quarantine`; the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from muniment.errors import BusyError, StorageError
from muniment.event.place import Place
from muniment.search.blocks import Block, as_arrow, with_opened
from muniment.search.engine import Engine, Node
from muniment.search.prepared import Prepared
from muniment.search.schema import (
    UNMAPPED,
    Mapped,
    MappingSet,
    Unmapped,
    create_landing,
    gathered_sql,
    migrate_node,
    unplaced_sql,
)

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
    ) -> None:
        """`locate`: where an address is, for rows whose mapping does not say."""
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
        self._landing = ""
        self._prepared = Prepared(engine, node, "")
        self._is_empty = False  # are the landing tables?

    def prepare(self) -> None:
        """Make tables and landing; raises StorageError when the node is away."""
        migrate_node(self.engine, self.node)
        self._landing, self._is_empty = create_landing(self.engine, self.node, self._prefix), False
        self._prepared = Prepared(self.engine, self.node, self._landing)
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

    def _insert(self, block: Block) -> None:
        try:
            self._send(block)
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
                reason = f"mapping failed: {str(error)[:200]}"
                self._empty()
                self._stage(as_arrow(part, lambda _: UNMAPPED, reason))
                self._gather(1, self._map(UNMAPPED))
            else:
                middle = (start + end) // 2
                self._insert(part.slice(start, middle))
                self._insert(part.slice(middle, end))

    def _send(self, block: Block) -> None:
        """Each format's rows through its mapping, then all of them in one insert."""
        self._empty()
        came = as_arrow(block, lambda source: self.mappings.format_of(self._source_format(source)))
        rows = with_opened(came, self.mappings.recognise)
        formats = rows.column("format")
        by_content = [name for name in pc.unique(formats).to_pylist() if name in self.mappings.recognise]
        is_auto = pc.is_in(formats, pa.array(by_content, pa.string()))
        if not by_content:
            self._stage(rows)
        else:
            self._stage(rows.filter(pc.invert(is_auto)))
            self._recognise(rows.filter(is_auto))
        found = self.engine.query(
            f"SELECT DISTINCT format FROM {self._landing}_staged ORDER BY format", node=self.node
        ).rows
        filled = frozenset[str]().union(*(self._map(str(name)) for (name,) in found))
        self._gather(rows.num_rows, filled, has_envelopes=rows is not came)

    def _stage(self, rows: pa.Table) -> None:
        self._is_empty = False
        if rows.num_rows:
            self.engine.insert(self.node, f"{self._landing}_staged", rows)

    def _recognise(self, rows: pa.Table) -> None:
        """Rows whose format their content names: the marks of all, then the few conditions that those leave open."""
        auto = f"{self._landing}_auto"
        self.engine.insert(self.node, auto, rows)
        for wanted in pc.unique(rows.column("format")).to_pylist():
            recogniser = self.mappings.recognise[wanted]
            sets = self.engine.query(
                f"SELECT DISTINCT {recogniser.marks_sql} FROM {auto} WHERE format = '{wanted}'", node=self.node
            ).rows
            named = recogniser.sql(row[0] for row in sets)
            self._prepared.stage(wanted, named)

    def _map(self, name: str) -> Collection[str]:
        """Map the rows of a format; returns the columns that are made."""
        mapping = self._mapping(name)
        self._prepared.map(mapping, name)
        return mapping.columns.keys()

    def _mapping(self, name: str) -> Mapped:
        """The shortest mapping there is for the rows of a format."""
        if name == UNMAPPED:
            return _UNMAPPED
        known = name if name in self.mappings.mappings else self.mappings.fallback
        narrows = self.mappings.narrows.get(known)
        if narrows is None:
            return self.mappings.mappings[known]
        found = self.engine.query(
            f"SELECT groupUniqArrayArray({narrows.marks_sql}) FROM {self._landing}_staged WHERE format = {{format:String}}",
            {"format": name},
            node=self.node,
        ).rows
        return narrows.mapping(found[0][0])

    def _gather(self, count: int, filled: Collection[str], *, has_envelopes: bool = False) -> None:
        places = self._places() if self._locate is not None else {}
        parameters: dict[str, object] = {"n": count}
        if places:
            parameters |= {"addresses": list(places), "countries": list(places.values())}
        sql = gathered_sql(
            self._landing, self.table, self._prepared.finished(filled, has_envelopes), with_places=bool(places)
        )
        self.engine.command(sql, parameters, node=self.node)
        self._empty()

    def _places(self) -> dict[str, str]:
        """Countries of the addresses of the block in hand; each is looked up once."""
        assert self._locate is not None
        found = {}
        for (address,) in self.engine.query(unplaced_sql(self._landing), node=self.node).rows:
            place = self._locate(str(address))
            if place is not None and place.country:
                found[str(address)] = place.country
        return found

    def _empty(self) -> None:
        if not self._is_empty:
            for name in ("auto", "staged", "mapped"):
                self.engine.command(f"TRUNCATE TABLE {self._landing}_{name}", node=self.node)
        self._is_empty = True


_UNMAPPED = Unmapped()
_NOT_THE_DATA = (
    "Code: 241", "Code: 243", "Code: 252", "Code: 209", "Code: 210", "Code: 516", "Code: 60.", "Code: 81.", "Code: 999",
    "Code: 395",
)  # fmt: skip
"""Memory, disk, too many parts, network, password, no table, no database, keeper, rows lost by a restart: the same rows
may pass later."""


def _is_about_the_data(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, StorageError) and "Code:" in text and not any(code in text for code in _NOT_THE_DATA)
