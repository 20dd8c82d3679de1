"""Which entry of the catalogue a record's content belongs to, at a cost that does not grow with the catalogue. Pure.

Two steps for a batch. (1) One pass of a multi-pattern engine says which *marks* (see `marks`) stand anywhere in it, and
so which lines of which entries could hold of any of its records. (2) The conditions of those lines alone are written as
SQL, and decide for each record. A catalogue of three hundred entries costs a batch of two kinds of event what a catalogue
of two would. The first line that holds decides, so for who sends what early lines name the others need not be asked: `cuts`
says after which of them one may stop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from muniment.sources.catalogue import Catalogue, Entry
from muniment.sources.finder import Finder, Watch
from muniment.sources.marks import ESCAPED, marks_of
from muniment.sources.paths import TypeTree, spelled
from muniment.sources.sql import quote
from muniment.sources.values import Condition, Path, Scope, walk

__all__ = ["Recogniser"]

_KEPT: Final = 1_024
_CUTS: Final = 8


@dataclass(frozen=True, slots=True)
class _Line:
    """One alternative of an entry: all of `conditions` must hold, and all of `marks` stand in the text."""

    name: str
    conditions: tuple[Condition, ...]
    marks: frozenset[str]


class Recogniser:
    """Names the entry of records of any kind; `within` restricts it to one entry and what is found inside it.

    Thread-safe: a rebuild names records beside what comes in.
    """

    def __init__(self, catalogue: Catalogue, *, within: str = "") -> None:
        self._fallback = within or "json"
        wanted = [entry for entry in catalogue.values() if not within or entry.inside == within]
        self._lines = [line for entry in wanted for line in _lines(catalogue, entry)]
        marks = dict.fromkeys((ESCAPED, *(mark for line in self._lines for mark in sorted(line.marks))))
        numbers = {mark: k for k, mark in enumerate(marks)}
        self._needs = [frozenset(numbers[mark] for mark in line.marks) for line in self._lines]
        self._sql: dict[tuple[frozenset[int], bool], str] = {}
        self._ends = {line.name: end for end, line in enumerate(self._lines, 1)}
        self.cuts = _cuts(sorted(self._ends.values()))
        """Numbers of lines, ascending; the last is that of all."""
        # The marks of the first lines are the first marks.
        last = {cut: max((0, *(k for needs in self._needs[:cut] for k in needs))) for cut in self.cuts}
        self._watches: dict[tuple[int, str], Watch] = {}
        self._finders = {cut: Finder([*marks][: k + 1]) for cut, k in last.items()}

    def cut_of(self, name: str) -> int:
        """The first cut after all lines that name an entry; that of all lines for what no line names."""
        end = self._ends.get(name, len(self._lines))
        return next(cut for cut in self.cuts if cut >= end)

    def signs(self, names: Collection[str]) -> list[str]:
        """The marks of the lines that name these entries."""
        return [*dict.fromkeys(mark for line in self._lines if line.name in names for mark in sorted(line.marks))]

    def possible(self, records: pa.BinaryArray, cut: int = 0, like: str = "") -> frozenset[int]:
        """The numbers of the lines that may hold of some of these records; of those before the `cut`, or of all.

        `like`: they are of a kind with others that are asked about by the same word.
        """
        cut = cut or self.cuts[-1]
        have = (self._watch(cut, like) if like else self._finders[cut]).found(records)
        if 0 in have:  # the escaped text: marks may be there in another spelling
            return frozenset(range(cut))
        return frozenset(number for number, needs in enumerate(self._needs[:cut]) if needs <= have)

    def _watch(self, cut: int, like: str) -> Watch:
        return self._watches.setdefault((cut, like), Watch(self._finders[cut], 1))

    def sql(self, lines: frozenset[int] | None = None, cut: int = 0) -> str:
        """A String expression over `record` naming its entry. `lines`: the numbers of those that may hold of it.

        Without them it is for any record, and as long as the catalogue. With a `cut` before the last, what no line names is ''.
        """
        known = frozenset(range(len(self._lines))) if lines is None else lines
        is_all = cut in (0, self.cuts[-1])
        if (known, is_all) not in self._sql:
            if len(self._sql) >= _KEPT:
                self._sql.clear()
            self._sql[known, is_all] = self._written([self._lines[number] for number in sorted(known)], is_all)
        return self._sql[known, is_all]

    def _written(self, lines: Sequence[_Line], is_all: bool) -> str:
        paths = [
            spelled(found.segments)
            for line in lines
            for condition in line.conditions
            for found in walk(condition)
            if isinstance(found, Path)
        ]
        fallback = quote(self._fallback if is_all else "")
        if not lines:
            return fallback
        tree = TypeTree(paths, root="r")
        scope = Scope(path=tree.sql, ref=lambda name: quote(name))
        branches = [
            f"{' AND '.join(f'({condition.sql(scope)})' for condition in line.conditions)}, {quote(line.name)}"
            for line in lines
        ]
        # The lambda names the extraction once; written out it would stand in the text a hundred times.
        chosen = f"multiIf({', '.join(branches)}, {fallback})"
        return f"arrayElement(arrayMap(r -> {chosen}, [JSONExtract(record, {quote(tree.tuple_type)})]), 1)"


def _cuts(ends: Sequence[int]) -> tuple[int, ...]:
    """About _CUTS of these numbers, as far apart as they can be, and the last.

    >>> _cuts([1, 2, 30, 31, 80])
    (30, 80)
    """
    last = ends[-1] if ends else 0
    return tuple(sorted({next(end for end in (*ends, 0) if end >= last * k / _CUTS) for k in range(1, _CUTS + 1)}))


def _lines(catalogue: Catalogue, entry: Entry) -> list[_Line]:
    """The alternatives of an entry, each line of its condition by itself; none for an entry nothing tells apart."""
    found = _found_inside(catalogue, entry)
    if entry.alone:
        found += _split(entry.name, (), entry.alone)
    return found


def _found_inside(catalogue: Catalogue, entry: Entry) -> list[_Line]:
    outer = [_Line(entry.name, (), frozenset())]
    if entry.inside:
        outer = [
            _Line(entry.name, line.conditions, line.marks) for line in _found_inside(catalogue, catalogue[entry.inside])
        ]
    if entry.recognise is None:
        return outer if entry.inside else []
    lines = []
    for own in _split(entry.name, (), entry.recognise):
        if any(_is_implied(line, own) for line in outer):
            lines.append(own)
        else:
            lines += [_Line(entry.name, (*line.conditions, *own.conditions), line.marks | own.marks) for line in outer]
    return lines


def _is_implied(line: _Line, own: _Line) -> bool:
    """Does `line` ask no more than that something is filled below a key where `own` asks for more?"""
    filled = {
        test.value.segments[0].key
        for condition in own.conditions
        for test in condition.any_of[0]
        if isinstance(test.value, Path) and not test.negated and not test.is_of_nothing
    }
    return all(
        isinstance(test.value, Path)
        and test.kind == "present"
        and not test.negated
        and test.value.segments[0].key in filled
        for condition in line.conditions
        for test in condition.any_of[0]
    )


def _split(name: str, before: tuple[Condition, ...], condition: Condition) -> list[_Line]:
    return [
        _Line(name, (*before, Condition((tests,))), marks)
        for tests, marks in zip(condition.any_of, marks_of(condition), strict=True)
    ]
