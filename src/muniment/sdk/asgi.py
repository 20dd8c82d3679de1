"""ASGI middleware: every event logged in a request carries the request's id, address, agent, trace, actor, session.

Works with any ASGI 3 framework. `actor` and `session` are asked at the beginning of the request; who is known only later
(an inner authentication) calls `muniment.sdk.bind(actor=...)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

from muniment.sdk.context import context
from muniment.sdk.event import ActorLike
from muniment.sdk.request import networks, request_values

__all__ = ["AuditMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class AuditMiddleware:
    """Wraps `app`. The answer carries `X-Request-ID`, unless the application sets it."""

    def __init__(
        self,
        app: App,
        *,
        actor: Callable[[Scope], ActorLike | None] | None = None,
        session: Callable[[Scope], str | None] | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._actor, self._session = actor, session
        self._trusted = networks(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            key = name.decode("latin-1").lower()
            # Several X-Forwarded-For are one list (RFC 9110, 5.3).
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        peer = (scope.get("client") or ("",))[0]
        values = request_values(lambda name: headers.get(name, ""), peer, self._trusted)
        if self._actor is not None:
            values["actor"] = self._actor(scope)
        if self._session is not None:
            values["session_id"] = self._session(scope)
        request_id = str(values["request_id"]).encode("latin-1")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = list(message.get("headers", ()))
                if all(name.lower() != b"x-request-id" for name, _ in found):
                    message["headers"] = [*found, (b"x-request-id", request_id)]
            await send(message)

        with context(**values):
            await self._app(scope, receive, answer)
