"""Quoting of literals and names for the SQL the compiler writes. Pure; the only place that knows the escapes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["array", "first_filled", "literal", "quote", "quote_name"]

_LONG_CHARS = 240
_EMPTY = "''"


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
    """The first String expression that is not ''. Long ones are written once: text costs more than a NULL map.

    >>> first_filled(["a", "b"])
    "if(a != '', a, b)"
    """
    *others, text = values
    if sum(map(len, others)) > _LONG_CHARS:
        return f"coalesce({', '.join(f'nullIf({value}, {_EMPTY})' for value in others)}, {text})"
    for value in reversed(others):
        text = f"if({value} != '', {value}, {text})"
    return text
