"""What a source will send, by what it sent last: how records are named at less cost, and with the same names.

The first line of a recogniser that holds of a record names it. Of a source whose records are mostly named by early lines, the early
ones are asked alone, and all of them only for what these leave unnamed. A source that sends one format is expected to send it
again, and what records of sources that mix formats are is guessed by texts in them (`sources.signs`): such records may go to
that format's mapping at once, if the mapping also asks whether they are of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from muniment.search.blocks import whole
from muniment.search.schema import Recognises
from muniment.sources.signs import Names, Signs

__all__ = ["Stages"]

_ROWS_MIN: Final = 250
"""Of fewer rows a statement costs more than the lines it spares."""
_FIRST: Final = 0.25
"""What asking no line costs of what asking all does: the record is looked through, sent and parsed."""
_WORTH: Final = 0.8
_SOURCES_MAX: Final = 10_000
_ALONE: Final = 0.95
"""Of so many of a source's records, the others being named once more, it pays to expect a name."""
_GUESSED_MIN: Final = 0.5
"""Of so many of the records it pays to look for signs."""
_WRONG_MAX: Final = 0.1
_TRUSTED: Final = 64
"""For so many blocks; then signs are learned anew, as there may be better ones by now. Where they were in vain, or wrong, it
waits for 1, 2, 4, ... blocks.
"""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a source sent last: where to ask first, and the name of nearly all, or ''."""

    recogniser: Recognises
    cut: int
    name: str


@dataclass(slots=True)
class _Mixed:
    """What is known of sources that mix formats; for so many blocks more. Due: nothing is guessed of a block, to learn of all of it."""

    recogniser: Recognises
    signs: Signs | None = None
    left: int = 0
    wait: int = 1
    is_due: bool = False

    def give_up(self) -> None:
        """Try again later, and the next time later still."""
        self.signs, self.left, self.wait = None, self.wait, min(2 * self.wait, _TRUSTED)


class Stages:
    """Used by one thread at a time: `expected`, `early` and `note` for the rows of a block, then `settle`."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, str], _Sent] = {}
        self._mixed: dict[int, _Mixed] = {}
        self._counts: dict[tuple[int, str], tuple[Recognises, dict[str, int]]] = {}

    def expected(self, rows: pa.Table, recogniser: Recognises) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Names, and the places of those rows of which one is expected. `rows`: with `source` and `record`."""
        sources = rows.column("source")
        by_name: dict[str, list[str]] = {}
        for source, sent in self._known(sources, recogniser):
            if sent.name:
                by_name.setdefault(sent.name, []).append(source)
        names: Names = np.full(rows.num_rows, "", object)
        for name, those in by_name.items():
            names[_places(sources, those)] = name
        others = np.flatnonzero(names == "")
        if len(others) >= _ROWS_MIN:
            names[others] = self._guessed(whole(rows.column("record")), others, recogniser)
        for name in sorted({*names.tolist()} - {""}):
            places = np.flatnonzero(names == name)
            if len(places) >= _ROWS_MIN:
                yield name, places

    def _guessed(self, records: pa.BinaryArray, places: npt.NDArray[np.int64], recogniser: Recognises) -> Names | str:
        mixed = self._mixed_of(recogniser)
        mixed.is_due = mixed.left == 0
        if mixed.is_due:
            mixed.wait = 1 if mixed.signs is not None else mixed.wait
            return ""
        mixed.left -= 1
        if mixed.signs is None:
            return ""
        guessed = mixed.signs.guessed(records if len(places) == len(records) else records.take(pa.array(places)))
        if np.count_nonzero(guessed != "") < _GUESSED_MIN * len(guessed):
            mixed.give_up()
        return guessed

    def _mixed_of(self, recogniser: Recognises) -> _Mixed:
        known = self._mixed.get(id(recogniser))
        if known is None or known.recogniser is not recogniser:
            known = self._mixed[id(recogniser)] = _Mixed(recogniser)
        return known

    def learn(self, rows: pa.Table, recogniser: Recognises, names: Names) -> None:
        """Rows, with `record`, that nothing was expected of, and what they were named: if it is time, signs are learned of them."""
        mixed = self._mixed_of(recogniser)
        if not mixed.is_due:
            return
        mixed.is_due = False
        found, counts = np.unique(names.astype(str), return_counts=True)
        many = {str(name) for name, count in zip(found, counts, strict=True) if count >= _ROWS_MIN}
        if not many:
            return
        records = whole(rows.column("record"))
        signs = Signs.learned(records, names, recogniser.signs(many))
        guessed = signs.guessed(records)
        if sum(int(np.count_nonzero(guessed == name)) for name in many) >= _GUESSED_MIN * len(names):
            mixed.signs, mixed.left = signs, _TRUSTED
        else:
            mixed.give_up()

    def doubt(self, recogniser: Recognises, wrong: int, count: int) -> None:
        """So many of those rows were of another name."""
        if wrong > _WRONG_MAX * count:
            self._mixed_of(recogniser).give_up()

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

    def note(self, sources: pa.ChunkedArray, recogniser: Recognises, names: Names) -> None:
        """What rows of these sources were named."""
        named = pa.table({"source": sources, "name": pa.array(names, pa.string())})
        counted = named.group_by(["source", "name"]).aggregate([([], "count_all")]).to_pydict()
        for source, name, count in zip(counted["source"], counted["name"], counted["count_all"], strict=True):
            _, counts = self._counts.setdefault((id(recogniser), source), (recogniser, {}))
            counts[name] = counts.get(name, 0) + count

    def settle(self) -> None:
        """Remember what was noted."""
        if len(self._sent) + len(self._counts) > _SOURCES_MAX:
            self._sent.clear()
        for key, (recogniser, counts) in self._counts.items():
            total = sum(counts.values())
            if total < _ROWS_MIN:
                continue
            by_cut: dict[int, int] = {}
            for name, count in counts.items():
                cut = recogniser.cut_of(name)
                by_cut[cut] = by_cut.get(cut, 0) + count
            most = max(counts, key=lambda name: counts[name])
            alone = most if counts[most] >= total * _ALONE else ""
            self._sent[key] = _Sent(recogniser, _best(by_cut, recogniser.cuts), alone)
        self._counts.clear()


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
