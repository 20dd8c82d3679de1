"""Events as rules read them: the typed columns that some rule names, as JSON, and the record where one reads that.

Rules over typed columns (`product: muniment`) may name any column of the search; `actor`, which is the id of who did it,
else the name, else the address; and with `record.` in front whatever the record holds.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, overload

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import re2

from muniment.detect.condition import fields_of
from muniment.detect.correlation import Correlation
from muniment.detect.logsources import PRODUCT, Kind, Taxonomy
from muniment.detect.rule import Rule
from muniment.detect.shapes import SHAPE
from muniment.envelope import ENVELOPES, opened_last
from muniment.limits import DETECT_SHAPES_MAX
from muniment.search.columns import COLUMNS
from muniment.sources.useragent import describe

__all__ = [
    "ACTOR",
    "ACTOR_SQL",
    "DEVICE",
    "ENTITIES",
    "RECORD",
    "Batch",
    "Formats",
    "Row",
    "Store",
    "Wanted",
    "by_index",
    "is_text",
    "wanted",
]


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

ACTOR: Final = "actor"
DEVICE: Final = "device"
"""The device, by its id or name, else by what the user agent says of it."""
RECORD: Final = "record."
ENTITIES: Final = frozenset(
    {"action", "outcome", "actor_id", "actor_name", "actor_email", "src_ip", "dst_host", "target_id", "target_name", "drill"}
)  # fmt: skip
"""Columns an alert is told from."""

ACTOR_SQL: Final = (
    "multiIf(actor_id != '', toString(actor_id), actor_name != '', toString(actor_name), toString(actor_email))"
)
_ADDRESS_SQL: Final = "replaceOne(IPv6NumToString(events.src_ip), '::ffff:', '')"
_DEVICE_COLUMNS: Final = ("device_id", "device_name", "user_agent")
_FED: Final = "fed_"
"""Before the names of columns that are read for correlations."""
_ENVELOPES: Final[Any] = re2.compile(ENVELOPES.encode())
_NEVER: Final = {"index", "id", "received_at", "late", "quarantine"}


class _Typed(dict[str, Any]):
    """Typed columns as a rule sees them; the record under `record` is parsed when somebody asks for what is in it.

    Keywords look through the columns alone: what they find must not depend on whether another rule has asked for the record.
    """

    __slots__ = ("_parsed", "_record")

    def __init__(self, columns: Mapping[str, Any], record: str) -> None:
        super().__init__(columns)
        self._record = record
        self._parsed: Any = None

    def get(self, key: str, default: Any = None) -> Any:
        if key == "record" and key not in self and self._record:
            if self._parsed is None:
                self._parsed = orjson.loads(self._record)
            return self._parsed
        return super().get(key, default)


class Row:
    """One event: its place, time and typed columns, and the record where rules read it."""

    __slots__ = (
        "_columns", "_document", "_shape", "_text", "class_name", "format", "index", "record", "source", "time_us",
    )  # fmt: skip

    def __init__(self, values: Sequence[Any], shape: Mapping[str, Any] | None = None) -> None:
        """`values`: index, time in microseconds, source, format, class name, typed columns as JSON, record or ''.

        `shape`: typed columns that are not in that JSON.
        """
        self.index: int = values[0]
        self.time_us: int = values[1]
        self.source: str = values[2]
        self.format: str = values[3]
        self.class_name: str = values[4]
        self._text: str | bytes = values[5]
        self.record: str = values[6]
        self._shape = shape
        self._columns: dict[str, Any] | None = None
        self._document: _Typed | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The typed columns."""
        if self._columns is None:
            found = orjson.loads(self._text)
            self._columns = {**self._shape, **found} if self._shape else found
        return self._columns

    @property
    def document(self) -> Mapping[str, Any]:
        """What rules over typed columns see: the columns, and the record where it was read."""
        if self._document is None:
            self._document = _Typed(self.columns, self.record)
        return self._document

    @property
    def address(self) -> str:
        """Where it came from; empty when nobody said."""
        address = str(self.columns.get("src_ip", ""))
        return "" if address == "::" else address

    @property
    def device(self) -> str:
        """What it came from, so that an update of a browser is no other device."""
        columns = self.columns
        known = columns.get("device_id") or columns.get("device_name")
        return str(known or device_of(str(columns.get("user_agent", ""))))

    @property
    def drill(self) -> str:
        """The drill it belongs to; empty when real."""
        return str(self.columns.get("drill", ""))


def device_of(user_agent: str) -> str:
    """`Chrome on Windows`; the text itself where nothing is known of it."""
    return describe(user_agent).kind or user_agent


class Batch(Sequence[Row]):
    """Events as columns; one becomes a `Row` when somebody asks for it."""

    def __init__(self, table: pa.Table, seen: dict[int, Mapping[str, Any]]) -> None:
        """A table as `Wanted.read` selects it; `seen` has the values of shapes met before."""
        table = table.combine_chunks()
        if np.any(np.diff(table["index"].to_numpy().astype(np.int64)) < 0):
            table = table.sort_by("index").combine_chunks()
        self._rows: dict[int, Row] = {}
        self._columns = {name: table[name] for name in table.column_names}
        self._indexes: list[int] = table["index"].to_pylist()
        self._texts = _Texts(table["text"])
        self._records = _Texts(table["whole"])
        self._fed: dict[str, Sequence[str]] = {}
        self._seen = seen
        self.times_us: npt.NDArray[np.int64] = table["time_us"].to_numpy()
        self.shapes: npt.NDArray[np.uint64] = table["shape"].to_numpy()

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        row = self._rows.get(place)
        if row is None:
            if not 0 <= place < len(self):
                raise IndexError(place)
            shape = self.shape_of(place)
            known = (
                self._indexes[place],
                int(self.times_us[place]),
                shape["source"],
                shape["format"],
                shape["class_name"],
            )
            record = self._records[place]
            row = Row((*known, self._texts[place], _as_read(record) if record else ""), shape)
            self._rows[place] = row
        return row

    @property
    def newest_us(self) -> int:
        """The latest event time."""
        return int(self.times_us.max()) if len(self) else 0

    @property
    def indexes(self) -> Sequence[int]:
        """Where they stand in the ledger."""
        return self._indexes

    def place_of(self, index: int) -> int | None:
        """Where an event of the ledger stands here; None when it is not of this batch. For batches in the ledger's order."""
        place = bisect_left(self._indexes, index)
        return place if place < len(self) and self._indexes[place] == index else None

    def has_texts(self, names: Iterable[str]) -> bool:
        """Were these read as columns (`Wanted`)?"""
        parts = (part for name in names for part in (_DEVICE_COLUMNS if name == DEVICE else (name,)))
        return all(self._column_of(part) in self._columns for part in parts)

    def texts(self, name: str) -> Sequence[str]:
        """A column as texts; '' where an event says nothing."""
        found = self._fed.get(name)
        if found is None:
            if name == DEVICE:
                columns = (self.texts(each) for each in _DEVICE_COLUMNS)
                found = [known or named or device_of(agent) for known, named, agent in zip(*columns, strict=True)]
            else:
                found = _strings(self._columns[self._column_of(name)])
            self._fed[name] = found
        return found

    def _column_of(self, name: str) -> str:
        return name if name in SHAPE else f"{_FED}{name}"

    @property
    def text(self) -> tuple[bytes, npt.NDArray[np.int64]]:
        """The columns that are no part of the shape, as JSON, one event after another, and where each begins."""
        return self._texts.whole, self._texts.starts

    def shape_of(self, place: int) -> Mapping[str, Any]:
        """The values of `SHAPE`."""
        key = int(self.shapes[place])
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = {name: self._columns[name][place].as_py() for name in SHAPE}
        return found

    def of_formats(self, formats: Collection[str]) -> list[int]:
        """The places of events of these formats."""
        keys, first = np.unique(self.shapes, return_index=True)
        chosen = [self.shape_of(int(place))["format"] in formats for place in first]
        return np.flatnonzero(np.isin(self.shapes, keys[chosen])).tolist() if any(chosen) else []

    def give_records(self, store: Store, places: Iterable[int]) -> None:
        """Read the records of these events, unless they are there."""
        wanted = {self._indexes[place]: self[place] for place in places if not self[place].record}
        if wanted:
            sql = "SELECT `index`, record FROM events WHERE `index` IN {wanted:Array(UInt64)}"
            for index, record in store.query(sql, {"wanted": sorted(wanted)}).rows:
                wanted[int(index)].record = _as_read(str(record).encode())


def _strings(column: pa.ChunkedArray) -> Sequence[str]:
    """An Arrow column of texts as a list, equal texts being one object."""
    try:
        found: list[str] = column.to_numpy(zero_copy_only=False).tolist()
    except (pa.ArrowException, UnicodeDecodeError):  # some expression of a mapping cut a letter in two
        texts = _Texts(column.combine_chunks())
        found = [texts[place].decode("utf-8", "replace") for place in range(len(column))]
    return found


class _Texts:
    """An Arrow column of texts as its bytes."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.chunk(0) if column.num_chunks else pa.array([], pa.string())
        _, offsets, data = array.buffers()
        width = np.dtype(
            np.int64 if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else np.int32
        )
        found = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1] if offsets else np.zeros(1)
        self._data = data.to_pybytes() if data is not None else b""
        self.starts: npt.NDArray[np.int64] = found.astype(np.int64)
        self._bounds: list[int] = self.starts.tolist()

    @property
    def whole(self) -> bytes:
        return self._data

    def __getitem__(self, place: int) -> bytes:
        return self._data[self._bounds[place] : self._bounds[place + 1]]


class Wanted:
    """What a set of rules needs to read: columns, and the formats whose records."""

    def __init__(
        self,
        columns: frozenset[str],
        raw: frozenset[str],
        typed: frozenset[str] | None,
        fed: frozenset[str] = frozenset(),
    ) -> None:
        """`raw`: formats whose records are matched; `typed`: those whose records typed rules look into; None: all. `fed`:
        columns that correlations read.
        """
        self.raw = raw
        self._fed = fed
        self.typed = typed
        self._columns = columns
        self._seen: dict[int, Mapping[str, Any]] = {}

    def read(
        self, store: Store, condition: str, parameters: Mapping[str, object], tail: str, *, is_lazy: bool = False
    ) -> Batch:
        """Events that satisfy a condition. `is_lazy`: records for rules over typed columns are read when asked for."""
        with_records = 2 if self.typed is None and not is_lazy else 1 if self.raw or (self.typed and not is_lazy) else 0
        formats = self.raw if is_lazy else self.raw | (self.typed or frozenset())
        selecting = _selecting(self._columns, self._fed, with_records)
        return self._batch(store, f"{selecting} WHERE {condition} {tail}", parameters, formats)

    def read_history(
        self, store: Store, condition: str, parameters: Mapping[str, object], *, has_only_columns: bool
    ) -> Batch:
        """Events that satisfy a condition, in the order of the ledger, with records. `has_only_columns`: nothing but what
        correlations read of them.
        """
        if not has_only_columns:
            return self.read(store, condition, parameters, "ORDER BY `index`")
        return self._batch(store, f"{_selecting_columns(self._fed)} WHERE {condition}", parameters, ())

    def _batch(self, store: Store, sql: str, parameters: Mapping[str, object], formats: Iterable[str]) -> Batch:
        given = {**parameters, "formats": sorted(formats), "k0": _KEY[0], "k1": _KEY[1]}
        table = store.query_arrow(sql, given, settings=_PLAIN_JSON)
        if len(self._seen) > DETECT_SHAPES_MAX:
            self._seen.clear()
        return Batch(table, self._seen)


def wanted(rules: Collection[Rule], correlations: Collection[Correlation], formats: Formats) -> Wanted:
    """What these rules need."""
    names = set(ENTITIES)
    typed: set[str] | None = set()
    raw = [rule for rule in rules if rule.logsource.product != PRODUCT]
    for rule in rules:
        fields = fields_of(rule.condition)
        names |= fields
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
    if DEVICE in names:
        names.update(_DEVICE_COLUMNS)
        fed.update(_DEVICE_COLUMNS)
    about = frozenset(
        name
        for name, (kind, _) in formats.items()
        if raw and (kind.product == "windows" or any(kind.has(rule.logsource) for rule in raw))
    )
    for name in about:
        names |= {path[1:] for paths in formats[name][1].names.values() for path in paths if path.startswith("$")}
    kept = frozenset(name for name in names if name in COLUMNS and name not in _NEVER)
    return Wanted(kept, about, None if typed is None else frozenset(typed), frozenset(filter(is_text, fed)))


def is_text(name: str) -> bool:
    """Can correlations read it as a column?"""
    return name in {ACTOR, DEVICE, *SHAPE} or (name in COLUMNS and COLUMNS[name].kind in {"text", "ip"})


def by_index(store: Store, indexes: Sequence[int]) -> Sequence[Row]:
    """These events, with what an alert is told from."""
    condition = "`index` IN {wanted:Array(UInt64)}"
    return Wanted(ENTITIES, frozenset(), frozenset()).read(
        store, condition, {"wanted": list(indexes)}, "ORDER BY `index`"
    )


_KEY: Final = (secrets.randbits(64), secrets.randbits(64))
"""A shape's number is a keyed hash, so that nobody can make an event that passes for another kind."""

_PLAIN_JSON: Final = {"output_format_json_escape_forward_slashes": 0}
"""A literal text must stand in the JSON as it is."""


def _as_read(record: bytes) -> str:
    """A record as rules see it: what it carries beside what it says itself."""
    return (opened_last(record) if _ENVELOPES.search(record) else record).decode("utf-8", "replace")


@lru_cache(maxsize=64)
def _selecting(names: frozenset[str], fed: frozenset[str], with_records: int) -> str:
    shown = [
        f"{_ADDRESS_SQL} AS src_ip" if name == "src_ip" else f"`{name}`"
        for name in COLUMNS
        if name in names and name not in SHAPE
    ]
    record = ("''", "if(format IN {formats:Array(String)}, record, '')", "record")[with_records]
    shape = ", ".join(f"toString(`{name}`) AS `{name}`" if COLUMNS[name].is_few else f"`{name}`" for name in SHAPE)
    hashed = ", ".join(f"toString(`{name}`)" for name in SHAPE)
    return (
        "SELECT `index`, toUnixTimestamp64Micro(time) AS time_us, "
        f"sipHash64Keyed(({{k0:UInt64}}, {{k1:UInt64}}), {hashed}) AS shape, {shape}, "
        f"formatRowNoNewline('JSONEachRow', {', '.join([*shown, f'{ACTOR_SQL} AS actor'])}) AS text, {record} AS whole{_fed_sql(fed)} FROM events"
    )


@lru_cache(maxsize=64)
def _selecting_columns(fed: frozenset[str]) -> str:
    shape = "".join(f", toString(`{name}`) AS `{name}`" for name in SHAPE if name in fed)
    return (
        "SELECT `index`, toUnixTimestamp64Micro(time) AS time_us, toUInt64(0) AS shape, '' AS text, '' AS whole"
        f"{shape}{_fed_sql(fed)} FROM events"
    )


def _fed_sql(fed: frozenset[str]) -> str:
    """Columns for correlations, but for those of the shape."""
    special = {ACTOR: ACTOR_SQL, "src_ip": _ADDRESS_SQL}
    names = sorted(fed.difference(SHAPE, (DEVICE,)))
    return "".join(f", {special.get(name, f'toString(`{name}`)')} AS `{_FED}{name}`" for name in names)
