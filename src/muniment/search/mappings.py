"""The source catalogue as the store's mapping set: one compiled mapping per entry, and who is recognised by content."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.search.schema import MappingSet
from muniment.sources.catalogue import Catalogue
from muniment.sources.compiler import compile_entry
from muniment.sources.recognition import Recogniser
from muniment.sources.together import Together

__all__ = ["AUTO", "mapping_set"]

AUTO = "auto"
"""The format of a source whose events are recognised one by one."""


def mapping_set(catalogue: Catalogue) -> MappingSet:
    """Compile every entry; an entry that others are found inside (`syslog`) is recognised from its content too."""
    mappings = {name: compile_entry(entry) for name, entry in catalogue.items()}
    outer = sorted({entry.inside for entry in catalogue.values() if entry.inside})
    recognise = {AUTO: Recogniser(catalogue)} | {name: Recogniser(catalogue, within=name) for name in outer}
    return MappingSet(mappings, recognise, together=_together(catalogue, outer))


def _together(catalogue: Catalogue, outer: Sequence[str]) -> dict[str, tuple[Together, ...]]:
    """By the format of a source: its own entry's rule, and those of the entries its records may be found to be."""
    rules = [(entry, entry.together) for entry in catalogue.values() if entry.together is not None]
    found = {AUTO: tuple(rule for _, rule in rules)}
    found |= {name: tuple(rule for entry, rule in rules if entry.inside == name) for name in outer}
    found |= {entry.name: (rule,) for entry, rule in rules}
    return {name: kinds for name, kinds in found.items() if kinds}
