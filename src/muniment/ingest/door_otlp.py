"""The OTLP/HTTP door: `POST /v1/logs`, protobuf and JSON, as OTLP 1.x says.

The body decides which it is; the answer comes in the same encoding: empty message or `{}`. Status is 200 exactly, or
a google.rpc.Status with 400 (do not send again) or 429 and 503 (send again after Retry-After). Exporters retry no
other status, so a full disk is 503 here. Never a partial success.
"""

from __future__ import annotations

from typing import Final

import orjson

from muniment.errors import BusyError, DeniedError, RejectedError, StorageError
from muniment.ingest.http_request import Answer, Request, failure_of, receive, seal
from muniment.limits import STORAGE_RETRY_MS
from muniment.wire.otlp import decode_otlp_json, decode_otlp_protobuf, status_message
from muniment.wire.records import Records

__all__ = ["parse_export", "post_logs", "refuse", "rpc_status"]

DOOR = "otlp"

_PROTOBUF: Final = "application/x-protobuf"
_INVALID_ARGUMENT, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = (
    3,
    7,
    8,
    13,
    14,
    16,
)


async def post_logs(request: Request) -> Answer:
    """`POST /v1/logs`."""
    await request.authenticate()
    is_json: list[bool] = []

    def parse(body: bytes) -> Records:
        is_json.append(_is_json(body))
        if is_json[0]:
            request.headers["content-type"] = "application/json"  # a refusal too is answered in the body's own kind
        return parse_export(body)

    found = await receive(request, parse)
    if found.records:
        await seal(request, found, DOOR)
    return Answer(200, b"{}") if is_json[0] else Answer(200, b"", _PROTOBUF)


def parse_export(body: bytes) -> Records:
    """An export in whichever encoding; no bytes at all are an empty export in protobuf."""
    return decode_otlp_json(body, door=DOOR) if _is_json(body) else decode_otlp_protobuf(body, door=DOOR)


def _is_json(body: bytes) -> bool:
    # A protobuf export begins with 0x0A, which is also a line break: look at what follows the whitespace.
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["} and not _is_protobuf(body)


def _is_protobuf(body: bytes) -> bool:
    if body[:1] != b"\n":
        return False
    try:
        decode_otlp_protobuf(body, door=DOOR)
    except RejectedError:
        return False
    return True


def rpc_status(error: Exception) -> tuple[int, int]:
    """google.rpc code, and the milliseconds after which to send again (0: do not)."""
    if isinstance(error, BusyError):
        return (_RESOURCE_EXHAUSTED if error.is_quota else _UNAVAILABLE), error.retry_after_ms
    if isinstance(error, StorageError):
        return _UNAVAILABLE, STORAGE_RETRY_MS
    if isinstance(error, DeniedError):
        return (_PERMISSION_DENIED if error.is_authenticated else _UNAUTHENTICATED), 0
    return (_INVALID_ARGUMENT if isinstance(error, RejectedError) else _INTERNAL), 0


def refuse(request: Request, error: Exception) -> Answer:
    """google.rpc.Status in the request's encoding."""
    status, words, headers = failure_of(error)
    if isinstance(error, StorageError) or status == 500:
        status = 503
    code, retry_ms = rpc_status(error)
    if "json" in request.headers.get("content-type", ""):
        return Answer(status, orjson.dumps({"code": code, "message": words}), headers=headers)
    return Answer(status, status_message(code, words, retry_ms), _PROTOBUF, headers)
