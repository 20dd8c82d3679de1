"""Cases: the list, and one case with its timeline, what is decided about it and what is written to it.

What happened is worked out from the log at every look; only what people decide is kept. A line that somebody took out is said to be
out, and by whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.limits import CASE_EVIDENCE_MAX
from muniment.together import gravity
from muniment.web.alert_cards import Named, entity_url, url
from muniment.web.backend import Viewer
from muniment.web.case_answers import Case, CaseAlert, CasesBackend, CaseView, Note
from muniment.web.case_words import GapRow, LineRow, case_link, said, state_words, story
from muniment.web.refused import Refused, refused
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text

__all__ = ["CasePages"]

_STATES = (("active", "Open"), ("contained", "Contained"), ("closed", "Closed"), ("all", "All"))
_NUMBER_CHARS_MAX = 16


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case in the list."""

    case: Case
    words: str
    said: str
    about: tuple[Named, ...]
    authors: str
    changed: str
    clock: str


@dataclass(frozen=True, slots=True)
class CaseList:
    """Cases of a state. `pin`: the record that is to be pinned to one of them, -1 for none."""

    rows: tuple[CaseRow, ...]
    tabs: tuple[tuple[str, int, str, bool], ...]
    mine: tuple[str, bool]
    state: str
    pin: int
    may_handle: bool
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class OneCase:
    """One case."""

    found: CaseView
    state_words: str
    said: str
    opened: str
    closed: str
    about: tuple[Named, ...]
    alerts: tuple[tuple[CaseAlert, str], ...]
    story: tuple[LineRow | GapRow, ...]
    left_out: tuple[LineRow, ...]
    n_lines: int
    n_events: int
    in_file: str
    first: str
    last: str
    notes: tuple[tuple[Note, str], ...]
    verdicts: tuple[tuple[str, str], ...]
    n_open_alerts: int
    is_mine: bool
    may_handle: bool
    may_export: bool
    may_see_alerts: bool
    refused: Refused | None = None


class CasePages:
    """The pages."""

    def __init__(self, site: Site, backend: CasesBackend) -> None:
        self._site = site
        self._backend = backend

    async def cases(self, request: Request, viewer: Viewer) -> Response:
        """All cases, of a state or of somebody."""
        return await self._cases(request, viewer)

    async def _cases(
        self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200
    ) -> Response:
        params = request.query_params
        state = params.get("state", "active")
        state = state if state in {name for name, _ in _STATES} else "active"
        is_mine = params.get("owner", "") == viewer.id
        asked = "" if state == "all" else state
        found = await self._backend.cases(viewer, state=asked, owner=viewer.id if is_mine else "")
        look, now = self._site.look(request), self._site.backend.now_ns()
        pin = _number(params.get("pin", ""))
        counts = found.by_state
        numbers = {
            "active": counts.get("open", 0) + counts.get("contained", 0), "contained": counts.get("contained", 0),
            "closed": counts.get("closed", 0), "all": sum(counts.values()),
        }  # fmt: skip
        kept = {"owner": viewer.id if is_mine else "", "pin": str(pin) if pin >= 0 else ""}
        rows = tuple(
            CaseRow(
                each, state_words(each), said(each), _about(each, viewer), case_link(each).by, ago(each.changed_at, now),
                clock_text(each.changed_at, look.zone, "second"),
            )
            for each in found.cases
        )  # fmt: skip
        view = CaseList(
            rows,
            tuple((words, numbers[name], url("/cases", state=name, **kept), name == state) for name, words in _STATES),
            (url("/cases", state=state, owner="" if is_mine else viewer.id, pin=kept["pin"]), is_mine),
            state, pin, "alerts" in viewer.permissions, told,
        )  # fmt: skip
        shell = self._site.shell(request, "Cases", "cases", json_url=url("/api/v1/cases", state=asked))
        return self._site.render("cases.html", shell, view, status)

    async def case(self, request: Request, viewer: Viewer) -> Response:
        """One case."""
        return await self._case(request, viewer)

    async def _case(self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200) -> Response:
        found = await self._backend.case(viewer, _case_number(request))
        case, look, now = found.case, self._site.look(request), self._site.backend.now_ns()
        sees = "alerts" in viewer.permissions
        n_events = sum(each.count for each in found.lines if each.index >= 0)
        authors = {each.uid: each.author or "nobody named" for each in case.alerts}
        out = [
            each
            for each in story(found.left_out, (), authors, look.zone, sees_alerts=sees)
            if isinstance(each, LineRow)
        ]
        view = OneCase(
            found, state_words(case), said(case), clock_text(case.opened_at, look.zone, "second"),
            clock_text(case.closed_at, look.zone, "second") if case.closed_at else "", _about(case, viewer),
            tuple((each, clock_text(each.last_us * 1_000, look.zone, "second")) for each in _gravest_first(case.alerts)),
            story(found.lines, found.gaps, authors, look.zone, sees_alerts=sees), tuple(out), len(found.lines),
            n_events, "Every record" if n_events <= CASE_EVIDENCE_MAX else f"{CASE_EVIDENCE_MAX:,} records", clock_text(found.from_us * 1_000, look.zone, "second"),
            clock_text(found.to_us * 1_000, look.zone, "second"),
            tuple((each, ago(each.at, now)) for each in reversed(found.notes)), tuple(self._backend.verdicts().items()),
            sum(each.state in {"new", "in_progress"} for each in case.alerts), case.owner == viewer.id,
            "alerts" in viewer.permissions, "export" in viewer.permissions, "alerts" in viewer.permissions, told,
        )  # fmt: skip
        shell = self._site.shell(
            request, f"Case {case.number}", "cases", json_url=f"/api/v1/cases/{case.number}", horizon=found.horizon
        )
        return self._site.render("case.html", shell, view, status)

    async def open(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Open a case from an alert; where there is one, it leads there."""
        opened = await self._backend.open_case(viewer, fields.get("alert", ""))
        return redirect(f"/cases/{opened.case.number}")

    async def add(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Another alert in it."""
        case = await self._backend.add_alert(viewer, _case_number(request), fields.get("alert", ""))
        return redirect(f"/cases/{case.number}")

    async def set_state(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Contain, close, open again."""
        number = _case_number(request)
        try:
            await self._backend.set_case_state(
                viewer, number, state=fields.get("state", ""),
                verdict=fields.get("verdict", "") if fields.get("state") == "closed" else "",
                reason=fields.get("reason", "") if fields.get("state") == "closed" else "",
                version=max(0, _number(fields.get("version", ""))),
                with_alerts=fields.get("with_alerts") == "1" and fields.get("state") == "closed",
            )  # fmt: skip
        except RejectedError as error:
            return await self._told(request, viewer, "state", error, fields)
        return redirect(f"/cases/{number}")

    async def assign(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Make it one's own, or nobody's."""
        number, version = _case_number(request), max(0, _number(fields.get("version", "")))
        try:
            await self._backend.assign_case(viewer, number, viewer.id if fields.get("to") == "me" else "", version)
        except RejectedError as error:
            return await self._told(request, viewer, "state", error, fields)
        return redirect(f"/cases/{number}")

    async def note(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Write something to it."""
        number = _case_number(request)
        try:
            await self._backend.note_case(viewer, number, fields.get("text", ""))
        except RejectedError as error:
            return await self._told(request, viewer, "note", error, fields)
        return redirect(f"/cases/{number}#notes")

    async def mark(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Pin a record, take a line out, put it back."""
        number, index = _case_number(request), _number(fields.get("index", ""))
        try:
            if index < 0:
                raise RejectedError("write the number of a record", field="index")
            await self._backend.mark(viewer, number, index, fields.get("mark", ""), fields.get("reason", ""))
        except RejectedError as error:
            form = "out" if fields.get("mark") == "left_out" else "pin"
            return await self._told(request, viewer, form, error, fields)
        return redirect(f"/cases/{number}#timeline")

    async def _told(
        self, request: Request, viewer: Viewer, form: str, error: RejectedError, fields: Mapping[str, str]
    ) -> Response:
        """What was refused, beside the form."""
        if error.status == 404 and error.field == "number":
            raise error
        return await self._case(request, viewer, refused(form, error, fields), error.status)


def _about(case: Case, viewer: Viewer) -> tuple[Named, ...]:
    may = "alerts" in viewer.permissions
    return tuple(Named(each.value, entity_url(each.kind, each.value) if may else "") for each in case.about)


def _gravest_first(alerts: Sequence[CaseAlert]) -> list[CaseAlert]:
    return sorted(alerts, key=lambda each: (-gravity(each.level), -each.last_us))


def _number(text: str) -> int:
    """A whole number as typed, also `12,345`; -1 for none."""
    text = text.strip().replace(",", "").replace("\u202f", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _NUMBER_CHARS_MAX else -1


def _case_number(request: Request) -> int:
    number = _number(str(request.path_params["number"]))
    if number < 0:
        raise RejectedError("there is no such case", field="number", status=404)
    return number
