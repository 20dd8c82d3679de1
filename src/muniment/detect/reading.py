"""Events as rules read them: the typed columns that some rule names, as JSON, and the record where one reads that.

Rules over typed columns (`product: muniment`) may name any column of the search; `actor`, which is the id of who did it,
else the name, else the address; and with `record.` in front whatever the record holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from muniment.detect.condition import fields_of
from muniment.detect.correlation import Correlation
from muniment.detect.logsources import PRODUCT, Kind, Taxonomy
from muniment.detect.rules import Rule
from muniment.search.columns import COLUMNS
from muniment.search.engine import Engine

__all__ = ["ACTOR", "ENTITIES", "RECORD", "Formats", "Row", "Wanted", "by_index", "wanted"]

Formats = Mapping[str, tuple[Kind, Taxonomy]]
"""By catalogue entry: which of Sigma's log sources its events are, and where their fields stand."""

ACTOR: Final = "actor"
RECORD: Final = "record."
ENTITIES: Final = frozenset(
    {"action", "outcome", "actor_id", "actor_name", "actor_email", "src_ip", "dst_host", "target_id", "target_name", "drill"}
)  # fmt: skip
"""Columns an alert is told from."""

_ACTOR_SQL: Final = "multiIf(actor_id != '', toString(actor_id), actor_name != '', toString(actor_name), toString(actor_email)) AS actor"
_NEVER: Final = {"index", "id", "received_at", "late", "quarantine"}


class _Typed(dict[str, Any]):
    """Typed columns as a rule sees them; the record under `record` is parsed when somebody asks for what is in it."""

    __slots__ = ("_record",)

    def __init__(self, columns: Mapping[str, Any], record: str) -> None:
        super().__init__(columns)
        self._record = record

    def get(self, key: str, default: Any = None) -> Any:
        if key == "record" and key not in self and self._record:
            self["record"] = orjson.loads(self._record)
        return super().get(key, default)


class Row:
    """One event: its place, time and typed columns, and the record where rules read it."""

    __slots__ = ("_columns", "_document", "_text", "class_name", "format", "index", "record", "source", "time_us")

    def __init__(self, values: Sequence[Any]) -> None:
        """`values`: index, time in microseconds, source, format, class name, typed columns as JSON, record or ''."""
        self.index: int = values[0]
        self.time_us: int = values[1]
        self.source: str = values[2]
        self.format: str = values[3]
        self.class_name: str = values[4]
        self._text: str = values[5]
        self.record: str = values[6]
        self._columns: dict[str, Any] | None = None
        self._document: _Typed | None = None

    def typed(self, with_record: bool) -> bytes:
        """The typed columns as a JSON object, with the record under `record` if asked."""
        text = f'{self._text[:-1]},"record":{self.record}}}' if with_record and self.record else self._text
        return text.encode()

    @property
    def columns(self) -> dict[str, Any]:
        """The typed columns."""
        if self._columns is None:
            self._columns = orjson.loads(self._text)
        return self._columns

    @property
    def document(self) -> Mapping[str, Any]:
        """What rules over typed columns see: the columns, and the record where it was read."""
        if self._document is None:
            self._document = _Typed(self.columns, self.record)
        return self._document

    @property
    def address(self) -> str:
        """Where it came from; empty when nobody said."""
        address = str(self.columns.get("src_ip", ""))
        return "" if address == "::" else address

    @property
    def drill(self) -> str:
        """The drill it belongs to; empty when real."""
        return str(self.columns.get("drill", ""))


class Wanted:
    """What a set of rules needs to read: columns, and the formats whose records."""

    def __init__(self, columns: frozenset[str], raw: frozenset[str], typed: frozenset[str] | None) -> None:
        """`raw`: formats whose records are matched; `typed`: those whose records typed rules look into; None: all."""
        self.raw = raw
        self.typed = typed
        self._columns = columns

    def looks_into(self, format: str) -> bool:
        """Do rules over typed columns look into records of the format?"""
        return self.typed is None or format in self.typed

    def read(self, engine: Engine, condition: str, parameters: Mapping[str, object], tail: str) -> list[Row]:
        """Events that satisfy a condition."""
        with_records = 2 if self.typed is None else 1 if self.raw or self.typed else 0
        sql = f"{_selecting(self._columns, with_records)} WHERE {condition} {tail}"
        formats = sorted(self.raw | (self.typed or frozenset()))
        return [Row(values) for values in engine.query(sql, {**parameters, "formats": formats}).rows]


def wanted(rules: Collection[Rule], correlations: Collection[Correlation], formats: Formats) -> Wanted:
    """What these rules need."""
    names = set(ENTITIES)
    typed: set[str] | None = set()
    raw = [rule for rule in rules if rule.logsource.product != PRODUCT]
    for rule in rules:
        fields = fields_of(rule.condition)
        names |= fields
        if rule.logsource.product == PRODUCT and any(field.startswith(RECORD) for field in fields):
            typed = None if typed is None or not rule.logsource.service else typed | {rule.logsource.service}
    for correlation in correlations:
        names |= {*correlation.group_by, *correlation.fields}
        names |= {field for alias in correlation.aliases.values() for field in alias.values()}
        if any(name.startswith(RECORD) for name in names):
            typed = typed if typed else None
    about = frozenset(
        name
        for name, (kind, _) in formats.items()
        if raw and (kind.product == "windows" or any(kind.has(rule.logsource) for rule in raw))
    )
    for name in about:
        names |= {path[1:] for paths in formats[name][1].names.values() for path in paths if path.startswith("$")}
    kept = frozenset(name for name in names if name in COLUMNS and name not in _NEVER)
    return Wanted(kept, about, None if typed is None else frozenset(typed))


def by_index(engine: Engine, indexes: Sequence[int]) -> list[Row]:
    """These events, with what an alert is told from."""
    condition = "`index` IN {wanted:Array(UInt64)}"
    return Wanted(ENTITIES, frozenset(), frozenset()).read(
        engine, condition, {"wanted": list(indexes)}, "ORDER BY `index`"
    )


@lru_cache(maxsize=64)
def _selecting(names: frozenset[str], with_records: int) -> str:
    shown = [
        "replaceOne(IPv6NumToString(src_ip), '::ffff:', '') AS src_ip" if name == "src_ip" else f"`{name}`"
        for name in COLUMNS
        if name in names
    ]
    record = ("''", "if(format IN {formats:Array(String)}, record, '')", "record")[with_records]
    return (
        "SELECT `index`, toUnixTimestamp64Micro(time), source, format, class_name, "
        f"formatRowNoNewline('JSONEachRow', {', '.join([*shown, _ACTOR_SQL])}), {record} FROM events"
    )
