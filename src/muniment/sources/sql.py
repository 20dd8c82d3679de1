"""Quoting of literals and names for the SQL the compiler writes. Pure; the only place that knows the escapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["EMPTY", "array", "first_filled", "literal", "quote", "quote_name"]

EMPTY: Final = "''"
"""What is written for a text that cannot be there."""


def quote(text: str) -> str:
    r"""A ClickHouse string literal.

    >>> print(quote("it's \\d"))
    'it\'s \\d'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\0", "\\0")
    return f"'{escaped}'"


def quote_name(name: str) -> str:
    """A ClickHouse identifier, always in backquotes."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value: str | int) -> str:
    """A literal of either type."""
    return str(value) if isinstance(value, int) else quote(value)


def array(values: Sequence[str] | Sequence[int]) -> str:
    """An array literal."""
    return f"[{', '.join(map(literal, values))}]"


def first_filled(values: Sequence[str]) -> str:
    """The first String expression that is not ''. Each is written once: the engine plans every mention.

    >>> first_filled(["a", EMPTY, "b"])
    'firstNonDefault(a, b)'
    """
    values = [value for value in values if value != EMPTY] or [EMPTY]
    return values[0] if len(values) == 1 else f"firstNonDefault({', '.join(values)})"
