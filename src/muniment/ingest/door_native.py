"""The native door: `POST /v1/events` takes one JSON object, an array, NDJSON, or objects one after the other.

The answer comes when everything is sealed. `Idempotency-Key` gives events that have no `id` of their own one, from
the key and their place in the body, so a repeated request is recognised. `?receipt=full` adds a receipt per event.
"""

from __future__ import annotations

import base64

from muniment.errors import RejectedError
from muniment.ingest.http_request import Answer, Request, failure_of, json_answer, receive, seal
from muniment.ingest.pipeline import Ack
from muniment.limits import PRODUCER_ID_CHARS_MAX
from muniment.wire.jsonl import decode_body
from muniment.wire.records import Records

__all__ = ["post_events", "receipt_of", "refuse"]

DOOR = "http"


async def post_events(request: Request) -> Answer:
    """`POST /v1/events`."""
    await request.authenticate()
    key = request.headers.get("idempotency-key", "")
    if len(key) > PRODUCER_ID_CHARS_MAX - 16:
        raise RejectedError(f"longer than {PRODUCER_ID_CHARS_MAX - 16} characters", field="Idempotency-Key")
    is_full = _is_full(request.query("receipt"))
    found = await receive(request, lambda body: decode_body(body, door=DOOR))
    if key:
        found.ids = [f"{key}/{place}" if own is None else own for place, own in enumerate(found.ids)]
    ack = await seal(request, found, DOOR)
    return json_answer(200, receipt_of(found, ack, is_full=is_full))


def _is_full(receipt: str) -> bool:
    if receipt not in {"", "full", "none"}:
        raise RejectedError(f"expected full, got {receipt[:32]!r}", field="receipt")
    return receipt == "full"


def receipt_of(found: Records, ack: Ack, *, is_full: bool) -> dict[str, object]:
    """What the sender is told about its events; `is_full` adds a receipt for each."""
    receipt: dict[str, object] = {
        "accepted": found.n_items,
        "duplicates": sum(ack.is_duplicate[first] for first in found.item_first),
        "quarantined": found.n_quarantined,
        "first_index": ack.indexes[0],
        "size": ack.size,
        "checkpoint": ack.checkpoint.decode(),
    }
    if receipt["quarantined"]:
        receipt["notices"] = [
            {"item": item, "index": ack.indexes[first], "reason": found.quarantined[first]}
            for item, first in enumerate(found.item_first)
            if found.quarantined[first] is not None
        ]
    if is_full:
        receipt["items"] = [
            {
                "id": ack.ids[first],
                "index": ack.indexes[first],
                "leaf_hash": base64.b64encode(ack.leaf_hashes[first]).decode(),
                "duplicate": ack.is_duplicate[first],
            }
            for first in found.item_first
        ]
    return receipt


def refuse(request: Request, error: Exception) -> Answer:
    """`{"error": {"status", "message", "field"}}`."""
    status, words, headers = failure_of(error)
    detail: dict[str, object] = {"status": status, "message": words}
    if isinstance(error, RejectedError):
        detail |= {"field": error.field, "reason": error.reason}
    return json_answer(status, {"error": detail}, headers)
