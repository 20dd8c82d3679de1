"""A landing whose statements run on: each is planned once, and a block costs what its rows cost.

A block takes three steps: (1) rows whose content names their format go through the statement that names it; (2) the rows of
each format go through the statement that makes rows of `events` of them, each format's at the same time; (3) what all
have become goes into `events` in one insert. Between the steps Python holds the rows. In (1) and for long mappings the
statement is for what records so far had; it is replaced when a block has more.

Rules: what is asked for the first time, and what is too much at once, goes by tables, so that rare formats start nothing.
After any error every statement is ended, and what they left is forgotten: the next block begins anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from muniment.search.engine import Engine, Node
from muniment.search.landing import TableLanding, Texts, by, mapping_for, possible_in, recognised
from muniment.search.running import Running
from muniment.search.schema import LANDED, Mapped, MappingSet, Recognises, gathered_sql, in_one, unplaced_ready_sql
from muniment.search.stages import Stages

__all__ = ["StreamLanding"]

_KEPT: Final = 32
"""Statements that run, some 8 MiB each."""
_IDLE_S: Final = 900
"""A statement that nobody needed for so long is ended."""
_IN_USE_S: Final = 10
"""And one for another, when too many run."""
_NOTED: Final = 512
_LINES_KEPT: Final = 64
"""Alternatives that a naming statement decides between; more of them would cost those that need few."""
_EARLY: Final = 0.7
_EACH: Final = 0.1
_TIMED_ROWS_MIN: Final = 1_000
"""Of fewer rows the time says nothing about more."""
_WAIT_MIN_S: Final = 0.001
_WAIT_MAX_S: Final = 0.25
_TEXTS: Final = "`index` UInt64, record String"
_TABLES: Final = ("named", "ready")
_Key = tuple[str, int, object]


@dataclass(slots=True)
class _Kept:
    """A statement, and what its key is the id of."""

    running: Running
    about: object
    used_at: float


class StreamLanding:
    """Of the embedded engine."""

    def __init__(self, engine: Engine, node: Node, name: str, tables: TableLanding) -> None:
        """`name`: see `schema.create_landing`. `tables`: by these comes what is not worth a statement of its own."""
        self._engine = engine
        self._node = node
        self._name = name
        self._tables = tables
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._asked_once: OrderedDict[_Key, object] = OrderedDict()
        self._lines: dict[tuple[str, int, int], frozenset[int]] = {}
        self._stages = Stages()
        self._took_s = dict.fromkeys(_TABLES, 0.0)  # a row, the last time
        self._filled = {*_TABLES}  # those that may hold something

    def put(self, rows: pa.Table, mappings: MappingSet, *, has_envelopes: bool) -> None:
        self.empty()
        self._end_idle()
        try:
            self._map(recognised(rows, mappings, self._names), mappings, has_envelopes)
        except BaseException:
            self._end_all()
            raise

    def unplaced(self) -> Collection[str]:
        return [str(address) for (address,) in self._asked(unplaced_ready_sql(self._name))]

    def gather(self, table: str, count: int, places: Mapping[str, str]) -> None:
        parameters: dict[str, object] = {"n": count}
        if places:
            parameters |= {"addresses": list(places), "countries": list(places.values())}
        ready = f"{self._name}_ready"
        self._engine.command(gathered_sql(ready, table, ready, with_places=bool(places)), parameters, node=self._node)
        self.empty()

    def empty(self) -> None:
        for table in list(self._filled):
            self._empty(table)

    # --- statements -----------------------------------------------------------------------------------------------

    def _running(self, key: _Key, about: object, columns: str, statement: Callable[[str], str]) -> Running | None:
        """The statement of this key, which has the id of `about` in it. None: it is asked for the first time, or too many
        run that are in use.
        """
        kept = self._kept.get(key)
        if kept is None:
            is_new = self._asked_once.pop(key, None) is None
            oldest = next(iter(self._kept.values()), None)
            has_room = len(self._kept) < _KEPT or (oldest and oldest.used_at < time.monotonic() - _IN_USE_S)
            if is_new or not has_room:
                self._note(key, about)
                return None
            if len(self._kept) >= _KEPT:
                self._end(next(iter(self._kept)))
            kept = self._kept[key] = _Kept(self._node.run(self._name, statement, columns), about, 0.0)
        kept.used_at = time.monotonic()
        self._kept.move_to_end(key)
        return kept.running

    def _note(self, key: _Key, about: object) -> None:
        self._asked_once[key] = about
        while len(self._asked_once) > _NOTED:
            self._asked_once.popitem(last=False)

    def _await(self, table: str, count: int) -> None:
        """Until the table has so many rows. StorageError: some statement has failed.

        To ask costs a millisecond, so the first time is when they should nearly be there.
        """
        began = time.monotonic()
        time.sleep(min(_EARLY * self._took_s[table] * count, _WAIT_MAX_S))
        while self._asked(f"SELECT count() FROM {self._name}_{table}")[0][0] < count:
            for each in self._kept.values():
                each.running.check()
            time.sleep(min(_WAIT_MIN_S + _EACH * (time.monotonic() - began), _WAIT_MAX_S))
        if count >= _TIMED_ROWS_MIN:
            self._took_s[table] = (time.monotonic() - began) / count

    def _asked(self, sql: str) -> Any:
        return self._engine.query(sql, node=self._node).rows

    def _empty(self, table: str) -> None:
        self._engine.command(f"OPTIMIZE TABLE {self._name}_{table}", node=self._node)  # flushed to nowhere: gone
        self._filled.discard(table)

    def _end(self, key: _Key) -> None:
        running = self._kept.pop(key).running
        running.close()
        running.check()

    def _end_idle(self) -> None:
        before = time.monotonic() - _IDLE_S
        while self._kept and next(iter(self._kept.values())).used_at < before:
            self._end(next(iter(self._kept)))

    def _end_all(self) -> None:
        for each in self._kept.values():
            each.running.close()
        self._kept.clear()
        self._lines.clear()
        self._filled |= {*_TABLES}

    # --- naming ---------------------------------------------------------------------------------------------------

    def _names(self, rows: pa.Table, wanted: str, recogniser: Recognises) -> Texts:
        names: Texts = np.full(rows.num_rows, "", object)
        for cut, places in self._stages.early(rows, recogniser):
            names[places] = self._named(_taken(rows, places), wanted, recogniser, cut)
        left = np.flatnonzero(names == "")
        if len(left):
            names[left] = self._named(_taken(rows, left), wanted, recogniser, recogniser.cuts[-1])
        self._stages.note(rows, recogniser, names)
        return names

    def _named(self, rows: pa.Table, wanted: str, recogniser: Recognises, cut: int) -> Texts:
        """What the lines before the `cut` name rows, in the order of their indexes."""
        lines = self._lines_for(possible_in(rows, recogniser, cut), (wanted, id(recogniser), cut))
        running = self._running(
            (wanted, id(recogniser), (cut, lines)), recogniser, _TEXTS,
            lambda came: f"INSERT INTO {self._name}_named SELECT `index`, {recogniser.sql(lines, cut)} FROM {came}",
        )  # fmt: skip
        if running is None:
            return self._tables.names(rows, recogniser.sql(lines, cut))
        self._filled.add("named")
        running.send(rows.select(("index", "record")))
        self._await("named", rows.num_rows)
        found = self._engine.query_arrow(f"SELECT `index`, format FROM {self._name}_named")
        self._empty("named")
        names: Texts = found.sort_by("index").column("format").to_numpy()
        return names

    def _lines_for(self, needed: frozenset[int], kind: tuple[str, int, int]) -> frozenset[int]:
        """The lines that the naming statement should decide between; one that decides fewer is ended."""
        known = self._lines.get(kind, frozenset())
        if needed <= known:
            return known
        both = needed | known
        if len(both) > _LINES_KEPT:
            both = needed
        elif (key := (*kind[:2], (kind[2], known))) in self._kept:
            self._end(key)
        self._lines[kind] = both
        return both

    # --- mapping --------------------------------------------------------------------------------------------------

    def _map(self, rows: pa.Table, mappings: MappingSet, has_envelopes: bool) -> None:
        rest: list[pa.Table] = []
        self._filled.add("ready")
        for name, part in by("format", rows):
            mapping = mapping_for(part, name, mappings)

            def statement(came: str, mapping: Mapped = mapping) -> str:
                return in_one(mapping, came, has_envelopes=has_envelopes).insert_sql(f"{self._name}_ready")

            running = self._running(("map", id(mapping), has_envelopes), mapping, LANDED, statement)
            if running is None:
                rest.append(part)
            else:
                running.send(part)
        if rest:
            others = pa.concat_tables(rest)
            self._tables.put_known(others, mappings, has_envelopes=has_envelopes)
            self._tables.gather(f"{self._name}_ready", others.num_rows, {})
        self._await("ready", rows.num_rows)


def _taken(rows: pa.Table, places: npt.NDArray[np.int64]) -> pa.Table:
    return rows if len(places) == rows.num_rows else rows.take(pa.array(places))
