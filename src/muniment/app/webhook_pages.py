"""The webhooks of sources on their pages, answered by the same handlers as the API."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.api.webhook_operations import Hooking, WebhookBody
from muniment.app.pages import PagesBackend
from muniment.app.security_pages import as_web, checked
from muniment.web.backend import Viewer
from muniment.web.webhook_pages import Webhook

__all__ = ["WebhookPagesBackend"]


class WebhookPagesBackend:
    """Fills `web.webhook_pages.HooksBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._hooking = Hooking(pages.collecting)

    async def webhooks(self, viewer: Viewer) -> Sequence[Webhook]:
        found = await self._hooking.webhooks(self._pages.call("sources"))
        return [as_web(Webhook, each) for each in found.webhooks]

    async def make_webhook(self, viewer: Viewer, source: str, kind: str, secret: str) -> tuple[str, str]:
        body = checked({"kind": kind, "secret": secret}, WebhookBody)
        made = await self._hooking.make(self._pages.call("sources", body=body, id=source))
        return made.url, made.secret

    async def remove_webhook(self, viewer: Viewer, source: str) -> None:
        await self._hooking.remove(self._pages.call("sources", id=source))
