"""A vendor's delivery is taken apart into its events; an event that holds a list stays one."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from muniment.limits import RECORD_BYTES_MAX
from muniment.wire.jsonl import decode_body
from muniment.wire.lines import records_of_file

_EVENTS = [{"id": "e1", "action": "user.login"}, {"id": "e2", "action": "user.logout", "targets": [{"id": "t"}]}]


def _taken(body: bytes) -> list[bytes]:
    return decode_body(body, door="http").records


@pytest.mark.parametrize(
    "delivery",
    [
        {"Records": _EVENTS},
        {"kind": "admin#reports#activities", "etag": '"x"', "items": _EVENTS, "nextPageToken": "A"},
        {
            "@odata.context": "https://graph.example/$metadata#auditLogs",
            "@odata.nextLink": "https://x",
            "value": _EVENTS,
        },
        {"ok": True, "entries": _EVENTS, "response_metadata": {"next_cursor": ""}},
        {"cursor": "c", "has_more": False, "items": _EVENTS},
        {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": _EVENTS},
        {"data": _EVENTS, "links": {"next": None}, "meta": {"total": 2}},
        {"_links": {"self": {"href": "x"}}, "records": _EVENTS, "total-count": 2},
    ],
)
def test_the_events_of_a_page_are_events(delivery: dict[str, Any]) -> None:
    for text in (json.dumps(delivery), json.dumps(delivery, indent=2), json.dumps(delivery, separators=(",", ":"))):
        found = decode_body(text.encode(), door="http")
        assert [json.loads(record) for record in found.records] == _EVENTS
        assert found.ids == ["e1", "e2"]
        assert all(record in text.encode() for record in found.records)  # as they were sent
        assert records_of_file(text.encode()) == found.records


@pytest.mark.parametrize(
    "event",
    [
        {"action": "order.create", "items": [{"sku": 1}]},
        {"user": "anna", "records": [{"a": 1}]},
        {"records": []},
        {"records": [1, 2]},
        {"records": [{"a": 1}, "text"]},
        {"records": [{"a": 1}], "events": [{"b": 1}]},
        {"records": {"a": 1}},
        {"changes": [{"a": 1}]},
        {"status": "failed", "message": "no such user", "data": [{"field": "x"}]},
    ],
)
def test_an_event_that_holds_a_list_is_one(event: dict[str, Any]) -> None:
    text = json.dumps(event).encode()
    assert _taken(text) == [text]
    assert records_of_file(text) == [text]


def test_lines_may_be_deliveries_and_events() -> None:
    lines = [{"a": 1}, {"records": _EVENTS}, {"b": 2}, {"value": [{"records": [{"deep": 1}]}]}]
    taken = _taken("\n".join(map(json.dumps, lines)).encode())
    assert [json.loads(record) for record in taken] == [{"a": 1}, *_EVENTS, {"b": 2}, {"deep": 1}]


def test_a_bad_event_of_a_delivery_is_refused_with_it() -> None:
    found = decode_body(b'{"a":1}\n{"records":[{"x":1,"x":2},{"b":1}]}', door="http")
    assert found.records[0] == b'{"a":1}'
    assert found.n_quarantined == 1  # two readers would see two things in it, so it is kept as it came


def test_a_delivery_larger_than_a_record_is_taken() -> None:
    events = [{"id": f"big{n}", "pad": "x" * 1_000} for n in range(RECORD_BYTES_MAX // 1_000 + 50)]
    found = decode_body(json.dumps({"Records": events}).encode(), door="http")
    assert (found.n_items, found.n_quarantined) == (len(events), 0)


def _packed(event: object) -> str:
    text = event if isinstance(event, bytes) else json.dumps(event).encode()
    return base64.b64encode(text).decode()


_LOGS: dict[str, Any] = {
    "messageType": "DATA_MESSAGE",
    "owner": "123456789123",
    "logGroup": "/var/log/secure",
    "logStream": "i-1",
    "subscriptionFilters": ["all"],
    "logEvents": [
        {"id": "1", "timestamp": 1795415761123, "message": "sshd[1]: one"},
        {"id": "2", "timestamp": 1795415761124, "message": "sshd[1]: two"},
    ],
}
_LOG_EVENTS = [each | {key: _LOGS[key] for key in _LOGS if key != "logEvents"} for each in _LOGS["logEvents"]]


@pytest.mark.parametrize(
    ("delivery", "events"),
    [
        (_LOGS, _LOG_EVENTS),
        ({"topic": "audits", "events": [{"id": "m", "message": "Login"}]}, [{"id": "m", "message": "Login", "topic": "audits"}]),
        ({"requestId": "r", "timestamp": 1795415762000, "records": [{"data": _packed(event)} for event in _EVENTS]}, _EVENTS),
        ({"records": [{"data": _packed(b'{"a":1}\n{"b":2}\n')}]}, [{"a": 1}, {"b": 2}]),
        ({"records": [{"data": _packed(b"<34>Nov 23 06:36:01 h su: no\n")}]}, [{"message": "<34>Nov 23 06:36:01 h su: no"}]),
        ({"records": [{"data": _packed(gzip.compress(json.dumps(_LOGS).encode()))}]}, _LOG_EVENTS),
        ({"awslogs": {"data": _packed(gzip.compress(json.dumps(_LOGS).encode()))}}, _LOG_EVENTS),
        (
            {"message": {"data": _packed({"a": 1}), "messageId": "7", "attributes": {"k": "v"}}, "subscription": "s"},
            [{"a": 1, "pubsub": {"subscription": "s", "messageId": "7", "attributes": {"k": "v"}}}],
        ),
        (
            {"receivedMessages": [{"ackId": "x", "message": {"data": _packed({"a": 1}), "messageId": "7"}}]},
            [{"a": 1, "pubsub": {"messageId": "7"}}],
        ),
    ],
)  # fmt: skip
def test_what_a_delivery_packs_or_says_of_each_event_stands_in_the_events(
    delivery: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    text = json.dumps(delivery).encode()
    assert [json.loads(record) for record in _taken(text)] == events
    assert [json.loads(record) for record in records_of_file(text)] == events


@pytest.mark.parametrize(
    "event",
    [
        {"timestamp": 1, "records": [{"data": "not base64"}]},
        {"timestamp": 1, "records": [{"data": _packed(b"\x00\x01")}]},
        {"timestamp": 1, "records": [{"data": _packed({"a": 1}), "user": "anna"}]},
        {"records": [{"data": _packed({"a": 1})}], "user": "anna"},
        {"timestamp": 1, "records": [{"data": _packed(gzip.compress(b'{"a":1}'))}]},
        {"timestamp": 1, "records": [{"data": _packed(gzip.compress(b" " * 9_000_000 + json.dumps(_LOGS).encode()))}]},
        {"message": {"data": _packed({"a": 1})}, "user": "anna"},
        {"message": {"data": "eyJ", "messageId": "7"}},
        {"logGroup": "g", "logEvents": [{"message": "a", "logGroup": "another"}]},
    ],
)
def test_what_cannot_be_unpacked_whole_stays_as_it_came(event: dict[str, Any]) -> None:
    text = json.dumps(event).encode()
    assert _taken(text) == [text]


def test_an_activity_that_tells_several_acts_is_as_many_events() -> None:
    acts = [{"type": "USER_SETTINGS", "name": name, "parameters": [{"name": "n", "value": "v"}]} for name in ("A", "B")]
    activity: dict[str, Any] = {"kind": "admin#reports#activity", "id": {"time": "2026-11-23T06:36:01Z", "uniqueQualifier": "-7"},
                                "actor": {"email": "anna@example.com"}, "ipAddress": "203.0.113.7", "events": acts}  # fmt: skip
    wanted = [activity | {"events": [act]} for act in acts]
    page = {"kind": "admin#reports#activities", "items": [activity, wanted[0]], "nextPageToken": "x"}
    for body, expected in ((activity, wanted), (page, [*wanted, wanted[0]]), (wanted[0], wanted[:1])):
        for text in (json.dumps(body), json.dumps(body, indent=2)):
            assert [json.loads(record) for record in _taken(text.encode())] == expected
            assert [json.loads(record) for record in records_of_file(text.encode())] == expected
    lines = b"\n".join(json.dumps(activity).encode() for _ in range(3))
    assert [json.loads(record) for record in _taken(lines)] == wanted * 3
