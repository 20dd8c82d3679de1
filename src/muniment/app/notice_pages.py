"""The page of notices, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.api.notice_operations import Noticing, ReviveBody, SilenceBody, TestBody
from muniment.app.pages import PagesBackend
from muniment.app.security_pages import as_web, checked
from muniment.web.backend import Viewer
from muniment.web.notice_pages import Notices, Quiet

__all__ = ["NoticePagesBackend"]


class NoticePagesBackend:
    """Fills `web.notice_pages.NoticesBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._noticing = Noticing(pages.collecting)

    async def notices(self, viewer: Viewer) -> Notices:
        return as_web(Notices, await self._noticing.notifications(self._pages.call("alerts")))

    async def silences(self, viewer: Viewer) -> Sequence[Quiet]:
        found = await self._noticing.silences(self._pages.call("alerts"))
        return [as_web(Quiet, each) for each in found.silences]

    async def silence(self, viewer: Viewer, *, source: str, reason: str, hours: int, severity_max: str) -> None:
        values = {"source": source, "reason": reason, "hours": hours, "severity_max": severity_max}
        await self._noticing.silence(self._pages.call("rules", body=checked(values, SilenceBody)))

    async def end_silence(self, viewer: Viewer, number: int) -> None:
        await self._noticing.end_silence(self._pages.call("rules", number=number))

    async def revive(self, viewer: Viewer, notice_id: str, channel: str) -> None:
        body = checked({"notice_id": notice_id, "channel": channel}, ReviveBody)
        await self._noticing.revive(self._pages.call("rules", body=body))

    async def discard(self, viewer: Viewer, notice_id: str, channel: str) -> None:
        body = checked({"notice_id": notice_id, "channel": channel}, ReviveBody)
        await self._noticing.discard(self._pages.call("rules", body=body))

    async def test(self, viewer: Viewer, channel: str) -> None:
        await self._noticing.test(self._pages.call("rules", body=checked({"channel": channel}, TestBody)))
