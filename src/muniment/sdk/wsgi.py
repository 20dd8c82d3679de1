"""WSGI middleware: as `muniment.sdk.asgi`, for Flask, Django and any other WSGI application (PEP 3333).

The application and the reading of its answer run in a context of their own, so that nothing of a request is left in the
server's thread, and a streamed answer still knows its request.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from muniment.sdk.context import bind
from muniment.sdk.event import ActorLike
from muniment.sdk.request import networks, request_values

__all__ = ["AuditMiddleware"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


class AuditMiddleware:
    """Wraps `app`. The answer carries `X-Request-ID`, unless the application sets it."""

    def __init__(
        self,
        app: App,
        *,
        actor: Callable[[Environ], ActorLike | None] | None = None,
        session: Callable[[Environ], str | None] | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._actor, self._session = actor, session
        self._trusted = networks(trusted_proxies)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def header(name: str) -> str:
            return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))

        values = request_values(header, environ.get("REMOTE_ADDR", ""), self._trusted)
        if self._actor is not None:
            values["actor"] = self._actor(environ)
        if self._session is not None:
            values["session_id"] = self._session(environ)
        request_id = str(values["request_id"])

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if all(name.lower() != "x-request-id" for name, _ in headers):
                headers = [*headers, ("X-Request-ID", request_id)]
            return start_response(status, headers, *rest)

        def call() -> Iterable[bytes]:
            bind(**values)
            return self._app(environ, start)

        around = contextvars.copy_context()
        return _Answer(around, around.run(call))


class _Answer:
    """The application's answer, read inside the request's context."""

    def __init__(self, around: contextvars.Context, parts: Iterable[bytes]) -> None:
        self._around, self._parts = around, parts
        self._iterator: Iterator[bytes] = around.run(iter, parts)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._around.run(next, self._iterator)

    def close(self) -> None:
        close = getattr(self._parts, "close", None)
        if close is not None:
            self._around.run(close)
