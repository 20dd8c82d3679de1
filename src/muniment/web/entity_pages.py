"""An address, account or key: where it is, what came from it and since when, what it adds up to, what is done about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.web.address import Address
from muniment.web.alert_cards import Card, card, entity_query, entity_url, event_clock, folded, url
from muniment.web.backend import Viewer, Wanted
from muniment.web.block_words import BlockLine, block_lines, covering
from muniment.web.case_words import CaseLink, case_link
from muniment.web.chart import Chart, chart
from muniment.web.fields import ROW_COLUMNS
from muniment.web.order_pages import OrderRow, new_order_url, order_rows
from muniment.web.rows import Row, rows
from muniment.web.security import Counted, Entity, Risk, SecurityBackend
from muniment.web.site import Site
from muniment.web.times import ago

__all__ = ["EntityPages"]

_KINDS = {"address", "range", "account", "key"}
_ROWS = 15
_ALERTS = 8
_CASES = 5
_BUCKETS = 60
_SPAN_NS = 30 * 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Listed:
    """Something it was seen with, how often, its page, and the block of it that is in force or asked for."""

    value: str
    count: int
    url: str
    block: BlockLine | None


@dataclass(frozen=True, slots=True)
class EntityView:
    """What is known of it. `blocked`: blocks in force or asked for, of it and of what it was seen with; `blocks`: ended ones."""

    entity: Entity
    word: str
    first: str
    first_ago: str
    last: str
    last_ago: str
    addresses: tuple[Listed, ...]
    people: tuple[Listed, ...]
    chart: Chart | None
    rows: tuple[Row, ...]
    search: str
    q: str
    alerts: tuple[Card, ...]
    n_alerts: int
    alerts_url: str
    blocked: tuple[BlockLine, ...]
    blocks: tuple[BlockLine, ...]
    preview_url: str
    may_block: bool
    is_asked: bool
    alert: str
    risk: Risk | None
    risk_more: float
    endings: tuple[OrderRow, ...] = ()
    end_url: str = ""
    cases: tuple[CaseLink, ...] = ()


class EntityPages:
    """The page."""

    def __init__(self, site: Site, backend: SecurityBackend) -> None:
        self._site = site
        self._backend = backend

    async def entity(self, request: Request, viewer: Viewer) -> Response:
        """What came from an address, an account or a key."""
        kind, value = request.path_params["kind"], request.query_params.get("v", "")
        if kind not in _KINDS:
            raise RejectedError("there is no such kind of thing", field="kind", status=404)
        found = await self._backend.entity(viewer, kind, value)
        look, now = self._site.look(request), self._site.backend.now_ns()
        address = Address(q=entity_query(found.kind, found.value), when="30d")
        wanted = Wanted(address.q, now - _SPAN_NS, now)
        site, backend = self._site.backend, self._backend
        searching = asyncio.ensure_future(
            site.search(viewer, wanted, limit=_ROWS, cursor=None, order="desc", columns=ROW_COLUMNS)
        )
        charting = asyncio.ensure_future(site.histogram(viewer, wanted, buckets=_BUCKETS, by="outcome"))
        alerting = asyncio.ensure_future(backend.alerts(viewer, entity=found.value, limit=200))
        adding = asyncio.ensure_future(backend.risk(viewer, entity=found.value, limit=1))
        # All of them come to an end, so that what one has read is recorded also where another failed.
        await asyncio.gather(searching, charting, alerting, adding, return_exceptions=True)
        page, alerts, risky = searching.result(), alerting.result(), adding.result()
        drawn = chart(charting.result(), now, 0, look.zone)
        own = block_lines(found.blocks, found.kind, found.value, now, look.zone)
        related = block_lines(found.related_blocks, found.kind, found.value, now, look.zone)
        blocked = tuple(line for line in (*own, *related) if line.is_open)
        risk = risky.entities[0] if risky.entities else None
        cards = folded([card(each, now, look.zone) for each in alerts.alerts])
        alert = request.query_params.get("alert", "")
        is_account = found.kind == "account"
        endings = (await self._backend.orders(viewer, [found.value])).orders if is_account else ()
        may_end = is_account and "block" in viewer.permissions and self._backend.ends_sessions()
        kind_of_case = found.kind if found.kind != "key" else ""
        inside = (await self._backend.cases(viewer, kind=kind_of_case, value=found.value)).cases if kind_of_case else []
        view = EntityView(
            cases=tuple(map(case_link, inside[:_CASES])), entity=found, word=found.kind,
            first=event_clock(found.first_ever_us, look.zone),
            first_ago=ago(found.first_ever_us * 1_000, now) if found.first_ever_us else "", last=event_clock(found.last_us, look.zone),
            last_ago=ago(found.last_us * 1_000, now) if found.last_us else "",
            addresses=_listed("address", found.origins if found.kind != "address" else (), blocked, alert),
            people=_listed("account", found.people, blocked, alert),
            chart=drawn if drawn.total else None,
            rows=tuple(rows(page.rows, address, look.zone)), search=address.url(), q=address.q, alerts=tuple(cards[:_ALERTS]),
            n_alerts=alerts.total, alerts_url=url("/alerts", state="all", entity=found.value), blocked=blocked,
            blocks=tuple(line for line in own if not line.is_open),
            preview_url=url("/blocks/new", kind=found.kind, v=found.value, alert=alert),
            may_block="block" in viewer.permissions,
            is_asked=any(line.is_own and line.is_open for line in own), alert=alert, risk=risk,
            risk_more=max(0.0, risk.score - sum(part.points for part in risk.parts)) if risk else 0.0,
            endings=order_rows(endings[:5], now, look.zone), end_url=new_order_url(found.value, alert) if may_end else "",
        )  # fmt: skip
        json_url = f"/api/v1/entities/{found.kind}/{quote(found.value, safe='')}"
        shell = self._site.shell(request, found.value, "alerts", json_url=json_url, horizon=page.horizon)
        return self._site.render("entity.html", shell, view)


def _listed(kind: str, found: Sequence[Counted], blocked: Sequence[BlockLine], alert: str) -> tuple[Listed, ...]:
    return tuple(
        Listed(each.value, each.count, entity_url(kind, each.value, alert), covering(blocked, kind, each.value))
        for each in found
    )
