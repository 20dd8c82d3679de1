"""Reading events for rules: the typed columns that some rule names, and the record where one reads that.

Rules over typed columns (`product: muniment`) may name any column of the search, those of `derived`, and with `record.` in
front whatever the record holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import pyarrow as pa

from muniment.detect.batch import Batch, Row
from muniment.detect.condition import fields_of, has_keywords
from muniment.detect.correlation import Correlation
from muniment.detect.derived import ACTOR, ACTOR_SQL, DERIVED, MADE
from muniment.detect.logsources import PRODUCT, Kind, Taxonomy
from muniment.detect.rule import Rule
from muniment.detect.shapes import SHAPE
from muniment.search.columns import COLUMNS, address_sql

__all__ = ["ENTITIES", "RECORD", "Formats", "Store", "Wanted", "by_index", "is_read", "is_text", "wanted"]


class _Rows(Protocol):
    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...


class Store(Protocol):
    """The search store as rules read it: `query` for a few rows, `query_arrow` for many. StorageError, BusyError."""

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> _Rows: ...
    def query_arrow(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, int] | None = None,
    ) -> pa.Table: ...


Formats = Mapping[str, tuple[Kind, Taxonomy]]
"""By catalogue entry: which of Sigma's log sources its events are, and where their fields stand."""

RECORD: Final = "record."
ENTITIES: Final = frozenset(
    {"action", "outcome", "actor_id", "actor_name", "actor_email", "src_ip", "dst_host", "target_id", "target_name", "drill"}
)  # fmt: skip
"""Columns an alert is told from."""

_ADDRESS_SQL: Final = address_sql("events.src_ip")
_NEVER: Final = {"index", "id", "received_at", "late", "quarantine"}


class Wanted:
    """What a set of rules needs to read: columns, and the formats whose records."""

    def __init__(
        self,
        columns: frozenset[str],
        raw: frozenset[str],
        typed: frozenset[str] | None,
        fed: frozenset[str] = frozenset(),
        asked: frozenset[str] = frozenset(),
    ) -> None:
        """`raw`: formats whose records are matched; `typed`: those whose records typed rules look into; None: all. `fed`:
        columns that correlations read; `asked`: those that they or rules do, without what only alerts are told from.
        """
        self.raw = raw
        self._fed = fed
        self._asked = asked
        self._typed = typed
        self._columns = columns
        self._has_raw = False

    def read(self, store: Store, condition: str, parameters: Mapping[str, object]) -> Batch:
        """Events that satisfy a condition, in the order of the ledger, with every record that some rule may look into."""
        return _read(store, _selecting(self._columns), condition, parameters, self._formats)

    @property
    def _formats(self) -> frozenset[str] | None:
        return None if self._typed is None else self.raw | self._typed

    def read_new(self, store: Store, start: int, end: int, but: str) -> Batch:
        """The events of [start, end) that are not of the source `but`, with the records of `raw`; those that rules over typed
        columns look into are read when one asks (`give_records`).
        """
        condition = "`index` >= {start:UInt64} AND `index` < {end:UInt64} AND source != {but:String}"
        parameters = {"start": start, "end": end, "but": but}
        # Records are most of an event: they are not read for nothing, and not by a query of their own where some came before.
        batch = _read(store, _selecting(self._columns), condition, parameters, self.raw if self._has_raw else ())
        places = batch.of_formats(self.raw) if self.raw else ()
        if places and not self._has_raw:
            give_records(store, batch, places)
        self._has_raw = bool(places)
        return batch

    def read_history(
        self, store: Store, condition: str, parameters: Mapping[str, object], *, has_only_columns: bool
    ) -> Batch:
        """Events that satisfy a condition, in the order of the ledger, with what rules look at. `has_only_columns`: nothing
        but what correlations read of them.
        """
        if has_only_columns:
            return _read(store, _selecting(self._fed, has_shape=False), condition, parameters, ())
        return _read(store, _selecting(self._asked), condition, parameters, self._formats)


def give_records(store: Store, batch: Batch, places: Iterable[int]) -> None:
    """Read the records of these events, unless they are there."""
    wanted = {batch.indexes[place]: place for place in places if not batch.has_record(place)}
    if wanted:
        sql = "SELECT `index`, record FROM events WHERE `index` IN {wanted:Array(UInt64)}"
        rows = store.query(sql, {"wanted": sorted(wanted)}).rows
        batch.give_records({wanted[int(index)]: str(record).encode() for index, record in rows})


def _read(
    store: Store, selecting: str, condition: str, parameters: Mapping[str, object], formats: Collection[str] | None
) -> Batch:
    """Columns of events, with the records of these formats; None: of all."""
    given = dict(parameters)
    if formats is None:
        selecting += ", record AS whole"
    elif formats:
        given["formats"] = sorted(formats)
        selecting += ", if(format IN {formats:Array(String)}, record, '') AS whole"
    # Sorted here: by the engine it costs as much as reading.
    return Batch(store.query_arrow(f"{selecting} FROM events WHERE {condition}", given, settings=_AS_STORED))


def wanted(rules: Collection[Rule], correlations: Collection[Correlation], formats: Formats) -> Wanted:
    """What these rules need."""
    names: set[str] = set()
    typed: set[str] | None = set()
    raw = [rule for rule in rules if rule.logsource.product != PRODUCT]
    for rule in rules:
        fields = fields_of(rule.condition)
        names |= fields
        if rule.logsource.product == PRODUCT and has_keywords(rule.condition):
            names.update(COLUMNS)  # what it finds must not depend on what other rules read
        if rule.logsource.product == PRODUCT and any(field.startswith(RECORD) for field in fields):
            typed = None if typed is None or not rule.logsource.service else typed | {rule.logsource.service}
    fed: set[str] = set()
    for correlation in correlations:
        peers = {correlation.behaviour.peers} if correlation.behaviour is not None else set()
        fed |= {*correlation.group_by, *correlation.fields, *peers}
        fed |= {field for alias in correlation.aliases.values() for field in alias.values()}
        names |= fed
        if any(name.startswith(RECORD) for name in names):
            typed = typed if typed else None
    for name in names & DERIVED.keys():
        names.update(DERIVED[name].of)
        fed.update(DERIVED[name].of)
    about = frozenset(
        name
        for name, (kind, _) in formats.items()
        if raw and (kind.product == "windows" or any(kind.has(rule.logsource) for rule in raw))
    )
    for name in about:
        names |= {path[1:] for paths in formats[name][1].names.values() for path in paths if path.startswith("$")}
    asked = frozenset(filter(is_read, names))
    looked_into = None if typed is None else frozenset(typed)
    return Wanted(asked | ENTITIES, about, looked_into, frozenset(filter(is_text, fed)), asked)


def is_read(name: str) -> bool:
    """Is it a column that rules see?"""
    return name in COLUMNS and name not in _NEVER


def is_text(name: str) -> bool:
    """Can correlations read it as a column?"""
    return name in MADE or name in SHAPE or (name in COLUMNS and COLUMNS[name].kind in {"text", "ip"})


def by_index(store: Store, indexes: Sequence[int]) -> Sequence[Row]:
    """These events, with what an alert is told from."""
    wanted = Wanted(ENTITIES, frozenset(), frozenset())
    return wanted.read(store, "`index` IN {wanted:Array(UInt64)}", {"wanted": list(indexes)})


_AS_STORED: Final = {"output_format_arrow_low_cardinality_as_dictionary": 1, "prefer_column_name_to_alias": 1}
"""A value that many events have is sent once. Conditions are about the columns, not the texts that are made of some."""


@lru_cache(maxsize=64)
def _selecting(names: frozenset[str], *, has_shape: bool = True) -> str:
    """The typed columns of these names, and those of the shape."""
    shown = [_column(name) for name in COLUMNS if name in names or (has_shape and name in SHAPE)]
    if has_shape or ACTOR in names:
        shown.append(f"{ACTOR_SQL} AS {ACTOR}")
    return f"SELECT {', '.join(['`index`', 'toUnixTimestamp64Micro(time) AS time_us', *shown])}"


def _column(name: str) -> str:
    if name == "src_ip":
        return f"{_ADDRESS_SQL} AS src_ip"
    return f"toString(`{name}`) AS `{name}`" if COLUMNS[name].kind in {"time", "uuid"} else f"`{name}`"
