"""A ledger in memory with the promises the projector relies on: contiguous, immutable, never shorter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from muniment.event.ids import uuid7
from muniment.search.blocks import Block
from muniment.search.engine import Engine
from muniment.search.schema import MappingSet
from muniment.sources.words import severity_sql

START_NS = 1_790_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A block as the ledger yields it."""

    first: int
    ids: Sequence[str]
    sources: Sequence[str]
    received_at: Sequence[int]
    records: Sequence[bytes]
    parts: Sequence[tuple[object, ...]]


@dataclass(slots=True)
class MemoryLedger:
    """Appends blocks, yields them again in pieces of `piece` entries."""

    piece: int = 1_000
    ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    received_at: list[int] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    reads: int = 0

    @property
    def size(self) -> int:
        return len(self.records)

    def append(self, records: Sequence[bytes], source: str = "app") -> Block:
        """Append and give the block that the writer would offer."""
        first = self.size
        for number, record in enumerate(records, first):
            self.ids.append(uuid7(START_NS + number * 1_000_000, number.to_bytes(10, "big")))
            self.sources.append(source)
            self.received_at.append(START_NS + number * 1_000_000)
            self.records.append(record)
        return Block(first, self.ids[first:], self.sources[first:], self.received_at[first:], self.records[first:])

    def blocks(self, start: int, end: int) -> Iterator[Stored]:
        self.reads += 1
        for a in range(start, min(end, self.size), self.piece):
            b = min(a + self.piece, end)
            yield Stored(a, self.ids[a:b], self.sources[a:b], self.received_at[a:b], self.records[a:b], [()] * (b - a))


@dataclass(frozen=True, slots=True)
class PlainMapping:
    """A mapping of flat JSON, of the same shape as the compiled ones."""

    name: str
    tuple_type: str
    columns: dict[str, str]

    def select_sql(self, table_sql: str, passthrough: Sequence[str] = ()) -> str:
        columns = ", ".join([*passthrough, *(f"{sql} AS {name}" for name, sql in self.columns.items())])
        return f"SELECT {columns} FROM (SELECT *, JSONExtract(record, '{self.tuple_type}') AS t FROM {table_sql})"


_TEXTS = (
    "action", "outcome", "message", "actor_id", "actor_name", "actor_email", "user_agent", "session_id", "request_id",
    "target_id", "target_name", "app", "reason", "src_country",
)  # fmt: skip

FLAT = PlainMapping(
    "flat",
    "Tuple(" + ", ".join(f"{name} String" for name in (*_TEXTS, "ip", "time", "class", "severity")) + ")",
    {name: f"t.{name}" for name in _TEXTS}
    | {
        "src_ip": "t.ip",
        "time": "t.time",
        "class_uid": "toUInt32OrZero(t.class)",
        "activity_id": "toUInt32(0)",
        "severity_id": f"toUInt32({severity_sql('t.severity')})",
    },
)
BRITTLE = PlainMapping("brittle", "Tuple(n String)", {"class_uid": "toUInt32(t.n)"})
MAPPINGS = MappingSet({"flat": FLAT, "brittle": BRITTLE}, fallback="flat")


def record(**fields: object) -> bytes:
    """A flat record."""
    return json.dumps(fields, ensure_ascii=False).encode()


def empty(engine: Engine) -> None:
    """Drop every table."""
    engine.nodes[0].stop_running()  # they hold the tables
    for (name,) in engine.query("SHOW TABLES").rows:
        engine.command(f"DROP TABLE IF EXISTS `{name}` SYNC")
