"""One API operation as data, and the only place where a request becomes a call and an error becomes an answer.

An `Operation` names method, path, permission, the types of its parameters, body and answer. The routes and the
OpenAPI document are both made from the same list, so they cannot differ. Every operation that reads or changes
something is recorded in the ledger before its answer leaves (ARCHITECTURE rule 4). Answers are never stored by anybody
on the way and never taken for a page: every one carries `HEADERS`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from muniment.access.policy import Identity, require
from muniment.api.misfits import misfit
from muniment.errors import HTTP_STATUS, AuditError, BusyError, DeniedError, RejectedError, StorageError
from muniment.limits import API_BODY_BYTES_MAX

__all__ = [
    "HEADERS",
    "WHOLE_NUMBERS",
    "Call",
    "Empty",
    "Operation",
    "Problem",
    "Raw",
    "Stream",
    "no_such_path",
    "problem_response",
    "routes",
]

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer of the API: not stored, not guessed at, not framed, not run, not read by other sites."""

WHOLE_NUMBERS: Final = frozenset({"index", "number"})
"""Path parameters that are whole numbers; others are texts."""

_log = logging.getLogger("muniment.api")

P = TypeVar("P")
B = TypeVar("B")


class Empty(msgspec.Struct, frozen=True):
    """No parameters, or no body."""


class ProblemDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: `type` says who must act, `reason` what to change, `column` (0-based) where in a query."""

    type: str
    reason: str
    field: str = ""
    column: int | None = None
    permission: str = ""


class Problem(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ProblemDetail


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is not JSON: its bytes, media type and, for downloads, a file name."""

    body: bytes
    media_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that flows: server-sent events or an export."""

    chunks: AsyncGenerator[bytes, None]
    media_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One checked request as an operation sees it.

    `is_current()`: does the credential still hold? Answers that flow for hours ask again and again.
    """

    identity: Identity
    params: P
    body: B
    path: Mapping[str, Any]
    client_ip: str
    user_agent: str
    is_current: Callable[[], bool] = lambda: True
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `permission` None: open to all. `answer` None: the handler returns Raw or Stream.

    `refusals`: statuses it may answer beyond those that follow from its shape. `media_types`: what Raw or Stream may be;
    `also`: the JSON answer that may be asked for instead of them.
    """

    method: str
    path: str
    name: str
    summary: str
    permission: str | None
    handler: Callable[[Any], Awaitable[Any]]
    params: type[Any] = Empty
    body: type[Any] = Empty
    answer: type[Any] | None = None
    also: type[Any] | None = None
    media_types: tuple[str, ...] = ("application/json",)
    status: int = 200
    tag: str = "search"
    refusals: frozenset[int] = frozenset()
    list_params: frozenset[str] = field(default_factory=frozenset)


class Gate(Protocol):
    """Finds out who asks. Raises DeniedError for credentials that are wrong; None when there are none."""

    def identify(self, request: Request) -> Identity | None: ...

    def check_csrf(self, request: Request) -> None: ...

    def client_ip(self, request: Request) -> str: ...


Denied = Callable[[str, DeniedError], None]
"""Told of every refusal: the operation's name and the error."""


def routes(operations: list[Operation], gate: Gate, denied: Denied = lambda name, error: None) -> list[Route]:
    """Starlette routes for the operations, grouped so that one path answers all its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _Endpoint(methods, gate, denied)) for path, methods in by_path.items()]


async def no_such_path(request: Request) -> Response:
    """The answer for a path under /api that no operation has."""
    return problem_response(RejectedError("there is no such path; see /api/v1/openapi.json", field="path", status=404))


_BASIC: Final = {"WWW-Authenticate": 'Basic realm="muniment", charset="UTF-8", Bearer realm="muniment"'}
"""For clients that send a name and a password only once they were asked, as those of TAXII may."""


class _Endpoint:
    """All methods of one path, as an ASGI application: so that methods it lacks are refused here, in our words."""

    def __init__(self, methods: dict[str, Operation], gate: Gate, denied: Denied) -> None:
        self._methods = methods
        self._gate = gate
        self._denied = denied
        self.allowed = ", ".join(sorted({*methods, *({"HEAD"} if "GET" in methods else ())}))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        response = await self._response(request)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        operation = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            error = RejectedError(f"not allowed here; {self.allowed} is", field="method", status=405)
            return problem_response(error, {"Allow": self.allowed})
        try:
            value = await operation.handler(await _call(operation, request, self._gate))
            if isinstance(value, Stream) and request.method == "HEAD":
                await value.chunks.aclose()
                return Response(None, operation.status, HEADERS, value.media_type)
            return _answer(operation, value)
        except ClientDisconnect:
            return Response(status_code=499)
        except DeniedError as error:
            self._denied(operation.name, error)
            return problem_response(error, _BASIC if operation.path.startswith(("/taxii2/", "/feeds/")) else None)
        except AuditError as error:
            return problem_response(error)
        except Exception:
            # A mistake of ours. The traceback goes to the log under a number; the reader learns the number only.
            number = secrets.token_hex(6)
            _log.exception("operation %s failed, number %s", operation.name, number)
            detail = ProblemDetail("InternalError", f"an error inside the server; tell an operator the number {number}")
            return Response(msgspec.json.encode(Problem(detail)), 500, HEADERS, "application/json")


async def _call(operation: Operation, request: Request, gate: Gate) -> Call[Any, Any]:
    identity = gate.identify(request)
    if operation.permission is not None:
        require(identity, operation.permission)
        if operation.method != "GET":
            gate.check_csrf(request)

    def is_current() -> bool:
        with contextlib.suppress(AuditError):
            return gate.identify(request) == identity
        return False

    return Call(
        identity or Identity("anonymous", "anonymous", "none"),
        _params(operation, request),
        await _body(operation, request),
        {name: _path_value(name, text) for name, text in request.path_params.items()},
        gate.client_ip(request),
        request.headers.get("user-agent", "")[:512],
        is_current,
        request.headers,
    )


def _params(operation: Operation, request: Request) -> Any:
    known = operation.params.__struct_encode_fields__
    values: dict[str, Any] = {}
    for name in request.query_params:
        if name not in known:
            raise RejectedError(f"unknown parameter; this path takes {', '.join(known) or 'none'}", field=name[:64])
        given = request.query_params.getlist(name)
        if name in operation.list_params:
            values[name] = [part for text in given for part in (text.split(",") if text else ())]
        elif len(given) > 1:
            raise RejectedError("given more than once", field=name)
        else:
            values[name] = given[0]
    return _converted(values, operation.params, "parameters")


async def _body(operation: Operation, request: Request) -> Any:
    if operation.body is Empty:
        return Empty()
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Also what keeps other sites' forms out: a browser sends this type only after asking, and we never agree.
        raise RejectedError("send application/json", field="content-type", status=415)
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > API_BODY_BYTES_MAX:
            raise RejectedError(f"larger than {API_BODY_BYTES_MAX} bytes", field="body", status=413)
    try:
        return msgspec.json.decode(bytes(received) or b"{}", type=operation.body)
    except msgspec.ValidationError as error:
        raise misfit(error, "body", operation.body) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RejectedError(str(error), field="body") from None


def _converted(values: dict[str, Any], kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error, where, kind) from None


def _path_value(name: str, text: str) -> Any:
    if name not in WHOLE_NUMBERS:
        return text
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        raise RejectedError("expected a whole number from 0", field=name, status=404)
    return int(text)


def _answer(operation: Operation, value: Any) -> Response:
    if isinstance(value, Response):
        return value
    if isinstance(value, Raw | Stream):
        headers = {"Content-Disposition": f'attachment; filename="{value.filename}"'} if value.filename else {}
        if isinstance(value, Raw):
            return Response(value.body, operation.status, HEADERS | headers, value.media_type)
        return StreamingResponse(value.chunks, operation.status, HEADERS | headers, value.media_type)
    return Response(msgspec.json.encode(value), operation.status, HEADERS, "application/json")


def problem_response(error: AuditError, more: Mapping[str, str] | None = None) -> Response:
    """The one mapping of errors to HTTP; `more` headers are added."""
    status = next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
    headers = HEADERS | dict(more or {})
    permission = ""
    field_name, column = "", None
    if isinstance(error, RejectedError):
        status, field_name, column = error.status, error.field, error.column
    elif isinstance(error, DeniedError):
        permission = error.permission
        if not error.is_authenticated:
            status = 401
            headers.setdefault("WWW-Authenticate", 'Bearer realm="muniment"')
    elif isinstance(error, BusyError):
        status = 429 if error.is_quota else 503
        headers["Retry-After"] = str(max(1, error.retry_after_ms // 1000))
    elif isinstance(error, StorageError):
        status = 507 if error.is_full else 503
        headers["Retry-After"] = "10"
    reason = error.reason if isinstance(error, RejectedError) else str(error)
    problem = Problem(ProblemDetail(type(error).__name__, reason, field_name, column, permission))
    return Response(msgspec.json.encode(problem), status, headers, "application/json")
