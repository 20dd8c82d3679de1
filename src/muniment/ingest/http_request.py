"""One HTTP request at a door, and its answer: what all HTTP doors share.

Plain ASGI, because a door answers thousands of single events a second and a framework's request object costs more
than the event. A door is an async function from `Request` to `Answer`; it raises our errors, and its family's
`refuse` turns them into the answer that protocol's senders understand. Errors are caught here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import orjson

from muniment.access.webhooks import IncomingWebhook
from muniment.errors import BusyError, DeniedError, RejectedError, StorageError
from muniment.event.model import Arrival
from muniment.ingest.admission import Admission, credential_of
from muniment.ingest.decode import decode_content
from muniment.ingest.pipeline import Ack
from muniment.limits import (
    BODY_BYTES_MAX,
    BODY_ROOM_WAIT_MS,
    BODY_THREAD_BYTES,
    MIB,
    PENDING_BYTES_MAX,
    STORAGE_RETRY_MS,
)
from muniment.wire.records import Records

__all__ = [
    "Answer",
    "DoorContext",
    "Request",
    "Submits",
    "failure_of",
    "json_answer",
    "receive",
    "seal",
    "send_answer",
    "text_answer",
]

_DRAIN_BYTES: Final = 8 * MIB
"""A refused sender that is still sending hears the refusal only if we read on; up to here we do."""

_DRAIN_S: Final = 2.0
"""One that announced a body and sends none is not waited for longer."""

_ROOM_LOOK_S: Final = 0.1


class Submits(Protocol):
    """The pipeline as doors see it: on return the arrival is durable and under a signed checkpoint."""

    async def submit(self, arrival: Arrival) -> Ack: ...


@dataclass(slots=True)
class Reading:
    """Bytes of bodies that were let in and have not reached the pipeline yet. Of one event loop."""

    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DoorContext:
    """What a door works with. `trouble()` is empty while records can be sealed, else says what is wrong.

    `elastic_version` is what `GET /` claims: Beats refuse to talk to a server older than themselves.
    `is_query_token_allowed`: take Splunk tokens from `?token=`; off, because queries end up in proxies' logs.
    """

    pipeline: Submits
    admission: Admission
    now_ns: Callable[[], int]
    held_bytes: Callable[[], int] = lambda: 0  # what waits in the pipeline
    reading: Reading = field(default_factory=lambda: Reading())
    trouble: Callable[[], str] = lambda: ""
    elastic_version: str = "8.19.0"
    is_query_token_allowed: bool = False
    webhook_of: Callable[[str], IncomingWebhook | None] = lambda source: None
    webhook_told: Callable[[str, int, str], None] = lambda source, now_ns, refusal: None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `headers` are added to content type and length."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class Request:
    """One request. `path` is without the door's prefix; header names are lower case."""

    ctx: DoorContext
    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    peer: str
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    is_body_read: bool = field(default=False)
    source: str = field(default="")

    @classmethod
    def of(cls, ctx: DoorContext, scope: MutableMapping[str, Any], path: str, receive: Any) -> Request:
        """The request of an ASGI scope."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        peer = ctx.admission.proxies.client(client[0] if client else "", headers)
        query = scope.get("query_string", b"").decode("latin-1")
        return cls(ctx, scope["method"], path, query, headers, peer, receive)

    def query(self, name: str) -> str:
        """The first value of a query parameter, or empty."""
        if not self.query_string:
            return ""
        try:
            return parse_qs(self.query_string, keep_blank_values=True, max_num_fields=100).get(name, [""])[0]
        except ValueError:
            raise RejectedError("more than 100 parameters", field="query") from None

    async def authenticate(self, token: str | None = None) -> str:
        """The source this request's credential belongs to; raises DeniedError."""
        token = token or credential_of(self.headers.get("authorization", ""))
        self.source = await self.ctx.admission.authenticate(token, peer=self.peer)
        return self.source

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, still encoded. Ends with RejectedError if the sender breaks off."""
        self.is_body_read = True
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RejectedError("the sender broke off", field="body")
            if chunk := message.get("body", b""):
                yield chunk
            if not message.get("more_body", False):
                return

    async def body(self) -> bytes:
        """The whole body, still encoded.

        Raises:
            RejectedError: more than BODY_BYTES_MAX (413), before it is held in memory.
        """
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
            self.is_body_read = True  # not read, and not waited for either
            raise _too_large()
        chunks: list[bytes] = []
        n_bytes = 0
        async for chunk in self.stream():
            n_bytes += len(chunk)
            if n_bytes > BODY_BYTES_MAX:
                raise _too_large()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def drain(self) -> None:
        """Read on for a refused sender, within bounds, so that it gets to read the refusal."""
        left = 0 if self.is_body_read else _DRAIN_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while left > 0:
                    message = await self.receive()
                    left -= max(1, len(message.get("body", b"")))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return


def _too_large() -> RejectedError:
    return RejectedError(f"more than {BODY_BYTES_MAX} bytes; split it", field="body", status=413)


async def receive(request: Request, parse: Callable[[bytes], Records]) -> Records:
    """The records of a request's body, decoded and parsed by `parse`; large bodies on a worker thread.

    Raises:
        BusyError: there is no room for a large body; it was not looked at, so that an overload costs little.
    """
    ctx, declared = request.ctx, request.headers.get("content-length", "")
    n_bytes = min(int(declared), BODY_BYTES_MAX) if declared.isdigit() else 0
    if n_bytes > BODY_THREAD_BYTES:
        await _wait_for_room(ctx, n_bytes)
    ctx.reading.n_bytes += n_bytes  # held from its first byte on
    try:
        body = await request.body()
        encoding = request.headers.get("content-encoding", "")
        if encoding or len(body) > BODY_THREAD_BYTES:
            return await asyncio.get_running_loop().run_in_executor(
                None, lambda: parse(decode_content(body, encoding) if encoding else body)
            )
        return parse(body)
    finally:
        ctx.reading.n_bytes -= n_bytes


async def _wait_for_room(ctx: DoorContext, n_bytes: int) -> None:
    """While there is no room a body stays with its sender, for a moment; a single one always finds room."""
    deadline = time.monotonic() + BODY_ROOM_WAIT_MS / 1_000
    while (held := ctx.held_bytes() + ctx.reading.n_bytes) and held + n_bytes > PENDING_BYTES_MAX:
        if time.monotonic() >= deadline:
            raise BusyError(f"{held} bytes wait to be sealed, more than {PENDING_BYTES_MAX} are not held")
        await asyncio.sleep(_ROOM_LOOK_S)


async def seal(request: Request, found: Records, door: str) -> Ack:
    """Spend the quota and wait until `found` is in the ledger."""
    arrival = Arrival(
        source=request.source,
        door=door,
        received_at=request.ctx.now_ns(),
        records=found.records,
        ids=found.ids if any(found.ids) else None,
        sqs=found.sqs if any(sq is not None for sq in found.sqs) else None,
        quarantined=found.quarantined if any(found.quarantined) else None,
        peer=request.peer,
    )
    request.ctx.admission.spend(request.source, len(found.records), arrival.n_bytes)
    return await request.ctx.pipeline.submit(arrival)


def failure_of(error: Exception) -> tuple[int, str, tuple[tuple[bytes, bytes], ...]]:
    """Status, words and headers of one of our errors; what every family's `refuse` starts from."""
    if isinstance(error, RejectedError):
        return error.status, str(error), ()
    if isinstance(error, DeniedError):
        if error.is_authenticated:
            return 403, str(error), ()
        return 401, str(error), ((b"www-authenticate", b'Basic realm="muniment", charset="UTF-8"'),)
    if isinstance(error, BusyError):
        return (429 if error.is_quota else 503), str(error), (_retry_after(error.retry_after_ms),)
    if isinstance(error, StorageError):
        # The path of the disk is the operator's business, not the sender's.
        words = "the disk is full" if error.is_full else "records cannot be sealed"
        words += "; nothing was acknowledged"  # of a body larger than a batch the beginning may be there
        return (507 if error.is_full else 503), words, (_retry_after(STORAGE_RETRY_MS),)
    return 500, "an error inside the server; nothing was acknowledged", ()


def _retry_after(retry_after_ms: int) -> tuple[bytes, bytes]:
    return b"retry-after", str(max(1, -(-retry_after_ms // 1000))).encode()


def json_answer(status: int, value: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An answer holding compact JSON."""
    return Answer(status, orjson.dumps(value), headers=headers)


def text_answer(status: int, words: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An answer that is one line of plain text."""
    return Answer(status, words.encode() + b"\n", "text/plain; charset=utf-8", headers)


async def send_answer(send: Any, answer: Answer, *, is_head: bool = False) -> None:
    """Write `answer`; a HEAD request gets the headers only."""
    headers = [(b"content-length", str(len(answer.body)).encode()), *answer.headers]
    if answer.status != 204:
        headers.append((b"content-type", answer.content_type.encode()))
    else:
        headers = list(answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})
