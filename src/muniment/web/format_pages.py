"""Records that no catalogue entry knows: seen in groups, given a draft, tried, corrected and accepted by a person.

One page lists what is not understood and the entries of one's own; one page holds a draft in a form, beside what the
newest records become with it. Trying changes nothing; accepting says what it will do before it does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.search.formats import Group, Own, Read, Suggestion
from muniment.web.address import Address
from muniment.web.backend import Viewer
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text

__all__ = ["FormatPages", "FormatsBackend"]


class FormatsBackend(Protocol):
    """What these pages need; every method raises the errors of `muniment.errors`."""

    async def formats(self, viewer: Viewer) -> tuple[Sequence[Group], Sequence[Own], Sequence[str]]:
        """Groups nobody knows, one's own entries, what is wrong with the files of some."""
        ...

    async def suggestion(self, viewer: Viewer, group: str) -> Suggestion:
        """The draft for a group."""
        ...

    async def try_format(self, viewer: Viewer, group: str, text: str) -> Sequence[Read]:
        """What the group's records become with `text`."""
        ...

    async def accept_format(self, viewer: Viewer, text: str, source: str) -> None:
        """Put it in force, for all of `source` if that is given."""
        ...

    async def entries(self, viewer: Viewer) -> Sequence[tuple[str, str]]:
        """Name and title of the entries that a source may be read with."""
        ...

    async def try_entry(self, viewer: Viewer, group: str, name: str) -> Sequence[Read]:
        """What the group's records become with an entry of the catalogue."""
        ...

    async def read_as(self, viewer: Viewer, source: str, name: str) -> None:
        """Read all that a source sends with an entry of the catalogue from now on."""
        ...

    async def remove_format(self, viewer: Viewer, name: str) -> None:
        """Take one's own entry out of force."""
        ...


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group in the list."""

    group: Group
    what: str
    why: str
    heard: str
    clock: str
    url: str
    search: str


@dataclass(frozen=True, slots=True)
class FormatsView:
    """All groups and own entries; `done` is the entry that was accepted or removed on the way here."""

    rows: tuple[GroupRow, ...]
    own: tuple[tuple[Own, str], ...]
    problems: tuple[str, ...]
    done: str


@dataclass(frozen=True, slots=True)
class FormatView:
    """One group with its draft. `problem` says what is wrong with the text, or why there is none.

    `entries`: those of the catalogue; `entry` is the chosen one, `title` its title: the preview is of it, not of the draft.
    `is_wrong`: `problem` is about what was sent.
    """

    row: GroupRow
    text: str
    lines: int
    preview: tuple[tuple[Read, str], ...]
    problem: str
    can_accept: bool
    is_for_source: bool
    entries: tuple[tuple[str, str], ...] = ()
    entry: str = ""
    title: str = ""
    is_wrong: bool = False


class FormatPages:
    """The pages of formats."""

    def __init__(self, site: Site, backend: FormatsBackend) -> None:
        self._site = site
        self._backend = backend

    async def formats(self, request: Request, viewer: Viewer) -> Response:
        """What is not understood, and what was taught."""
        groups, own, problems = await self._backend.formats(viewer)
        now = self._site.backend.now_ns()
        view = FormatsView(
            tuple(group_row(self._site, request, each) for each in groups),
            tuple((each, ago(each.changed_at, now)) for each in own),
            tuple(problems),
            request.query_params.get("done", "")[:64],
        )
        shell = self._site.shell(request, "Formats", "sources", json_url="/api/v1/formats")
        return self._site.render("formats.html", shell, view)

    async def one(self, request: Request, viewer: Viewer) -> Response:
        """A group with its draft."""
        found = await self._backend.suggestion(viewer, request.path_params["id"])
        return await self._page(request, viewer, found, can_accept=bool(found.text))

    async def change(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Try the text or an entry, or accept it; what is wrong comes back as it was typed, with what is wrong."""
        group, text = request.path_params["id"], fields.get("text", "").replace("\r\n", "\n")
        found = await self._backend.suggestion(viewer, group)
        do, entry, has_draft = fields.get("do"), fields.get("entry", ""), bool(found.text)
        if do in {"try-entry", "read-as"}:
            return await self._entry(request, viewer, found, entry, is_wanted=do == "read-as")
        is_for_source = fields.get("for_source") == "1"
        typed = replace(found, text=text, problem="", preview=())
        try:
            if do == "accept":
                await self._backend.accept_format(viewer, text, found.group.source if is_for_source else "")
                return redirect("/formats?done=accepted")
            typed = replace(typed, preview=tuple(await self._backend.try_format(viewer, group, text)))
        except RejectedError as error:
            typed = replace(typed, problem=str(error))
        return await self._page(
            request, viewer, typed, is_for_source=is_for_source, can_accept=has_draft,
            status=400 if typed.problem else 200,
        )  # fmt: skip

    async def _entry(
        self, request: Request, viewer: Viewer, found: Suggestion, entry: str, *, is_wanted: bool
    ) -> Response:
        """What the records become with an entry of the catalogue; `is_wanted`: their source is read with it from now on."""
        try:
            if is_wanted:
                await self._backend.read_as(viewer, found.group.source, entry)
                return redirect("/formats?done=read-as")
            tried = replace(
                found, problem="", preview=tuple(await self._backend.try_entry(viewer, found.group.id, entry))
            )
        except RejectedError as error:
            wrong = replace(found, problem=error.reason)
            return await self._page(request, viewer, wrong, can_accept=bool(found.text), status=error.status)
        return await self._page(request, viewer, tried, can_accept=bool(found.text), entry=entry)

    async def remove(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take an own entry out of force."""
        await self._backend.remove_format(viewer, request.path_params["name"])
        return redirect("/formats?done=removed")

    async def _page(
        self, request: Request, viewer: Viewer, found: Suggestion, *, can_accept: bool, is_for_source: bool = False,
        entry: str = "", status: int = 200,
    ) -> Response:  # fmt: skip
        entries = tuple(await self._backend.entries(viewer))
        view = FormatView(
            group_row(self._site, request, found.group),
            found.text,
            min(40, max(12, found.text.count("\n") + 2)),
            tuple((read, f"/events/{read.index}") for read in found.preview),
            found.problem,
            can_accept,
            is_for_source,
            entries,
            entry,
            dict(entries).get(entry, ""),
            status >= 400,
        )
        shell = self._site.shell(
            request, f"Format of {view.row.what}", "sources", json_url=f"/api/v1/formats/{found.group.id}"
        )
        return self._site.render("format.html", shell, view, status)


def group_row(site: Site, request: Request, group: Group) -> GroupRow:
    """A group of records as pages show it."""
    what = f"{group.source}: {named}" if (named := group.program or group.system) else group.source
    why = group.reason or {"unmapped": "its mapping failed"}.get(
        group.format, f"no entry knows it; read as any {'JSON' if group.format == 'json' else group.format}"
    )
    now, look = site.backend.now_ns(), site.look(request)
    q = f"source:{group.source} format:{group.format}" + (f" app:{group.program}" if group.program else "")
    return GroupRow(
        group, what, why, ago(group.newest_time, now), clock_text(group.newest_time, look.zone),
        f"/formats/{group.id}", Address(q, "all").url(),
    )  # fmt: skip
