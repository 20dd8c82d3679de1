"""The page of one event: what happened, what changed, the original, what was near, and its proof."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, RejectedError
from muniment.sources.useragent import describe
from muniment.web.address import Address
from muniment.web.alert_cards import entity_url
from muniment.web.backend import EventRecord, Horizon, Proof, Viewer, Wanted
from muniment.web.fields import FIELDS, GROUPS, ROW_COLUMNS, Field
from muniment.web.json_view import Change, Run, changes, json_runs, parsed
from muniment.web.proving import Fold, Verdict, folds, verdict
from muniment.web.query_text import quoted
from muniment.web.rows import cell_text, row, time_ns
from muniment.web.sentence import Piece, sentence, sentence_text
from muniment.web.shown import plain
from muniment.web.site import Look, Site
from muniment.web.times import absolute, clock_text, span_text, utc_text

__all__ = ["EventPages"]

_AROUND_NS = 300 * 10**9
_NEAR_FIELDS = ("request_id", "session_id", "actor_id", "src_ip")
_NEAR_WORDS = {"request_id": "request", "session_id": "session", "actor_id": "actor", "src_ip": "IP address"}
_ENTITIES = (
    {"src_ip": "address"} | dict.fromkeys(("actor_id", "actor_name", "actor_email"), "account") | {"session_id": "key"}
)
_KEY_CHARS_MIN = 8
"""What a session is called by is often the key it used (CloudTrail, GitHub); shorter ones are numbers of processes."""
_SUMMARY = (
    ("Who", ("actor_name", "actor_email", "actor_id", "on_behalf_of")),
    ("What", ("action", "activity_name")),
    ("On what", ("target_name", "target_type", "target_id")),
    ("Where", ("src_ip", "src_country", "device_name", "dst_host")),
    ("Outcome", ("outcome", "status_detail")),
    ("Why", ("reason", "request_id")),
)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One value with the searches it leads to; `note` says in words what a value means; `about`: the page of what it names."""

    field: Field
    text: str
    include: str
    exclude: str
    note: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An event close by. `offset` as `+00:42`; `shares`: what both have in common."""

    url: str
    offset: str
    clock: str
    outcome: str
    pieces: tuple[Piece, ...]
    shares: tuple[str, ...]
    is_this: bool


@dataclass(frozen=True, slots=True)
class ProofView:
    """The proof's pieces as text, and the downloads."""

    proof: Proof
    leaf_text: str
    leaf_b64: str
    leaf_hash: str
    folds: tuple[Fold, ...]
    age: str
    check_url: str
    tlog_url: str
    evidence_url: str
    json_url: str


@dataclass(frozen=True, slots=True)
class EventView:
    """Everything the page of one event shows. `proof` None with the reason in `proof_problem`."""

    index: int
    event_id: str
    pieces: tuple[Piece, ...]
    outcome: str
    clock: str
    time: str
    zone_name: str
    received: str
    delay: str
    is_late: bool
    summary: tuple[tuple[str, tuple[FieldRow, ...]], ...]
    changes: tuple[Change, ...]
    n_same: int
    shows_same: bool
    toggle_same: str
    ocsf: tuple[Run, ...]
    original: tuple[Run, ...]
    original_raw: str
    n_sealed: int
    groups: tuple[tuple[str, tuple[FieldRow, ...]], ...]
    near: tuple[Neighbour, ...]
    near_links: tuple[tuple[str, str], ...]
    proof: ProofView | None
    proof_problem: str
    back: str
    quarantine: str
    drill: str


@dataclass(frozen=True, slots=True)
class ProofPage:
    """The verification, step by step."""

    index: int
    sentence: str
    proof: ProofView
    verdict: Verdict
    event_url: str


class EventPages:
    """`/events/{index}` and its verification."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._backend = site.backend

    async def page(self, request: Request, viewer: Viewer) -> Response:
        """One event."""
        address = Address.of(request.query_params)
        look = self._site.look(request)
        event = await self._event(request, viewer)
        near, proof, status = await asyncio.gather(
            self._near(viewer, event, address, look), self._proof(viewer, event.index), self._backend.status(viewer)
        )
        shows_same = request.query_params.get("fields") == "all"
        view = self._view(event, address, look, near, proof, shows_same, "alerts" in viewer.permissions)
        shell = self._site.shell(
            request,
            plain(sentence_text(list(view.pieces))),
            "search",
            json_url=f"/api/v1/events/{event.index}",
            horizon=near[1] or status.horizon,
        )
        return self._site.render("event.html", shell, view)

    async def proof(self, request: Request, viewer: Viewer) -> Response:
        """The server's own verification of one record, every step with both values."""
        event = await self._event(request, viewer)
        proof, status = await asyncio.gather(self._backend.proof(viewer, event.index), self._backend.status(viewer))
        view = ProofPage(
            event.index,
            sentence_text(sentence(event.columns)),
            self._proof_view(proof),
            verdict(proof, str(event.columns.get("id", ""))),
            f"/events/{event.index}",
        )
        shell = self._site.shell(
            request, f"Proof of record {event.index}", "search", json_url=view.proof.json_url, horizon=status.horizon
        )
        return self._site.render("proof.html", shell, view, 200 if view.verdict.is_valid else 500)

    async def _event(self, request: Request, viewer: Viewer) -> EventRecord:
        text = request.path_params["index"]
        if not (text.isascii() and text.isdigit() and len(text) < 18):
            raise RejectedError("an index is a whole number from 0", field="index", status=404)
        event = await self._backend.event(viewer, int(text))
        if event is None:
            raise RejectedError(f"there is no record {text} that you may see", field="index", status=404)
        return event

    async def _proof(self, viewer: Viewer, index: int) -> ProofView | str:
        try:
            return self._proof_view(await self._backend.proof(viewer, index))
        except AuditError as error:
            return str(error)

    def _proof_view(self, proof: Proof) -> ProofView:
        path = f"/api/v1/events/{proof.index}/proof"
        return ProofView(
            proof,
            proof.leaf.decode("utf-8", "replace"),
            base64.b64encode(proof.leaf).decode(),
            proof.leaf_hash.hex(),
            tuple(folds(proof)),
            "",
            f"/events/{proof.index}/proof",
            path,
            f"/api/v1/evidence?indexes={proof.index}",
            f"{path}?format=json",
        )

    async def _near(
        self, viewer: Viewer, event: EventRecord, address: Address, look: Look
    ) -> tuple[tuple[Neighbour, ...], Horizon | None]:
        columns = event.columns
        at = time_ns(columns.get("time"))
        values = {name: cell_text(FIELDS[name], columns.get(name), look.zone) for name in _NEAR_FIELDS}
        parts = [f"{FIELDS[name].query or name}:{quoted(text)}" for name, text in values.items() if text]
        if not parts:
            return (), None
        wanted = Wanted(" OR ".join(parts), max(0, at - _AROUND_NS), at + _AROUND_NS)
        page = await self._backend.search(
            viewer, wanted, limit=30, cursor=None, order="asc", columns=[*ROW_COLUMNS, *_NEAR_FIELDS]
        )
        found = []
        for item in page.rows:
            shown_row = row(item, replace(address, columns=()), look.zone)
            shares = tuple(
                _NEAR_WORDS[name]
                for name, text in values.items()
                if text and cell_text(FIELDS[name], item.get(name), look.zone) == text
            )
            found.append(
                Neighbour(shown_row.url, _offset(time_ns(item.get("time")) - at), shown_row.clock, shown_row.outcome,
                          shown_row.pieces, shares, shown_row.index == event.index)
            )  # fmt: skip
        return tuple(found), page.horizon

    def _view(
        self,
        event: EventRecord,
        address: Address,
        look: Look,
        near: tuple[tuple[Neighbour, ...], Horizon | None],
        proof: ProofView | str,
        shows_same: bool,
        may_look: bool,
    ) -> EventView:
        c = event.columns
        at, received = time_ns(c.get("time")), time_ns(c.get("received_at"))
        known = {name: _field_row(name, c, look) for name in FIELDS}
        compared = changes(parsed(str(c.get("changes_before") or "")), parsed(str(c.get("changes_after") or "")))
        n_same = sum(change.kind == "same" for change in compared)
        back = address.url()
        here = f"/events/{event.index}{address.url('')}"
        around = absolute(max(0, at - _AROUND_NS), at + _AROUND_NS)
        if (session := known.get("session_id")) is not None:
            known["session_id"] = _led("session_id", session, may_look)
        return EventView(
            index=event.index,
            event_id=str(c.get("id", "")),
            pieces=tuple(sentence(c)),
            outcome=str(c.get("outcome") or "unknown"),
            clock=clock_text(at, look.zone),
            time=utc_text(at),
            zone_name=look.zone_name,
            received=clock_text(received, look.zone),
            delay=_delay(received - at),
            is_late=bool(c.get("late")),
            summary=tuple(
                (title, tuple(_led(n, r, may_look) for n in names if (r := known[n]) is not None))
                for title, names in _SUMMARY
            ),
            changes=tuple(change for change in compared if shows_same or change.kind != "same"),
            n_same=n_same,
            shows_same=shows_same,
            toggle_same=here if shows_same else here + ("&" if "?" in here else "?") + "fields=all",
            ocsf=tuple(json_runs(event.ocsf)),
            original=tuple(_original(event.record)),
            original_raw=event.record,
            n_sealed=event.record.count("$sealed"),
            groups=tuple(
                (group, tuple(r for r in known.values() if r is not None and r.field.group == group))
                for group in GROUPS
            ),
            near=near[0],
            near_links=tuple(
                (f"same {_NEAR_WORDS[name]}", Address(f"{FIELDS[name].query or name}:{quoted(r.text)}", around).url())
                for name in _NEAR_FIELDS
                if (r := known.get(name) or _field_row(name, c, look)) is not None
            ),
            proof=proof if isinstance(proof, ProofView) else None,
            proof_problem=proof if isinstance(proof, str) else "",
            back=back,
            quarantine=str(c.get("quarantine") or ""),
            drill=str(c.get("drill") or ""),
        )


def _field_row(name: str, columns: Mapping[str, object], look: Look) -> FieldRow | None:
    field = FIELDS[name]
    text = cell_text(field, columns.get(name), look.zone)
    if not text or (text == "0" and field.style == "number" and name != "index") or (name == "late" and text == "no"):
        return None
    base, query = Address(), field.query or name
    return FieldRow(
        field,
        text,
        base.including(query, text) if field.is_filter else "",
        base.excluding(query, text) if field.is_filter else "",
        describe(text).words if name == "user_agent" else "",
    )


def _led(name: str, found: FieldRow, may_look: bool) -> FieldRow:
    """With the page of the address, account or key it names: what else it did, and whether it is blocked."""
    kind = _ENTITIES.get(name, "")
    if kind == "key" and len(found.text) < _KEY_CHARS_MIN:
        return found
    return replace(found, about=entity_url(kind, found.text)) if may_look and kind else found


def _original(record: str) -> list[Run]:
    value = parsed(record)
    return [Run("string", record)] if value is None else json_runs(value)


def _offset(delta_ns: int) -> str:
    sign = "−" if delta_ns < 0 else "+"
    seconds, rest = divmod(abs(delta_ns), 10**9)
    return f"{sign}{seconds // 60:d}:{seconds % 60:02d}.{rest // 100_000_000}"


def _delay(delta_ns: int) -> str:
    if abs(delta_ns) < 10**9:
        return f"{abs(delta_ns) // 10**6} ms {'after' if delta_ns >= 0 else 'before'} it happened"
    return f"{span_text(abs(delta_ns))} {'after' if delta_ns >= 0 else 'before'} it happened"
