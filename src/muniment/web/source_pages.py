"""Sources: who sends what, who has fallen silent, and of one source what comes, how it is read, what watches it, its keys and
its webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.sources.registry import OWN_SOURCES
from muniment.web.address import Address
from muniment.web.backend import SourceStatus, Viewer, Wanted
from muniment.web.chart import Chart, chart
from muniment.web.connect import Snippet, snippets
from muniment.web.fields import ROW_COLUMNS
from muniment.web.format_pages import FormatsBackend, GroupRow, group_row
from muniment.web.people_pages import KeyRow, PeopleBackend, key_row
from muniment.web.query_text import including
from muniment.web.refused import Refused, refused
from muniment.web.rows import Row, rows
from muniment.web.rule_answers import Rule
from muniment.web.security import SecurityBackend
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text, span_text
from muniment.web.webhook_pages import HookPanel, HooksBackend, MadeHook, hook_panel, made_hook, remove_hook

__all__ = ["SourcePages"]

_DAYS: Final = 7
_BUCKETS: Final = 56
_NEWEST: Final = 12
_VALUES: Final = 10
_PARTS: Final = (
    ("Who did it", "actor:*"), ("What was done", "action:*"), ("On what", "target:*"), ("From which address", "ip:*"),
    ("How it ended", "-outcome:unknown"),
)  # fmt: skip
"""What a record should say (ISO 27001 A.8.15 asks for user, activity, time, place and address); all have a time."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source with its verdict. `state`: fresh, quiet, silent or never."""

    source: SourceStatus
    state: str
    words: str
    heard: str
    heard_clock: str
    rhythm: str
    url: str
    search: str
    quarantine: str


@dataclass(frozen=True, slots=True)
class SourcesView:
    """All sources, those that need a look first."""

    rows: tuple[SourceRow, ...]
    n_silent: int
    n_quarantined: int
    snippets: tuple[Snippet, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One part of what records should say: how many of them do, in percent, and those that do not."""

    words: str
    percent: int
    without: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source over seven days. None where this reader may not see a part."""

    row: SourceRow
    chart: Chart | None
    q: str
    n_events: int
    told: tuple[Told, ...]
    actions: tuple[tuple[str, int, str], ...]
    formats: tuple[tuple[str, int, str], ...]
    rows: tuple[Row, ...]
    unknown: tuple[GroupRow, ...] | None
    rules: tuple[Rule, ...] | None
    fed_at: str
    keys: tuple[KeyRow, ...] | None
    hook: HookPanel | None = None
    made: MadeHook | None = None
    refused: Refused | None = None
    done: str = ""


class SourcePages:
    """`/sources` and `/sources/{id}`; what the rooms of detection, formats and people say where somebody fills them."""

    def __init__(
        self,
        site: Site,
        security: SecurityBackend | None = None,
        formats: FormatsBackend | None = None,
        people: PeopleBackend | None = None,
        hooks: HooksBackend | None = None,
    ) -> None:
        self._site = site
        self._backend = site.backend
        self._security = security
        self._formats = formats
        self._people = people
        self._hooks = hooks

    async def sources(self, request: Request, viewer: Viewer) -> Response:
        """Who sends what, and who has fallen silent."""
        found, status = await self._backend.sources(viewer), await self._backend.status(viewer)
        listed = [self._row(request, source) for source in found]
        order = {"silent": 0, "never": 1, "quiet": 2, "fresh": 3}
        listed.sort(key=lambda r: (order[r.state], -r.source.received, r.source.id))
        view = SourcesView(
            tuple(listed),
            sum(r.state == "silent" for r in listed),
            sum(r.source.quarantined for r in listed),
            snippets(status.doors),
        )
        shell = self._site.shell(request, "Sources", "sources", json_url="/api/v1/sources", horizon=status.horizon)
        return self._site.render("sources.html", shell, view)

    async def source(self, request: Request, viewer: Viewer) -> Response:
        """One source."""
        return await self._source(request, viewer)

    async def webhook(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Make its webhook, make another secret for it, or end it."""
        id = request.path_params["id"]
        assert self._hooks is not None  # no route leads here without
        try:
            if fields.get("do") == "remove":
                await remove_hook(self._hooks, viewer, id, fields)
                return redirect(f"/sources/{id}?done=webhook-removed#webhook")
            made = await made_hook(self._hooks, viewer, id, fields)
        except RejectedError as error:
            typed = {name: value for name, value in fields.items() if name != "secret"}  # which is in no page again
            return await self._source(
                request, viewer, problem=refused("webhook", error, typed | {"secret": ""}), status=error.status
            )
        return await self._source(request, viewer, made=made, status=201)

    async def _source(
        self,
        request: Request,
        viewer: Viewer,
        *,
        made: MadeHook | None = None,
        problem: Refused | None = None,
        status: int = 200,
    ) -> Response:
        id = request.path_params["id"]
        source = next((each for each in await self._backend.sources(viewer) if each.id == id), None)
        if source is None:
            raise RejectedError("there is no such source", field="source", status=404)
        look, now = self._site.look(request), self._backend.now_ns()
        address = Address(including("", "source", id), f"{_DAYS}d")
        wanted = Wanted(address.q, now - _DAYS * 86_400 * 10**9, now)
        (page, drawn, values, told), (unknown, fed, keys, hook) = await asyncio.gather(
            asyncio.gather(
                self._backend.search(viewer, wanted, limit=_NEWEST, cursor=None, order="desc", columns=ROW_COLUMNS),
                self._backend.histogram(viewer, wanted, buckets=_BUCKETS, by="outcome"),
                self._backend.facets(viewer, wanted, ["action", "format"], limit=_VALUES),
                asyncio.gather(*[self._count(viewer, wanted, part) for _, part in _PARTS]),
            ),
            asyncio.gather(
                self._unknown(request, viewer, id), self._rules(request, viewer, id), self._keys(request, viewer, id),
                self._hook(request, viewer, id),
            ),
        )  # fmt: skip
        picture = chart(drawn, now, 0, look.zone)
        n = picture.total
        view = SourceView(
            self._row(request, source),
            picture if n else None,
            address.q,
            n,
            tuple(
                Told(words, 100 * count // n, address.with_q(f"{address.q} {_opposite(part)}"))
                for (words, part), count in zip(_PARTS, told, strict=True)
            )
            if n
            else (),
            _counted(address, "action", values.get("action", ())),
            _counted(address, "format", values.get("format", ())),
            tuple(rows(page.rows, address, look.zone)),
            unknown,
            *fed,
            keys,
            hook,
            made,
            problem,
            request.query_params.get("done", "")[:64],
        )
        shell = self._site.shell(request, source.title, "sources", json_url="/api/v1/sources", horizon=page.horizon)
        return self._site.render("source.html", shell, view, status)

    async def _count(self, viewer: Viewer, wanted: Wanted, part: str) -> int:
        narrowed = Wanted(f"{wanted.q} {part}", wanted.start, wanted.end)
        found = await self._backend.histogram(viewer, narrowed, buckets=1, by="outcome")
        return sum(sum(counts) for counts in found.series.values())

    async def _unknown(self, request: Request, viewer: Viewer, id: str) -> tuple[GroupRow, ...] | None:
        if self._formats is None or "sources" not in viewer.permissions:
            return None
        groups, _, _ = await self._formats.formats(viewer)
        return tuple(group_row(self._site, request, each) for each in groups if each.source == id)

    async def _rules(self, request: Request, viewer: Viewer, id: str) -> tuple[tuple[Rule, ...] | None, str]:
        """The rules it feeds, and as of when."""
        if self._security is None or "alerts" not in viewer.permissions:
            return None, ""
        found = await self._security.rules(viewer)
        mine = [rule for rule in found.rules if id in rule.sources and rule.is_on and not rule.is_silent]
        as_of = clock_text(found.fed_at, self._site.look(request).zone, "second")
        return tuple(sorted(mine, key=lambda rule: (-rule.matches_month, rule.title))), as_of

    async def _keys(self, request: Request, viewer: Viewer, id: str) -> tuple[KeyRow, ...] | None:
        if self._people is None or "admin" not in viewer.permissions:
            return None
        found = [key for key in await self._people.keys(viewer) if key.source == id and key.revoked_at is None]
        return tuple(key_row(self._site, request, key, {}, {}) for key in found)

    async def _hook(self, request: Request, viewer: Viewer, id: str) -> HookPanel | None:
        if self._hooks is None or "sources" not in viewer.permissions or id in OWN_SOURCES:
            return None
        found = next((hook for hook in await self._hooks.webhooks(viewer) if hook.source == id), None)
        return hook_panel(self._site, request, found)

    def _row(self, request: Request, source: SourceStatus) -> SourceRow:
        look, now = self._site.look(request), self._backend.now_ns()
        state, words = _state(source, now)
        heard_clock = clock_text(source.last_heard, look.zone) if source.last_heard else ""
        rhythm = f"every {span_text(source.rhythm_s * 10**9).removeprefix('1 ')}" if source.rhythm_s else "no rhythm"
        return SourceRow(
            source, state, words, ago(source.last_heard, now), heard_clock, rhythm, f"/sources/{source.id}",
            Address(including("", "source", source.id)).url(),
            Address(including("", "source", source.id) + " quarantine:*", "all").url(),
        )  # fmt: skip


def _opposite(part: str) -> str:
    """
    >>> _opposite("actor:*"), _opposite("-outcome:unknown")
    ('-actor:*', 'outcome:unknown')
    """
    return part[1:] if part.startswith("-") else f"-{part}"


def _counted(address: Address, field: str, found: Sequence[tuple[str, int]]) -> tuple[tuple[str, int, str], ...]:
    return tuple((value, n, address.including(field, value)) for value, n in found if value)


def _state(source: SourceStatus, now: int) -> tuple[str, str]:
    if source.last_heard is None:
        return "never", "never heard"
    silent_s = (now - source.last_heard) // 10**9
    if source.rhythm_s and silent_s > 2 * source.rhythm_s:
        return "silent", f"silent, expected every {span_text(source.rhythm_s * 10**9).removeprefix('1 ')}"
    if source.rhythm_s and silent_s > source.rhythm_s:
        return "quiet", "a little late"
    return "fresh", "as expected"
