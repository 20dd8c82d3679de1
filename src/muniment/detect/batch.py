"""Events as the rules see them: a batch as columns, and one event of it as a row. Pure.

A column stays as the store gives it (Arrow, repeated values once) until somebody asks for what it says; a text is then made
once for all events that have it. So an event that no rule is about costs no Python at all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from muniment.detect.derived import DERIVED
from muniment.detect.shapes import SHAPE, Texts
from muniment.envelope import ENVELOPES, opened_last
from muniment.patterns import compiled_pattern

__all__ = ["Batch", "Row"]

_OWN: Final = frozenset({"index", "time_us", "whole"})
_CODES_MAX: Final = 2**62
_ENVELOPES: Final[Any] = compiled_pattern(ENVELOPES.encode())


class Row:
    """One event: its place, time and typed columns, and the record where rules read it."""

    __slots__ = ("_parsed", "class_name", "columns", "format", "index", "record", "source", "time_us")

    def __init__(self, index: int, time_us: int, columns: Mapping[str, Any], record: str = "") -> None:
        """`columns`: the typed columns, with `source`, `format` and `class_name`."""
        self.index = index
        self.time_us = time_us
        self.columns = columns
        self.source: str = columns.get("source", "")
        self.format: str = columns.get("format", "")
        self.class_name: str = columns.get("class_name", "")
        self.record = record
        self._parsed: Any = None

    @property
    def document(self) -> Mapping[str, Any]:
        """What rules over typed columns see: the columns, those made of them, and under `record` what the record says."""
        return _Document(self)

    @property
    def parsed(self) -> Any:
        """The record, parsed when somebody asks for it; None where it was not read."""
        if self._parsed is None and self.record:
            self._parsed = orjson.loads(self.record)
        return self._parsed

    @property
    def address(self) -> str:
        """Where it came from; empty when nobody said."""
        address = str(self.columns.get("src_ip", ""))
        return "" if address == "::" else address

    def derived(self, name: str) -> str:
        """What a column says that is made of others."""
        made = DERIVED[name]
        return made.text(*[self.columns.get(each, "") for each in made.of])

    @property
    def drill(self) -> str:
        """The drill it belongs to; empty when real."""
        return str(self.columns.get("drill", ""))

    @property
    def text(self) -> bytes:
        """All that rules over typed columns may look for, as JSON."""
        return orjson.dumps({**self.columns, **{name: self.derived(name) for name in DERIVED}}) + self.record.encode()


class _Document(Mapping[str, Any]):
    __slots__ = ("_row",)

    def __init__(self, row: Row) -> None:
        self._row = row

    def __getitem__(self, name: str) -> Any:
        return self._row.derived(name) if name in DERIVED else self._row.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row.columns or name in DERIVED

    def __iter__(self) -> Iterator[str]:
        return iter(self._row.columns)

    def __len__(self) -> int:
        return len(self._row.columns)

    def get(self, name: str, default: Any = None) -> Any:
        if name == "record" and (found := self._row.parsed) is not None:
            return found
        return self._row.derived(name) if name in DERIVED else self._row.columns.get(name, default)


class _Table:
    """The columns of a batch, and what was made of them. It knows no rows: nothing here goes round in a circle."""

    def __init__(self, table: pa.Table) -> None:
        self.columns = {name: _only_chunk(table[name]) for name in table.column_names}
        self.names = {name: None for name in table.column_names if name not in _OWN}
        self._values: dict[str, Sequence[Any]] = {}

    def values(self, name: str) -> Sequence[Any]:
        found = self._values.get(name)
        if found is None:
            is_made = name in DERIVED
            found = self.derived(name, range(len(self.columns["index"]))) if is_made else _values_of(self.columns[name])
            self._values[name] = found
        return found

    def derived(self, name: str, places: Iterable[int]) -> list[str]:
        """A column that is made of others, for these events; once for all that say the same in those."""
        made = DERIVED[name]
        parts = [self.values(each) for each in made.of]
        known: dict[tuple[Any, ...], str] = {}
        found = []
        for place in places:
            said = tuple([part[place] for part in parts])
            text = known.get(said)
            if text is None:
                text = known[said] = made.text(*said)
            found.append(text)
        return found


class _Columns(Mapping[str, Any]):
    """The typed columns of one event of a batch."""

    __slots__ = ("_place", "_table")

    def __init__(self, table: _Table, place: int) -> None:
        self._table = table
        self._place = place

    def __getitem__(self, name: str) -> Any:
        return self._table.values(name)[self._place]

    def __contains__(self, name: object) -> bool:
        return name in self._table.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.names)

    def __len__(self) -> int:
        return len(self._table.names)

    def get(self, name: str, default: Any = None) -> Any:
        return self._table.values(name)[self._place] if name in self._table.names else default


class Batch(Sequence[Row]):
    """Events in the order of the ledger; one becomes a `Row` when somebody asks for it."""

    def __init__(self, table: pa.Table) -> None:
        """`index`, `time_us` (event time, microseconds), perhaps `whole` (the record, or ''), and typed columns."""
        table = table.unify_dictionaries().combine_chunks()
        if np.any(np.diff(table["index"].to_numpy().astype(np.int64)) < 0):
            table = table.sort_by("index").combine_chunks()
        self._table = _Table(table)
        self._rows: dict[int, Row] = {}
        self._records: dict[int, bytes] = {}
        self.indexes: Sequence[int] = table["index"].to_pylist()
        """Where they stand in the ledger."""
        self.times_us: npt.NDArray[np.int64] = table["time_us"].to_numpy()
        if "whole" in self._table.columns:
            self.give_records(dict(enumerate(_bytes_of(self._table.columns["whole"]))))

    def __len__(self) -> int:
        return len(self.indexes)

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
            record = self._records.get(place, b"")
            columns = _Columns(self._table, place)
            row = Row(self.indexes[place], int(self.times_us[place]), columns, _as_read(record) if record else "")
            self._rows[place] = row
        return row

    @property
    def newest_us(self) -> int:
        """The latest event time."""
        return int(self.times_us.max()) if len(self) else 0

    def place_of(self, index: int) -> int | None:
        """Where an event of the ledger stands here; None when it is not of this batch."""
        place = bisect_left(self.indexes, index)
        return place if place < len(self) and self.indexes[place] == index else None

    def has_record(self, place: int) -> bool:
        """Was the record of an event read?"""
        return place in self._records

    def give_records(self, records: Mapping[int, bytes]) -> None:
        """By place: the records of events, as they are stored."""
        self._records.update((place, record) for place, record in records.items() if record)
        for place in self._rows.keys() & records.keys():
            self._rows[place].record = _as_read(records[place])

    # --- columns --------------------------------------------------------------------------------------------------

    def has(self, names: Iterable[str]) -> bool:
        """Were these read?"""
        known = self._table.names
        return all(part in known for name in names for part in (DERIVED[name].of if name in DERIVED else (name,)))

    def values(self, name: str) -> Sequence[Any]:
        """A column, also one that is made of others; '' or 0 where an event says nothing. Equal texts are one object."""
        return self._table.values(name)

    def texts(self, name: str) -> Sequence[str]:
        """The same as texts, numbers too."""
        values = self._table.values(name)
        return list(map(str, values)) if len(values) and not isinstance(values[0], str) else values

    def texts_at(self, name: str, places: Sequence[int]) -> Sequence[str]:
        """The same for some events; what is made of other columns is made for those alone."""
        if name in DERIVED:
            return self._table.derived(name, places)
        texts = self.texts(name)
        return [texts[place] for place in places]

    def scanned(self, name: str) -> Texts | None:
        """A column as the bytes of its texts, for looking through; None when it was not read."""
        column = self._table.columns.get(name)
        if column is None:
            return None
        if pa.types.is_dictionary(column.type):
            return Texts(*_whole(column.dictionary), column.indices.to_numpy(zero_copy_only=False))
        return Texts(*_whole(column if _is_text(column.type) else column.cast(pa.string())))

    # --- kinds ----------------------------------------------------------------------------------------------------

    @cached_property
    def shapes(self) -> npt.NDArray[np.int64]:
        """A number for each event; events with the same number have the same values in `SHAPE`. Only for this batch."""
        codes = np.zeros(len(self), np.int64)
        size = 1
        for name in SHAPE:
            numbers, n = _numbers(self._table.columns[name])
            if size * n > _CODES_MAX:
                found, codes = np.unique(codes, return_inverse=True)
                size = len(found)
            codes = codes * n + numbers
            size *= n
        return codes

    def shape_of(self, place: int) -> Mapping[str, Any]:
        """The values of `SHAPE`."""
        return {name: self._table.values(name)[place] for name in SHAPE}

    def of_formats(self, formats: Collection[str]) -> list[int]:
        """The places of events of these formats."""
        numbers, _ = _numbers(self._table.columns["format"])
        found, first = np.unique(numbers, return_index=True)
        chosen = [self._table.values("format")[place] in formats for place in first.tolist()]
        return np.flatnonzero(np.isin(numbers, found[chosen])).tolist() if any(chosen) else []


# --- Arrow ------------------------------------------------------------------------------------------------------------


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _numbers(column: pa.Array) -> tuple[npt.NDArray[np.int64], int]:
    """A number for each value, and how many there are."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(1, len(column.dictionary))


def _values_of(column: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        every = np.array([*_values_of(column.dictionary), None], dtype=object)
        return every[column.indices.to_numpy(zero_copy_only=False)].tolist()  # type: ignore[no-any-return]
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (pa.ArrowException, UnicodeDecodeError):  # some expression of a mapping cut a letter in two
        return [value.decode("utf-8", "replace") for value in _bytes_of(column)]


def _whole(column: pa.Array) -> tuple[bytes, npt.NDArray[np.int64]]:
    """The bytes of all texts, and where each begins, with the end."""
    _, offsets, data = column.buffers()
    if not len(column) or offsets is None:
        return b"", np.zeros(1, np.int64)
    is_large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    starts = np.frombuffer(offsets, np.int64 if is_large else np.int32)[column.offset : column.offset + len(column) + 1]
    first, last = int(starts[0]), int(starts[-1])
    return data.slice(first, last - first).to_pybytes() if data is not None else b"", starts.astype(np.int64) - first


def _bytes_of(column: pa.Array) -> list[bytes]:
    data, starts = _whole(column)
    bounds = starts.tolist()
    return [data[start:end] for start, end in pairwise(bounds)]


def _as_read(record: bytes) -> str:
    """A record as rules see it: what it carries beside what it says itself."""
    return (opened_last(record) if _ENVELOPES.search(record) else record).decode("utf-8", "replace")
