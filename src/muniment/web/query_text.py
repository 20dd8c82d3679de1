"""Query text taken apart into chips and put together again. Pure; knows quoting, not the grammar.

A chip is one part of a conjunction: what stands between spaces at the top level. Text that holds `OR` at the top
level is one chip, in brackets, so that adding a filter never changes what it means. Every change made by a click
ends as text a person could have typed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = [
    "Chip", "adding", "chips", "excluding", "has_top_or", "including", "inverted", "loosened", "quoted", "replaced",
    "suggested_fix", "without",
]  # fmt: skip

_BARE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
_WORDS: Final = frozenset({"AND", "OR", "NOT", "TO"})


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of a query. `field` is empty for free text and groups; `at` is its place among the parts."""

    at: int
    text: str
    field: str
    value: str
    is_negated: bool


def quoted(value: str) -> str:
    """A value as a query writes it.

    >>> quoted("ann"), quoted("10.0.0.1"), quoted('say "hi"')
    ('ann', '10.0.0.1', '"say \\\\"hi\\\\""')
    """
    if _BARE.fullmatch(value) and value.upper() not in _WORDS:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def chips(q: str) -> list[Chip]:
    """The parts of a query, in order.

    >>> [c.text for c in chips('actor:anna -outcome:success "two words" (a:b OR c:d)')]
    ['actor:anna', '-outcome:success', '"two words"', '(a:b OR c:d)']
    >>> [c.text for c in chips('a:b OR c:d')]
    ['(a:b OR c:d)']
    """
    return list(_chips(q))


@lru_cache(512)
def _chips(q: str) -> tuple[Chip, ...]:
    """Kept, because every link of a page is made from the same few queries."""
    parts = _parts(q)
    if "OR" in parts:
        parts = [f"({q.strip()})"]
    found: list[Chip] = []
    negate_next = False
    for part in parts:
        if part == "AND":
            continue
        if part == "NOT":
            negate_next = not negate_next
            continue
        text = (part[1:] if part.startswith("-") else f"-{part}") if negate_next else part
        negate_next = False
        body = text.removeprefix("-")
        name, colon, value = body.partition(":")
        is_field = bool(colon) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) is not None
        found.append(
            Chip(
                len(found), text, name if is_field else "", _unquoted(value if is_field else body), text.startswith("-")
            )
        )
    return tuple(found)


def without(q: str, at: int) -> str:
    """The query without part `at`."""
    return " ".join(chip.text for chip in chips(q) if chip.at != at)


def inverted(q: str, at: int) -> str:
    """The query with part `at` turned around."""
    return " ".join(_turned(chip) if chip.at == at else chip.text for chip in chips(q))


def replaced(q: str, at: int, text: str) -> str:
    """The query with part `at` written anew; nothing removes it.

    >>> replaced("a:b c:d", 1, "c:x OR c:y")
    'a:b (c:x OR c:y)'
    """
    anew = " ".join(chip.text for chip in chips(text))
    return " ".join(part for chip in chips(q) if (part := anew if chip.at == at else chip.text))


def adding(q: str, text: str) -> str:
    """The query with more parts, each once."""
    parts = [chip.text for chip in chips(q)]
    return " ".join([*parts, *[chip.text for chip in chips(text) if chip.text not in parts]])


def has_top_or(q: str) -> bool:
    """Does `OR` stand at the top level, so that more parts need brackets around it?"""
    return "OR" in _parts(q)


def loosened(chip: Chip) -> str:
    """The part, found anywhere inside the value: what a person usually meant who wrote a first name. Else nothing.

    >>> loosened(chips("actor:anna")[0]), loosened(chips('"two words"')[0])
    ('actor:*anna*', '')
    """
    is_plain = chip.field and not chip.is_negated and re.fullmatch(r"[\w@. +-]{2,128}", chip.value)
    return f"{chip.field}:*{re.sub(' +', '*', chip.value.strip())}*" if is_plain else ""


def including(q: str, field: str, value: str) -> str:
    """The query that also asks for a value; the opposite part, if there, gives way."""
    return _added(q, f"{field}:{quoted(value)}")


def excluding(q: str, field: str, value: str) -> str:
    """The query that also leaves a value out."""
    return _added(q, f"-{field}:{quoted(value)}")


def suggested_fix(q: str, column: int | None, fields: Collection[str]) -> str:
    """The whole query with the likeliest mistake corrected, or nothing.

    >>> suggested_fix('actor:"ann', 6, ())
    'actor:"ann"'
    >>> suggested_fix('(a:b', 0, ()), suggested_fix('a:b)', 3, ())
    ('(a:b)', 'a:b')
    >>> suggested_fix('actr:ann', 0, ('actor',))
    'actor:ann'
    """
    if len(re.findall(r'(?<!\\)"', q)) % 2:
        return q + '"'
    outside = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: "_" * len(m[0]), q)
    surplus = outside.count("(") - outside.count(")")
    if surplus > 0:
        return q + ")" * surplus
    if surplus < 0:
        at = outside.rfind(")")
        return (q[:at] + q[at + 1 :]).strip()
    for match in re.finditer(r"([A-Za-z_][A-Za-z0-9_.]*):", outside):
        if match[1] not in fields:
            near = difflib.get_close_matches(match[1], list(fields), 1, 0.6)
            if near:
                return q[: match.start(1)] + near[0] + q[match.end(1) :]
    trimmed = re.sub(r"(?:\s+(?:AND|OR|NOT))+\s*$|(?:^|\s)[A-Za-z_.]*:\s*$|\s*-\s*$", "", q)
    if trimmed != q:
        return trimmed.strip()
    return ""


def _added(q: str, text: str) -> str:
    opposite = text[1:] if text.startswith("-") else f"-{text}"
    parts = [chip.text for chip in chips(q) if chip.text != opposite]
    return " ".join(parts if text in parts else [*parts, text])


def _turned(chip: Chip) -> str:
    return chip.text[1:] if chip.is_negated else f"-{chip.text}"


def _unquoted(value: str) -> str:
    value = value.removeprefix("=")
    if len(value) > 1 and value[0] == '"' == value[-1]:
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _parts(q: str) -> list[str]:
    return list(_split(q))


def _split(q: str) -> Iterator[str]:
    part, depth, is_quoted, is_escaped = "", 0, False, False
    for character in q:
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
        elif not is_quoted and character in "([":
            depth += 1
        elif not is_quoted and character in ")]":
            depth = max(0, depth - 1)
        if character.isspace() and not is_quoted and not depth:
            if part:
                yield part
            part = ""
        else:
            part += character
    if part:
        yield part
