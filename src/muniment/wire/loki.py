"""Loki push bodies to records: JSON, and protobuf once its snappy wrapping is off.

Pure. One entry is `{"loki": {"stream": {...}, "ts": "<ns>", "line": "..."}}`; a line that is JSON itself stays text,
structured metadata stands under `metadata`. Labels in protobuf are one string, `{a="b"}`; they become an object, and
stay the string, under `labels`, if they cannot be read. Entries of another shape are quarantined.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import orjson

from muniment.errors import RejectedError
from muniment.wire.jsonl import check_texts, parse_text, unmark
from muniment.wire.protobuf import fields_of
from muniment.wire.records import Records, judged_records

__all__ = ["decode_loki_json", "decode_loki_protobuf"]

_LABEL = re.compile(r'\s*([A-Za-z_:][A-Za-z0-9_:.]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)')
_SHAPE = "expected [time, line] of strings"


def decode_loki_json(body: bytes, *, door: str) -> Records:
    """`{"streams": [{"stream": {...}, "values": [["<ns>", "line"], ...]}]}`, or the older labels and entries.

    Raises:
        RejectedError: the body is not of that shape.
    """
    document = parse_text(unmark(body))
    streams = document.get("streams") if type(document) is dict else None
    if type(streams) is not list:
        raise RejectedError("expected an object with streams", field="streams")
    found = Records()
    for place, stream in enumerate(streams):
        if type(stream) is not dict:
            raise RejectedError("expected an object", field=f"streams[{place}]")
        labels = stream.get("stream", stream.get("labels", {}))
        head = _labels(labels) if type(labels) is str else {"stream": labels}
        entries = stream.get("values", stream.get("entries", []))
        if type(entries) is not list:
            raise RejectedError("expected a list", field=f"streams[{place}].values")
        for entry in entries:
            _add_json(found, head, entry, door)
    return judged_records(found, check_texts(found.records), door=door)


def _add_json(found: Records, head: dict[str, Any], entry: Any, door: str) -> None:
    if type(entry) is dict and type(entry.get("line")) is str:
        ts, line, rest = str(entry.get("ts", entry.get("timestamp", ""))), entry["line"], ()
    elif type(entry) is list and len(entry) >= 2 and type(entry[0]) in {str, int} and type(entry[1]) is str:
        ts, line, rest = str(entry[0]), entry[1], tuple(entry[2:3])
    else:
        found.quarantine(orjson.dumps({**head, "entry": entry}), _SHAPE, door=door)
        return
    metadata: dict[str, Any] = {"metadata": rest[0]} if rest and rest[0] else {}
    found.add(orjson.dumps({"loki": {**head, "ts": ts, "line": line, **metadata}}), None, None, door=door)


def decode_loki_protobuf(message: bytes, *, door: str) -> Records:
    """logproto.PushRequest: streams = 1 {labels = 1, entries = 2 {timestamp = 1, line = 2, metadata = 3}}.

    Raises:
        RejectedError: not protobuf, or not of that shape.
    """
    found = Records()
    for number, stream in fields_of(message):
        if number != 1:
            continue
        parts = list(fields_of(_message(stream)))
        head = _labels(_text(next((value for field, value in parts if field == 1), b"")))
        for field, entry in parts:
            if field == 2:
                found.add(_entry(head, _message(entry)), None, None, door=door)
    return judged_records(found, check_texts(found.records), door=door)


def _entry(head: dict[str, Any], entry: bytes) -> bytes:
    ts, line = 0, b""
    metadata: dict[str, str] = {}
    for number, value in fields_of(entry):
        if number == 1:
            moment = dict(fields_of(_message(value)))
            seconds, nanos = moment.get(1, 0), moment.get(2, 0)
            if type(seconds) is int and type(nanos) is int:
                ts = (seconds - (1 << 64) if seconds >> 63 else seconds) * 1_000_000_000 + nanos
        elif number == 2:
            line = _message(value)  # sent twice, the last one counts, as everywhere in protobuf
        elif number == 3:
            pair = dict(fields_of(_message(value)))
            metadata[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
    loki: dict[str, Any] = {**head, "ts": str(ts)}
    try:
        loki["line"] = line.decode()
    except UnicodeDecodeError:
        loki["line_b64"] = base64.b64encode(line).decode()
    if metadata:
        loki["metadata"] = metadata
    return orjson.dumps({"loki": loki})


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise RejectedError("not a push request: a number where a message belongs", field="body")
    return value


def _text(value: int | bytes) -> str:
    return _message(value).decode("utf-8", "replace")


def _labels(text: str) -> dict[str, Any]:
    """`{a="b", c="d"}` as {"stream": {...}}; {"stream": {}, "labels": text} if it is not of that form."""
    inner = text.strip()
    if inner[:1] == "{" and inner[-1:] == "}":
        inner = inner[1:-1].strip()
        stream: dict[str, str] = {}
        at = 0
        while at < len(inner):
            match = _LABEL.match(inner, at)
            if match is None:
                return {"stream": {}, "labels": text}
            try:
                stream[match[1]] = orjson.loads(match[2])
            except orjson.JSONDecodeError:  # an escape that Go knows and JSON does not
                return {"stream": {}, "labels": text}
            at = match.end()
        return {"stream": stream}
    return {"stream": {}, "labels": text} if inner else {"stream": {}}
