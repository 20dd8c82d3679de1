"""Which keys of a mapping a batch of records has, so that the batch is mapped by a shorter one. Pure.

The engine looks in every record for every key that a mapping names. An entry for unknown vendors names fourteen hundred,
a batch from one program has ten. One pass of a multi-pattern engine finds the keys that stand anywhere in the batch, and
`compile_entry` leaves out all that stands on the others.

What comes out is the same. So keys are looked for in the text of the record as a whole, in texts inside it too, and
where that says nothing certain (a plain character written as an escape, an array in the place of an object, whose
elements the engine would count into the keys) every key counts as there.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from muniment.sources.catalogue import Entry
from muniment.sources.compiler import CompiledMapping, compile_entry, paths_of, values_of
from muniment.sources.finder import Finder, has_array
from muniment.sources.marks import ESCAPED, is_plain
from muniment.sources.paths import Segment
from muniment.sources.values import Below, walk

__all__ = ["Narrowing"]

_KEPT: Final = 64
_SPARE: Final = 1.5
"""A mapping for some more keys than a batch has does as well as one made for it."""

_BLANK: Final = r"(?:\s|\\+[nrt])*"
_UNCERTAIN: Final = (
    ESCAPED,
    r"(?i)\\u00(?:22|0[9ad]|2[cd])",  # a quote or a blank of a text inside; the plain characters that ESCAPED lets pass
    rf'\[{_BLANK}\\*"?{_BLANK}\[',
)


class Narrowing:
    """The mappings of one entry by the keys that are there. Thread-safe: a rebuild maps beside what comes in."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        below = [
            path for value in values_of(entry) for each in walk(value) if isinstance(each, Below) for path in each.paths
        ]
        paths = [*paths_of(entry), *below]
        keys = {segment.key for path in paths for segment in path} | {*entry.mapping.unwrap}
        self._keys = tuple(sorted(filter(is_plain, keys)))
        self._uncertain = (*_UNCERTAIN, *_arrays_for_objects(paths))
        # Two plain texts a key, as in `"user"` and `\"user\"`: the engine finds them three times as fast as one pattern for both.
        texts = [f'"{re.escape(key)}{end}' for key in self._keys for end in ('"', r"\\")]
        self._finder = Finder([*self._uncertain, *texts])
        self._lock = threading.Lock()
        self._made: OrderedDict[frozenset[str], CompiledMapping] = OrderedDict()

    @property
    def n_keys(self) -> int:
        """How many keys can be told apart."""
        return len(self._keys)

    def mapping(self, records: pa.BinaryArray) -> CompiledMapping:
        """The mapping for these records; for others it may leave something out."""
        found = self._finder.found(records)
        uncertain = len(self._uncertain)
        if has_array(records) or any(number < uncertain for number in found):
            keys = frozenset(self._keys)
        else:
            keys = frozenset(self._keys[(number - uncertain) // 2] for number in found)
        with self._lock:
            fits = [known for known in self._made if keys <= known and len(known) <= len(keys) * _SPARE]
            return self._of(min(fits, key=len, default=keys))

    def _of(self, keys: frozenset[str]) -> CompiledMapping:
        if keys not in self._made:
            while len(self._made) >= _KEPT:
                self._made.popitem(last=False)
            self._made[keys] = compile_entry(self._entry, frozenset(self._keys) - keys)
        self._made.move_to_end(keys)
        return self._made[keys]


def _arrays_for_objects(paths: Sequence[Sequence[Segment]]) -> list[str]:
    """A pattern for arrays that stand where these paths go through an object."""
    keys = sorted({segment.key for path in paths for segment in path[:-1] if segment.pick is None})
    if not keys:
        return []
    # Empty arrays have nothing to count. A key that may be written in several ways is any key.
    names = "|".join(map(re.escape, keys)) if all(map(is_plain, keys)) else ""
    return [
        rf'{f"(?:{names})" if names else ""}\\*"{_BLANK}:{_BLANK}(?:\\*"{_BLANK})?\[{_BLANK}(?:[^\]\s\\]|\\+[^nrt\\])'
    ]
