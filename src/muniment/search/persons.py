"""A person who is erased, as tables beside the ledger know them: what else they are called, and texts without them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from muniment.search.engine import Engine

__all__ = ["ERASED", "Person", "person_of"]

ERASED: Final = "[erased]"
"""What stands where a person was named."""

_COLUMNS: Final = ("actor_id", "actor_email", "actor_name")
_NAMES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Person:
    """The ids, addresses and names of one person.

    >>> anna = Person(("anna@example.com", "u-17"))
    >>> anna.is_called(" Anna@Example.com"), anna.out_of("actor:u-17 OR actor:u-170")
    (True, 'actor:[erased] OR actor:u-170')
    """

    names: tuple[str, ...]

    def is_called(self, value: str) -> bool:
        """Is the value, as a whole, one of the names?"""
        return _spelt(value) in {_spelt(name) for name in self.names}

    def out_of(self, text: str) -> str:
        """The text with each name replaced where it stands as a word of its own, in any case."""
        for name in sorted(self.names, key=len, reverse=True):
            if name.strip():
                text = re.sub(
                    rf"(?<![\w@.-]){re.escape(name.strip())}(?![\w@-]|\.\w)", ERASED, text, flags=re.IGNORECASE
                )
        return text


def _spelt(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().lower()


def person_of(engine: Engine, identifier: str, source: str = "") -> Person:
    """Everything the store calls a person by; to be asked while their keys still exist.

    A name that several accounts have in common is not taken: it says nothing about one of them.
    """
    spelt = "lowerUTF8(normalizeUTF8NFKC(toString({0}))) = {{name:String}}"
    where = " OR ".join(spelt.format(column) for column in ("actor_id", "actor_email"))
    own = "AND source = {source:String}" if source else ""
    rows = engine.query(
        f"SELECT DISTINCT toString(actor_id), toString(actor_email), toString(actor_name) FROM events "
        f"WHERE ({where}) {own} LIMIT {_NAMES_MAX}",
        {"name": _spelt(identifier), "source": source},
    ).rows
    found = {column: {str(row[at]) for row in rows} - {""} for at, column in enumerate(_COLUMNS)}
    shared = _shared(engine, sorted(found["actor_name"]))
    names = {identifier, *found["actor_id"], *found["actor_email"], *(found["actor_name"] - shared)}
    return Person(tuple(sorted(names)))


def _shared(engine: Engine, names: Sequence[str]) -> set[str]:
    """Those of the names that more than one account has."""
    if not names:
        return set()
    rows = engine.query(
        "SELECT toString(actor_name) FROM events WHERE toString(actor_name) IN {names:Array(String)} "
        "GROUP BY actor_name HAVING uniqExactIf(actor_id, actor_id != '') > 1",
        {"names": list(names)},
    ).rows
    return {str(row[0]) for row in rows}
