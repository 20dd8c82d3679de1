"""Events that one JSON object holds as a list or packed: a file of CloudTrail, a page of a vendor's audit API, a batch of Azure's. Pure.

Such an object is a delivery and no event: its other members say only where the page stands among others. Where any of
them says more, the object is taken as one event, so that nothing a sender said is dropped. Three more forms are known:
deliveries whose other members are about each of the events (`_OF_EACH`: CloudWatch's log group), which are written into
each, and events packed as base64 (Firehose, Pub/Sub, a subscription of CloudWatch). Those are unpacked here, before
anything is stored: in base64 neither secrets nor people would be found.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from muniment.limits import PACKED_BYTES_MAX, PACKED_RATIO_MAX

__all__ = ["listed"]

_MEMBERS_MAX: Final = 16
_LISTS: Final = frozenset(
    ("Records", "records", "value", "items", "entries", "events", "logs", "results", "data", "activities", "resources",
     "audit_events", "auditEvents", "audit_logs", "auditLogs", "audit_entries", "log_events", "logEvents", "objects", "content", "receivedMessages")
)  # fmt: skip
_OF_A_PAGE: Final = frozenset(
    ("@odata.context", "apiversion", "@odata.count", "@odata.nextlink", "_links", "continuationtoken", "count", "cursor",
     "etag", "first", "firstid", "hasmore", "hasnext", "hasnextpage", "isend", "islastpage", "kind", "last", "lastid", "lastpage", "limit",
     "link", "links", "maxresults", "meta", "more", "next", "nextcontinuationtoken", "nextcursor", "nextlink", "nextpage",
     "nextpagetoken", "nexttoken", "numberofelements", "object", "offset", "ok", "page", "pageinfo", "pagenumber", "pages", "pagesize",
     "pagination", "paging", "perpage", "prev", "prevcursor", "prevlink", "previous", "previouscursor", "previouspage", "requestid",
     "responsemetadata", "resultsize", "self", "size", "start", "startindex", "status", "statuscode", "success", "syncpoint", "took",
     "total", "totalcount", "totalelements", "totalpages", "totalrecords", "totalresults", "totalsize", "url")
)  # fmt: skip
"""What else is in such an object, small and without `_` and `-`; words about the page, and none about an event."""
_OF_EACH: Final = {
    "logEvents": frozenset(("messageType", "owner", "logGroup", "logStream", "subscriptionFilters")),
    "events": frozenset(("topic",)),
}
"""By the list's key, what a delivery says of each event in it: CloudWatch Logs, Juniper Mist."""
_OF_A_PACKET: Final = frozenset(
    ("data", "recordId", "approximateArrivalTimestamp", "kinesisRecordMetadata", "partitionKey", "sequenceNumber",
     "kinesisSchemaVersion", "ackId", "message")
)  # fmt: skip
"""What stands beside packed data in a list, all about the delivery: Firehose, Kinesis, a pull of Pub/Sub."""
_EMPTY: Final[tuple[object, ...]] = (None, "", {}, [])
"""Values of members that say nothing, whatever their name."""
_OF_A_MESSAGE: Final = frozenset(
    ("data", "attributes", "messageId", "message_id", "publishTime", "publish_time", "orderingKey")
)
_OUTER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def listed(document: Mapping[str, Any], text: bytes) -> list[bytes]:
    """The texts of the objects that a delivery holds, as they stand in `text`; none for an event. `document` is what `text` says.

    >>> listed({"records": [{"a": 1}], "next": None}, b'{"records":[{"a": 1}],"next":null}')
    [b'{"a": 1}']
    >>> listed({"records": [{"a": 1}], "user": "anna"}, b'{"records":[{"a": 1}],"user":"anna"}')
    []
    >>> listed({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [{"a": 1}]}, b'{"items":[{"a":1}]}')
    [b'{"a":1}']
    >>> listed({"logEvents": [{"message": "up"}], "logGroup": "g"}, b'{"logEvents":[{"message":"up"}],"logGroup":"g"}')
    [b'{"message":"up","logGroup":"g"}']
    >>> listed({"records": [{"data": "eyJhIjoxfQ=="}]}, b'{"records":[{"data":"eyJhIjoxfQ=="}]}')
    [b'{"a":1}']
    """
    if len(document) > _MEMBERS_MAX:
        return []
    if acts := _activity(document, text):
        return acts
    if (packed := _message(document)) is not None:
        return packed
    if _LISTS.isdisjoint(document):
        return []
    lists = [key for key, value in document.items() if key in _LISTS and _is_of_objects(value)]
    if len(lists) != 1:
        return []
    name = lists[0]
    shared = _OF_EACH.get(name, frozenset()) & document.keys()
    others = [
        _plain(key) for key, value in document.items() if key != name and key not in shared and value not in _EMPTY
    ]
    packets = [_packet(each) for each in document[name]]
    if None not in packets and _OF_A_PAGE.union(("requestid", "timestamp", "deliverystreamarn")).issuperset(others):
        return [event for packet in packets for event in packet or []]
    if not _OF_A_PAGE.issuperset(others):
        return []
    outer = _OUTER.decode(text)
    events = [bytes(each).strip() for each in _ARRAY.decode(outer[name])]
    if not shared:
        return [
            part for each, said in zip(events, document[name], strict=True) for part in _activity(said, each) or [each]
        ]
    if any(shared & each.keys() for each in document[name]):
        return []
    said = b",".join(b"%b:%b" % (orjson.dumps(key), bytes(outer[key])) for key in document if key in shared)
    return [b"%b%b%b}" % (each[:-1].rstrip(), b"," if each[1:-1].strip() else b"", said) for each in events]


def _activity(document: Mapping[str, Any], text: bytes) -> list[bytes]:
    """An activity of Google Workspace that tells several acts (`events`), as one for each; [] for anything else.

    >>> one = b'{"id":{"uniqueQualifier":"1"},"actor":{"email":"a"},"events":[{"name":"A"},{"name":"B"}]}'
    >>> _activity(orjson.loads(one), one)[1]
    b'{"id":{"uniqueQualifier":"1"},"actor":{"email":"a"},"events":[{"name":"B"}]}'
    """
    acts, id = document.get("events"), document.get("id")
    if type(acts) is not list or len(acts) < 2 or type(id) is not dict or "uniqueQualifier" not in id:
        return []
    if "actor" not in document or not _is_of_objects(acts):
        return []
    outer = _OUTER.decode(text)
    each = [bytes(act).strip() for act in _ARRAY.decode(outer["events"])]
    members = [(b"%b:" % orjson.dumps(key), key, bytes(value)) for key, value in outer.items()]
    return [
        b"{%b}" % b",".join(name + (b"[%b]" % act if key == "events" else value) for name, key, value in members)
        for act in each
    ]


def _message(document: Mapping[str, Any]) -> list[bytes] | None:
    """The events of a single packed message: a push of Pub/Sub, what a function gets from CloudWatch; None for anything else."""
    logs = document.get("awslogs")
    if len(document) == 1 and type(logs) is dict and logs.keys() == {"data"}:
        return _unpacked(logs["data"])
    message = document.get("message")
    if type(message) is not dict or not {"message", "subscription", "deliveryAttempt"}.issuperset(document):
        return None
    return _of_message(message, {key: document[key] for key in document if key != "message"})


def _of_message(message: Mapping[str, Any], around: Mapping[str, Any]) -> list[bytes] | None:
    """The event of a message of Pub/Sub, with what else the message says under `pubsub`."""
    if not _OF_A_MESSAGE.issuperset(message) or not {"messageId", "message_id"} & message.keys():
        return None
    events = _unpacked(message.get("data"))
    if not events or len(events) != 1 or b'"pubsub":' in events[0]:
        return None
    said = orjson.dumps({**around, **{key: value for key, value in message.items() if key != "data"}})
    return [b'%b,"pubsub":%b}' % (events[0].rstrip()[:-1].rstrip(), said)]


def _packet(each: Mapping[str, Any]) -> list[bytes] | None:
    """The events that one member of a list has packed; None where it has none."""
    if not _OF_A_PACKET.issuperset(each):
        return None
    if type(message := each.get("message")) is dict:
        return _of_message(message, {})
    return _unpacked(each.get("data")) if "message" not in each else None


def _unpacked(data: object) -> list[bytes] | None:
    """The events in a text of base64: JSON objects, CloudWatch's own packed delivery, or a line of text; else None."""
    if type(data) is not str or not data:
        return None
    try:
        raw = base64.b64decode(data, validate=True)
        if raw[:2] == b"\x1f\x8b":
            raw = _inflated(raw)
            document = orjson.loads(raw)
            return (listed(document, raw) or None) if "logEvents" in document else None
        if raw.lstrip()[:1] == b"{":
            return _objects(raw.strip())
        text = raw.decode().strip()
    except (binascii.Error, ValueError, TypeError, zlib.error):
        return None
    return [orjson.dumps({"message": text})] if text.isprintable() and " " in text else None


def _objects(raw: bytes) -> list[bytes] | None:
    """One JSON object, or one a line."""
    try:
        return [raw] if orjson.loads(raw) else None
    except ValueError:
        lines = [line for line in raw.split(b"\n") if line.strip()]
        return lines if all(type(orjson.loads(line)) is dict for line in lines) else None


def _inflated(raw: bytes) -> bytes:
    """Of gzip, within bounds.

    Raises:
        ValueError: more than a delivery may hold.
    """
    unpacker = zlib.decompressobj(wbits=31)
    text = unpacker.decompress(raw, min(PACKED_BYTES_MAX, PACKED_RATIO_MAX * len(raw)))
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("unpacks to more than a delivery may hold")
    return text


def _is_of_objects(value: object) -> bool:
    return type(value) is list and bool(value) and all(type(each) is dict for each in value)


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "") if key[:1] not in "@_" else key.lower()
