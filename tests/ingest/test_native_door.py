"""`POST /v1/events` over a real connection."""

import base64
import gzip
import hashlib
import http.client as http_client
from collections.abc import Iterator

import cramjam
import httpx
import orjson
import pytest
from door_harness import TOKEN, Harness, make_harness, served

from muniment.errors import StorageError
from muniment.ingest.admission import Quota
from muniment.limits import BODY_BYTES_MAX, RECORD_BYTES_MAX

EVENT = b'{"id":"018bcfe5-6800-7000-8000-000000000001","action":"document.delete","sq":7}'


@pytest.fixture(scope="module")
def server() -> Iterator[Harness]:
    with served(make_harness()) as harness:
        yield harness


@pytest.fixture
def http(server: Harness) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        yield client


def _event(name: str) -> bytes:
    return orjson.dumps({"action": "a.b", "n": name})


def test_nobody_may_send(server: Harness) -> None:
    answer = httpx.post(server.url + "/v1/events", content=EVENT)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_an_unknown_key_may_not_send(server: Harness) -> None:
    answer = httpx.post(server.url + "/v1/events", content=EVENT, headers={"Authorization": "Bearer nope"})
    assert answer.status_code == 403
    assert "nope" not in answer.text


def test_one_event_is_answered_with_its_place_and_a_checkpoint(http: httpx.Client, server: Harness) -> None:
    answer = http.post("/v1/events", content=EVENT)
    receipt = answer.json()
    assert answer.status_code == 200, answer.text
    assert receipt["accepted"] == 1
    assert receipt["quarantined"] == 0
    assert server.log.records[receipt["first_index"]] == EVENT
    assert server.log.ids[receipt["first_index"]] == "018bcfe5-6800-7000-8000-000000000001"
    assert server.log.sqs[receipt["first_index"]] == 7
    assert receipt["checkpoint"].startswith("test/log\n")
    again = http.post("/v1/events", content=EVENT).json()
    assert again["duplicates"] == 1
    assert again["first_index"] == receipt["first_index"]


@pytest.mark.parametrize("shape", ["ndjson", "crlf", "array", "concatenated", "blank lines", "bom"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", ""])
def test_the_body_decides_its_shape(http: httpx.Client, server: Harness, shape: str, content_type: str) -> None:
    one, two = _event(f"1 {shape} {content_type}"), _event(f"2 {shape} {content_type}")
    body = {
        "ndjson": one + b"\n" + two,
        "crlf": one + b"\r\n" + two + b"\r\n",
        "array": b"[ " + one + b",\n" + two + b"]",
        "concatenated": one + two,
        "blank lines": b"\n\n" + one + b"\n\n \n" + two + b"\n\n",
        "bom": b"\xef\xbb\xbf" + one + b"\n" + two,
    }[shape]
    receipt = http.post("/v1/events", content=body, headers={"Content-Type": content_type}).json()
    first = receipt["first_index"]
    assert (receipt["accepted"], receipt["quarantined"]) == (2, 0)
    assert server.log.records[first : first + 2] == [one, two]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "snappy", "gzip, zstd"])
def test_compressed_bodies(http: httpx.Client, server: Harness, encoding: str) -> None:
    body = b"\n".join(_event(f"{encoding} {n}") for n in range(2000))
    packed = {
        "gzip": gzip.compress(body),
        "deflate": bytes(cramjam.zlib.compress(body)),
        "zstd": bytes(cramjam.zstd.compress(body)),
        "snappy": bytes(cramjam.snappy.compress(body)),
        "gzip, zstd": bytes(cramjam.zstd.compress(gzip.compress(body))),
    }[encoding]
    receipt = http.post("/v1/events", content=packed, headers={"Content-Encoding": encoding}).json()
    assert receipt["accepted"] == 2000
    assert b"\n".join(server.log.records[receipt["first_index"] :]) == body


def test_a_bad_line_is_quarantined_and_named(http: httpx.Client, server: Harness) -> None:
    receipt = http.post("/v1/events", content=_event("good") + b'\n{"a":NaN}\n\xff\n').json()
    first = receipt["first_index"]
    assert (receipt["accepted"], receipt["quarantined"]) == (3, 2)
    assert [notice["item"] for notice in receipt["notices"]] == [1, 2]
    assert orjson.loads(server.log.records[first + 1])["$raw"] == '{"a":NaN}'
    assert base64.b64decode(orjson.loads(server.log.records[first + 2])["$raw_b64"]) == b"\xff"
    assert server.log.quarantined[first + 2] == "not UTF-8"


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]", b"hello", b'{"a":', b"\xff\xfe{\0}\0", b"42", b"null", b"[1,2]"])
def test_a_body_without_any_event_is_refused_whole(http: httpx.Client, server: Harness, body: bytes) -> None:
    size = len(server.log.records)
    answer = http.post("/v1/events", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"]
    assert len(server.log.records) == size


def test_an_idempotency_key_makes_a_repeat_harmless(http: httpx.Client) -> None:
    body = _event("k1") + b"\n" + _event("k2")
    first = http.post("/v1/events", content=body, headers={"Idempotency-Key": "abc"}).json()
    second = http.post("/v1/events", content=body, headers={"Idempotency-Key": "abc"}).json()
    other = http.post("/v1/events", content=body, headers={"Idempotency-Key": "abd"}).json()
    assert (first["duplicates"], second["duplicates"], other["duplicates"]) == (0, 2, 0)
    assert second["first_index"] == first["first_index"]


def test_receipts_per_event(http: httpx.Client) -> None:
    one, two = _event("r1"), _event("r2")
    receipt = http.post("/v1/events?receipt=full", content=one + b"\n" + two).json()
    assert [base64.b64decode(item["leaf_hash"]) for item in receipt["items"]] == [
        hashlib.sha256(one).digest(),
        hashlib.sha256(two).digest(),
    ]
    assert [item["index"] for item in receipt["items"]] == [receipt["first_index"], receipt["first_index"] + 1]
    assert http.post("/v1/events?receipt=some", content=one).status_code == 400


def test_an_oversized_event_is_kept_whole_in_parts(http: httpx.Client, server: Harness) -> None:
    large = orjson.dumps({"id": "big-1", "text": "ü" * RECORD_BYTES_MAX})
    receipt = http.post("/v1/events", content=large + b"\n" + _event("after large")).json()
    parts = [
        document
        for document in server.log.documents()[receipt["first_index"] :]
        if document.get("$quarantine", {}).get("reason") == "oversized"  # type: ignore[attr-defined]
    ]
    assert receipt["accepted"] == 2
    assert receipt["quarantined"] == 1
    assert "".join(str(part["$raw"]) for part in parts).encode() == large
    assert parts[0]["$quarantine"]["sha256"] == hashlib.sha256(large).hexdigest()  # type: ignore[index]
    assert all(len(record) <= RECORD_BYTES_MAX for record in server.log.records)


def test_a_too_large_body_is_refused_before_it_is_sent(server: Harness) -> None:
    connection = http_client.HTTPConnection(server.host, server.port, timeout=10)
    connection.putrequest("POST", "/v1/events")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", str(BODY_BYTES_MAX + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_bomb_is_refused(http: httpx.Client, codec: str) -> None:
    zeros = b" " * (100 << 20)
    bomb = gzip.compress(zeros, 9) if codec == "gzip" else bytes(cramjam.zstd.compress(zeros))
    answer = http.post("/v1/events", content=bomb, headers={"Content-Encoding": codec})
    assert answer.status_code == 413
    assert answer.elapsed.total_seconds() < 1


def test_unknown_encodings_and_cut_off_bodies_are_refused(http: httpx.Client) -> None:
    body = gzip.compress(EVENT)
    assert http.post("/v1/events", content=body, headers={"Content-Encoding": "br"}).status_code == 415
    assert http.post("/v1/events", content=body[:-9], headers={"Content-Encoding": "gzip"}).status_code == 400
    assert http.post("/v1/events", content=b"plain", headers={"Content-Encoding": "zstd"}).status_code == 400


def test_methods_not_allowed(http: httpx.Client) -> None:
    assert http.get("/v1/events").status_code == 405
    assert http.delete("/v1/events").status_code == 405


def test_a_full_disk_answers_507_and_nothing_is_acknowledged() -> None:
    with served(make_harness()) as harness:
        harness.log.fail_append = StorageError("no space left", path="/var/ledger", is_full=True)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.post(harness.url + "/v1/events", content=EVENT, headers=headers)
        assert answer.status_code == 507
        assert int(answer.headers["retry-after"]) >= 1
        assert "/var" not in answer.text
        harness.log.fail_append = None
        assert httpx.post(harness.url + "/v1/events", content=EVENT, headers=headers).status_code == 200


def test_over_the_quota_answers_429_with_a_time_and_counts_it() -> None:
    with served(make_harness(quota=Quota(events_per_s=2, burst_s=1))) as harness:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        codes = [httpx.post(harness.url + "/v1/events", content=_event(str(n)), headers=headers) for n in range(4)]
        refused = [answer for answer in codes if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert len(harness.log.records) == 4 - len(refused)
        assert sum(one.count for one in harness.admission.take_rejections() if one.source == "app") == len(refused)
