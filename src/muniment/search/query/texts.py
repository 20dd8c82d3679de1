"""What it means that a text holds a word, a phrase or a pattern: said once, as RE2, for SQL and for Python. Pure.

Words are runs of ASCII letters and digits and of any other bytes from 0x80 on (what ClickHouse calls tokens). A word
or phrase must stand between other characters or ends; `*` stands for any run without space or quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Needle", "like", "needle", "whole"]

_TOKEN = re.compile(r"[0-9a-z]+")
_WORD_CHAR = r"0-9A-Za-z\x{80}-\x{10FFFF}"
_BEFORE, _AFTER = f"(?:^|[^{_WORD_CHAR}])", f"(?:$|[^{_WORD_CHAR}])"
_ANY = r'[^\s"\x00-\x1f]*'


@dataclass(frozen=True, slots=True)
class Needle:
    """How to find a word: `pattern` decides; `tokens` must all be there; `part` alone decides when it is set."""

    pattern: str
    tokens: tuple[str, ...] = ()
    token: str = ""  # the word is this one token: nothing else to check
    part: str = ""  # the word is just contained, at any place


def _is_word_char(char: str) -> bool:
    return char.isalnum() if char.isascii() else True


def _fold(value: str) -> tuple[str, str]:
    """The value and the flags: ASCII is compared lower-case, the rest by RE2's folding."""
    return (value.lower(), "(?s)") if value.isascii() else (value, "(?is)")


def _escaped(value: str) -> str:
    return "".join(char if char.isalnum() or not char.isascii() else f"\\x{{{ord(char):x}}}" for char in value)


def needle(value: str, is_pattern: bool) -> Needle:
    """How to find `value` in a lower-cased text."""
    value, flags = _fold(value)
    if not is_pattern:
        body = _escaped(value)
        before = _BEFORE if _is_word_char(value[0]) else ""
        after = _AFTER if _is_word_char(value[-1]) else ""
        tokens = tuple(dict.fromkeys(_TOKEN.findall(value))) if value.isascii() else ()
        token = value if tokens == (value,) else ""
        return Needle(f"{flags}{before}{body}{after}", tokens, token)
    pieces = value.split("*")
    before = _BEFORE if pieces[0] and _is_word_char(pieces[0][0]) else ""
    after = _AFTER if pieces[-1] and _is_word_char(pieces[-1][-1]) else ""
    part = value.strip("*") if not pieces[0] and not pieces[-1] and value.isascii() else ""
    return Needle(
        flags + before + _ANY.join(map(_escaped, pieces)) + after,
        part="" if "*" in part else part,
    )


def whole(value: str, is_pattern: bool) -> str:
    """RE2 for a text that is `value` from end to end, without case."""
    pieces = value.split("*") if is_pattern else [value]
    return "(?is)^(?:" + ".*".join(map(_escaped, pieces)) + ")$"


def like(value: str) -> str:
    """The LIKE pattern of a value with `*`."""
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
