"""Operations of orders: ask for the end of an account's sessions, and see what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from muniment.api.operations import Call, Empty, Operation
from muniment.api.response_operations import NO_ACTION, alert_named
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.limits import BLOCK_VALUE_CHARS_MAX
from muniment.respond.notify import Entry
from muniment.respond.order import SESSIONS_END, is_for
from muniment.respond.orders import SessionsEnd
from muniment.search.persons import Person

__all__ = ["OrderBody", "OrderParams", "Ordering", "order_operations"]

AccountText = Annotated[str, Meta(min_length=1, max_length=BLOCK_VALUE_CHARS_MAX, examples=["m.ruiz"])]


class OrderBody(msgspec.Struct, frozen=True):
    account: AccountText
    reason: Annotated[str, Meta(min_length=1, max_length=1000, examples=["the password was guessed"])]
    type: Literal["sessions.end"] = "sessions.end"
    alert: Annotated[str, Meta(max_length=64, description="The alert it is for")] = ""


class OrderParams(msgspec.Struct, frozen=True):
    account: Annotated[list[str], Meta(max_length=20, description="About these accounts; none: all")] = []


class AttemptAnswer(msgspec.Struct, frozen=True):
    """How it stands with one receiver. `state`: pending, delivered, dead; `remark`: what it answered. Times in ns."""

    action: str
    state: str
    attempts: int
    next_at: int
    ended_at: int
    remark: str


class OrderAnswer(msgspec.Struct, frozen=True):
    """One order. `state`: held (waits for its block), pending, delivered, dead (somebody must look), dropped."""

    id: str
    type: str
    account: str
    reason: str
    alert: str
    block: str
    asked_by: str
    asked_at: int
    state: str
    answers: list[AttemptAnswer]


class OrderListAnswer(msgspec.Struct, frozen=True):
    """Orders, newest first. `is_possible`: an action is configured that ends sessions."""

    orders: list[OrderAnswer]
    is_possible: bool


def order_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    o = Ordering(services)
    return [
        Operation("GET", "/api/v1/orders", "orders", "What other systems were asked to do, and what they answered", "alerts",
                  o.orders, params=OrderParams, list_params=frozenset({"account"}), answer=OrderListAnswer, tag="response"),
        Operation("POST", "/api/v1/orders", "order_create", "End an account's sessions, by the operator's webhook", "block",
                  o.create, body=OrderBody, answer=OrderAnswer, status=201, tag="response", refusals=frozenset({409})),
        Operation("GET", "/api/v1/orders/{id}", "order", "One order and its answers", "alerts", o.order, answer=OrderAnswer,
                  tag="response"),
    ]  # fmt: skip


class Ordering:
    """The handlers. An order is recorded before it leaves, its attempts by who makes them."""

    def __init__(self, services: Services) -> None:
        self._s = services

    def _is_possible(self) -> bool:
        return any(is_for(SESSIONS_END, types) for types in self._s.actions.values())

    def _answers(self, found: Sequence[SessionsEnd]) -> list[OrderAnswer]:
        entries: dict[str, list[Entry]] = {}
        for entry in self._s.outbox.entries(ids=[each.id for each in found]) if found else ():
            entries.setdefault(entry.notice_id, []).append(entry)
        return [_answer(self._s, each, entries.get(each.id, ())) for each in found]

    async def orders(self, call: Call[OrderParams, Empty]) -> OrderListAnswer:
        found = await self._s.blocking(lambda: self._answers(self._s.orders.of(call.params.account)[:200]))
        await self._s.recorder.note(call, "order.list", "ledger", self._s.ledger.origin, results=len(found))
        return OrderListAnswer(found, self._is_possible())

    async def order(self, call: Call[Empty, Empty]) -> OrderAnswer:
        found = await self._s.blocking(lambda: self._answers([self._s.orders.get(str(call.path["id"]))]))
        await self._s.recorder.note(call, "order.view", "order", found[0].id, results=1)
        return found[0]

    async def create(self, call: Call[Empty, OrderBody]) -> OrderAnswer:
        b, now = call.body, self._s.clock()
        if not self._is_possible():
            raise RejectedError(NO_ACTION, field="type", status=409)
        if Person((b.account,)).out_of(b.reason) != b.reason:
            raise RejectedError("leave the account out of it: the reason stays in the ledger for ever", field="reason")
        alert = alert_named(self._s, b.alert)
        before = await self._s.blocking(lambda: self._answers(self._s.orders.of([b.account])[:20]))
        if waiting := [each for each in before if each.state in {"held", "pending"}]:
            raise RejectedError(f"that is asked already, as {waiting[0].id}", field="account", status=409)
        made = await self._s.blocking(
            lambda: self._s.orders.ask(b.account, b.reason, call.identity.id, now, alert=alert)
        )
        await self._s.recorder.note(
            call, "sessions.end", "account", made.account, made.reason, order=made.id, alert=alert
        )
        await self._s.blocking(lambda: self._s.send_order(made.order()))
        return (await self._s.blocking(lambda: self._answers([made])))[0]


def _answer(services: Services, ending: SessionsEnd, entries: Sequence[Entry]) -> OrderAnswer:
    states = {entry.state for entry in entries}
    state = ending.state
    if state == "sent":
        state = next((each for each in ("dead", "pending", "delivered") if each in states), "pending")
    return OrderAnswer(
        ending.id, SESSIONS_END, ending.account, ending.reason, ending.alert, ending.block, services.keys.called(ending.asked_by),
        ending.asked_at, state,
        [
            AttemptAnswer(e.channel, e.state, e.attempts, e.next_at, e.ended_at, e.remark)
            for e in sorted(entries, key=lambda entry: entry.channel)
        ],
    )  # fmt: skip
