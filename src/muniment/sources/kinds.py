"""Which records that no entry knows are of one kind: sets of keys that differ in what is optional come together. Pure.

Records are counted by their set of keys before (a `Shape`), so that what is done here follows from the number of shapes and not
of records. Shapes of one source, format, reason and program are of one kind when

- they name the same system (`app`, `product`, ...), as long as a source names few of them: a program that writes a name of its
  own each time names none;
- half of all their keys are the same, and half of those that are not everybody's (`time`, `user`, `action`), of which some
  stand in all shapes of the kind; where both have none of their own, three quarters of all keys.

A kind is measured by its commonest shape, so it does not drift with each that joins it. What comes out does not depend on the
order of the shapes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Kind", "Shape", "kinds"]

_SYSTEMS_MAX: Final = 8
"""Names of systems that a source may have beside the same keys; more are something else."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Records of one source, read in one way, that have the same keys and name the same system; times UTC ns."""

    id: str
    source: str
    format: str
    reason: str
    program: str
    system: str
    keys: frozenset[str]
    count: int
    newest_index: int
    newest_time: int


@dataclass(slots=True)
class Kind:
    """Shapes that are of one kind, the commonest first; `keys` are those that all of them have."""

    shapes: list[Shape]
    keys: frozenset[str]
    system: str
    _own: frozenset[str] = field(default=frozenset())

    @property
    def first(self) -> Shape:
        """The one that all others were measured by."""
        return self.shapes[0]

    @property
    def count(self) -> int:
        """Records of all its shapes."""
        return sum(shape.count for shape in self.shapes)

    def has(self, shape: Shape, own: frozenset[str]) -> bool:
        """Is a shape, with its `own` keys, of this kind?"""
        first = self.first.keys
        same, all_keys = len(first & shape.keys), len(first | shape.keys)
        if same == all_keys:
            return True
        if not self._own or not own:
            return 4 * same >= 3 * all_keys
        n_own = len(self._own & own)
        return 2 * same >= all_keys and 2 * n_own >= min(len(self._own), len(own)) and bool(self.keys & own)


def kinds(shapes: Iterable[Shape], everybodys: Collection[str]) -> list[Kind]:
    """The kinds that shapes are of, the largest first; `everybodys` are keys in small letters that tell nothing."""
    found: dict[tuple[str, ...], list[Kind]] = defaultdict(list)
    every = sorted(shapes, key=lambda shape: (-shape.count, shape.id))
    is_system = _systems(every)
    for shape in every:
        of = (shape.source, shape.format, shape.reason, shape.program)
        system = shape.system if is_system[(*of, shape.keys)] else ""
        own = frozenset(key for key in shape.keys if key.lower() not in everybodys)
        beside = found[(*of, system)]
        kind = next((each for each in beside if each.has(shape, own)), None)
        if kind is None:
            beside.append(Kind([shape], shape.keys, system, own))
        else:
            kind.shapes.append(shape)
            kind.keys &= shape.keys
    return sorted((each for some in found.values() for each in some), key=lambda kind: (-kind.count, kind.first.id))


def _systems(shapes: Iterable[Shape]) -> dict[tuple[object, ...], bool]:
    """By source and set of keys: is what stands where systems are named the name of one?"""
    names = defaultdict[tuple[object, ...], set[str]](set)
    for shape in shapes:
        names[shape.source, shape.format, shape.reason, shape.program, shape.keys].add(shape.system)
    return {of: len(each) <= _SYSTEMS_MAX for of, each in names.items()}
