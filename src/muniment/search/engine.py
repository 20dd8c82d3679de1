"""The column store behind one small interface: embedded chDB or ClickHouse nodes, the same SQL and bound parameters.

Rules: values are always bound, never written into SQL; every read has a time and a memory limit; a read never waits
for a write and a write never for a read (each has its own connection, measured: 2 ms beside a 30 s scan). A chDB
folder has exactly one engine per process and does not survive a fork: open it after any fork, in the one process
that owns writer and store. Stops at connections: what the tables look like is `schema`, what goes in is `projector`.

URLs: `chdb:///path`, or `clickhouse://user:password@host:port[,host:port...]/database[?cluster=name&shards=n]`.
With a cluster, host number i holds shard `i % shards`; we write to each host ourselves and read through `Distributed`.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from muniment.embedded import Embedded
from muniment.errors import BusyError, ConfigError, StorageError
from muniment.limits import (
    MIB,
    SEARCH_CONNECTIONS,
    SEARCH_QUERY_BYTES_MAX,
    SEARCH_SERVER_BYTES_MAX,
    SEARCH_TIMEOUT_MS,
)
from muniment.search.running import RUNNING_SETTINGS, Running

__all__ = ["Engine", "Node", "Rows", "open_engine", "set_aside"]

_DATABASE = "muniment"
_EMBEDDED_OPTIONS: Mapping[str, int] = {
    "max_server_memory_usage": SEARCH_SERVER_BYTES_MAX,
    "mark_cache_size": 48 * MIB,
    "index_mark_cache_size": 16 * MIB,
    "index_uncompressed_cache_size": 48 * MIB,
    "primary_index_cache_size": 32 * MIB,
    "uncompressed_cache_size": 32 * MIB,
    "query_condition_cache_size": 16 * MIB,
    "compiled_expression_cache_size": 16 * MIB,
    "background_pool_size": 2,
    "background_schedule_pool_size": 2,
    "max_thread_pool_size": 256,
}
_EMBEDDED_SETTINGS: Mapping[str, int | str] = {
    "exclude_materialize_skip_indexes_on_insert": "by_words",  # 8 us an event; the first merge makes it
    "max_threads_min_free_memory_per_thread": 0,  # its default, 1 GiB, would leave every query one thread
    "max_insert_threads_min_free_memory_per_thread": 0,
}
_READ_SETTINGS: Mapping[str, int | str] = {
    "max_threads": 2,
    "max_memory_usage": SEARCH_QUERY_BYTES_MAX,
    "max_bytes_before_external_group_by": SEARCH_QUERY_BYTES_MAX // 2,
    "max_bytes_before_external_sort": SEARCH_QUERY_BYTES_MAX // 2,
    "use_skip_indexes_for_disjunctions": 1,
    "max_query_size": 4 * MIB,  # which entry knows a record is 260 KB of SQL where any of them may
    "use_uncompressed_cache": 1,  # up to a million rows; a fifth off the needle and the small top lists
}
_WRITE_SETTINGS: Mapping[str, int | str] = {
    "max_insert_threads": 1,
    "max_threads": 2,
    "min_insert_block_size_rows": 1_048_576,
    "date_time_input_format": "best_effort",
    "max_query_size": 4 * MIB,  # the whole mapping of unknown JSON is 260 KB of SQL
    # A mapping is planned anew for every block: what helps nothing at 10,000 rows must not cost at ten.
    "query_plan_enable_optimizations": 0,
    "compile_expressions": 0,
    "optimize_and_compare_chain": 0,  # hashes all SELECTs below for every AND: 8 of 10 parts of a mapping's planning
}
_DAMAGE_CODES = (
    "CHECKSUM_DOESNT_MATCH", "CORRUPTED_DATA", "CANNOT_READ_ALL_DATA", "ATTEMPT_TO_READ_AFTER_EOF", "CANNOT_DECOMPRESS",
    "UNKNOWN_FORMAT_VERSION", "UNKNOWN_COMPRESSION_METHOD", "UNKNOWN_CODEC", "TOO_LARGE_SIZE_COMPRESSED",
    "FILE_DOESNT_EXIST", "NO_FILE_IN_DATA_PART", "BAD_SIZE_OF_FILE_IN_DATA_PART", "SEEK_POSITION_OUT_OF_BOUND",
    "SIZES_OF_COLUMNS_DOESNT_MATCH", "INCORRECT_DATA",
)  # fmt: skip
_TIMEOUT_CODES = ("TIMEOUT_EXCEEDED", "TOO_SLOW", "QUERY_WAS_CANCELLED", "MEMORY_LIMIT_EXCEEDED")


@dataclass(frozen=True, slots=True)
class Rows:
    """A result: column names, and one tuple per row."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(slots=True)
class Node:
    """One place that holds rows: the embedded engine, or one ClickHouse host. Owns its connections."""

    name: str
    shard: int
    connect: Callable[[Mapping[str, int | str]], Any]
    is_shared: bool  # one connection serves many threads (HTTP); chDB connections serve one call at a time
    is_suspect: bool = False  # a read met what looks like damage: its parts should be checked
    _idle: list[Any] = field(default_factory=list)
    _waiting: deque[queue.SimpleQueue[Any]] = field(default_factory=deque)
    _made: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writer: Any = None
    write_lock: threading.RLock = field(default_factory=threading.RLock)
    _running: list[tuple[str, Running]] = field(default_factory=list)

    def run(self, name: str, statement: Callable[[str], str], columns_sql: str) -> Running:
        """Start a statement that rows go through; for the embedded engine. It ends with the node at the latest."""
        client = self.connect({**_WRITE_SETTINGS, **RUNNING_SETTINGS})
        started = Running(client, statement, columns_sql)
        with self._lock:
            self._running = [(name, started), *(each for each in self._running if not each[1].is_closed)]
        return started

    def stop_running(self, start: str = "") -> None:
        """End such statements, those whose name starts so, that their tables can be dropped."""
        with self._lock:
            running = [each for name, each in self._running if name.startswith(start)]
        for each in running:
            each.close()

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """A connection for reading; waits when all are in use, and who came first has the first."""
        client = self._take()
        try:
            yield client
        finally:
            self._give(client)

    def _take(self) -> Any:
        place: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._made < SEARCH_CONNECTIONS:
                client = self.connect(_READ_SETTINGS)
                self._made += 1
                return client
            self._waiting.append(place)
        try:
            return place.get(timeout=SEARCH_TIMEOUT_MS / 1000)
        except queue.Empty:
            with self._lock:
                if place not in self._waiting:  # it came in this moment
                    return place.get_nowait()
                self._waiting.remove(place)
            raise BusyError("all search connections are in use", retry_after_ms=1_000) from None

    def _give(self, client: Any) -> None:
        with self._lock:
            if self._waiting:  # handed over: put back, whoever is running would have it again
                self._waiting.popleft().put(client)
            else:
                self._idle.append(client)

    @contextmanager
    def writer(self) -> Iterator[Any]:
        """The node's one writing connection."""
        with self.write_lock:
            if self._writer is None:
                self._writer = self.connect(_WRITE_SETTINGS)
            yield self._writer

    def forget(self) -> None:
        """Drop the connections, so that the next use connects anew."""
        with self._lock:
            self._writer = None
            for client in self._idle:
                client.close()
                self._made -= 1
            self._idle.clear()

    def close(self) -> None:
        """Close every connection."""
        self.stop_running()
        with self.write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        with self._lock:
            for client in self._idle:
                client.close()
            self._idle.clear()
            self._made = 0


class Engine:
    """The store's connections. Thread-safe."""

    def __init__(self, nodes: Sequence[Node], *, cluster: str = "", database: str = _DATABASE) -> None:
        self.nodes = tuple(nodes)
        self.cluster = cluster
        self.database = database
        self.shards = 1 + max(node.shard for node in self.nodes)
        self._first = 0

    @property
    def local_table(self) -> str:
        """The MergeTree table each node writes; `events` is what is read."""
        return "events_local" if self.cluster else "events"

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        timeout_ms: int = SEARCH_TIMEOUT_MS,
        tag: str = "",
        node: Node | None = None,
    ) -> Rows:
        """Read rows; `tag` names the query for `cancel`."""
        settings: dict[str, object] = {"max_execution_time": max(1, timeout_ms // 1000)}
        if tag:
            settings["log_comment"] = tag

        def run(client: Any) -> Rows:
            answer = client.query(sql, parameters=dict(parameters or {}), settings=settings)
            return Rows(answer.column_names, answer.result_rows)

        rows: Rows = self._read(run, node)
        return rows

    def query_arrow(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        timeout_ms: int = SEARCH_TIMEOUT_MS,
        settings: Mapping[str, int] | None = None,
    ) -> pa.Table:
        """Read an Arrow table; `settings` are the engine's own, for this query, which has none in its text."""
        given = {
            "max_execution_time": max(1, timeout_ms // 1000),
            "output_format_arrow_string_as_string": 1,
            **(settings or {}),
        }
        # In the text: the client would set and reset each by a statement of its own, 2 ms a time.
        text = f"{sql} SETTINGS {', '.join(f'{name} = {value}' for name, value in given.items())}"

        def run(client: Any) -> pa.Table:
            return client.query_arrow(text, parameters=dict(parameters or {}))

        table: pa.Table = self._read(run, None)
        return table

    def cancel(self, tag: str) -> None:
        """Stop the running queries named `tag`, on every node that can be reached."""
        for node in self.nodes:
            try:
                with node.reader() as client:
                    client.command(
                        "KILL QUERY WHERE Settings['log_comment'] = {tag:String} AND query NOT LIKE 'KILL%' ASYNC",
                        parameters={"tag": tag},
                    )
            except ClickHouseError:
                node.forget()

    def command(self, sql: str, parameters: Mapping[str, object] | None = None, *, node: Node | None = None) -> None:
        """Run a statement on `node`, or on every node."""
        for each in (node,) if node else self.nodes:
            with each.writer() as client, _errors(each):
                client.command(sql, parameters=dict(parameters or {}))

    def insert(self, node: Node, table: str, rows: pa.Table) -> None:
        """Insert an Arrow table into `table` on one node: whole, or not at all in each partition."""
        with node.writer() as client, _errors(node):
            if node.is_shared:
                client.insert_arrow(table, rows)
            else:
                _insert_from_memory(client, table, rows)

    def broken_parts(self, node: Node, table: str) -> list[tuple[str, str]]:
        """Read every file of every part of a table against its checksum; (part, what is wrong) of those that fail."""
        with _errors(node), node.reader() as client:
            said = client.command(
                f"CHECK TABLE {table} SETTINGS check_query_single_value_result = 0, max_execution_time = 0"
            )
        text = said if isinstance(said, str) else "\t".join(map(str, said))
        lines = (line.split("\t", 2) for line in text.split("\n") if line)
        return [(line[0], line[2]) for line in lines if len(line) == 3 and line[1] == "0"]

    def take_detached(self, node: Node) -> list[tuple[str, str]]:
        """Parts the engine itself set aside as broken when it started, which are removed by this; (part, why)."""
        rows = self.query(
            "SELECT table, name, reason FROM system.detached_parts "
            "WHERE database = currentDatabase() AND startsWith(reason, 'broken')",
            node=node,
        ).rows
        for table, part, _ in rows:
            self.command(
                f"ALTER TABLE `{table}` DROP DETACHED PART {{part:String}} SETTINGS allow_drop_detached = 1",
                {"part": part},
                node=node,
            )
        return [(str(part), str(reason)) for _, part, reason in rows]

    def drop_part(self, node: Node, table: str, part: str) -> None:
        """Remove a part and its rows."""
        self.command(f"ALTER TABLE {table} DROP PART {{part:String}}", {"part": part}, node=node)

    def close(self) -> None:
        """Close every connection."""
        for node in self.nodes:
            node.close()

    def _read(self, run: Callable[[Any], Any], node: Node | None) -> Any:
        tried: StorageError | None = None
        order = (node,) if node else self.nodes[self._first :] + self.nodes[: self._first]
        for each in order:
            try:
                with _errors(each), _damage(each), each.reader() as client:
                    return run(client)
            except StorageError as error:  # this node is away: the next may have the same rows
                if not self.cluster or "Code:" in str(error):
                    raise
                each.forget()
                self._first = (self.nodes.index(each) + 1) % len(self.nodes)
                tried = error
        raise tried or StorageError("no node of the search store answers")


def _insert_from_memory(client: Any, table: str, rows: pa.Table) -> None:
    """Hand rows to the embedded engine in memory. The client would write them, in the clear, to a file in the
    system's temporary folder, where a kill leaves it; this is also a third faster.
    """
    file = os.memfd_create("muniment-insert")
    try:
        with os.fdopen(file, "wb", closefd=False) as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        columns = ", ".join(f"`{name}`" for name in rows.schema.names)
        client.command(f"INSERT INTO {table} ({columns}) FROM INFILE '/proc/self/fd/{file}' FORMAT ArrowStream")
    finally:
        os.close(file)


@contextmanager
def _errors(node: Node) -> Iterator[None]:
    """The store's own errors, told by who must act."""
    try:
        yield
    except ClickHouseError as error:
        text = str(error)
        if any(code in text for code in _TIMEOUT_CODES):
            raise BusyError(
                "the search took too long or too much memory; narrow the time range", retry_after_ms=2_000
            ) from error
        raise StorageError(f"search store: {text[:2_000]}", path=node.name) from error
    except OSError as error:
        raise StorageError(f"search store: {error}", path=node.name) from error


@contextmanager
def _damage(node: Node) -> Iterator[None]:
    """A read that met damage: the node is noted for a check, the reader told to come again."""
    try:
        yield
    except (ClickHouseError, UnicodeDecodeError) as error:  # the second: an error's text cut out of a broken answer
        if isinstance(error, ClickHouseError) and not any(code in str(error) for code in _DAMAGE_CODES):
            raise
        node.is_suspect = True
        raise BusyError(
            "a part of the search store cannot be read; it is checked, and made anew from the ledger where it is damaged",
            retry_after_ms=10_000,
        ) from error


def set_aside(url: str, now: str) -> str:
    """Rename the folder of an embedded store that does not open, so that a new one can be made; where it is now.

    Empty when that is not what to do: it is no embedded store, it is not there, or another process has it open.
    """
    path = Path(url.removeprefix("chdb://"))
    if not url.startswith("chdb://") or not path.is_dir() or not any(path.iterdir()):
        return ""
    try:
        with (path / "status").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except OSError:
        return ""
    aside = path.with_name(f"{path.name}.damaged-{now}")
    try:
        path.rename(aside)
    except OSError as error:
        raise StorageError(f"cannot set the damaged search store aside: {error}", path=str(path)) from error
    return str(aside)


def open_engine(url: str) -> Engine:
    """Open the store named by `url`; creates its database when there is none.

    Raises:
        ConfigError: the URL is of no known kind.
        StorageError: it does not open.
    """
    if url.startswith("chdb://"):
        return _open_embedded(url.removeprefix("chdb://"))
    if url.startswith("clickhouse://"):
        return _open_cluster(url)
    raise ConfigError("must start with chdb:// or clickhouse://", setting="store")


def _open_embedded(path: str) -> Engine:
    os.makedirs(path, mode=0o700, exist_ok=True)

    def begin(client: Any) -> None:
        client.command(f"CREATE DATABASE IF NOT EXISTS {_DATABASE} ENGINE = Atomic")
        client.database = _DATABASE

    def connect(settings: Mapping[str, int | str]) -> Any:
        return Embedded(path, {**settings, **_EMBEDDED_SETTINGS}, _EMBEDDED_OPTIONS, begin)

    node = Node(name=path, shard=0, connect=connect, is_shared=False)
    with _errors(node), node.writer():  # fails here, with the path, when another process has it
        pass
    return Engine([node])


def _open_cluster(url: str) -> Engine:
    parts = urlsplit(url)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    database = parts.path.strip("/") or _DATABASE
    shards = int(options.get("shards", "1"))
    names = [name for name in hosts.split(",") if name]
    if not names or not database.isidentifier() or not 1 <= shards <= len(names):
        raise ConfigError(
            "expected clickhouse://user:password@host:port[,host:port]/database[?cluster=name&shards=n]",
            setting="store",
        )
    cluster = options.get("cluster", "")
    if cluster and not cluster.isidentifier():
        raise ConfigError(f"{cluster!r} is not a cluster name", setting="store")

    def connector(name: str) -> Callable[[Mapping[str, int | str]], Any]:
        host, _, port = name.partition(":")

        def connect(settings: Mapping[str, int | str]) -> Any:
            arguments: dict[str, Any] = {
                "host": host,
                "port": int(port or 8123),
                "username": unquote(user) or "default",
                "password": unquote(password),
                "settings": dict(settings),
                "autogenerate_session_id": False,
                "connect_timeout": 5,
            }
            with clickhouse_connect.get_client(**arguments) as first:
                first.command(f"CREATE DATABASE IF NOT EXISTS {database} ENGINE = Atomic")
            return clickhouse_connect.get_client(database=database, **arguments)

        return connect

    nodes = [
        Node(name=name, shard=number % shards, connect=connector(name), is_shared=True)
        for number, name in enumerate(names)
    ]
    return Engine(nodes, cluster=cluster, database=database)
