"""Which of many patterns stand anywhere in a batch of records: one pass of a multi-pattern engine over all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, cast

import hyperscan
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from muniment.sources.marks import alternatives

__all__ = ["Finder", "Watch", "has_array"]

_BLANKS: Final = b" \t\r\n"
_ALIKE_BYTES: Final = 24 * 1024 * 1024
"""After so much with nothing that others before had not, only what is new is looked for. To make that ready takes 0.1 s, so
where it was in vain it takes twice as much the next time.
"""
_TRUSTED: Final = 64
"""For so many batches; then all is looked for once more, as what was there may be there no more."""
_SPARE: Final = 1.25
"""How many more patterns than a batch has may count as there."""
_NUMBER_BITS: Final = 24
_PATTERNS_MAX: Final = 4_000
"""Of more than these those that are new take too long to make ready."""


class Finder:
    """Made ready at the first batch. Thread-safe. Patterns have no anchors: they are looked for in all records as one text.

    It errs to the side of finding: what stands across two records counts.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = patterns
        self._lock = threading.Lock()
        self._once: _Compiled | None = None
        self._each: _Compiled | None = None

    def found(self, records: pa.BinaryArray) -> frozenset[int]:
        """The places, from 0, of the patterns that stand in some record.

        >>> sorted(Finder(["a+b", "x", "c"]).found(pa.array([b"aab", b"c"])))
        [0, 2]
        """
        numbers: set[int] = set()
        text, _ = _text(records)

        def note(number: int, start: int, end: int, flags: int, context: object) -> None:
            numbers.add(number)

        with self._lock:
            if self._once is None:
                self._once = _compiled(self.patterns, hyperscan.HS_FLAG_SINGLEMATCH)  # which is what makes it cheap
            _scan(self._once, text, note)
        return frozenset(numbers)

    def places(self, records: pa.BinaryArray) -> list[int]:
        """The places of the records in which some pattern ends, in order.

        >>> Finder(["a+b", "x"]).places(pa.array([b"aab", b"c", b"xx"]))
        [0, 2]
        """
        places, _ = self.each(records)
        found: list[int] = np.unique(places).tolist()
        return found

    def each(self, records: pa.BinaryArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Each time that a pattern ends: the place of the record, and that of the pattern.

        >>> [each.tolist() for each in Finder(["a", "x"]).each(pa.array([b"aa", b"c", b"ax"]))]
        [[0, 0, 2, 2], [0, 0, 0, 1]]
        """
        found: list[int] = []
        text, starts = _text(records)

        def note(number: int, start: int, end: int, flags: int, context: object) -> None:
            found.append(end << _NUMBER_BITS | number)

        with self._lock:
            if self._each is None:
                self._each = _compiled(self.patterns, 0)
            _scan(self._each, text, note)
        both = np.unique(np.asarray(found, np.int64))
        last = (both >> _NUMBER_BITS) - 1 + starts[0]
        places = np.searchsorted(starts, last, side="right") - 1
        return places.astype(np.int64), both & ((1 << _NUMBER_BITS) - 1)


class Watch:
    """The patterns that stand in batches of one kind, of which most hold the same: what was there before counts as there, and only
    others are looked for, at half the cost. Thread-safe.
    """

    def __init__(self, finder: Finder, sure: int = 0) -> None:
        """`sure`: so many of the first patterns are found only where they are."""
        self._finder = finder
        self._sure = frozenset(range(sure))
        self._lock = threading.Lock()
        self._usual: frozenset[int] = frozenset()
        self._alike_bytes = 0
        self._alike_bytes_min = _ALIKE_BYTES
        self._others: _Others | None = None
        self._left = 0

    def found(self, records: pa.BinaryArray) -> frozenset[int]:
        """What `Finder.found` finds, and what some batches before had, if that is not much more."""
        with self._lock:
            others, usual = (self._others, self._usual) if self._left else (None, frozenset[int]())
            self._left -= bool(others)
        new = others.found(records) if others is not None else frozenset[int]()
        if others is not None and new <= self._sure:
            return usual | new
        found = self._finder.found(records)
        with self._lock:
            self._note(found - self._sure, len(_text(records)[0]))
        return found

    def _note(self, found: frozenset[int], n_bytes: int) -> None:
        both = found | self._usual
        if len(both) > _SPARE * len(found):
            both = found
        if both != self._usual:
            self._usual, self._others, self._alike_bytes = both, None, 0
        self._alike_bytes += n_bytes
        self._left = 0
        if self._alike_bytes < self._alike_bytes_min or len(self._finder.patterns) > _PATTERNS_MAX:
            return
        self._left = _TRUSTED
        if self._others is None:
            self._others = _Others(self._finder.patterns, both)
            self._alike_bytes_min *= 2


class _Others:
    """All patterns but some, by the places of all."""

    def __init__(self, patterns: Sequence[str], known: frozenset[int]) -> None:
        self._places = [place for place in range(len(patterns)) if place not in known]
        self._finder = Finder([patterns[place] for place in self._places]) if self._places else None

    def found(self, records: pa.BinaryArray) -> frozenset[int]:
        return (
            frozenset(self._places[number] for number in self._finder.found(records)) if self._finder else frozenset()
        )


_Compiled = tuple[hyperscan.Database, hyperscan.Scratch]


def _compiled(patterns: Sequence[str], flags: int) -> _Compiled:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    parts = [(part.encode(), number) for number, pattern in enumerate(patterns) for part in alternatives(pattern)]
    flags |= hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_ALLOWEMPTY
    database.compile(
        expressions=[part for part, _ in parts], ids=[number for _, number in parts], flags=[flags] * len(parts)
    )
    return database, hyperscan.Scratch(database)


def _scan(compiled: _Compiled, text: memoryview, note: Callable[[int, int, int, int, object], None]) -> None:
    database, scratch = compiled
    database.scan(cast("bytes", text), match_event_handler=note, scratch=scratch)


def has_array(records: pa.BinaryArray) -> bool:
    """Is some record a JSON array and no object?

    >>> has_array(pa.array([b"{}", b" [1]"]))
    True
    """
    text, starts = _text(records)
    begun = starts[:-1][starts[:-1] < starts[1:]] - starts[0]
    first = np.frombuffer(text, np.uint8)[begun]
    if np.any(first == ord("[")):
        return True
    odd = np.flatnonzero(np.isin(first, np.frombuffer(_BLANKS, np.uint8)))
    return any(bytes(text[begun[k] : begun[k] + 64]).lstrip()[:1] in (b"[", b"") for k in odd.tolist())


def _text(records: pa.BinaryArray) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """All records one after another, and where each begins, and the last ends, in a longer text."""
    _, offsets, data = records.buffers()
    if data is None or not len(records):
        return memoryview(b""), np.zeros(len(records) + 1, np.int32)
    starts = np.frombuffer(offsets, np.int32)[records.offset : records.offset + len(records) + 1]
    return memoryview(data)[starts[0] : starts[-1]], starts
