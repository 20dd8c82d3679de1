"""JSON bodies to records: one object, an array, NDJSON, objects written one after the other, or a vendor's list (`listing`).

Pure; the body decides, not the Content-Type. Every event keeps its bytes as sent. The verdict on a text is the same
behind every door (RFC 8259, and I-JSON where RFC 8259 leaves it open), because two readers of one sealed record must
not see two different events:

- refused: bytes that are not UTF-8, UTF-16, NaN and Infinity, numbers beyond a double, lone surrogates, raw control
  characters, a key twice in one object, nesting beyond JSON_DEPTH_MAX, anything after the value, not an object;
- accepted: a UTF-8 byte order mark before the body (skipped), any whitespace RFC 8259 knows, blank lines, NUL escaped
  as \\u0000, whole numbers beyond 64 bits (the bytes are kept; searching sees a double).

A refused event inside a body that holds at least one good event is quarantined; a body without any is refused whole.

Cost, 720-byte events: about 3.5 us each. Reading with orjson and writing again (0.4 us) finds doubled keys without
a Python-level walk: if compact text survives the round trip unchanged, no key was lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from operator import methodcaller
from typing import Any, Final

import msgspec
import orjson

from muniment.errors import RejectedError
from muniment.limits import JSON_DEPTH_MAX, RECORD_BYTES_MAX
from muniment.wire.listing import listed
from muniment.wire.records import Records, producer_id

__all__ = ["check_texts", "decode_body", "good_objects", "parse_text", "split_body", "split_objects", "unmark"]

_CHUNK: Final = 512
_WHITESPACE: Final = b" \t\r\n"
_SQ_MAX: Final = 2**63 - 1
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BRACES = methodcaller("count", b"{")
_BRACKETS = methodcaller("count", b"[")
_SPACE = re.compile(r"[ \t\r\n]*")


def decode_body(body: bytes, *, door: str) -> Records:
    """The events of one request body.

    Raises:
        RejectedError: no event in it was understood; `.reason` says why the first was not.
    """
    text = unmark(body)
    found = Records()
    first_reason = _take(found, _elements(text), door)
    if found.n_items == found.n_quarantined:
        raise RejectedError(first_reason or "no event in the body", field="body")
    return found


def split_body(body: bytes) -> Sequence[bytes]:
    """The pieces of a body, cut where its events end; each, and blank ones, still to be judged.

    Raises:
        RejectedError: nothing in it, or not UTF-8 but UTF-16 or UTF-32.
    """
    return _elements(unmark(body))


def _elements(text: bytes) -> Sequence[bytes]:
    if text[:1] == b"[":
        try:
            return [bytes(raw).strip(_WHITESPACE) for raw in _ARRAY.decode(text)]
        except (msgspec.DecodeError, RecursionError):
            pass  # lines that are arrays, or an array cut short: the lines are judged one by one
    lines = (text.replace(b"\r\n", b"\n") if b"\r" in text else text).split(b"\n")
    if _is_good(lines[0].strip(_WHITESPACE)):
        return lines
    pieces = split_objects(text)
    return pieces if _is_good(pieces[0]) else lines


def _is_good(text: bytes) -> bool:
    return check_texts([text]) == [None]


def unmark(body: bytes) -> bytes:
    """`body` without a byte order mark and outer whitespace.

    Raises:
        RejectedError: nothing is left, or it is UTF-16 or UTF-32.
    """
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    elif body[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in body[:4]:
        raise RejectedError("expected UTF-8, got UTF-16 or UTF-32", field="body")
    text = body.strip(_WHITESPACE)
    if not text:
        raise RejectedError("no event in the body", field="body")
    return text


def _take(found: Records, elements: Sequence[bytes], door: str) -> str | None:
    """Add every non-blank element to `found`; answers the first reason something was not understood."""
    first_reason = None
    for start in range(0, len(elements), _CHUNK):
        chunk: Sequence[bytes] = elements[start : start + _CHUNK]
        fast = _fast(chunk)
        if fast is not None:
            found.add_all(chunk, *fast)
            continue
        for line in chunk:
            text = line.strip(_WHITESPACE)
            if not text:
                continue
            try:
                document = parse_text(text)
                if type(document) is not dict:
                    raise RejectedError("expected an object", field="event")
            except RejectedError as error:
                first_reason = first_reason or error.reason
                found.quarantine(text, error.reason, door=door)
                continue
            if pieces := listed(document, text):
                first_reason = _take(found, pieces, door) or first_reason
            else:
                found.add(text, producer_id(document.get("id")), _counter(document.get("sq")), door=door)
    return first_reason


def _fast(chunk: Sequence[bytes]) -> tuple[list[str | None], list[int | None]] | None:
    """Ids and counters of a chunk in which every line is one plain good event; None: look at each line."""
    documents = good_objects(chunk)
    if documents is None or any(map(listed, documents, chunk)):
        return None
    ids = [document.get("id") for document in documents]
    sqs = [document.get("sq") for document in documents]
    return (
        [None if value is None else producer_id(value) for value in ids],
        [None if value is None else _counter(value) for value in sqs],
    )


def good_objects(chunk: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The objects of a chunk in which every text is one good object within bounds, without whitespace around.

    None means: look at each. It says nothing bad about any of them.
    """
    try:
        documents = list(map(orjson.loads, chunk))
        written = list(map(orjson.dumps, documents))
    except (orjson.JSONDecodeError, TypeError, RecursionError):
        return None
    # Text that survives reading and writing is strict and has no key twice. Left: an object, depth, size.
    if written != chunk and written != [_squeezed(line) for line in chunk]:
        return None
    if set(map(type, documents)) - {dict} or max(map(len, chunk), default=0) > RECORD_BYTES_MAX:
        return None
    if max(map(_BRACES, chunk), default=0) + max(map(_BRACKETS, chunk), default=0) > JSON_DEPTH_MAX:
        return None
    return documents


def _squeezed(text: bytes) -> bytes:
    """`text` without the spaces many writers put after colons and commas; never equal to a text that lost a key."""
    return text.replace(b'": ', b'":').replace(b", ", b",")


def _counter(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _SQ_MAX else None


def check_texts(texts: Sequence[bytes]) -> list[str | None]:
    """For each text: None if it is one good JSON object, else the reason it is not."""
    reasons: list[str | None] = []
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        if _fast(chunk) is not None:
            reasons.extend([None] * len(chunk))
            continue
        for text in chunk:
            try:
                reasons.append(None if type(parse_text(text)) is dict else "expected an object")
            except RejectedError as error:
                reasons.append(error.reason)
    return reasons


def parse_text(text: bytes) -> Any:
    """The value of one JSON text, under the strict verdict of this module.

    Raises:
        RejectedError: `.reason` is a short stable sentence, `.column` the byte where reading stopped, if known.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RejectedError(_reason(str(error), text), field="event", column=error.colno) from None
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH_MAX and _is_deep(document):
        raise RejectedError(f"nested deeper than {JSON_DEPTH_MAX}", field="event")
    written = orjson.dumps(document)
    if written != text and written != _squeezed(text):
        _refuse_doubled_keys(text)
    return document


def _reason(message: str, text: bytes) -> str:
    if "UTF-8" in message:
        return "not UTF-8"
    if "surrogate" in message:
        return "lone surrogate"
    if "infinity" in message:
        return "number beyond a double"
    if "depth" in message or "recursion" in message:
        return f"nested deeper than {JSON_DEPTH_MAX}"
    return "not JSON: " + message.partition(": line ")[0] if text else "no event in the body"


def _is_deep(document: object) -> bool:
    level = [document]
    for _ in range(JSON_DEPTH_MAX):
        level = [
            child
            for value in level
            if isinstance(value, (dict, list))
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise RejectedError("a key stands twice in one object", field="event")


# Numbers stay text: Python refuses to convert very long ones, and their value does not matter here.
_DOUBLED = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=len, parse_float=len)


def _refuse_doubled_keys(text: bytes) -> None:
    _DOUBLED.decode(text.decode())


def split_objects(text: bytes) -> list[bytes]:
    """The texts of JSON values written one after the other, with or without whitespace between them.

    The last piece is what could not be told apart. Strictness is for the caller: pieces are only boundaries.
    """
    # A line break put between "}{" inside a string makes that string invalid, so if every line is a good object,
    # the cut was right. This is the usual case, at the speed of the line reader.
    lines = [line for line in text.replace(b"}{", b"}\n{").split(b"\n") if line.strip(_WHITESPACE)]
    if all(good_objects(lines[at : at + _CHUNK]) is not None for at in range(0, len(lines), _CHUNK)):
        return lines
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        return [line for line in text.split(b"\n") if line.strip(_WHITESPACE)]
    pieces = []
    at = 0
    while at < len(characters):
        try:
            _, end = _BOUNDARY.raw_decode(characters, at)
        except (ValueError, RecursionError):
            pieces.append(characters[at:].encode())
            break
        pieces.append(characters[at:end].encode())
        at = _SPACE.match(characters, end).end()  # type: ignore[union-attr]  # the pattern matches the empty string
    return pieces


_BOUNDARY = json.JSONDecoder(parse_int=len, parse_float=len)
