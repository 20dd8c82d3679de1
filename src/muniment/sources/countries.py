"""Countries as vendors write them (codes of two or three letters, English names) to ISO 3166-1 alpha-2, as SQL.

The table is data/countries.tsv, which names its origin. Pure, but for reading that file once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from muniment.sources.sql import array

__all__ = ["country_sql", "table"]

_FILE: Final = Path(__file__).parent / "data/countries.tsv"


@cache
def table() -> dict[str, str]:
    """Codes of three letters and names, in lower case, to codes of two.

    >>> table()["usa"], table()["south korea"], table()["türkiye"]
    ('US', 'KR', 'TR')
    """
    found: dict[str, str] = {}
    for line in _FILE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        two, three, names = line.split("\t")
        found.setdefault(three.lower(), two)
        for name in names.split("|"):
            found.setdefault(name, two)
    return found


def country_sql(sql: str) -> str:
    """The code of two letters, '' for what is no country's name."""
    text = f"lowerUTF8(trimBoth({sql}))"
    return f"if(match({text}, '^[a-z]{{2}}$'), upper({text}), transform({text}, {array(list(table()))}, {array(list(table().values()))}, ''))"
