"""The preview of a block, one block with its effect, all blocks, and the list of what is never blocked.

A block is only to be had from the page that shows what it would have hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, DeniedError, RejectedError
from muniment.web.address import Address
from muniment.web.alert_cards import Named, as_listed, entity_query, entity_url, event_clock
from muniment.web.backend import Viewer
from muniment.web.block_words import BlockLine, asked_by, block_lines, state_of, state_words
from muniment.web.case_words import CaseLink, case_link
from muniment.web.refused import Refused, refused
from muniment.web.security import Alert, Allowed, Block, Entity, Fetch, SecurityBackend
from muniment.web.site import Site, redirect
from muniment.web.times import absolute, ago, clock_text, span_text

__all__ = ["BlockPages"]

_CASES = 5
_NEAR = 50
_FIRST_NS = 5 * 10**9
_QUIET_NS = 60 * 10**9
_LATE_NS = 180 * 10**9
"""So long nothing comes before a block is said to work: where nothing came at all, and where something did.
From the last on, who fetched it should have acted on it."""
_HOURS = ((1, "1 hour"), (24, "24 hours"), (168, "7 days"), (720, "30 days"))


@dataclass(frozen=True, slots=True)
class PreviewView:
    """What a block would have hit, and the form that asks for it. `open`: the block of it that is there already."""

    entity: Entity
    word: str
    reason: str
    alert: str
    hours: tuple[tuple[int, str], ...]
    first: str
    last_success: str
    back: str
    people: tuple[Named, ...]
    ends_sessions: bool = False
    open: BlockLine | None = None
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block and its effect."""

    block: Block
    word: str
    state_words: str
    effect: str
    is_effective: bool
    since: str
    until: str
    ended: str
    span: str
    fetches: tuple[tuple[Fetch, str], ...]
    feeds: tuple[tuple[str, str], ...]
    may_block: bool
    may_approve: bool
    entity_url: str
    search: str
    all_url: str
    alert: Alert | None
    asked_by: str
    hits: Entity | None = None
    people: tuple[Named, ...] = ()
    refused: Refused | None = None
    cases: tuple[CaseLink, ...] = ()
    near: tuple[CaseLink, ...] = ()
    may_open: bool = False

    @property
    def is_over(self) -> bool:
        """Is it in force no more? What came from there is then neither good nor bad news."""
        return bool(self.block.ended_at)


@dataclass(frozen=True, slots=True)
class BlocksView:
    """All blocks, the allow-list and the feeds."""

    active: tuple[tuple[Block, str, str], ...]
    asked: tuple[tuple[Block, str, str], ...]
    ended: tuple[tuple[Block, str, str], ...]
    allowed: tuple[Allowed, ...]
    feeds: tuple[tuple[str, str], ...]
    fetches: tuple[tuple[Fetch, str], ...]
    may_block: bool
    refused: Refused | None = None


class BlockPages:
    """The pages."""

    def __init__(self, site: Site, backend: SecurityBackend) -> None:
        self._site = site
        self._backend = backend

    async def preview(self, request: Request, viewer: Viewer) -> Response:
        """What a block would have hit, and the form that asks for it."""
        if "block" not in viewer.permissions:
            raise DeniedError("blocking needs the permission 'block'", permission="block")
        params = request.query_params
        kind, value, alert = params.get("kind", "address"), params.get("v", "").strip(), params.get("alert", "")
        try:
            return await self._preview(request, viewer, _meant(kind, value), value, alert)
        except RejectedError as error:
            told = RejectedError(_with_advice(error, kind, value), status=error.status)
            typed = {"kind": kind, "v": value}
            return await self._blocks(request, viewer, refused("block", told, typed, "v"), error.status)

    async def _preview(
        self, request: Request, viewer: Viewer, kind: str, value: str, alert_id: str, told: Refused | None = None,
        status: int = 200,
    ) -> Response:  # fmt: skip
        found = await self._backend.preview(viewer, kind, value)
        if told and told.field == "alert":  # the form does not show it, so it comes back without
            alert_id = ""
        look, now = self._site.look(request), self._site.backend.now_ns()
        reason = told.was("block", "reason") if told else ""
        if alert_id and not told:
            alert = await self._backend.alert(viewer, alert_id)
            near = (await self._backend.alerts(viewer, entity=found.value, limit=_NEAR)).alerts
            others = [each for each in near if each.uid != alert.uid]
            reason = f"{alert.title}: {as_listed(alert, others, now, look.zone).facts}"
        lines = block_lines(found.blocks, found.kind, found.value, now, look.zone)
        view = PreviewView(
            found, found.kind, reason, alert_id, _HOURS, event_clock(found.first_us, look.zone),
            event_clock(found.last_success_us, look.zone), entity_url(found.kind, found.value, alert_id),
            _people(found), found.kind == "account" and self._backend.ends_sessions(),
            next((line for line in lines if line.is_open and line.is_own), None), told,
        )  # fmt: skip
        return self._site.render(
            "block_preview.html", self._site.shell(request, f"Block {found.value}?", "blocks"), view, status
        )

    async def block(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Block what the preview showed; what is refused is told beside what was typed, under a new look at what it hits."""
        hours, kind, value = fields.get("hours", "24"), fields.get("kind", ""), fields.get("value", "")
        try:
            made = await self._backend.block(
                viewer, kind=kind, value=value, preview=fields.get("preview", ""),
                hours=int(hours) if hours.isdecimal() and len(hours) < 6 else 0, reason=fields.get("reason", ""),
                alert=fields.get("alert", ""), accounts=_number(fields.get("accounts", "")),
                end_sessions=fields.get("end_sessions") == "1",
            )  # fmt: skip
        except RejectedError as error:
            told = refused("block", error, fields)
            return await self._preview(request, viewer, kind, value, fields.get("alert", ""), told, error.status)
        return redirect(f"/blocks/{made.id}")

    async def one_block(self, request: Request, viewer: Viewer) -> Response:
        """One block and its effect."""
        return await self._one_block(request, viewer)

    async def _one_block(
        self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200
    ) -> Response:
        block = await self._backend.one_block(viewer, request.path_params["id"])
        look, now = self._site.look(request), self._site.backend.now_ns()
        effect, is_effective = _effect(block, now, look.zone)
        alert = None
        if block.alert:
            try:
                alert = await self._backend.alert(viewer, block.alert)
            except AuditError:  # an alert so old that it is only an event now
                alert = None
        fetches = (await self._backend.blocks(viewer)).fetches
        may_approve = "block" in viewer.permissions and viewer.id != block.asked_person
        hits = await self._backend.block_hits(viewer, block.id) if block.state == "asked" and may_approve else None
        view = BlockView(
            block, block.kind, state_words(block, now), effect, is_effective,
            clock_text(block.active_at or block.asked_at, look.zone, "second"),
            clock_text(block.expires_at, look.zone, "second"),
            clock_text(block.ended_at, look.zone, "second") if block.ended_at else "",
            span_text(block.expires_at - (block.active_at or block.asked_at)),
            tuple((each, ago(each.at, now)) for each in sorted(fetches, key=lambda each: -each.at)[:8]),
            tuple(self._backend.feeds().items()), "block" in viewer.permissions,
            may_approve, entity_url(block.kind, block.value),
            Address(entity_query(block.kind, block.value), absolute(block.active_at or block.asked_at, now)).url(),
            Address(entity_query(block.kind, block.value), "30d").url(), alert, asked_by(block),
            hits, _people(hits) if hits else (), told, *await self._cases(viewer, block, alert),
        )  # fmt: skip
        is_open = block.state in {"active", "asked"}
        shell = self._site.shell(
            request,
            f"Block of {block.value}",
            "blocks",
            json_url=f"/api/v1/blocks/{block.id}",
            refresh_s=10 if is_open and hits is None and told is None else 0,  # who reads and types is not interrupted
        )
        return self._site.render("block.html", shell, view, status)

    async def _cases(
        self, viewer: Viewer, block: Block, alert: Alert | None
    ) -> tuple[tuple[CaseLink, ...], tuple[CaseLink, ...], bool]:
        """Cases about what is blocked; open ones for its alert; and whether one may be opened from here."""
        by_value = (
            [] if block.kind == "key" else (await self._backend.cases(viewer, kind=block.kind, value=block.value)).cases
        )
        if alert is None:
            return tuple(map(case_link, by_value[:_CASES])), (), False
        inside = await self._backend.cases(viewer, alert=alert.uid)
        every = {each.number: each for each in (*inside.cases, *by_value)}
        near = () if inside.cases else tuple(map(case_link, inside.near[:_CASES]))
        may_open = not inside.cases and "alerts" in viewer.permissions
        return tuple(map(case_link, list(every.values())[:_CASES])), near, may_open

    async def blocks(self, request: Request, viewer: Viewer) -> Response:
        """All blocks, the allow-list and the feeds."""
        return await self._blocks(request, viewer)

    async def _blocks(
        self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200
    ) -> Response:
        found, allowed = await self._backend.blocks(viewer), await self._backend.allowed(viewer)
        now = self._site.backend.now_ns()

        def of(states: Sequence[str]) -> tuple[tuple[Block, str, str], ...]:
            return tuple(
                (b, state_words(b, now), entity_url(b.kind, b.value))
                for b in found.blocks
                if state_of(b, now) in states
            )

        view = BlocksView(
            of(["active"]), of(["asked"]), of(["undone", "expired"])[:50], tuple(allowed),
            tuple(self._backend.feeds().items()),
            tuple((each, ago(each.at, now)) for each in sorted(found.fetches, key=lambda each: -each.at)[:12]),
            "block" in viewer.permissions, told,
        )  # fmt: skip
        shell = self._site.shell(request, "Blocks", "blocks", json_url="/api/v1/blocks")
        return self._site.render("blocks.html", shell, view, status)

    async def approve(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Agree to a block."""
        try:
            await self._backend.approve(viewer, request.path_params["id"], _number(fields.get("accounts", "")))
        except RejectedError as error:
            if error.status == 404:
                raise
            return await self._one_block(request, viewer, refused("approve", error, fields), error.status)
        return redirect(f"/blocks/{quote(request.path_params['id'])}")

    async def undo(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End a block."""
        try:
            await self._backend.undo(viewer, request.path_params["id"])
        except RejectedError as error:
            if error.status == 404:
                raise
            return await self._one_block(request, viewer, refused("approve", error, fields), error.status)
        return redirect(f"/blocks/{quote(request.path_params['id'])}")

    async def allow(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Put a network on the allow-list."""
        try:
            await self._backend.allow(viewer, fields.get("network", ""), fields.get("title", ""))
        except RejectedError as error:
            return await self._blocks(request, viewer, refused("allow", error, fields), error.status)
        return redirect("/blocks#allowed")

    async def disallow(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take a network off the allow-list."""
        try:
            await self._backend.disallow(viewer, fields.get("network", ""))
        except RejectedError as error:
            told = refused("disallow", RejectedError(error.reason), fields)
            return await self._blocks(request, viewer, told, error.status)
        return redirect("/blocks#allowed")


def _meant(kind: str, value: str) -> str:
    """A range typed as an address is meant as one: the preview shows which it is."""
    return "range" if kind == "address" and "/" in value else kind


def _with_advice(error: RejectedError, kind: str, value: str) -> str:
    """Why a value was refused, and what to choose instead where that is plain."""
    is_name = kind in {"address", "range"} and any(each.isalpha() for each in value) and ":" not in value
    return f"{error.reason}; choose Account or API key if it is one" if is_name else error.reason


def _people(found: Entity) -> tuple[Named, ...]:
    return tuple(Named(f"{each.value} ({each.count:,})", entity_url("account", each.value)) for each in found.people)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _effect(block: Block, now_ns: int, zone: tzinfo) -> tuple[str, bool]:
    """What has come from there since, in a sentence, and whether that is good.

    Who refuses hears of a block seconds after it was made, and an attack goes on meanwhile: it is verified once nothing has
    come for a while that we can see.
    """
    if not block.active_at:
        return "Not in force: nothing is refused yet.", False
    n = "1 event" if block.attempts_since == 1 else f"{block.attempts_since:,} events"
    since, last = clock_text(block.active_at, zone, "second"), clock_text(block.last_us * 1_000, zone, "second")
    if block.ended_at:
        found = f"{n} while it was in force, the last at {last}." if block.attempts_since else ""
        return found or "Nothing came from there while it was in force.", False
    seen = f" Seen to {clock_text(block.seen_to, zone, 'second')}." if block.seen_to else ""
    came = f"{n} since {since}, the last at {last}" if block.attempts_since else f"0 attempts since {since}"
    if not block.taken_at:
        return f"{came}, but nobody who refuses has heard of it yet: nothing is verified.{seen}", False
    quiet_ns = block.seen_to - max(block.active_at, block.last_us * 1_000)
    if quiet_ns < (_QUIET_NS if block.attempts_since else _FIRST_NS):
        is_late = block.seen_to - block.active_at > _LATE_NS
        why = (
            "is it refused? Look whether the system in front of it uses the feed" if is_late else "wait a minute to see"
        )
        return f"{came}. The block was fetched; {why}.{seen}", False
    if not block.attempts_since:
        return f"{came}: effect verified.{seen}", True
    return f"0 attempts since {last}: effect verified. Before, {n} came after the block was made.{seen}", True
