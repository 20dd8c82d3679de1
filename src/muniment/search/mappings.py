"""The source catalogue as the store's mapping set: one mapping per entry, and who is recognised by content."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from muniment.search.schema import MappingSet
from muniment.sources.catalogue import AUTO, Catalogue
from muniment.sources.compiler import CompiledMapping, compile_entry
from muniment.sources.narrowing import Narrowing
from muniment.sources.recognition import Recogniser
from muniment.sources.together import Together

__all__ = ["mapping_set"]

_KEYS_MIN: Final = 60
"""A mapping of fewer keys is as good whole: to look for them costs what it saves. Names of many spellings are always looked for."""


def mapping_set(catalogue: Catalogue) -> MappingSet:
    """The mapping of every entry; an entry that others are found inside (`syslog`) is recognised from its content too."""
    outer = sorted({entry.inside for entry in catalogue.values() if entry.inside})
    recognise = {AUTO: Recogniser(catalogue)} | {name: Recogniser(catalogue, within=name) for name in outer}
    return MappingSet(
        _Compiled(catalogue), recognise, together=_together(catalogue, outer), narrows=_Narrows(catalogue)
    )


class _Narrows(Mapping[str, Narrowing]):
    """Who makes the shorter mappings of the long ones of a catalogue, made when the first record of its format comes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.RLock()
        self._made: dict[str, Narrowing] = {}

    def __getitem__(self, name: str) -> Narrowing:
        found = self._of(name)
        if found.n_keys < _KEYS_MIN and not found.has_names:
            raise KeyError(name)
        return found

    def _of(self, name: str) -> Narrowing:
        with self._lock:
            if name not in self._made:
                entry = self._catalogue[name]
                self._made[name] = Narrowing(entry, self._of(entry.like) if entry.like else None)
            return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._catalogue if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Compiled(Mapping[str, CompiledMapping]):
    """The mappings of a catalogue, each compiled when the first record of its format comes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._made: dict[str, CompiledMapping] = {}

    def __getitem__(self, name: str) -> CompiledMapping:
        if name not in self._made:
            self._made[name] = compile_entry(self._catalogue[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue)

    def __len__(self) -> int:
        return len(self._catalogue)

    def __contains__(self, name: object) -> bool:
        return name in self._catalogue


def _together(catalogue: Catalogue, outer: Sequence[str]) -> dict[str, tuple[Together, ...]]:
    """By the format of a source: its own entry's rule, and those of the entries its records may be found to be."""
    rules = [(entry, entry.together) for entry in catalogue.values() if entry.together is not None]
    found = {AUTO: tuple(rule for _, rule in rules if not rule.is_named)}
    found |= {
        name: tuple(rule for entry, rule in rules if entry.inside == name and not rule.is_named) for name in outer
    }
    found |= {entry.name: (rule,) for entry, rule in rules}
    return {name: kinds for name, kinds in found.items() if kinds}
