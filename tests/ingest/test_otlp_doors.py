"""OTLP over HTTP and gRPC: the same records, statuses exporters understand, never a partial success."""

import asyncio
from collections.abc import Iterator

import grpc
import httpx
import orjson
import pytest
from door_harness import TOKEN, Harness, make_harness, served
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from muniment.errors import BusyError, StorageError
from muniment.ingest.admission import Quota
from muniment.ingest.otlp_grpc import OtlpGrpcDoor

BEARER = {"Authorization": f"Bearer {TOKEN}"}
EXPORT = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "schemaUrl": "https://example.org/1",
            "scopeLogs": [
                {
                    "scope": {"name": "lib", "version": "1"},
                    "logRecords": [
                        {
                            "timeUnixNano": "1790000000000000001",
                            "observedTimeUnixNano": "2",
                            "severityNumber": 9,
                            "severityText": "INFO",
                            "eventName": "order.cancel",
                            "traceId": "5b8efff798038103d269b633813fc60c",
                            "spanId": "eee19b7ec3c1b174",
                            "flags": 1,
                            "body": {
                                "kvlistValue": {
                                    "values": [
                                        {"key": "a", "value": {"arrayValue": {"values": [{"boolValue": True}, {}]}}}
                                    ]
                                }
                            },
                            "attributes": [
                                {"key": "log.record.uid", "value": {"stringValue": "u-1"}},
                                {"key": "n", "value": {"intValue": "9223372036854775807"}},
                                {"key": "d", "value": {"doubleValue": 2}},
                                {"key": "b", "value": {"bytesValue": "/w=="}},
                            ],
                        }
                    ],
                }
            ],
        }
    ]
}


def _protobuf(export: object) -> bytes:
    # proto3 JSON in Python reads ids as base64: give it what the hex stands for.
    import base64
    import copy

    plain = copy.deepcopy(export)
    for resource in plain["resourceLogs"]:  # type: ignore[index]
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
    message: bytes = Parse(orjson.dumps(plain), ExportLogsServiceRequest()).SerializeToString()
    return message


@pytest.fixture
def server() -> Iterator[Harness]:
    with served(make_harness()) as harness:
        yield harness


@pytest.mark.parametrize("path", ["/v1/logs", "/ingest/otlp/v1/logs"])
def test_both_encodings_give_the_same_record_and_their_own_empty_answer(server: Harness, path: str) -> None:
    as_json = httpx.post(server.url + path, content=orjson.dumps(EXPORT), headers=BEARER)
    as_protobuf = httpx.post(server.url + path, content=_protobuf(EXPORT), headers=BEARER)
    assert (as_json.status_code, as_json.content) == (200, b"{}")
    assert (as_protobuf.status_code, as_protobuf.content) == (200, b"")
    assert as_protobuf.headers["content-type"] == "application/x-protobuf"
    assert len(server.log.records) == 1, "the second is known by log.record.uid"
    otel = server.log.documents()[0]["otel"]
    assert otel["attributes"] == {"log.record.uid": "u-1", "n": 2**63 - 1, "d": 2.0, "b": otel["attributes"]["b"]}  # type: ignore[index]
    assert otel["body"] == {"a": [True, None]}  # type: ignore[index]
    assert otel["resource"] == {"service.name": "shop"}  # type: ignore[index]
    assert otel["traceId"] == "5b8efff798038103d269b633813fc60c"  # type: ignore[index]


@pytest.mark.parametrize("content", [orjson.dumps(EXPORT), _protobuf(EXPORT)], ids=["json", "protobuf"])
def test_an_export_in_chunks_of_unknown_length(server: Harness, content: bytes) -> None:
    """As OpenTelemetry for JavaScript sends."""
    pieces = (content[at : at + 100] for at in range(0, len(content), 100))
    answer = httpx.post(server.url + "/v1/logs", content=pieces, headers=BEARER)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 200
    assert len(server.log.records) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageError("no space", is_full=True), 503),
        (BusyError("full", retry_after_ms=2000), 503),
        (BusyError("quota", retry_after_ms=2000, is_quota=True), 429),
    ],
)
def test_what_can_be_sent_again_is_a_status_exporters_retry(server: Harness, error: Exception, status: int) -> None:
    server.log.fail_append = error
    for content in (orjson.dumps(EXPORT), _protobuf(EXPORT)):
        answer = httpx.post(server.url + "/v1/logs", content=content, headers=BEARER)
        assert answer.status_code == status
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "body", [b"\x0a\xff", b"{", b'{"resourceLogs":1}', b"\xff\xff", b'{"resourceLogs":[{"scopeLogs":[1]}]}']
)
def test_what_is_no_export_is_refused_for_good(server: Harness, body: bytes) -> None:
    answer = httpx.post(server.url + "/v1/logs", content=body, headers=BEARER)
    assert answer.status_code == 400
    assert server.log.records == []
    assert httpx.post(server.url + "/v1/logs", content=body).status_code == 401


def test_an_empty_export_is_a_success(server: Harness) -> None:
    assert httpx.post(server.url + "/v1/logs", content=b"", headers=BEARER).status_code == 200
    assert httpx.post(server.url + "/v1/logs", content=b"{}", headers=BEARER).content == b"{}"


async def _exchange(harness: Harness, message: bytes, token: str | None, compression: object = None) -> bytes:
    door = OtlpGrpcDoor(harness.ctx)
    port = await door.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            metadata = (("authorization", f"Bearer {token}"),) if token else None
            answer: bytes = await export(message, metadata=metadata, compression=compression, timeout=10)
            return answer
    finally:
        await door.stop(0)


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = make_harness()
    made.pipeline.start()
    yield made
    made.pipeline.close(5)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
async def test_grpc_exports_are_sealed(harness: Harness, compression: object) -> None:
    answer = await _exchange(harness, _protobuf(EXPORT), TOKEN, compression)
    assert not ExportLogsServiceResponse.FromString(answer).HasField("partial_success")
    assert harness.log.documents()[0]["otel"]["body"] == {"a": [True, None]}  # type: ignore[index]
    assert harness.log.sources == ["app"]


@pytest.mark.parametrize(
    ("token", "message", "error", "code"),
    [
        (None, b"", None, grpc.StatusCode.UNAUTHENTICATED),
        ("wrong", b"", None, grpc.StatusCode.PERMISSION_DENIED),
        (TOKEN, b"\xff\xff", None, grpc.StatusCode.INVALID_ARGUMENT),
        (TOKEN, None, StorageError("no space", is_full=True), grpc.StatusCode.UNAVAILABLE),
        (TOKEN, None, BusyError("full"), grpc.StatusCode.UNAVAILABLE),
        (TOKEN, None, BusyError("quota", is_quota=True), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_grpc_statuses(
    harness: Harness, token: str | None, message: bytes | None, error: Exception | None, code: grpc.StatusCode
) -> None:
    harness.log.fail_append = error
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _exchange(harness, _protobuf(EXPORT) if message is None else message, token)
    assert refused.value.code() == code
    trailing = dict(refused.value.trailing_metadata() or ())
    assert ("grpc-status-details-bin" in trailing) == (error is not None), "RetryInfo exactly when it can be sent again"
    assert harness.log.records == []


async def test_grpc_health_follows_the_disk(harness: Harness) -> None:
    door = OtlpGrpcDoor(harness.ctx)
    port = await door.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"
        harness.log.fail_append = StorageError("no")
        with pytest.raises(grpc.aio.AioRpcError):
            await _exchange(harness, _protobuf(EXPORT), TOKEN)
        assert await check(b"") == b"\x08\x02"
    await door.stop(0)


async def test_the_sdk_exports_over_grpc(harness: Harness) -> None:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from test_http_clients import _otel_logs

    door = OtlpGrpcDoor(harness.ctx)
    port = await door.start("127.0.0.1", 0)
    exporter = OTLPLogExporter(
        endpoint=f"http://127.0.0.1:{port}", insecure=True, headers=(("authorization", f"Bearer {TOKEN}"),)
    )
    await asyncio.get_running_loop().run_in_executor(None, _otel_logs, exporter, 4)
    assert len(harness.log.records) == 4
    await door.stop(0)


async def test_grpc_over_the_quota_is_counted() -> None:
    harness = make_harness(quota=Quota(events_per_s=0.001, burst_s=1000))
    harness.pipeline.start()
    await _exchange(harness, _protobuf(EXPORT), TOKEN)
    with pytest.raises(grpc.aio.AioRpcError):
        await _exchange(harness, _protobuf(EXPORT), TOKEN)
    assert [one.door for one in harness.admission.take_rejections()] == ["otlp-grpc"]
    harness.pipeline.close(5)
