"""A rule as SQL that finds at least its events: what a back-test and a warm start read instead of everything. Pure.

The SQL may find more, never less; the rule's own function decides. So there is one meaning of a rule, not two. Typed
columns answer exactly where they can; of other fields, the literal texts of which one must stand in an event are looked
for in its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from muniment.detect.condition import Address, All, AnyOf, Compare, Condition, IsNull, No, Regex, Text, Wild
from muniment.detect.derived import SUBNET, SUBNET_SQL
from muniment.detect.logsources import PRODUCT
from muniment.detect.prefilter import literals
from muniment.detect.rule import Rule
from muniment.search.columns import COLUMNS, address_sql
from muniment.search.schema import words_sql

__all__ = ["Candidates", "candidates"]

_EVERYTHING = "1"


@dataclass(frozen=True, slots=True)
class Candidates:
    """A condition over `events` and its parameters. `is_exact`: it finds the rule's events and no other."""

    sql: str
    parameters: Mapping[str, object]
    is_exact: bool = False


def candidates(rule: Rule, formats: tuple[str, ...] = ()) -> Candidates:
    """What to read to find a rule's events; `formats` are those whose records it is about, for rules over raw fields."""
    made = _Maker()
    if rule.logsource.product == PRODUCT:
        sql, is_exact = made.condition(rule.condition)
        if rule.logsource.service:
            sql = f"{made.parameter('String', rule.logsource.service)} = format AND ({sql})"
        return Candidates(sql, made.parameters, is_exact and not rule.logsource.category)
    sql = made.words(rule.condition)
    if formats:
        sql = f"format IN ({', '.join(made.parameter('String', name) for name in formats)}) AND {sql}"
    return Candidates(sql, made.parameters)


class _Maker:
    """Makes the text and collects the parameters."""

    def __init__(self) -> None:
        self.parameters: dict[str, object] = {}

    def parameter(self, kind: str, value: object) -> str:
        """A place for `value`."""
        name = f"d{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"

    def condition(self, condition: Condition) -> tuple[str, bool]:
        """The SQL of a condition over typed columns, and whether it is exact."""
        match condition:
            case All(parts):
                return self._joined(parts, " AND ")
            case AnyOf(parts):
                return self._joined(parts, " OR ")
            case No(part):
                sql, is_exact = self.condition(part)
                return (f"NOT ({sql})", True) if is_exact else (_EVERYTHING, False)
            case Text():
                return self._text(condition)
            case Regex(field, pattern) if _is_text(field):
                return f"match({_column(field)}, {self.parameter('String', pattern)})", True
            case IsNull(field) if _is_text(field):
                return f"{_column(field)} = ''", True
            case Compare(field, operator, number) if field in COLUMNS and COLUMNS[field].kind == "number":
                return f"`{field}` {operator} {self.parameter('Float64', number)}", True
            case Address("src_ip", network):
                first, last = network.network_address, network.broadcast_address
                mapped = "::ffff:" if isinstance(network, IPv4Network) else ""
                low, high = (self.parameter("IPv6", f"{mapped}{each}") for each in (first, last))
                return f"events.src_ip BETWEEN {low} AND {high}", True
        return _EVERYTHING, False

    def _joined(self, parts: tuple[Condition, ...], word: str) -> tuple[str, bool]:
        made = [self.condition(part) for part in parts]
        if not made:
            return _EVERYTHING, False
        return "(" + word.join(sql for sql, _ in made) + ")", all(is_exact for _, is_exact in made)

    def _text(self, test: Text) -> tuple[str, bool]:
        texts = [part for part in test.parts if isinstance(part, str)]
        is_known = test.field in COLUMNS or test.field == SUBNET
        if test.field is None or not is_known or not all(text.isascii() for text in texts):
            return _EVERYTHING, False
        kind = _kind(test.field)
        if kind == "number" and test.parts == tuple(texts):
            return f"toString(`{test.field}`) = {self.parameter('String', ''.join(texts))}", True
        if kind == "ip" and test.parts == tuple(texts):
            wanted = self.parameter("String", "".join(texts).lower())
            return f"{address_sql(f'events.{test.field}')} = {wanted}", True
        if kind != "text":
            return _EVERYTHING, False
        if not test.parts:
            return f"{_column(test.field)} = ''", False
        if test.parts == tuple(texts):
            whole = self.parameter("String", "".join(texts) if test.is_cased else "".join(texts).lower())
            return f"{_column(test.field) if test.is_cased else f'lower({_column(test.field)})'} = {whole}", True
        pattern = self.parameter("String", "".join(map(_like, test.parts)))
        return f"{_column(test.field)} {'LIKE' if test.is_cased else 'ILIKE'} {pattern}", True

    def words(self, condition: Condition) -> str:
        """Some text that must stand in the event; hidden by an escape, it is not to be seen, so those are all read."""
        found = literals(condition)
        texts = [max(_plain(text), key=len, default="") for text in found or ()]
        if not texts or min(map(len, texts)) < 3:
            return _EVERYTHING
        places = self.parameter("Array(String)", texts)
        return f"(multiSearchAny({words_sql()}, {places}) OR position(rest, '\\\\u') > 0)"


def _plain(text: bytes) -> list[str]:
    """The stretches of a literal that no escape can cut."""
    return text.decode().replace('\\"', "\\").replace("/", "\\").split("\\")


def _is_text(field: str | None) -> bool:
    return field is not None and _kind(field) == "text"


def _kind(field: str) -> str:
    return "text" if field == SUBNET else COLUMNS[field].kind if field in COLUMNS else ""


def _column(field: str | None) -> str:
    if field == SUBNET:
        return f"({SUBNET_SQL})"
    return f"toString(`{field}`)" if field is not None and COLUMNS[field].is_few else f"`{field}`"


def _like(part: str | Wild) -> str:
    if part is Wild.MANY:
        return "%"
    if part is Wild.ONE:
        return "_"
    assert isinstance(part, str)
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
