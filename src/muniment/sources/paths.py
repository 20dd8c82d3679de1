"""Paths into a record, and the one typed tuple that a batch extracts for all of them. Pure.

    path     = [ "~" ] segment *( "." segment )
    segment  = key [ "[" index / "*" / key "=" value "]" ]
    key      = 1*( any character but . [ ] ` ) / "`" any "`"        ; backquotes for keys that hold dots

`targets[0].id` is the first element, `targets[*].id` all of them joined with ", ", `targets[type=User].id` the first
whose `type` is `User`. A path that is also a prefix of another one is extracted as raw JSON text, and what lies below
it by a second extraction from that text: `JSONExtract` gives one type to one place.

Behind a `~` each key without backquotes is said by its words: `~actor.user_id` is `actor.user_id`, `Actor.UserID`, `ACTOR.USER_ID`
and so on (`muniment.spelling`). Such a path stands for several; `spelled` gives them, and only those can be read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from muniment.errors import RejectedError
from muniment.sources.sql import quote, quote_name
from muniment.spelling import is_name, spellings

__all__ = ["Segment", "TypeTree", "parse_name", "parse_path", "spelled"]

_SEGMENT = re.compile(r"(?:`([^`]+)`|([^.\[\]`]+))(?:\[(?:(\d+)|(\*)|([^\]=]+)=([^\]]*))\])?(?:\.|$)")


_KEYS_MAX = 40


@dataclass(frozen=True, slots=True)
class Segment:
    """One key, and which element of the array below it when there is one: an index, '*', or (key, value).

    `is_name`: the key is said by its words, and may be spelled in several ways.
    """

    key: str
    pick: int | str | tuple[str, str] | None = None
    is_name: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """All its spellings."""
        return spellings(self.key) if self.is_name else (self.key,)


def spelled(path: Sequence[Segment], is_there: Callable[[str], bool] = lambda key: True) -> list[tuple[Segment, ...]]:
    """The paths of plain keys that a path stands for, without those with a key that is not there."""
    if not any(segment.is_name for segment in path):
        return [tuple(path)] if all(is_there(segment.key) for segment in path) else []
    choices = [[Segment(key, segment.pick) for key in segment.keys if is_there(key)] for segment in path]
    return list(itertools.product(*choices))


def parse_name(text: str) -> Segment:
    """One key, alone: as it is, or behind a `~` by its words."""
    if not text.startswith("~"):
        return Segment(text)
    if not is_name(text[1:]):
        raise RejectedError(f"{text[1:]!r} behind a ~ is not words in small letters with _ between them")
    return Segment(text[1:], is_name=True)


def parse_path(text: str) -> tuple[Segment, ...]:
    """The segments of a path.

    >>> parse_path("targets[0].id")
    (Segment(key='targets', pick=0, is_name=False), Segment(key='id', pick=None, is_name=False))
    >>> parse_path("~actor.`user.name`")
    (Segment(key='actor', pick=None, is_name=True), Segment(key='user.name', pick=None, is_name=False))
    """
    segments: list[Segment] = []
    at = start = int(text.startswith("~"))
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if not found or (found.end() == len(text) and text.endswith(".")):
            raise RejectedError(f"{text!r} is not a path: cannot read {text[at:]!r}")
        quoted, plain, index, star, key, value = found.groups()
        pick: int | str | tuple[str, str] | None = None
        if index is not None:
            pick = int(index)
        elif star:
            pick = "*"
        elif key is not None:
            pick = (key, value)
        if start and plain and not is_name(plain):
            raise RejectedError(f"{plain!r} behind a ~ is not words in small letters with _ between them")
        segments.append(Segment(quoted or plain, pick, is_name=bool(start and plain)))
        at = found.end()
    if not segments:
        raise RejectedError("a path needs at least one key")
    return tuple(segments)


@dataclass(slots=True)
class _Node:
    is_leaf: bool = False
    is_array: bool = False
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def is_raw(self) -> bool:
        """Wanted both as itself and for what is below it."""
        return self.is_leaf and bool(self.children or self.is_array)

    def inner_type(self) -> str:
        if not self.children:
            return "String"
        return f"Tuple({', '.join(f'{quote_name(key)} {node.type()}' for key, node in self.children.items())})"

    def below(self) -> str:
        return f"Array({self.inner_type()})" if self.is_array else self.inner_type()

    def type(self) -> str:
        return "String" if self.is_raw else self.below()


def _tuple(kinds: Sequence[str]) -> str:
    return f"Tuple({', '.join(kinds)})"


class TypeTree:
    """All the paths of one mapping; `tuple_type` for `JSONExtract`, `sql(path)` for reading one of them as String."""

    def __init__(
        self,
        paths: Iterable[Sequence[tuple[Segment, ...]]],
        root: str = "t",
        bind: Callable[[str, str], str] | None = None,
        is_split: bool = False,
    ) -> None:
        """Each of `paths` with its spellings.

        `bind(name, sql)` may give the extraction from a raw part a name of its own, and returns what to write.
        """
        self._root = root
        self._bind = bind
        self._top = _Node()
        # The first spelling of each comes before all others, and says how many parts there are: an array in the place of an
        # object is counted into the first keys, which must be the same whatever spellings there are beside.
        each = list(paths)
        self._add(one for some in each for one in some[:1])
        self._n_parts = 1 + len(self._top.children) // _KEYS_MAX if is_split else 1
        self._add(one for some in each for one in some[1:])
        if not self._top.children:
            self._top.children["_"] = _Node(is_leaf=True)

    def _add(self, paths: Iterable[Sequence[Segment]]) -> None:
        for path in paths:
            node = self._top
            for segment in path:
                node = self._step(node, segment)
            node.is_leaf = True

    @staticmethod
    def _step(node: _Node, segment: Segment) -> _Node:
        child = node.children.setdefault(segment.key, _Node())
        if segment.pick is None:
            return child
        child.is_array = True
        # Array elements live in the same node: its children are the keys of the element.
        if isinstance(segment.pick, tuple):
            child.children.setdefault(segment.pick[0], _Node()).is_leaf = True
        return child

    @property
    def tuple_type(self) -> str:
        """The `Tuple(...)` to extract from the record."""
        return self._top.inner_type()

    def extractions(self, read_sql: str) -> dict[str, str]:
        """What to extract, by the names that `sql` writes with `is_split`: several tuples where one would be long.

        The engine looks through the whole type for every element it is asked for (measured: five seconds for seven
        hundred keys in one tuple, a tenth of that in eight).
        """
        parts: dict[str, list[str]] = {}
        for key, node in self._top.children.items():
            parts.setdefault(self._root_of(key), []).append(f"{quote_name(key)} {node.type()}")
        return {root: f"JSONExtract({read_sql}, {quote(_tuple(kinds))})" for root, kinds in parts.items()}

    def _root_of(self, key: str) -> str:
        number = list(self._top.children).index(key) % self._n_parts
        return f"{self._root}_{number}" if number else self._root

    def sql(self, path: Sequence[Segment]) -> str:
        """The SQL expression, of type String, for one of the paths given."""
        return self._read(self._root_of(path[0].key), self._top, list(path), "at")

    def _read(self, base: str, node: _Node, path: list[Segment], name: str = "") -> str:
        """`name` is of the place that `base` reads; '' for an element of an array, which is many."""
        segment, rest = path[0], path[1:]
        child = node.children[segment.key]
        value = f"tupleElement({base}, {quote(segment.key)})"
        if segment.pick is None:
            if not rest:
                return value
            below = name and f"{name}_{list(node.children).index(segment.key)}"
            return self._read(self._extracted(value, child, below), child, rest, below)
        below = name and f"{name}_{list(node.children).index(segment.key)}"
        value = self._extracted(value, child, below)
        if segment.pick == "*":
            element = self._read("x", child, rest) if rest else "x"
            return f"arrayStringConcat(arrayFilter(y -> y != '', arrayMap(x -> {element}, {value})), ', ')"
        if isinstance(segment.pick, tuple):
            key, wanted = segment.pick
            picked = f"arrayFirst(x -> tupleElement(x, {quote(key)}) = {quote(wanted)}, {value})"
        else:
            picked = f"arrayElement({value}, {int(segment.pick) + 1})"
        return self._read(picked, child, rest) if rest else picked

    def _extracted(self, value: str, node: _Node, name: str) -> str:
        if not node.is_raw:
            return value
        value = f"JSONExtract({value}, {quote(node.below())})"
        return self._bind(f"_{name}", value) if self._bind and name else value
