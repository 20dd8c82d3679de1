"""What a sender keeps and what we keep: a body refused whole is not acknowledged and not sealed; an event too large
inside a body that is taken is sealed in parts and marked, behind every door that takes several events."""

import base64
import gzip
import threading
from collections.abc import Iterator

import httpx
import orjson
import pytest
from door_harness import TOKEN, Harness, make_harness, served

from muniment.limits import PENDING_BYTES_MAX, RECORD_BYTES_MAX

BASIC = {"Authorization": "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()}
LARGE = "x" * (RECORD_BYTES_MAX + 1_000)


@pytest.fixture
def server() -> Iterator[Harness]:
    with served(make_harness()) as harness:
        yield harness


@pytest.fixture
def http(server: Harness) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20, headers=BASIC) as client:
        yield client


DOORS = ["/v1/events", "/_bulk", "/services/collector", "/loki/api/v1/push", "/v1/logs", "/v1/cloudevents"]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"{no json", ""), (gzip.compress(b'{"event":1}')[:-9], "gzip"), (b"\x00\xff\xfe\x00", "")],
    ids=["no-json", "cut-gzip", "bytes"],
)
def test_a_body_refused_whole_is_neither_acknowledged_nor_sealed(
    http: httpx.Client, server: Harness, path: str, body: bytes, encoding: str
) -> None:
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": encoding} if encoding else {})
    answer = http.post(path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.content
    assert server.log.records == []


def bodies() -> dict[str, bytes]:
    """A good event, one too large, a good event, in the body of each door."""
    texts = ["before", LARGE, "after"]
    values = [["1700000000000000000", text] for text in texts]
    logs = [{"timeUnixNano": "1700000000000000000", "body": {"stringValue": text}} for text in texts]
    clouds = [
        {"specversion": "1.0", "type": "t", "source": "/s", "id": str(k), "data": text} for k, text in enumerate(texts)
    ]
    return {
        "/v1/events": orjson.dumps([{"text": text} for text in texts]),
        "/_bulk": b"".join(b'{"create":{}}\n' + orjson.dumps({"text": text}) + b"\n" for text in texts),
        "/services/collector": b"".join(orjson.dumps({"event": text}) for text in texts),
        "/loki/api/v1/push": orjson.dumps({"streams": [{"stream": {"app": "a"}, "values": values}]}),
        "/v1/logs": orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}),
        "/v1/cloudevents": orjson.dumps(clouds),
    }


@pytest.mark.parametrize("path", DOORS)
def test_an_oversized_event_among_good_ones_is_kept_in_parts_and_marked(
    http: httpx.Client, server: Harness, path: str
) -> None:
    kind = "application/cloudevents-batch+json" if path.endswith("cloudevents") else "application/json"
    answer = http.post(path, content=bodies()[path], headers={"Content-Type": kind})
    assert answer.status_code in {200, 202, 204}, answer.text
    documents = server.log.documents()
    parts = [document for document in documents if "$quarantine" in document]
    assert len(parts) >= 2
    assert len(documents) - len(parts) == 2
    assert {part["$quarantine"]["reason"] for part in parts} == {"oversized"}  # type: ignore[index]
    assert LARGE in "".join(str(part["$raw"]) for part in parts)
    assert all(len(record) <= RECORD_BYTES_MAX for record in server.log.records)


def test_a_large_body_waits_for_room_unread_and_small_ones_pass() -> None:
    held = [PENDING_BYTES_MAX]
    with served(make_harness(held_bytes=lambda: held[0])) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        large, small = b'{"a":"%s"}' % (b"x" * 100_000), b'{"a":1}'
        with httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http:
            refused = http.post("/v1/events", content=b"not even JSON" * 10_000)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert http.post("/v1/events", content=small).status_code == 200
            threading.Timer(0.2, lambda: held.__setitem__(0, 0)).start()
            assert http.post("/v1/events", content=large).status_code == 200
            held[0] = 0
        assert len(server.log.records) == 2
        assert server.ctx.reading.n_bytes == 0
