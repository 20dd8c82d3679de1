"""The search page: what the query asks, when, how much of it, and the rows."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from muniment.errors import RejectedError
from muniment.limits import PAGE_QUERY_CHARS_MAX, PAGE_ROWS
from muniment.web import query_text
from muniment.web.address import Address
from muniment.web.backend import Page, Series, Viewer, Wanted
from muniment.web.chart import Chart, chart, gaps
from muniment.web.fields import FACETS, FIELDS, PINNABLE, ROW_COLUMNS
from muniment.web.nothing import why_nothing
from muniment.web.query_text import Chip, adding, chips, loosened, suggested_fix
from muniment.web.rows import rows
from muniment.web.search_view import (
    ChipView,
    Choice,
    ColumnView,
    Facet,
    FacetValue,
    Nothing,
    QueryError,
    SearchView,
)
from muniment.web.shown import plain
from muniment.web.site import HEADERS, Look, Site, redirect
from muniment.web.times import PRESETS, Range, absolute, clock_text, parse_range, span_text, utc_text

__all__ = ["SearchPages"]

_BUCKETS: Final = 72
_FACET_VALUES: Final = 8
_EXPORTS: Final = (
    ("jsonl", "JSON lines", "the original records"),
    ("csv", "CSV", "chosen fields, safe in spreadsheets"),
    ("parquet", "Parquet", "typed columns for analysis"),
    ("ocsf", "OCSF", "the common schema, JSON lines"),
)


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
        view = await self._view(viewer, address, look, request.query_params.get("open", ""))
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
                    "cells": [[c.field.label, c.field.style, plain(c.text), c.include, c.exclude] for c in row.cells],
                }
                for row in shown_rows
            ],
            "horizon": {"index": found.horizon.complete_to_index, "time": clock_text(found.horizon.complete_to_time, self._site.look(request).zone), "pending": found.horizon.pending},
        }  # fmt: skip
        return JSONResponse(body, headers={**HEADERS, "Cache-Control": "no-store"})

    def _tidied(self, request: Request) -> str:
        """Forms send `from` and `to`, ticked columns and `add.<field>`; addresses are made of `when`, `cols` and `q`."""
        p = request.query_params
        extra = [n for n in p if n in {"from", "to", "col", "typed"} or n.startswith(("add.", "part.", "within."))]
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
            kind, _, rest = name.partition(".")
            if kind == "add" and p[name].strip():
                url = address.including(rest, p[name].strip())
            elif kind == "part" and rest.isascii() and rest.isdigit():
                url = address.rewritten(int(rest), p[name][:PAGE_QUERY_CHARS_MAX])
            elif kind == "within":
                url = address.finding(rest, p[name].strip())
        return url

    async def _view(self, viewer: Viewer, address: Address, look: Look, opened: str) -> SearchView:
        now = self._backend.now_ns()
        time_error = ""
        try:
            covered = parse_range(address.when, now, look.zone)
        except RejectedError as error:
            time_error, covered = error.reason, parse_range("24h", now, look.zone)
        wanted = Wanted(*address.asked(covered))
        base = _Base(address, covered, look, time_error, now, opened if opened.isascii() and opened.isdigit() else "")
        try:
            page, found, values = await self._read(viewer, address, wanted, look)
        except RejectedError as error:
            return base.view(error=_query_error(address, error))
        picture = chart(found, page.horizon.complete_to_time, page.horizon.pending, look.zone) if found else None
        if picture and picture.total and not all(bar.total for bar in picture.bars):
            everything = Wanted("", picture.start, picture.end)
            silent = found
            if wanted.q and found:
                silent = await self._backend.histogram(viewer, everything, buckets=_BUCKETS, by="outcome")
            picture = replace(picture, gaps=gaps(silent, look.zone) if silent else ())
        nothing = None if page.rows else await why_nothing(self._backend, viewer, address, covered, look)
        return base.view(page=page, picture=picture, values=values, nothing=nothing)

    async def _read(
        self, viewer: Viewer, address: Address, wanted: Wanted, look: Look
    ) -> tuple[Page, Series | None, Mapping[str, Sequence[tuple[str, int]]]]:
        now = self._backend.now_ns()
        columns = list(dict.fromkeys([*ROW_COLUMNS, *address.columns]))
        rows_wanted = self._backend.search(
            viewer, wanted, limit=PAGE_ROWS, cursor=address.cursor or None, order=address.order, columns=columns
        )
        counted = self._values(viewer, address, wanted, look)
        if wanted.start is None:
            # Everything, or a range of receipt: the picture starts at the first event there is.
            page, oldest, values = await asyncio.gather(
                rows_wanted,
                self._backend.search(viewer, wanted, limit=1, cursor=None, order="asc", columns=["time"]),
                counted,
            )
            first = rows(oldest.rows, replace(address, columns=()), look.zone) if oldest.rows else []
            start = parse_range(f"{first[0].time}/now", now, look.zone).start if first else None
            if start is None:
                return page, None, values
            span = Wanted(wanted.q, start, now)
            return page, await self._backend.histogram(viewer, span, buckets=_BUCKETS, by="outcome"), values
        span = Wanted(wanted.q, wanted.start, now if wanted.end is None else wanted.end)
        page, found, values = await asyncio.gather(
            rows_wanted, self._backend.histogram(viewer, span, buckets=_BUCKETS, by="outcome"), counted
        )
        return page, found, values

    async def _values(
        self, viewer: Viewer, address: Address, wanted: Wanted, look: Look
    ) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The most frequent values beside the rows; of the facet being searched, those that hold the text."""
        names = list(dict.fromkeys([*look.pins, *FACETS]))
        sought, _, text = address.find.partition(":")
        name = next((n for n in names if sought in {n, FIELDS[n].query}), "")
        if not name or not text:
            return await self._backend.facets(viewer, wanted, names, limit=_FACET_VALUES)
        # The store narrows words down by itself; an address it cannot, so the most frequent hundred are looked through.
        pattern = loosened(Chip(0, "", name, text, False)) if FIELDS[name].query != "ip" else ""
        narrowed = replace(wanted, q=adding(wanted.q, pattern))
        values, within = await asyncio.gather(
            self._backend.facets(viewer, wanted, [n for n in names if n != name], limit=_FACET_VALUES),
            self._backend.facets(viewer, narrowed, [name], limit=100),
        )
        held = [pair for pair in within.get(name, ()) if text.lower() in pair[0].lower()][: 3 * _FACET_VALUES]
        return {n: held if n == name else values.get(n, ()) for n in names}


def _query_error(address: Address, error: RejectedError) -> QueryError:
    q, column = address.q, error.column
    if column and address.is_received and query_text.has_top_or(q):
        column -= 1  # the bracket that `asked` put before it
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
    opened: str

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
            chips=tuple(
                ChipView(chip, a.without(chip.at), a.inverted(chip.at), a.set_aside(chip.at)) for chip in chips(a.q)
            ),
            set_aside=tuple(
                ChipView(chip, a.forgotten(chip.at), enable=a.taken_back(chip.at)) for chip in chips(a.off)
            ),
            error=error,
            time_error=self.time_error,
            warnings=tuple(_warning(a, text) for text in (page.warnings if page else ())),
            presets=tuple(Choice(text, label, a.with_when(text), text == self.covered.text) for text, label in PRESETS),
            window=self._window(),
            absolute_url=a.with_when(absolute(start, self.covered.end)),
            absolute_words=f"{clock_text(start, zone, 'minute')} to {clock_text(self.covered.end, zone, 'minute')}",
            clock_url=a.toggled_clock(),
            command=_command(a, start, self.covered.end),
            open_url=f"/events/{self.opened}{a.url('')}" if self.opened else "",
            unpinned=tuple(FIELDS[n] for n in PINNABLE if n not in self.look.pins and n not in FACETS),
            from_value=clock_text(start, zone)[:19].replace(" ", "T"),
            to_value=clock_text(self.covered.end, zone)[:19].replace(" ", "T"),
            zone_name=self.look.zone_name,
            chart=picture,
            facets=_facets(a, values or {}, self.look.pins),
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


def _command(address: Address, start: int, end: int) -> str:
    """The same search for a shell."""
    q, first, last = address.asked(Range("", "", start, end, False))
    words = ["muniment", "search", shlex.quote(q)]
    words += ["--from", "1970-01-01" if first is None else utc_text(first)]
    words += ["--to", utc_text(last)] if last is not None else []
    return " ".join(words)


def _facets(
    address: Address, values: Mapping[str, Sequence[tuple[str, int]]], pins: Sequence[str]
) -> tuple[Facet, ...]:
    chosen = {(chip.field, chip.value) for chip in chips(address.q) if not chip.is_negated}
    found = []
    sought_name, _, sought = address.find.partition(":")
    for name in dict.fromkeys([*pins, *FACETS]):
        field = FIELDS[name]
        query = field.query or name
        listed = [
            (text.removeprefix("::ffff:") if query == "ip" else text, n)
            for text, n in values.get(name, ())
            if text not in {"", "::"}
        ]
        top = max((n for _, n in listed), default=0)
        is_sought = bool(sought) and sought_name in {name, query}
        if listed or is_sought or (name in pins and values):
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
            found.append(
                Facet(field, query, items, name in pins, len(items) >= _FACET_VALUES, sought if is_sought else "",
                      address.finding("", ""))
            )  # fmt: skip
    return tuple(found)


def _hidden(address: Address) -> tuple[tuple[str, str], ...]:
    """What a form must carry along besides its own fields."""
    return tuple(
        (name, value) for name, value in parse_qsl(replace(address, cursor="", is_live=False).url().partition("?")[2])
    )
