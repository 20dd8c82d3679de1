"""The webhook of a source on its page: what it delivered, what was refused and why, another secret, its end.

A secret is in one answer only, the one to the form that made it, so that answer is a page and no redirect. What a form saw stands in
it (`seen`): loading that page again, which sends the form again, must not make another secret and end the one just noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request

from muniment.errors import RejectedError
from muniment.sources.connect import WEBHOOKS
from muniment.web.backend import Viewer
from muniment.web.site import Site
from muniment.web.times import ago, clock_text

__all__ = [
    "HookPanel",
    "HooksBackend",
    "MadeHook",
    "RefusedDeliveries",
    "Webhook",
    "hook_panel",
    "made_hook",
    "remove_hook",
]

_WHY: Final[Mapping[str, str]] = {
    "no signature": "Nothing was signed: give the sender the secret.",
    "wrong signature": "Signed with another secret, or the sender is of another kind, or a proxy changes bodies.",
    "too old": "Signed right, but more than five minutes before or after our time: look at both clocks.",
    "unreadable": "Signed right, but not what this kind of sender sends: look at its content type.",
    "not taken": "Muniment was busy, or its disk refused; most senders try again.",
}


@dataclass(frozen=True, slots=True)
class RefusedDeliveries:
    """`count` deliveries refused for one reason."""

    reason: str
    count: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook without its secret; times in nanoseconds, 0 for never."""

    source: str
    kind: str
    url: str
    created_at: int
    since: int
    accepted: int
    last_at: int
    refused: list[RefusedDeliveries]


@dataclass(frozen=True, slots=True)
class MadeHook:
    """Where a sender posts to and its secret, this once. `secret` empty: the sender made it; `is_other`: an older one has ended."""

    kind: str
    title: str
    url: str
    secret: str
    setup: str
    is_other: bool


@dataclass(frozen=True, slots=True)
class HookPanel:
    """The panel. `hook` None: the source has none. `refused`: reason, count, when last, what to do."""

    hook: Webhook | None
    title: str
    setup: str
    last: str
    last_clock: str
    since: str
    since_clock: str
    refused: tuple[tuple[str, int, str, str], ...]
    kinds: tuple[tuple[str, str], ...]

    @property
    def seen(self) -> int:
        """Which webhook a form on this page is about: when its secret was made, 0 for none."""
        return self.hook.created_at if self.hook is not None else 0


class HooksBackend(Protocol):
    """What the panel needs; DeniedError without the permission `sources`."""

    async def webhooks(self, viewer: Viewer) -> Sequence[Webhook]:
        """Every webhook."""
        ...

    async def make_webhook(self, viewer: Viewer, source: str, kind: str, secret: str) -> tuple[str, str]:
        """Its address and its secret; an older secret ends."""
        ...

    async def remove_webhook(self, viewer: Viewer, source: str) -> None:
        """End it at once."""
        ...


def hook_panel(site: Site, request: Request, hook: Webhook | None) -> HookPanel:
    """The webhook as the page shows it."""
    kinds = tuple((kind, sender.title) for kind, sender in WEBHOOKS.items())
    if hook is None:
        return HookPanel(None, "", "", "", "", "", "", (), kinds)
    now, zone = site.backend.now_ns(), site.look(request).zone
    sender = WEBHOOKS[hook.kind]
    refused = tuple(
        (each.reason, each.count, ago(each.last_at, now), _WHY.get(each.reason, "")) for each in hook.refused
    )
    return HookPanel(
        hook, sender.title, sender.setup, ago(hook.last_at, now) if hook.last_at else "",
        clock_text(hook.last_at, zone, "second") if hook.last_at else "", ago(hook.since, now),
        clock_text(hook.since, zone, "second"), refused, kinds,
    )  # fmt: skip


async def made_hook(backend: HooksBackend, viewer: Viewer, source: str, fields: Mapping[str, str]) -> MadeHook:
    """Make a webhook, or another secret for the one that the form saw.

    Raises:
        RejectedError: it is another one by now, as when the form is sent twice; or the kind or secret is none.
    """
    kind, secret = fields.get("kind", ""), fields.get("secret", "").strip()
    await _check_seen(backend, viewer, source, fields)
    url, given = await backend.make_webhook(viewer, source, kind, secret)
    sender = WEBHOOKS[kind]
    return MadeHook(kind, sender.title, url, "" if secret else given, sender.setup, fields.get("seen", "") != "0")


async def remove_hook(backend: HooksBackend, viewer: Viewer, source: str, fields: Mapping[str, str]) -> None:
    """End the webhook that the form saw. Raises RejectedError: it is another one by now."""
    await _check_seen(backend, viewer, source, fields)
    await backend.remove_webhook(viewer, source)


async def _check_seen(backend: HooksBackend, viewer: Viewer, source: str, fields: Mapping[str, str]) -> None:
    now = next((each.created_at for each in await backend.webhooks(viewer) if each.source == source), 0)
    if fields.get("seen", "") != str(now):
        told = "the webhook is another one by now, and nothing was changed; if this page was loaded twice, its secret is that of the first time"
        raise RejectedError(told, status=409)
