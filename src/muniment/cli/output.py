"""What the command line prints: tables for people, JSON for programs; log text can never steer a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["console", "event_table", "inert", "key_values", "notes", "print_json", "short_time"]

console = Console(highlight=False, soft_wrap=False)
notes = Console(stderr=True, highlight=False)

_OUTCOME_STYLE = {"success": "green", "failure": "bold red", "unknown": "dim"}


def inert(value: object) -> str:
    """`value` as text without control, escape or bidirectional characters; those are shown as escapes (S1).

    >>> inert("a\\x1b[31mb\\u202ec")
    'a\\\\x1b[31mb\\\\u202ec'
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(
        char
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else char.encode("unicode_escape").decode()
        for char in text
    )


def print_json(value: object) -> None:
    """One JSON value on standard output, keys as they are, safe for pipes."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, default=str) + "\n")


def short_time(value: object) -> str:
    """UTC with milliseconds from RFC 3339 text or UTC nanoseconds."""
    if isinstance(value, int):
        return f"{datetime.fromtimestamp(value / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
    return inert(str(value))[:23].replace("T", " ")


def event_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The usual view of events: when, who, what, on what, outcome, from where, which system."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in ("index", "time", "who", "action", "target", "outcome", "from", "source"):
        table.add_column(name, justify="right" if name == "index" else "left", no_wrap=name in {"index", "time"})
    for row in rows:
        outcome = str(row.get("outcome", ""))
        who = row.get("actor_name") or row.get("actor_email") or row.get("actor_id") or ""
        target = row.get("target_name") or row.get("target_id") or ""
        table.add_row(
            str(row.get("index", "")),
            short_time(row.get("time", "")),
            Text(inert(who)),
            Text(inert(row.get("action", ""))),
            Text(inert(target)),
            Text(outcome, style=_OUTCOME_STYLE.get(outcome, "")),
            Text(_plain_ip(row.get("src_ip", ""))),
            Text(inert(row.get("source", ""))),
        )
    return table


def key_values(pairs: Sequence[tuple[str, object]]) -> Table:
    """A quiet two-column list."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in pairs:
        table.add_row(name, Text(inert(value)))
    return table


def _plain_ip(value: object) -> str:
    text = inert(value)
    return "" if text in {"::", "::ffff:0.0.0.0"} else text.removeprefix("::ffff:")
