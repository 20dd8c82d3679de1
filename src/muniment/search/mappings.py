"""The source catalogue as the store's mapping set: one compiled mapping per entry, and who is recognised by content."""

from __future__ import annotations

from muniment.search.schema import MappingSet
from muniment.sources.catalogue import Catalogue
from muniment.sources.compiler import compile_entry
from muniment.sources.recognition import Recogniser

__all__ = ["AUTO", "mapping_set"]

AUTO = "auto"
"""The format of a source whose events are recognised one by one."""


def mapping_set(catalogue: Catalogue) -> MappingSet:
    """Compile every entry; an entry that others are found inside (`syslog`) is recognised from its content too."""
    mappings = {name: compile_entry(entry) for name, entry in catalogue.items()}
    outer = sorted({entry.inside for entry in catalogue.values() if entry.inside})
    recognise = {AUTO: Recogniser(catalogue)} | {name: Recogniser(catalogue, within=name) for name in outer}
    return MappingSet(mappings, recognise)
