"""Splunk HTTP Event Collector bodies to records: JSON events written one after the other, and raw lines.

Pure. An event object is the record as sent: `{"time", "host", "source", "sourcetype", "event", "fields", ...}`. A
raw line becomes such an object, with what the query string says about it. Events need an `event` that is not empty;
one without is quarantined when others in the body are good, else the body is refused, and `.column` is its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from muniment.errors import RejectedError
from muniment.limits import RECORD_BYTES_MAX
from muniment.wire.jsonl import good_objects, parse_text, split_body
from muniment.wire.records import Records

__all__ = ["BLANK", "MISSING", "NO_DATA", "decode_hec_events", "decode_hec_raw"]

MISSING = "event field is required"
BLANK = "event field is blank"
NO_DATA = "no event in the body"
_CHUNK: Final = 512


def decode_hec_events(body: bytes, *, door: str) -> Records:
    """The events of a body of `/services/collector/event`.

    Raises:
        RejectedError: none of them is one.
    """
    found = Records()
    first: tuple[int, str] | None = None
    pieces = list(filter(None, map(bytes.strip, split_body(body))))
    if pieces and all(_are_events(pieces[at : at + _CHUNK]) for at in range(0, len(pieces), _CHUNK)):
        found.add_all(pieces, [None] * len(pieces), [None] * len(pieces))
        return found
    for number, piece in enumerate(pieces):
        try:
            _check(parse_text(piece))
        except RejectedError as error:
            first = first or (number, error.reason)
            found.quarantine(piece, error.reason, door=door)
        else:
            found.add(piece, None, None, door=door)
    if first is not None and found.n_items == sum(
        1 for reason in found.quarantined if reason not in {None, "oversized"}
    ):
        raise RejectedError(first[1], field="event", column=first[0])
    if not found.n_items:
        raise RejectedError(NO_DATA, field="body")
    return found


def _are_events(pieces: list[bytes]) -> bool:
    documents = good_objects(pieces)
    if documents is None:
        return False
    events = [document.get("event") for document in documents]
    return None not in events and "" not in events


def _check(document: object) -> None:
    if type(document) is not dict:
        raise RejectedError("expected an object", field="event")
    event = document.get("event")
    if event is None:
        raise RejectedError(MISSING, field="event")
    if event == "":
        raise RejectedError(BLANK, field="event")


def decode_hec_raw(body: bytes, meta: Mapping[str, str], *, door: str) -> Records:
    """The lines of a body of `/services/collector/raw`; `meta` may hold time, host, source, sourcetype, index."""
    found = Records()
    known = {name: meta[name] for name in ("time", "host", "source", "sourcetype", "index") if meta.get(name)}
    for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        text = line.rstrip(b"\r")
        if not text.strip():
            continue
        try:
            record = orjson.dumps({**known, "event": text.decode()})
        except UnicodeDecodeError:
            found.quarantine(text, "not UTF-8", door=door)
            continue
        if len(record) > RECORD_BYTES_MAX:
            found.quarantine(text, "oversized", door=door)
        else:
            found.add(record, None, None, door=door)
    if not found.n_items:
        raise RejectedError(NO_DATA, field="body")
    return found
