"""Ending an account's sessions: the one confirmation that names the account, what was answered, and all that was asked.

Muniment ends nothing itself: it asks the system that the operator named. So a page says what was asked and what came back,
and a request that nobody took says so until somebody has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import DeniedError, RejectedError
from muniment.web.backend import Viewer
from muniment.web.refused import Refused, refused
from muniment.web.site import Site, redirect
from muniment.web.times import clock_text, span_text

__all__ = ["Attempt", "Order", "OrderPages", "OrderRow", "Orders", "OrdersBackend", "new_order_url", "order_rows"]

_REFRESH_S = 3
_ACCOUNT_CHARS_MAX = 320


@dataclass(frozen=True, slots=True)
class Attempt:
    """How it stands with one receiver. `state`: pending, delivered, dead; times UTC ns."""

    action: str
    state: str
    attempts: int
    next_at: int
    ended_at: int
    remark: str


@dataclass(frozen=True, slots=True)
class Order:
    """One request to end an account's sessions. `state`: held, pending, delivered, dead, dropped."""

    id: str
    account: str
    reason: str
    alert: str
    block: str
    asked_by: str
    asked_at: int
    state: str
    answers: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Orders:
    """Requests, the newest first; `is_possible`: somebody is configured who ends sessions."""

    orders: tuple[Order, ...]
    is_possible: bool


class OrdersBackend(Protocol):
    """What these pages need; every method raises the errors of `muniment.errors`."""

    async def orders(self, viewer: Viewer, accounts: Sequence[str]) -> Orders:
        """Requests about some accounts, or about all."""
        ...

    async def order(self, viewer: Viewer, id: str) -> Order:
        """One request."""
        ...

    async def end_sessions(self, viewer: Viewer, account: str, reason: str, alert: str) -> Order:
        """Ask for the end of an account's sessions."""
        ...


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A request and how it went, in words: `asked 10:42:03, answered 200`."""

    order: Order
    url: str
    words: str
    state: str


@dataclass(frozen=True, slots=True)
class NewOrderView:
    """The confirmation."""

    account: str
    alert: str
    reason: str
    back: str
    is_possible: bool
    before: tuple[OrderRow, ...]
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class OrderView:
    """One request."""

    row: OrderRow
    answers: tuple[tuple[Attempt, str], ...]
    account_url: str
    again_url: str


@dataclass(frozen=True, slots=True)
class OrdersView:
    """All requests."""

    rows: tuple[OrderRow, ...]
    is_possible: bool


class OrderPages:
    """The pages."""

    def __init__(self, site: Site, backend: OrdersBackend) -> None:
        self._site = site
        self._backend = backend

    async def orders(self, request: Request, viewer: Viewer) -> Response:
        """All that was asked."""
        found = await self._backend.orders(viewer, ())
        look, now = self._site.look(request), self._site.backend.now_ns()
        view = OrdersView(order_rows(found.orders, now, look.zone), found.is_possible)
        shell = self._site.shell(request, "Ended sessions", "blocks", json_url="/api/v1/orders")
        return self._site.render("orders.html", shell, view)

    async def new(self, request: Request, viewer: Viewer) -> Response:
        """Whose sessions, and why."""
        if "block" not in viewer.permissions:
            raise DeniedError("ending sessions needs the permission 'block'", permission="block")
        params = request.query_params
        return await self._new(
            request, viewer, params.get("account", ""), params.get("alert", ""), params.get("reason", "")
        )

    async def _new(
        self, request: Request, viewer: Viewer, account: str, alert: str, reason: str, told: Refused | None = None,
        status: int = 200,
    ) -> Response:  # fmt: skip
        account, alert = account.strip()[:_ACCOUNT_CHARS_MAX], alert[:64]
        if told and told.field == "alert":  # the form does not show it, so it comes back without
            alert = ""
        found = await self._backend.orders(viewer, [account] if account else ())
        look, now = self._site.look(request), self._site.backend.now_ns()
        back = f"/alerts/{quote(alert)}" if alert else _account_url(account)
        view = NewOrderView(
            account, alert, reason[:1000], back, found.is_possible,
            order_rows(found.orders[:5], now, look.zone) if account else (), told,
        )  # fmt: skip
        shell = self._site.shell(request, f"End {account}'s sessions?", "blocks")
        return self._site.render("order_new.html", shell, view, status)

    async def ask(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Ask for it."""
        account, alert, reason = (fields.get(name, "") for name in ("account", "alert", "reason"))
        try:
            made = await self._backend.end_sessions(viewer, account, reason, alert)
        except RejectedError as error:
            return await self._new(
                request, viewer, account, alert, reason, refused("order", error, fields), error.status
            )
        return redirect(f"/orders/{made.id}")

    async def order(self, request: Request, viewer: Viewer) -> Response:
        """One request and its answers."""
        found = await self._backend.order(viewer, request.path_params["id"])
        look, now = self._site.look(request), self._site.backend.now_ns()
        answers = tuple((each, _attempt_words(each, now, look.zone)) for each in found.answers)
        again = new_order_url(found.account, found.alert) if "block" in viewer.permissions else ""
        view = OrderView(_row(found, now, look.zone), answers, _account_url(found.account), again)
        shell = self._site.shell(
            request, f"Sessions of {found.account}", "blocks", json_url=f"/api/v1/orders/{found.id}",
            refresh_s=_REFRESH_S if found.state in {"pending", "held"} else 0,
        )  # fmt: skip
        return self._site.render("order.html", shell, view)


def new_order_url(account: str, alert: str = "") -> str:
    """The confirmation for an account."""
    return "/orders/new?" + urlencode({"account": account, **({"alert": alert} if alert else {})})


def order_rows(orders: Sequence[Order], now_ns: int, zone: tzinfo) -> tuple[OrderRow, ...]:
    """Requests with words."""
    return tuple(_row(each, now_ns, zone) for each in orders)


def _row(order: Order, now_ns: int, zone: tzinfo) -> OrderRow:
    asked = f"asked {clock_text(order.asked_at, zone, 'second')}"
    state = {"delivered": "fresh", "dead": "silent", "pending": "quiet"}.get(order.state, "never")
    if order.state == "held":
        said = "waits with its block for a second person"
    elif order.state == "dropped":
        said = "dropped with its block"
    elif order.answers:
        said = "; ".join(_short(each, now_ns) for each in order.answers)
    else:
        said = "on its way"
    return OrderRow(order, f"/orders/{order.id}", f"{asked}, {said}", state)


def _short(attempt: Attempt, now_ns: int) -> str:
    if attempt.state == "delivered":
        return attempt.remark or "taken"
    if attempt.state == "dead":
        return f"not delivered: {attempt.remark}"
    return f"{attempt.remark}, tried again {_until(attempt.next_at, now_ns)}" if attempt.remark else "on its way"


def _attempt_words(attempt: Attempt, now_ns: int, zone: tzinfo) -> str:
    tries = "1 try" if attempt.attempts == 1 else f"{attempt.attempts} tries"
    if attempt.state == "delivered":
        return f"{attempt.remark or 'taken'} at {clock_text(attempt.ended_at, zone, 'second')}, {tries}"
    if attempt.state == "dead":
        return f"given up after {tries}: {attempt.remark}"
    if not attempt.attempts:
        return "about to go"
    return f"{tries}, next {_until(attempt.next_at, now_ns)}: {attempt.remark or 'no answer yet'}"


def _until(at: int, now: int) -> str:
    return f"in {span_text(at - now)}" if at > now else "now"


def _account_url(account: str) -> str:
    return "/entities/account?" + urlencode({"v": account}) if account else "/orders"
