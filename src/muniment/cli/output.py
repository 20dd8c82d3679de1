"""What the command line prints: tables for people, JSON for programs; log text can never steer a terminal."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "bytes_text",
    "console",
    "event_cells",
    "inert",
    "key_values",
    "notes",
    "print_events",
    "print_json",
    "print_table",
    "progress_bar",
    "short_time",
    "span_text",
]

_PIPE_WIDTH = 1_000
"""A pipe has no edge: nothing is cut there."""

console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH)
notes = Console(stderr=True, highlight=False, soft_wrap=True)

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
    """UTC from RFC 3339 text or UTC nanoseconds, to the second."""
    if isinstance(value, int):
        return f"{datetime.fromtimestamp(value / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
    return inert(str(value))[:19].replace("T", " ")


def print_table(names: Sequence[str], rows: Iterable[Sequence[Text | str]], below: Sequence[str] = ()) -> None:
    """A table whose rows are one line each: no line is longer than the terminal, times and numbers are never cut.

    What does not fit is taken from the widest of the columns that may be cut, which then end with an ellipsis. On a narrow
    terminal the columns of `below` stand on a second line instead.
    """
    cells = [[each if isinstance(each, Text) else Text(each) for each in row] for row in rows]
    widths = [max(len(name), *(row[k].cell_len for row in cells), 0) for k, name in enumerate(names)]
    while sum(widths) + len(names) - 1 > console.width:
        widest = max((k for k, name in enumerate(names) if name not in _WHOLE), key=lambda k: widths[k], default=None)
        if widest is None or widths[widest] <= _CELL_MIN:
            break
        widths[widest] -= 1
    if (
        below
        and console.width < _WIDE
        and any(row[k].cell_len > width for row in cells for k, width in enumerate(widths))
    ):
        _print_folded(names, cells, below)
        return
    _print_row([Text(name, style="bold") for name in names], names, widths)
    for row in cells:
        _print_row(row, names, widths)


def _print_folded(names: Sequence[str], cells: Sequence[Sequence[Text]], below: Sequence[str]) -> None:
    """The columns that are `below` under those that are not, each with its name."""
    above = [k for k, name in enumerate(names) if name not in below]
    for n, row in enumerate(cells):
        told = [(names.index(name), name) for name in below]
        line = "; ".join(f"{name} {_short(row[k])}" for k, name in told if row[k].plain)
        widths = [max(len(names[k]), *(each[k].cell_len for each in cells)) for k in above]
        spare = console.width - sum(widths) - len(above) + 1
        for place, k in enumerate(above):
            if spare < 0 and names[k] not in _WHOLE:
                widths[place], spare = max(_CELL_MIN, widths[place] + spare), 0
        if n == 0:
            _print_row([Text(names[k], style="bold") for k in above], [names[k] for k in above], widths)
        _print_row([row[k] for k in above], [names[k] for k in above], widths)
        for part in Text(line, style="dim").wrap(console, console.width - 2) if line else ():
            part.rstrip()
            console.print(Text("  ").append_text(part), soft_wrap=True)


def _short(cell: Text) -> str:
    cell = cell.copy()
    cell.truncate(_BELOW_MAX, overflow="ellipsis")
    return cell.plain


def _print_row(row: Sequence[Text], names: Sequence[str], widths: Sequence[int]) -> None:
    for cell, name, width in zip(row, names, widths, strict=True):
        cell.truncate(width, overflow="ellipsis")
        if name in _NUMBERS:
            cell.pad_left(width - cell.cell_len)
        else:
            cell.pad_right(width - cell.cell_len)
    line = Text(" ").join(row)
    line.rstrip()
    console.print(line, soft_wrap=True)


_WHOLE = {"time", "when", "level", "made", "last heard", "id", "outcome", "index", "received", "bad", "state", "last", "delivered", "kind", "until", "tries", "put", "asked", "notice",
          "refused"}  # fmt: skip
"""Columns that are of no use when cut."""

_NUMBERS = {"index", "received", "bad", "events", "seen", "day", "month", "delivered", "refused", "tries"}
_CELL_MIN = 5
_BELOW_MAX = 60


def print_events(rows: Iterable[Mapping[str, Any]]) -> None:
    """The usual view of events: when, who, what, on what, outcome, from where, which system, and the number to show."""
    rows = list(rows)
    is_wide = console.width >= _WIDE
    one_source = len({row.get("source") for row in rows}) <= 1
    names = ["time", "who", "action", "target", "outcome", *(["from"] if is_wide else []),
             *(["source"] if is_wide or not one_source else []), "index"]  # fmt: skip
    print_table(names, [[event_cells(row)[name] for name in names] for row in rows])


_WIDE = 100
"""From this width on a line also says from where and which system."""


def event_cells(row: Mapping[str, Any]) -> dict[str, Text]:
    """One event as the cells of a line."""
    outcome = str(row.get("outcome", ""))
    who = row.get("actor_name") or row.get("actor_email") or row.get("actor_id") or ""
    target = row.get("target_name") or row.get("target_id") or ""
    if not target and not row.get("action"):  # a line of text that says no more than it says
        target = str(row.get("message", "")).strip()
    return {
        "time": Text(short_time(row.get("time", ""))),
        "who": Text(inert(who), style="bold"),
        "action": Text(inert(row.get("action", ""))),
        "target": Text(inert(target)),
        "outcome": Text(inert(outcome), style=_OUTCOME_STYLE.get(outcome, "")),
        "from": Text(_plain_ip(row.get("src_ip", ""))),
        "source": Text(inert(row.get("source", ""))),
        "index": Text(str(row.get("index", "")), style="dim"),
    }


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


def bytes_text(count: int) -> str:
    """A number of bytes as people say it."""
    size, unit = float(count), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def span_text(seconds: int) -> str:
    """A span of time in its two largest units."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def progress_bar(is_wanted: bool, *, is_bytes: bool = False) -> Progress:
    """A progress bar on standard error, on a terminal only; gone when the work is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    middle = [TextColumn("{task.completed:,.0f} bytes")] if is_bytes else [BarColumn(), MofNCompleteColumn()]
    columns = (TextColumn("{task.description}"), *middle, TimeElapsedColumn())
    return Progress(*columns, console=notes, transient=True, disable=not is_wanted or not notes.is_terminal)
