"""Blocks as a TAXII 2.1 collection (OASIS): discovery, one API root, one collection, its objects and manifest. Read only.

An object was added when it last changed, so who asks with `added_after` hears of every block made and undone since. The
order is that of adding; a page says in `next` where the following one begins. Media types, headers, filters and paging are
sections 1.6, 3 and 5 of the specification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from muniment.api.operations import HEADERS, Call, Empty, Operation
from muniment.api.services import Services
from muniment.errors import DeniedError, RejectedError
from muniment.limits import API_BODY_BYTES_MAX, TAXII_PAGE_MAX
from muniment.respond.block import Block
from muniment.respond.stix import changed_at, indicator, indicator_id, microseconds

__all__ = ["COLLECTION", "taxii_operations"]

COLLECTION: Final = "6f0a3c52-5b0f-4b8e-9d1c-2a4de7b0c6f1"
"""The id of the one collection, the same everywhere; `blocks` is its alias."""

_MEDIA: Final = "application/taxii+json;version=2.1"
_STIX: Final = "application/stix+json;version=2.1"
_ROOT: Final = "/taxii2/muniment/"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
_List = Annotated[list[str], Meta(max_length=100)]


class TaxiiParams(
    msgspec.Struct, frozen=True,
    rename={"match_id": "match[id]", "match_type": "match[type]", "match_version": "match[version]",
            "match_spec_version": "match[spec_version]"},
):  # fmt: skip
    """Filters and paging of objects and manifest."""

    added_after: Annotated[str, Meta(max_length=40)] = ""
    limit: Annotated[int, Meta(ge=1)] = TAXII_PAGE_MAX
    next: Annotated[str, Meta(max_length=80)] = ""
    match_id: _List = []
    match_type: _List = []
    match_version: _List = []
    match_spec_version: _List = []


def taxii_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    t = _Taxii(services)
    many = frozenset({"match[id]", "match[type]", "match[version]", "match[spec_version]"})
    one = f"{_ROOT}collections/{{id}}/"

    def get(path: str, name: str, summary: str, handler: Any, params: type[Any] = Empty) -> Operation:
        return Operation(
            "GET", path, name, summary, "feeds", handler, params=params, media_types=(_MEDIA,), tag="taxii",
            list_params=many if params is TaxiiParams else frozenset(), refusals=frozenset({404, 406}),
        )  # fmt: skip

    return [
        get("/taxii2/", "taxii_discovery", "TAXII 2.1: where the API roots are", t.discovery),
        get(_ROOT, "taxii_root", "TAXII 2.1: the API root", t.root),
        get(f"{_ROOT}status/{{id}}/", "taxii_status", "TAXII 2.1: there are no requests to ask about", t.status),
        get(f"{_ROOT}collections/", "taxii_collections", "TAXII 2.1: the collections", t.collections),
        get(one, "taxii_collection", "TAXII 2.1: the collection of blocks", t.collection),
        get(f"{one}manifest/", "taxii_manifest", "TAXII 2.1: what is in the collection", t.manifest, TaxiiParams),
        get(f"{one}objects/", "taxii_objects", "TAXII 2.1: blocks as STIX 2.1 indicators", t.objects, TaxiiParams),
        get(f"{one}objects/{{object}}/", "taxii_object", "TAXII 2.1: one indicator", t.object, TaxiiParams),
        get(f"{one}objects/{{object}}/versions/", "taxii_versions", "TAXII 2.1: versions of one indicator", t.versions,
            TaxiiParams),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Page:
    """Some of the blocks, in the order of adding; `following`: the token of the rest, "" when there is none."""

    blocks: Sequence[Block]
    following: str


class _Taxii:
    """The handlers. A fetch of objects is recorded, unless there is nothing new in it."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def discovery(self, call: Call[Empty, Empty]) -> Response:
        root = f"{self._s.settings.base_url.rstrip('/')}{_ROOT}"
        title = "Muniment"
        return _answer(call, {"title": title, "description": "Blocks in force", "default": root, "api_roots": [root]})

    async def root(self, call: Call[Empty, Empty]) -> Response:
        return _answer(call, {"title": "Blocks", "versions": [_MEDIA], "max_content_length": API_BODY_BYTES_MAX})

    async def status(self, call: Call[Empty, Empty]) -> Response:
        raise RejectedError("nothing was sent here, so there is no status of it", field="id", status=404)

    async def collections(self, call: Call[Empty, Empty]) -> Response:
        return _answer(call, {"collections": [_COLLECTION]})

    async def collection(self, call: Call[Empty, Empty]) -> Response:
        _known(call)
        return _answer(call, _COLLECTION)

    async def manifest(self, call: Call[TaxiiParams, Empty]) -> Response:
        page = await self._page(call)
        entries = [
            {
                "id": indicator_id(block), "date_added": microseconds(changed_at(block)),
                "version": indicator(block)["modified"], "media_type": _STIX,
            }
            for block in page.blocks
        ]  # fmt: skip
        return _answer(call, _envelope(page, "objects", entries), _dates(page))

    async def objects(self, call: Call[TaxiiParams, Empty]) -> Response:
        page = await self._page(call)
        return _answer(call, _envelope(page, "objects", [indicator(block) for block in page.blocks]), _dates(page))

    async def object(self, call: Call[TaxiiParams, Empty]) -> Response:
        return await self.objects(self._one(call))

    async def versions(self, call: Call[TaxiiParams, Empty]) -> Response:
        page = await self._page(self._one(call))
        return _answer(
            call, _envelope(page, "versions", [indicator(block)["modified"] for block in page.blocks]), _dates(page)
        )

    def _one(self, call: Call[TaxiiParams, Empty]) -> Call[TaxiiParams, Empty]:
        """The same call for one object only. Raises RejectedError with status 404 when there is none."""
        wanted = str(call.path["object"])
        if not any(indicator_id(block) == wanted for block in self._s.blocks.ever_active()):
            raise RejectedError("there is no such object", field="object", status=404)
        params = msgspec.structs.replace(call.params, match_id=[wanted])
        return Call(
            call.identity, params, call.body, call.path, call.client_ip, call.user_agent, call.is_current, call.headers
        )

    async def _page(self, call: Call[TaxiiParams, Empty]) -> _Page:
        _known(call)
        p = call.params
        after, following = _time(p.added_after), _token(p.next) if p.next else (0, "")
        found = sorted(
            (block for block in self._s.blocks.ever_active() if _is_wanted(block, p)),
            key=lambda block: (changed_at(block), block.id),
        )
        rest = [b for b in found if changed_at(b) > after and (changed_at(b), b.id) > following]
        limit = min(p.limit, TAXII_PAGE_MAX)
        page = _Page(rest[:limit], "")
        if len(rest) > limit:
            page = _Page(rest[:limit], f"{changed_at(rest[limit - 1])}.{rest[limit - 1].id}")
        now = self._s.clock()
        who, address = call.identity, call.client_ip
        await self._s.blocking(lambda: self._s.blocks.note_fetch("taxii2", who.name, now, id=who.id, address=address))
        if page.blocks:
            await self._s.recorder.record(
                "feed.fetch", call.identity, targets=[{"type": "feed", "id": "taxii2"}], client_ip=call.client_ip,
                user_agent=call.user_agent, metadata={"results": len(page.blocks)},
            )  # fmt: skip
        return page


_COLLECTION: Final = {
    "id": COLLECTION, "title": "Blocks", "description": "What is refused now, and what no longer is", "alias": "blocks",
    "can_read": True, "can_write": False, "media_types": [_STIX],
}  # fmt: skip


def _known(call: Call[Any, Any]) -> None:
    if call.path["id"] not in {COLLECTION, "blocks"}:
        raise RejectedError("there is no such collection", field="id", status=404)
    if call.identity.scope:
        raise DeniedError("blocks are about all rows; this key sees some rows only", permission="feeds")


def _is_wanted(block: Block, p: TaxiiParams) -> bool:
    versions = p.match_version or ["last"]
    return (
        (not p.match_id or indicator_id(block) in p.match_id)
        and (not p.match_type or "indicator" in p.match_type)
        and (not p.match_spec_version or "2.1" in p.match_spec_version)
        # Only the newest version is kept, which is the first, the last and all of them.
        and any(v in {"first", "last", "all"} or v == indicator(block)["modified"] for v in versions)
    )


def _time(text: str) -> int:
    """A time of the specification as nanoseconds; 0 for none."""
    if not text:
        return 0
    if not _TIME.fullmatch(text):
        raise RejectedError("expected a time like 2026-11-27T10:00:00.000001Z", field="added_after")
    whole, _, rest = text[:-1].partition(".")
    try:
        seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise RejectedError("there is no such time", field="added_after") from None
    # The end of its microsecond: what was added within it has been seen.
    return int(seconds) * 10**9 + int((rest or "0").ljust(9, "0")) // 1_000 * 1_000 + 999


def _token(text: str) -> tuple[int, str]:
    at, _, id = text.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) < 20 and id):
        raise RejectedError("is not what an earlier page said", field="next")
    return int(at), id


def _envelope(page: _Page, name: str, items: Sequence[Any]) -> dict[str, Any]:
    more = {"more": True, "next": page.following} if page.following else {"more": False}
    return more | ({name: items} if items else {})


def _dates(page: _Page) -> dict[str, str]:
    if not page.blocks:
        return {}
    return {
        "X-TAXII-Date-Added-First": microseconds(changed_at(page.blocks[0])),
        "X-TAXII-Date-Added-Last": microseconds(changed_at(page.blocks[-1])),
    }


def _answer(call: Call[Any, Any], body: object, headers: dict[str, str] | None = None) -> Response:
    accepted = [part.strip().lower().replace(" ", "") for part in call.headers.get("accept", "*/*").split(",")]
    fitting = {_MEDIA, "application/taxii+json", "application/*", "*/*", ""}
    if not any(re.sub(r";q=[0-9.]+$", "", part) in fitting for part in accepted):
        raise RejectedError(f"this is {_MEDIA}", field="accept", status=406)
    return Response(msgspec.json.encode(body), 200, HEADERS | (headers or {}), _MEDIA)
