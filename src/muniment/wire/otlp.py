"""OTLP log exports to records, from protobuf and from JSON: one record a LogRecord, with its resource and scope.

Pure. A record is `{"otel": {...}}`: the LogRecord's fields under their OTLP/JSON names (lowerCamelCase, 64-bit times
as strings, trace ids in hex), `resource` (its attributes) and `scope`. Attributes are one object, name to plain value,
because that is how people ask for them: text, numbers (a double keeps its point), booleans, lists and objects as
themselves, bytes as `{"bytesValue": base64}`, what JSON has no number for as `{"doubleValue": "NaN"}`. A list of
attributes that names one twice, or has another shape, stays the list it was. The same export gives the same record
from both encodings. `log.record.uid`, the attribute the conventions reserve for it, is the producer's event id.

A body that is no export is refused; a LogRecord that cannot be a record (nested too deep) is quarantined. There is
no partial success: nobody retries it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from muniment.errors import RejectedError
from muniment.limits import OTLP_JSON_VALUE_DEPTH_MAX
from muniment.wire.jsonl import check_texts, parse_text, unmark
from muniment.wire.protobuf import length_delimited, varint
from muniment.wire.records import Records, judged_records, producer_id

__all__ = ["decode_otlp_json", "decode_otlp_protobuf", "status_message"]

_UID = "log.record.uid"
_TOO_DEEP = f"AnyValue nested deeper than {OTLP_JSON_VALUE_DEPTH_MAX}"
_TIMES = ("timeUnixNano", "observedTimeUnixNano")
_SNAKE = {
    "time_unix_nano": "timeUnixNano",
    "observed_time_unix_nano": "observedTimeUnixNano",
    "severity_number": "severityNumber",
    "severity_text": "severityText",
    "dropped_attributes_count": "droppedAttributesCount",
    "trace_id": "traceId",
    "span_id": "spanId",
    "event_name": "eventName",
}


# --- protobuf ---------------------------------------------------------------------------------------------------


def decode_otlp_protobuf(body: bytes, *, door: str) -> Records:
    """ExportLogsServiceRequest in protobuf.

    Raises:
        RejectedError: not that message, or text in it that is not UTF-8.
    """
    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise RejectedError("not an ExportLogsServiceRequest", field="body") from error
    found = Records()
    for resource_logs in request.resource_logs:
        try:
            resource = _object((pair.key, _value(pair.value, 1)) for pair in resource_logs.resource.attributes)
        except RejectedError:
            resource = {"bytesValue": base64.b64encode(resource_logs.resource.SerializeToString()).decode()}
        for scope_logs in resource_logs.scope_logs:
            around = _around(resource, resource_logs.schema_url, _scope(scope_logs.scope), scope_logs.schema_url)
            for record in scope_logs.log_records:
                try:
                    _add(found, {**_log_record(record), **around}, door)
                except RejectedError as error:
                    found.quarantine(record.SerializeToString(), error.reason, door=door)
    return judged_records(found, check_texts(found.records), door=door)


def _around(resource: Any, resource_url: Any, scope: Any, scope_url: Any) -> dict[str, Any]:
    around: dict[str, Any] = {"resource": resource, "scope": scope}
    if resource_url:
        around["resourceSchemaUrl"] = resource_url
    if scope_url:
        around["scopeSchemaUrl"] = scope_url
    return around


def _scope(scope: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if scope.name:
        plain["name"] = scope.name
    if scope.version:
        plain["version"] = scope.version
    if scope.attributes:
        plain["attributes"] = _object((pair.key, _value(pair.value, 1)) for pair in scope.attributes)
    return plain


def _log_record(record: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if record.time_unix_nano:
        plain["timeUnixNano"] = str(record.time_unix_nano)
    if record.observed_time_unix_nano:
        plain["observedTimeUnixNano"] = str(record.observed_time_unix_nano)
    if record.severity_number:
        plain["severityNumber"] = record.severity_number
    if record.severity_text:
        plain["severityText"] = record.severity_text
    if record.HasField("body"):
        plain["body"] = _value(record.body, 1)
    plain["attributes"] = _object((pair.key, _value(pair.value, 1)) for pair in record.attributes)
    if record.dropped_attributes_count:
        plain["droppedAttributesCount"] = record.dropped_attributes_count
    if record.flags:
        plain["flags"] = record.flags
    if record.trace_id:
        plain["traceId"] = record.trace_id.hex()
    if record.span_id:
        plain["spanId"] = record.span_id.hex()
    if record.event_name:
        plain["eventName"] = record.event_name
    return plain


def _value(value: Any, depth: int) -> Any:
    if depth > OTLP_JSON_VALUE_DEPTH_MAX:
        raise RejectedError(_TOO_DEEP, field="event")
    kind = value.WhichOneof("value")
    if kind in {"string_value", "bool_value", "int_value"}:
        return getattr(value, kind)
    if kind == "double_value":
        return _double(value.double_value)
    if kind == "array_value":
        return [_value(one, depth + 1) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _object((pair.key, _value(pair.value, depth + 1)) for pair in value.kvlist_value.values)
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    return None


def _double(value: float) -> Any:
    if math.isfinite(value):
        return value
    return {"doubleValue": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _object(pairs: Iterable[tuple[str, Any]]) -> Any:
    """Attributes as one object; as a list of pairs when a name comes twice, so that neither value is lost."""
    known = list(pairs)
    plain = dict(known)
    return plain if len(plain) == len(known) else [{"key": key, "value": value} for key, value in known]


# --- JSON -------------------------------------------------------------------------------------------------------


def decode_otlp_json(body: bytes, *, door: str) -> Records:
    """ExportLogsServiceRequest in JSON; also with the proto's own field names (`resource_logs`).

    Raises:
        RejectedError: not JSON, or not of that shape; `.field` names the place.
    """
    document = parse_text(unmark(body))
    if type(document) is not dict:
        raise RejectedError("expected an object", field="body")
    found = Records()
    for resource_logs, path in _objects(document, ("resourceLogs", "resource_logs"), ""):
        resource = _fields_json(resource_logs.get("resource") or {})
        attributes = resource.get("attributes", {}) if type(resource) is dict else resource
        url = resource_logs.get("schemaUrl", resource_logs.get("schema_url"))
        for scope_logs, inner in _objects(resource_logs, ("scopeLogs", "scope_logs"), path):
            scope = _fields_json(scope_logs.get("scope") or {})
            scope_url = scope_logs.get("schemaUrl", scope_logs.get("schema_url"))
            around = _around(attributes, url, scope, scope_url)
            records = scope_logs.get("logRecords", scope_logs.get("log_records")) or []
            if type(records) is not list:
                raise RejectedError("expected a list", field=f"{inner}logRecords")
            for record in records:
                if type(record) is dict:
                    _add(found, {**_log_record_json(record), **around}, door)
                else:
                    found.quarantine(orjson.dumps(record), "expected an object", door=door)
    return judged_records(found, check_texts(found.records), door=door)


def _objects(document: dict[str, Any], names: tuple[str, str], path: str) -> list[tuple[dict[str, Any], str]]:
    values = document.get(names[0], document.get(names[1])) or []
    if type(values) is not list or any(type(value) is not dict for value in values):
        raise RejectedError("expected a list of objects", field=path + names[0])
    return [(value, f"{path}{names[0]}[{place}].") for place, value in enumerate(values)]


def _log_record_json(record: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = _fields_json({_SNAKE.get(name, name): value for name, value in record.items()})
    for name in _TIMES:
        if type(plain.get(name)) is int:
            plain[name] = str(plain[name])
    if "body" in plain:
        plain["body"] = _value_json(plain["body"])
    plain.setdefault("attributes", {})
    return plain


def _fields_json(message: Any) -> Any:
    """A message with its `attributes` as one object; the rest as sent."""
    if type(message) is not dict or type(message.get("attributes")) is not list:
        return message
    return {**message, "attributes": _pairs_json(message["attributes"])}


def _pairs_json(pairs: list[Any]) -> Any:
    if any(type(pair) is not dict or type(pair.get("key")) is not str for pair in pairs):
        return pairs
    return _object((pair["key"], _value_json(pair.get("value"))) for pair in pairs)


def _value_json(value: Any) -> Any:
    """An AnyValue as a plain value; anything else as sent. Depth is bounded by JSON_DEPTH_MAX."""
    if type(value) is not dict or len(value) != 1:
        return None if value == {} else value
    ((kind, inner),) = value.items()
    if kind in {"stringValue", "string_value"} and type(inner) is str:
        return inner
    if kind in {"boolValue", "bool_value"} and type(inner) is bool:
        return inner
    if kind in {"intValue", "int_value"}:
        return _integer(inner, value)
    if kind in {"doubleValue", "double_value"} and type(inner) in {int, float}:
        return float(inner)
    if kind in {"arrayValue", "array_value"} and type(inner) is dict:
        values = inner.get("values") or []
        return [_value_json(one) for one in values] if type(values) is list else value
    if kind in {"kvlistValue", "kvlist_value"}:
        pairs = (inner.get("values") or []) if type(inner) is dict else inner  # some senders leave `values` out
        return _pairs_json(pairs) if type(pairs) is list else value
    return value


def _integer(inner: Any, value: Any) -> Any:
    if type(inner) is int:
        return inner
    digits = inner.removeprefix("-") if type(inner) is str else ""
    if 0 < len(digits) <= 19 and digits.isascii() and digits.isdigit() and -(2**63) <= int(inner) < 2**63:
        return int(inner)
    return value


# --- both -------------------------------------------------------------------------------------------------------


def _add(found: Records, otel: dict[str, Any], door: str) -> None:
    attributes = otel["attributes"]
    uid = producer_id(attributes.get(_UID)) if type(attributes) is dict else None
    found.add(orjson.dumps({"otel": otel}), uid, None, door=door)


def status_message(code: int, words: str, retry_ms: int = 0) -> bytes:
    """google.rpc.Status: code = 1, message = 2, details = 3 (Any of RetryInfo, when a delay is given)."""
    message = varint(1 << 3) + varint(code) + length_delimited(2, words.encode())
    if not retry_ms:
        return message
    seconds, millis = divmod(retry_ms, 1000)
    duration = varint(1 << 3) + varint(seconds) + varint(2 << 3) + varint(millis * 1_000_000)
    any_value = length_delimited(1, b"type.googleapis.com/google.rpc.RetryInfo")
    any_value += length_delimited(2, length_delimited(1, duration))
    return message + length_delimited(3, any_value)
