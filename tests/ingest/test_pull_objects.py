"""What queues say of objects, what stands in them, and what may stand in the file of pulls."""

from __future__ import annotations

import gzip
import json

import pytest

from muniment.errors import RejectedError
from muniment.ingest.pull.objects import Told, day_of, is_wanted, records_of, told_by

_S3 = {
    "Records": [
        {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%2Bc/x.json.gz"}}},
        {"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": "gone"}}},
    ]
}  # fmt: skip
_BRIDGE = {
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b/x"}},
}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (_S3, [Told("b", "a b+c/x.json.gz")]),
        ({"Type": "Notification", "Message": json.dumps(_S3)}, [Told("b", "a b+c/x.json.gz")]),
        (_BRIDGE, [Told("b", "a+b/x")]),
        ({**_BRIDGE, "detail-type": "Object Deleted"}, []),
        ({"s3Bucket": "b", "s3ObjectKey": ["k1", "k2"]}, [Told("b", "k1"), Told("b", "k2")]),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, []),
    ],
)
def test_messages(message: object, told: list[Told]) -> None:
    assert told_by(json.dumps(message)) == told


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "1", '{"a":1}', '{"Type":"Notification","Message":"x"}', '{"Records":[1]}', "null"]
)
def test_what_is_no_message_is_refused(body: str) -> None:
    with pytest.raises(RejectedError, match="not a message about an object"):
        told_by(body)


def test_keys() -> None:
    assert is_wanted("AWSLogs/1/CloudTrail/eu-central-1/2026/11/24/x.json.gz")
    assert not is_wanted("AWSLogs/1/CloudTrail-Digest/eu-central-1/2026/11/24/x.json.gz")
    assert not is_wanted("AWSLogs/1/CloudTrail/")
    assert str(day_of("AWSLogs/1/CloudTrail/eu-central-1/2026/11/24/x.json.gz")) == "2026-11-24"
    assert day_of("a/2026/13/99/x") is None
    assert day_of("x.json") is None


def test_events_have_ids_so_that_twice_is_once() -> None:
    data = json.dumps({"Records": [{"eventID": "e-1", "n": 1}, {"n": 2}, {"eventID": 7}, 5]}).encode()
    for packed in (data, gzip.compress(data), gzip.compress(data[:20]) + gzip.compress(data[20:])):
        found = records_of(packed, "cloudtrail", "b/k@t")
        assert found.ids == ["e-1", "b/k@t#1", "b/k@t#2", "b/k@t#3"]
        assert [json.loads(record) for record in found.records[:3]] == [
            {"eventID": "e-1", "n": 1},
            {"n": 2},
            {"eventID": 7},
        ]
        assert found.quarantined[3] == "not a JSON object"
    lines = records_of(gzip.compress(b'{"a":1}\n{"a":2}\nnonsense\n'), "jsonl", "b/k@t")
    assert lines.ids[:2] == ["b/k@t#0", "b/k@t#1"]
    assert [bool(each) for each in lines.quarantined] == [False, False, True]


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8bnonsense", gzip.compress(b'{"Records":[]}', mtime=0)[:-9], b'{"records":[]}', b"[]", b"\xff", b""],
)
def test_damaged_objects_say_what_is_wrong(data: bytes) -> None:
    with pytest.raises(RejectedError):
        records_of(data, "cloudtrail", "b/k@t")


def test_an_object_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.ingest.pull.objects.PULL_OBJECT_BYTES_MAX", 10_000)
    with pytest.raises(RejectedError, match="when unpacked"):
        records_of(gzip.compress(b" " * 1_000_000), "cloudtrail", "b/k@t")
