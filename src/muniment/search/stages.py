"""How far down the lines of a recogniser it pays to go before the rest is asked, by what a source sent last.

The first line that holds of a record names it. Of a source whose records are mostly named by early lines, the early ones are asked
alone, and all of them only for what these leave unnamed: the answer is the same, at half the cost or less.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class Stages:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._cuts: dict[tuple[int, str], tuple[Recognises, int]] = {}

    def early(self, rows: pa.Table, recogniser: Recognises) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Cuts before the last, and the places of those rows for which this is where to ask first. `rows`: with `source`."""
        sources = rows.column("source")
        by_cut: dict[int, list[str]] = {}
        for source in pc.unique(sources).to_pylist():
            known, cut = self._cuts.get((id(recogniser), source), (None, 0))
            if known is recogniser and cut != recogniser.cuts[-1]:
                by_cut.setdefault(cut, []).append(source)
        for cut, those in sorted(by_cut.items()):
            places = np.flatnonzero(pc.is_in(sources, value_set=pa.array(those, sources.type)).to_numpy())
            if len(places) >= _ROWS_MIN:
                yield cut, places

    def note(self, rows: pa.Table, recogniser: Recognises, names: npt.NDArray[np.object_]) -> None:
        """What the rows were named."""
        named = pa.table({"source": rows.column("source"), "name": pa.array(names, pa.string())})
        counted = named.group_by(["source", "name"]).aggregate([([], "count_all")]).to_pydict()
        found: dict[str, dict[int, int]] = {}
        for source, name, count in zip(counted["source"], counted["name"], counted["count_all"], strict=True):
            cuts = found.setdefault(source, {})
            cut = recogniser.cut_of(name)
            cuts[cut] = cuts.get(cut, 0) + count
        if len(self._cuts) + len(found) > _SOURCES_MAX:
            self._cuts.clear()
        for source, counts in found.items():
            if sum(counts.values()) >= _ROWS_MIN:
                self._cuts[id(recogniser), source] = recogniser, _best(counts, recogniser.cuts)


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
