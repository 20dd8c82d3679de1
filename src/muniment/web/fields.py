"""The fields people see: their words, how a query names them, and how their values are set. One row a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_COLUMNS", "FACETS", "FIELDS", "GROUPS", "PINNABLE", "ROW_COLUMNS", "Field", "field_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """`column`: name in the store. `query`: name in a query. `style`: text, mono, time, number or json."""

    column: str
    label: str
    group: str
    query: str = ""
    style: str = "text"
    is_filter: bool = True


_ROWS: Final = (
    Field("time", "Time", "When", style="time", is_filter=False),
    Field("received_at", "Received", "When", style="time", is_filter=False),
    Field("late", "Late", "When", style="mono"),
    Field("actor_name", "Actor", "Who"),
    Field("actor_email", "Actor e-mail", "Who"),
    Field("actor_id", "Actor id", "Who", style="mono"),
    Field("actor_type", "Actor type", "Who"),
    Field("on_behalf_of", "On behalf of", "Who"),
    Field("session_id", "Session", "Who", style="mono"),
    Field("action", "Action", "What", style="mono"),
    Field("activity_name", "Activity", "What"),
    Field("class_name", "Class", "What"),
    Field("severity", "Severity", "What"),
    Field("target_name", "Target", "On what"),
    Field("target_type", "Target type", "On what"),
    Field("target_id", "Target id", "On what", style="mono"),
    Field("src_ip", "IP address", "Where", "ip", "mono"),
    Field("src_country", "Country", "Where"),
    Field("user_agent", "User agent", "Where"),
    Field("device_name", "Device", "Where"),
    Field("device_id", "Device id", "Where", style="mono"),
    Field("dst_host", "System", "Where", style="mono"),
    Field("app", "Application", "Where"),
    Field("source", "Source", "Where", style="mono"),
    Field("format", "Format", "Where", style="mono"),
    Field("outcome", "Outcome", "Outcome"),
    Field("status_detail", "Detail", "Outcome"),
    Field("message", "Message", "Outcome", is_filter=False),
    Field("quarantine", "Quarantine", "Outcome"),
    Field("drill", "Drill", "Outcome", style="mono"),
    Field("reason", "Reason", "Why"),
    Field("request_id", "Request", "Why", style="mono"),
    Field("trace_id", "Trace", "Why", style="mono"),
    Field("index", "Index", "Record", style="number"),
    Field("id", "Event id", "Record", style="mono"),
    Field("class_uid", "Class uid", "Record", style="number"),
    Field("activity_id", "Activity id", "Record", style="number"),
    Field("severity_id", "Severity id", "Record", style="number"),
)
FIELDS: Final = {row.column: row for row in _ROWS}
"""In reading order."""

GROUPS: Final = ("Who", "What", "On what", "When", "Where", "Outcome", "Why", "Record")

FACETS: Final = (
    "outcome",
    "action",
    "actor_name",
    "source",
    "src_ip",
    "target_type",
    "src_country",
    "severity",
    "class_name",
)

PINNABLE: Final = tuple(
    row.column for row in _ROWS if row.is_filter and row.style in {"text", "mono"} and row.column not in {"id", "late"}
)
"""Fields whose values can be counted for the list beside the rows."""

DEFAULT_COLUMNS: Final = ("actor_name", "action", "src_ip", "source")

ROW_COLUMNS: Final = (
    "index", "time", "source", "actor_name", "actor_id", "actor_email", "actor_type", "on_behalf_of", "action",
    "activity_name", "class_name", "outcome", "status_detail", "message", "target_type", "target_name", "target_id",
    "src_ip", "dst_host", "app", "quarantine", "drill", "severity", "late",
)  # fmt: skip
"""What a row's sentence is made of."""


def field_of(column: str) -> Field:
    """The row of a column; one not in the table is shown under its own name."""
    return FIELDS.get(column) or Field(column, column.replace("_", " ").capitalize(), "Record")
