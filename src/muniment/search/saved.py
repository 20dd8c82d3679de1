"""Saved searches: a name, an owner, the query and how to show it; in the database of people and settings.

Rules: names are unique per owner; a shared search is seen by everyone and changed by its owner only. The text is
parsed before it is kept, so a saved search always runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from muniment.errors import DeniedError, RejectedError
from muniment.search.columns import COLUMNS
from muniment.search.query.parse import parse_query

__all__ = ["SavedSearch", "SavedSearches"]

_NAME_CHARS_MAX = 120
_metadata = sa.MetaData()
_table = sa.Table(
    "saved_searches",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("name", sa.String(_NAME_CHARS_MAX), nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("range", sa.String(80), nullable=False),
    sa.Column("columns", sa.Text, nullable=False),
    sa.Column("is_shared", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.UniqueConstraint("owner", "name"),
)


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """One saved search. `range` is what the time picker shows (`24h`, or `start/end` in RFC 3339)."""

    id: int
    owner: str
    name: str
    query: str
    range: str
    columns: tuple[str, ...]
    is_shared: bool
    version: int


class SavedSearches:
    """The saved searches in one database."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        _metadata.create_all(database)

    def save(
        self, owner: str, name: str, query: str, range: str = "", columns: tuple[str, ...] = (), is_shared: bool = False
    ) -> SavedSearch:
        """Keep a search, or replace the owner's search of that name."""
        name = name.strip()
        if not 1 <= len(name) <= _NAME_CHARS_MAX:
            raise RejectedError(f"must have 1 to {_NAME_CHARS_MAX} characters", field="name")
        parse_query(query, 0)
        if unknown := [column for column in columns if column not in COLUMNS and column != "record"]:
            raise RejectedError(f"{unknown[0]!r} is not a column", field="columns")
        values = {"query": query, "range": range[:80], "columns": ",".join(columns), "is_shared": is_shared}
        mine = (_table.c.owner == owner) & (_table.c.name == name)
        with self._database.begin() as connection:
            changed = connection.execute(sa.update(_table).where(mine).values(version=_table.c.version + 1, **values))
            if not changed.rowcount:
                connection.execute(sa.insert(_table).values(owner=owner, name=name, version=1, **values))
            return _saved(connection.execute(sa.select(_table).where(mine)).one())

    def visible_to(self, owner: str) -> list[SavedSearch]:
        """One's own and the shared ones, by name."""
        seen = (_table.c.owner == owner) | _table.c.is_shared
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_table).where(seen).order_by(_table.c.name, _table.c.id))
            return [_saved(row) for row in rows]

    def get(self, owner: str, id: int) -> SavedSearch | None:
        """A search that `owner` may see."""
        return next((each for each in self.visible_to(owner) if each.id == id), None)

    def remove(self, owner: str, id: int) -> None:
        """Remove one's own search."""
        with self._database.begin() as connection:
            mine = (_table.c.id == id) & (_table.c.owner == owner)
            if not connection.execute(sa.delete(_table).where(mine)).rowcount:
                raise DeniedError("only the owner of a saved search may remove it", permission="saved_search.remove")


def _saved(row: sa.Row[tuple[object, ...]]) -> SavedSearch:
    v = row._mapping
    columns = tuple(filter(None, str(v["columns"]).split(",")))
    return SavedSearch(
        v["id"], v["owner"], v["name"], v["query"], v["range"], columns, bool(v["is_shared"]), v["version"]
    )
