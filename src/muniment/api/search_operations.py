"""Operations of reading: search, histogram, facets, one record, completion, live tail, export, saved searches."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from muniment.api.operations import Call, Empty, Operation, Stream
from muniment.api.services import Services
from muniment.api.times import parse_time
from muniment.errors import RejectedError
from muniment.limits import COMPLETE_RECORDED_EVERY_S, COMPLETE_RECORDED_MAX
from muniment.search.columns import ALIASES, COLUMNS
from muniment.search.query.complete import field_at
from muniment.search.query.parse import parse_query
from muniment.search.saved import SavedSearch

__all__ = [
    "ExportParams",
    "FacetParams",
    "HistogramParams",
    "Reading",
    "SavedBody",
    "SearchParams",
    "search_operations",
]

T = TypeVar("T")
QueryText = Annotated[
    str,
    Meta(
        max_length=4096,
        description="Query language: actor:anna action:user.* -outcome:success",
        examples=["outcome:failure action:user.*", "actor:anna -source:muniment"],
    ),
]
TimeText = Annotated[
    str,
    Meta(
        max_length=35,
        description="RFC 3339, a date, now, or an offset like -24h; half-open range",
        examples=["-24h", "2026-11-23T06:36:01Z"],
    ),
]
_COUNTABLE: Final = [name for name, column in COLUMNS.items() if column.kind not in ("time", "uuid")]
ColumnName = Annotated[str, Meta(extra_json_schema={"enum": [*COLUMNS, "record"]})]
FieldName = Annotated[
    str, Meta(extra_json_schema={"enum": [*_COUNTABLE, *(name for name, of in ALIASES.items() if of[0] in _COUNTABLE)]})
]
EXPORT_TYPES: Final = {
    "jsonl": ("application/x-ndjson", "jsonl"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "ocsf": ("application/x-ndjson", "ocsf.jsonl"),
}
TAIL_POLL_S: Final = 15.0
"""A comment line at least this often, so that proxies keep a silent tail open."""


class SearchParams(msgspec.Struct, frozen=True):
    q: QueryText = ""
    start: TimeText = ""
    end: TimeText = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, Meta(max_length=128)] = ""
    order: Literal["desc", "asc"] = "desc"
    columns: Annotated[list[ColumnName], Meta(max_length=40, description="What each row holds")] = []


class HistogramParams(msgspec.Struct, frozen=True):
    q: QueryText = ""
    start: TimeText = "-24h"
    end: TimeText = "now"
    buckets: Annotated[int, Meta(ge=1, le=500)] = 60
    by: Literal["outcome", "severity", "source", "action", "class_name"] = "outcome"


class FacetParams(msgspec.Struct, frozen=True):
    q: QueryText = ""
    start: TimeText = ""
    end: TimeText = ""
    fields: Annotated[list[FieldName], Meta(max_length=20, description="Whose values to count")] = msgspec.field(
        default_factory=lambda: ["source", "action", "outcome", "actor_name", "src_ip"]
    )
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class CompleteParams(msgspec.Struct, frozen=True):
    text: QueryText = ""
    column: Annotated[int, Meta(ge=0, le=4096)] = 0


class TailParams(msgspec.Struct, frozen=True):
    q: QueryText = ""
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1


class ExportParams(msgspec.Struct, frozen=True):
    q: QueryText = ""
    start: TimeText = ""
    end: TimeText = ""
    format: Literal["jsonl", "csv", "parquet", "ocsf"] = "jsonl"


class HorizonAnswer(msgspec.Struct, frozen=True):
    """How far a result has seen: complete for indexes below `complete_to_index`, received before `complete_to_time`."""

    complete_to_index: int
    complete_to_time: int
    ledger_size: int
    pending: int


class SearchAnswer(msgspec.Struct, frozen=True):
    rows: list[dict[str, Any]]
    horizon: HorizonAnswer
    took_ms: float
    cursor: str | None = None
    warnings: list[str] = []


class HistogramAnswer(msgspec.Struct, frozen=True):
    start: int
    end: int
    step_ns: int
    series: dict[str, list[int]]
    horizon: HorizonAnswer


class ValueCount(msgspec.Struct, frozen=True):
    value: str
    count: int


class FacetAnswer(msgspec.Struct, frozen=True):
    """The most frequent values of each field, most frequent first."""

    facets: dict[str, list[ValueCount]]


class EventAnswer(msgspec.Struct, frozen=True):
    index: int
    columns: dict[str, Any]
    record: str
    ocsf: dict[str, Any]


class SuggestionAnswer(msgspec.Struct, frozen=True):
    text: str
    kind: str
    detail: str
    start: int
    end: int


class CompleteAnswer(msgspec.Struct, frozen=True):
    suggestions: list[SuggestionAnswer]


class SavedBody(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=120, examples=["Failed logins"])]
    q: QueryText = ""
    start: TimeText = "-24h"
    end: TimeText = "now"
    columns: Annotated[list[ColumnName], Meta(max_length=40, description="What each row holds")] = []
    is_shared: bool = False


class SavedAnswer(msgspec.Struct, frozen=True):
    id: int
    name: str
    owner: str
    q: str
    start: str
    end: str
    columns: list[str]
    is_shared: bool


class SavedListAnswer(msgspec.Struct, frozen=True):
    saved: list[SavedAnswer]


def search_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    reading = Reading(services)
    lists = frozenset({"columns", "fields"})
    return [
        Operation("GET", "/api/v1/search", "search", "Search events, newest first, one page", "search", reading.search,
                  params=SearchParams, answer=SearchAnswer, list_params=lists),
        Operation("GET", "/api/v1/histogram", "histogram", "Counts over time", "search", reading.histogram,
                  params=HistogramParams, answer=HistogramAnswer),
        Operation("GET", "/api/v1/facets", "facets", "The most frequent values of fields", "search", reading.facets,
                  params=FacetParams, answer=FacetAnswer, list_params=lists),
        Operation("GET", "/api/v1/complete", "complete", "Suggestions for a query being typed", "search",
                  reading.complete, params=CompleteParams, answer=CompleteAnswer),
        Operation("GET", "/api/v1/tail", "tail", "New matching events as they come (server-sent events)", "search",
                  reading.tail, params=TailParams, media_types=("text/event-stream",)),
        Operation("GET", "/api/v1/export", "export", "All matching events as a file", "export", reading.export,
                  params=ExportParams, media_types=tuple(sorted({kind for kind, _ in EXPORT_TYPES.values()}))),
        Operation("GET", "/api/v1/events/{index}", "event", "One record: typed fields, original, OCSF", "search",
                  reading.event, answer=EventAnswer),
        Operation("GET", "/api/v1/saved", "saved_list", "One's own and shared saved searches", "search",
                  reading.saved_list, answer=SavedListAnswer),
        Operation("POST", "/api/v1/saved", "saved_create", "Save a search", "search", reading.saved_create,
                  body=SavedBody, answer=SavedAnswer, status=201),
        Operation("DELETE", "/api/v1/saved/{number}", "saved_delete", "Delete a saved search of one's own", "search",
                  reading.saved_delete, answer=SavedAnswer),
    ]  # fmt: skip


class Reading:
    """The handlers. Each runs the blocking store call on the readers, then writes its own record with the count found.

    A query is parsed before anything is recorded: one that cannot be read has read nothing. A read that failed on the
    way is recorded as a failure. The answer waits for its record either way.
    """

    def __init__(self, services: Services) -> None:
        self._s = services
        self._completed: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def _recorded(
        self,
        call: Call[Any, Any],
        action: str,
        work: Callable[[], T],
        count: Callable[[T], int] | None = None,
        **metadata: object,
    ) -> T:
        """Run `work`, then write its record with `results`, what `count` makes of the outcome; None: not known yet."""
        if "query" in metadata:
            parse_query(str(metadata["query"]), self._s.clock())

        async def record(outcome: str, found: Mapping[str, object], reason: str = "") -> None:
            await self._s.recorder.record(
                action,
                call.identity,
                targets=[{"type": "ledger", "id": self._s.ledger.origin}],
                outcome=outcome,
                client_ip=call.client_ip,
                user_agent=call.user_agent,
                metadata={**metadata, **found},
                reason=reason,
            )

        try:
            result = await self._s.blocking(work)
        except Exception as error:
            await record("failure", {}, type(error).__name__)
            raise
        await record("success", {"results": count(result)} if count else {})
        return result

    def _range(self, start: str, end: str) -> tuple[int | None, int | None]:
        now = self._s.clock()
        first = parse_time(start, now, field="start") if start else None
        last = parse_time(end, now, field="end") if end and end != "now" else None
        if first is not None and last is not None and first >= last:
            raise RejectedError("it must lie before the end", field="start")
        return first, last

    async def search(self, call: Call[SearchParams, Empty]) -> SearchAnswer:
        p = call.params
        start, end = self._range(p.start, p.end)

        def work() -> Any:
            return self._s.search.search(
                p.q, start, end, limit=p.limit, cursor=p.cursor or None, order=p.order,
                columns=list(p.columns) or None, scope=call.identity.scope or None,
            )  # fmt: skip

        page = await self._recorded(
            call, "log.search", work, lambda page: len(page.rows), query=p.q, start=p.start, end=p.end, limit=p.limit
        )
        return SearchAnswer(page.rows, _horizon(page.horizon), page.took_ms, page.cursor, list(page.warnings))

    async def histogram(self, call: Call[HistogramParams, Empty]) -> HistogramAnswer:
        p = call.params
        start, end = self._range(p.start, p.end)
        if p.end == "now":  # a picture has an end; left open, it would be the last event that was known a moment ago
            end = self._s.clock()

        def work() -> Any:
            return self._s.search.histogram(
                p.q, start, end, buckets=p.buckets, by=p.by, scope=call.identity.scope or None
            )

        found = await self._recorded(
            call, "log.aggregate", work, lambda found: sum(map(sum, found.series.values())),
            query=p.q, start=p.start, end=p.end, by=p.by,
        )  # fmt: skip
        return HistogramAnswer(found.start, found.end, found.step_ns, found.series, _horizon(found.horizon))

    async def facets(self, call: Call[FacetParams, Empty]) -> FacetAnswer:
        p = call.params
        start, end = self._range(p.start, p.end)

        def work() -> Any:
            return self._s.search.facets(
                p.q, start, end, list(p.fields), limit=p.limit, scope=call.identity.scope or None
            )

        found = await self._recorded(
            call, "log.aggregate", work, lambda found: sum(map(len, found.values())),
            query=p.q, start=p.start, end=p.end, fields=list(p.fields),
        )  # fmt: skip
        return FacetAnswer({name: [ValueCount(*pair) for pair in pairs] for name, pairs in found.items()})

    async def complete(self, call: Call[CompleteParams, Empty]) -> CompleteAnswer:
        p = call.params
        scope = call.identity.scope or None

        def work() -> Any:
            return self._s.search.complete(p.text, p.column, scope=scope)

        field = field_at(p.text, p.column)
        if field and self._is_new_look(call.identity.id, field):
            found = await self._recorded(call, "log.complete", work, len, field=field)
        else:
            found = await self._s.blocking(work)
        return CompleteAnswer([SuggestionAnswer(s.text, s.kind, s.detail, s.start, s.end) for s in found])

    def _is_new_look(self, reader: str, field: str) -> bool:
        """Has this reader not looked through this field's values for a while?"""
        now, key = time.monotonic(), (reader, field)
        if now - self._completed.get(key, -COMPLETE_RECORDED_EVERY_S) < COMPLETE_RECORDED_EVERY_S:
            return False
        self._completed[key] = now
        self._completed.move_to_end(key)
        while len(self._completed) > COMPLETE_RECORDED_MAX:
            self._completed.popitem(last=False)
        return True

    async def event(self, call: Call[Empty, Empty]) -> EventAnswer:
        index = call.path["index"]
        scope = call.identity.scope or None
        found = await self._recorded(
            call, "log.view", lambda: self._s.search.event(index, scope=scope), lambda found: int(found is not None),
            index=index,
        )  # fmt: skip
        if found is None:
            raise RejectedError(f"no record with index {index} is visible to you", field="index", status=404)
        record, ocsf = str(found.pop("record")), found.pop("ocsf")
        return EventAnswer(index, found, record, dict(ocsf) if isinstance(ocsf, dict) else {})

    async def tail(self, call: Call[TailParams, Empty]) -> Stream:
        p = call.params
        scope = call.identity.scope or None
        after = p.after if p.after >= 0 else self._s.horizon().complete_to_index - 1
        rows = await self._recorded(
            call, "log.tail", lambda: self._s.search.tail(p.q, after, 1, scope=scope), query=p.q, after=after
        )
        del rows  # read once before the stream begins, so that a bad query is an answer and not a broken stream
        return Stream(self._follow(p.q, after, scope, call.is_current), "text/event-stream")

    async def after(self, call: Call[Any, Any], q: str, index: int, limit: int) -> Any:
        """One look at what came after `index`, oldest first: the tail for readers without scripts."""
        scope = call.identity.scope or None
        return await self._recorded(
            call, "log.tail", lambda: self._s.search.tail(q, index, limit, scope=scope), len, query=q, after=index
        )

    async def _follow(
        self, q: str, after: int, scope: str | None, is_current: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Rows as they come, until the reader leaves or its key or session ends."""
        yield b"retry: 2000\n\n"
        while is_current():
            rows = await self._s.blocking(lambda: self._s.search.tail(q, after, 200, scope=scope))  # noqa: B023
            for row in rows:
                after = max(after, int(str(row["index"])))
                yield b"id: %d\nevent: row\ndata: %s\n\n" % (after, msgspec.json.encode(row))
            if len(rows) < 200:
                horizon = self._s.horizon()
                after = max(after, horizon.complete_to_index - 1) if not rows else after
                yield b"event: horizon\ndata: %s\n\n" % msgspec.json.encode(_horizon(horizon))
                await self._s.wait_for_change(TAIL_POLL_S)

    async def export(self, call: Call[ExportParams, Empty]) -> Stream:
        p = call.params
        start, end = self._range(p.start, p.end)
        scope = call.identity.scope or None

        def work() -> tuple[Iterator[bytes], bytes | None, int]:
            count = self._s.search.count(p.q, start, end, scope=scope)
            chunks = iter(self._s.search.export(p.q, start, end, p.format, scope=scope))
            return chunks, next(chunks, None), count

        chunks, first, _ = await self._recorded(
            call, "log.export", work, lambda found: found[2], query=p.q, start=p.start, end=p.end, format=p.format
        )
        media_type, suffix = EXPORT_TYPES[p.format]
        name = f"muniment-{hashlib.sha256(p.q.encode()).hexdigest()[:8]}.{suffix}"
        return Stream(self._drain(chunks, first), media_type, name)

    async def _drain(self, chunks: Iterator[bytes], first: bytes | None) -> AsyncGenerator[bytes, None]:
        chunk = first
        while chunk is not None:
            yield chunk
            chunk = await self._s.blocking(lambda: next(chunks, None))

    async def saved_list(self, call: Call[Empty, Empty]) -> SavedListAnswer:
        """One's own and what others shared; a reader with a row scope sees no words of others, which may name rows."""
        me = call.identity

        def work() -> list[SavedSearch]:
            return [item for item in self._s.saved.visible_to(me.id) if not me.scope or item.owner == me.id]

        found = await self._recorded(call, "search.list", work, len)
        return SavedListAnswer([_saved(item) for item in found])

    async def saved_create(self, call: Call[Empty, SavedBody]) -> SavedAnswer:
        b = call.body
        saved = await self._recorded(
            call,
            "search.save",
            lambda: self._s.saved.save(
                call.identity.id, b.name, b.q, f"{b.start}/{b.end}", tuple(b.columns), b.is_shared
            ),
            name=b.name,
            query=b.q,
        )
        return _saved(saved)

    async def saved_delete(self, call: Call[Empty, Empty]) -> SavedAnswer:
        owner, number = call.identity.id, call.path["number"]
        saved = await self._s.blocking(lambda: self._s.saved.get(owner, number))
        if saved is None:
            raise RejectedError("there is no such saved search", field="id", status=404)
        await self._recorded(call, "search.delete", lambda: self._s.saved.remove(owner, number), id=number)
        return _saved(saved)


def _horizon(horizon: Any) -> HorizonAnswer:
    return HorizonAnswer(horizon.complete_to_index, horizon.complete_to_time, horizon.ledger_size, horizon.pending)


def _saved(item: SavedSearch) -> SavedAnswer:
    start, _, end = item.range.partition("/")
    return SavedAnswer(item.id, item.name, item.owner, item.query, start, end, list(item.columns), item.is_shared)
