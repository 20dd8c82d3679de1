"""The typed columns a source can fill, with the kind of each; the vocabulary every catalogue file writes in. Pure.

`events` has more columns (index, id, source, received_at, late, quarantine, drill, record): those come from the
ledger, not from a source's mapping. A column a source does not fill is '' or 0, never NULL.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["ANY_TIME", "COLUMNS", "DERIVED", "Kind"]

Kind = Literal["text", "number", "ip", "time"]

COLUMNS: Final[dict[str, Kind]] = {
    "time": "time",
    "class_uid": "number",
    "activity_id": "number",
    "severity_id": "number",
    "action": "text",
    "outcome": "text",
    "status_detail": "text",
    "message": "text",
    "actor_id": "text",
    "actor_name": "text",
    "actor_email": "text",
    "actor_type": "text",
    "on_behalf_of": "text",
    "session_id": "text",
    "src_ip": "ip",
    "src_country": "text",
    "user_agent": "text",
    "device_id": "text",
    "device_name": "text",
    "dst_host": "text",
    "app": "text",
    "target_type": "text",
    "target_id": "text",
    "target_name": "text",
    "request_id": "text",
    "trace_id": "text",
    "reason": "text",
    "changes_before": "text",
    "changes_after": "text",
}
"""What a catalogue file may set."""

DERIVED: Final[dict[str, Kind]] = {
    "class_name": "text",
    "category_uid": "number",
    "activity_name": "text",
    "severity": "text",
}
"""What follows from the numbers by the OCSF tables (`finishing`)."""

ANY_TIME: Final = "any_time"
"""What a mapping makes in the place of `time` when old forms of a time are to be read, too."""
