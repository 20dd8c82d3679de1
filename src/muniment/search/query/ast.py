"""The tree of a query: frozen, resolved, free of text to parse. What SQL and the Python matcher both read. Pure.

Everything that depends on columns, aliases or the clock is decided when the tree is made, so that two readers of it
cannot decide differently. Words compare without case: ASCII letters directly, other letters by RE2's case folding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "And", "Everything", "Flag", "Identity", "Leaf", "Moment", "Network", "Node", "Not", "Number", "Or", "Path", "Text",
    "TextTest", "Words",
]  # fmt: skip

TextTest = Literal["equals", "exact", "words", "pattern", "regex", "exists", "from", "to"]


@dataclass(frozen=True, slots=True)
class Everything:
    """Matches every event."""


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts`, at least two."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `parts`, at least two."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of `part`."""

    part: Node


@dataclass(frozen=True, slots=True)
class Words:
    """Free text, looked for in the record and the text columns; `value` may hold `*`."""

    value: str
    is_pattern: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A test on text columns; any of them may pass."""

    columns: tuple[str, ...]
    test: TextTest
    value: str


@dataclass(frozen=True, slots=True)
class Path:
    """A test on a value inside the record, by its path. `number`: the value as a number, when it is one."""

    segments: tuple[str | int, ...]
    test: TextTest
    value: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """low <= column <= high; None is open."""

    column: str
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Flag:
    """column is `value`."""

    column: str
    value: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """low <= column < high in UTC microseconds; None is open."""

    column: str
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Network:
    """low <= column <= high as IPv6 numbers (v4 mapped)."""

    column: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Identity:
    """column is this UUID."""

    column: str
    value: str


Leaf = Words | Text | Path | Number | Flag | Moment | Network | Identity
Node = Everything | And | Or | Not | Leaf
