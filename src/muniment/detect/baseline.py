"""What a behaviour remembers, asked of the store as one aggregate: so a start costs a query, not a loop over events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muniment.detect.behaviour import Behaviour, Learned
from muniment.detect.candidates import Candidates
from muniment.detect.correlation import Correlation
from muniment.detect.derived import (
    ACCOUNT,
    ACCOUNT_SQL,
    ACTOR,
    ACTOR_SQL,
    DEVICE,
    SUBNET,
    SUBNET_SQL,
    TARGET_ACCOUNT,
    TARGET_ACCOUNT_SQL,
    device_of,
)
from muniment.detect.rule import Rule
from muniment.search.columns import COLUMNS, address_sql

__all__ = ["Aggregate", "aggregate", "column_sql"]

_MARK = "\x01"
_SPECIAL: Mapping[str, str] = {
    ACTOR: ACTOR_SQL,
    DEVICE: "multiIf(device_id != '', toString(device_id), device_name != '', toString(device_name), "
    "user_agent != '', concat('\\x01', toString(user_agent)), '')",
    "src_ip": f"if(events.src_ip = toIPv6('::'), '', {address_sql('events.src_ip')})",
    SUBNET: SUBNET_SQL,
    ACCOUNT: ACCOUNT_SQL,
    TARGET_ACCOUNT: TARGET_ACCOUNT_SQL,
}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The query, with `{range}` where the range of events stands, and how to read its rows."""

    sql: str
    parameters: Mapping[str, object]
    n_groups: int

    def learned(self, rows: Sequence[Sequence[Any]]) -> Iterator[Learned]:
        """What each row says."""
        n = self.n_groups
        for row in rows:
            yield Learned(tuple(map(_text, row[:n])), _text(row[n]), _text(row[n + 1]), *map(int, row[n + 2 : n + 5]))


def aggregate(correlation: Correlation, rule: Rule, found: Candidates) -> Aggregate | None:
    """What to ask for one base rule; None when SQL alone does not find exactly its events and their fields."""
    b = correlation.behaviour
    assert b is not None
    groups = [column_sql(correlation.field_of(name, rule.key)) for name in correlation.group_by]
    values = [column_sql(correlation.field_of(name, rule.key)) for name in b.fields]
    peer = column_sql(b.peers) if b.peers else "''"
    known = [each for each in (*groups, *values, peer) if each is not None]
    if not found.is_exact or len(known) < len(groups) + len(values) + 1:
        return None
    value = _remembered(b, [each for each in values if each is not None])
    names = [f"g{n}" for n in range(len(groups))]
    shown = ", ".join(f"{sql} AS {name}" for sql, name in zip(groups, names, strict=True))
    filled = " AND ".join([f"{name} != ''" for name in names] + (["v != ''"] if values else []))
    return Aggregate(
        f"SELECT {', '.join(names)}, p, v, count(), toUnixTimestamp64Micro(min(time)), toUnixTimestamp64Micro(max(time)) "
        f"FROM (SELECT {shown}, {peer} AS p, {value} AS v, time FROM events WHERE {{range}} AND ({found.sql})) "
        f"WHERE {filled} GROUP BY {', '.join(names)}, p, v ORDER BY 6",
        found.parameters,
        len(groups),
    )


def _remembered(b: Behaviour, values: Sequence[str]) -> str:
    if b.kind == "volume":
        return f"toString(intDiv(toUnixTimestamp64Micro(time), {b.per_us}))"
    if b.kind == "off_hours":
        zone = b.zone.replace("\\", "").replace("'", "")  # a zone that zoneinfo knows
        return f"toString((toDayOfWeek(toTimeZone(time, '{zone}')) - 1) * 24 + toHour(toTimeZone(time, '{zone}')))"
    if not values:
        return "''"
    return values[0] if len(values) == 1 else f"arrayJoin([{', '.join(values)}])"


def column_sql(name: str) -> str | None:
    """A column as the text a rule sees; None for what is none."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    column = COLUMNS.get(name)
    if column is None or column.kind != "text":
        return None
    return f"toString(`{name}`)"


def _text(value: Any) -> str:
    text = str(value)
    return device_of(text[1:]) if text.startswith(_MARK) else text
