"""Searching: pages, histograms, facets, one event, completion, tail. The only way from an edge to the store.

Rules: every answer says up to which index and time it is complete and shows nothing beyond that; a reader's row scope
is ANDed in `_condition` and nowhere else; a page reads narrow columns to find its rows and wide ones only for them.
Results run by (time, index), so a cursor never skips or repeats a row, whatever arrives meanwhile.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from muniment.errors import RejectedError
from muniment.limits import FACET_VALUES_MAX, HISTOGRAM_BUCKETS_MAX, SEARCH_ROWS_MAX, TAIL_ROWS_MAX
from muniment.search.columns import ALIASES, COLUMNS
from muniment.search.engine import Engine
from muniment.search.export import export_rows
from muniment.search.projector import Horizon
from muniment.search.query.ast import And, Identity, Node, Number, Text, Words
from muniment.search.query.complete import Suggestion, suggest
from muniment.search.query.parse import parse_query
from muniment.search.query.sql import where
from muniment.search.rows import DEFAULT_COLUMNS, as_row, select_list

__all__ = ["Histogram", "SearchPage", "SearchService"]

_WINDOWS = (32,)  # a page first looks at the newest 1/32 of the time range, then at all of it
_NEEDLES = frozenset({"request_id", "trace_id", "session_id", "target_id"})
_SERIES_MAX = 12
_SPAN_CACHE_S = 5.0


class _HasHorizon(Protocol):
    def horizon(self) -> Horizon: ...


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of rows. `cursor` continues it; None when there is no more."""

    rows: list[dict[str, object]]
    cursor: str | None
    horizon: Horizon
    took_ms: float
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per step of time from `start` on, one list per value of the `by` column."""

    start: int
    end: int
    step_ns: int
    series: dict[str, list[int]]
    horizon: Horizon
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Condition:
    sql: str
    parameters: dict[str, object]
    warnings: list[str]
    horizon: Horizon
    is_needle: bool


class SearchService:
    """Reads of the store. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        projector: _HasHorizon,
        *,
        to_ocsf: Callable[[Mapping[str, object]], Mapping[str, object]] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._projector = projector
        self._to_ocsf = to_ocsf
        self._now_ns = now_ns
        self._span_cache: tuple[float, int, int] | None = None

    def search(
        self,
        q: str,
        start: int | None = None,
        end: int | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        columns: Sequence[str] | None = None,
        scope: str | None = None,
        tag: str = "",
    ) -> SearchPage:
        """A page of rows with `start <= time < end` (nanoseconds). `tag` lets `cancel` stop it."""
        began = time.perf_counter()
        if order not in ("asc", "desc"):
            raise RejectedError("must be asc or desc", field="order")
        if not 1 <= limit <= SEARCH_ROWS_MAX:
            raise RejectedError(f"must be 1 to {SEARCH_ROWS_MAX}", field="limit")
        chosen = _known_columns(columns)
        condition = self._condition(q, start, end, scope)
        after = _read_cursor(cursor, order) if cursor else None
        if condition.is_needle:
            found = self._find_whole(condition, after, order, limit + 1, tag, chosen)
            keys, rows = [key for key, _ in found], [row for _, row in found[:limit]]
        else:
            keys = self._find(condition, start, end, after, order, limit + 1, tag)
            rows = self._fetch([index for _, index in keys[:limit]], chosen)
        more = _write_cursor(keys[limit - 1], order) if len(keys) > limit else None
        took = (time.perf_counter() - began) * 1_000
        return SearchPage(rows, more, condition.horizon, took, condition.warnings)

    def cancel(self, tag: str) -> None:
        """Stop the searches started with `tag`."""
        self._engine.cancel(tag)

    def count(self, q: str, start: int | None = None, end: int | None = None, *, scope: str | None = None) -> int:
        """How many rows match."""
        condition = self._condition(q, start, end, scope)
        sql = f"SELECT count() FROM events WHERE {condition.sql}"
        return int(self._engine.query(sql, condition.parameters).rows[0][0])

    def histogram(
        self,
        q: str,
        start: int | None,
        end: int | None,
        *,
        buckets: int = 60,
        by: str = "outcome",
        scope: str | None = None,
    ) -> Histogram:
        """Counts over time, by the values of a column; beyond the twelve largest they are counted as `other`."""
        if not 1 <= buckets <= HISTOGRAM_BUCKETS_MAX:
            raise RejectedError(f"must be 1 to {HISTOGRAM_BUCKETS_MAX}", field="buckets")
        column = _column(by)
        condition = self._condition(q, start, end, scope)
        # A reader with a row scope must not learn when others' first or last event was.
        first, last = self._span() if scope is None else self._span_of(condition)
        from_us = start // 1_000 if start is not None else first
        to_us = max(from_us + 1, -(-end // 1_000) if end is not None else last + 1)
        step_us = max(1, -(-(to_us - from_us) // buckets))
        sql = (
            "SELECT intDiv(toUnixTimestamp64Micro(time) - {h_from:Int64}, {h_step:Int64}) AS bucket, "
            f"{_text(column)} AS value, count() FROM events WHERE {condition.sql} "
            "AND time >= fromUnixTimestamp64Micro({h_from:Int64}, 'UTC') GROUP BY bucket, value"
        )
        rows = self._engine.query(sql, condition.parameters | {"h_from": from_us, "h_step": step_us}).rows
        totals: dict[str, int] = {}
        for _, value, n in rows:
            totals[value] = totals.get(value, 0) + n
        kept = set(sorted(totals, key=lambda value: (-totals[value], value))[:_SERIES_MAX])
        series: dict[str, list[int]] = {}
        for bucket, value, n in rows:
            if 0 <= bucket < buckets:
                series.setdefault(value if value in kept else "other", [0] * buckets)[bucket] += n
        return Histogram(from_us * 1_000, to_us * 1_000, step_us * 1_000, series, condition.horizon, condition.warnings)

    def facets(
        self,
        q: str,
        start: int | None,
        end: int | None,
        fields: Sequence[str],
        limit: int = 10,
        *,
        scope: str | None = None,
    ) -> dict[str, list[tuple[str, int]]]:
        """The most frequent values of each field, with counts; empty values are left out."""
        if not 1 <= limit <= FACET_VALUES_MAX:
            raise RejectedError(f"must be 1 to {FACET_VALUES_MAX}", field="limit")
        condition = self._condition(q, start, end, scope)
        found: dict[str, list[tuple[str, int]]] = {}
        for name in fields:
            column = _column(name)
            sql = (
                f"SELECT {select_list((column,))}, count() AS n FROM events WHERE {condition.sql} AND "
                f"{_filled(column)} GROUP BY `{column}` ORDER BY n DESC, `{column}` LIMIT {limit}"
            )
            rows = self._engine.query(sql, condition.parameters).rows
            found[name] = [(str(as_row((column,), (value,))[column]), int(n)) for value, n in rows]
        return found

    def event(self, index: int, *, scope: str | None = None) -> dict[str, object] | None:
        """Everything about one event, with the clear `record` text and its `ocsf` form; None when it is not there."""
        condition = self._condition("", None, None, scope)
        columns = (*COLUMNS, "record")
        sql = f"SELECT {select_list(columns)} FROM events WHERE `index` = {{i:UInt64}} AND {condition.sql}"
        rows = self._engine.query(sql, condition.parameters | {"i": index}).rows
        if not rows:
            return None
        row = as_row(columns, rows[0])
        return row | {"ocsf": dict(self._to_ocsf(row)) if self._to_ocsf else {}}

    def complete(self, text: str, column: int, *, scope: str | None = None) -> list[Suggestion]:
        """What could stand at `column` of a query: field names, or a field's values with counts."""

        def counted(name: str) -> list[tuple[str, int]]:
            return self.facets("", None, None, [name], FACET_VALUES_MAX, scope=scope)[name]

        return suggest(text, column, counted)

    def tail(
        self,
        q: str,
        after_index: int,
        limit: int = 100,
        *,
        scope: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[dict[str, object]]:
        """Matching rows that came after `after_index`, oldest first."""
        chosen = _known_columns(columns)
        condition = self._condition(q, None, None, scope)
        sql = (
            f"SELECT {select_list(chosen)} FROM events WHERE `index` > {{after:Int64}} AND {condition.sql} "
            f"ORDER BY `index` LIMIT {max(1, min(limit, TAIL_ROWS_MAX))}"
        )
        rows = self._engine.query(sql, condition.parameters | {"after": after_index}).rows
        return [as_row(chosen, row) for row in rows]

    def export(
        self,
        q: str,
        start: int | None,
        end: int | None,
        format: str,
        *,
        scope: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[bytes]:
        """All matching rows in ledger order as a stream of bytes: jsonl, csv, parquet or ocsf."""
        condition = self._condition(q, start, end, scope)
        chosen = _known_columns(columns) if columns else (*COLUMNS, "record")
        return export_rows(
            self._engine,
            condition.sql,
            condition.parameters,
            condition.horizon.complete_to_index,
            chosen,
            format,
            self._to_ocsf,
        )

    def _condition(self, q: str, start: int | None, end: int | None, scope: str | None) -> _Condition:
        """The whole condition of any read: the query, the reader's scope, the time range, the horizon."""
        now = self._now_ns()
        parsed = parse_query(q, now)
        wanted = where(parsed.node, "q")
        parts, parameters = [wanted.sql], dict(wanted.parameters)
        if scope is not None and scope.strip():
            allowed = where(parse_query(scope, now).node, "s")
            parts.append(allowed.sql)
            parameters |= allowed.parameters
        if start is not None:
            parts.append("time >= fromUnixTimestamp64Micro({t_from:Int64}, 'UTC')")
            parameters["t_from"] = -(-start // 1_000)
        if end is not None:
            parts.append("time < fromUnixTimestamp64Micro({t_to:Int64}, 'UTC')")
            parameters["t_to"] = -(-end // 1_000)
        horizon = self._projector.horizon()
        parts.append("`index` <= {h_index:Int64}")
        parameters["h_index"] = horizon.complete_to_index
        warnings = list(dict.fromkeys(parsed.warnings))
        return _Condition(" AND ".join(parts), parameters, warnings, horizon, _is_needle(parsed.node))

    def _span(self) -> tuple[int, int]:
        """Earliest and latest time of any event, in microseconds, a few seconds old at most."""
        cached = self._span_cache
        if cached and time.monotonic() - cached[0] < _SPAN_CACHE_S:
            return cached[1], cached[2]
        sql = "SELECT toUnixTimestamp64Micro(min(time)), toUnixTimestamp64Micro(max(time)) FROM events"
        first, last = self._engine.query(sql).rows[0]
        self._span_cache = (time.monotonic(), int(first), int(last))
        return int(first), int(last)

    def _span_of(self, condition: _Condition) -> tuple[int, int]:
        sql = (
            "SELECT toUnixTimestamp64Micro(min(time)), toUnixTimestamp64Micro(max(time)) FROM events WHERE "
            + condition.sql
        )
        first, last = self._engine.query(sql, condition.parameters).rows[0]
        return int(first), int(last)

    def _find(
        self,
        condition: _Condition,
        start: int | None,
        end: int | None,
        after: tuple[int, int] | None,
        order: str,
        limit: int,
        tag: str,
    ) -> list[tuple[int, int]]:
        """(time, index) of the first rows, looking at ever larger parts of the time range."""
        sql, parameters = _behind(condition, after, order)
        select = "SELECT toUnixTimestamp64Micro(time) AS us, `index` FROM events WHERE "
        tail = f" ORDER BY time {order}, `index` {order} LIMIT {limit}"
        for bound in (*self._bounds(start, end, after, order), None):
            near = ""
            if bound is not None:
                near = f" AND time {'>=' if order == 'desc' else '<='} fromUnixTimestamp64Micro({{w:Int64}}, 'UTC')"
                parameters["w"] = bound
            rows = self._engine.query(select + sql + near + tail, parameters, tag=tag).rows
            if len(rows) >= limit:
                break
        return [(int(us), int(index)) for us, index in rows]

    def _find_whole(
        self,
        condition: _Condition,
        after: tuple[int, int] | None,
        order: str,
        limit: int,
        tag: str,
        columns: Sequence[str],
    ) -> list[tuple[tuple[int, int], dict[str, object]]]:
        """(time, index) and columns of rows so few that a second query for the columns would cost more than it saves."""
        sql, parameters = _behind(condition, after, order)
        select = f"SELECT toUnixTimestamp64Micro(time) AS us, `index`, {select_list(columns)} FROM events WHERE "
        tail = f" ORDER BY time {order}, `index` {order} LIMIT {limit}"
        rows = self._engine.query(select + sql + tail, parameters, tag=tag).rows
        return [((int(row[0]), int(row[1])), as_row(columns, row[2:])) for row in rows]

    def _bounds(self, start: int | None, end: int | None, after: tuple[int, int] | None, order: str) -> Iterator[int]:
        first, last = self._span()
        if start is not None and end is not None and (end - start) // 1_000 * 8 < last - first:
            return  # the range asked for is small already
        first = max(first, start // 1_000) if start is not None else first
        last = min(last, end // 1_000) if end is not None else last
        if after:
            first, last = (first, min(last, after[0])) if order == "desc" else (max(first, after[0]), last)
        for part in _WINDOWS:
            width = (last - first) // part
            if width > 0:
                yield last - width if order == "desc" else first + width

    def _fetch(self, indexes: Sequence[int], columns: Sequence[str]) -> list[dict[str, object]]:
        """The wide columns of the rows found, in their order."""
        if not indexes:
            return []
        sql = (
            f"SELECT `index`, {select_list(columns)} FROM events WHERE `index` IN {{found:Array(UInt64)}} "
            f"LIMIT {len(indexes)}"
        )
        rows = self._engine.query(sql, {"found": list(indexes)}).rows
        by_index = {int(row[0]): as_row(columns, row[1:]) for row in rows}
        return [by_index[index] for index in indexes if index in by_index]


def _behind(condition: _Condition, after: tuple[int, int] | None, order: str) -> tuple[str, dict[str, object]]:
    """The condition for rows behind a cursor, and what it binds."""
    sql, parameters = condition.sql, dict(condition.parameters)
    if after:
        sign = "<" if order == "desc" else ">"
        sql += (
            f" AND (time {sign} fromUnixTimestamp64Micro({{c_time:Int64}}, 'UTC') OR "
            f"(time = fromUnixTimestamp64Micro({{c_time:Int64}}, 'UTC') AND `index` {sign} {{c_index:Int64}}))"
        )
        parameters |= {"c_time": after[0], "c_index": after[1]}
    return sql, parameters


def _is_needle(node: Node) -> bool:
    """Does an index lead straight to the few rows, so that looking at the newest first would only cost a round?"""
    match node:
        case And(parts):
            return any(map(_is_needle, parts))
        case Text(columns, "equals" | "exact", _):
            return set(columns) <= _NEEDLES
        case Words(value, False):
            return len(value) >= 8 and any(map(str.isdigit, value))
        case Number("index", low, high):
            return low is not None and low == high
    return isinstance(node, Identity)


def _known_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(("index", "time", *columns))) if columns else DEFAULT_COLUMNS
    for name in chosen:
        if name not in COLUMNS and name != "record":
            raise RejectedError(f"{name!r} is not a column", field="columns")
    return chosen


def _column(name: str) -> str:
    column = name if name in COLUMNS else ALIASES.get(name, ("",))[0]
    if column not in COLUMNS or COLUMNS[column].kind in ("time", "uuid"):
        raise RejectedError(f"{name!r} is not a column that can be counted", field="by")
    return column


def _text(column: str) -> str:
    """A column as text in SQL; IPv4 as IPv4, though it is stored within IPv6."""
    return (
        f"replaceOne(toString(`{column}`), '::ffff:', '')" if COLUMNS[column].kind == "ip" else f"toString(`{column}`)"
    )


def _filled(column: str) -> str:
    kind = COLUMNS[column].kind
    return f"{column} != toIPv6('::')" if kind == "ip" else f"`{column}` != ''" if kind == "text" else "true"


def _write_cursor(key: tuple[int, int], order: str) -> str:
    return base64.urlsafe_b64encode(f"{order}.{key[0]}.{key[1]}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str, order: str) -> tuple[int, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        written, moment, index = base64.urlsafe_b64decode(padded.encode()).decode().split(".")
        if written == order and len(moment) < 20 and len(index) < 20:
            return int(moment), int(index)
    except ValueError:
        pass
    raise RejectedError("is not a cursor of this search", field="cursor")
