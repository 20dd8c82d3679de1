"""Completion of a query being typed: field names first, then a field's values with their counts. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from muniment.search.columns import ALIASES, COLUMNS

__all__ = ["Suggestion", "field_at", "suggest"]

_LAST = re.compile(r'(?:^|[\s(])-?((?:[^\s()":]+:=?"[^"]*)|[^\s()]*)$')
_PLAIN = re.compile(r"[^\s()\"\[\]{}:*]+")
_MAX = 20


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Replace the query's characters [start, end) by `text`."""

    text: str
    kind: Literal["field", "value", "operator"]
    detail: str
    start: int
    end: int


def field_at(text: str, column: int) -> str:
    """The field whose values would be suggested at `column`; empty where field names would be, or nothing.

    >>> field_at("outcome:failure actor:an", 24), field_at("acto", 4)
    ('actor', '')
    """
    found = _LAST.search(text[: max(0, column)])
    name, colon, _ = (found[1] if found else "").partition(":")
    known = name.lower()
    return known if colon and (known in COLUMNS or known in ALIASES) else ""


def suggest(text: str, column: int, counted: Callable[[str], list[tuple[str, int]]]) -> list[Suggestion]:
    """Suggestions for the word that ends at `column`; `counted` gives a column's values and how often each occurs."""
    column = max(0, min(column, len(text)))
    found = _LAST.search(text[:column])
    word = found[1] if found else ""
    start = column - len(word)
    name, colon, typed = word.partition(":")
    if not colon:
        return _fields(word, start, column)
    known = name.lower()
    if known not in COLUMNS and known not in ALIASES:
        return []
    value_start = start + len(name) + 1 + (1 if typed.startswith("=") else 0)
    wanted = typed.lstrip('="').lower()
    values: list[tuple[str, int]] = []
    for each in (known,) if known in COLUMNS else ALIASES[known]:
        if COLUMNS[each].kind in ("text", "ip", "number", "bool"):
            values += counted(each)
    ranked = sorted(
        (pair for pair in dict(values).items() if wanted in pair[0].lower()),
        key=lambda pair: (not pair[0].lower().startswith(wanted), -pair[1], pair[0]),
    )
    return [Suggestion(_quoted(v), "value", f"{n:,}", value_start, column) for v, n in ranked[:_MAX]]


def _fields(word: str, start: int, end: int) -> list[Suggestion]:
    names = {name: column.words for name, column in COLUMNS.items()}
    names |= {alias: "any of " + ", ".join(columns) for alias, columns in ALIASES.items()}
    lowered = word.lower()
    ranked = sorted((name for name in names if lowered in name), key=lambda name: (not name.startswith(lowered), name))
    return [Suggestion(f"{name}:", "field", names[name], start, end) for name in ranked[:_MAX]]


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value) and not value.startswith(("-", "/", "=", "<", ">")):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
