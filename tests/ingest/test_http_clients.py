"""Client libraries, unmodified, against the doors on a real server."""

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from door_harness import TOKEN, Harness, make_harness, served, until

from muniment.errors import BusyError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def server() -> Iterator[Harness]:
    with served(make_harness(is_query_token_allowed=False)) as harness:
        yield harness


@pytest.mark.parametrize("prefix", ["", "/ingest/es"])
def test_the_elasticsearch_client_sends_bulk(server: Harness, prefix: str) -> None:
    from elasticsearch import Elasticsearch, helpers

    client = Elasticsearch(server.url + prefix, basic_auth=("x", TOKEN), http_compress=True)
    assert client.info()["version"]["number"] == "8.19.0"
    actions = [{"_op_type": "create", "_index": "audit", "_id": f"e{n}", "n": n} for n in range(50)]
    assert helpers.bulk(client, actions) == (50, [])
    assert helpers.bulk(client, actions) == (50, []), "sent again"
    assert [document["n"] for document in server.log.documents()] == list(range(50))
    assert client.index(index="audit", document={"single": True})["result"] == "created"
    assert client.indices.exists(index="audit")


def test_the_elasticsearch_client_takes_an_api_key(server: Harness) -> None:
    from elasticsearch import Elasticsearch

    client = Elasticsearch(server.url, api_key=("key-id", TOKEN))
    assert client.bulk(operations=[{"index": {"_index": "a"}}, {"n": 1}])["errors"] is False


def test_the_opensearch_client_sends_bulk(server: Harness) -> None:
    from opensearchpy import OpenSearch, helpers

    client = OpenSearch(server.url, http_auth=("x", TOKEN))
    assert client.info()["cluster_name"] == "muniment"
    assert helpers.bulk(client, [{"_index": "audit", "n": n} for n in range(20)]) == (20, [])
    assert len(server.log.records) == 20


def test_elasticsearch_clients_see_a_refusal_and_send_again(server: Harness) -> None:
    """A refusal is plain text; both clients take it for what its status says, and retry by themselves when told to."""
    from elasticsearch import ApiError, Elasticsearch
    from opensearchpy import OpenSearch, TransportError

    operations = [{"index": {"_index": "a"}}, {"n": 1}]
    server.log.fail_append = BusyError("full", retry_after_ms=1_000)
    with pytest.raises(ApiError) as refused:
        Elasticsearch(server.url, basic_auth=("x", TOKEN), max_retries=0).bulk(operations=operations)
    assert refused.value.status_code == 429
    with pytest.raises(TransportError) as refused_too:
        OpenSearch(server.url, http_auth=("x", TOKEN), max_retries=0).bulk(body=operations)
    assert refused_too.value.status_code == 429
    failed = server.log.failed

    def mend() -> None:
        until(lambda: server.log.failed > failed)
        server.log.fail_append = None

    mender = threading.Thread(target=mend)
    mender.start()
    client = Elasticsearch(server.url, basic_auth=("x", TOKEN), max_retries=50, retry_on_status=(429,))
    assert client.bulk(operations=operations)["errors"] is False
    mender.join()
    assert len(server.log.records) == 1


def test_splunk_handler_sends_events(server: Harness) -> None:
    from splunk_handler import SplunkHandler

    handler = SplunkHandler(
        host=server.host, port=server.port, token=TOKEN, index="main", protocol="http", flush_interval=0.1
    )
    logger = logging.getLogger("splunk-test")
    logger.addHandler(handler)
    try:
        for n in range(10):
            logger.warning("login failed %d", n)
        until(lambda: len(server.log.records) == 10)
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert "login failed 0" in str(server.log.documents()[0]["event"])
    assert set(server.log.doors) == {"hec"}


def test_logging_loki_sends_lines(server: Harness) -> None:
    import logging_loki

    handler = logging_loki.LokiHandler(
        url=server.url + "/loki/api/v1/push", tags={"app": "x"}, auth=("x", TOKEN), version="1"
    )
    logger = logging.getLogger("loki-test")
    logger.addHandler(handler)
    try:
        logger.error('{"looks": "like JSON"}')
    finally:
        logger.removeHandler(handler)
    (document,) = server.log.documents()
    loki = document["loki"]
    assert loki["line"] == '{"looks": "like JSON"}'  # type: ignore[index]
    assert loki["stream"]["app"] == "x"  # type: ignore[index]


def _otel_logs(exporter: object, n: int) -> None:
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))  # type: ignore[arg-type]
    logger = logging.getLogger(f"otel-test-{n}")
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=provider))
    for k in range(n):
        logger.warning("order %d cancelled", k, extra={"user.id": "u-7", "count": 3, "ratio": 2.0})
    provider.shutdown()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_the_opentelemetry_sdk_exports_over_http(server: Harness, compression: str) -> None:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=server.url + "/v1/logs",
        headers={"Authorization": f"Bearer {TOKEN}"},
        compression=Compression(compression),
    )
    _otel_logs(exporter, 3)
    until(lambda: len(server.log.records) == 3)
    otel = server.log.documents()[0]["otel"]
    assert otel["body"] == "order 0 cancelled"  # type: ignore[index]
    assert otel["attributes"]["user.id"] == "u-7"  # type: ignore[index]
    assert otel["attributes"]["ratio"] == 2.0  # type: ignore[index]
    assert otel["resource"]["service.name"] == "shop"  # type: ignore[index]


def test_rotel_forwards_what_the_sdk_sends(server: Harness, tmp_path: Path) -> None:
    """Rotel as an agent: takes OTLP over HTTP, forwards it to us."""
    import socket

    rotel = next(Path(__import__("rotel").__file__).parent.rglob("rotel-agent"), None) or shutil.which("rotel")
    assert rotel is not None, "the rotel wheel holds no agent"
    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    agent = subprocess.Popen(
        [
            str(rotel),
            "start",
            f"--otlp-grpc-endpoint=127.0.0.1:{ports[0]}",
            f"--otlp-http-endpoint=127.0.0.1:{ports[1]}",
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            f"--otlp-exporter-endpoint={server.url}",
            f"--otlp-exporter-custom-headers=Authorization=Bearer {TOKEN}",
        ],
        stdout=(tmp_path / "rotel.log").open("wb"),
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
    )
    try:
        until(lambda: _is_open(ports[1]))
        export = {
            "resourceLogs": [
                {
                    "scopeLogs": [
                        {"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": f"r{n}"}} for n in range(5)]}
                    ]
                }
            ]
        }
        answer = httpx.post(f"http://127.0.0.1:{ports[1]}/v1/logs", json=export)
        assert answer.status_code == 200, answer.text
        until(lambda: len(server.log.records) == 5, timeout_s=20)
        assert server.log.documents()[4]["otel"]["body"] == "r4"  # type: ignore[index]
    finally:
        agent.terminate()
        agent.wait(10)


def _is_open(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_cloudevents_library_sends_all_modes(server: Harness) -> None:
    from cloudevents.v1.conversion import to_json
    from cloudevents.v1.http import CloudEvent, to_binary, to_structured

    auth = {"Authorization": f"Bearer {TOKEN}"}
    event = CloudEvent({"type": "com.example.deleted", "source": "/docs", "id": "1"}, {"doc": "ü"})
    for convert in (to_structured, to_binary):
        headers, body = convert(event)
        answer = httpx.post(server.url + "/v1/cloudevents", headers={**headers, **auth}, content=body)
        assert answer.status_code == 200, answer.text
    assert answer.json()["duplicates"] == 1, "the same event in another mode"
    batch = b"[" + to_json(event) + b"," + to_json(CloudEvent({"type": "t", "source": "/docs", "id": "2"}, "x")) + b"]"
    batched = httpx.post(
        server.url + "/v1/cloudevents",
        content=batch,
        headers={"Content-Type": "application/cloudevents-batch+json", **auth},
    )
    assert batched.json()["accepted"] == 2
    assert batched.json()["duplicates"] == 1
    assert [document["id"] for document in server.log.documents()] == ["1", "2"]
    assert server.log.documents()[0]["data"] == {"doc": "ü"}


JOURNAL_UPLOAD = Path("/lib/systemd/systemd-journal-upload")
JOURNAL_REMOTE = Path("/lib/systemd/systemd-journal-remote")


@pytest.mark.skipif(not JOURNAL_UPLOAD.exists(), reason="systemd-journal-remote is not installed")
def test_systemd_journal_upload_sends_a_journal(server: Harness, tmp_path: Path) -> None:
    if not JOURNAL_REMOTE.exists():
        pytest.skip("nothing to make a journal with")
    export = b"".join(
        b"__CURSOR=s=%032x;i=%x;b=%032x;m=1;t=1;x=%x\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n"
        b"_BOOT_ID=%032x\nMESSAGE\n\x07\0\0\0\0\0\0\0two\nl%02d\nPRIORITY=6\n_UID=0\n\n"
        % (1, n + 1, 2, n, 1_790_000_000_000_000 + n, n + 1, 2, n)
        for n in range(25)
    )
    journal = tmp_path / "made.journal"
    made = subprocess.run(
        [str(JOURNAL_REMOTE), "-o", str(journal), "-"], input=export, capture_output=True, check=False, timeout=30
    )
    assert journal.exists(), made.stderr
    uploaded = subprocess.run(
        [
            str(JOURNAL_UPLOAD),
            f"--url=http://x:{TOKEN}@{server.host}:{server.port}",
            f"--file={journal}",
            f"--save-state={tmp_path / 'state'}",
            "--follow=no",
        ],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert uploaded.returncode == 0, uploaded.stderr
    assert len(server.log.records) == 25
    fields = server.log.documents()[3]["journal"]
    assert fields["MESSAGE"] == "two\nl03"  # type: ignore[index]
    assert set(server.log.doors) == {"journal"}


def test_a_journal_that_pauses_is_sealed_without_waiting(server: Harness) -> None:
    """The sender keeps its request open for ever; what it sent must not wait for the end."""

    def entries() -> Iterator[bytes]:
        yield b"__CURSOR=a\nMESSAGE=one\n\n__CURSOR=b\nMESS"
        until(lambda: len(server.log.records) == 1)
        yield b"AGE=two\n\n"
        until(lambda: len(server.log.records) == 2)

    started = time.monotonic()
    answer = httpx.post(server.url + "/upload", content=entries(), headers={"Authorization": server.basic}, timeout=20)
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 5
    assert [orjson.loads(record)["journal"]["MESSAGE"] for record in server.log.records] == ["one", "two"]
