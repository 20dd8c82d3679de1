"""What follows from the numbers of an event by OCSF's tables, as SQL: the names of class, activity and severity. Pure.

The same for every entry, so the store works it out once for a block of many formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from muniment.sources import ocsf_schema
from muniment.sources.sql import array

__all__ = ["derived"]

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


@cache
def derived(class_uid: str, activity_id: str, severity_id: str) -> Mapping[str, str]:
    """Expressions for the columns `columns.DERIVED`, over three numbers."""
    classes = ocsf_schema.classes()
    captions = {uid: one.caption for uid, one in classes.items()}
    activities = {
        uid * 100 + number: caption for uid, one in classes.items() for number, caption in one.activities.items()
    }
    return {
        "class_name": _by_number(class_uid, captions),
        "category_uid": f"toUInt32(intDiv({class_uid}, 1000))",
        "activity_name": _by_number(f"({class_uid} * 100 + {activity_id})", activities),
        "severity": _by_number(severity_id, _SEVERITIES),
    }


def _by_number(sql: str, names: Mapping[int, str]) -> str:
    return f"transform({sql}, {array(list(names))}, {array(list(names.values()))}, '')"
