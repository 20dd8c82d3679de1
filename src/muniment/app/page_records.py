"""One record for one page: what a page read on the way is collected and written down once, before it is shown.

A page asks for several things (its rows, their counts, a proof). Each is still read through the API's handlers, which
record every read; here those records become one, named after the most telling of them, with all the others listed in
it. Nothing is lost by that: a page that read something and then failed is recorded too, and a page whose record cannot
be written is not shown. Outside of a page, and for changes (logins, saved searches), records pass straight through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from muniment.access.policy import Identity
from muniment.api.recorder import Recorder

__all__ = ["PageRecorder", "recorded_pages"]

_TELLING: Final = (
    "key.list", "user.list", "privacy.list", "case.view", "alert.view", "entity.view", "block.view", "rule.view", "case.list", "alert.list", "block.list", "rule.list", "log.view", "log.search", "log.tail", "log.prove", "log.aggregate", "log.complete", "webhook.list", "source.list", "search.list",
    "exception.list", "format.view", "format.list", "notify.list", "silence.list", "allowed.list", "risk.list", "order.view", "order.list",
)  # fmt: skip
"""What pages read, the most telling first; other actions are changes and are recorded by themselves."""


@dataclass(frozen=True, slots=True)
class _Read:
    action: str
    identity: Identity
    given: Mapping[str, Any]


_reads: ContextVar[list[_Read] | None] = ContextVar("reads", default=None)


class PageRecorder(Recorder):
    """A recorder that keeps the reads of the page being made until the page is ready."""

    def __init__(self, through: Recorder) -> None:
        self._through = through

    async def record(
        self,
        action: str,
        identity: Identity,
        *,
        targets: Sequence[Mapping[str, str]] = (),
        outcome: str = "success",
        client_ip: str = "",
        user_agent: str = "",
        metadata: Mapping[str, object] | None = None,
        reason: str = "",
    ) -> None:
        """Collect a read of a page; write anything else at once."""
        given: dict[str, Any] = {
            "targets": targets, "outcome": outcome, "client_ip": client_ip, "user_agent": user_agent,
            "metadata": metadata, "reason": reason,
        }  # fmt: skip
        reads = _reads.get()
        if reads is None or action not in _TELLING:
            await self._through.record(action, identity, **given)
        else:
            reads.append(_Read(action, identity, given))

    def event(self, action: str, identity: Identity, **given: Any) -> bytes:
        """The text of one event, which is no read."""
        return self._through.event(action, identity, **given)

    async def record_raw(self, events: Sequence[bytes], ids: Sequence[str] | None = None) -> None:
        """Write at once."""
        await self._through.record_raw(events, ids)


def recorded_pages(routes: Sequence[Route], recorder: Recorder) -> list[Route]:
    """The same routes, each writing one record of what its page has read before the page leaves."""
    return [Route(route.path, _recorded(route.endpoint, recorder), methods=_methods(route)) for route in routes]


def _methods(route: Route) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"})


def _recorded(
    page: Callable[[Request], Awaitable[Response]], recorder: Recorder
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        reads: list[_Read] = []
        token = _reads.set(reads)
        try:
            return await page(request)
        finally:
            _reads.reset(token)
            if reads:
                await _write(reads, request.url.path, recorder)

    return endpoint


async def _write(reads: list[_Read], path: str, recorder: Recorder) -> None:
    """One record: the most telling read, and the others in `also`."""
    ordered = sorted(reads, key=lambda read: _TELLING.index(read.action))
    first, others = ordered[0], ordered[1:]
    also = [{"action": read.action, **(read.given["metadata"] or {})} for read in others]
    metadata = {**(first.given["metadata"] or {}), "page": path[:256], **({"also": also} if also else {})}
    await recorder.record(first.action, first.identity, **{**first.given, "metadata": metadata})
