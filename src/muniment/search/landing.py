"""Where a block's rows are until they go into `events` together: by tables on a node, or through statements that run on.

Rules: a landing holds one block at a time, and nothing of it stays. What is put in comes out in one insert, all of it or
none. Used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from muniment.search.blocks import Block, as_arrow, whole
from muniment.search.engine import Engine, Node
from muniment.search.prepared import Prepared
from muniment.search.schema import UNMAPPED, Mapped, MappingSet, Recognises, Unmapped, gathered_sql, unplaced_sql

__all__ = ["Landing", "TableLanding", "Texts", "by", "mapping_for", "possible_in", "recognised"]


Texts = npt.NDArray[np.object_]


class Landing(Protocol):
    """All of it raises StorageError and BusyError."""

    def put(self, rows: pa.Table, mappings: MappingSet, *, has_envelopes: bool) -> None:
        """Find out what each row is, and map it. `rows` are those of `blocks.as_arrow`."""

    def unplaced(self) -> Collection[str]:
        """The addresses whose mapping says no country."""

    def gather(self, table: str, count: int, places: Mapping[str, str]) -> None:
        """All `count` rows into `table`, or none; `places`: countries by address, for rows that say none."""

    def empty(self) -> None:
        """Forget what was put in."""


class TableLanding:
    """By tables: the same statements on every node."""

    def __init__(self, engine: Engine, node: Node, name: str) -> None:
        """`name`: see `schema.create_landing`."""
        self._engine = engine
        self._node = node
        self._name = name
        self._prepared = Prepared(engine, node, name)
        self._filled: frozenset[str] = frozenset()
        self._has_envelopes = False
        self._is_empty = False  # who knows what was left there

    def put(self, rows: pa.Table, mappings: MappingSet, *, has_envelopes: bool) -> None:
        def names_of(rows: pa.Table, wanted: str, recogniser: Recognises) -> Texts:
            return self.names(rows, recogniser.sql(possible_in(rows, recogniser)))

        self.put_known(recognised(rows, mappings, names_of), mappings, has_envelopes=has_envelopes)

    def put_known(self, rows: pa.Table, mappings: MappingSet, *, has_envelopes: bool) -> None:
        """The same for rows whose format is what they say."""
        self.empty()
        self._has_envelopes = has_envelopes
        self._stage(rows)
        self._filled = frozenset[str]().union(*(self._map(part, name, mappings) for name, part in by("format", rows)))

    def put_unmapped(self, block: Block, reason: str) -> None:
        """Records whose mapping failed, with the ledger's columns and the reason."""
        self.empty()
        self._has_envelopes = False
        self._stage(as_arrow(block, lambda _: UNMAPPED, reason))
        self._prepared.map(_UNMAPPED, UNMAPPED)
        self._filled = frozenset(_UNMAPPED.columns)

    def unplaced(self) -> Collection[str]:
        return [str(address) for (address,) in self._engine.query(unplaced_sql(self._name), node=self._node).rows]

    def gather(self, table: str, count: int, places: Mapping[str, str]) -> None:
        parameters: dict[str, object] = {"n": count}
        if places:
            parameters |= {"addresses": list(places), "countries": list(places.values())}
        rows = self._prepared.finished(self._filled, self._has_envelopes)
        sql = gathered_sql(f"{self._name}_mapped", table, rows, with_places=bool(places))
        self._engine.command(sql, parameters, node=self._node)
        self.empty()

    def empty(self) -> None:
        if not self._is_empty:
            for name in ("auto", "staged", "mapped"):
                self._engine.command(f"TRUNCATE TABLE {self._name}_{name}", node=self._node)
        self._is_empty = True

    def _stage(self, rows: pa.Table) -> None:
        self._is_empty = False
        if rows.num_rows:
            self._engine.insert(self._node, f"{self._name}_staged", rows)

    def names(self, rows: pa.Table, named_sql: str) -> Texts:
        """What an expression over `record` names each row, in the order of their indexes."""
        self._is_empty = False
        auto = f"{self._name}_auto"
        self._engine.insert(self._node, auto, rows.select(("index", "record")))
        found = self._engine.query(f"SELECT {named_sql} FROM {auto} ORDER BY `index`", node=self._node).rows
        self._engine.command(f"TRUNCATE TABLE {auto}", node=self._node)
        return np.asarray([name for (name,) in found], object)

    def _map(self, rows: pa.Table, name: str, mappings: MappingSet) -> Collection[str]:
        """Map the rows of a format; returns the columns that are made."""
        mapping = mapping_for(rows, name, mappings)
        self._prepared.map(mapping, name)
        return mapping.columns.keys()


_UNMAPPED = Unmapped()


def recognised(
    rows: pa.Table, mappings: MappingSet, names_of: Callable[[pa.Table, str, Recognises], Texts]
) -> pa.Table:
    """The rows, each with the format that its content names where it is for the content to say.

    `names_of`: the formats of rows of index, source and record, in the order of their indexes, by the recogniser of what they came as.
    """
    formats = rows.column("format")
    by_content = [name for name in pc.unique(formats).to_pylist() if name in mappings.recognise]
    if not by_content:
        return rows
    names = formats.to_numpy().astype(object)
    told = rows.select(("index", "source", "record"))
    for wanted in by_content:
        places = np.flatnonzero(names == wanted)
        part = told if len(places) == len(names) else told.take(pa.array(places))
        names[places] = names_of(part, wanted, mappings.recognise[wanted])
    field = rows.schema.field("format")
    return rows.set_column(rows.schema.get_field_index("format"), field, pa.array(names, field.type))


def possible_in(rows: pa.Table, recogniser: Recognises, cut: int = 0, like: str = "") -> frozenset[int]:
    """The lines of a recogniser that may hold of some row, before the `cut` if any; each source is looked at by itself, as most
    send one format, unless all are `like` others.
    """
    parts = [rows] if like else [part for _, part in by("source", rows)]
    return frozenset[int]().union(*(recogniser.possible(whole(part.column("record")), cut, like) for part in parts))


def by(column: str, rows: pa.Table) -> list[tuple[str, pa.Table]]:
    """The rows of each value of a column."""
    values = rows.column(column)
    found = pc.unique(values).to_pylist()
    return [(value, rows if len(found) == 1 else rows.filter(pc.equal(values, value))) for value in found]


def mapping_for(rows: pa.Table, name: str, mappings: MappingSet) -> Mapped:
    """The shortest mapping there is for rows of a format."""
    known = name if name in mappings.mappings else mappings.fallback
    narrows = mappings.narrows.get(known)
    return mappings.mappings[known] if narrows is None else narrows.mapping(whole(rows.column("record")))
