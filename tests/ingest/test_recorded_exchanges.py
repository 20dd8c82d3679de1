"""What shippers that cannot be installed send, written from their documentation, and what they need to hear back."""

import base64
import gzip
from collections.abc import Iterator

import cramjam
import httpx
import orjson
import pytest
from door_harness import TOKEN, Harness, make_harness, served

from muniment.errors import BusyError, StorageError
from muniment.wire.protobuf import length_delimited, varint

BASIC = {"Authorization": "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()}
SPLUNK = {"Authorization": f"Splunk {TOKEN}"}


@pytest.fixture
def server() -> Iterator[Harness]:
    with served(make_harness()) as harness:
        yield harness


@pytest.fixture
def http(server: Harness) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


# --- Elasticsearch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/ingest/es"])
@pytest.mark.parametrize(
    "authorization", [BASIC["Authorization"], "ApiKey " + base64.b64encode(f"id:{TOKEN}".encode()).decode()]
)
def test_filebeat(http: httpx.Client, server: Harness, prefix: str, authorization: str) -> None:
    headers = {"Authorization": authorization, "Accept": "application/json", "User-Agent": "Elastic-filebeat/8.19.0"}
    hello = http.get(prefix + "/", headers=headers)
    assert hello.headers["x-elastic-product"] == "Elasticsearch"
    assert hello.json()["version"]["number"] == "8.19.0"
    assert http.get(prefix + "/_license", headers=headers).json()["license"]["status"] == "active"
    for method, path in (
        ("GET", "/_xpack"),
        ("GET", "/_ilm/policy/filebeat"),
        ("PUT", "/_ilm/policy/filebeat"),
        ("HEAD", "/_index_template/filebeat-8.19.0"),
        ("PUT", "/_index_template/filebeat-8.19.0"),
        ("GET", "/_data_stream/filebeat-8.19.0"),
        ("PUT", "/_ingest/pipeline/filebeat-8.19.0-system-auth-pipeline"),
    ):
        answer = http.request(method, prefix + path, headers=headers, content=b"{}" if method == "PUT" else None)
        assert answer.status_code == 200, (method, path)
        assert answer.headers["x-elastic-product"] == "Elasticsearch"
    events = [orjson.dumps({"@timestamp": "2026-11-23T06:00:00Z", "message": f"m{n}"}) for n in range(3)]
    body = b"".join(b'{"create":{"_index":"filebeat-8.19.0"}}\n' + event + b"\n" for event in events)
    sent = {**headers, "Content-Type": "application/json; charset=UTF-8", "Content-Encoding": "gzip"}
    answer = http.post(prefix + "/_bulk", content=gzip.compress(body), headers=sent)
    assert answer.status_code == 200
    assert [item["create"]["status"] for item in answer.json()["items"]] == [201, 201, 201]
    assert server.log.records == events


def test_logstash(http: httpx.Client, server: Harness) -> None:
    assert http.head("/", headers=BASIC).status_code == 200
    assert http.head("/", headers=BASIC).headers["x-elastic-product"] == "Elasticsearch"
    assert http.get("/_license", headers=BASIC).json()["license"]["status"] == "active"
    assert http.get("/_nodes/http", headers=BASIC).json()["nodes"] == {}
    for path in ("/_template/logstash", "/_index_template/ecs-logstash", "/logstash-2026.11.23"):
        assert http.head(path, headers=BASIC).status_code == 200
        assert http.put(path, headers=BASIC, content=b"{}").json()["acknowledged"] is True
    body = b'{"index":{"_id":null,"_index":"logstash","routing":null}}\n{"@version":"1","message":"a"}\n'
    path = "/_bulk?filter_path=errors,items.*.error,items.*.status"
    assert http.post(path, content=body, headers=BASIC).json()["items"] == [{"index": {"status": 201}}]


def test_vector(http: httpx.Client, server: Harness) -> None:
    assert http.get("/_cluster/health", headers=BASIC).json()["status"] == "green"
    assert http.get("/", headers=BASIC).json()["version"]["number"]
    answer = http.post("/_bulk", content=b'{"index":{"_index":"v","_type":"_doc"}}\n{"m":1}\n', headers=BASIC)
    assert answer.json()["errors"] is False


def test_winston_waits_for_health_and_sends_more_than_needed(http: httpx.Client, server: Harness) -> None:
    """Vendored content types, and keys in the action that only a real cluster would use."""
    health = http.get("/_cluster/health?timeout=5s&wait_for_nodes=1&wait_for_status=yellow", headers=BASIC)
    assert health.json()["status"] == "green"
    assert http.head("/_index_template/template_app-logs", headers=BASIC).status_code == 200
    body = b'{"create":{"_index":"logs-app-default","pipeline":null},"attempts":0}\n{"severity":"info"}\n'
    for version in (b"8", b"9"):
        sent = {**BASIC, "Content-Type": f"application/vnd.elasticsearch+x-ndjson; compatible-with={version.decode()}"}
        answer = http.post("/_bulk?timeout=5s", content=body, headers=sent)
        assert answer.json()["errors"] is False
        assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert server.log.records == [b'{"severity":"info"}'] * 2


def test_fluent_bit_looks_for_characters(http: httpx.Client) -> None:
    body = b'{"create":{"_index":"fluent-bit","_type":"_doc"}}\n{"@timestamp":"2026-11-23T06:00:00Z","log":"x"}\n'
    answer = http.post("/_bulk", content=body, headers={**BASIC, "Content-Type": "application/x-ndjson"})
    assert b'"errors":false,"items":[{"create":{"_index":"fluent-bit","_id":"' in answer.content
    assert answer.content.index(b'"took":') < answer.content.index(b'"errors":') < answer.content.index(b'"items":')


def test_rsyslog_sends_types_and_blank_lines(http: httpx.Client, server: Harness) -> None:
    body = b'{"index":{"_index": "system","_type":"events"}}\n{"msg":"a"}\n\n{"index":{"_index": "system","_type":"events"}}\n{"msg":"b"}\n\n'
    sent = {**BASIC, "Content-Type": "application/json; charset=utf-8"}
    assert len(http.post("/_bulk", content=body, headers=sent).json()["items"]) == 2
    assert server.log.records == [b'{"msg":"a"}', b'{"msg":"b"}']


def test_bulk_answers_every_action(http: httpx.Client, server: Harness) -> None:
    body = (
        b'{"index":{"_id":"one"}}\n{"n":1}\n{"delete":{"_id":"one"}}\n{"update":{"_id":"one"}}\n{"doc":{}}\n'
        b'{"create":{"_id":"two"}}\nnot json\n{"create":{"_id":"one"}}\n{"n":1}'
    )
    answer = http.put("/audit/_bulk", content=body, headers=BASIC).json()
    kinds = [(kind, item["status"]) for one in answer["items"] for kind, item in one.items()]
    assert kinds == [("index", 201), ("delete", 400), ("update", 400), ("create", 201), ("create", 200)]
    assert answer["errors"] is True
    assert answer["items"][1]["delete"]["error"]["type"] == "illegal_argument_exception"
    assert answer["items"][0]["index"] == {"_index": "audit", "_id": "one", "status": 201, "result": "created"}
    assert server.log.quarantined[0] is None
    assert str(server.log.quarantined[1]).startswith("not JSON")
    assert len(server.log.records) == 2


@pytest.mark.parametrize("body", [b"", b"{}\n", b'{"index":{}}\n', b'{"n":1}\n{"n":2}\n', b"oops\n{}\n", b"\xff\xfe"])
def test_a_bulk_body_that_cannot_be_read_is_refused_with_an_error_object(
    http: httpx.Client, server: Harness, body: bytes
) -> None:
    answer = http.post("/_bulk", content=body, headers=BASIC)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"]["reason"], str)
    assert server.log.records == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(BusyError("full", retry_after_ms=2000), 429), (StorageError("no space", is_full=True), 503)],
)
def test_a_bulk_that_cannot_be_taken_is_refused_whole_and_not_in_json(
    http: httpx.Client, server: Harness, error: Exception, status: int
) -> None:
    server.log.fail_append = error
    answer = http.post("/_bulk", content=b'{"index":{}}\n{"n":1}\n', headers=BASIC)
    assert answer.status_code == status
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert answer.text[:1] not in "{["


def test_elastic_paths_ask_for_a_credential_and_know_no_deletion(http: httpx.Client) -> None:
    for path in ("/_license", "/ingest/es/", "/_bulk", "/_cluster/health"):
        assert http.get(path).status_code == 401
    assert http.delete("/ingest/es/audit", headers=BASIC).status_code == 405
    assert http.get("/_bulk", headers=BASIC).status_code == 405


def test_a_browser_at_the_root_is_not_taken_for_a_shipper(http: httpx.Client) -> None:
    assert http.get("/", headers={"Accept": "text/html,*/*"}).status_code == 404, "left to the pages"


# --- Splunk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/ingest/splunk"])
@pytest.mark.parametrize("path", ["/services/collector", "/services/collector/event", "/services/collector/event/1.0"])
@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n\r\n", b" "])
def test_hec_events_one_after_the_other(
    http: httpx.Client, server: Harness, prefix: str, path: str, between: bytes
) -> None:
    events = [b'{"time":"1.5","event":{"a":"}{"}}', b'{"event":"text","fields":{"x":1}}', '{"event": "ü"}'.encode()]
    sent = {**SPLUNK, "Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post(prefix + path, content=between.join(events), headers=sent)
    assert (answer.status_code, answer.content) == (200, b'{"text":"Success","code":0}')
    assert server.log.records == events


def test_hec_acknowledges_only_what_is_durable(http: httpx.Client, server: Harness) -> None:
    channel = {**SPLUNK, "X-Splunk-Request-Channel": "c0ffee00-0000-0000-0000-000000000001"}
    ids = [http.post("/services/collector", content=b'{"event":1}', headers=channel).json()["ackId"] for _ in range(2)]
    assert ids == [0, 1]
    server.log.fail_append = StorageError("no")
    assert http.post("/services/collector", content=b'{"event":1}', headers=channel).json() == {
        "text": "Server is busy",
        "code": 9,
    }
    asked = http.post("/services/collector/ack", json={"acks": [0, 1, 2]}, headers=channel).json()
    assert asked == {"acks": {"0": True, "1": True, "2": False}}
    other = {**SPLUNK, "X-Splunk-Request-Channel": "c0ffee00-0000-0000-0000-000000000002"}
    by_query = http.post(
        "/services/collector/ack?channel=c0ffee00-0000-0000-0000-000000000001", json={"acks": [1]}, headers=SPLUNK
    )
    assert by_query.json() == {"acks": {"1": True}}
    assert http.post("/services/collector/ack", json={"acks": [0]}, headers=other).json() == {"acks": {"0": False}}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "answer"),
    [
        ("", b'{"event":1}', {}, 401, {"text": "Token is required", "code": 2}),
        ("", b'{"event":1}', {"Authorization": "Nonsense"}, 401, {"text": "Invalid authorization", "code": 3}),
        ("", b'{"event":1}', {"Authorization": "Splunk wrong"}, 403, {"text": "Invalid token", "code": 4}),
        ("", b"", SPLUNK, 400, {"text": "No data", "code": 5}),
        ("", b"{oops", SPLUNK, 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}),
        ("", b'{"time":1}', SPLUNK, 400, {"text": "Event field is required", "code": 12, "invalid-event-number": 0}),
        (
            "",
            b'{"event":""}',
            SPLUNK,
            400,
            {"text": "Event field cannot be blank", "code": 13, "invalid-event-number": 0},
        ),
        ("/ack", b'{"acks":[0]}', SPLUNK, 400, {"text": "Data channel is missing", "code": 10}),
        ("/ack?channel=c", b"[]", SPLUNK, 400, {"text": "Invalid data format", "code": 6}),
        ("/raw", b"\n\n", SPLUNK, 400, {"text": "No data", "code": 5}),
        ("?token=" + TOKEN, b'{"event":1}', {}, 401, {"text": "Token is required", "code": 2}),
    ],
)
def test_hec_codes(
    http: httpx.Client, server: Harness, path: str, body: bytes, headers: dict[str, str], status: int, answer: object
) -> None:
    got = http.post("/services/collector" + path, content=body, headers=headers)
    assert (got.status_code, got.json()) == (status, answer)
    assert server.log.records == []


def test_hec_raw_lines_basic_token_health_and_options(http: httpx.Client, server: Harness) -> None:
    path = "/services/collector/raw/1.0?host=h&sourcetype=s&channel=c"
    assert http.post(path, content=b'one\r\n\n{"two":2}\n\xff', headers=BASIC).json()["ackId"] == 0
    first, second, third = server.log.documents()
    assert first == {"host": "h", "sourcetype": "s", "event": "one"}
    assert second["event"] == '{"two":2}'
    assert third["$raw_b64"] == base64.b64encode(b"\xff").decode()
    for health in ("/services/collector/health", "/services/collector/health/1.0"):
        assert http.get(health).json() == {"text": "HEC is healthy", "code": 17}
    assert http.options("/services/collector/event").status_code == 200


def test_hec_keeps_a_bad_event_among_good_ones(http: httpx.Client, server: Harness) -> None:
    assert (
        http.post("/services/collector", content=b'{"event":1}{"no":2}{"event":3}', headers=SPLUNK).status_code == 200
    )
    assert server.log.quarantined == [None, "event field is required", None]


def test_health_turns_bad_when_the_disk_is_full(http: httpx.Client, server: Harness) -> None:
    server.log.fail_append = StorageError("no space", is_full=True)
    assert http.post("/services/collector", content=b'{"event":1}', headers=SPLUNK).status_code == 503
    assert http.get("/services/collector/health").status_code == 503
    assert http.get("/ready").status_code == 503
    assert http.get("/_cluster/health", headers=BASIC).json()["status"] == "red"


# --- Loki -------------------------------------------------------------------------------------------------------


def _push(labels: str, *entries: tuple[int, bytes]) -> bytes:
    stream = length_delimited(1, labels.encode())
    for ns, line in entries:
        seconds, nanos = divmod(ns, 1_000_000_000)
        moment = varint(8) + varint(seconds) + varint(16) + varint(nanos)
        stream += length_delimited(2, length_delimited(1, moment) + length_delimited(2, line))
    return length_delimited(1, stream)


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json", ""])
def test_promtail_pushes_snappy_protobuf(http: httpx.Client, server: Harness, content_type: str) -> None:
    message = _push('{job="a\\"b", host = "h"}', (1_790_000_000_123_456_789, b'{"x":1}'), (5, b"\xff"))
    sent = {**BASIC, "Content-Type": content_type, "X-Scope-OrgID": "tenant"}
    answer = http.post("/loki/api/v1/push", content=bytes(cramjam.snappy.compress_raw(message)), headers=sent)
    assert (answer.status_code, answer.content) == (204, b"")
    first, second = (document["loki"] for document in server.log.documents())
    assert first == {"stream": {"job": 'a"b', "host": "h"}, "ts": "1790000000123456789", "line": '{"x":1}'}
    assert second["line_b64"] == "/w=="  # type: ignore[index]


def test_a_line_sent_twice_counts_once_the_last_time(http: httpx.Client, server: Harness) -> None:
    """Found by `make fuzz`: two lines in one entry, neither of them UTF-8."""
    for lines, kept in (
        ((b"\xff", b"\xfe"), {"line_b64": "/g=="}),
        ((b"\xff", b"x"), {"line": "x"}),
        ((b"", b"\xff"), {"line_b64": "/w=="}),
    ):
        entry = b"".join(length_delimited(2, line) for line in lines)
        message = length_delimited(1, length_delimited(1, b"{}") + length_delimited(2, entry))
        body = bytes(cramjam.snappy.compress_raw(message))
        assert http.post("/loki/api/v1/push", content=body, headers=BASIC).status_code == 204
        assert server.log.documents()[-1] == {"loki": {"stream": {}, "ts": "0", **kept}}


@pytest.mark.parametrize("size", [123, 123 - 1, 124])
def test_a_snappy_block_may_begin_with_a_brace(http: httpx.Client, server: Harness, size: int) -> None:
    """The first byte is the size, and 123 is `{`."""
    message = _push("{}", (1, b""))
    message = _push("{}", (1, b"x" * (size - len(message))))
    assert len(message) == size
    answer = http.post(
        "/ingest/loki/loki/api/v1/push", content=bytes(cramjam.snappy.compress_raw(message)), headers=BASIC
    )
    assert answer.status_code == 204, answer.text
    assert len(server.log.records) == 1


def test_loki_json_with_metadata_gzip_and_a_bad_entry(http: httpx.Client, server: Harness) -> None:
    push = {"streams": [{"stream": {"app": "x"}, "values": [["1", "a", {"trace": "t"}], ["2"], ["3", "c"]]}]}
    sent = {**BASIC, "Content-Encoding": "gzip"}
    assert http.post("/loki/api/v1/push", content=gzip.compress(orjson.dumps(push)), headers=sent).status_code == 204
    assert server.log.documents()[0] == {
        "loki": {"stream": {"app": "x"}, "ts": "1", "line": "a", "metadata": {"trace": "t"}}
    }
    assert server.log.quarantined[1] is not None
    assert http.get("/ready").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b'{"streams":1}', b"[]", b"\xff" * 10, b"hello"])
def test_what_is_no_push_is_refused_in_words(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/loki/api/v1/push", content=body, headers=BASIC)
    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"].startswith("text/plain")


# --- journal ----------------------------------------------------------------------------------------------------


def test_a_journal_sent_again_is_recognised_and_a_broken_one_told(http: httpx.Client, server: Harness) -> None:
    good = b"__CURSOR=s=1\nMESSAGE=a\nA=1\nA=2\nB\n\x02\0\0\0\0\0\0\0\xff\xfe\n\n__CURSOR=s=2\nMESSAGE=b\n\n"
    broken = http.post("/upload", content=good + b"not a field name\n", headers=BASIC)
    assert broken.status_code == 400, "told, but what was whole is sealed"
    assert len(server.log.records) == 2
    for _ in range(2):
        assert http.post("/upload", content=good, headers=BASIC).text == "OK, 2 entries.\n"
    assert len(server.log.records) == 2
    assert server.log.documents()[0]["journal"] == {
        "__CURSOR": "s=1",
        "MESSAGE": "a",
        "A": ["1", "2"],
        "B": {"$b64": "//4="},
    }
    server.log.fail_append = StorageError("no")
    assert http.post("/upload", content=good, headers=BASIC).status_code == 503
