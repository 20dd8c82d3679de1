"""CloudEvents 1.0 over HTTP to records: structured, batched and binary mode; the record is the structured JSON.

Pure. `source` + `id` identify an event, so they make the producer's event id. In binary mode attributes come from
`ce-` headers (percent-decoded, HTTP binding section 3.1.3.2); a JSON body becomes `data` as sent, text becomes a
string, other bytes `data_base64`. Events without the four required attributes are quarantined among good ones,
refused alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from muniment.errors import RejectedError
from muniment.limits import PRODUCER_ID_CHARS_MAX
from muniment.wire.jsonl import parse_text, split_body
from muniment.wire.records import Records

__all__ = ["decode_cloudevents", "decode_cloudevents_binary"]

_REQUIRED = ("id", "source", "specversion", "type")


def decode_cloudevents(body: bytes, *, door: str) -> Records:
    """Structured (one object) and batched (an array); also several objects one after the other.

    Raises:
        RejectedError: none of them is a CloudEvent.
    """
    found = Records()
    first_error: RejectedError | None = None
    n_good = 0
    for piece in filter(None, map(bytes.strip, split_body(body))):
        try:
            event_id = _event_id(parse_text(piece))
        except RejectedError as error:
            first_error = first_error or error
            found.quarantine(piece, error.reason, door=door)
        else:
            n_good += 1
            found.add(piece, event_id, None, door=door)
    if first_error is not None and not n_good:
        raise first_error
    return found


def decode_cloudevents_binary(headers: Mapping[str, str], body: bytes, *, door: str) -> Records:
    """Binary mode; `headers` have lower-case names.

    Raises:
        RejectedError: a required attribute is missing; `.field` names it.
    """
    event: dict[str, Any] = {
        name[3:]: unquote(value.strip('"'), errors="replace")
        for name, value in headers.items()
        if name.startswith("ce-") and name not in {"ce-data", "ce-data_base64", "ce-datacontenttype"}
    }
    content_type = headers.get("content-type", "")
    if content_type:
        event["datacontenttype"] = content_type
    event_id = _event_id(event)
    found = Records()
    found.add(_with_data(event, content_type, body), event_id, None, door=door)
    return found


def _with_data(event: dict[str, Any], content_type: str, body: bytes) -> bytes:
    if not body:
        return orjson.dumps(event)
    media = content_type.partition(";")[0].strip().lower()
    if not media or media.endswith(("/json", "+json")):
        try:
            parse_text(body)
            joined = orjson.dumps(event)[:-1] + b',"data":' + body + b"}"
            parse_text(joined)  # one level deeper than the data alone
        except RejectedError:
            pass  # it says JSON and is not: kept as text or bytes
        else:
            return joined
    try:
        return orjson.dumps({**event, "data": body.decode()})
    except UnicodeDecodeError:
        return orjson.dumps({**event, "data_base64": base64.b64encode(body).decode()})


def _event_id(event: object) -> str:
    if type(event) is not dict:
        raise RejectedError("expected an object", field="event")
    for name in _REQUIRED:
        if type(event.get(name)) is not str or not event[name]:
            raise RejectedError("a CloudEvent needs it, as text that is not empty", field=name)
    if not event["specversion"].startswith("1."):
        raise RejectedError("expected version 1.x", field="specversion")
    event_id = f"{event['source']} {event['id']}"
    if len(event_id) <= PRODUCER_ID_CHARS_MAX:
        return event_id
    return hashlib.sha256(event_id.encode()).hexdigest()
