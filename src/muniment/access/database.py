"""The metadata database (people, keys, sources, saved searches): SQLite by default, PostgreSQL by URL.

SQLite runs in WAL with `synchronous=FULL` and exactly one writing connection (INTEGRITY.md L10); the ledger never
lives here. Rooms bring their own tables and share the engine that `app.py` opens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from muniment.errors import ConfigError

__all__ = ["METADATA", "forget_deleted", "open_database"]

METADATA = MetaData()
"""The tables of the access room."""


def open_database(url: str) -> Engine:
    """An engine for `url`, its folder made if it is a file.

    Raises:
        ConfigError: the URL names no database that can be opened.
    """
    try:
        if not url.startswith("sqlite"):
            return create_engine(url, pool_pre_ping=True)
        path = url.partition("///")[2]
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        # One connection, lent to one thread at a time. A StaticPool lends it to all at once, and their transactions run
        # into each other: with two writing threads, acknowledged rows were lost and rolled-back ones kept.
        engine = create_engine(
            url, poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
        )
        event.listen(engine, "connect", _tune_sqlite)
        with engine.connect():
            return engine
    except (SQLAlchemyError, OSError) as error:
        raise ConfigError(f"cannot open it: {error}", setting="database") from error


def forget_deleted(engine: Engine) -> None:
    """Empty SQLite's write-ahead log, so that what was overwritten or deleted is in no file of ours.

    Freed pages are overwritten as they go (secure_delete). PostgreSQL keeps old rows until it vacuums, and logs as long as
    its operator wants.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _tune_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "mmap_size=0"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
