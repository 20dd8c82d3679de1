"""How often each rule matched and how long it took, by hour. Kept in the database, so that a restart forgets nothing.

The detector counts in memory and writes once a minute; what a crash loses is a minute of these counts, never an alert.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from muniment.limits import RULE_TALLY_DAYS

__all__ = ["Tally", "Told"]

_METADATA = sa.MetaData()
_HOURS = sa.Table(
    "rule_hours",
    _METADATA,
    sa.Column("rule", sa.String(200), primary_key=True),
    sa.Column("hour", sa.Integer, primary_key=True),
    sa.Column("matches", sa.BigInteger, nullable=False),
    sa.Column("spent_us", sa.BigInteger, nullable=False),
)
_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """Of one rule: matches in a day and in thirty, and how long it took of the last day, in seconds."""

    day: int = 0
    month: int = 0
    spent_s: float = 0.0


class Tally:
    """The counts of all rules. Thread-safe."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._new: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0, 0.0])
        _METADATA.create_all(database)

    def matched(self, rule: str, time_us: int, count: int = 1) -> None:
        """A rule matched events of a time."""
        with self._lock:
            self._new[rule, time_us // _HOUR_US][0] += count

    def spent(self, rule: str, now_us: int, seconds: float) -> None:
        """A rule took so long."""
        if seconds:
            with self._lock:
                self._new[rule, now_us // _HOUR_US][1] += seconds

    def flush(self, now_us: int) -> None:
        """Write what was counted since the last time; forget what is older than `RULE_TALLY_DAYS`."""
        with self._lock:
            new, self._new = self._new, defaultdict(lambda: [0, 0.0])
        if not new:
            return
        with self._database.begin() as connection:
            for (rule, hour), (matches, seconds) in new.items():
                this = (_HOURS.c.rule == rule) & (_HOURS.c.hour == hour)
                more = {
                    "matches": _HOURS.c.matches + int(matches),
                    "spent_us": _HOURS.c.spent_us + int(seconds * 1e6),
                }
                if not connection.execute(sa.update(_HOURS).where(this).values(**more)).rowcount:
                    values = {"rule": rule, "hour": hour, "matches": int(matches), "spent_us": int(seconds * 1e6)}
                    connection.execute(sa.insert(_HOURS).values(**values))
            oldest = now_us // _HOUR_US - RULE_TALLY_DAYS * 24
            connection.execute(sa.delete(_HOURS).where(_HOURS.c.hour < oldest))

    def since_us(self) -> int:
        """Since when there are counts (microseconds); 0: there are none yet."""
        with self._database.connect() as connection:
            first = connection.execute(sa.select(sa.func.min(_HOURS.c.hour))).scalar()
        with self._lock:
            hours = [hour for _, hour in self._new]  # not written yet, but told of
        hours += [int(first)] if first is not None else []
        return min(hours) * _HOUR_US if hours else 0

    def told(self, now_us: int) -> Mapping[str, Told]:
        """Every rule that matched or took time."""
        hour = now_us // _HOUR_US
        is_today = _HOURS.c.hour > hour - 24
        asked = sa.select(
            _HOURS.c.rule,
            sa.func.sum(sa.case((is_today, _HOURS.c.matches), else_=0)),
            sa.func.sum(sa.case((_HOURS.c.hour > hour - 30 * 24, _HOURS.c.matches), else_=0)),
            sa.func.sum(sa.case((is_today, _HOURS.c.spent_us), else_=0)),
        ).group_by(_HOURS.c.rule)
        with self._database.connect() as connection:
            found = {rule: [int(day), int(month), us / 1e6] for rule, day, month, us in connection.execute(asked)}
        with self._lock:
            for (rule, at), (matches, seconds) in self._new.items():
                counts = found.setdefault(rule, [0, 0, 0.0])
                if at > hour - 24:
                    counts[0] += int(matches)
                    counts[2] += seconds
                if at > hour - 30 * 24:
                    counts[1] += int(matches)
        return {rule: Told(int(day), int(month), spent) for rule, (day, month, spent) in found.items()}
