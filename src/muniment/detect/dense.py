"""Which groups of a correlation can fire at all, asked of the store as one aggregate: of all others nothing is read. Pure.

A window that fires holds so many matches, or matches of so many rules, as the condition asks for, no farther apart than the
time span. Groups without such a stretch of time are told apart by the store; for what is left the correlation itself decides.
A part of the group that is no column is left out of the key, so what would be several groups is one here, and at least as dense.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.detect.baseline import column_sql
from muniment.detect.correlation import Correlation
from muniment.detect.derived import DEVICE
from muniment.detect.logsources import PRODUCT
from muniment.detect.rule import Rule

__all__ = ["Among", "Dense", "dense"]

_BETWEEN: Final = "'\\x1f'"


@dataclass(frozen=True, slots=True)
class Among:
    """The matches of a rule in the store: the least that a condition over `events` finds of them, or more."""

    rule: Rule
    sql: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Dense:
    """A query for the keys of groups that can fire, and by rule the expression that is an event's key."""

    sql: str
    parameters: Mapping[str, object]
    keys: Mapping[str, str]


def dense(correlation: Correlation, found: Sequence[Among]) -> Dense | None:
    """What to ask for a correlation about these rules; None where nothing follows from how many there are."""
    least = correlation.at_least if correlation.is_bounded else 0
    if least < 2 or any(each.rule.logsource.product != PRODUCT for each in found):
        return None
    keys = _keys(correlation, [each.rule for each in found])
    parameters: dict[str, object] = {}
    parts = []
    for number, each in enumerate(found):
        where = re.sub(r"\{(\w+):", rf"{{r{number}_\1:", each.sql)
        parameters |= {f"r{number}_{name}": value for name, value in each.parameters.items()}
        at = f"(toUnixTimestamp64Micro(time), {number})"
        parts.append(f"SELECT {keys[each.rule.key]} AS who, {at} AS at FROM events WHERE {where}")
    apart, differ = (2, " AND a.2 != b.2") if correlation.is_temporal else (least, "")
    near = (
        f"arrayExists((a, b) -> b.1 - a.1 <= {correlation.timespan_s * 1_000_000}{differ}, "
        f"arraySlice(ats, 1, greatest(toInt64(length(ats)) - {apart - 1}, 0)), arraySlice(ats, {apart}))"
    )
    sql = (
        f"SELECT who FROM (SELECT who, arraySort(groupArray(at)) AS ats FROM ({' UNION ALL '.join(parts)}) "
        f"GROUP BY who HAVING count() >= {least}) WHERE {near}"
    )
    return Dense(sql, parameters, keys)


def _keys(correlation: Correlation, rules: Sequence[Rule]) -> dict[str, str]:
    """By rule what its events are grouped by, as one text."""
    columns = {
        rule.key: [column_sql(name) if name != DEVICE else None for name in correlation.fields_of(rule.key)[0]]
        for rule in rules
    }
    known = [place for place in range(len(correlation.group_by)) if all(each[place] for each in columns.values())]
    return {
        key: f"toValidUTF8(concat('', {f', {_BETWEEN}, '.join(str(each[place]) for place in known) or repr('')}))"
        for key, each in columns.items()
    }
