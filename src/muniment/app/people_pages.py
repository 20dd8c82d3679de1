"""The pages of people, keys and erasures, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.api.admin_operations import Administering
from muniment.api.erasure_operations import Erasing, ErasureBody
from muniment.app.pages import PagesBackend
from muniment.app.security_pages import as_web, checked
from muniment.web.backend import Viewer
from muniment.web.erasure_pages import Erasure
from muniment.web.people_pages import ApiKey, Person

__all__ = ["PeoplePagesBackend"]


class PeoplePagesBackend:
    """Fills `web.people_pages.PeopleBackend` and `web.erasure_pages.ErasuresBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._administering = Administering(pages.collecting)
        self._erasing = Erasing(pages.collecting)

    async def keys(self, viewer: Viewer) -> Sequence[ApiKey]:
        found = await self._administering.keys(self._pages.call("admin"))
        return [as_web(ApiKey, each) for each in found.keys]

    async def revoke(self, viewer: Viewer, key_id: str) -> None:
        await self._administering.key_revoke(self._pages.call("admin", id=key_id))

    async def people(self, viewer: Viewer) -> Sequence[Person]:
        found = await self._administering.people(self._pages.call("admin"))
        return [as_web(Person, each) for each in found.people]

    async def leave(self, viewer: Viewer, person: str) -> None:
        await self._administering.person_leave(self._pages.call("admin", id=person))

    async def erasures(self, viewer: Viewer) -> Sequence[Erasure]:
        found = await self._erasing.list(self._pages.call("admin"))
        return [as_web(Erasure, each) for each in found.erasures]

    async def ask_erasure(self, viewer: Viewer, *, identifier: str, reason: str, source: str) -> None:
        values: dict[str, object] = {"identifier": identifier, "reason": reason, "source": source}
        await self._erasing.ask(self._pages.call("admin", body=checked(values, ErasureBody)))

    async def approve_erasure(self, viewer: Viewer, number: int) -> None:
        await self._erasing.approve(self._pages.call("admin", number=number))

    def waiting(self) -> int:
        return sum(not each.approved_by for each in self._pages.collecting.erasures.all())

    def rebuilding(self) -> tuple[int, int] | None:
        jobs = self._pages.collecting.jobs
        if not jobs.is_running("rebuild"):
            return None
        state = jobs.state("rebuild")
        return state.done, state.total
