"""Which objects were taken, so that a listing does not fetch them again; derived: a lost row costs a fetch, never an event."""

from __future__ import annotations

import threading
from collections.abc import Collection

import sqlalchemy as sa

from muniment.access.database import METADATA

__all__ = ["Done"]

_TABLE = sa.Table(
    "pulled_objects",
    METADATA,
    sa.Column("place", sa.String(512), primary_key=True),
    sa.Column("key", sa.String(1024), primary_key=True),
    sa.Column("etag", sa.String(128), nullable=False),
    sa.Column("day", sa.String(10), nullable=False),
)


class Done:
    """Objects of all pulls, by place (source, bucket, prefix). Thread-safe."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        METADATA.create_all(engine, tables=[_TABLE])

    def has(self, place: str, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (key, etag), which were taken."""
        wanted = sa.select(_TABLE.c.key, _TABLE.c.etag).where(
            _TABLE.c.place == place, _TABLE.c.key.in_([key for key, _ in keys])
        )
        with self._engine.connect() as connection:
            return {(str(row[0]), str(row[1])) for row in connection.execute(wanted)} & set(keys)

    def add(self, place: str, key: str, etag: str, day: str) -> None:
        """An object is in the ledger whole."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_TABLE.delete().where(_TABLE.c.place == place, _TABLE.c.key == key))
            connection.execute(_TABLE.insert().values(place=place, key=key, etag=etag, day=day))

    def newest_day(self, place: str) -> str:
        """The latest day of an object taken; empty when there is none."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(sa.func.max(_TABLE.c.day)).where(_TABLE.c.place == place)).scalar()
        return str(found or "")

    def forget_before(self, place: str, day: str) -> None:
        """Objects of days that are not listed any more."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_TABLE.delete().where(_TABLE.c.place == place, _TABLE.c.day != "", _TABLE.c.day < day))
