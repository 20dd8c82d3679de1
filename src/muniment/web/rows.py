"""Rows as pages show them: times on the reader's clock, a sentence, chosen cells with their filter links. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from muniment.web.address import Address
from muniment.web.fields import Field, field_of
from muniment.web.sentence import Piece, sentence
from muniment.web.times import clock_text, utc_text

__all__ = ["Cell", "Row", "cell_text", "row", "rows", "time_ns"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row. `include` and `exclude` are addresses, empty where a filter makes no sense."""

    field: Field
    text: str
    include: str
    exclude: str


@dataclass(frozen=True, slots=True)
class Row:
    """One event in a table. `date` and `clock` on the reader's clock, `time` in UTC for machines."""

    index: int
    url: str
    date: str
    clock: str
    time: str
    outcome: str
    pieces: tuple[Piece, ...]
    cells: tuple[Cell, ...]
    is_late: bool
    is_drill: bool
    is_quarantined: bool


def rows(found: Sequence[Mapping[str, object]], address: Address, zone: tzinfo) -> list[Row]:
    """The rows of a page of results."""
    return [row(item, address, zone) for item in found]


def row(item: Mapping[str, object], address: Address, zone: tzinfo) -> Row:
    """One row."""
    at = time_ns(item.get("time"))
    day, _, clock = clock_text(at, zone).partition(" ")
    index = int(str(item["index"]))
    return Row(
        index,
        f"/events/{index}{address.url('')}",
        day,
        clock,
        utc_text(at),
        str(item.get("outcome") or "unknown"),
        tuple(sentence(item)),
        tuple(_cell(item, column, address, zone) for column in address.columns),
        bool(item.get("late")),
        bool(item.get("drill")),
        bool(item.get("quarantine")),
    )


def time_ns(value: object) -> int:
    """A time column, however the store hands it out: nanoseconds, a datetime, or RFC 3339 text."""
    if isinstance(value, int):
        return value
    moment = value if isinstance(value, datetime) else None
    if moment is None:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def cell_text(field: Field, value: object, zone: tzinfo) -> str:
    """A value as text; IPv4 inside IPv6 is written as IPv4."""
    if value is None or value == "":
        return ""
    if field.style == "time":
        return clock_text(time_ns(value), zone)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if field.query == "ip":
        text = text.removeprefix("::ffff:")
        return "" if text in {"::", "0.0.0.0"} else text
    return text


def _cell(item: Mapping[str, object], column: str, address: Address, zone: tzinfo) -> Cell:
    field = field_of(column)
    text = cell_text(field, item.get(column), zone)
    name = field.query or field.column
    has_filter = field.is_filter and bool(text)
    return Cell(
        field,
        text,
        address.including(name, text) if has_filter else "",
        address.excluding(name, text) if has_filter else "",
    )
