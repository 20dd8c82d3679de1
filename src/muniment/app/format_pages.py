"""The pages of formats, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.api.format_operations import AcceptBody, Formatting, ReadAsBody, TryBody
from muniment.app.pages import PagesBackend
from muniment.search.formats import Group, Own, Read, Suggestion
from muniment.web.backend import Viewer

__all__ = ["FormatPagesBackend"]


class FormatPagesBackend:
    """Fills `web.format_pages.FormatsBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._formatting = Formatting(pages.collecting)

    async def formats(self, viewer: Viewer) -> tuple[Sequence[Group], Sequence[Own], Sequence[str]]:
        found = await self._formatting.formats(self._pages.call("sources"))
        return found.unknown, found.own, found.problems

    async def suggestion(self, viewer: Viewer, group: str) -> Suggestion:
        return await self._formatting.suggestion(self._pages.call("sources", id=group))

    async def try_format(self, viewer: Viewer, group: str, text: str) -> Sequence[Read]:
        call = self._pages.call("sources", body=TryBody(text), id=group)
        return (await self._formatting.try_out(call)).preview

    async def accept_format(self, viewer: Viewer, text: str, source: str) -> None:
        await self._formatting.accept(self._pages.call("sources", body=AcceptBody(text, source)))

    async def entries(self, viewer: Viewer) -> Sequence[tuple[str, str]]:
        self._pages.call("sources")
        return self._pages.collecting.formats.entries()

    async def try_entry(self, viewer: Viewer, group: str, name: str) -> Sequence[Read]:
        call = self._pages.call("sources", body=TryBody(entry=name), id=group)
        return (await self._formatting.try_out(call)).preview

    async def read_as(self, viewer: Viewer, source: str, name: str) -> None:
        await self._formatting.read_as(self._pages.call("sources", body=ReadAsBody(name), id=source))

    async def remove_format(self, viewer: Viewer, name: str) -> None:
        await self._formatting.remove(self._pages.call("sources", id=name))
