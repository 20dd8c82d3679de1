"""One API operation as data, and the only place where a request becomes a call and an error becomes an answer.

An `Operation` names method, path, permission, the types of its parameters, body and answer. The routes and the
OpenAPI document are both made from the same list, so they cannot differ. Every operation that reads or changes
something is recorded in the ledger before its answer leaves (ARCHITECTURE rule 4).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from muniment.access.policy import Identity, require
from muniment.errors import HTTP_STATUS, AuditError, BusyError, DeniedError, RejectedError, StorageError

__all__ = ["Call", "Empty", "Operation", "Problem", "Raw", "Stream", "problem_response", "routes"]

BODY_BYTES_MAX = 256 * 1024
"""A request to the API is a few hundred bytes; events come in through the doors."""

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

    chunks: AsyncIterator[bytes]
    media_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One checked request as an operation sees it."""

    identity: Identity
    params: P
    body: B
    path: Mapping[str, Any]
    client_ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `permission` None: open to all. `answer` None: the handler returns Raw or Stream."""

    method: str
    path: str
    name: str
    summary: str
    permission: str | None
    handler: Callable[[Any], Awaitable[Any]]
    params: type[Any] = Empty
    body: type[Any] = Empty
    answer: type[Any] | None = None
    media_type: str = "application/json"
    status: int = 200
    tag: str = "search"
    list_params: frozenset[str] = field(default_factory=frozenset)


class Gate(Protocol):
    """Finds out who asks. Raises DeniedError for credentials that are wrong; None when there are none."""

    def identify(self, request: Request) -> Identity | None: ...

    def check_csrf(self, request: Request) -> None: ...

    def client_ip(self, request: Request) -> str: ...


def routes(operations: list[Operation], gate: Gate) -> list[Route]:
    """Starlette routes for the operations, grouped so that one path answers all its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _endpoint(methods, gate), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(methods: dict[str, Operation], gate: Gate) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        try:
            return _answer(operation, await operation.handler(await _call(operation, request, gate)))
        except ClientDisconnect:
            return Response(status_code=499)
        except AuditError as error:
            return problem_response(error)

    return endpoint


async def _call(operation: Operation, request: Request, gate: Gate) -> Call[Any, Any]:
    identity = gate.identify(request)
    if operation.permission is not None:
        require(identity, operation.permission)
        if operation.method != "GET":
            gate.check_csrf(request)
    return Call(
        identity or Identity("anonymous", "anonymous", "none"),
        _params(operation, request),
        await _body(operation, request),
        {name: _path_value(name, text) for name, text in request.path_params.items()},
        gate.client_ip(request),
        request.headers.get("user-agent", "")[:512],
    )


def _params(operation: Operation, request: Request) -> Any:
    known = operation.params.__struct_fields__
    values: dict[str, Any] = {}
    for name in request.query_params:
        if name not in known:
            raise RejectedError(f"unknown parameter; this path takes {', '.join(known) or 'none'}", field=name[:64])
        given = request.query_params.getlist(name)
        if name in operation.list_params:
            values[name] = [part for text in given for part in text.split(",") if part]
        elif len(given) > 1:
            raise RejectedError("given more than once", field=name)
        else:
            values[name] = given[0]
    return _converted(values, operation.params, "parameters")


async def _body(operation: Operation, request: Request) -> Any:
    if operation.body is Empty:
        return Empty()
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > BODY_BYTES_MAX:
            raise RejectedError(f"larger than {BODY_BYTES_MAX} bytes", field="body", status=413)
    try:
        return msgspec.json.decode(bytes(received), type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RejectedError(str(error), field="body") from None


def _converted(values: dict[str, Any], kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        match = re.search(r"`\$\.?([a-z_]*)", text)
        raise RejectedError(text, field=match[1] if match and match[1] else where) from None


def _path_value(name: str, text: str) -> Any:
    if name != "index":
        return text
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        raise RejectedError("expected an index: a whole number from 0", field="index", status=404)
    return int(text)


def _answer(operation: Operation, value: Any) -> Response:
    if isinstance(value, Response):
        return value
    if isinstance(value, Raw | Stream):
        headers = {"Content-Disposition": f'attachment; filename="{value.filename}"'} if value.filename else {}
        if isinstance(value, Raw):
            return Response(value.body, media_type=value.media_type, headers=headers)
        headers["Cache-Control"] = "no-store"
        return StreamingResponse(value.chunks, media_type=value.media_type, headers=headers)
    return Response(msgspec.json.encode(value), status_code=operation.status, media_type="application/json")


def problem_response(error: AuditError) -> Response:
    """The one mapping of errors to HTTP."""
    status = next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
    headers = {}
    permission = ""
    field_name, column = "", None
    if isinstance(error, RejectedError):
        status, field_name, column = error.status, error.field, error.column
    elif isinstance(error, DeniedError):
        permission = error.permission
        if not error.is_authenticated:
            status = 401
            headers["WWW-Authenticate"] = 'Bearer realm="muniment"'
    elif isinstance(error, BusyError):
        status = 429 if error.is_quota else 503
        headers["Retry-After"] = str(max(1, error.retry_after_ms // 1000))
    elif isinstance(error, StorageError):
        status = 507 if error.is_full else 503
        headers["Retry-After"] = "10"
    reason = error.reason if isinstance(error, RejectedError) else str(error)
    problem = Problem(ProblemDetail(type(error).__name__, reason, field_name, column, permission))
    return Response(msgspec.json.encode(problem), status, headers, "application/json")
