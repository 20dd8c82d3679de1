"""MITRE ATT&CK's tactics and techniques by name, for rules that are tagged with them. Pure.

The table is `data/attack.json`: identifiers, names and tactics of Enterprise ATT&CK, reproduced under MITRE's terms of use
(`data/ATTACK-LICENSE.txt`), whose notice (`notice`) stands wherever names are shown. Tags of other matrices (mobile, ICS) keep their number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

import msgspec

__all__ = ["Technique", "notice", "tactics", "technique", "techniques_of", "version"]


class _Table(msgspec.Struct, frozen=True):
    version: str
    notice: str
    terms: str
    tactics: dict[str, str]
    techniques: dict[str, tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Technique:
    """A technique or sub-technique. `tactics`: names as tags write them, in the matrix's order; empty when unknown."""

    id: str
    name: str
    tactics: tuple[str, ...]

    @property
    def parent(self) -> str:
        """The technique it is part of: its own id when it is no sub-technique."""
        return self.id.partition(".")[0]


@functools.cache
def _table() -> _Table:
    data = (resources.files("muniment.detect") / "data" / "attack.json").read_bytes()
    return msgspec.json.decode(data, type=_Table)


def version() -> str:
    """Which release the names are of."""
    return _table().version


def notice() -> str:
    """What MITRE asks to be shown with its names."""
    return _table().notice


def tactics() -> Mapping[str, str]:
    """Every tactic's name by its tag, in the order of the matrix."""
    return _table().tactics


def technique(id: str) -> Technique:
    """A technique by its number.

    >>> technique("T1110.001").name
    'Brute Force: Password Guessing'
    >>> technique("T9999").name
    ''
    """
    known = _table().techniques
    name, among = known.get(id, ("", []))
    parent = id.partition(".")[0]
    if name and parent != id and parent in known:
        name = f"{known[parent][0]}: {name}"
    return Technique(id, name, tuple(among))


def techniques_of(tags: Iterable[str]) -> list[Technique]:
    """The techniques among a rule's tags.

    >>> [each.id for each in techniques_of(["attack.credential-access", "attack.t1110.001", "iso27001.a.8.16"])]
    ['T1110.001']
    """
    named = (tag.lower().removeprefix("attack.") for tag in tags if tag.lower().startswith("attack.t"))
    return [technique(name.upper()) for name in dict.fromkeys(named) if name[1:5].isdigit()]
