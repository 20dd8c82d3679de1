"""The Loki door: `POST /loki/api/v1/push` in JSON or snappy-compressed protobuf, and `GET /ready`.

Success is 204 without a body; errors are plain text. What the body is, the body says: it begins with `{` or it is
snappy. `X-Scope-OrgID` is ignored: the source comes from the credential.
"""

from __future__ import annotations

from muniment.errors import RejectedError
from muniment.ingest.decode import decode_snappy_block
from muniment.ingest.http_request import Answer, Request, failure_of, receive, seal, text_answer
from muniment.wire.loki import decode_loki_json, decode_loki_protobuf
from muniment.wire.records import Records

__all__ = ["push", "ready", "refuse"]

DOOR = "loki"


async def push(request: Request) -> Answer:
    """`POST /loki/api/v1/push`."""
    await request.authenticate()
    found = await receive(request, _parse)
    if found.records:
        await seal(request, found, DOOR)
    return Answer(204)


def _parse(body: bytes) -> Records:
    if not body:
        raise RejectedError("no event in the body", field="body")
    if body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        try:
            return decode_loki_json(body, door=DOOR)
        except RejectedError:
            # A snappy block that says 123 bytes also begins with "{"; JSON that is wrong is no snappy.
            if body[:1] != b"{" or len(body) > 1_000:
                raise
            try:
                message = decode_snappy_block(body)
            except RejectedError:
                message = b""
            if not message:
                raise
            return decode_loki_protobuf(message, door=DOOR)
    return decode_loki_protobuf(decode_snappy_block(body), door=DOOR)


async def ready(request: Request) -> Answer:
    """`GET /ready`."""
    if request.ctx.trouble():
        return Answer(503, b"records cannot be sealed\n", "text/plain")
    return Answer(200, b"ready\n", "text/plain")


def refuse(request: Request, error: Exception) -> Answer:
    """Plain text. Loki's senders retry 429 and 5xx, and drop on every other status."""
    status, words, headers = failure_of(error)
    return text_answer(status, words, headers)
