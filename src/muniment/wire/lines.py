"""The records that a file of samples stands for: what the doors would make of its lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import orjson

from muniment.errors import RejectedError
from muniment.limits import BODY_BYTES_MAX
from muniment.wire.jsonl import parse_text, split_body, unmark
from muniment.wire.listing import listed
from muniment.wire.packed import unpacked
from muniment.wire.syslog import origin_suffix, syslog_record

__all__ = ["records_of_file", "text_of_file"]

_SYSLOG: Final = re.compile(rb"<[0-9]{1,3}>|[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)? \S+ \S")
"""How a line of syslog begins, with its priority or as a daemon writes it into a file (RFC 3164, 4.1)."""


_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
"""How a file begins that PowerShell's `>` wrote."""


def text_of_file(data: bytes) -> bytes:
    """What is in a file: unpacked when it is gzip, in UTF-8 when its mark says UTF-16. Doors take UTF-8 only.

    Raises:
        RejectedError: damaged, too much when unpacked, or no UTF-16 although its mark says so.
    """
    data = unpacked(data, BODY_BYTES_MAX)
    if data[:2] not in _UTF_16:
        return data
    try:
        return data.decode("utf-16").encode()
    except UnicodeError as error:
        raise RejectedError(f"it begins as UTF-16 does and cannot be read so: {error}") from None


def records_of_file(data: bytes) -> list[bytes]:
    """JSON objects as they are, one a line, in an array or one after another; a line of syslog as its door reads it; another
    line as those who ship files send it, in `message`.

    >>> records_of_file(b'{"a": 1}\\n203.0.113.7 - - GET /\\n')
    [b'{"a": 1}', b'{"message":"203.0.113.7 - - GET /"}']
    """
    try:
        text = unmark(data)
    except RejectedError:  # nothing, or UTF-16: the lines show it
        text = data
    pieces: Sequence[bytes] = split_body(text) if text[:1] in {b"{", b"["} else text.split(b"\n")
    suffix = origin_suffix(transport="file")
    return [_record(each, suffix) for piece in pieces if piece.strip() for each in (_listed(piece) or [piece])]


def _listed(piece: bytes) -> list[bytes]:
    """The events of a vendor's list; what is no good JSON is none."""
    if piece.lstrip()[:1] != b"{":
        return []
    try:
        found = listed(parse_text(piece.strip()), piece.strip())
    except RejectedError:
        return []
    return [event for each in found for event in (_listed(each) or [each])]


def _record(line: bytes, suffix: bytes) -> bytes:
    if line.lstrip()[:1] == b"{":
        return line
    if _SYSLOG.match(line):
        return syslog_record(line, suffix)[0]
    return orjson.dumps({"message": line.decode("utf-8", "replace").rstrip("\r")})
