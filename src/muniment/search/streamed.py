"""A landing whose statements run on: each is planned once, and a block costs what its rows cost.

A block takes three steps: (1) rows whose content names their format go through the statement that names it; (2) the rows of
each format go through the statement that makes rows of `events` of them, each format's at the same time; (3) what all
have become goes into `events` in one insert. Between the steps Python holds the rows. In (1) and for long mappings the
statement is for what records so far had; it is replaced when a block has more. Rows of a source that has sent one format skip (1):
their mapping asks as well whether they are of it, and what is not goes through all the steps.

Rules: what is asked for the first time, and what is too much at once, goes by tables, so that rare formats start nothing.
After any error every statement is ended, and what they left is forgotten: the next block begins anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from muniment.search.engine import Engine, Node
from muniment.search.landing import TableLanding, Texts, by, mapping_for, possible_in, recognised
from muniment.search.running import Running
from muniment.search.schema import LANDED, Mapped, MappingSet, Recognises, gathered_sql, in_one, unplaced_ready_sql
from muniment.search.stages import Stages
from muniment.sources.sql import quote

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
_UNSURE: Final = "format = ''"
"""Of rows that were expected to be of a format and are not."""
_Key = tuple[Hashable, ...]


@dataclass(slots=True)
class _Kept:
    """A statement, and what its key is the id of."""

    running: Running
    about: object
    used_at: float


@dataclass(frozen=True, slots=True)
class _Expected:
    """Rows that went to a format's mapping, and what their format was before."""

    rows: pa.Table
    name: str
    wanted: str
    recogniser: Recognises


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
        self._lines: dict[_Key, frozenset[int]] = {}
        self._stages = Stages()
        self._took_s = dict.fromkeys(_TABLES, 0.0)  # a row, the last time
        self._filled = {*_TABLES}  # those that may hold something
        self._has_unsure = False

    def put(self, rows: pa.Table, mappings: MappingSet, *, has_envelopes: bool) -> None:
        self.empty()
        self._end_idle()
        try:
            expected, others = self._send_expected(rows, mappings, has_envelopes)
            self._map(recognised(others, mappings, self._names), mappings, has_envelopes)
            n_unsure = self._await("ready", rows.num_rows)
            if expected:
                self._map_unsure(expected, n_unsure, rows.num_rows, mappings, has_envelopes)
            self._stages.settle()
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
        sql = gathered_sql(ready, table, ready, with_places=bool(places), without=_UNSURE if self._has_unsure else "")
        self._engine.command(sql, parameters, node=self._node)
        self.empty()

    def empty(self) -> None:
        for table in list(self._filled):
            self._empty(table)
        self._has_unsure = False

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

    def _await(self, table: str, count: int) -> int:
        """Until the table has so many rows; returns how many of them are of no format. StorageError: some statement has failed.

        To ask costs a millisecond, so the first time is when they should nearly be there.
        """
        began = time.monotonic()
        time.sleep(min(_EARLY * self._took_s[table] * count, _WAIT_MAX_S))
        asked = f"SELECT count(), countIf({_UNSURE}) FROM {self._name}_{table}"
        while (found := self._asked(asked)[0])[0] < count:
            for each in self._kept.values():
                each.running.check()
            time.sleep(min(_WAIT_MIN_S + _EACH * (time.monotonic() - began), _WAIT_MAX_S))
        if count >= _TIMED_ROWS_MIN:
            self._took_s[table] = (time.monotonic() - began) / count
        return int(found[1])

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
        self._stages.note(rows.column("source"), recogniser, names)
        self._stages.learn(rows, recogniser, names)
        return names

    def _named(self, rows: pa.Table, wanted: str, recogniser: Recognises, cut: int) -> Texts:
        """What the lines before the `cut` name rows, in the order of their indexes."""
        kind = (wanted, id(recogniser), cut)
        lines = self._lines_for(possible_in(rows, recogniser, cut), kind)
        running = self._running(
            (kind, lines), recogniser, _TEXTS,
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

    def _lines_for(self, needed: frozenset[int], kind: Hashable) -> frozenset[int]:
        """The lines that the statement of a kind should decide between; those that decide fewer are ended."""
        known = self._lines.get((kind,), frozenset())
        if needed <= known:
            return known
        both = needed | known
        if len(both) > _LINES_KEPT:
            both = needed
        else:
            for key in [key for key in self._kept if key[:2] == (kind, known)]:
                self._end(key)
        self._lines[kind,] = both
        return both

    # --- mapping --------------------------------------------------------------------------------------------------

    def _map(self, rows: pa.Table, mappings: MappingSet, has_envelopes: bool) -> None:
        rest: list[pa.Table] = []
        self._filled.add("ready")
        for name, part in by("format", rows):
            mapping = mapping_for(part, name, mappings)
            key = ("map", id(mapping), has_envelopes)
            if (running := self._mapping(key, mapping, mapping, "", has_envelopes)) is None:
                rest.append(part)
            else:
                running.send(part)
        if rest:
            others = pa.concat_tables(rest)
            self._tables.put_known(others, mappings, has_envelopes=has_envelopes)
            self._tables.gather(f"{self._name}_ready", others.num_rows, {})

    def _mapping(
        self, key: _Key, about: object, mapping: Mapped, format_sql: str, has_envelopes: bool
    ) -> Running | None:
        """`format_sql`: over a row, in the place of its format."""

        def statement(came: str) -> str:
            rows = f"(SELECT * REPLACE ({format_sql} AS format) FROM {came})" if format_sql else came
            return in_one(mapping, rows, has_envelopes=has_envelopes).insert_sql(f"{self._name}_ready")

        return self._running(key, about, LANDED, statement)

    def _send_expected(
        self, rows: pa.Table, mappings: MappingSet, has_envelopes: bool
    ) -> tuple[Sequence[_Expected], pa.Table]:
        """Send what is expected to be of a format to a mapping that says so of each row; returns that, and the other rows."""
        sent: list[_Expected] = []
        is_sent = np.zeros(rows.num_rows, bool)
        formats = rows.column("format")
        for wanted in [each for each in pc.unique(formats).to_pylist() if each in mappings.recognise]:
            recogniser = mappings.recognise[wanted]
            places = np.flatnonzero(pc.equal(formats, wanted).to_numpy())
            for name, found in self._stages.expected(_taken(rows.select(["source", "record"]), places), recogniser):
                part = _as(_taken(rows, places[found]), name)
                expected = _Expected(part, name, wanted, recogniser)
                if (running := self._checking(expected, mappings, has_envelopes)) is not None:
                    self._filled.add("ready")
                    running.send(part)
                    is_sent[places[found]] = True
                    sent.append(expected)
        return sent, rows.filter(pa.array(~is_sent)) if sent else rows

    def _checking(self, expected: _Expected, mappings: MappingSet, has_envelopes: bool) -> Running | None:
        name, recogniser = expected.name, expected.recogniser
        cut = recogniser.cut_of(name)
        kind = (expected.wanted, id(recogniser), cut, name)
        lines = self._lines_for(possible_in(expected.rows, recogniser, cut, name), kind)
        mapping = mapping_for(expected.rows, name, mappings)
        sql = f"if({recogniser.sql(lines, cut)} = {quote(name)}, format, '')"
        return self._mapping(
            (kind, lines, id(mapping), has_envelopes), (mapping, recogniser), mapping, sql, has_envelopes
        )

    def _map_unsure(
        self, expected: Sequence[_Expected], count: int, total: int, mappings: MappingSet, has_envelopes: bool
    ) -> None:
        """Note what all that were expected have been, and name and map the rows of no format."""
        unsure = pa.array([], pa.uint64())
        if count:
            self._has_unsure = True
            asked = f"SELECT `index` FROM {self._name}_ready WHERE {_UNSURE}"
            unsure = pa.array([index for (index,) in self._asked(asked)], pa.uint64())
        wrong: list[pa.Table] = []
        for each in expected:
            is_wrong = pc.is_in(each.rows.column("index"), value_set=unsure)
            sources = each.rows.column("source").filter(pc.invert(is_wrong))
            self._stages.note(sources, each.recogniser, np.full(len(sources), each.name, object))
            if len(sources) < each.rows.num_rows:
                wrong.append(_as(each.rows.filter(is_wrong), each.wanted))
        if wrong:
            others = pa.concat_tables(wrong).sort_by("index")
            self._map(recognised(others, mappings, self._names), mappings, has_envelopes)
            self._await("ready", total + count)
            for recogniser in {id(each.recogniser): each.recogniser for each in expected}.values():
                rows = [each.rows.column("index") for each in expected if each.recogniser is recogniser]
                n_wrong = sum(pc.sum(pc.is_in(each, value_set=unsure)).as_py() or 0 for each in rows)
                self._stages.doubt(recogniser, n_wrong, sum(map(len, rows)))


def _taken(rows: pa.Table, places: npt.NDArray[np.int64]) -> pa.Table:
    return rows if len(places) == rows.num_rows else rows.take(pa.array(places))


def _as(rows: pa.Table, format: str) -> pa.Table:
    """The rows, all of one format."""
    field = rows.schema.field("format")
    return rows.set_column(
        rows.schema.get_field_index("format"), field, pa.array([format] * rows.num_rows, pa.string()).cast(field.type)
    )
