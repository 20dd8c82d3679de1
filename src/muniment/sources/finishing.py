"""What is made of every entry's columns in the same way, as SQL: the time, the address, the names of OCSF's numbers. Pure.

A mapping hands on the texts of time and address, and the numbers. So the store works the rest out once for a block of
many formats, and a mapping, which the engine plans anew for every block, is half as long.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from muniment.envelope import OUTSIDE
from muniment.sources import ocsf_schema
from muniment.sources.columns import ANY_TIME
from muniment.sources.sql import EMPTY, array, quote
from muniment.sources.times import time_sql

__all__ = ["OUTSIDE_COLUMNS", "finishing", "ip_sql", "with_outside"]

_SEVERITIES: Final = {
    0: "unknown",
    1: "informational",
    2: "low",
    3: "medium",
    4: "high",
    5: "critical",
    6: "fatal",
    99: "other",
}


_NUMBERS: Final = frozenset(("class_uid", "activity_id", "severity_id"))


def finishing(filled: Collection[str]) -> dict[str, str]:
    """Expressions for the columns that no mapping makes itself, over those that it `filled` and `received_at`."""
    made = {"time": time_sql(*(name if name in filled else EMPTY for name in ("time", ANY_TIME)))}
    if "src_ip" in filled:
        made["src_ip"] = ip_sql("src_ip")
    if {*filled} >= _NUMBERS:
        made |= _names()
    return made


def with_outside(rows: str, filled: Collection[str], is_opened: str) -> str:
    """`rows`, which have the columns `filled` and `record`, with what an envelope says (`muniment.envelope`) where a mapping says nothing.

    `is_opened`: over a row, whether its record was an envelope. The rows have all columns of `OUTSIDE_COLUMNS` then.
    """
    said = {name: f"JSONExtractString(record, '{OUTSIDE}', '{key}')" for name, key in OUTSIDE_COLUMNS.items()}
    times = [name for name in ("time", ANY_TIME) if name in filled]
    replaced: list[str] = []
    added: list[str] = []
    for name, sql in said.items():
        is_empty = [f"{each} = ''" for each in (times if name == ANY_TIME else [name] if name in filled else [])]
        own = name if name in filled else EMPTY
        value = f"if({' AND '.join([is_opened, *is_empty])}, {sql}, {own}) AS {name}"
        (replaced if name in filled else added).append(value)
    chosen = ["*" + (f" REPLACE ({', '.join(replaced)})" if replaced else ""), *added]
    return f"(SELECT {', '.join(chosen)} FROM {rows})"


OUTSIDE_COLUMNS: Final = {"dst_host": "host", "app": "app", ANY_TIME: "time"}
"""The columns that an envelope may fill, and what it calls them."""


def ip_sql(text: str) -> str:
    """An IPv6 (v4 mapped) from a text: bare, with a port, in brackets, with a zone, or the first of a list; else ::."""
    cut = quote(
        r"^\s*\[?\"?((?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f:]{2,39}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3})?)(?:[\]\"%,:/ ]|$)"
    )
    return f"toIPv6OrDefault(extract({text}, {cut}))"


def _names() -> dict[str, str]:
    classes = ocsf_schema.classes()
    captions = {uid: one.caption for uid, one in classes.items()}
    activities = {
        uid * 100 + number: caption for uid, one in classes.items() for number, caption in one.activities.items()
    }
    return {
        "class_name": _by_number("class_uid", captions),
        "category_uid": "toUInt32(intDiv(class_uid, 1000))",
        "activity_name": _by_number("(class_uid * 100 + activity_id)", activities),
        "severity": _by_number("severity_id", _SEVERITIES),
    }


def _by_number(sql: str, names: dict[int, str]) -> str:
    return f"transform({sql}, {array(list(names))}, {array(list(names.values()))}, '')"
