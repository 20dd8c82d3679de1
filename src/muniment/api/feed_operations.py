"""Operations of whoever refuses what is blocked: the feeds they fetch, and the check that an SDK asks."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from muniment.api.operations import HEADERS, Call, Empty, Operation
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.respond.block import written
from muniment.respond.feeds import FEEDS, etag, rendered

__all__ = ["feed_operations"]


class CheckParams(msgspec.Struct, frozen=True):
    address: Annotated[str, Meta(max_length=64)] = ""
    account: Annotated[str, Meta(max_length=320)] = ""
    key: Annotated[str, Meta(max_length=320)] = ""


class CheckAnswer(msgspec.Struct, frozen=True):
    """Is any of what was asked for blocked now, by which block and until when (ns)?"""

    is_blocked: bool
    block: str = ""
    until: int = 0


def feed_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    p = _Publishing(services)
    media_types = tuple(sorted({feed.media_type for feed in FEEDS.values()}))
    return [
        Operation("GET", "/api/v1/blocks/check", "block_check", "Is an address, account or key blocked now?", "feeds",
                  p.check, params=CheckParams, answer=CheckAnswer, tag="response"),
        Operation("GET", "/feeds/{name}", "feed", "Active blocks as a file for nginx, HAProxy, nftables, fail2ban, STIX",
                  "feeds", p.feed, media_types=media_types, tag="response"),
    ]  # fmt: skip


class _Publishing:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def check(self, call: Call[CheckParams, Empty]) -> CheckAnswer:
        """Answered from memory and not recorded: an application asks at every login."""
        p = call.params
        asked = [("address", p.address), ("account", p.account), ("key", p.key)]
        wanted = [written(kind, value) for kind, value in asked if value]
        if not wanted:
            raise RejectedError("ask for an address, an account or a key", field="address")
        now = self._s.clock()
        for kind, value in wanted:
            block = self._s.blocks.find(kind, value, now)
            if block is not None:
                return CheckAnswer(True, block.id, block.expires_at)
        return CheckAnswer(False)

    async def feed(self, call: Call[Empty, Empty]) -> Response:
        """A fetch that brings something new is recorded; one that hears "unchanged" is not: there are thousands a day."""
        name = str(call.path["name"])
        if name not in FEEDS:
            raise RejectedError(f"there is no such feed; there are {', '.join(FEEDS)}", field="name", status=404)
        now, feed = self._s.clock(), FEEDS[name]
        blocks = [block for block in self._s.blocks.active(now) if block.kind in feed.kinds]
        if feed.has_undone:
            blocks += [block for block in self._s.blocks.since_undone(now) if block.kind in feed.kinds]
        tag = etag(name, blocks)
        headers = HEADERS | {"ETag": tag, "Cache-Control": "no-cache"}
        who, address = call.identity, call.client_ip
        await self._s.blocking(lambda: self._s.blocks.note_fetch(name, who.name, now, id=who.id, address=address))
        held = call.headers.get("if-none-match", "")
        # Weak comparison (RFC 9110, 13.1.2): what is between the quotes, with or without W/ before it.
        if tag.removeprefix("W/") in held or held.strip() == "*":
            return Response(None, 304, headers)
        await self._s.recorder.note(call, "feed.fetch", "feed", name, results=len(blocks))
        return Response(rendered(name, blocks, now), 200, headers, feed.media_type)
