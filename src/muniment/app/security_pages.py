"""The pages of detection and response, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from muniment.api.alert_operations import (
    Alerting,
    AlertParams,
    AssignBody,
    CommentBody,
    RiskParams,
    StateBody,
    StatesBody,
)
from muniment.api.case_answers import CaseParams
from muniment.api.case_operations import Casing
from muniment.api.misfits import misfit
from muniment.api.order_operations import Ordering, OrderParams
from muniment.api.response_operations import AllowBody, ApproveBody, BlockBody, DisallowBody, PreviewBody, Responding
from muniment.api.rule_operations import BackTestBody, ExceptionBody, RuleTextParams, Ruling, SwitchBody
from muniment.app.pages import PagesBackend
from muniment.errors import RejectedError
from muniment.respond.feeds import FEEDS
from muniment.respond.order import SESSIONS_END, is_for
from muniment.web import rule_answers as ruled
from muniment.web import security as web
from muniment.web.backend import Viewer
from muniment.web.case_answers import Cases
from muniment.web.order_pages import Orders

__all__ = ["SecurityPagesBackend", "as_web", "checked"]

T = TypeVar("T")


class SecurityPagesBackend:
    """Fills `web.security.SecurityBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._alerting = Alerting(pages.collecting)
        self._ruling = Ruling(pages.collecting)
        self._responding = Responding(pages.collecting)
        self._ordering = Ordering(pages.collecting)
        self._casing = Casing(pages.collecting)

    async def alerts(
        self,
        viewer: Viewer,
        *,
        state: str = "",
        level: str = "",
        rule: str = "",
        entity: str = "",
        source: str = "",
        assignee: str = "",
        q: str = "",
        sort: str = "newest",
        limit: int = 100,
    ) -> web.Alerts:
        asked = {
            "state": state, "level": level, "rule": rule, "entity": entity, "source": source, "assignee": assignee, "q": q,
            "sort": sort, "limit": limit,
        }  # fmt: skip
        params = checked(asked, AlertParams)
        return as_web(web.Alerts, await self._alerting.alerts(self._pages.call("alerts", params)))

    async def risk(self, viewer: Viewer, *, entity: str, limit: int) -> web.Risks:
        params = checked({"entity": entity, "limit": limit}, RiskParams)
        return as_web(web.Risks, await self._alerting.risk(self._pages.call("alerts", params)))

    async def alert(self, viewer: Viewer, uid: str) -> web.Alert:
        return as_web(web.Alert, await self._alerting.alert(self._pages.call("alerts", uid=uid)))

    async def set_state(self, viewer: Viewer, uid: str, state: str, reason: str) -> web.Alert:
        body = checked({"state": state, "reason": reason}, StateBody)
        return as_web(web.Alert, await self._alerting.set_state(self._pages.call("alerts", body=body, uid=uid)))

    async def set_states(self, viewer: Viewer, uids: Sequence[str], state: str, reason: str) -> int:
        body = checked({"uids": list(uids), "state": state, "reason": reason}, StatesBody)
        return len((await self._alerting.set_states(self._pages.call("alerts", body=body))).alerts)

    async def assign(self, viewer: Viewer, uid: str, assignee: str) -> None:
        body = checked({"assignee": assignee}, AssignBody)
        await self._alerting.assign(self._pages.call("alerts", body=body, uid=uid))

    async def comment(self, viewer: Viewer, uid: str, text: str) -> None:
        body = checked({"text": text}, CommentBody)
        await self._alerting.comment(self._pages.call("alerts", body=body, uid=uid))

    async def rule(self, viewer: Viewer, rule: str) -> ruled.OneRule:
        params = checked({"rule": rule}, RuleTextParams)
        return as_web(ruled.OneRule, await self._ruling.rule(self._pages.call("alerts", params)))

    async def coverage(self, viewer: Viewer) -> ruled.Coverage:
        return as_web(ruled.Coverage, await self._ruling.coverage(self._pages.call("alerts")))

    async def rules(self, viewer: Viewer) -> ruled.Rules:
        return as_web(ruled.Rules, await self._ruling.rules(self._pages.call("alerts")))

    async def switch(self, viewer: Viewer, rule: str, is_on: bool, reason: str) -> None:
        body = checked({"rule": rule, "is_on": is_on, "reason": reason}, SwitchBody)
        await self._ruling.switch(self._pages.call("rules", body=body))

    async def back_test(self, viewer: Viewer, rule: str, start: str) -> ruled.BackTest:
        body = checked({"rule": rule, "start": start}, BackTestBody)
        return as_web(ruled.BackTest, await self._ruling.back_test(self._pages.call("alerts", body=body)))

    async def exemptions(self, viewer: Viewer) -> Sequence[ruled.Exemption]:
        found = await self._ruling.exceptions(self._pages.call("alerts"))
        return [as_web(ruled.Exemption, each) for each in found.exceptions]

    async def exempt(self, viewer: Viewer, rule: str, query: str, reason: str, days: int) -> None:
        body = checked({"rule": rule, "query": query, "reason": reason, "days": days}, ExceptionBody)
        await self._ruling.exempt(self._pages.call("rules", body=body))

    async def end_exemption(self, viewer: Viewer, number: int) -> None:
        await self._ruling.end_exception(self._pages.call("rules", number=number))

    async def entity(self, viewer: Viewer, kind: str, value: str) -> web.Entity:
        call = self._pages.call("alerts", kind=kind, value=value)
        return as_web(web.Entity, await self._responding.entity(call))

    async def preview(self, viewer: Viewer, kind: str, value: str) -> web.Entity:
        body = checked({"kind": kind, "value": value}, PreviewBody)
        return as_web(web.Entity, await self._responding.preview(self._pages.call("block", body=body)))

    async def block(
        self, viewer: Viewer, *, kind: str, value: str, preview: str, hours: int, reason: str, alert: str,
        accounts: int, end_sessions: bool,
    ) -> web.Block:  # fmt: skip
        values = {
            "kind": kind, "value": value, "preview": preview, "hours": hours, "reason": reason, "alert": alert,
            "accounts": accounts, "end_sessions": end_sessions,
        }  # fmt: skip
        call = self._pages.call("block", body=checked(values, BlockBody))
        try:
            return as_web(web.Block, await self._responding.create(call))
        except RejectedError:
            first = self._responding.repeated(call)
            if first is None:
                raise
            return as_web(web.Block, first)

    async def blocks(self, viewer: Viewer) -> web.Blocks:
        return as_web(web.Blocks, await self._responding.blocks(self._pages.call("alerts")))

    async def one_block(self, viewer: Viewer, id: str) -> web.Block:
        return as_web(web.Block, await self._responding.block(self._pages.call("alerts", id=id)))

    async def block_hits(self, viewer: Viewer, id: str) -> web.Entity:
        return as_web(web.Entity, await self._responding.hits_of(self._pages.call("block", id=id)))

    async def approve(self, viewer: Viewer, id: str, accounts: int) -> None:
        body = checked({"accounts": accounts}, ApproveBody)
        await self._responding.approve(self._pages.call("block", body=body, id=id))

    async def undo(self, viewer: Viewer, id: str) -> None:
        await self._responding.undo(self._pages.call("block", id=id))

    async def allowed(self, viewer: Viewer) -> Sequence[web.Allowed]:
        found = await self._responding.allowed(self._pages.call("alerts"))
        return [as_web(web.Allowed, each) for each in found.allowed]

    async def allow(self, viewer: Viewer, network: str, title: str) -> None:
        body = checked({"network": network, "title": title}, AllowBody)
        await self._responding.allow(self._pages.call("block", body=body))

    async def disallow(self, viewer: Viewer, network: str) -> None:
        body = checked({"network": network}, DisallowBody)
        await self._responding.disallow(self._pages.call("block", body=body))

    def ends_sessions(self) -> bool:
        return any(is_for(SESSIONS_END, types) for types in self._pages.collecting.actions.values())

    async def orders(self, viewer: Viewer, accounts: Sequence[str]) -> Orders:
        params = checked({"account": [each for each in accounts if each.strip()]}, OrderParams)
        return as_web(Orders, await self._ordering.orders(self._pages.call("alerts", params)))

    async def cases(self, viewer: Viewer, *, alert: str = "", kind: str = "", value: str = "") -> Cases:
        params = checked({"alert": alert, "kind": kind, "value": value}, CaseParams)
        return as_web(Cases, await self._casing.cases(self._pages.call("search", params)))

    def feeds(self) -> Mapping[str, str]:
        return {feed.name: feed.words for feed in FEEDS.values()}


def as_web(kind: type[T], answer: Any) -> T:
    """An answer of the API as the class of the pages with the same fields."""
    return msgspec.convert(msgspec.to_builtins(answer), kind)


def checked(values: dict[str, object], kind: type[T]) -> T:
    """A form's fields as the API's own body, under the same bounds."""
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error, "form", kind) from None
