"""Operations of incoming webhooks: which sources have one, what each delivered and what was refused, another secret, an end."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from muniment.access.webhooks import IncomingWebhook
from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services

__all__ = ["Hooking", "WebhookBody", "webhook_operations"]


class WebhookBody(msgspec.Struct, frozen=True):
    """`secret` empty: one is made; Slack gives its own (signing secret)."""

    kind: Literal["auth0", "github", "okta", "slack", "standard"]
    secret: Annotated[str, Meta(max_length=256)] = ""


class WebhookAnswer(msgspec.Struct, frozen=True):
    """Where the sender posts to, and the secret, which is shown this once."""

    source: str
    kind: str
    url: str
    secret: str


class RefusalAnswer(msgspec.Struct, frozen=True):
    """`count` deliveries were refused for one reason, the last at `last_at`."""

    reason: Annotated[str, Meta(examples=["no signature", "wrong signature", "too old", "unreadable", "not taken"])]
    count: int
    last_at: int


class WebhookStateAnswer(msgspec.Struct, frozen=True):
    """A webhook without its secret. Deliveries are counted since `since`, when the secret was made. Times in nanoseconds, 0 for never."""

    source: str
    kind: str
    url: str
    created_at: int
    since: int
    accepted: int
    last_at: int
    refused: list[RefusalAnswer]


class WebhookListAnswer(msgspec.Struct, frozen=True):
    webhooks: list[WebhookStateAnswer]


def webhook_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    h = Hooking(services)
    return [
        Operation("GET", "/api/v1/webhooks", "webhooks", "Sources whose events come in by signed webhook, and what was refused",
                  "sources", h.webhooks, answer=WebhookListAnswer, tag="sources"),
        Operation("POST", "/api/v1/sources/{id}/webhook", "source_webhook",
                  "Let a source's events come in by signed webhook, or make another secret; it is shown once", "sources", h.make,
                  body=WebhookBody, answer=WebhookAnswer, status=201, tag="sources"),
        Operation("DELETE", "/api/v1/sources/{id}/webhook", "source_webhook_remove", "End the webhook of a source at once",
                  "sources", h.remove, answer=WebhookStateAnswer, tag="sources"),
    ]  # fmt: skip


class Hooking:
    """The handlers. A change is recorded before its answer leaves."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def webhooks(self, call: Call[Empty, Empty]) -> WebhookListAnswer:
        found = [self._state(each) for each in self._s.webhooks.all()]
        await self._s.recorder.note(call, "webhook.list", "ledger", self._s.ledger.origin, results=len(found))
        return WebhookListAnswer(found)

    async def make(self, call: Call[Empty, WebhookBody]) -> WebhookAnswer:
        source, body = str(call.path["id"]), call.body
        self._s.sources.sender(source)
        action = "webhook.create" if self._s.webhooks.get(source) is None else "webhook.replace"
        made = self._s.webhooks.set(source, body.kind, body.secret, self._s.clock())
        await self._s.recorder.note(call, action, "source", source, sender=made.kind)
        return WebhookAnswer(source, made.kind, self._url(source), made.secret)

    async def remove(self, call: Call[Empty, Empty]) -> WebhookStateAnswer:
        source = str(call.path["id"])
        found = self._s.webhooks.get(source)
        state = self._state(found) if found is not None else None
        removed = self._s.webhooks.remove(source)
        await self._s.recorder.note(call, "webhook.remove", "source", source, sender=removed.kind)
        return state or self._state(removed)

    def _state(self, webhook: IncomingWebhook) -> WebhookStateAnswer:
        found = self._s.webhooks.deliveries(webhook.source)
        refused = [RefusalAnswer(reason, each.count, each.last_at) for reason, each in found.refused.items()]
        return WebhookStateAnswer(
            webhook.source, webhook.kind, self._url(webhook.source), webhook.created_at, found.since, found.accepted,
            found.last_at, sorted(refused, key=lambda each: -each.last_at),
        )  # fmt: skip

    def _url(self, source: str) -> str:
        return f"{self._s.settings.base_url}/ingest/webhook/{source}"
