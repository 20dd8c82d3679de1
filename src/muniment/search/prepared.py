"""The statements that map a block's rows, kept where the engine need not read them anew.

A mapping is up to 80 KB of SQL, and the engine's parser takes a third of what a small block costs. A view is read once. So
what is asked a second time becomes one; many narrowed mappings (see `sources.narrowing`) come once, and making a view costs
as much as it saves. The engine still plans a view for every block.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from muniment.search.engine import Engine, Node
from muniment.search.schema import Made, Mapped, finished, mapped

__all__ = ["Prepared"]

_KEPT: Final = 512
"""Statements of a node; a catalogue has some two hundred entries, a long one may stand in several forms."""

_Key = tuple[int, str] | tuple[bool, frozenset[str]]


@dataclass(slots=True)
class _Known:
    """A statement; `view` is empty as long as it has been asked but once. `mapping` is kept as long as its id is a key."""

    made: Made
    mapping: Mapped | None = None
    view: str = ""


class Prepared:
    """The statements over one landing. Used by one thread at a time, and made anew after the landing is."""

    def __init__(self, engine: Engine, node: Node, landing: str) -> None:
        self._engine = engine
        self._node = node
        self._landing = landing
        self._known: OrderedDict[_Key, _Known] = OrderedDict()

    def map(self, mapping: Mapped, wanted: str) -> None:
        """Move the staged rows of format `wanted` on, as what the mapping makes of them. StorageError, BusyError."""
        key = (id(mapping), wanted)
        known = self._asked(key, lambda: _Known(mapped(mapping, self._landing, wanted), mapping))
        self._command(known.made.insert_sql(f"{self._landing}_mapped", known.view))

    def finished(self, filled: Collection[str], has_envelopes: bool) -> str:
        """The rows of `_mapped` as those of `events`, when mappings have made the columns `filled`: a view, or a SELECT."""
        key = (has_envelopes, frozenset(filled))
        known = self._asked(
            key, lambda: _Known(finished(f"{self._landing}_mapped", filled, has_envelopes=has_envelopes))
        )
        return known.view or f"({known.made.sql})"

    def _asked(self, key: _Key, make: Callable[[], _Known]) -> _Known:
        known = self._known.get(key)
        if known is None:
            self._forget_oldest()
            known = self._known[key] = make()
        elif not known.view:
            view = f"{self._landing}_{hashlib.sha256(known.made.sql.encode()).hexdigest()[:16]}_view"
            self._command(known.made.view_sql(view))
            known.view = view
        self._known.move_to_end(key)
        return known

    def _forget_oldest(self) -> None:
        while len(self._known) >= _KEPT:
            _, oldest = self._known.popitem(last=False)
            if oldest.view and all(other.view != oldest.view for other in self._known.values()):
                self._command(f"DROP VIEW IF EXISTS {oldest.view} SYNC")

    def _command(self, sql: str) -> None:
        self._engine.command(sql, node=self._node)
