"""Exports: all rows of a search as JSON Lines, CSV, Parquet or OCSF JSON Lines, streamed in bounded memory.

Rows come in ledger order, a bounded range of indexes at a time, so each row is looked at once and memory does not grow
with the export. A CSV cell that a spreadsheet would run as a formula (OWASP: `= + - @`, TAB, CR) gets `'` in front;
the first line of the file says so, and the raw value is in the other formats.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from muniment.errors import RejectedError
from muniment.limits import EXPORT_CHUNK_ROWS, SEARCH_EXPORT_TIMEOUT_MS
from muniment.search.columns import COLUMNS
from muniment.search.engine import Engine
from muniment.search.rows import as_row, select_list

__all__ = ["CSV_NOTE", "FORMATS", "export_rows", "safe_cell"]

FORMATS = ("jsonl", "csv", "parquet", "ocsf")
CSV_NOTE = "# Cells that begin with = + - @ TAB or CR have ' in front, so that no spreadsheet runs them as a formula."
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, object]


def export_rows(
    engine: Engine,
    condition: str,
    parameters: Mapping[str, object],
    last_index: int,
    columns: Sequence[str],
    format: str,
    to_ocsf: Callable[[Mapping[str, object]], Mapping[str, object]] | None,
) -> Iterator[bytes]:
    """The stream. Raises RejectedError at once for an unknown format."""
    if format not in FORMATS:
        raise RejectedError(f"must be one of {', '.join(FORMATS)}", field="format")
    if format == "ocsf" and to_ocsf is None:
        raise RejectedError("OCSF is not available here", field="format")
    wanted = (*COLUMNS, "record") if format == "ocsf" else tuple(columns)
    chunks = _chunks(engine, condition, parameters, last_index, wanted)
    if format == "jsonl":
        return (b"".join(orjson.dumps(row) + b"\n" for row in rows) for rows in chunks)
    if format == "ocsf":
        assert to_ocsf is not None
        return (b"".join(orjson.dumps(to_ocsf(row)) + b"\n" for row in rows) for rows in chunks)
    return _csv(chunks, wanted) if format == "csv" else _parquet(chunks, wanted)


def _chunks(
    engine: Engine, condition: str, parameters: Mapping[str, object], last_index: int, columns: Sequence[str]
) -> Iterator[list[Row]]:
    sql = (
        f"SELECT {select_list(columns)} FROM events WHERE `index` >= {{x_from:UInt64}} AND `index` < {{x_to:UInt64}} "
        f"AND {condition} ORDER BY `index`"
    )
    for start in range(0, last_index + 1, EXPORT_CHUNK_ROWS):
        bounds = {"x_from": start, "x_to": start + EXPORT_CHUNK_ROWS}
        rows = engine.query(sql, {**parameters, **bounds}, timeout_ms=SEARCH_EXPORT_TIMEOUT_MS).rows
        if rows:
            yield [as_row(columns, row) for row in rows]


def safe_cell(value: object) -> str:
    """A CSV cell that no spreadsheet runs.

    >>> safe_cell("=1+1"), safe_cell(-5), safe_cell("a=b")
    ("'=1+1", '-5', 'a=b')
    """
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    text = str(value)
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _csv(chunks: Iterator[list[Row]], columns: Sequence[str]) -> Iterator[bytes]:
    yield f"{CSV_NOTE}\r\n{','.join(columns)}\r\n".encode()
    for rows in chunks:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([safe_cell(row[column]) for column in columns] for row in rows)
        yield buffer.getvalue().encode("utf-8", "replace")


class _Sink(io.RawIOBase):
    """Where the Parquet writer writes; keeps only what was not yet handed on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._offset = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._offset += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._offset

    def drain(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _parquet(chunks: Iterator[list[Row]], columns: Sequence[str]) -> Iterator[bytes]:
    schema = pa.schema([(column, _arrow_type(column)) for column in columns])
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for rows in chunks:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            yield sink.drain()
    yield sink.drain()


def _arrow_type(column: str) -> pa.DataType:
    kind = COLUMNS[column].kind if column in COLUMNS else "text"
    if kind == "number":
        return pa.uint64()
    return pa.bool_() if kind == "bool" else pa.string()
