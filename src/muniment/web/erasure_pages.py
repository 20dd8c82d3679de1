"""Requests to erase a person: what waits for a second administrator, what is under way, what was done.

Approving asks for the identifier once more: it cannot be undone, and who approves must have read whom it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import DeniedError, RejectedError
from muniment.web.backend import SourceStatus, Viewer
from muniment.web.people_pages import person_tabs
from muniment.web.refused import Refused, refused
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text

__all__ = ["Erasure", "ErasurePages", "ErasuresBackend"]


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request. `subjects`: how many keys of the person there are now; `identifier` is empty once they are destroyed.

    `asked_person`: whose request it is; empty: nobody's in particular. `done_at` 0: not yet. Times in nanoseconds.
    """

    number: int
    identifier: str
    source: str
    reason: str
    asked_by: str
    asked_at: int
    approved_by: str
    done_at: int
    subjects: int
    asked_person: str = ""


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """A request. `state`: waits, running, stopped or done; `may_approve`: this reader is a second person."""

    erasure: Erasure
    state: str
    asked: str
    asked_clock: str
    done: str
    may_approve: bool


@dataclass(frozen=True, slots=True)
class ErasuresView:
    """What is open first. `progress`: how far the store is made anew, in words."""

    tabs: tuple[tuple[str, str, bool], ...]
    open: tuple[ErasureRow, ...]
    done: tuple[ErasureRow, ...]
    n_waiting: int
    progress: str
    sources: tuple[SourceStatus, ...]
    refused: Refused | None


class ErasuresBackend(Protocol):
    """What this page needs beside `Backend`; DeniedError without the permission `admin`."""

    async def erasures(self, viewer: Viewer) -> Sequence[Erasure]:
        """Every request, oldest first."""
        ...

    async def ask_erasure(self, viewer: Viewer, *, identifier: str, reason: str, source: str) -> None:
        """Ask to erase a person; nothing is erased by that."""
        ...

    async def approve_erasure(self, viewer: Viewer, number: int) -> None:
        """Approve somebody else's request, and start it. DeniedError: one's own."""
        ...

    def waiting(self) -> int:
        """How many requests wait for a second person; a number and nothing of whom they are about."""
        ...

    def rebuilding(self) -> tuple[int, int] | None:
        """How far the store is made anew, of how much; None when it is not."""
        ...


class ErasurePages:
    """`/erasures`."""

    def __init__(self, site: Site, backend: ErasuresBackend) -> None:
        self._site = site
        self._erasures = backend

    async def page(self, request: Request, viewer: Viewer, problem: Refused | None = None) -> Response:
        """Every request and what is to be done about it."""
        found, progress = await self._erasures.erasures(viewer), self._erasures.rebuilding()
        rows = [self._row(request, each, viewer, progress is not None) for each in reversed(found)]
        sources = sorted(await self._site.backend.sources(viewer), key=lambda source: source.id)
        view = ErasuresView(
            person_tabs("/erasures"),
            tuple(row for row in rows if row.state != "done"),
            tuple(row for row in rows if row.state == "done"),
            sum(row.state == "waits" for row in rows),
            f"{progress[0]:,} of {progress[1]:,} records".replace(",", "\u202f") if progress and progress[1] else "",
            tuple(source for source in sources if source.privacy == "sealed"),
            problem,
        )
        shell = self._site.shell(
            request, "Erasures", "people", json_url="/api/v1/erasures", refresh_s=5 if progress else 0
        )
        return self._site.render("erasures.html", shell, view, 400 if problem else 200)

    async def ask(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """A new request."""
        values = {name: fields.get(name, "").strip() for name in ("identifier", "reason", "source")}
        try:
            await self._erasures.ask_erasure(viewer, **values)
        except RejectedError as error:
            return await self.page(request, viewer, refused("ask", error, fields))
        return redirect("/erasures")

    async def approve(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Approve somebody else's request, with the identifier typed once more."""
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        wanted = next((each for each in await self._erasures.erasures(viewer) if each.number == number), None)
        if wanted is None:
            raise RejectedError("there is no such erasure", field="number", status=404)
        form = f"approve-{number}"
        try:
            if not wanted.done_at and fields.get("identifier", "").strip().casefold() != wanted.identifier.casefold():
                raise RejectedError(
                    "type whom the request is about, as it stands above; nothing is erased yet", field="identifier"
                )
            await self._erasures.approve_erasure(viewer, number)
        except RejectedError as error:
            return await self.page(request, viewer, refused(form, error, fields))
        except DeniedError as error:
            return await self.page(request, viewer, refused(form, RejectedError(str(error)), fields))
        return redirect("/erasures")

    def _row(self, request: Request, each: Erasure, viewer: Viewer, is_running: bool) -> ErasureRow:
        now, zone = self._site.backend.now_ns(), self._site.look(request).zone
        state = "done" if each.done_at else "waits" if not each.approved_by else "running" if is_running else "stopped"
        may = state in {"waits", "stopped"} and each.asked_person != viewer.id
        asked = clock_text(each.asked_at, zone, "minute")
        return ErasureRow(
            each, state, ago(each.asked_at, now), asked, ago(each.done_at, now) if each.done_at else "", may
        )
