"""Operations of responding: entities, previews, blocks and the allow-list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from muniment.api.accidents import accident, refuse_secret
from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.detect.lookalike import names_like
from muniment.errors import DeniedError, RejectedError
from muniment.four_eyes import check_second
from muniment.limits import BLOCK_NAMES_SHOWN
from muniment.respond.block import Allowed, Block, Kind, among, canonical, written
from muniment.respond.feeds import FEEDS
from muniment.respond.order import SESSIONS_END, is_for
from muniment.respond.preview import Hits, accounts_as_long, effect, first_ever, hits, seen_with
from muniment.search.persons import Person

__all__ = [
    "NO_ACTION",
    "AllowBody",
    "ApproveBody",
    "BlockBody",
    "DisallowBody",
    "PreviewBody",
    "ReasonText",
    "Responding",
    "alert_named",
    "response_operations",
]

NO_ACTION = 'nobody ends sessions: the file of the setting `notify` has no action with for = ["sessions.end"]'

KindText = Literal["address", "range", "account", "key"]
ValueText = Annotated[str, Meta(min_length=1, max_length=320, examples=["203.0.113.7"])]
ReasonText = Annotated[str, Meta(min_length=1, max_length=1000, examples=["214 failed logins in 6 minutes"])]


class PreviewBody(msgspec.Struct, frozen=True):
    kind: KindText
    value: ValueText


class CountedAnswer(msgspec.Struct, frozen=True):
    value: str
    count: int


class AllowedAnswer(msgspec.Struct, frozen=True):
    network: str
    title: str
    by: str
    at: int


class BlockAnswer(msgspec.Struct, frozen=True):
    """A block. `asked_person`: whose session or key asked; empty: nobody's in particular. Times in nanoseconds; `attempts_since` events came from it since it is active, the last at `last_us`: counted where one block is asked for, 0 in lists.

    `seen_to`: up to when events are counted; `taken_at`: when somebody who enforces it last heard of it, 0 when nobody has.
    """

    id: str
    kind: str
    value: str
    reason: str
    state: str
    asked_by: str
    asked_at: int
    approved_by: str
    active_at: int
    expires_at: int
    ended_by: str
    ended_at: int
    alert: str
    asked_person: str = ""
    attempts_since: int = 0
    last_us: int = 0
    seen_to: int = 0
    taken_at: int = 0


class PreviewAnswer(msgspec.Struct, frozen=True):
    """What a block would have hit in thirty days. `preview` is the ticket that asks for the block; times in µs.

    What was seen of it, the most frequent first: `countries`, `agents` (client programs), `hosts` (systems it happened on) and
    `origins` (addresses). `blocks`: those of it that are or were, newest first. `refusal`: why a block of it would be refused.
    For an entity only: `first_ever_us`, the first event in any time, and `related_blocks`, those in force or asked for of
    addresses, accounts and keys that it was seen with.
    """

    kind: str
    value: str
    verdict: str
    events: int
    successes: int
    failures: int
    first_us: int
    last_us: int
    last_success_us: int
    people: list[CountedAnswer]
    n_people: int
    n_tried: int
    sources: list[CountedAnswer]
    actions: list[CountedAnswer]
    addresses: int
    offices: list[AllowedAnswer]
    needs_second_person: bool
    is_shared: bool
    is_blocked: bool
    preview: str
    countries: list[CountedAnswer] = []
    agents: list[CountedAnswer] = []
    hosts: list[CountedAnswer] = []
    origins: list[CountedAnswer] = []
    first_ever_us: int = 0
    blocks: list[BlockAnswer] = []
    related_blocks: list[BlockAnswer] = []
    refusal: str = ""
    near: list[NearAnswer] = []


class NearAnswer(msgspec.Struct, frozen=True):
    """An account whose name is easily taken for the one asked for, its events in thirty days, and how it differs."""

    value: str
    count: int
    why: str


class BlockBody(msgspec.Struct, frozen=True):
    kind: KindText
    value: ValueText
    preview: Annotated[str, Meta(max_length=64, description="The ticket of the preview")]
    reason: ReasonText
    hours: Annotated[int, Meta(ge=1, le=2160)] = 24
    alert: Annotated[str, Meta(max_length=64)] = ""
    accounts: Annotated[
        int, Meta(ge=0, description="How many accounts it hits; asked for where many share the address")
    ] = 0
    end_sessions: Annotated[bool, Meta(description="End the account's sessions as well, when the block is made")] = (
        False
    )


class ApproveBody(msgspec.Struct, frozen=True):
    accounts: Annotated[
        int, Meta(ge=0, description="How many accounts it hits; asked for where many share the address")
    ] = 0


class FetchAnswer(msgspec.Struct, frozen=True):
    """Who fetched a feed last, and when (ns)."""

    feed: str
    by: str
    at: int


class BlockListAnswer(msgspec.Struct, frozen=True):
    blocks: list[BlockAnswer]
    fetches: list[FetchAnswer] = []


class AllowBody(msgspec.Struct, frozen=True):
    network: Annotated[str, Meta(min_length=1, max_length=64, examples=["198.51.100.0/24"])]
    title: Annotated[str, Meta(min_length=1, max_length=200, examples=["Office Berlin"])]


class DisallowBody(msgspec.Struct, frozen=True):
    network: Annotated[str, Meta(min_length=1, max_length=64, examples=["198.51.100.0/24"])]


class AllowListAnswer(msgspec.Struct, frozen=True):
    allowed: list[AllowedAnswer]


def response_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    r = Responding(services)
    conflict = frozenset({409})
    return [
        Operation("GET", "/api/v1/entities/{kind}/{value}", "entity", "What came from an address, account or key in thirty days",
                  "alerts", r.entity, answer=PreviewAnswer, tag="response"),
        Operation("POST", "/api/v1/blocks/preview", "block_preview", "What a block would have hit in thirty days",
                  "block", r.preview, body=PreviewBody, answer=PreviewAnswer, tag="response"),
        Operation("GET", "/api/v1/blocks", "blocks", "Every block, newest first", "alerts", r.blocks,
                  answer=BlockListAnswer, tag="response"),
        Operation("POST", "/api/v1/blocks", "block_create", "Block what a preview was looked at for", "block", r.create,
                  body=BlockBody, answer=BlockAnswer, status=201, tag="response", refusals=conflict),
        Operation("GET", "/api/v1/blocks/{id}", "block", "One block, and what came from there since", "alerts", r.block,
                  answer=BlockAnswer, tag="response"),
        Operation("GET", "/api/v1/blocks/{id}/hits", "block_hits", "What a block hits, looked at now: for who must agree",
                  "block", r.hits_of, answer=PreviewAnswer, tag="response"),
        Operation("POST", "/api/v1/blocks/{id}/approve", "block_approve", "A second person agrees", "block", r.approve,
                  body=ApproveBody, answer=BlockAnswer, tag="response", refusals=conflict),
        Operation("POST", "/api/v1/blocks/{id}/undo", "block_undo", "End a block now", "block", r.undo,
                  answer=BlockAnswer, tag="response", refusals=conflict),
        Operation("GET", "/api/v1/allowed", "allowed", "Networks that are never blocked", "alerts", r.allowed,
                  answer=AllowListAnswer, tag="response"),
        Operation("POST", "/api/v1/allowed", "allow", "Never block a network", "block", r.allow, body=AllowBody,
                  answer=AllowedAnswer, status=201, tag="response", refusals=conflict),
        Operation("POST", "/api/v1/allowed/remove", "disallow", "A network may be blocked again", "block", r.disallow,
                  body=DisallowBody, answer=AllowedAnswer, tag="response", refusals=frozenset({404})),
    ]  # fmt: skip


class Responding:
    """The handlers. A change is recorded before its answer leaves."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def _record(self, call: Call[Any, Any], action: str, kind: str, value: str, **metadata: Any) -> None:
        await self._s.recorder.note(call, action, f"blocked_{kind}", value, **metadata)

    @asynccontextmanager
    async def _tried(
        self, call: Call[Any, Any], action: str, kind: str, value: str, **metadata: Any
    ) -> AsyncIterator[None]:
        """What is refused for what it would do is a record, too: who tried it, and why it was not done. A slip of the pen is none."""
        try:
            yield
        except (RejectedError, DeniedError) as error:
            reason = str(error) if isinstance(error, DeniedError) else error.reason
            if isinstance(error, DeniedError) or error.status == 409:
                await self._s.recorder.record(
                    action, call.identity, targets=[{"type": f"blocked_{kind}", "id": value}], outcome="failure",
                    client_ip=call.client_ip, user_agent=call.user_agent, metadata=metadata, reason=reason,
                )  # fmt: skip
            raise

    async def _look(self, call: Call[Any, Any], action: str, kind: Kind, value: str) -> Hits:
        refuse_secret(kind, value)
        offices = self._s.blocks.offices(kind, value)
        found = await self._s.blocking(lambda: hits(self._s.engine, kind, value, self._s.clock(), offices))
        await self._record(call, action, kind, value, results=found.events, successes=found.successes)
        return found

    async def entity(self, call: Call[Empty, Empty]) -> PreviewAnswer:
        if call.identity.scope:
            raise DeniedError("an entity is about all rows; this key sees some rows only", permission="alerts")
        kind, value = written(str(call.path["kind"]), str(call.path["value"]))
        looked, first = await asyncio.gather(
            self._look(call, "entity.view", kind, value),
            self._s.blocking(lambda: first_ever(self._s.engine, kind, value)),
        )
        answer = self._hits(call, looked, "")
        own = {each.id for each in answer.blocks}
        related = [each for each in await self._s.blocking(lambda: self._related(kind, value)) if each.id not in own]
        return msgspec.structs.replace(answer, first_ever_us=first, related_blocks=list(map(self._block, related)))

    def _related(self, kind: Kind, value: str) -> list[Block]:
        """Blocks of what it was seen with. Nothing is looked up while nothing is blocked."""
        now = self._s.clock()
        open_ = self._s.blocks.open(now)
        if not open_:
            return []
        keys = [each.value for each in open_ if each.kind == "key"]
        return among(open_, seen_with(self._s.engine, kind, value, now, keys))

    async def preview(self, call: Call[Empty, PreviewBody]) -> PreviewAnswer:
        found = await self._look(call, "block.preview", *canonical(call.body.kind, call.body.value))
        ticket = self._s.tickets.issue(found.kind, found.value, call.identity.id, self._s.clock())
        return await self._with_near(self._hits(call, found, ticket))

    async def _with_near(self, answer: PreviewAnswer) -> PreviewAnswer:
        """With the accounts that who decides may have meant, or may take it for."""
        if answer.kind != "account":
            return answer
        near = await self._s.blocking(lambda: self._near(answer.value))
        return msgspec.structs.replace(answer, near=near)

    def _near(self, value: str) -> list[NearAnswer]:
        known = accounts_as_long(self._s.engine, value, self._s.clock())
        return [NearAnswer(name, known[name], why) for name, why in names_like(value, known)[:BLOCK_NAMES_SHOWN]]

    def _refuse_own(self, call: Call[Any, Any], kind: Kind, value: str, field: str) -> None:
        if refusal := accident(self._s, call.identity, call.client_ip, kind, value):
            raise RejectedError(refusal, field=field, status=409)

    def _hits(self, call: Call[Any, Any], found: Hits, ticket: str) -> PreviewAnswer:
        is_blocked = self._s.blocks.find(found.kind, found.value, self._s.clock()) is not None
        return PreviewAnswer(
            kind=found.kind, value=found.value, verdict=found.verdict, events=found.events, successes=found.successes,
            failures=found.failures, first_us=found.first_us, last_us=found.last_us,
            last_success_us=found.last_success_us, people=_counted(found.people),
            n_people=found.n_people, n_tried=found.n_tried, sources=_counted(found.sources),
            actions=_counted(found.actions), addresses=found.addresses,
            offices=list(map(self._allowed, found.offices)), needs_second_person=found.needs_second_person,
            is_shared=found.is_shared, is_blocked=is_blocked, preview=ticket, countries=_counted(found.countries),
            agents=_counted(found.agents), hosts=_counted(found.hosts), origins=_counted(found.origins),
            blocks=list(map(self._block, self._s.blocks.about(found.kind, found.value))),
            refusal=accident(self._s, call.identity, call.client_ip, found.kind, found.value),
        )  # fmt: skip

    async def create(self, call: Call[Empty, BlockBody]) -> BlockAnswer:
        kind, value = canonical(call.body.kind, call.body.value)
        refuse_secret(kind, value)
        if self.repeated(call) is not None:
            raise RejectedError("it is blocked, or asked for, already", field="value", status=409)
        async with self._tried(call, "block.create", kind, value, hours=call.body.hours):
            return await self._created(call, kind, value)

    async def _created(self, call: Call[Empty, BlockBody], kind: Kind, value: str) -> BlockAnswer:
        b = call.body
        now = self._s.clock()
        self._s.tickets.check(b.preview, kind, value, call.identity.id, now)
        if self._s.blocks.ended_since(kind, value, self._s.tickets.issued_at(b.preview)):
            raise RejectedError("a block of it has ended since you looked; look again", field="preview", status=409)
        self._refuse_own(call, kind, value, "value")
        alert = alert_named(self._s, b.alert)
        if kind in {"account", "key"} and Person((value,)).out_of(b.reason) != b.reason:
            raise RejectedError(f"leave the {kind} out of it: the reason stays in the ledger for ever", field="reason")
        if b.end_sessions:
            self._can_end_sessions(kind)
        # Looked at again: somebody may have succeeded from there since the preview.
        offices = self._s.blocks.offices(kind, value)
        found = await self._s.blocking(lambda: hits(self._s.engine, kind, value, now, offices))
        _refuse_unseen(found, b.accounts)
        block = self._s.blocks.ask(
            kind, value, hours=b.hours, reason=b.reason, by=call.identity.id, person=call.identity.person, now_ns=now,
            needs_second=found.needs_second_person, alert=alert,
        )  # fmt: skip
        action = "block.create" if block.state == "active" else "block.request"
        await self._record(
            call, action, kind, value, block=block.id, hours=b.hours, alert=alert, successes=found.successes,
            accounts=found.n_people, reason=block.reason,
        )  # fmt: skip
        if b.end_sessions:
            asking = self._s.orders.ask
            ending = await self._s.blocking(
                lambda: asking(value, block.reason, call.identity.id, now, alert=alert, block=block.id, is_held=True)
            )
            metadata = {"order": ending.id, "block": block.id, "alert": alert, "waits": block.state == "asked"}
            await self._s.recorder.note(call, "sessions.end", "account", ending.account, block.reason, **metadata)
        if block.state == "active":
            await self._made(block)
        return self._block(block)

    def repeated(self, call: Call[Empty, BlockBody]) -> BlockAnswer | None:
        """The block that exactly this request made already: sent twice by a double click, it asks for one. Else None.

        For a request that `create` has refused, and only with a ticket that is right.
        """
        b, now = call.body, self._s.clock()
        try:
            kind, value = canonical(b.kind, b.value)
            self._s.tickets.check(b.preview, kind, value, call.identity.id, now)
            alert = alert_named(self._s, b.alert)
        except RejectedError:
            return None
        found = self._s.blocks.repeated(
            kind, value, hours=b.hours, reason=b.reason, by=call.identity.id, alert=alert,
            since_ns=self._s.tickets.issued_at(b.preview),
        )  # fmt: skip
        return self._block(found) if found is not None else None

    def _can_end_sessions(self, kind: str) -> None:
        if kind != "account":
            raise RejectedError("sessions are those of an account", field="end_sessions")
        if not any(is_for(SESSIONS_END, types) for types in self._s.actions.values()):
            raise RejectedError(NO_ACTION, field="end_sessions", status=409)

    async def _made(self, block: Block) -> None:
        """A block is in force: tell those who want to hear, and let go what waited for it."""
        await self._s.blocking(lambda: self._s.tell_of_block(block, "block.made"))
        await self._s.blocking(lambda: [self._s.send_order(e.order()) for e in self._s.orders.release(block.id, True)])

    async def blocks(self, call: Call[Empty, Empty]) -> BlockListAnswer:
        found = self._s.blocks.all()
        await self._s.recorder.note(call, "block.list", "ledger", self._s.ledger.origin, results=len(found))
        fetches = [FetchAnswer(feed, by, at) for (feed, by), at in self._s.blocks.fetches().items()]
        return BlockListAnswer(list(map(self._block, found)), fetches)

    async def block(self, call: Call[Empty, Empty]) -> BlockAnswer:
        block = self._s.blocks.get(str(call.path["id"]))
        n, last = 0, 0
        seen_to, taken_at = self._s.horizon().complete_to_time, 0
        if block.active_at:
            since, until = block.active_at, block.ended_at
            n, last = await self._s.blocking(lambda: effect(self._s.engine, block.kind, block.value, since, until))
            taken_at = await self._s.blocking(lambda: self._taken_at(block))
        await self._record(call, "block.view", block.kind, block.value, block=block.id, attempts_since=n, results=1)
        return self._block(block, n, last, seen_to, taken_at)

    def _taken_at(self, block: Block) -> int:
        """When a consumer fetched a feed that carries the block since it was made, or an action answered it."""
        feeds = [name for name, feed in FEEDS.items() if block.kind in feed.kinds]
        told = self._s.outbox.entries("delivered", ids=[f"block_{block.id}_made"])
        at = max([self._s.blocks.fetched_at(feeds), *(each.ended_at for each in told)])
        return at if at >= block.active_at else 0

    async def hits_of(self, call: Call[Empty, Empty]) -> PreviewAnswer:
        block = self._s.blocks.get(str(call.path["id"]))
        hit = await self._look(call, "block.preview", block.kind, block.value)
        return await self._with_near(self._hits(call, hit, ""))

    async def approve(self, call: Call[Empty, ApproveBody]) -> BlockAnswer:
        now = self._s.clock()
        asked = self._s.blocks.get(str(call.path["id"]))
        who = call.identity
        async with self._tried(call, "block.approve", asked.kind, asked.value, block=asked.id, asked_by=asked.asked_by):
            if asked.is_asked(now):
                check_second(
                    asked.asked_person, who.person, "block"
                )  # first: who cannot agree is not asked for numbers
                self._refuse_own(call, asked.kind, asked.value, "id")
                found = await self._s.blocking(lambda: hits(self._s.engine, asked.kind, asked.value, now, ()))
                _refuse_unseen(found, call.body.accounts)
            block = self._s.blocks.approve(asked.id, who.id, now, person=who.person)
        await self._record(
            call, "block.approve", block.kind, block.value, block=block.id, asked_by=block.asked_by,
            asked_person=asked.asked_person, waits=block.state == "asked",
        )  # fmt: skip
        if block.state == "active":
            await self._made(block)
        return self._block(block)

    async def undo(self, call: Call[Empty, Empty]) -> BlockAnswer:
        there = self._s.blocks.get(str(call.path["id"]))
        async with self._tried(call, "block.undo", there.kind, there.value, block=there.id):
            block = self._s.blocks.undo(there.id, call.identity.id, self._s.clock())
        await self._record(call, "block.undo", block.kind, block.value, block=block.id)
        if block.active_at:
            await self._s.blocking(lambda: self._s.tell_of_block(block, "block.undone"))
        for dropped in await self._s.blocking(lambda: self._s.orders.release(block.id, False)):
            await self._s.recorder.note(call, "order.drop", "order", dropped.id, block=block.id)
        return self._block(block)

    async def allowed(self, call: Call[Empty, Empty]) -> AllowListAnswer:
        found = self._s.blocks.allowed()
        await self._s.recorder.note(call, "allowed.list", "ledger", self._s.ledger.origin, results=len(found))
        return AllowListAnswer(list(map(self._allowed, found)))

    async def allow(self, call: Call[Empty, AllowBody]) -> AllowedAnswer:
        async with self._tried(call, "allowed.create", "range", call.body.network, title=call.body.title):
            made = self._s.blocks.allow(call.body.network, call.body.title, call.identity.id, self._s.clock())
        await self._record(call, "allowed.create", "range", made.network, title=made.title)
        return self._allowed(made)

    async def disallow(self, call: Call[Empty, DisallowBody]) -> AllowedAnswer:
        gone = self._s.blocks.disallow(call.body.network)
        await self._record(call, "allowed.delete", "range", gone.network, title=gone.title)
        return self._allowed(gone)

    def _block(
        self, block: Block, attempts_since: int = 0, last_us: int = 0, seen_to: int = 0, taken_at: int = 0
    ) -> BlockAnswer:
        called = self._s.keys.called
        values = {name: getattr(block, name) for name in Block.__dataclass_fields__ if name != "changed_at"}
        values |= {name: called(values[name]) for name in ("asked_by", "approved_by", "ended_by")}
        return BlockAnswer(**values, attempts_since=attempts_since, last_us=last_us, seen_to=seen_to, taken_at=taken_at)

    def _allowed(self, each: Allowed) -> AllowedAnswer:
        return AllowedAnswer(each.network, each.title, self._s.keys.called(each.by), each.at)


def alert_named(services: Services, uid: str) -> str:
    """The whole id of the alert that something is asked for; "" for none. RejectedError at its field: there is no such alert."""
    try:
        return services.alerts.get(uid).uid if uid else ""
    except RejectedError:
        raise RejectedError("there is no such alert; leave it empty, or take the id of one", field="alert") from None


def _counted(found: Sequence[tuple[str, int]]) -> list[CountedAnswer]:
    return [CountedAnswer(*each) for each in found]


def _refuse_unseen(found: Hits, accounts: int) -> None:
    """Where many people share an address, who blocks it says how many they are: nobody does that by accident."""
    if found.is_shared and accounts < found.n_people:
        raise RejectedError(
            f"{found.n_people} accounts work from there; say so (accounts: {found.n_people}) if they are all to be shut out",
            field="accounts",
            status=409,
        )
