"""The columns of `events`: type, codec, what people may call them, and how the query language treats each. Pure.

One row per column is the single place that says it; the table, the projector, the language, the completion and the
exports read this list. Never NULL: '' or 0 where a source says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ALIASES", "COLUMNS", "RESTORED", "TEXT_COLUMNS", "Column", "Kind", "address_sql"]

Kind = Literal["text", "number", "bool", "time", "ip", "uuid"]


@dataclass(frozen=True, slots=True)
class Column:
    """One typed column. `is_few`: so few values that completion and facets may list them."""

    name: str
    kind: Kind
    sql_type: str
    words: str
    codec: str = ""
    is_few: bool = False


def _few(name: str, words: str) -> Column:
    return Column(name, "text", "LowCardinality(String)", words, "ZSTD(1)", is_few=True)


def _text(name: str, words: str) -> Column:
    return Column(name, "text", "String", words, "ZSTD(1)")


def _number(name: str, sql_type: str, words: str) -> Column:
    return Column(name, "number", sql_type, words, "ZSTD(1)", is_few=True)


def address_sql(sql: str) -> str:
    """The text of an IPv6 value, of IPv4 as such. `::ffff:` also stands within addresses that are none of IPv4 (`2001:db8::ffff:1`)."""
    return (
        f"if({sql} BETWEEN toIPv6('::ffff:0.0.0.0') AND toIPv6('::ffff:255.255.255.255'), "
        f"substring(IPv6NumToString({sql}), 8), IPv6NumToString({sql}))"
    )


_TIME = "DateTime64(6, 'UTC')"

COLUMNS: Final[Mapping[str, Column]] = {
    column.name: column
    for column in (
        Column("index", "number", "UInt64", "place in the ledger", "Delta, LZ4"),
        Column("id", "uuid", "UUID", "id of the record", "ZSTD(1)"),
        _few("source", "the sender, from its credential"),
        _few("format", "the catalogue entry that mapped it"),
        Column("time", "time", _TIME, "when it happened, as the source says", "Delta, ZSTD(1)"),
        Column("received_at", "time", _TIME, "when we received it", "Delta, ZSTD(1)"),
        Column("late", "bool", "Bool", "told more than five minutes after it happened", is_few=True),
        _number("class_uid", "UInt32", "OCSF class"),
        _few("class_name", "OCSF class in words"),
        _number("category_uid", "UInt32", "OCSF category"),
        _number("activity_id", "UInt32", "OCSF activity"),
        _few("activity_name", "OCSF activity in words"),
        _number("severity_id", "UInt32", "OCSF severity"),
        _few("severity", "severity in words"),
        _few("action", "what was done: noun.verb"),
        _few("outcome", "success, failure or unknown"),
        _few("status_detail", "why it ended so"),
        Column("message", "text", "String", "the event in a sentence", "ZSTD(3)"),
        _few("actor_id", "who did it: id"),
        _few("actor_name", "who did it: name"),
        _few("actor_email", "who did it: address"),
        _few("actor_type", "user, service, system"),
        _few("on_behalf_of", "for whom it was done"),
        _text("session_id", "session"),
        Column("src_ip", "ip", "IPv6", "address it came from", "LZ4"),
        _few("src_country", "country of that address"),
        _few("user_agent", "client program"),
        _few("device_id", "device"),
        _few("device_name", "device name"),
        _few("dst_host", "the system it happened on"),
        _few("app", "the application"),
        _few("target_type", "kind of thing it was done to"),
        _text("target_id", "thing it was done to: id"),
        _text("target_name", "thing it was done to: name"),
        _text("request_id", "request"),
        _text("trace_id", "trace"),
        _text("reason", "purpose or ticket"),
        _text("changes_before", "state before (JSON)"),
        _text("changes_after", "state after (JSON)"),
        _few("quarantine", "why it was not understood; empty when it was"),
        _few("drill", "training drill it belongs to; empty when real"),
    )
}

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "actor": ("actor_id", "actor_name", "actor_email"),
    "user": ("actor_id", "actor_name", "actor_email"),
    "ip": ("src_ip",),
    "target": ("target_id", "target_name", "target_type"),
    "host": ("dst_host",),
    "device": ("device_id", "device_name"),
    "session": ("session_id",),
    "country": ("src_country",),
    "agent": ("user_agent",),
    "occurred_at": ("time",),
    "class": ("class_name",),
    "activity": ("activity_name",),
    "request": ("request_id",),
    "trace": ("trace_id",),
}
"""What people say, and the columns meant; any of them may match."""

RESTORED: Final[Mapping[str, str]] = {
    "message": "message",
    "user_agent": "toString(user_agent)",
    "request_id": "request_id",
    "trace_id": "trace_id",
    "target_id": "target_id",
    "target_name": "target_name",
    "actor_email": "toString(actor_email)",
    "session_id": "session_id",
    "changes_before": "changes_before",
    "changes_after": "changes_after",
    "id": "toString(id)",
    "time": "formatDateTime(time, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC')",
    "src_ip": "replaceOne(IPv6NumToString(src_ip), '::ffff:', '')",
    "actor_id": "toString(actor_id)",
    "actor_name": "toString(actor_name)",
    "device_name": "toString(device_name)",
    "action": "toString(action)",
    "target_type": "toString(target_type)",
}
"""Columns whose text is kept once: where the record holds it in quotes, the stored rest has one control byte.

A JSON text has no raw control bytes (RFC 8259 section 7), so the bytes 1.. are free; `schema.record_sql` puts the
text back, exactly. Measured: 115 -> 17 bytes an event of 800, and less CPU than compressing it twice.
"""

TEXT_COLUMNS: Final = tuple(name for name in RESTORED if COLUMNS[name].kind == "text")
"""Columns a free word is looked for in, beside the rest of the record."""
