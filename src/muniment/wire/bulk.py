"""Elasticsearch `_bulk` bodies to records: lines of actions, each `index` or `create` followed by its document.

Pure. Blank lines between are skipped (rsyslog sends them). The document line is the record as sent; `_id` is the
producer's event id. A document that is no JSON object is quarantined and counts as received. An action line that
cannot be read leaves no way to tell documents from actions, so the whole body is refused, as Elasticsearch does; other
keys beside the action are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from muniment.errors import RejectedError
from muniment.limits import PRODUCER_ID_CHARS_MAX, RECORD_BYTES_MAX
from muniment.wire.jsonl import check_texts, unmark
from muniment.wire.records import Records, producer_id

__all__ = ["BulkItem", "BulkRequest", "decode_bulk"]

_WHITESPACE = b" \t\r"
_ACTIONS = {"index", "create", "update", "delete"}


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One action. `item` is the number of its event in the records, or None: `update` and `delete` store nothing."""

    action: str
    index: str
    event_id: str | None
    item: int | None


@dataclass(slots=True)
class BulkRequest:
    """All actions of a body in order, and the records of those that store something."""

    items: list[BulkItem] = field(default_factory=list)
    found: Records = field(default_factory=Records)


def decode_bulk(body: bytes, *, door: str, default_index: str = "") -> BulkRequest:
    """The actions of one body; `default_index` comes from the path.

    Raises:
        RejectedError: no action in it, or an action line that cannot be read; `.field` names the line.
    """
    request = BulkRequest()
    lines = unmark(body).split(b"\n")
    documents: list[bytes] = []
    pending: tuple[str, str, str | None] | None = None
    known: dict[bytes, tuple[str, str, str | None]] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip(_WHITESPACE)
        if not text:
            continue
        if pending is not None:
            action, index, event_id = pending
            pending = None
            if action == "update":
                request.items.append(BulkItem(action, index, event_id, None))
                continue
            request.items.append(BulkItem(action, index, event_id, len(documents)))
            documents.append(text)
            continue
        parsed = known.get(text)
        if parsed is None:
            parsed = _action(text, number, default_index)
            if parsed[2] is None:
                known[text] = parsed  # without an id, the same line comes again and again
        if parsed[0] == "delete":
            request.items.append(BulkItem(*parsed, None))
        else:
            pending = parsed
    if pending is not None:
        raise RejectedError("the last action has no document", field="body")
    _fill(request, documents, door)
    return request


def _action(text: bytes, number: int, default_index: str) -> tuple[str, str, str | None]:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        line = None
    actions = _ACTIONS & line.keys() if type(line) is dict else set()  # winston-elasticsearch adds keys of its own
    if len(actions) != 1 or type(meta := line[action := actions.pop()]) is not dict:
        raise RejectedError(
            "malformed action/metadata line, expected one of index, create, update, delete", field=f"line {number}"
        )
    index = meta.get("_index")
    event_id = producer_id(meta.get("_id"))
    if event_id is None and meta.get("_id") not in {None, ""}:
        raise RejectedError(f"_id: expected up to {PRODUCER_ID_CHARS_MAX} characters", field=f"line {number}")
    return action, index if type(index) is str and index else default_index, event_id


def _fill(request: BulkRequest, documents: list[bytes], door: str) -> None:
    ids = [item.event_id for item in request.items if item.item is not None]
    reasons = check_texts(documents)
    if not any(reasons) and max(map(len, documents), default=0) <= RECORD_BYTES_MAX:
        request.found.add_all(documents, ids, [None] * len(documents))
        return
    for text, event_id, reason in zip(documents, ids, reasons, strict=True):
        if reason is None:
            request.found.add(text, event_id, None, door=door)
        else:
            request.found.quarantine(text, reason, door=door, event_id=event_id)
