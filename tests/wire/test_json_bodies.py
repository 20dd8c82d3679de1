"""Which JSON texts are events: one verdict behind every door, in bounded time."""

import base64
import json
import time
from pathlib import Path

import orjson
import pytest

from muniment.errors import RejectedError
from muniment.limits import JSON_DEPTH_MAX, RECORD_BYTES_MAX
from muniment.wire.bulk import decode_bulk
from muniment.wire.cloudevents import decode_cloudevents
from muniment.wire.hec import decode_hec_events
from muniment.wire.jsonl import check_texts, decode_body, parse_text, split_objects
from muniment.wire.loki import decode_loki_json
from muniment.wire.otlp import decode_otlp_json
from muniment.wire.records import quarantine_records

CASES = [json.loads(line) for line in (Path(__file__).parent / "json" / "cases.jsonl").read_text().splitlines()]
GOOD = b'{"good":true}'


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_the_json_test_suite(case: dict[str, str]) -> None:
    """What must be accepted is, as `data` of an event; what must be refused is refused."""
    raw = base64.b64decode(case["bytes_b64"])
    text = b'{"data":' + raw + b"}"
    (reason,) = check_texts([text])
    if case["verdict"] == "accept" and not raw.startswith(b"\xef\xbb\xbf") and b'"a":"b","a":"' not in raw:
        assert reason is None or "twice" in reason
    if case["verdict"] == "reject":
        assert check_texts([raw]) != [None]


def _deep(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


BAD = {
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "beyond a double": b'{"a":1e999}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "surrogates the wrong way": b'{"a":"\\udc00\\ud800"}',
    "key twice": b'{"a":1,"a":1}',
    "key twice, inside": b'{"x":[{"a":1,"b":2,"a":3}]}',
    "key twice, escaped": b'{"a":1,"\\u0061":2}',
    "key twice, spaced": b'{"a": 1, "b": 2, "a" : 3}',
    "too deep": _deep(JSON_DEPTH_MAX + 1),
    "far too deep": _deep(100_000),
    "not UTF-8": b'{"a":"\xff"}',
    "encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "overlong": b'{"a":"\xc0\xaf"}',
    "raw control character": b'{"a":"\x01"}',
    "leading zero": b'{"a":01}',
    "single quotes": b"{'a':1}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1/**/}',
    "cut off": b'{"a":"x',
    "an array": b"[1]",
    "a number": b"42",
    "ten megabytes of digits": b'{"a":' + b"9" * 10_000_000 + b"}",
}


@pytest.mark.parametrize("name", BAD)
def test_one_verdict_alone_and_among_good_events(name: str) -> None:
    bad = BAD[name]
    started = time.perf_counter()
    with pytest.raises(RejectedError) as refused:
        decode_body(bad, door="http")
    assert refused.value.reason
    assert check_texts([GOOD, bad]) == [None, refused.value.reason] or name in {"an array"}
    found = decode_body(GOOD + b"\n" + bad + b"\n" + GOOD, door="http")
    assert found.records[0] == found.records[-1] == GOOD
    assert (found.n_items, found.n_quarantined) == (3, 1)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("name", sorted(set(BAD) - {"an array", "a number", "ten megabytes of digits"}))
def test_every_door_gives_the_same_verdict(name: str) -> None:
    bad = BAD[name]
    bulk = decode_bulk(b'{"index":{}}\n' + GOOD + b'\n{"index":{}}\n' + bad, door="elastic").found
    assert (bulk.n_items, bulk.n_quarantined) == (2, 1)
    for wrapped, decode in (
        (b'{"event":' + bad + b"}", decode_hec_events),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + bad + b"}", decode_cloudevents),
        (b'{"streams":[{"stream":' + bad + b',"values":[]}]}', decode_loki_json),
        (b'{"resourceLogs":[],"x":' + bad + b"}", decode_otlp_json),
    ):
        with pytest.raises(RejectedError):
            decode(wrapped, door="x")


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"a":null}',
        _deep(JSON_DEPTH_MAX),
        b'{"a":"\\u0000"}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":1.0e5,"b":-0,"c":-0.0}',
        '{"a": "ü\\u00fc", "\\u00e4": ", ": "}'.encode()[:0] + b'{"a":"\\ud83d\\ude00"}',
        b'{ "a" : [ 1 , 2 ] , "b" : { } }',
        b'{"a":{"x":1},"b":{"x":1}}',
        b'{"":1}',
        b'{"a":"\\": \\", "}',
    ],
)
def test_good_texts_are_kept_as_sent(text: bytes) -> None:
    found = decode_body(b" \t\r\n" + text + b"\n", door="http")
    assert found.records == [text]
    assert found.quarantined == [None]


def test_ids_and_counters_are_read_and_strange_ones_ignored() -> None:
    lines = [
        b'{"id":"a","sq":5}',
        b'{"id":7,"sq":0}',
        b'{"id":true,"sq":true}',
        b'{"id":"","sq":-1}',
        b'{"id":null,"sq":1.5}',
        b'{"id":["x"],"sq":"3"}',
        orjson.dumps({"id": "x" * 513, "sq": 2**63}),
    ]
    for body in (b"\n".join(lines), b" \n".join(lines), b"[" + b",".join(lines) + b"]", b"".join(lines)):
        found = decode_body(body, door="http")
        assert found.ids == ["a", "7", None, None, None, None, None]
        assert found.sqs == [5, 0, None, None, None, None, None]
        assert found.records == lines


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"])
def test_other_unicode_encodings_are_named(mark: bytes) -> None:
    with pytest.raises(RejectedError, match="UTF-16"):
        decode_body(mark + '{"a":1}'.encode("utf-16-le"), door="http")
    with pytest.raises(RejectedError, match="UTF-16"):
        decode_body('{"a":1}'.encode("utf-16-be"), door="http")


def test_a_pretty_printed_event_is_one_event() -> None:
    text = orjson.dumps({"a": [{}, {"b": []}], "c": {}}, option=orjson.OPT_INDENT_2)
    assert decode_body(text, door="http").records == [text]
    assert decode_body(text + b"\n" + text, door="http").records == [text, text]


def test_braces_inside_text_do_not_cut_it() -> None:
    events = [b'{"a":"}{"}', b'{"b":"}\\n{"}', '{"ü":"}{"}'.encode()]
    assert split_objects(b"".join(events)) == events


def test_quarantined_bytes_can_be_joined_again() -> None:
    for raw in (("ü\0" * RECORD_BYTES_MAX).encode(), b"\xff\x00" * RECORD_BYTES_MAX):
        records = [orjson.loads(record) for record in quarantine_records(raw, "x", "http")]
        joined = b"".join(
            record["$raw"].encode() if "$raw" in record else base64.b64decode(record["$raw_b64"]) for record in records
        )
        assert joined == raw
        assert [record["$quarantine"]["part"] for record in records] == list(range(1, len(records) + 1))
        assert max(len(record) for record in quarantine_records(raw, "x", "http")) <= RECORD_BYTES_MAX


def test_the_column_of_a_mistake_is_told() -> None:
    with pytest.raises(RejectedError) as refused:
        parse_text(b'{"a":tru}')
    assert refused.value.column is not None
