"""An address, account or key: where it is, what came from it and since when, what it adds up to, what is done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.web.address import Address
from muniment.web.alert_cards import Card, card, entity_query, entity_url, event_clock, folded, url
from muniment.web.backend import Viewer, Wanted
from muniment.web.chart import Chart, chart
from muniment.web.fields import ROW_COLUMNS
from muniment.web.order_pages import OrderRow, new_order_url, order_rows
from muniment.web.rows import Row, rows, time_ns
from muniment.web.security import Block, Entity, Risk, SecurityBackend
from muniment.web.site import Site
from muniment.web.times import ago, clock_text

__all__ = ["EntityPages"]

_KINDS = {"address", "range", "account", "key"}
_ROWS = 15
_ALERTS = 8
_BUCKETS = 60
_SPAN_NS = 30 * 86_400 * 10**9
_FACETS = ("src_country", "user_agent", "src_ip", "dst_host")


@dataclass(frozen=True, slots=True)
class EntityView:
    """What is known of it. `seen`: words that tell where it is and how it comes; `score` of 100 for the meter."""

    entity: Entity
    word: str
    first: str
    first_ago: str
    last: str
    last_ago: str
    countries: tuple[str, ...]
    agents: tuple[tuple[str, int], ...]
    hosts: tuple[tuple[str, int], ...]
    addresses: tuple[tuple[str, int, str], ...]
    chart: Chart | None
    rows: tuple[Row, ...]
    search: str
    q: str
    alerts: tuple[Card, ...]
    n_alerts: int
    alerts_url: str
    blocks: tuple[Block, ...]
    preview_url: str
    may_block: bool
    alert: str
    risk: Risk | None
    risk_more: float
    endings: tuple[OrderRow, ...] = ()
    end_url: str = ""


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
        alerts = await self._backend.alerts(viewer, entity=found.value, limit=200)
        blocks = [
            b for b in (await self._backend.blocks(viewer)).blocks if (b.kind, b.value) == (found.kind, found.value)
        ]
        address = Address(q=entity_query(found.kind, found.value), when="30d")
        wanted = Wanted(address.q, now - _SPAN_NS, now)
        page = await self._site.backend.search(
            viewer, wanted, limit=_ROWS, cursor=None, order="desc", columns=ROW_COLUMNS
        )
        facets = await self._site.backend.facets(viewer, wanted, _FACETS, limit=6) if page.rows else {}
        first_ns = await self._first(viewer, address.q) if page.rows else 0
        risky = await self._backend.risk(viewer, entity=found.value, limit=1)
        risk = risky.entities[0] if risky.entities else None
        cards = folded([card(each, now, look.zone) for each in alerts.alerts])
        alert = request.query_params.get("alert", "")
        is_account = found.kind == "account"
        endings = (await self._backend.orders(viewer, [found.value])).orders if is_account else ()
        may_end = is_account and "block" in viewer.permissions and self._backend.ends_sessions()
        view = EntityView(
            entity=found, word=found.kind,
            first=clock_text(first_ns, look.zone, "second") if first_ns else "never",
            first_ago=ago(first_ns, now) if first_ns else "", last=event_clock(found.last_us, look.zone),
            last_ago=ago(found.last_us * 1_000, now) if found.last_us else "",
            countries=tuple(name for name, _ in facets.get("src_country", ()) if name), agents=_named(facets, "user_agent"),
            hosts=_named(facets, "dst_host"),
            addresses=tuple(
                (text, n, entity_url("address", text, alert))
                for name, n in (_named(facets, "src_ip") if found.kind != "address" else ())
                if (text := name.removeprefix("::ffff:")) not in {"::", "0.0.0.0"}
            ),
            chart=await self._chart(viewer, wanted, request) if page.rows else None,
            rows=tuple(rows(page.rows, address, look.zone)), search=address.url(), q=address.q, alerts=tuple(cards[:_ALERTS]),
            n_alerts=alerts.total, alerts_url=url("/alerts", state="all", entity=found.value), blocks=tuple(blocks),
            preview_url=url("/blocks/new", kind=found.kind, v=found.value, alert=alert),
            may_block="block" in viewer.permissions, alert=alert, risk=risk,
            risk_more=max(0.0, risk.score - sum(part.points for part in risk.parts)) if risk else 0.0,
            endings=order_rows(endings[:5], now, look.zone), end_url=new_order_url(found.value, alert) if may_end else "",
        )  # fmt: skip
        json_url = f"/api/v1/entities/{found.kind}/{quote(found.value, safe='')}"
        shell = self._site.shell(request, found.value, "alerts", json_url=json_url, horizon=page.horizon)
        return self._site.render("entity.html", shell, view)

    async def _first(self, viewer: Viewer, q: str) -> int:
        """When it was seen for the first time ever, not only in the thirty days."""
        page = await self._site.backend.search(
            viewer, Wanted(q), limit=1, cursor=None, order="asc", columns=["index", "time"]
        )
        return time_ns(page.rows[0].get("time")) if page.rows else 0

    async def _chart(self, viewer: Viewer, wanted: Wanted, request: Request) -> Chart | None:
        assert wanted.end is not None
        series = await self._site.backend.histogram(viewer, wanted, buckets=_BUCKETS, by="outcome")
        found = chart(series, wanted.end, 0, self._site.look(request).zone)
        return found if found.total else None


def _named(facets: Mapping[str, Sequence[tuple[str, int]]], name: str) -> tuple[tuple[str, int], ...]:
    return tuple((value, n) for value, n in facets.get(name, ()) if value)
