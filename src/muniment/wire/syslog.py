"""Syslog messages as records: one JSON object text per message, the bytes as received inside.

For any bytes the outcome is one record; nothing is refused here. What the message says of itself stands under
`syslog` (see `wire.syslog_header`); `raw` (or `raw_b64` when it is not UTF-8) is exact. Bytes that are no text and
have no header, empty messages and pieces of damaged frames become quarantine records with a reason.

What the connection knows (transport, framing, peer, TLS subject) is the same for every message of it, so it is
encoded once, by `origin_suffix`, and appended.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson

from muniment.limits import RECORD_BYTES_MAX
from muniment.wire.syslog_header import Header, parse_header

__all__ = ["FACILITIES", "SEVERITIES", "origin_suffix", "quarantine_record", "syslog_record"]

FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
SEVERITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_TRAILERS: Final = b"\n\r\0"
_NOT_TEXT: Final = frozenset(map(chr, range(32))) - {"\t", "\n", "\r"}


def origin_suffix(
    *, transport: str, framing: str = "", peer: str = "", tls_subject: str = "", listener: str = ""
) -> bytes:
    """The end of each record of one connection, from the comma to the closing brace; empty words are left out.

    >>> origin_suffix(transport="udp", peer="10.0.0.1")
    b',"transport":"udp","peer":"10.0.0.1"}'
    """
    words = {"transport": transport, "framing": framing, "peer": peer, "tls_subject": tls_subject, "listener": listener}
    return b"," + orjson.dumps({name: word for name, word in words.items() if word})[1:]


def syslog_record(data: bytes, suffix: bytes) -> tuple[bytes, str | None]:
    """The record of one message and, when it could not be understood, the reason of its quarantine.

    `data` is the message without its framing; `suffix` comes from `origin_suffix`.
    """
    try:
        text = data.decode()
        is_utf8 = True
    except UnicodeDecodeError:
        text = data.decode("utf-8", "backslashreplace")
        is_utf8 = False
    body = text.rstrip("\n\r\0") if data[-1:] in _TRAILERS else text
    if not body:
        return quarantine_record(data, "empty", suffix), "empty"
    head = parse_header(body)
    if head.pri is None and head.timestamp is None and (not is_utf8 or not _NOT_TEXT.isdisjoint(body)):
        return quarantine_record(data, "not_text", suffix), "not_text"
    fields = _fields(head)
    if is_utf8:
        raw = b',"raw":' + orjson.dumps(text)
    else:
        fields["deviations"] = [*head.deviations, "encoding"]
        raw = b',"raw_b64":"' + base64.b64encode(data) + b'"'
    record = b'{"syslog":' + orjson.dumps(fields) + raw + suffix
    if len(record) > RECORD_BYTES_MAX:  # control characters take six bytes in JSON, twice
        return quarantine_record(data, "record_too_large", suffix), "record_too_large"
    return record, None


def _fields(head: Header) -> dict[str, Any]:
    pri = head.pri
    severity = head.severity if pri is None else pri & 7
    fields: dict[str, Any] = {
        "facility": None if pri is None else FACILITIES[pri >> 3],
        "severity": None if severity is None else SEVERITIES[severity],
        "pri": pri,
        "version": head.version,
        "timestamp": head.timestamp,
        "hostname": head.hostname,
        "app": head.app,
        "procid": head.procid,
        "msgid": head.msgid,
        "sd": head.sd,
        "message": head.message,
    }
    if head.sequence is not None:
        fields["sequence"] = head.sequence
    if head.deviations:
        fields["deviations"] = head.deviations
    return fields


def quarantine_record(data: bytes, reason: str, suffix: bytes, *, part: int = 0) -> bytes:
    """The record of bytes that were not understood, kept exactly; `part` counts the pieces of one damaged frame."""
    about: dict[str, Any] = {"reason": reason, "door": "syslog"}
    if part:
        about["part"] = part
    head = b'{"$quarantine":' + orjson.dumps(about)
    try:
        raw = b',"$raw":' + orjson.dumps(data.decode())
    except UnicodeDecodeError:
        raw = b""
    if not raw or len(raw) > 2 * len(data) + 64:
        raw = b',"$raw_b64":"' + base64.b64encode(data) + b'"'
    return head + raw + suffix
