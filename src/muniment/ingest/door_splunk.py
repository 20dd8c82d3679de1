"""The Splunk HTTP Event Collector door: event, raw, ack, health, with Splunk's own codes.

An `ackId` is given only after the records are sealed, so every id ever given in a channel is durable and `ack` needs
no memory but a counter per channel. After a restart counters begin anew: a client then sends again what it had not
asked about yet, never the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import orjson

from muniment.errors import DeniedError, RejectedError, StorageError
from muniment.ingest.http_request import Answer, Request, failure_of, json_answer, receive, seal
from muniment.limits import HEC_ACK_IDS_MAX, HEC_CHANNELS_MAX
from muniment.wire.hec import BLANK, MISSING, NO_DATA, decode_hec_events, decode_hec_raw

__all__ = ["SplunkDoor", "refuse"]

DOOR = "hec"

_WORDS: Final = {
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
}
_RAW_META: Final = ("time", "host", "source", "sourcetype", "index")
_CHANNEL_CHARS_MAX: Final = 128
_NO_CHANNEL: Final = "data channel is missing"
_BAD_CHANNEL: Final = "data channel is not an id"


class SplunkDoor:
    """The handlers; holds the ack counters of all channels."""

    def __init__(self) -> None:
        self._given: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def event(self, request: Request) -> Answer:
        """`POST /services/collector[/event[/1.0]]`."""
        await self._authenticate(request)
        channel = _channel(request)
        found = await receive(request, lambda body: decode_hec_events(body, door=DOOR))
        await seal(request, found, DOOR)
        return self._success(request, channel)

    async def raw(self, request: Request) -> Answer:
        """`POST /services/collector/raw[/1.0]`: every line is an event."""
        await self._authenticate(request)
        channel = _channel(request)
        meta = {name: request.query(name) for name in _RAW_META}
        found = await receive(request, lambda body: decode_hec_raw(body, meta, door=DOOR))
        await seal(request, found, DOOR)
        return self._success(request, channel)

    async def ack(self, request: Request) -> Answer:
        """`POST /services/collector/ack`: which ids are durable."""
        await self._authenticate(request)
        channel = _channel(request)
        if not channel:
            raise RejectedError(_NO_CHANNEL, field="channel")
        body = await request.body()
        try:
            asked = orjson.loads(body)["acks"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            asked = None
        if type(asked) is not list or len(asked) > HEC_ACK_IDS_MAX or any(type(one) is not int for one in asked):
            raise RejectedError('expected {"acks": [numbers]}', field="body")
        given = self._given.get((request.source, channel), 0)
        return json_answer(200, {"acks": {str(one): 0 <= one < given for one in asked}})

    async def health(self, request: Request) -> Answer:
        """`GET /services/collector/health[/1.0]`; asks for no token, as load balancers have none."""
        if request.ctx.trouble():
            return json_answer(503, {"text": "HEC is unhealthy, queues are full", "code": 18})
        return json_answer(200, {"text": "HEC is healthy", "code": 17})

    async def options(self, request: Request) -> Answer:
        """`OPTIONS`: Docker's driver asks before it starts."""
        return Answer(200, headers=((b"allow", b"POST, OPTIONS"),))

    async def _authenticate(self, request: Request) -> None:
        token = None
        if request.ctx.is_query_token_allowed and "authorization" not in request.headers:
            token = request.query("token") or None
        await request.authenticate(token)

    def _success(self, request: Request, channel: str) -> Answer:
        if not channel:
            return Answer(200, b'{"text":"Success","code":0}')
        key = (request.source, channel)
        ack_id = self._given.pop(key, 0)
        self._given[key] = ack_id + 1
        if len(self._given) > HEC_CHANNELS_MAX:
            self._given.popitem(last=False)
        return json_answer(200, {"text": "Success", "code": 0, "ackId": ack_id})


def _channel(request: Request) -> str:
    channel = request.headers.get("x-splunk-request-channel") or request.query("channel")
    if len(channel) > _CHANNEL_CHARS_MAX:
        raise RejectedError(_BAD_CHANNEL, field="channel")
    return channel


def refuse(request: Request, error: Exception) -> Answer:
    """`{"text", "code"}`, and `invalid-event-number` where an event is to blame."""
    status, _, headers = failure_of(error)
    code = 8 if status == 500 else 9
    extra: dict[str, object] = {}
    if isinstance(error, DeniedError):
        code = 4 if error.is_authenticated else 3 if request.headers.get("authorization") else 2
        status = _WORDS[code][0]
    elif isinstance(error, RejectedError):
        code = {NO_DATA: 5, MISSING: 12, BLANK: 13, _NO_CHANNEL: 10, _BAD_CHANNEL: 11}.get(error.reason, 6)
        if error.field == "event":
            extra["invalid-event-number"] = error.column or 0
    elif isinstance(error, StorageError) or status != 500:
        status = 503  # Splunk's senders know 503 and 9; a quota too is "busy" in their words
    return json_answer(status, {"text": _WORDS[code][1], "code": code, **extra}, headers)
