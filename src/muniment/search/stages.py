"""What a source will send, by what it sent last: how records are named at less cost, and with the same names.

The first line of a recogniser that holds of a record names it. Of a source whose records are mostly named by early lines, the early
ones are asked alone, and all of them only for what these leave unnamed. A source that sends one format is expected to send it
again: its records may go to that format's mapping at once, if the mapping also asks whether they are of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from muniment.search.schema import Recognises

__all__ = ["Stages"]

_ROWS_MIN: Final = 500
"""Of fewer rows a statement costs more than the lines it spares."""
_FIRST: Final = 0.25
"""What asking no line costs of what asking all does: the record is looked through, sent and parsed."""
_WORTH: Final = 0.8
_SOURCES_MAX: Final = 10_000
_ALONE: Final = 0.95
"""Of so many of a source's records, the others being named once more, it pays to expect a name."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a source sent last: where to ask first, and the name of nearly all, or ''."""

    recogniser: Recognises
    cut: int
    name: str


class Stages:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, str], _Sent] = {}

    def expected(self, rows: pa.Table, recogniser: Recognises) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Names, and the places of those rows of which one is expected. `rows`: with `source`."""
        sources = rows.column("source")
        by_name: dict[str, list[str]] = {}
        for source, sent in self._known(sources, recogniser):
            if sent.name:
                by_name.setdefault(sent.name, []).append(source)
        for name, those in sorted(by_name.items()):
            places = _places(sources, those)
            if len(places) >= _ROWS_MIN:
                yield name, places

    def early(self, rows: pa.Table, recogniser: Recognises) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Cuts before the last, and the places of those rows for which this is where to ask first. `rows`: with `source`."""
        sources = rows.column("source")
        by_cut: dict[int, list[str]] = {}
        for source, sent in self._known(sources, recogniser):
            if sent.cut != recogniser.cuts[-1]:
                by_cut.setdefault(sent.cut, []).append(source)
        for cut, those in sorted(by_cut.items()):
            places = _places(sources, those)
            if len(places) >= _ROWS_MIN:
                yield cut, places

    def _known(self, sources: pa.ChunkedArray, recogniser: Recognises) -> Iterator[tuple[str, _Sent]]:
        for source in pc.unique(sources).to_pylist():
            sent = self._sent.get((id(recogniser), source))
            if sent is not None and sent.recogniser is recogniser:
                yield source, sent

    def note(self, rows: pa.Table, recogniser: Recognises, names: npt.NDArray[np.object_]) -> None:
        """What the rows were named."""
        named = pa.table({"source": rows.column("source"), "name": pa.array(names, pa.string())})
        counted = named.group_by(["source", "name"]).aggregate([([], "count_all")]).to_pydict()
        found: dict[str, dict[str, int]] = {}
        for source, name, count in zip(counted["source"], counted["name"], counted["count_all"], strict=True):
            found.setdefault(source, {})[name] = count
        if len(self._sent) + len(found) > _SOURCES_MAX:
            self._sent.clear()
        for source, counts in found.items():
            total = sum(counts.values())
            if total < _ROWS_MIN:
                continue
            by_cut: dict[int, int] = {}
            for name, count in counts.items():
                cut = recogniser.cut_of(name)
                by_cut[cut] = by_cut.get(cut, 0) + count
            most = max(counts, key=lambda name: counts[name])
            alone = most if counts[most] >= total * _ALONE else ""
            self._sent[id(recogniser), source] = _Sent(recogniser, _best(by_cut, recogniser.cuts), alone)


def _places(sources: pa.ChunkedArray, those: list[str]) -> npt.NDArray[np.int64]:
    return np.flatnonzero(pc.is_in(sources, value_set=pa.array(those, sources.type)).to_numpy())


def _best(counts: dict[int, int], cuts: tuple[int, ...]) -> int:
    """Where to ask first for records of which so many are named before each cut.

    >>> _best({100: 90, 800: 10}, (100, 200, 800)), _best({100: 50, 800: 50}, (100, 200, 800))
    (100, 800)
    """
    total, last = sum(counts.values()), cuts[-1]

    def cost(cut: int) -> float:
        left = sum(count for each, count in counts.items() if each > cut)
        return _FIRST + (1 - _FIRST) * cut / last + left / total

    best = min(cuts[:-1], key=cost, default=last)
    return best if cost(best) < _WORTH else last
