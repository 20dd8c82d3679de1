"""Operations of notices: who is told of alerts, what could not be delivered, and what nobody is told of for a time."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from muniment.api.operations import Call, Empty, Operation
from muniment.api.response_operations import ReasonText
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.limits import NOTICE_TEST_S
from muniment.respond.notice import trial_notice
from muniment.respond.routes import Silence
from muniment.respond.silences import Hidden

__all__ = ["Noticing", "ReviveBody", "SilenceBody", "TestBody", "notice_operations"]

_LISTED: Final = 500


class NotificationAnswer(msgspec.Struct, frozen=True):
    """One notification to one channel. `state`: pending, delivered, dead; held until it is told in a summary, gathered when it
    was; discarded by somebody. Times in ns, 0: not yet. `title` and `author` are the alert's rule's, empty where it is about another thing or one of long ago.
    """

    notice_id: str
    channel: str
    state: str
    attempts: int
    put_at: int
    next_at: int
    ended_at: int
    remark: str
    title: str = ""
    author: str = ""


class RouteAnswer(msgspec.Struct, frozen=True):
    """Which notices go to which channels: of these rules, about these sources; `when` in words."""

    name: str
    channels: list[str]
    severity_min: str
    rules: list[str]
    sources: list[str]
    when: str


class ActionAnswer(msgspec.Struct, frozen=True):
    """Who carries orders out, and of which types."""

    name: str
    types: list[str]


class NotificationListAnswer(msgspec.Struct, frozen=True):
    """The newest of each state, the newest first; `by_state` counts all there are."""

    channels: list[str]
    routes: list[RouteAnswer]
    notifications: list[NotificationAnswer]
    actions: list[ActionAnswer] = []
    by_state: dict[str, int] = {}


class ReviveBody(msgspec.Struct, frozen=True):
    notice_id: Annotated[str, Meta(min_length=1, max_length=64)]
    channel: Annotated[str, Meta(min_length=1, max_length=64)]


class TestBody(msgspec.Struct, frozen=True):
    channel: Annotated[str, Meta(min_length=1, max_length=64)]


class TestAnswer(msgspec.Struct, frozen=True):
    """What a channel did with a test: `state` is delivered or dead, `remark` what it said, or why it did not take it."""

    notice_id: str
    channel: str
    state: str
    remark: str


class SilenceBody(msgspec.Struct, frozen=True):
    source: Annotated[str, Meta(min_length=1, max_length=200, description="A rule's title; * stands for anything")]
    reason: ReasonText
    hours: Annotated[int, Meta(ge=1, le=720)] = 8
    severity_max: Literal["informational", "low", "medium", "high", "critical"] = "high"


class SilenceAnswer(msgspec.Struct, frozen=True):
    """A silence, and how many alerts nobody was told of because of it, the last at `last_hidden_ns` (0: none)."""

    number: int
    source: str
    from_ns: int
    until_ns: int
    by: str
    reason: str
    severity_max: str
    hidden: int = 0
    last_hidden_ns: int = 0


class SilenceListAnswer(msgspec.Struct, frozen=True):
    silences: list[SilenceAnswer]


def notice_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    n = Noticing(services)
    return [
        Operation("GET", "/api/v1/notifications", "notifications", "What was sent to whom, and what could not be", "alerts",
                  n.notifications, answer=NotificationListAnswer, tag="response"),
        Operation("POST", "/api/v1/notifications/revive", "notification_revive", "Try a dead letter again", "rules", n.revive,
                  body=ReviveBody, answer=NotificationListAnswer, tag="response", refusals=frozenset({404, 409})),
        Operation("POST", "/api/v1/notifications/discard", "notification_discard", "Nobody wants a dead letter any more", "rules",
                  n.discard, body=ReviveBody, answer=NotificationListAnswer, tag="response", refusals=frozenset({404})),
        Operation("POST", "/api/v1/notifications/test", "notification_test", "Send a test to one channel and wait for its answer",
                  "rules", n.test, body=TestBody, answer=TestAnswer, tag="response", refusals=frozenset({404})),
        Operation("GET", "/api/v1/silences", "silences", "What nobody is told of, why and until when", "alerts", n.silences,
                  answer=SilenceListAnswer, tag="response"),
        Operation("POST", "/api/v1/silences", "silence_create", "Tell nobody of some alerts for a time", "rules", n.silence,
                  body=SilenceBody, answer=SilenceAnswer, status=201, tag="response"),
        Operation("POST", "/api/v1/silences/{number}/end", "silence_end", "End a silence now", "rules", n.end_silence,
                  answer=SilenceListAnswer, tag="response"),
    ]  # fmt: skip


class Noticing:
    """The handlers. A change is recorded before its answer leaves."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def notifications(self, call: Call[Any, Any]) -> NotificationListAnswer:
        # Of each state by itself: a dead letter must not vanish behind a thousand that were delivered since.
        outbox = self._s.outbox
        by_state = await self._s.blocking(outbox.counts)
        entries = [
            each for state in by_state for each in await self._s.blocking(partial(outbox.entries, state, _LISTED))
        ]
        entries.sort(key=lambda each: -each.put_at)
        rules = {f"alert_{each.uid}": (each.title, each.author) for each in self._s.alerts.all()}
        found = [
            NotificationAnswer(
                e.notice_id,
                e.channel,
                e.state,
                e.attempts,
                e.put_at,
                e.next_at,
                e.ended_at,
                e.remark,
                *rules.get(e.notice_id, ("", "")),
            )
            for e in entries
        ]
        await self._s.recorder.note(call, "notify.list", "ledger", self._s.ledger.origin, results=len(found))
        routes = [
            RouteAnswer(
                each.name, list(each.channels), each.severity_min, list(each.rules), list(each.sources), each.when
            )
            for each in self._s.notice_routes
        ]
        actions = [ActionAnswer(name, list(types)) for name, types in self._s.actions.items()]
        return NotificationListAnswer(list(self._s.channels), routes, found, actions, by_state)

    async def revive(self, call: Call[Empty, ReviveBody]) -> NotificationListAnswer:
        b, now = call.body, self._s.clock()
        await self._s.blocking(lambda: self._s.outbox.revive(b.notice_id, b.channel, now))
        await self._s.recorder.note(call, "notify.revive", "channel", b.channel, notice=b.notice_id)
        return await self.notifications(call)

    async def discard(self, call: Call[Empty, ReviveBody]) -> NotificationListAnswer:
        b, now = call.body, self._s.clock()
        await self._s.blocking(lambda: self._s.outbox.discard(b.notice_id, b.channel, now))
        await self._s.recorder.note(call, "notify.discard", "channel", b.channel, notice=b.notice_id)
        return await self.notifications(call)

    async def test(self, call: Call[Empty, TestBody]) -> TestAnswer:
        """Sent as every notice is, but first in its channel's queue, and once: what is not taken is not tried for three days."""
        channel, now, outbox = call.body.channel, self._s.clock(), self._s.outbox
        if channel not in self._s.channels:
            there = ", ".join(self._s.channels) or "none"
            raise RejectedError(f"there is no channel {channel!r}; there are: {there}", field="channel", status=404)
        notice = trial_notice(str(uuid.uuid4()), call.identity.name, now, f"{self._s.settings.base_url}/notices")
        await self._s.blocking(lambda: outbox.put(notice, [channel], now, is_next=True))
        deadline = time.monotonic() + NOTICE_TEST_S
        while True:
            entry = (await self._s.blocking(lambda: outbox.entries(ids=[notice.id])))[0]
            if entry.state != "pending" or entry.remark or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        if entry.state == "pending":
            await self._s.blocking(lambda: outbox.give_up(notice.id, channel, self._s.clock()))
            entry = (await self._s.blocking(lambda: outbox.entries(ids=[notice.id])))[0]
        remark = entry.remark or ("" if entry.state == "delivered" else f"no answer within {NOTICE_TEST_S} s")
        await self._s.recorder.note(call, "notify.test", "channel", channel, notice=notice.id, state=entry.state)
        return TestAnswer(notice.id, channel, entry.state, remark)

    async def silences(self, call: Call[Any, Any]) -> SilenceListAnswer:
        found = await self._s.blocking(self._s.silences.all)
        hidden = await self._s.blocking(self._s.silences.hidden)
        await self._s.recorder.note(call, "silence.list", "ledger", self._s.ledger.origin, results=len(found))
        return SilenceListAnswer([_silence(self._s, each, hidden.get(each.id, Hidden())) for each in found])

    async def silence(self, call: Call[Empty, SilenceBody]) -> SilenceAnswer:
        b, now = call.body, self._s.clock()
        until = now + b.hours * 3_600 * 10**9
        made = await self._s.blocking(
            lambda: self._s.silences.add(b.source, until, call.identity.id, b.reason, b.severity_max, now)
        )
        await self._s.recorder.note(
            call, "silence.create", "rule", b.source, b.reason, hours=b.hours, severity_max=b.severity_max
        )
        return _silence(self._s, made, Hidden())

    async def end_silence(self, call: Call[Empty, Empty]) -> SilenceListAnswer:
        number, now = int(call.path["number"]), self._s.clock()
        await self._s.blocking(lambda: self._s.silences.end(number, now))
        await self._s.recorder.note(call, "silence.end", "silence", str(number))
        return await self.silences(call)


def _silence(services: Services, each: Silence, hidden: Hidden) -> SilenceAnswer:
    return SilenceAnswer(
        int(each.id), each.sources[0], each.from_ns, each.until_ns, services.keys.called(each.by), each.reason, each.severity_max,
        hidden.count, hidden.last_ns,
    )  # fmt: skip
