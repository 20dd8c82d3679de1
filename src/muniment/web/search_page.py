"""The search page: what the query asks, when, how much of it, and the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from muniment.errors import RejectedError
from muniment.limits import PAGE_ROWS
from muniment.web.address import Address
from muniment.web.backend import Door, Horizon, Page, Series, SourceStatus, Viewer, Wanted
from muniment.web.chart import Chart, chart
from muniment.web.connect import Snippet, snippets
from muniment.web.fields import FACETS, FIELDS, ROW_COLUMNS, Field
from muniment.web.query_text import Chip, chips, suggested_fix
from muniment.web.rows import Row, rows
from muniment.web.shown import plain
from muniment.web.site import HEADERS, Look, Site, redirect
from muniment.web.times import PRESETS, Range, absolute, clock_text, parse_range, span_text

__all__ = ["SearchPages"]

_BUCKETS: Final = 72
_FACET_VALUES: Final = 8
_EXPORTS: Final = (
    ("jsonl", "JSON lines", "the original records"),
    ("csv", "CSV", "chosen fields, safe in spreadsheets"),
    ("parquet", "Parquet", "typed columns for analysis"),
    ("ocsf", "OCSF", "the common schema, JSON lines"),
)


@dataclass(frozen=True, slots=True)
class ChipView:
    """A part of the query with what a click can do to it."""

    chip: Chip
    remove: str
    invert: str


@dataclass(frozen=True, slots=True)
class QueryError:
    """Where the query is wrong. `fix_url` is empty when no correction suggests itself."""

    before: str
    wrong: str
    after: str
    column: int | None
    reason: str
    fix: str
    fix_url: str


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a facet. `share` in per cent of the facet's largest."""

    text: str
    count: int
    share: float
    include: str
    exclude: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A field with its most frequent values."""

    field: Field
    name: str
    values: tuple[FacetValue, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A link with words; `is_now`: it is the state of this page."""

    text: str
    label: str
    url: str
    is_now: bool


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column of the table and what can be done with it."""

    field: Field
    left: str
    right: str
    remove: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """No rows: why, and ways out. `removals`: the query without one part, and how much that finds."""

    removals: tuple[tuple[str, int, str], ...]
    nearest: tuple[tuple[str, str, str], ...]
    wider: tuple[tuple[str, str], ...]
    late: tuple[SourceStatus, ...]
    is_ever: bool
    snippets: tuple[Snippet, ...]
    doors: tuple[Door, ...]


@dataclass(frozen=True, slots=True)
class SearchView:
    """Everything the search page shows."""

    address: Address
    covered: Range
    chips: tuple[ChipView, ...]
    error: QueryError | None
    time_error: str
    warnings: tuple[tuple[str, str, str], ...]
    presets: tuple[Choice, ...]
    window: tuple[Choice, ...]
    absolute_url: str
    from_value: str
    to_value: str
    zone_name: str
    chart: Chart | None
    facets: tuple[Facet, ...]
    columns: tuple[ColumnView, ...]
    all_columns: tuple[tuple[Field, bool], ...]
    rows: tuple[Row, ...]
    next_url: str
    first_url: str
    live_url: str
    order_url: str
    exports: tuple[tuple[str, str, str], ...]
    took_ms: float
    horizon: Horizon | None
    last_index: int
    hidden: tuple[tuple[str, str], ...]
    nothing: Nothing | None
    fields: tuple[str, ...]


class SearchPages:
    """`/` and what its scripts ask for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._backend = site.backend

    async def page(self, request: Request, viewer: Viewer) -> Response:
        """The search page; an address with form leftovers is first turned into its short form."""
        tidy = self._tidied(request)
        if tidy:
            return redirect(tidy)
        address = Address.of(request.query_params)
        look = self._site.look(request)
        view = await self._view(viewer, address, look)
        shell = self._site.shell(
            request,
            plain(address.q) or "Search",
            "search",
            json_url=address.api("search", view.covered, limit=str(PAGE_ROWS)) if not view.error else "",
            horizon=view.horizon,
            refresh_s=10 if address.is_live or (view.nothing and not view.nothing.is_ever) else 0,
        )
        return self._site.render("search.html", shell, view, 400 if view.error else 200)

    async def newer(self, request: Request, viewer: Viewer) -> Response:
        """Rows above an index, ready to be shown: what the live tail adds. Texts only, never markup."""
        address = Address.of(request.query_params)
        after = request.query_params.get("after", "")
        if not after.lstrip("-").isdigit() or len(after) > 18:
            raise RejectedError("expected an index", field="after")
        wanted = list(dict.fromkeys([*ROW_COLUMNS, *address.columns]))
        found = await self._backend.after(viewer, address.q, int(after), limit=200, columns=wanted)
        shown_rows = rows(found.rows, address, self._site.look(request).zone)
        body = {
            "rows": [
                {
                    "index": row.index, "url": row.url, "date": row.date, "clock": row.clock, "time": row.time,
                    "outcome": row.outcome, "pieces": [[p.kind, plain(p.text)] for p in row.pieces],
                    "cells": [[c.field.column, c.field.style, plain(c.text), c.include] for c in row.cells],
                }
                for row in shown_rows
            ],
            "horizon": {"index": found.horizon.complete_to_index, "time": clock_text(found.horizon.complete_to_time, self._site.look(request).zone), "pending": found.horizon.pending},
        }  # fmt: skip
        return JSONResponse(body, headers={**HEADERS, "Cache-Control": "no-store"})

    def _tidied(self, request: Request) -> str:
        """Forms send `from` and `to`, ticked columns and `add.<field>`; addresses are made of `when`, `cols` and `q`."""
        p = request.query_params
        extra = [name for name in p if name in {"from", "to", "col", "typed"} or name.startswith("add.")]
        if not extra:
            return ""
        address = Address.of(p)
        if p.get("typed", "").strip():
            address = replace(address, when=p["typed"].strip()[:128])
        elif p.get("from") and p.get("to"):
            address = replace(address, when=f"{p['from'][:64]}/{p['to'][:64]}")
        if "col" in p:
            chosen = [c for c in p.getlist("col") if c in FIELDS]
            kept = [c for c in address.columns if c in chosen]
            address = replace(address, columns=(*kept, *[c for c in chosen if c not in kept]))
        url = replace(address, cursor="").url()
        for name in extra:
            if name.startswith("add.") and p[name].strip():
                url = address.including(name[4:], p[name].strip())
        return url

    async def _view(self, viewer: Viewer, address: Address, look: Look) -> SearchView:
        now = self._backend.now_ns()
        time_error = ""
        try:
            covered = parse_range(address.when, now, look.zone)
        except RejectedError as error:
            time_error, covered = error.reason, parse_range("24h", now, look.zone)
        wanted = Wanted(address.q, covered.start, None if covered.is_open else covered.end)
        base = _Base(address, covered, look, time_error, now)
        try:
            page, found, values = await self._read(viewer, address, wanted, covered, look)
        except RejectedError as error:
            return base.view(error=_query_error(address, error))
        picture = chart(found, page.horizon.complete_to_time, page.horizon.pending, look.zone) if found else None
        nothing = None if page.rows else await self._nothing(viewer, address, covered, look, page.horizon)
        return base.view(page=page, picture=picture, values=values, nothing=nothing)

    async def _read(
        self, viewer: Viewer, address: Address, wanted: Wanted, covered: Range, look: Look
    ) -> tuple[Page, Series | None, Mapping[str, Sequence[tuple[str, int]]]]:
        now = self._backend.now_ns()
        columns = list(dict.fromkeys([*ROW_COLUMNS, *address.columns]))
        rows_wanted = self._backend.search(
            viewer, wanted, limit=PAGE_ROWS, cursor=address.cursor or None, order=address.order, columns=columns
        )
        if covered.start is None:
            # Everything: the picture starts at the first event there is.
            page, oldest, values = await asyncio.gather(
                rows_wanted,
                self._backend.search(viewer, wanted, limit=1, cursor=None, order="asc", columns=["time"]),
                self._backend.facets(viewer, wanted, list(FACETS), limit=_FACET_VALUES),
            )
            first = rows(oldest.rows, replace(address, columns=()), look.zone) if oldest.rows else []
            start = parse_range(f"{first[0].time}/now", now, look.zone).start if first else None
            if start is None:
                return page, None, values
            span = Wanted(address.q, start, now)
            return page, await self._backend.histogram(viewer, span, buckets=_BUCKETS, by="outcome"), values
        span = Wanted(address.q, covered.start, covered.end)
        page, found, values = await asyncio.gather(
            rows_wanted,
            self._backend.histogram(viewer, span, buckets=_BUCKETS, by="outcome"),
            self._backend.facets(viewer, wanted, list(FACETS), limit=_FACET_VALUES),
        )
        return page, found, values

    async def _nothing(self, viewer: Viewer, address: Address, covered: Range, look: Look, horizon: Horizon) -> Nothing:
        """Why there are no rows: what each part removes, the nearest match outside, who is late."""
        status, sources = await asyncio.gather(self._backend.status(viewer), self._backend.sources(viewer))
        now = self._backend.now_ns()
        is_ever = any(source.received for source in sources if source.id != "muniment")
        parts = chips(address.q)[:6]
        start, end = covered.start or 0, covered.end
        counts = await asyncio.gather(
            *[
                self._backend.histogram(viewer, Wanted(_less(address, chip), start, end), buckets=1, by="outcome")
                for chip in parts
            ]
        )
        removals = tuple(
            (chip.text, sum(sum(v) for v in found.series.values()), address.without(chip.at))
            for chip, found in zip(parts, counts, strict=True)
        )
        earlier, later = await asyncio.gather(
            self._backend.search(viewer, Wanted(address.q, None, start), limit=1, cursor=None, order="desc", columns=list(ROW_COLUMNS)),
            self._backend.search(viewer, Wanted(address.q, end, None), limit=1, cursor=None, order="asc", columns=list(ROW_COLUMNS)),
        )  # fmt: skip
        nearest = []
        for words, page in (("Nearest before", earlier), ("Nearest after", later)):
            for row in rows(page.rows, address, look.zone):
                hour = parse_range(f"{row.time}/now", 2**62, look.zone).start or 0
                around = absolute(max(0, hour - 1_800 * 10**9), hour + 1_800 * 10**9)
                nearest.append((words, f"{row.date} {row.clock}", address.with_when(around)))
        wider = tuple(
            (label, address.with_when(text))
            for text, label in (("7d", "Last 7 days"), ("30d", "Last 30 days"), ("all", "Everything"))
            if text != covered.text
        )
        late = tuple(s for s in sources if s.rhythm_s and s.last_heard and now - s.last_heard > s.rhythm_s * 10**9)
        return Nothing(removals, tuple(nearest), wider, late, is_ever, snippets(status.doors), tuple(status.doors))


def _less(address: Address, chip: Chip) -> str:
    return " ".join(other.text for other in chips(address.q) if other.at != chip.at)


def _query_error(address: Address, error: RejectedError) -> QueryError:
    q, column = address.q, error.column
    fix = str(getattr(error, "fix", "") or "") or suggested_fix(q, column, _names())
    at = min(column if column is not None else len(q), len(q))
    end = at
    while end < len(q) and not q[end].isspace():
        end += 1
    wrong = q[at:end] or " "
    return QueryError(
        q[:at], wrong, q[end:], column, error.reason, fix, address.with_q(fix) if fix and fix != q else ""
    )


def _names() -> tuple[str, ...]:
    return (
        *[field.query or field.column for field in FIELDS.values()],
        "actor",
        "target",
        "src_ip",
        "record",
        "changes_before",
        "changes_after",
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """What the page shows whether or not the search worked."""

    address: Address
    covered: Range
    look: Look
    time_error: str
    now: int

    def view(
        self,
        *,
        page: Page | None = None,
        picture: Chart | None = None,
        values: Mapping[str, Sequence[tuple[str, int]]] | None = None,
        error: QueryError | None = None,
        nothing: Nothing | None = None,
    ) -> SearchView:
        a, zone = self.address, self.look.zone
        start = self.covered.start if self.covered.start is not None else max(0, self.covered.end - 86_400 * 10**9)
        shown_rows = rows(page.rows, a, zone) if page else []
        return SearchView(
            address=a,
            covered=self.covered,
            chips=tuple(ChipView(chip, a.without(chip.at), a.inverted(chip.at)) for chip in chips(a.q)),
            error=error,
            time_error=self.time_error,
            warnings=tuple(_warning(a, text) for text in (page.warnings if page else ())),
            presets=tuple(Choice(text, label, a.with_when(text), text == self.covered.text) for text, label in PRESETS),
            window=self._window(),
            absolute_url=a.with_when(absolute(start, self.covered.end)),
            from_value=clock_text(start, zone)[:19].replace(" ", "T"),
            to_value=clock_text(self.covered.end, zone)[:19].replace(" ", "T"),
            zone_name=self.look.zone_name,
            chart=picture,
            facets=_facets(a, values or {}),
            columns=tuple(
                ColumnView(
                    FIELDS[c],
                    a.moved(c, -1) if k else "",
                    a.moved(c, 1) if k < len(a.columns) - 1 else "",
                    a.without_column(c),
                )
                for k, c in enumerate(a.columns)
            ),
            all_columns=tuple(
                (field, name in a.columns) for name, field in FIELDS.items() if name not in {"time", "index"}
            ),
            rows=tuple(shown_rows),
            next_url=a.at_cursor(page.cursor) if page and page.cursor else "",
            first_url=a.at_cursor("") if a.cursor else "",
            live_url=a.toggled_live(),
            order_url=a.toggled_order(),
            exports=tuple(
                (label, words, a.api("export", self.covered, format=name)) for name, label, words in _EXPORTS
            ),
            took_ms=page.took_ms if page else 0.0,
            horizon=page.horizon if page else None,
            last_index=max(
                (row.index for row in shown_rows), default=(page.horizon.complete_to_index - 1) if page else -1
            ),
            hidden=_hidden(a),
            nothing=nothing,
            fields=_names(),
        )

    def _window(self) -> tuple[Choice, ...]:
        """Earlier, later, out: for those who do not drag."""
        start, end, a = self.covered.start, self.covered.end, self.address
        if start is None:
            return ()
        span = end - start
        moves = [("earlier", f"Earlier by {span_text(span)}", max(0, start - span), start)]
        if end < self.now:
            moves.append(("later", f"Later by {span_text(span)}", end, min(end + span, max(self.now, end + 1))))
        moves.append(("out", "Zoom out", max(0, start - span // 2), min(end + span // 2, max(self.now, end))))
        return tuple(
            Choice(text, label, a.with_when(absolute(first, last)), False) for text, label, first, last in moves
        )


def _warning(address: Address, text: str) -> tuple[str, str, str]:
    fix = suggested_fix(address.q, None, _names())
    return text, fix if fix != address.q else "", address.with_q(fix) if fix else ""


def _facets(address: Address, values: Mapping[str, Sequence[tuple[str, int]]]) -> tuple[Facet, ...]:
    chosen = {(chip.field, chip.value) for chip in chips(address.q) if not chip.is_negated}
    found = []
    for name in FACETS:
        field = FIELDS[name]
        query = field.query or name
        listed = [
            (text.removeprefix("::ffff:") if query == "ip" else text, n)
            for text, n in values.get(name, ())
            if text not in {"", "::"}
        ]
        top = max((n for _, n in listed), default=0)
        if listed:
            items = tuple(
                FacetValue(
                    text,
                    n,
                    round(100 * n / top, 2),
                    address.including(query, text),
                    address.excluding(query, text),
                    (query, text) in chosen,
                )
                for text, n in listed
            )
            found.append(Facet(field, query, items))
    return tuple(found)


def _hidden(address: Address) -> tuple[tuple[str, str], ...]:
    """What a form must carry along besides its own fields."""
    return tuple(
        (name, value) for name, value in parse_qsl(replace(address, cursor="", is_live=False).url().partition("?")[2])
    )
