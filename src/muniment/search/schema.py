"""The tables of the store: `events`, the landing tables in front of it, and the numbered migrations that make them.

Rules: the same statements run on chDB and on every ClickHouse node; a migration runs once per node, in order, and is
never edited after release; landing tables hold no more than the block that is on its way.

On a node, a block lands in memory (`<start>_staged`), by way of `<start>_auto` when each row's format is still to be found.
Each format's rows are mapped by one statement of their own (`<start>_mapped`); then what is made alike of all of them is
made once, in the one insert into `events` that a block is. In the embedded engine statements run on and hand rows to
`<start>_ready` instead (see `streamed`). A row's record is stored without what its columns already say
(`columns.RESTORED`); the column `record` puts it together again on reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from muniment.limits import LATE_S
from muniment.search.columns import COLUMNS, RESTORED, address_sql
from muniment.sources.columns import ANY_TIME, DERIVED
from muniment.sources.finishing import OUTSIDE_COLUMNS, finishing, ip_sql, with_outside
from muniment.sources.sql import quote
from muniment.sources.together import Together

if TYPE_CHECKING:
    import pyarrow as pa

    from muniment.search.engine import Engine, Node

__all__ = [
    "LANDED",
    "UNMAPPED",
    "Made",
    "Mapped",
    "MappingSet",
    "Unmapped",
    "create_landing",
    "drop_landing",
    "events_sql",
    "finished",
    "gathered_sql",
    "in_one",
    "mapped",
    "migrate",
    "migrate_node",
    "pieces_sql",
    "record_sql",
    "unplaced_ready_sql",
    "unplaced_sql",
    "words_sql",
]

_AS_IT_CAME = "if(m.added > 0, concat('{', substring(m.record, m.added + 2)), m.record)"
_RAW_MARK = "\\x1f"  # first byte of a rest that is the whole record, because it has control bytes itself
_MIN_CHARS = 6
_PART = "\\x1e"  # between the texts in which free words are looked for; no query can contain it


class Mapped(Protocol):
    """A compiled mapping: its columns, and the SELECT that makes them from rows with a `record`."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, str]: ...
    def select_sql(self, table_sql: str, passthrough: Sequence[str] = ()) -> str: ...


class Narrows(Protocol):
    """Shorter mappings for records that lack some keys."""

    def mapping(self, records: pa.BinaryArray) -> Mapped: ...


class Recognises(Protocol):
    """Names the mapping of records by their content: which lines may hold of some of them, and an expression over `record`.

    The first line that holds decides. One may ask those before a `cut` alone: then what they do not name is ''.
    """

    @property
    def cuts(self) -> tuple[int, ...]: ...
    def cut_of(self, name: str) -> int: ...
    def signs(self, names: Collection[str]) -> list[str]: ...
    def possible(self, records: pa.BinaryArray, cut: int = 0, like: str = "") -> frozenset[int]: ...
    def sql(self, lines: frozenset[int] | None = None, cut: int = 0) -> str: ...


@dataclass(frozen=True, slots=True)
class MappingSet:
    """All mappings by format, for formats found by content who names the mapping (`auto`, `syslog`), and by format which
    records under it may be parts of one event. `narrows`: of long mappings, who makes a shorter one for a block.
    """

    mappings: Mapping[str, Mapped]
    recognise: Mapping[str, Recognises] = field(default_factory=dict)
    fallback: str = "json"
    together: Mapping[str, Sequence[Together]] = field(default_factory=dict)
    narrows: Mapping[str, Narrows] = field(default_factory=dict)

    def format_of(self, wanted: str) -> str:
        """The format to send a record with: `wanted` when it is known, else the fallback."""
        return wanted if wanted in self.mappings or wanted in self.recognise else self.fallback


def _marker(number: int) -> str:
    return f"\\x{number + 1:02x}" if number < 8 else f"\\x{number + 6:02x}"  # skips TAB, LF and CR


def _rest_sql(texts: Mapping[str, str], record: str) -> str:
    """`record` without the texts of its columns `RESTORED`, '' for one that no row has. Exact for any bytes: see `record_sql`.

    replaceAll(x, v, m) is undone by replaceAll(.., m, v) whenever x is free of m; a record that has any of the
    markers (`is_raw`, found by the projector) is kept whole, behind `_RAW_MARK`.
    """
    sql = record
    for number, name in enumerate(RESTORED):
        if not (text := texts[name]):
            continue
        quoted = f"concat('\"', {text}, '\"')"
        wanted = f"if(length({text}) >= {_MIN_CHARS}, {quoted}, '{_RAW_MARK}')"
        sql = f"replaceAll({sql}, {wanted}, '{_marker(number)}')"
    return f"if(m.is_raw, concat('{_RAW_MARK}', {record}), {sql})"


def record_sql() -> str:
    """The record as it came, from the stored rest and the columns."""
    sql = "rest"
    for number, text in reversed(list(enumerate(RESTORED.values()))):
        sql = f"replaceAll({sql}, '{_marker(number)}', concat('\"', {text}, '\"'))"
    return f"if(startsWith(rest, '{_RAW_MARK}'), substring(rest, 2), {sql})"


def words_sql() -> str:
    """The text free words are looked for in: the rest of the record and the texts taken out of it, lower-case."""
    return f"lower({pieces_sql(RESTORED)})"


def pieces_sql(names: Iterable[str]) -> str:
    """The rest of the record and of the texts taken out of it those of these columns.

    Texts are taken out with their quotes, so no word is ever cut; `_PART` keeps neighbours apart.
    """
    texts = f", '{_PART}', ".join(["rest", *(RESTORED[name] for name in names)])
    return f"concat({texts})"


_MERGING: Final = "merge_selector_base = 16"
"""Parts are merged when there are sixteen of a size, or older ones with nothing better to do: an event is written again half
as often as with the engine's five (measured at 20,000 events/s: 6 us of CPU an event instead of 15 to 19).
"""


def events_sql(table: str) -> str:
    columns = [
        f"`{column.name}` {column.sql_type}" + (f" CODEC({column.codec})" if column.codec else "")
        for column in COLUMNS.values()
    ]
    columns += [
        "rest String CODEC(ZSTD(5))",
        f"record String ALIAS {record_sql()}",
        f"words String ALIAS {words_sql()}",
        "INDEX by_time time TYPE minmax GRANULARITY 1",
        "INDEX by_received received_at TYPE minmax GRANULARITY 1",
        "INDEX by_id id TYPE bloom_filter(0.005) GRANULARITY 1",
        "INDEX by_request lower(request_id) TYPE bloom_filter(0.005) GRANULARITY 1",
        f"INDEX by_words {words_sql()} TYPE tokenbf_v1(57344, 3, 0) GRANULARITY 1",
    ]
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}) ENGINE = MergeTree "
        "PARTITION BY toYYYYMM(received_at) ORDER BY `index` "
        "SETTINGS index_granularity = 8192, merge_max_block_size = 8192, ratio_of_defaults_for_sparse_serialization = 0.9, "
        "max_bytes_to_merge_at_max_space_in_pool = 4294967296, old_parts_lifetime = 30, max_cleanup_delay_period = 30, "
        f"{_MERGING}"
    )


def _migrations(engine: Engine, node: Node) -> Sequence[tuple[str, Sequence[str]]]:
    """Every migration: its name and statements. Append only. A dropped table is filled again from the ledger."""
    local = engine.local_table
    distributed = (
        [
            f"CREATE TABLE IF NOT EXISTS events AS {local} "
            f"ENGINE = Distributed({engine.cluster}, {engine.database}, {local}, intDiv(`index`, 65536))"
        ]
        if engine.cluster
        else []
    )
    made = [events_sql(local), *distributed]
    dropped = [f"DROP TABLE IF EXISTS {name} SYNC" for name in (["events"] if engine.cluster else []) + [local]]
    return [
        ("events", made),
        ("more of a record is kept in its columns", [*dropped, *made]),
        ("parts are merged less often", [f"ALTER TABLE {local} MODIFY SETTING {_MERGING}"]),
    ]


def migrate(engine: Engine) -> None:
    """Bring every node's tables to the newest form."""
    for node in engine.nodes:
        migrate_node(engine, node)


def migrate_node(engine: Engine, node: Node) -> None:
    """Bring one node's tables to the newest form; each migration is recorded after its last statement."""
    engine.command(
        "CREATE TABLE IF NOT EXISTS migrations (version UInt32, name String, at DateTime DEFAULT now()) "
        "ENGINE = MergeTree ORDER BY version",
        node=node,
    )
    done = engine.query("SELECT max(version) FROM migrations", node=node).rows[0][0]
    for version, (name, statements) in enumerate(_migrations(engine, node), 1):
        if version <= done:
            continue
        for statement in statements:  # all are "IF NOT EXISTS": a crash here runs them again
            engine.command(statement, node=node)
        engine.command(
            "INSERT INTO migrations (version, name) SELECT {version:UInt32}, {name:String}",
            {"version": version, "name": name},
            node=node,
        )


_LANDING: Mapping[str, str] = {
    "index": "UInt64",
    "id": "String",
    "source": "LowCardinality(String)",
    "format": "LowCardinality(String)",
    "received_at": "DateTime64(6, 'UTC')",
    "record": "String",
    "added": "UInt32",
    "is_raw": "UInt8",
    "quarantine": "String",
    "earlier": "String",
}
"""`record`: as it came, or with what it carries in front (`envelope.opened`), which are `added` bytes more."""

_CARRIED: Mapping[str, str] = {name: sql_type for name, sql_type in _LANDING.items() if name != "earlier"}
"""What mappings only pass on."""

_MAPPED: Mapping[str, str] = {
    column.name: column.sql_type if column.kind == "number" else "String"
    for column in COLUMNS.values()
    if column.name not in {*_CARRIED, *DERIVED, "late", "drill"}
} | {ANY_TIME: "String"}
"""What mappings make; `sources.finishing` says what times and addresses become of their texts."""


def _typed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {sql_type}" for name, sql_type in columns.items())


@dataclass(frozen=True, slots=True)
class Made:
    """A SELECT, and the columns it makes with their types."""

    sql: str
    columns: Mapping[str, str]

    def view_sql(self, view: str) -> str:
        """Makes a view of it. The types are named, so that the engine need not work them out now."""
        return f"CREATE VIEW IF NOT EXISTS {view} ({_typed(self.columns)}) AS {self.sql}"

    def insert_sql(self, table: str, rows_sql: str = "") -> str:
        """Puts its rows into a table; `rows_sql`: a view of it."""
        columns = ", ".join(f"`{name}`" for name in self.columns)
        return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows_sql or f'({self.sql})'}"


def mapped(mapping: Mapped, landing: str, wanted: str) -> Made:
    """The rows of format `wanted` in `_staged`, as what the mapping makes of them, for `_mapped`."""
    return _mapped(mapping, f"(SELECT * FROM {landing}_staged WHERE format = '{wanted}')", wanted)


def _mapped(mapping: Mapped, rows: str, wanted: str) -> Made:
    if mapping.name != wanted:
        rows = f"(SELECT * REPLACE ('{mapping.name}' AS format) FROM {rows})"
    columns = {**_CARRIED, **{name: _MAPPED[name] for name in mapping.columns}}
    return Made(mapping.select_sql(rows, [f"`{name}`" for name in _CARRIED]), columns)


def in_one(mapping: Mapped, rows: str, *, has_envelopes: bool) -> Made:
    """`rows`, all of the mapping's format, as those of `events` in one statement."""
    made = _mapped(mapping, f"(SELECT * FROM {rows})", mapping.name)
    typed = ", ".join(f"CAST(`{name}`, {quote(sql_type)}) AS `{name}`" for name, sql_type in made.columns.items())
    came = f"(SELECT {typed} FROM ({made.sql}))"
    return finished(came, mapping.columns, has_envelopes=has_envelopes, has_others=False)


def finished(came: str, filled: Collection[str], *, has_envelopes: bool = False, has_others: bool = True) -> Made:
    """The rows that mappings have made as those of `events`: what is made alike of all formats' rows.

    `came`: a table, or a SELECT in brackets; `filled`: its columns that some mapping has made; `has_others`: it has those
    that none has made, too. `has_envelopes`: some row has `added` bytes; what a mapping does not say of host, program and
    time, the envelope may.
    """
    if has_envelopes:
        came = with_outside(came, _MAPPED if has_others else filled, "added > 0")
        filled = {*filled, *OUTSIDE_COLUMNS}
    made = finishing(filled)
    values = {name: f"m.made_{name}" for name in made}
    values["id"] = "toUUIDOrZero(m.id)"
    values["time"] = "if(toUnixTimestamp64Micro(m.made_time) = 0, m.received_at, m.made_time)"
    values["late"] = f"dateDiff('second', {values['time']}, m.received_at) > {LATE_S}"
    values["quarantine"] = (
        "if(m.quarantine != '', m.quarantine, if(startsWith(m.record, '{\"$quarantine\"'), "
        "JSONExtractString(m.record, '$quarantine', 'reason'), ''))"
    )
    for column in COLUMNS.values():
        is_there = column.name in filled or column.name in _CARRIED
        values.setdefault(column.name, f"m.`{column.name}`" if is_there else _default(column.kind))
    texts = {
        name: _of(sql, name, values[name]) if name in {*filled, "id", "time"} else "" for name, sql in RESTORED.items()
    }
    values["rest"] = _rest_sql(texts, _AS_IT_CAME if has_envelopes else "m.record")
    stored = ", ".join(f"{values[name]} AS `{name}`" for name in _STORED)
    rows = ", ".join(["*", *(f"{sql} AS made_{name}" for name, sql in made.items())])
    return Made(f"SELECT {stored} FROM (SELECT {rows} FROM {came}) AS m", _STORED)


_STORED: Mapping[str, str] = {**{column.name: column.sql_type for column in COLUMNS.values()}, "rest": "String"}


def _of(sql: str, name: str, value: str) -> str:
    """An expression over a column as one over the value that the column gets."""
    return re.sub(rf"\b{name}\b", lambda _: value, sql)


def _default(kind: str) -> str:
    return {
        "text": "''",
        "number": "0",
        "bool": "false",
        "time": "toDateTime64(0, 6, 'UTC')",
        "ip": "toIPv6('::')",
        "uuid": "toUUIDOrZero('')",
    }[kind]


UNMAPPED = "unmapped"
"""The format of rows whose own mapping failed."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """The mapping of rows whose own mapping failed: nothing but the ledger's columns."""

    name: str = UNMAPPED
    columns: Mapping[str, str] = field(default_factory=dict)

    def select_sql(self, table_sql: str, passthrough: Sequence[str] = ()) -> str:
        return f"SELECT {', '.join(passthrough)} FROM {table_sql}"


LANDED = _typed(_LANDING)
"""The columns of a block's rows as they come."""

_IN_MEMORY = "Memory"
_AT_ONCE = f"Buffer('', '', 1{', 1000000000' * 4}{', 1000000000000' * 2})"
"""Shows each row at once, where a table of the engine Memory shows those of a statement at its end. What it holds goes
nowhere by itself.
"""


def create_landing(engine: Engine, node: Node, prefix: str = "landing") -> str:
    """Make the tables a block comes in by; returns the start of their names.

    `<start>_auto` takes the rows whose format their content names, `<start>_staged` all rows with their format, and
    `<start>_mapped` what their mappings make of them; the others are for statements that run on (`streamed`). The names hold
    a digest of the columns, so that two versions never mix.
    """
    tables = {
        "auto": ("`index` UInt64, record String", _IN_MEMORY),
        "staged": (_typed(_LANDING), _IN_MEMORY),
        "mapped": (_typed({**_CARRIED, **_MAPPED}), _IN_MEMORY),
        "named": ("`index` UInt64, format String", _AT_ONCE),
        "ready": (_typed(_STORED), _AT_ONCE),
    }
    node.stop_running(f"{prefix}_")
    digest = hashlib.sha256(repr(tables).encode()).hexdigest()[:12]
    landing = f"{prefix}_{digest}"
    present = {str(row[0]) for row in engine.query("SHOW TABLES", node=node).rows}
    if not {f"{landing}_{name}" for name in tables} <= present:
        drop_landing(engine, node, prefix)
        for name, (columns, kind) in tables.items():
            engine.command(f"CREATE TABLE {landing}_{name} ({columns}) ENGINE = {kind}", node=node)
    for name in sorted(present):
        if name.startswith(f"{landing}_") and name.endswith("_view"):  # of mappings that may not be in force any more
            engine.command(f"DROP VIEW IF EXISTS {name} SYNC", node=node)
    return landing


def gathered_sql(landed: str, table: str, rows_sql: str, *, with_places: bool = False, without: str = "") -> str:
    """Moves what a block became into `table`, all {n:UInt64} rows or none: a node that was started again has lost them.

    `landed`: the table that has them. `rows_sql`: they as `finished` makes them, in brackets, or a view of it. `with_places`: rows whose mapping says no
    country get that of their address, from {addresses:Array(String)} and {countries:Array(String)}. `without`: of which rows
    the table has some more, which stay behind.
    """
    columns = ", ".join(f"`{name}`" for name in _STORED)
    chosen = columns
    if with_places:
        place = f"transform({_ADDRESS}, {{addresses:Array(String)}}, {{countries:Array(String)}}, '')"
        chosen = columns.replace("`src_country`", f"if(src_country = '', {place}, src_country) AS src_country")
    counted, kept = (f"countIf(NOT ({without}))", f" AND NOT ({without})") if without else ("count()", "")
    return (
        f"INSERT INTO {table} ({columns}) SELECT {chosen} FROM {rows_sql} "
        f"WHERE throwIf((SELECT {counted} FROM {landed}) != {{n:UInt64}}, 'rows of a block were lost') = 0{kept}"
    )


def unplaced_sql(landing: str) -> str:
    """The addresses in a block, as it is in `_mapped`, whose mapping says no country."""
    rows = (
        f"SELECT {ip_sql('m.src_ip')} AS src_ip FROM {landing}_mapped AS m WHERE m.src_country = '' AND m.src_ip != ''"
    )
    return f"SELECT DISTINCT {_ADDRESS} FROM ({rows}) WHERE src_ip != toIPv6('::')"


def unplaced_ready_sql(landing: str) -> str:
    """The same, of a block as it is in `_ready`."""
    return f"SELECT DISTINCT {_ADDRESS} FROM {landing}_ready WHERE src_country = '' AND src_ip != toIPv6('::')"


_ADDRESS = address_sql("src_ip")


def drop_landing(engine: Engine, node: Node, prefix: str) -> None:
    """Remove the landing tables of any version. Views first (a mapping's, or older versions'), so that none reads a missing table."""
    node.stop_running(f"{prefix}_")
    present = sorted(str(row[0]) for row in engine.query("SHOW TABLES", node=node).rows)
    for name in sorted(present, key=lambda name: not name.endswith("_view")):
        if name.startswith(f"{prefix}_"):
            engine.command(f"DROP TABLE IF EXISTS {name} SYNC", node=node)
