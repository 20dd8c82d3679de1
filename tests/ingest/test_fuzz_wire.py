"""Any bytes: every parser answers records, RejectedError, or waits for more. Never another exception.

Whole, byte by byte where a parser streams, and with bytes after the end. Every record it gives is one JSON object
within bounds, and nothing it took in is missing from the sum.
"""

from collections.abc import Callable

import cramjam
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from muniment.errors import RejectedError
from muniment.ingest.admission import credential_of, peer_text
from muniment.ingest.decode import decode_content
from muniment.limits import RECORD_BYTES_MAX
from muniment.wire.bulk import decode_bulk
from muniment.wire.cloudevents import decode_cloudevents, decode_cloudevents_binary
from muniment.wire.hec import decode_hec_events, decode_hec_raw
from muniment.wire.journal_export import JournalExport
from muniment.wire.jsonl import decode_body
from muniment.wire.loki import decode_loki_json, decode_loki_protobuf
from muniment.wire.otlp import decode_otlp_json, decode_otlp_protobuf
from muniment.wire.records import Records

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

PARSERS: dict[str, Callable[[bytes], Records]] = {
    "native": lambda body: decode_body(body, door="x"),
    "bulk": lambda body: decode_bulk(body, door="x").found,
    "hec event": lambda body: decode_hec_events(body, door="x"),
    "hec raw": lambda body: decode_hec_raw(body, {"host": "h"}, door="x"),
    "loki json": lambda body: decode_loki_json(body, door="x"),
    "loki protobuf": lambda body: decode_loki_protobuf(body, door="x"),
    "otlp json": lambda body: decode_otlp_json(body, door="x"),
    "otlp protobuf": lambda body: decode_otlp_protobuf(body, door="x"),
    "cloudevents": lambda body: decode_cloudevents(body, door="x"),
    "cloudevents binary": lambda body: decode_cloudevents_binary(
        {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}, body, door="x"
    ),
    "journal": lambda body: JournalExport(door="x").feed(body),
}

_PROTOBUF = ExportLogsServiceRequest()
_RECORD = _PROTOBUF.resource_logs.add().scope_logs.add().log_records.add()
_RECORD.body.string_value = "x"
_RECORD.attributes.add(key="k").value.int_value = 3

SEEDS = [
    b'{"id":"a","sq":1}\n{"b":[1,2]}',
    b'{"index":{"_id":"1"}}\n{"a":1}\n{"delete":{}}\n',
    b'{"event":1}{"event":"x"}',
    b'{"streams":[{"stream":{"a":"b"},"values":[["1","l"],["2","m",{"t":"u"}]]}]}',
    b'{"streams":[{"labels":"{a=\\"b\\"}","entries":[{"ts":"1","line":"x"}]}]}',
    b'{"resourceLogs":[{"resource":{},"scopeLogs":[{"logRecords":[{"body":{"kvlistValue":[]}}]}]}]}',
    b'[{"specversion":"1.0","id":"1","source":"s","type":"t"}]',
    b"__CURSOR=a\nM=1\nB\n\x02\0\0\0\0\0\0\0ab\n\n",
    b'\n\x17\n\x07{a="b"}\x12\x0c\n\x06\x08\x01\x10\x02\x12\x02hi',
    _PROTOBUF.SerializeToString(),
]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from("icdr")):
            case "i":
                body[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "c":
                del body[at:]
            case "d":
                del body[at : at + draw(st.integers(1, 8))]
            case "r":
                body[at:at] = draw(st.sampled_from(SEEDS))
    return bytes(body)


BYTES = (
    st.binary(max_size=200)
    | _mutated()
    | _JSON.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if _writable(value) else b"{}")
)


def _writable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _judge(found: Records) -> None:
    n = len(found.records)
    assert n == len(found.ids) == len(found.sqs) == len(found.quarantined)
    assert found.item_first == sorted(set(found.item_first))
    for record in found.records:
        assert len(record) <= RECORD_BYTES_MAX
        assert type(orjson.loads(record)) is dict


@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(body=BYTES, after=st.sampled_from([b"", b"\0", b"\xff", b"}", b"\n\n", b"\x0a"]))
def test_any_bytes_have_one_of_the_known_outcomes(name: str, body: bytes, after: bytes) -> None:
    for one in (body, body + after):
        refused = None
        try:
            _judge(PARSERS[name](one))
        except RejectedError as error:
            refused = error
        assert refused is None or (refused.reason and 400 <= refused.status < 500)


@QUICK
@given(body=BYTES)
def test_a_journal_gives_the_same_entries_whole_and_byte_by_byte(body: bytes) -> None:
    def outcome(chunks: list[bytes]) -> tuple[list[bytes], str]:
        parser, records = JournalExport(door="x"), []
        try:
            for chunk in chunks:
                records += parser.feed(chunk).records
            records += parser.finish().records
        except RejectedError as error:
            return records, error.reason
        return records, ""

    whole, reason = outcome([body])
    single, single_reason = outcome([body[at : at + 1] for at in range(len(body))])
    assert reason == single_reason
    assert whole == single


@QUICK
@given(
    body=st.binary(max_size=300), codec=st.sampled_from(["gzip", "deflate", "zstd", "snappy", "gzip, zstd", "br", ""])
)
def test_any_bytes_decode_or_are_refused(body: bytes, codec: str) -> None:
    status = 200
    try:
        assert isinstance(decode_content(body, codec), bytes)
    except RejectedError as error:
        status = error.status
    assert status in {200, 400, 413, 415}


@QUICK
@given(body=st.binary(min_size=1, max_size=500), codec=st.sampled_from(["gzip", "deflate", "zstd", "snappy"]))
def test_what_was_packed_comes_out(body: bytes, codec: str) -> None:
    pack = {"gzip": cramjam.gzip, "deflate": cramjam.zlib, "zstd": cramjam.zstd, "snappy": cramjam.snappy}[codec]
    assert decode_content(bytes(pack.compress(body)), codec) == body


@QUICK
@given(text=st.text(max_size=60))
def test_any_header_is_a_credential_or_none(text: str) -> None:
    for scheme in ("Basic ", "Bearer ", "ApiKey ", "Splunk ", ""):
        assert credential_of(scheme + text) != ""
    assert isinstance(peer_text(text), str)
