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

__all__ = ["Finder", "has_array"]

_BLANKS: Final = b" \t\r\n"


class Finder:
    """Made ready at the first batch. Thread-safe. Patterns have no anchors: they are looked for in all records as one text.

    It errs to the side of finding: what stands across two records counts.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
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
                self._once = _compiled(self._patterns, hyperscan.HS_FLAG_SINGLEMATCH)  # which is what makes it cheap
            _scan(self._once, text, note)
        return frozenset(numbers)

    def places(self, records: pa.BinaryArray) -> list[int]:
        """The places of the records in which some pattern ends, in order.

        >>> Finder(["a+b", "x"]).places(pa.array([b"aab", b"c", b"xx"]))
        [0, 2]
        """
        ends: list[int] = []
        text, starts = _text(records)

        def note(number: int, start: int, end: int, flags: int, context: object) -> None:
            ends.append(end)

        with self._lock:
            if self._each is None:
                self._each = _compiled(self._patterns, 0)
            _scan(self._each, text, note)
        last = np.unique(np.asarray(ends, np.int64)) - 1 + starts[0]
        found: list[int] = np.unique(np.searchsorted(starts, last, side="right") - 1).tolist()
        return found


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
