"""Rows of the store as people and programs read them: RFC 3339 times, plain addresses, text ids. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from muniment.search.columns import COLUMNS

__all__ = ["DEFAULT_COLUMNS", "as_row", "micros_text", "select_list"]

DEFAULT_COLUMNS = (
    "index", "id", "time", "received_at", "source", "action", "outcome", "severity", "message", "actor_id",
    "actor_name", "actor_email", "src_ip", "app", "dst_host", "target_type", "target_id", "target_name", "request_id",
    "late", "quarantine", "drill",
)  # fmt: skip
"""What a page of results shows when it asks for nothing particular."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros_text(micros: int) -> str:
    """RFC 3339 in UTC with six digits.

    >>> micros_text(1_000_001)
    '1970-01-01T00:00:01.000001Z'
    """
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def select_list(columns: Sequence[str]) -> str:
    """What to select so that `as_row` gets plain values: times in microseconds, addresses and ids as text."""
    return ", ".join(map(_selected, columns))


def _selected(column: str) -> str:
    kind = COLUMNS[column].kind if column in COLUMNS else "text"
    if kind == "time":
        return f"toUnixTimestamp64Micro({column}) AS us_{column}"
    if kind in ("ip", "uuid"):
        return f"toString({column}) AS text_{column}"
    return f"`{column}`"


def as_row(columns: Sequence[str], values: Sequence[Any]) -> dict[str, object]:
    """One result row as a dict."""
    row: dict[str, object] = {}
    for column, value in zip(columns, values, strict=True):
        kind = COLUMNS[column].kind if column in COLUMNS else "text"
        if kind == "time":
            row[column] = micros_text(value)
        elif kind == "ip":
            row[column] = "" if value == "::" else value.removeprefix("::ffff:") if "." in value else value
        else:
            row[column] = value if not isinstance(value, bytes) else value.decode("utf-8", "replace")
    return row
