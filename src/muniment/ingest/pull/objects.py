"""What queues say of new objects, and what stands in an object. Pure.

A message is S3's own event notification, the same in an SNS envelope (or raw), EventBridge's `Object Created`, or what CloudTrail
itself posts to SNS. An object is CloudTrail's `{"Records": [...]}` or JSON lines, packed with gzip or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from muniment.errors import RejectedError
from muniment.limits import PULL_OBJECT_BYTES_MAX
from muniment.wire.jsonl import decode_body
from muniment.wire.packed import unpacked
from muniment.wire.records import Records, producer_id

__all__ = ["Told", "day_of", "is_wanted", "records_of", "told_by"]

DOOR: Final = "pull"
_DAY: Final = re.compile(r"(?:^|/)(\d{4})/(\d{2})/(\d{2})/")
_NOT_EVENTS: Final = ("/CloudTrail-Digest/", "/CloudTrail-Aggregated/")


@dataclass(frozen=True, slots=True)
class Told:
    """One object that a message names."""

    bucket: str
    key: str


def told_by(body: str) -> list[Told]:
    """The objects a message names; none for a test event or a deletion.

    Raises:
        RejectedError: it is no message of a kind we know.
    """
    try:
        message = msgspec.json.decode(body)
        if isinstance(message, dict) and message.get("Type") == "Notification":
            message = msgspec.json.decode(str(message.get("Message", "")))
        return list(_named(message))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise RejectedError(f"not a message about an object: {error!r}"[:300]) from None


def _named(message: Any) -> Iterator[Told]:
    if message.get("Event") == "s3:TestEvent":
        return
    if "s3ObjectKey" in message:  # CloudTrail's own
        for key in message["s3ObjectKey"]:
            yield Told(message["s3Bucket"], key)
    elif message.get("detail-type") == "Object Created":
        yield Told(message["detail"]["bucket"]["name"], message["detail"]["object"]["key"])
    elif "detail-type" in message:
        return
    else:
        for record in message["Records"]:
            if str(record.get("eventName", "ObjectCreated:")).startswith("ObjectCreated:"):
                yield Told(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))


def is_wanted(key: str) -> bool:
    """May events stand in it? Digests and folders' own markers hold none."""
    return not key.endswith("/") and not any(part in f"/{key}" for part in _NOT_EVENTS)


def day_of(key: str) -> date | None:
    """The day in a key: `.../2026/11/24/...`."""
    found = _DAY.search(key)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


class _File(msgspec.Struct):
    Records: list[msgspec.Raw]


class _Event(msgspec.Struct):
    eventID: str = ""  # noqa: N815  CloudTrail's spelling


_file = msgspec.json.Decoder(_File).decode
_event = msgspec.json.Decoder(_Event).decode


def records_of(data: bytes, kind: str, name: str) -> Records:
    """The events of an object. Each has an id, so that an object read twice is kept once: CloudTrail's own, else its place.

    Raises:
        RejectedError: it is damaged, too large, or of another kind.
    """
    text = unpacked(data, PULL_OBJECT_BYTES_MAX)
    if kind == "jsonl":
        found = decode_body(text, door=DOOR)
        found.ids = [own or f"{name}#{number}" for number, own in enumerate(found.ids)]
        return found
    try:
        file = _file(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RejectedError(f"no CloudTrail file: {error}") from None
    found = Records()
    for number, raw in enumerate(file.Records):
        record = bytes(raw)
        if record[:1] != b"{":
            found.quarantine(record, "not a JSON object", door=DOOR, event_id=f"{name}#{number}")
            continue
        try:
            own = producer_id(_event(record).eventID)
        except msgspec.ValidationError:
            own = None
        found.add(record, own or f"{name}#{number}", None, door=DOOR)
    return found
