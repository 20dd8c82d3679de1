"""The pages' backend: what the web room asks for, answered by the same handlers as the API's.

So a page can show nothing that the API would not, and everything a page reads is recorded the same way.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from muniment import __version__
from muniment.access.policy import Identity, require
from muniment.api.admin_operations import Administering
from muniment.api.gate import COOKIE, SessionGate
from muniment.api.ledger_operations import Proving
from muniment.api.operations import Call, Empty
from muniment.api.search_operations import FacetParams, HistogramParams, Reading, SavedBody, SearchParams
from muniment.api.services import Services
from muniment.app.page_records import PageRecorder
from muniment.errors import DeniedError, RejectedError
from muniment.web import backend as web

__all__ = ["PagesBackend"]


@dataclass(frozen=True, slots=True)
class _Asking:
    identity: Identity
    client_ip: str
    user_agent: str


_asking: ContextVar[_Asking] = ContextVar("asking")


class PagesBackend:
    """Fills `web.backend.Backend`."""

    def __init__(self, services: Services, gate: SessionGate, started_at: int) -> None:
        self._s = services
        self._gate = gate
        self._started_at = started_at
        collecting = self.collecting = replace(services, recorder=PageRecorder(services.recorder))
        self._reading = Reading(collecting)
        self._proving = Proving(collecting)
        self._administering = Administering(collecting)

    def now_ns(self) -> int:
        """The clock."""
        return self._s.clock()

    def viewer(self, request: Request) -> web.Viewer | None:
        """Who is signed in; also remembers, for this request, on whose behalf everything after it is recorded."""
        session = self._gate.session(request)
        if session is None:
            return None
        who = session.identity
        _asking.set(_Asking(who, self._gate.client_ip(request), request.headers.get("user-agent", "")[:512]))
        return web.Viewer(who.id, who.name, who.role, session.csrf, who.permissions)

    def call(self, permission: str, params: Any = None, body: Any = None, **path: object) -> Call[Any, Any]:
        """A call of an operation on behalf of who asks for this page; DeniedError without the permission."""
        asking = _asking.get()
        require(asking.identity, permission)
        return Call(asking.identity, params or Empty(), body or Empty(), path, asking.client_ip, asking.user_agent)

    async def enter(self, link_token: str, request: Request) -> tuple[str, str, int]:
        """Spend a login link; the login is recorded either way."""
        now = self._s.clock()
        ip, agent = self._gate.client_ip(request), request.headers.get("user-agent", "")[:512]
        try:
            session, cookie = self._s.doorkeeper.enter(link_token, now)
        except DeniedError as error:
            nobody = Identity("unknown", "unknown", "none")
            await self._s.recorder.record(
                "user.login", nobody, outcome="failure", client_ip=ip, user_agent=agent, reason=str(error)
            )
            raise
        await self._s.recorder.record("user.login", session.identity, client_ip=ip, user_agent=agent)
        return COOKIE, cookie, (session.expires_at - now) // 10**9

    async def leave(self, request: Request) -> str:
        """End the session of this request."""
        session = self._gate.session(request)
        if session:
            self._s.doorkeeper.leave(request.cookies[COOKIE])
            ip = self._gate.client_ip(request)
            await self._s.recorder.record("user.logout", session.identity, client_ip=ip)
        return COOKIE

    async def search(
        self,
        viewer: web.Viewer,
        wanted: web.Wanted,
        *,
        limit: int,
        cursor: str | None,
        order: str,
        columns: Sequence[str],
    ) -> web.Page:
        """One page of rows."""
        params = SearchParams(
            wanted.q,
            _text(wanted.start),
            _text(wanted.end),
            limit,
            cursor or "",
            "asc" if order == "asc" else "desc",
            list(columns),
        )
        answer = await self._reading.search(self.call("search", params))
        return web.Page(answer.rows, answer.cursor, _horizon(answer.horizon), answer.took_ms, answer.warnings)

    async def histogram(self, viewer: web.Viewer, wanted: web.Wanted, *, buckets: int, by: str) -> web.Series:
        """Counts over time."""
        params = HistogramParams(wanted.q, _text(wanted.start), _text(wanted.end), buckets, by)  # type: ignore[arg-type]
        found = await self._reading.histogram(self.call("search", params))
        return web.Series(found.start, found.end, found.step_ns, found.series)

    async def facets(
        self, viewer: web.Viewer, wanted: web.Wanted, fields: Sequence[str], *, limit: int
    ) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The most frequent values."""
        params = FacetParams(wanted.q, _text(wanted.start), _text(wanted.end), list(fields), limit)
        found = (await self._reading.facets(self.call("search", params))).facets
        return {name: [(each.value, each.count) for each in values] for name, values in found.items()}

    async def after(self, viewer: web.Viewer, q: str, index: int, *, limit: int, columns: Sequence[str]) -> web.Page:
        """What a live tail adds."""
        rows = await self._reading.after(self.call("search"), q, index, limit)
        return web.Page(rows, None, _horizon(self._s.horizon()), 0.0)

    async def event(self, viewer: web.Viewer, index: int) -> web.EventRecord | None:
        """One event."""
        try:
            found = await self._reading.event(self.call("search", index=index))
        except RejectedError as error:
            if error.status == 404:
                return None
            raise
        return web.EventRecord(index, found.columns, found.record, found.ocsf)

    async def proof(self, viewer: web.Viewer, index: int) -> web.Proof:
        """The proof of one record."""
        p = await self._proving.pieces(self.call("search", index=index))
        return web.Proof(
            index=p.index,
            leaf_index=p.leaf_index,
            size=p.size,
            origin=p.origin,
            leaf=base64.b64decode(p.leaf),
            leaf_hash=base64.b64decode(p.leaf_hash),
            inclusion_proof=[base64.b64decode(step) for step in p.inclusion_proof],
            root_hash=base64.b64decode(p.root_hash),
            checkpoint=p.checkpoint,
            record=base64.b64decode(p.record),
            record_salt=base64.b64decode(p.record_salt),
            signatures=[web.Signature(*line) for line in self._s.signatures(p.checkpoint.encode())],
        )

    async def sources(self, viewer: web.Viewer) -> Sequence[web.SourceStatus]:
        """Every source."""
        found = (await self._administering.sources(self.call("search"))).sources
        return [
            web.SourceStatus(
                each.id, each.title, each.format, "clear" if each.privacy == "clear" else "sealed", each.owner,
                each.rhythm_s, each.received, each.quarantined, each.last_heard, each.format_title, each.docs,
            )
            for each in found
        ]  # fmt: skip

    async def status(self, viewer: web.Viewer) -> web.Status:
        """The state of every part."""
        self.call("search")
        found = self._s.status()
        ledger, store = found["ledger"], found["store"]
        doors = [
            web.Door(kind, address, is_open, accepted=taken)
            for kind, (address, is_open, taken) in found["doors"].items()
        ]
        return web.Status(
            problems=found["problems"],
            ledger=web.Ledger(
                ledger["origin"], ledger["size"], self._s.ledger.checkpoint.decode(), ledger["checkpoint_time"],
                list(self._s.ledger.vkeys), ledger["disk_bytes"],
            ),
            horizon=_horizon(self._s.horizon()),
            store=store["engine"],
            doors=doors,
            version=__version__,
            started_at=self._started_at,
            facts=_facts(found),
        )  # fmt: skip

    async def saved(self, viewer: web.Viewer) -> Sequence[web.SavedSearch]:
        """One's own and shared saved searches."""
        found = await self._reading.saved_list(self.call("search"))
        return [_saved(item) for item in found.saved]

    async def save(
        self,
        viewer: web.Viewer,
        *,
        name: str,
        q: str,
        start: str,
        end: str,
        columns: Sequence[str],
        is_shared: bool,
    ) -> web.SavedSearch:
        """Save a search."""
        body = SavedBody(name, q, start, end, list(columns), is_shared)
        return _saved(await self._reading.saved_create(self.call("search", body=body)))

    async def delete_saved(self, viewer: web.Viewer, saved_id: str) -> None:
        """Delete a saved search of one's own."""
        if not saved_id.isascii() or not saved_id.isdecimal() or len(saved_id) > 18:
            raise RejectedError("there is no such saved search", field="id", status=404)
        await self._reading.saved_delete(self.call("search", number=int(saved_id)))


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an operator asks for beside the figures, in words."""
    process, last = found["process"], found["ledger"]["last_verified"]
    verified = "never; muniment verify does it"
    if last is not None:
        verified = f"{_text(last['at'])[:19]}Z, " + (f"{last['entries']:,} records hold" if last["holds"] else "FAILED")
    return [
        ("Last verified", verified), ("Memory", f"{process['resident_mib']:,} MiB"), ("Process", str(process["pid"])),
        ("Sealed since the start", f"{process['sealed_events']:,} events in {process['batches']:,} batches"),
        ("Waiting to be sealed", f"{process['pending_events']:,} events"), ("Places", str(found["store"]["places"])),
    ]  # fmt: skip


def _saved(item: Any) -> web.SavedSearch:
    return web.SavedSearch(
        str(item.id), item.name, item.owner, item.q, item.start, item.end, item.columns, item.is_shared
    )


def _horizon(h: Any) -> web.Horizon:
    return web.Horizon(h.complete_to_index, h.complete_to_time, h.ledger_size, h.pending)


def _text(time_ns: int | None) -> str:
    """UTC nanoseconds in a form the handlers read back without loss."""
    if time_ns is None:
        return ""
    seconds, ns = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"
