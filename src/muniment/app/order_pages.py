"""The pages of orders, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.api.order_operations import OrderBody, Ordering, OrderParams
from muniment.app.pages import PagesBackend
from muniment.app.security_pages import as_web, checked
from muniment.web.backend import Viewer
from muniment.web.order_pages import Order, Orders

__all__ = ["OrderPagesBackend"]


class OrderPagesBackend:
    """Fills `web.order_pages.OrdersBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._ordering = Ordering(pages.collecting)

    async def orders(self, viewer: Viewer, accounts: Sequence[str]) -> Orders:
        params = checked({"account": [each for each in accounts if each.strip()][:20]}, OrderParams)
        return as_web(Orders, await self._ordering.orders(self._pages.call("alerts", params)))

    async def order(self, viewer: Viewer, id: str) -> Order:
        return as_web(Order, await self._ordering.order(self._pages.call("alerts", id=id)))

    async def end_sessions(self, viewer: Viewer, account: str, reason: str, alert: str) -> Order:
        body = checked({"account": account, "reason": reason, "alert": alert}, OrderBody)
        return as_web(Order, await self._ordering.create(self._pages.call("block", body=body)))
