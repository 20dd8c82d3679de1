"""The pages: server-rendered, complete without scripts, keyboard first, under a policy that allows no inline code.

`routes(backend)` is all there is to call, and `missing(backend)` for addresses that are none of them. The pages know the `Backend` protocol and nothing behind it; templates know
the documented classes of the page modules and nothing else. Log text is text: escaped by the engine, hidden
characters shown (`shown`), and never handed to a script as markup.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from muniment.errors import RejectedError
from muniment.limits import PAGE_PICKS_BYTES_MAX, PAGE_TEXT_BYTES_MAX
from muniment.web.alert_pages import AlertPages
from muniment.web.backend import Backend
from muniment.web.block_pages import BlockPages
from muniment.web.case_answers import CasesBackend
from muniment.web.case_pages import CasePages
from muniment.web.entity_pages import EntityPages
from muniment.web.erasure_pages import ErasurePages, ErasuresBackend
from muniment.web.event_page import EventPages
from muniment.web.format_pages import FormatPages, FormatsBackend
from muniment.web.notice_pages import NoticePages, NoticesBackend
from muniment.web.order_pages import OrderPages, OrdersBackend
from muniment.web.other_pages import OtherPages
from muniment.web.people_pages import PeopleBackend, PeoplePages
from muniment.web.rule_pages import RulePages
from muniment.web.search_page import SearchPages
from muniment.web.security import SecurityBackend
from muniment.web.site import Site
from muniment.web.source_pages import SourcePages
from muniment.web.webhook_pages import HooksBackend

__all__ = ["Backend", "missing", "routes"]


def routes(
    backend: Backend,
    security: SecurityBackend | None = None,
    formats: FormatsBackend | None = None,
    notices: NoticesBackend | None = None,
    orders: OrdersBackend | None = None,
    people: PeopleBackend | None = None,
    erasures: ErasuresBackend | None = None,
    hooks: HooksBackend | None = None,
    cases: CasesBackend | None = None,
) -> list[Route]:
    """Every page over `backend`; those of detection, response, formats and people where somebody fills them."""
    site = Site(backend)
    search, event, other = SearchPages(site), EventPages(site), OtherPages(site, erasures)
    sources = SourcePages(site, security, formats, people, hooks)

    async def static(request: Request) -> Response:
        return site.static_file(request)

    return [
        Route("/", site.page(search.page)),
        Route("/rows", site.page(search.newer)),
        Route("/events/{index}", site.page(event.page)),
        Route("/events/{index}/proof", site.page(event.proof)),
        Route("/sources", site.page(sources.sources)),
        Route("/sources/{id}", site.page(sources.source)),
        Route("/status", site.page(other.status)),
        Route("/saved", site.page(other.saved)),
        Route("/saved", site.form(other.save), methods=["POST"]),
        Route("/saved/{id}/delete", site.form(other.delete), methods=["POST"]),
        Route("/help", site.page(other.help)),
        Route("/look", site.form(other.look), methods=["POST"]),
        Route("/login", other.login),
        Route("/login/{token}", other.login),
        Route("/login/{token}", other.enter, methods=["POST"]),
        Route("/logout", site.form(other.leave), methods=["POST"]),
        Route("/static/{tree}/{name}", static),
        *([Route("/sources/{id}/webhook", site.form(sources.webhook), methods=["POST"])] if hooks is not None else ()),
        *(_security_routes(site, security) if security is not None else ()),
        *(_format_routes(site, FormatPages(site, formats)) if formats is not None else ()),
        *(_notice_routes(site, NoticePages(site, notices)) if notices is not None else ()),
        *(_order_routes(site, OrderPages(site, orders)) if orders is not None else ()),
        *(_case_routes(site, CasePages(site, cases)) if cases is not None else ()),
        *(_people_routes(site, PeoplePages(site, people)) if people is not None else ()),
        *(_erasure_routes(site, ErasurePages(site, erasures)) if erasures is not None else ()),
    ]


def missing(backend: Backend) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers an address that is nobody's: a page for people, a line for programs."""
    site = Site(backend)

    async def answer(request: Request, error: Exception) -> Response:
        if request.method in {"GET", "HEAD"} and "text/html" in request.headers.get("accept", ""):
            return site.refusal(request, RejectedError("there is no such page", status=404))
        assert isinstance(error, HTTPException)
        return PlainTextResponse(error.detail, error.status_code, error.headers)

    return answer


def _format_routes(site: Site, pages: FormatPages) -> list[Route]:
    return [
        Route("/formats", site.page(pages.formats)),
        Route("/formats/{id}", site.page(pages.one)),
        Route("/formats/{id}", site.form(pages.change, PAGE_TEXT_BYTES_MAX), methods=["POST"]),
        Route("/formats/own/{name}/remove", site.form(pages.remove), methods=["POST"]),
    ]


def _notice_routes(site: Site, pages: NoticePages) -> list[Route]:
    return [
        Route("/notices", site.page(pages.page)),
        Route("/notices/again", site.form(pages.revive), methods=["POST"]),
        Route("/notices/discard", site.form(pages.discard), methods=["POST"]),
        Route("/notices/test", site.form(pages.test), methods=["POST"]),
        Route("/notices/silences", site.form(pages.silence), methods=["POST"]),
        Route("/notices/silences/end", site.form(pages.end), methods=["POST"]),
    ]


def _order_routes(site: Site, pages: OrderPages) -> list[Route]:
    return [
        Route("/orders", site.page(pages.orders)),
        Route("/orders", site.form(pages.ask), methods=["POST"]),
        Route("/orders/new", site.page(pages.new)),
        Route("/orders/{id}", site.page(pages.order)),
    ]


def _case_routes(site: Site, pages: CasePages) -> list[Route]:
    return [
        Route("/cases", site.page(pages.cases)),
        Route("/cases", site.form(pages.open), methods=["POST"]),
        Route("/cases/{number}", site.page(pages.case)),
        Route("/cases/{number}/alerts", site.form(pages.add), methods=["POST"]),
        Route("/cases/{number}/state", site.form(pages.set_state), methods=["POST"]),
        Route("/cases/{number}/owner", site.form(pages.assign), methods=["POST"]),
        Route("/cases/{number}/notes", site.form(pages.note), methods=["POST"]),
        Route("/cases/{number}/marks", site.form(pages.mark), methods=["POST"]),
    ]


def _people_routes(site: Site, pages: PeoplePages) -> list[Route]:
    return [
        Route("/people", site.page(pages.people)),
        Route("/people/{id}/leave", site.form(pages.leave), methods=["POST"]),
        Route("/keys", site.page(pages.keys)),
        Route("/keys/{id}/revoke", site.form(pages.revoke), methods=["POST"]),
    ]


def _erasure_routes(site: Site, pages: ErasurePages) -> list[Route]:
    return [
        Route("/erasures", site.page(pages.page)),
        Route("/erasures", site.form(pages.ask), methods=["POST"]),
        Route("/erasures/{number}/approve", site.form(pages.approve), methods=["POST"]),
    ]


def _security_routes(site: Site, backend: SecurityBackend) -> list[Route]:
    alerts, entities = AlertPages(site, backend), EntityPages(site, backend)
    blocks, rules = BlockPages(site, backend), RulePages(site, backend)
    return [
        Route("/alerts", site.page(alerts.alerts)),
        Route("/alerts/states", site.form(alerts.set_states, PAGE_PICKS_BYTES_MAX), methods=["POST"]),
        Route("/alerts/{uid}", site.page(alerts.alert)),
        Route("/alerts/{uid}/state", site.form(alerts.set_state), methods=["POST"]),
        Route("/alerts/{uid}/assign", site.form(alerts.assign), methods=["POST"]),
        Route("/alerts/{uid}/comment", site.form(alerts.comment), methods=["POST"]),
        Route("/entities/{kind}", site.page(entities.entity)),
        Route("/blocks", site.page(blocks.blocks)),
        Route("/blocks", site.form(blocks.block), methods=["POST"]),
        Route("/blocks/new", site.page(blocks.preview)),
        Route("/blocks/allow", site.form(blocks.allow), methods=["POST"]),
        Route("/blocks/disallow", site.form(blocks.disallow), methods=["POST"]),
        Route("/blocks/{id}", site.page(blocks.one_block)),
        Route("/blocks/{id}/approve", site.form(blocks.approve), methods=["POST"]),
        Route("/blocks/{id}/undo", site.form(blocks.undo), methods=["POST"]),
        Route("/rules", site.page(rules.rules)),
        Route("/rules/attack", site.page(rules.matrix)),
        Route("/rules/one", site.page(rules.rule)),
        Route("/rules/switch", site.form(rules.switch), methods=["POST"]),
        Route("/rules/exceptions", site.form(rules.exempt), methods=["POST"]),
        Route("/rules/exceptions/end", site.form(rules.end_exemption), methods=["POST"]),
    ]
