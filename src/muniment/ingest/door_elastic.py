"""The Elasticsearch door: `_bulk`, single documents, and as much of a cluster's manners as shippers look at.

Filebeat, Logstash, Vector, Fluent Bit, rsyslog and the client libraries first ask who is there, whether the licence
is active, and for templates and policies; each answer is as small as they accept, every stub is `{}`. Every answer
carries `X-Elastic-Product`, without which clients since 7.14 refuse to talk.

Fluent Bit looks for the characters `"errors":false`, so the answer is compact and in that key order. What can be sent
again is refused whole, with 429 or 503, and in plain text: rsyslog before 8.2604 does not look at the status, gives up
what a JSON answer calls an error, and sends again what it cannot read (its pull request 6746).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from muniment.errors import BusyError, RejectedError
from muniment.ingest.http_request import Answer, Request, failure_of, json_answer, receive, seal, text_answer
from muniment.wire.bulk import BulkItem, BulkRequest, decode_bulk
from muniment.wire.jsonl import unmark
from muniment.wire.records import Records

__all__ = ["answer_elastic", "is_elastic_path", "refuse"]

DOOR = "elastic"

_PRODUCT: Final = ((b"x-elastic-product", b"Elasticsearch"),)
_STUBS: Final = (
    "/_alias",
    "/_component_template",
    "/_data_stream",
    "/_ilm",
    "/_index_template",
    "/_ingest",
    "/_nodes",
    "/_template",
    "/_cluster",
    "/_license",
    "/_xpack",
)


def is_elastic_path(method: str, path: str, headers: dict[str, str]) -> bool:
    """Is a request to the root an Elasticsearch client's? The pages live on the same port."""
    if path == "/":
        # A browser asks for pages; shippers send a credential or ask for JSON.
        accept = headers.get("accept", "")
        return "text/html" not in accept and ("authorization" in headers or "json" in accept or "elastic" in accept)
    if path.endswith("/_bulk") or path == "/_bulk" or path.startswith(_STUBS):
        return True
    parts = path.split("/")
    if len(parts) == 2:
        return method in {"HEAD", "PUT"} and "authorization" in headers and parts[1] != "upload"
    return len(parts) in {3, 4} and parts[2] in {"_doc", "_create"} and method in {"POST", "PUT"}


async def answer_elastic(request: Request) -> Answer:
    """Any request of an Elasticsearch client."""
    await request.authenticate()
    path = request.path
    if path == "/_bulk" or path.endswith("/_bulk"):
        if request.method not in {"POST", "PUT"}:
            raise RejectedError(f"{request.method} is not allowed", field="method", status=405)
        return await _bulk(request, path.strip("/").split("/")[0] if path != "/_bulk" else "")
    parts = path.split("/")
    if len(parts) in {3, 4} and parts[2] in {"_doc", "_create"} and request.method in {"POST", "PUT"}:
        return await _document(request, parts[1], parts[3] if len(parts) == 4 else "")
    if request.method in {"PUT", "POST"}:
        await request.body()
        return _ok({"acknowledged": True, "shards_acknowledged": True, "index": parts[1]})
    if request.method not in {"GET", "HEAD"}:
        raise RejectedError(f"{request.method}: this log is append-only", field="method", status=405)
    return _ok(_about(request, path))


def _ok(value: object, status: int = 200) -> Answer:
    return json_answer(status, value, _PRODUCT)


def _about(request: Request, path: str) -> dict[str, object]:
    version = request.ctx.elastic_version
    if path == "/":
        return {
            "name": "muniment",
            "cluster_name": "muniment",
            "cluster_uuid": "bXVuaW1lbnQtYXVkaXQtbA",
            "version": {
                "number": version,
                "build_flavor": "default",
                "build_type": "tar",
                "build_hash": "0",
                "build_date": "2026-01-01T00:00:00.000000000Z",
                "build_snapshot": False,
                "lucene_version": "9.12.0",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }
    if path.startswith("/_license"):
        return {"license": {"status": "active", "type": "basic", "mode": "basic", "uid": "muniment"}}
    if path.startswith("/_xpack"):
        features = {"ilm": {"available": True, "enabled": True}}
        return {"license": {"status": "active", "type": "basic", "mode": "basic"}, "features": features}
    if path.startswith("/_cluster/health"):
        status = "red" if request.ctx.trouble() else "green"
        nodes = {"number_of_nodes": 1, "number_of_data_nodes": 1}
        return {"cluster_name": "muniment", "status": status, "timed_out": False, **nodes}
    if path.startswith("/_nodes"):
        # No addresses: a sniffing client keeps the one it was given, which is the only right one behind a proxy.
        return {"_nodes": {"total": 0, "successful": 0, "failed": 0}, "cluster_name": "muniment", "nodes": {}}
    return {}


async def _bulk(request: Request, index: str) -> Answer:
    started = time.monotonic()
    parsed: list[BulkRequest] = []

    def parse(body: bytes) -> Records:
        parsed.append(decode_bulk(body, door=DOOR, default_index=index))
        return parsed[0].found

    found = await receive(request, parse)
    items = parsed[0].items
    ids: Sequence[str] = ()
    is_duplicate: Sequence[bool] = ()
    if found.records:
        ack = await seal(request, found, DOOR)
        ids, is_duplicate = ack.ids, ack.is_duplicate
    is_short = bool(request.query("filter_path"))
    answers = [_item(item, found, ids, is_duplicate, is_short=is_short) for item in items]
    took_ms = int((time.monotonic() - started) * 1000)
    has_errors = any(item.item is None for item in items)
    return _ok({"took": took_ms, "errors": has_errors, "items": answers})


def _item(
    item: BulkItem, found: Records, ids: Sequence[str], is_duplicate: Sequence[bool], *, is_short: bool
) -> dict[str, object]:
    if item.item is None:
        error = {"type": "illegal_argument_exception", "reason": f"{item.action}: this log is append-only"}
        return {item.action: {"_index": item.index, "_id": item.event_id, "status": 400, "error": error}}
    first = found.item_first[item.item]
    # A resent event is in the log already; 409 would be an error to most senders, and `errors` would be true.
    status, result = (200, "noop") if is_duplicate[first] else (201, "created")
    if is_short:
        return {item.action: {"status": status}}
    event_id = item.event_id or ids[first]
    return {item.action: {"_index": item.index, "_id": event_id, "status": status, "result": result}}


async def _document(request: Request, index: str, event_id: str) -> Answer:
    action = b'{"create":{}}\n'
    found = await receive(request, lambda body: decode_bulk(action + _one_line(body), door=DOOR).found)
    if event_id:
        found.ids = [event_id, *found.ids[1:]]
    ack = await seal(request, found, DOOR)
    is_new = not ack.is_duplicate[0]
    document = {"_index": index, "_id": event_id or ack.ids[0], "_version": 1}
    result = {"result": "created" if is_new else "noop", "_shards": {"total": 1, "successful": 1, "failed": 0}}
    return _ok({**document, **result, "_seq_no": ack.indexes[0], "_primary_term": 1}, 201 if is_new else 200)


def _one_line(body: bytes) -> bytes:
    """A document without line breaks; between JSON tokens they are whitespace, inside strings they are not allowed."""
    return unmark(body).replace(b"\r", b" ").replace(b"\n", b" ")


def refuse(request: Request, error: Exception) -> Answer:
    """Elasticsearch's error object for good; plain text for what can be sent again."""
    status, words, headers = failure_of(error)
    if status >= 429:
        status = 429 if isinstance(error, BusyError) else 500 if status == 500 else 503
        return text_answer(status, words, (*_PRODUCT, *headers))
    kind = {401: "security_exception", 403: "security_exception", 413: "content_too_long_exception"}.get(
        status, "illegal_argument_exception"
    )
    detail = {"type": kind, "reason": words}
    return json_answer(status, {"error": {"root_cause": [detail], **detail}, "status": status}, (*_PRODUCT, *headers))
