"""The same work on PostgreSQL 15 and SQLite FTS5: durable batches in, the six questions out."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg

from bench.corpus import START_NS

__all__ = ["Peer", "postgres", "sqlite"]

DAY_NS = 86_400 * 10**9
Row = tuple[int, str, str, str, str, str, str, str]


class Peer(Protocol):
    """A store that takes batches durably and answers the six questions."""

    name: str

    def load(self, bodies: Iterable[bytes]) -> float: ...

    def query(self, name: str, values: Mapping[str, object]) -> int: ...

    def n_bytes(self) -> int: ...


def _rows(body: bytes) -> list[Row]:
    found = []
    for line in body.split(b"\n"):
        e = json.loads(line)
        context = e["context"]
        found.append((
            int(time.mktime(time.strptime(e["occurred_at"][:19], "%Y-%m-%dT%H:%M:%S"))), e["actor"]["id"], e["action"],
            e["outcome"], context["ip"], context["request_id"], e["message"], line.decode(),
        ))  # fmt: skip
    return found


class _Postgres:
    name = "PostgreSQL 15"

    def __init__(self, dsn: str) -> None:
        self._db = psycopg.connect(dsn)
        self._db.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        self._db.execute(
            "CREATE TABLE events (n bigserial PRIMARY KEY, time bigint, actor text, action text, outcome text, ip text, "
            "request_id text, message text, record text)"
        )
        for column in ("time", "actor", "request_id"):
            self._db.execute(f"CREATE INDEX ON events ({column})")
        self._db.execute("CREATE INDEX ON events USING gin (to_tsvector('simple', message))")
        self._db.commit()

    def load(self, bodies: Iterable[bytes]) -> float:
        began, count = time.perf_counter(), 0
        for body in bodies:
            rows = _rows(body)
            with (
                self._db.cursor() as cursor,
                cursor.copy(
                    "COPY events (time, actor, action, outcome, ip, request_id, message, record) FROM STDIN"
                ) as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            self._db.commit()
            count += len(rows)
        took = time.perf_counter() - began
        self._db.autocommit = True
        self._db.execute("VACUUM ANALYZE events")
        self._db.autocommit = False
        return count / took

    def query(self, name: str, values: Mapping[str, object]) -> int:
        sql = {
            "needle": "SELECT record FROM events WHERE request_id = %(request_id)s",
            "user's day": "SELECT record FROM events WHERE actor = %(user)s AND time BETWEEN %(day)s AND %(day)s + 86400 "
            "ORDER BY time DESC LIMIT 100",
            "top-10 failed": "SELECT ip, count(*) FROM events WHERE action = 'user.login' AND outcome = 'failure' "
            "GROUP BY ip ORDER BY 2 DESC LIMIT 10",
            "word": "SELECT record FROM events WHERE to_tsvector('simple', message) @@ to_tsquery('simple', %(word)s) "
            "ORDER BY n DESC LIMIT 100",
            "hour x action": "SELECT time / 3600, action, count(*) FROM events GROUP BY 1, 2",
            "substring": "SELECT record FROM events WHERE record LIKE '%%' || %(part)s || '%%' ORDER BY n DESC LIMIT 100",
        }[name]
        return len(self._db.execute(sql, dict(values)).fetchall())

    def n_bytes(self) -> int:
        row = self._db.execute("SELECT pg_total_relation_size('events')").fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def postgres() -> Iterator[Peer]:
    """A cluster of its own in a temporary folder, fsync and synchronous commit on (the defaults)."""
    tools = Path("/usr/lib/postgresql/15/bin")
    with tempfile.TemporaryDirectory(prefix="muniment-pg-") as folder:
        subprocess.run(["chown", "postgres", folder], check=True)
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = f"{folder}/data"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_postgres, str(tools / "initdb"), "-D", data, "-A", "trust", "-U", "postgres"], **quiet)  # type: ignore[call-overload]
        options = f"-k {folder} -c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=4GB"
        subprocess.run(
            [*as_postgres, str(tools / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", f"{folder}/log", "start"],
            **quiet,
        )  # type: ignore[call-overload]
        try:
            yield _Postgres(f"host={folder} user=postgres dbname=postgres")
        finally:
            subprocess.run([*as_postgres, str(tools / "pg_ctl"), "-D", data, "-m", "fast", "stop"], **quiet)  # type: ignore[call-overload]


class _Sqlite:
    name = "SQLite FTS5"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sqlite3.connect(path)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-400000;"
            "CREATE TABLE events (n INTEGER PRIMARY KEY, time INT, actor TEXT, action TEXT, outcome TEXT, ip TEXT, "
            "request_id TEXT, message TEXT, record TEXT);"
            "CREATE INDEX by_time ON events (time); CREATE INDEX by_actor ON events (actor, time);"
            "CREATE INDEX by_request ON events (request_id);"
            "CREATE VIRTUAL TABLE words USING fts5(message, content='events', content_rowid='n');"
        )

    def load(self, bodies: Iterable[bytes]) -> float:
        began, count = time.perf_counter(), 0
        for body in bodies:
            rows = _rows(body)
            with self._db:
                first = self._db.execute("SELECT coalesce(max(n), 0) + 1 FROM events").fetchone()[0]
                self._db.executemany(
                    "INSERT INTO events (time, actor, action, outcome, ip, request_id, message, record) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
                self._db.executemany(
                    "INSERT INTO words (rowid, message) VALUES (?, ?)",
                    ((first + k, row[6]) for k, row in enumerate(rows)),
                )
            count += len(rows)
        return count / (time.perf_counter() - began)

    def query(self, name: str, values: Mapping[str, object]) -> int:
        sql = {
            "needle": "SELECT record FROM events WHERE request_id = :request_id",
            "user's day": "SELECT record FROM events WHERE actor = :user AND time BETWEEN :day AND :day + 86400 "
            "ORDER BY time DESC LIMIT 100",
            "top-10 failed": "SELECT ip, count(*) FROM events WHERE action = 'user.login' AND outcome = 'failure' "
            "GROUP BY ip ORDER BY 2 DESC LIMIT 10",
            "word": "SELECT e.record FROM words w JOIN events e ON e.n = w.rowid WHERE words MATCH :word "
            "ORDER BY w.rowid DESC LIMIT 100",
            "hour x action": "SELECT time / 3600, action, count(*) FROM events GROUP BY 1, 2",
            "substring": "SELECT record FROM events WHERE record LIKE '%' || :part || '%' ORDER BY n DESC LIMIT 100",
        }[name]
        return len(self._db.execute(sql, dict(values)).fetchall())

    def n_bytes(self) -> int:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._path.stat().st_size


@contextmanager
def sqlite() -> Iterator[Peer]:
    """A database in a temporary folder, WAL with synchronous=FULL."""
    with tempfile.TemporaryDirectory(prefix="muniment-sqlite-") as folder:
        yield _Sqlite(Path(folder) / "events.db")


def day_of_peer(number_ns: int) -> int:
    """The start of the day of a moment, in the seconds the peers store."""
    return (number_ns - (number_ns - START_NS) % DAY_NS) // 10**9
