"""A query tree as one ClickHouse condition. Values are bound parameters without exception; names come from `columns`. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from muniment.search.columns import RESTORED, TEXT_COLUMNS
from muniment.search.query.ast import (
    And,
    Everything,
    Flag,
    Identity,
    Moment,
    Network,
    Node,
    Not,
    Number,
    Or,
    Path,
    Text,
    Words,
)
from muniment.search.query.texts import like, needle, whole
from muniment.search.schema import words_sql

__all__ = ["Where", "where"]


@dataclass(frozen=True, slots=True)
class Where:
    """A condition and the values it binds."""

    sql: str
    parameters: dict[str, object]


def where(node: Node, prefix: str = "q") -> Where:
    """The condition of `node`; parameter names start with `prefix`, so that two conditions can stand together."""
    writer = _Writer(prefix)
    return Where(writer.node(node), writer.parameters)


@dataclass(slots=True)
class _Writer:
    prefix: str
    parameters: dict[str, object] = field(default_factory=dict)

    def bind(self, value: object, sql_type: str = "String") -> str:
        name = f"{self.prefix}{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{sql_type}}}"

    def node(self, node: Node) -> str:
        match node:
            case Everything():
                return "true"
            case And(parts):
                return "(" + " AND ".join(map(self.node, parts)) + ")"
            case Or(parts):
                return "(" + " OR ".join(map(self.node, parts)) + ")"
            case Not(part):
                return f"NOT ({self.node(part)})"
            case Words(value, is_pattern):
                return self.words(value, is_pattern)
            case Text(columns, test, value):
                return "(" + " OR ".join(self.text(column, test, value) for column in columns) + ")"
            case Path():
                return self.path(node)
            case Number(column, low, high):
                return self.between(column, low, high)
            case Flag(column, value):
                return column if value else f"NOT {column}"
            case Moment(column, low, high):
                return self.moment(column, low, high)
            case Network(column, first, last):
                return self.network(column, first, last)
            case Identity(column, value):
                return f"{column} = toUUID({self.bind(value)})"

    def words(self, value: str, is_pattern: bool) -> str:
        if '"' in value:  # may reach over texts that were taken out of the record with their quotes
            texts = ("record", *TEXT_COLUMNS, "toString(id)")
            return "(" + " OR ".join(self.holds(f"lower({text})", value, is_pattern) for text in texts) + ")"
        if part := needle(value, is_pattern).part:  # apart: few-valued columns are asked once a value, none is joined
            bound = self.bind(part)
            tests = (f"positionCaseInsensitive({text}, {bound}) > 0" for text in ("rest", *RESTORED.values()))
            return "(" + " OR ".join(tests) + ")"
        return self.holds(words_sql(), value, is_pattern)

    def holds(self, text: str, value: str, is_pattern: bool) -> str:
        wanted = needle(value, is_pattern)
        if wanted.token:
            return f"hasToken({text}, {self.bind(wanted.token)})"
        if wanted.part:
            return f"(position({text}, {self.bind(wanted.part)}) > 0)"
        checks = [f"hasToken({text}, {self.bind(token)})" for token in wanted.tokens]
        return "(" + " AND ".join([*checks, f"match({text}, {self.bind(wanted.pattern)})"]) + ")"

    def text(self, column: str, test: str, value: str) -> str:
        name = column
        match test:
            case "exact":
                return f"{name} = {self.bind(value)}"
            case "exists":
                return f"{name} != ''"
            case "words":
                return self.holds(f"lower({name})", value, False)
            case "regex":
                return f"match({name}, {self.bind('(?is)' + value)})"
        return self.compared(name, test, value)

    def compared(self, text: str, test: str, value: str) -> str:
        if test == "from":
            return f"lower({text}) >= {self.bind(_lower(value))}"
        if test == "to":
            return f"lower({text}) <= {self.bind(_lower(value))}"
        if not value.isascii():
            return f"match({text}, {self.bind(whole(value, test == 'pattern'))})"
        if test == "pattern":
            return f"lower({text}) LIKE {self.bind(like(value.lower()))}"
        return f"lower({text}) = {self.bind(value.lower())}"

    def path(self, node: Path) -> str:
        at = ", ".join(
            self.bind(each + 1, "Int64") if isinstance(each, int) else self.bind(each) for each in node.segments
        )
        kind = f"JSONType(record, {at})"
        if node.test == "exists":
            return f"{kind} != 'Null'"
        text = (
            f"multiIf({kind} = 'String', JSONExtractString(record, {at}), "
            f"{kind} = 'Bool', if(JSONExtractBool(record, {at}), 'true', 'false'), '')"
        )
        is_number = f"{kind} IN ('Int64', 'UInt64', 'Double')"
        if node.test == "regex":
            return f"match({text}, {self.bind('(?is)' + node.value)})"
        by_text = (
            f"{text} = {self.bind(node.value)}" if node.test == "exact" else self.compared(text, node.test, node.value)
        )
        if node.number is None:
            return f"(NOT {is_number} AND {self.hint(node)}{by_text})"
        operator = {"from": ">=", "to": "<="}.get(node.test, "=")
        number = f"JSONExtractFloat(record, {at}) {operator} {self.bind(node.number, 'Float64')}"
        return f"if({is_number}, {number}, {by_text})"

    def hint(self, node: Path) -> str:
        """What the word index can rule out before any record is put together and parsed."""
        wanted = needle(node.value, False) if node.value and node.test in ("equals", "exact") else None
        return f"hasToken({words_sql()}, {self.bind(wanted.token)}) AND " if wanted and wanted.token else ""

    def between(self, column: str, low: int | None, high: int | None) -> str:
        name = f"`{column}`"
        if low is not None and low == high:
            return f"{name} = {self.bind(low, 'Int128')}"
        parts = [] if low is None else [f"{name} >= {self.bind(low, 'Int128')}"]
        parts += [] if high is None else [f"{name} <= {self.bind(high, 'Int128')}"]
        return "(" + " AND ".join(parts) + ")" if parts else "true"

    def moment(self, column: str, low: int | None, high: int | None) -> str:
        parts = [] if low is None else [f"{column} >= fromUnixTimestamp64Micro({self.bind(low, 'Int64')}, 'UTC')"]
        parts += [] if high is None else [f"{column} < fromUnixTimestamp64Micro({self.bind(high, 'Int64')}, 'UTC')"]
        return "(" + " AND ".join(parts) + ")" if parts else "true"

    def network(self, column: str, first: int, last: int) -> str:
        low = f"toIPv6({self.bind(str(ipaddress.IPv6Address(first)))})"
        if first == last:
            return f"{column} = {low}"
        return f"({column} >= {low} AND {column} <= toIPv6({self.bind(str(ipaddress.IPv6Address(last)))}))"


def _lower(value: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in value)
