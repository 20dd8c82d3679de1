"""The statements that map a block's rows, kept where the engine need not read them anew.

A mapping is up to 80 KB of SQL, and the engine's parser, which an embedded engine runs twice, takes a third of what a small block
costs. A view is read once. So a mapping that comes a second time becomes one; many narrowed ones (see
`sources.narrowing`) come once, and making a view costs half a block. The engine still plans a view anew for every block.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from muniment.search.engine import Engine, Node
from muniment.search.schema import Mapped, mapped_sql, rows_of_sql, view_sql

__all__ = ["Prepared"]

_KEPT: Final = 512
"""Views of a node; a catalogue has some two hundred entries, a long one may stand in several forms."""


@dataclass(slots=True)
class _Known:
    """A mapping for the rows of one format; `view` is empty as long as it has come but once."""

    mapping: Mapped
    view: str = ""


class Prepared:
    """Maps the rows of one landing. Used by one thread at a time, and made anew after the landing is."""

    def __init__(self, engine: Engine, node: Node, landing: str) -> None:
        self._engine = engine
        self._node = node
        self._landing = landing
        self._known: OrderedDict[tuple[int, str], _Known] = OrderedDict()

    def map(self, mapping: Mapped, wanted: str) -> None:
        """Move the staged rows of format `wanted` on, as what the mapping makes of them. StorageError, BusyError."""
        key = (id(mapping), wanted)  # a mapping is kept as long as its id is a key
        known = self._known.get(key)
        if known is None:
            self._forget_oldest()
            self._known[key] = _Known(mapping)
            rows = f"({rows_of_sql(mapping, self._landing, wanted)})"
        else:
            self._known.move_to_end(key)
            known.view = known.view or self._made(mapping, wanted)
            rows = known.view
        self._command(mapped_sql(self._landing, rows))

    def _made(self, mapping: Mapped, wanted: str) -> str:
        rows = rows_of_sql(mapping, self._landing, wanted)
        view = f"{self._landing}_{hashlib.sha256(rows.encode()).hexdigest()[:16]}_view"
        self._command(view_sql(view, rows))
        return view

    def _forget_oldest(self) -> None:
        while len(self._known) >= _KEPT:
            _, oldest = self._known.popitem(last=False)
            if oldest.view and all(other.view != oldest.view for other in self._known.values()):
                self._command(f"DROP VIEW IF EXISTS {oldest.view} SYNC")

    def _command(self, sql: str) -> None:
        self._engine.command(sql, node=self._node)
