"""The CloudEvents door: `POST /v1/cloudevents`, structured, batched and binary.

`ce-` headers make it binary; otherwise the body is one event or many. Answers are those of the native door.
"""

from __future__ import annotations

from muniment.ingest.door_native import receipt_of
from muniment.ingest.http_request import Answer, Request, json_answer, receive, seal
from muniment.wire.cloudevents import decode_cloudevents, decode_cloudevents_binary
from muniment.wire.records import Records

__all__ = ["post_cloudevents"]

DOOR = "cloudevents"


async def post_cloudevents(request: Request) -> Answer:
    """`POST /v1/cloudevents`."""
    await request.authenticate()

    def parse(body: bytes) -> Records:
        if "ce-specversion" in request.headers or "ce-id" in request.headers:
            return decode_cloudevents_binary(request.headers, body, door=DOOR)
        return decode_cloudevents(body, door=DOOR)

    found = await receive(request, parse)
    ack = await seal(request, found, DOOR)
    return json_answer(200, receipt_of(found, ack, is_full=request.query("receipt") == "full"))
