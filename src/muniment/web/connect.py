"""How a system is connected, for the pages: the texts of `sources.connect` with the doors as the pages know them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.sources import connect
from muniment.sources.connect import Snippet
from muniment.web.backend import Door

__all__ = ["Snippet", "snippets"]


def snippets(doors: Sequence[Door]) -> tuple[Snippet, ...]:
    """What to paste, for each door that is open. The key is a source's own: `muniment sources add NAME`."""
    return connect.snippets({door.kind: door.address for door in doors if door.is_open})
