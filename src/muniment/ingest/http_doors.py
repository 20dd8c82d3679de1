"""The HTTP doors together: which path belongs to which protocol, on root paths and under `/ingest/<protocol>`.

`Doors` is an ASGI application. `matches(scope)` says whether a request is for a door; whoever serves pages on the
same port asks it first. `routes(ctx)` is the same as one route of a Starlette application, to be put
before its pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Match, NoMatchFound

from muniment.errors import AuditError, RejectedError
from muniment.ingest import door_elastic, door_journal, door_loki, door_native, door_otlp, door_splunk
from muniment.ingest.door_cloudevents import post_cloudevents
from muniment.ingest.door_splunk import SplunkDoor
from muniment.ingest.door_webhook import PREFIX as WEBHOOK_PREFIX
from muniment.ingest.door_webhook import post_webhook
from muniment.ingest.http_request import Answer, DoorContext, Request, send_answer

__all__ = ["DOOR_PREFIX", "Doors", "routes"]

DOOR_PREFIX = "/ingest"

Handler = Callable[[Request], Awaitable[Answer]]
Scope = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Door:
    """One protocol: its prefix under /ingest, exact paths to methods and handlers, and how it says no."""

    name: str
    prefix: str
    paths: dict[str, dict[str, Handler]]
    refuse: Callable[[Request, Exception], Answer]


_NATIVE = _Door("http", "/ingest/http", {"/v1/events": {"POST": door_native.post_events}}, door_native.refuse)
_CLOUDEVENTS = _Door(
    "cloudevents", "/ingest/cloudevents", {"/v1/cloudevents": {"POST": post_cloudevents}}, door_native.refuse
)
_WEBHOOK = _Door("webhook", "/ingest/webhook", {}, door_native.refuse)
_WEBHOOK_ANY: dict[str, Handler] = {"POST": post_webhook, "GET": post_webhook}
_ELASTIC = _Door("elastic", "/ingest/es", {}, door_elastic.refuse)
_ELASTIC_ANY: dict[str, Handler] = {"*": door_elastic.answer_elastic}
_LOKI = _Door(
    "loki",
    "/ingest/loki",
    {"/loki/api/v1/push": {"POST": door_loki.push}, "/ready": {"GET": door_loki.ready, "HEAD": door_loki.ready}},
    door_loki.refuse,
)
_OTLP = _Door("otlp", "/ingest/otlp", {"/v1/logs": {"POST": door_otlp.post_logs}}, door_otlp.refuse)
_JOURNAL = _Door(
    "journal",
    "/ingest/journal",
    {"/upload": {"POST": door_journal.upload, "PUT": door_journal.upload}},
    door_journal.refuse,
)


def _splunk() -> _Door:
    splunk = SplunkDoor()
    events: dict[str, Handler] = {"POST": splunk.event, "OPTIONS": splunk.options}
    raw: dict[str, Handler] = {"POST": splunk.raw, "OPTIONS": splunk.options}
    health: dict[str, Handler] = {"GET": splunk.health, "HEAD": splunk.health}
    base = "/services/collector"
    paths: dict[str, dict[str, Handler]] = {
        base: events,
        f"{base}/event": events,
        f"{base}/event/1.0": events,
        f"{base}/raw": raw,
        f"{base}/raw/1.0": raw,
        f"{base}/ack": {"POST": splunk.ack},
        f"{base}/health": health,
        f"{base}/health/1.0": health,
    }
    return _Door("hec", "/ingest/splunk", paths, door_splunk.refuse)


class Doors:
    """All HTTP doors as one ASGI application."""

    def __init__(self, ctx: DoorContext) -> None:
        self._ctx = ctx
        self._exact: dict[str, tuple[_Door, str, dict[str, Handler]]] = {}
        for door in (_NATIVE, _CLOUDEVENTS, _LOKI, _OTLP, _JOURNAL, _splunk()):
            for path, methods in door.paths.items():
                self._exact[path] = self._exact[door.prefix + path] = (door, path, methods)

    def matches(self, scope: Scope) -> bool:
        """Is this request for a door?"""
        return scope["type"] == "http" and self._find(scope) is not None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        found = self._find(scope)
        if found is None:
            await send_answer(send, Answer(404, b'{"error":{"status":404,"message":"no such door"}}'))
            return
        door, path, methods = found
        request = Request.of(self._ctx, scope, path, receive)
        handler = methods.get(request.method) or methods.get("*")
        try:
            if handler is None:
                allowed = ", ".join(sorted(methods))
                raise RejectedError(f"{request.method} is not allowed here, {allowed} is", field="method", status=405)
            answer = await handler(request)
        except AuditError as error:
            # Counted by kind and field, not by words: words hold the sender's text and would be endless.
            reason = f"{type(error).__name__}:{getattr(error, 'field', '')}"[:64].split(" ")[0]
            self._ctx.admission.reject(request.source, door.name, reason)
            answer = door.refuse(request, error)
            await request.drain()
        except Exception as error:
            # The sender must not wait for ever because of our mistake; the server logs what is raised on.
            await send_answer(send, door.refuse(request, error))
            raise
        await send_answer(send, answer, is_head=request.method == "HEAD")

    def _find(self, scope: Scope) -> tuple[_Door, str, dict[str, Handler]] | None:
        path: str = scope["path"]
        found = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if found is not None:
            return found
        if path.startswith(_ELASTIC.prefix) and path[len(_ELASTIC.prefix) :][:1] in {"", "/"}:
            return _ELASTIC, path[len(_ELASTIC.prefix) :].rstrip("/") or "/", _ELASTIC_ANY
        if path.startswith(WEBHOOK_PREFIX):
            return _WEBHOOK, path.removeprefix(WEBHOOK_PREFIX), _WEBHOOK_ANY
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if door_elastic.is_elastic_path(scope["method"], path, headers):
            return _ELASTIC, path.rstrip("/") or "/", _ELASTIC_ANY
        return None


class _DoorRoute(BaseRoute):
    """All doors as one route: it matches what `Doors.matches` says."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL, {"endpoint": self.doors}) if self.doors.matches(scope) else (Match.NONE, {})

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.doors(scope, receive, send)


def routes(ctx: DoorContext) -> list[BaseRoute]:
    """The doors as routes of a Starlette application; put them first."""
    return [_DoorRoute(Doors(ctx))]
