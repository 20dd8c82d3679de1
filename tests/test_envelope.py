"""What is inside of an envelope is found, and the envelope is never changed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.envelope import CUT_COLLECTED, CUT_FORMS, ENVELOPES, OUTSIDE, Payload, opened, opened_last, payloads

_EVENT = {"eventName": "CreateUser", "user": {"email": "anna@example.com"}}
_LINE = "Failed password for anna from 203.0.113.7 port 22 ssh2"


def _text(document: object) -> bytes:
    return json.dumps(document).encode()


def _innermost(record: bytes) -> Payload | None:
    return (payloads(record) or [None])[-1]


_INSIDE: dict[str, Any] = {
    "syslog": lambda text: {"syslog": {"hostname": "h", "app": "p", "message": text}, "raw": f"<14>{text}"},
    "syslog, with a cookie": lambda text: {"syslog": {"hostname": "h", "app": "p", "message": f"@cee: {text}"}},
    "a file shipper": lambda text: {"@timestamp": "2026-11-23T06:36:01Z", "message": text, "host": {"name": "h"}},
    "a container": lambda text: {"log": f"{text}\n", "stream": "stderr", "kubernetes": {"host": "h"}},
    "a container runtime": lambda text: {"message": f"2026-11-23T06:36:01.1Z stdout F {text}", "host": "h"},
    "an event collector": lambda text: {"event": text, "host": "h", "sourcetype": "x"},
    "OpenTelemetry": lambda text: {"otel": {"body": text, "attributes": {}, "resource": {"host.name": "h"}}},
    "Loki": lambda text: {"loki": {"line": text, "ts": "1", "stream": {"host": "h"}}},
    "a CloudEvent": lambda text: {"specversion": "1.0", "data": text, "host": "h"},
    "a notification": lambda text: {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:eu-1:1:t",
        "Message": text,
        "host": "h",
    },
    "the journal": lambda text: {"MESSAGE": text, "_HOSTNAME": "h"},
}


@pytest.mark.parametrize("inside", _INSIDE.values(), ids=_INSIDE)
def test_an_event_in_a_text_is_read_as_if_it_were_alone(inside: Any) -> None:
    record = _text(inside(json.dumps(_EVENT)))
    found = _innermost(record)
    assert found is not None
    assert found.escapes == 1
    assert json.loads(found.body) == _EVENT
    assert re.search(ENVELOPES, record.decode())
    first = json.loads(opened(record)[0], object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    last = json.loads(opened_last(record))
    assert first | _EVENT == first == last
    assert first[OUTSIDE]["host"] == "h"


@pytest.mark.parametrize(
    ("outer", "inner", "escapes"),
    [
        ("an event collector", "a container", 2),
        ("a file shipper", "a container", 2),
        ("syslog", "a file shipper", 2),
        ("a notification", "a CloudEvent", 2),
        ("OpenTelemetry", "a container runtime", 2),
    ],
)
def test_an_envelope_inside_an_envelope_is_opened_too(outer: str, inner: str, escapes: int) -> None:
    record = _text(_INSIDE[outer](json.dumps(_INSIDE[inner](json.dumps(_EVENT)) | {"host": "nearer"})))
    found = _innermost(record)
    assert found is not None
    assert (json.loads(found.body), found.escapes) == (_EVENT, escapes)
    assert re.search(ENVELOPES, record.decode())
    last = json.loads(opened_last(record))
    assert last | _EVENT == last
    assert last[OUTSIDE]["host"] == "nearer"


def test_an_object_that_is_a_containers_line_is_opened() -> None:
    record = _text(
        {"host": "h", "event": {"log": json.dumps(_EVENT), "stream": "stdout", "kubernetes": {"container_name": "c"}}}
    )
    found = _innermost(record)
    assert found is not None
    assert (json.loads(found.body), found.escapes, found.place) == (_EVENT, 1, "log")
    assert json.loads(opened_last(record))[OUTSIDE] == {"host": "h", "app": "c"}


def test_what_the_envelopes_in_between_say_is_still_there() -> None:
    record = _text(
        {"host": "h", "event": {"user": "anna", "message": json.dumps({"a": 1}), "time": "2026-11-23T06:36:01Z"}}
    )
    first = json.loads(opened(record)[0], object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    for text in (first, json.loads(opened_last(record))):
        assert (text["a"], text["user"], text["message"], text["time"]) == (1, "anna", "", "")
        assert text[OUTSIDE] == {"host": "h", "time": "2026-11-23T06:36:01Z"}


def test_what_a_door_wrote_beside_a_line_counts_whatever_the_line_says() -> None:
    record = _text(
        {
            "syslog": {"message": json.dumps({"a": 1, "peer": "forged", "tls_subject": "CN=forged"})},
            "peer": "203.0.113.7",
        }
    )
    first = json.loads(opened(record)[0], object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    last = json.loads(opened_last(record))
    assert (
        (first["a"], first["peer"], first["tls_subject"])
        == (last["a"], last["peer"], last["tls_subject"])
        == (1, "203.0.113.7", "")
    )


@pytest.mark.parametrize(
    "record",
    [
        {"event": _EVENT, "host": "h"},
        {"otel": {"body": _EVENT, "attributes": {"a": 1}}},
        {"journal": _EVENT},
        {"specversion": "1.0", "data": _EVENT},
        {"detail-type": "x", "detail": _EVENT, "time": "2026-11-23T06:36:01Z"},
    ],
)
def test_an_event_that_is_an_object_is_taken_as_it_stands(record: dict[str, Any]) -> None:
    found = _innermost(_text(record))
    assert found is not None
    assert (json.loads(found.body), found.escapes) == (_EVENT, 0)


@pytest.mark.parametrize("name", ["a container", "a container runtime", "an event collector", "OpenTelemetry", "Loki"])
def test_a_line_of_text_is_read_as_a_message(name: str) -> None:
    found = _innermost(_text(_INSIDE[name](_LINE)))
    assert found is not None
    assert json.loads(found.body) == {"message": _LINE}


@pytest.mark.parametrize(
    ("line", "inside"),
    [
        (
            '[2026-11-23 06:36:01] shop.INFO: paid {"order":7} []',
            {"time": "2026-11-23 06:36:01", "level": "INFO", "logger": "shop", "message": "paid", "order": 7},
        ),
        (
            '2026-11-23T06:36:01.123+01:00 [warn] refused {"a":{"b":1}} {"url":"/x"}',
            {
                "time": "2026-11-23T06:36:01.123+01:00",
                "level": "warn",
                "message": "refused",
                "a": {"b": 1},
                "url": "/x",
            },
        ),
        ('user.deleted {"message":"told","level":3}', {"message": "told", "level": 3}),
        ('audit {$sealed:3} left {"id":{$sealed:1}}', {"message": "audit {$sealed:3} left", "id": "{$sealed:1}"}),
        ('Error of Anna: {"a":1}', {"message": "Error of Anna", "a": 1}),
    ],
)
@pytest.mark.parametrize("name", ["syslog", "a message", "a container", "Loki"])
def test_an_object_behind_words_is_read_with_the_words(line: str, inside: dict[str, Any], name: str) -> None:
    record = _text(_INSIDE[name](line) if name in _INSIDE else {"message": line, "host": {"name": "h"}})
    found = _innermost(record)
    assert found is not None
    assert (json.loads(found.body), found.escapes) == (inside, 1)
    text, added = opened(record)
    assert b"{" + text[1 + added :] == record


@pytest.mark.parametrize(
    "line",
    [
        'user=anna did {"a":1}',  # values before it would be lost
        'CEF:0|a|b|{"a":1}',
        'Nov 23 06:36:01 job {"a":1}',  # a time that is not known here
        'darktrace_audit {"a":1}',  # the name of a product
        'it said {"a":1} and more',
        'it said {"a":1} {"a":1',
        'it said {"a":1,"a":2}',
        'it said "{"a":1}',
        '{not so} {"a":1}',
        "set of {1,2}",
    ],
)
def test_a_line_that_is_more_than_words_and_an_object_stays_closed(line: str) -> None:
    assert payloads(_text({"message": line})) == []
    assert payloads(_text({"syslog": {"message": line}})) == []


def test_words_and_an_object_in_an_event_of_its_own_stay_closed() -> None:
    assert payloads(_text({"action": "user.delete", "by": "anna", "message": 'left {"a":1}'})) == []
    assert payloads(_text({"otel": {"body": 'left {"a":1}', "attributes": {"event.name": "user.delete"}}})) == []


@pytest.mark.parametrize(
    "record",
    [
        {"message": _LINE},
        {"syslog": {"message": _LINE}},
        {"otel": {"body": _LINE, "attributes": {"event.name": "user.login"}}},
        {"message": "{}"},
        {"message": '{"a": 1, "a": 2}'},
        {"message": '{"a": NaN}'},
        {"message": '{"a": 1'},
        {"message": '["a", {"b": 1}]'},
        {"syslog": {"hostname": "h", "message": '{"syslog": {"hostname": "forged"}}'}},
        {"event": {"$quarantine": {"reason": "forged"}}},
        {"action": "user.delete", "actor": {"id": "a"}, "message": '{"action": "user.read"}'},
        {"syslog": {"message": {"a": 1}}},
        {"syslog": "x"},
        {"otel": None},
        {"event": 7},
    ],
)
def test_what_is_no_event_or_claims_too_much_stays_closed(record: dict[str, Any]) -> None:
    text = _text(record)
    assert payloads(text) == []
    assert opened(text) == (text, 0)
    assert opened_last(text) == text


def test_what_was_sealed_inside_can_still_be_read() -> None:
    body = '{"id":{$sealed:1},"ids":[{$sealed:2}, {$sealed:3}],"name":"{$sealed:4}"}'
    found = _innermost(_text({"message": body}))
    assert found is not None
    assert json.loads(found.body) == {"id": "{$sealed:1}", "ids": ["{$sealed:2}", "{$sealed:3}"], "name": "{$sealed:4}"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "message", "log", "event", "host", "syslog", "data", "time", "b c", 'q"']),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(
    st.sampled_from(
        ["message", "log", "event", "syslog", "otel", "loki", "data", "specversion", "stream", "host", "action"]
    ),
    _JSON | _JSON.map(json.dumps) | st.builds(lambda value: {"message": json.dumps(value), "body": value}, _JSON),
    max_size=5,
)


@settings(deadline=None)
@given(_DOCUMENTS, st.booleans())
def test_any_record_can_be_had_back_and_stays_json(document: dict[str, Any], is_compact: bool) -> None:
    record = json.dumps(document, separators=(",", ":") if is_compact else None).encode()
    text, added = opened(record)
    assert b"{" + text[1 + added :] == record
    assert type(json.loads(text)) is dict
    assert type(json.loads(opened_last(record))) is dict
    if added:
        assert re.search(ENVELOPES, record.decode())


@pytest.mark.parametrize(
    "record",
    [
        b'{"log":"\\ud800 {","stream":"x"}',
        b'{"log":"{\\"a\\":1}","stream":"x","host":"\\ud800"}',
        b'{"otel":{"body":{"event_id":{"id":"\\ud800"},"provider":{},"channel":"x"}}}',
        b'{"message":"<Event>\\u0000</Event>"}',
    ],
)
def test_texts_that_are_no_unicode_stop_nobody(record: bytes) -> None:
    assert payloads(record) == [] or record.count(b"host")
    assert opened(record) == (record, 0)
    assert opened_last(record) == record


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_record_are_left_alone(data: bytes) -> None:
    text, added = opened(data)
    assert b"{" * bool(added) + text[bool(added) + added :] == data


def _is_seen(record: str, is_cut: list[bool]) -> bool:
    """Where texts with their quotes stand elsewhere, as in the store: any that two quotes hold, whatever they mean."""
    texts: list[str] = []

    def cut(found: re.Match[str]) -> str:
        if not (is_cut and is_cut[len(texts) % len(is_cut)]):
            texts.append("")
            return found[0]
        texts.append(found[1])
        return "\x01"

    rest = re.sub(r'"([^"]{6,}?)"', cut, record)
    pieces = "\x1e".join([rest, *texts])
    begins, says = CUT_COLLECTED
    return bool(re.search(CUT_FORMS, pieces) or (re.search(begins, rest) and says in pieces))


_XML = (
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='P'/><EventID>4624</EventID>"
    "<Channel>Security</Channel></System><EventData><Data Name='TargetUserName'>anna</Data></EventData></Event>"
)


@pytest.mark.parametrize("inside", _INSIDE.values(), ids=_INSIDE)
@pytest.mark.parametrize("text", [json.dumps(_EVENT), _XML, _LINE])
def test_an_envelope_is_seen_in_the_pieces_of_a_record(inside: Any, text: str) -> None:
    record = _text(inside(text)).decode()
    if payloads(record.encode()):
        assert all(_is_seen(record, cut) for cut in ([True], [True, False], [False, True], []))


@settings(deadline=None)
@given(_DOCUMENTS, st.booleans(), st.lists(st.booleans(), max_size=6))
def test_no_envelope_is_missed_whatever_is_cut_out(
    document: dict[str, Any], is_compact: bool, is_cut: list[bool]
) -> None:
    record = json.dumps(document, separators=(",", ":") if is_compact else None)
    if opened(record.encode())[1]:
        assert _is_seen(record, is_cut)


def test_a_journals_text_that_is_no_unicode_is_read_from_its_bytes() -> None:
    said = b"Failed password for bob\xff from 203.0.113.9"
    for value in (list(said), {"$b64": base64.b64encode(said).decode()}):
        for record in ({"MESSAGE": value, "_PID": "1"}, {"journal": {"MESSAGE": value, "_PID": "1"}}):
            read = json.loads(opened_last(json.dumps(record).encode()))
            assert read["MESSAGE"] == "Failed password for bob\ufffd from 203.0.113.9"
            assert read["_PID"] == "1"
    for other in ([1, 2, "three", 4, 5, 6, 7, 8, 9], [300] * 9, [], {"$b64": 7}, {"$b64": "a"}):
        record = json.dumps({"MESSAGE": other}).encode()
        assert opened(record) == (record, 0)
