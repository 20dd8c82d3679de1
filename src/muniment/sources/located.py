"""YAML with the place of everything, so that a mistake in a catalogue file is named file:line:column. Pure.

Plain scalars are read as JSON would read them (true, false, null, numbers); dates, `yes`, `no` and the like are text.
A JSON object pasted as a value keeps its exact text: `LocatedDict.text`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from muniment.errors import RejectedError
from muniment.sources.nesting import FAST_LOADER, check_nesting

__all__ = ["Line", "LocatedDict", "LocatedList", "as_plain", "of_plain", "read_yaml"]

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "": None}


class Line(int):
    """A line, from 1, that knows the column, from 1, of what stands there; as text it says both.

    >>> line = Line(3, 7)
    >>> line == 3, f"words.yaml:{line}"
    (True, 'words.yaml:3:7')
    """

    column: int

    def __new__(cls, line: int, column: int) -> Line:
        made = super().__new__(cls, line)
        made.column = column
        return made

    @classmethod
    def of(cls, mark: yaml.Mark) -> Line:
        """Where a mark of YAML's reader stands."""
        return cls(mark.line + 1, mark.column + 1)

    def __str__(self) -> str:
        return f"{int(self)}:{self.column}"

    def __format__(self, how: str) -> str:
        return format(str(self), how)


class LocatedDict(dict[str, Any]):
    """A mapping that knows its line (`Line`), the lines of its keys, and its text when it was written in JSON style."""

    __slots__ = ("line", "lines", "text")

    def __init__(self) -> None:
        self.line: int = 0
        self.lines: dict[str, int] = {}
        self.text = ""


class LocatedList(list[Any]):
    """A list that knows the lines of its items."""

    __slots__ = ("lines",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.lines: list[int] = []


def read_yaml(text: str, name: str) -> LocatedDict:
    """The mapping that a file holds. Raises RejectedError with `field` = name:line:column."""
    try:
        check_nesting(text, name)
        node = yaml.compose(text, Loader=FAST_LOADER)
    except yaml.MarkedYAMLError as error:
        line = Line.of(error.problem_mark) if error.problem_mark else 1
        raise RejectedError(str(error.problem), field=f"{name}:{line}") from None
    except yaml.YAMLError as error:
        raise RejectedError(str(error), field=name) from None
    if not isinstance(node, yaml.MappingNode):
        line = Line.of(node.start_mark) if node is not None else Line(1, 1)
        raise RejectedError("the file must hold one mapping", field=f"{name}:{line}")
    built = _build(node, text.split("\n"), name)
    assert isinstance(built, LocatedDict)
    return built


def _build(node: yaml.Node, rows: list[str], name: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        items = LocatedList()
        for child in node.value:
            items.append(_build(child, rows, name))
            items.lines.append(Line.of(child.start_mark))
        return items
    assert isinstance(node, yaml.MappingNode)
    mapping = LocatedDict()
    mapping.line = Line.of(node.start_mark)
    if node.flow_style:
        mapping.text = _slice(rows, node)
    for key_node, value_node in node.value:
        key, line = str(key_node.value), Line.of(key_node.start_mark)
        if key in mapping:
            raise RejectedError(f"{key!r} stands twice", field=f"{name}:{line}")
        mapping[key] = _build(value_node, rows, name)
        mapping.lines[key] = line
    return mapping


def _slice(rows: list[str], node: yaml.Node) -> str:  # lines and columns count characters
    start, end = node.start_mark, node.end_mark
    if start.line == end.line:
        return str(rows[start.line][start.column : end.column])
    return "\n".join([rows[start.line][start.column :], *rows[start.line + 1 : end.line], rows[end.line][: end.column]])


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def as_plain(value: Any) -> Any:
    """What was read as lists, texts and numbers that JSON can hold; `of_plain` makes it again, places and all."""
    if isinstance(value, LocatedDict):
        items = [[key, *_plain_line(value.lines[key]), as_plain(inner)] for key, inner in value.items()]
        return [*_plain_line(value.line), value.text, items]
    if isinstance(value, LocatedList):
        return [[*_plain_line(line), as_plain(inner)] for line, inner in zip(value.lines, value, strict=True)]
    return value


_line: Callable[[int, int], Line] = functools.lru_cache(maxsize=50_000)(Line)
"""Most files have something in the same places; made once, they cost the shipped entries 0.1 s less."""


def of_plain(value: Any) -> Any:
    """The opposite of `as_plain`."""
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], int):
        mapping = LocatedDict()
        line, column, mapping.text, items = value
        mapping.line = _line(line, column)
        for key, line, column, inner in items:
            mapping[key] = of_plain(inner)
            mapping.lines[key] = _line(line, column)
        return mapping
    found = LocatedList(of_plain(inner) for *_, inner in value)
    found.lines = [_line(line, column) for line, column, _ in value]
    return found


def _plain_line(line: int) -> tuple[int, int]:
    return int(line), line.column if isinstance(line, Line) else 1
