"""Which keys of a mapping a batch of records has, so that the batch is mapped by a shorter one. Pure.

The engine looks in every record for every key that a mapping names. An entry for unknown vendors names fourteen hundred,
a batch from one program has ten. One pass of a multi-pattern engine finds the keys that stand anywhere in the batch, and
`compile_entry` leaves out all that stands on the others.

Of a name that may be spelled in twenty ways (`~user_id`) the mapping has the spellings that are there.

What comes out is the same. So keys are looked for in the text of the record as a whole, in texts inside it too, and
without escapes where plain characters are written so. Where an array stands in the place of an object the engine counts its
elements into the object's keys, so those below that object count as there, each name in its first spelling at least; in arrays
of arrays those of whatever is read of elements. Where a record is an array itself every key counts as there.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from muniment.sources.catalogue import Entry
from muniment.sources.compiler import CompiledMapping, compile_entry, paths_of, values_of
from muniment.sources.finder import Finder, Watch, has_array
from muniment.sources.marks import ESCAPED, is_plain
from muniment.sources.paths import Segment
from muniment.sources.values import Below, walk

__all__ = ["Narrowing", "whole_mapping"]

_KEPT: Final = 64
_SPARE: Final = 1.5
"""A mapping for some more keys than a batch has does as well as one made for it."""

_BLANK: Final = r"(?:\s|\\+[nrt])*"
_UNCERTAIN: Final = (
    ESCAPED,
    r"(?i)\\u00(?:22|0[9ad]|2[cd])",  # a quote or a blank of a text inside; the plain characters that ESCAPED lets pass
    rf'\[{_BLANK}\\*"?{_BLANK}\[',
)


_ESCAPED_ONES: Final = frozenset((0, 1))
"""The numbers of those that say that plain characters are written as escapes."""
_NESTED: Final = 2
"""The number of what says that some array stands in an array."""
_ARRAYS: Final = len(_UNCERTAIN)
"""The number of what says that some array stands in the place of an object."""
_WORDS: Final = re.compile(rb"\"([^\"\\]+)(?=[\"\\])")
_ESCAPES: Final = re.compile(rb"\\+u00([0-7][0-9a-fA-F])")


class Narrowing:
    """The mappings of one entry by the keys that are there. Thread-safe: a rebuild maps beside what comes in."""

    def __init__(self, entry: Entry, like: Narrowing | None = None) -> None:
        """`like`: of the entry that this one is like. Its keys are looked for by what looks for them there."""
        self._entry = entry
        known: tuple[_Look, ...] = like._looks if like is not None else ()
        paths = dict.fromkeys(_all_paths(entry))
        own = [path for path in paths if not any(path in look.paths for look in known)]
        self._looks: tuple[_Look, ...] = (
            *known,
            *([_Look(own, entry.mapping.unwrap, known)] if own or not known else []),
        )
        self._named = frozenset[str]().union(*(look.named for look in self._looks))
        self._keys = frozenset[str]().union(*(look.keys for look in self._looks))
        self._common = frozenset[str]().union(*(look.common for look in self._looks))
        self._of_elements = frozenset(_keys_of_elements(entry))
        self._lock = threading.Lock()
        self._made: OrderedDict[frozenset[str], CompiledMapping] = OrderedDict()

    @property
    def n_keys(self) -> int:
        """How many keys can be told apart, all spellings of a name counted as one."""
        return len(self._named)

    @property
    def has_names(self) -> bool:
        """Are some keys said by their words?"""
        return len(self._keys) > len(self._named)

    def mapping(self, records: pa.BinaryArray) -> CompiledMapping:
        """The mapping for these records; for others it may leave something out."""
        keys, doubts = self._found(records)
        if not doubts.isdisjoint(_ESCAPED_ONES):
            more, doubts_left = self._found(_without_escapes(records))
            keys, doubts = keys | more, (doubts - _ESCAPED_ONES) | doubts_left
        # Some record may list spellings: combinations of all of them would be too much for any engine.
        if len(keys) > len(self._named):
            keys &= self._named | self._common
        if _NESTED in doubts:
            keys |= self._of_elements
        if has_array(records) or doubts - {_NESTED}:
            keys |= self._named
        with self._lock:
            fits = [known for known in self._made if keys <= known and len(known) <= len(keys) * _SPARE]
            return self._of(min(fits, key=len, default=keys))

    def _found(self, records: pa.BinaryArray) -> tuple[frozenset[str], frozenset[int]]:
        """The keys that are there, and the numbers of what makes that uncertain."""
        found = [look.found(records) for look in self._looks]
        keys, doubts = zip(*found, strict=True)
        return frozenset[str]().union(*keys), frozenset[int]().union(*doubts)

    def _of(self, keys: frozenset[str]) -> CompiledMapping:
        if keys not in self._made:
            while len(self._made) >= _KEPT:
                self._made.popitem(last=False)
            self._made[keys] = compile_entry(self._entry, self._keys - keys)
        self._made.move_to_end(keys)
        return self._made[keys]


class _Look:
    """One pass over a batch for the keys of some paths, without those that `known` look for."""

    def __init__(self, paths: Sequence[Sequence[Segment]], unwrap: Sequence[Segment], known: Sequence[_Look]) -> None:
        self.paths = frozenset(map(tuple, paths))
        segments = {segment for path in paths for segment in path} | {*unwrap}
        plain = {key for segment in segments for key in segment.keys if is_plain(key)}
        self.named = frozenset(segment.key for segment in segments if is_plain(segment.key))
        self.common = frozenset(key for segment in segments for key in segment.keys[:2])
        self.keys: tuple[str, ...] = tuple(sorted(plain.difference(*(look.keys for look in known))))
        below = _keys_below(paths)
        self._below_each = [*below.values()]
        self._is_plain = all(is_plain(segment.key) for segment in below)
        self._uncertain = (*_UNCERTAIN, *([_arrays_in_place_of(below)] if below else []))
        self._arrays = Finder([_arrays_in_place_of([segment], '"') for segment in below])
        # Two plain texts a key, as in `"user"` and `\"user\"`: the engine finds them three times as fast as one pattern for both.
        texts = [f'"{re.escape(key)}{end}' for key in self.keys for end in ('"', r"\\")]
        self._watch = Watch(Finder([*self._uncertain, *texts]), len(self._uncertain))

    def found(self, records: pa.BinaryArray) -> tuple[frozenset[str], frozenset[int]]:
        """Its keys that are there, some that were, and the numbers of what makes that uncertain."""
        found, n = self._watch.found(records), len(self._uncertain)
        keys, doubts = {self.keys[(k - n) // 2] for k in found if k >= n}, {k for k in found if k < n}
        if _ARRAYS in doubts and self._is_plain:
            keys = keys.union(*(self._below_each[k] for k in self._arrays.found(records)))
            doubts.discard(_ARRAYS)
        return frozenset(keys), frozenset(doubts)


def whole_mapping(entry: Entry, records: Iterable[bytes]) -> CompiledMapping:
    """The mapping for all that an entry names, its names in those spellings only that these records have."""
    segments = {segment for path in _all_paths(entry) for segment in path} | {*entry.mapping.unwrap}
    names = {segment for segment in segments if segment.is_name}
    there = {key.decode("utf-8", "replace") for record in records for key in _WORDS.findall(_unescaped(record))}
    others = frozenset(key for name in names for key in name.keys) - {segment.key for segment in segments}
    return compile_entry(entry, others - there)


def _all_paths(entry: Entry) -> list[tuple[Segment, ...]]:
    return [*paths_of(entry), *_paths_below(entry)]


def _paths_below(entry: Entry) -> list[tuple[Segment, ...]]:
    """What is read of texts: of objects, or of an array's first element."""
    return [
        path for value in values_of(entry) for each in walk(value) if isinstance(each, Below) for path in each.paths
    ]


def _without_escapes(records: pa.BinaryArray) -> pa.BinaryArray:
    return pa.array([_unescaped(record) for record in records.to_pylist()], pa.binary())


def _unescaped(record: bytes) -> bytes:
    """A text whose keys stand as they are, where it has them in another way."""
    return _ESCAPES.sub(lambda found: bytes.fromhex(found[1].decode()), record)


def _keys_below(paths: Sequence[Sequence[Segment]]) -> dict[Segment, frozenset[str]]:
    """Where these paths go through an object, each name in its first spelling: the keys that they go on with."""
    below: dict[Segment, set[str]] = {}
    for path in paths:
        for k, segment in enumerate(path[:-1]):
            if segment.pick is None:
                below.setdefault(segment, set()).update(each.key for each in path[k + 1 :])
    return {segment: frozenset(keys) for segment, keys in below.items()}


def _keys_of_elements(entry: Entry) -> Iterator[str]:
    """What is read of an array's elements, each name in its first spelling."""
    for path in paths_of(entry):
        for k, segment in enumerate(path):
            if segment.pick is not None:
                yield from (each.key for each in path[k + 1 :])
                yield from segment.pick[:1] if isinstance(segment.pick, tuple) else ()
    yield from (each.key for path in _paths_below(entry) for each in path)


def _arrays_in_place_of(objects: Iterable[Segment], before: str = "") -> str:
    """A pattern for arrays that stand where these are objects. Of names it knows the words, which is quicker.

    Empty arrays have nothing to count. A key that may be written in several ways is any key.
    """
    keys = sorted(re.escape(each.key).replace("_", "[_ -]?" if each.is_name else "_") for each in objects)
    names = f"{before}(?i)(?:{'|'.join(keys)})" if all(is_plain(each.key) for each in objects) else ""
    return rf'{names}\\*"{_BLANK}:{_BLANK}(?:\\*"{_BLANK})?\[{_BLANK}(?:[^\]\s\\]|\\+[^nrt\\])'
