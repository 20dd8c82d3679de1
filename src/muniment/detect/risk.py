"""Risk of people, addresses, machines and things: what alerts about each add up to, fading with time. Pure.

An alert gives the points of its level to every entity it names; half of them are gone after `RISK_HALF_LIFE_S`. What somebody
called a false alarm gives none, and further alerts of the same rule about the same entity give a quarter, so that one
noisy rule does not look like an attack of many steps. Of many that an alert names without being about them, such as the
accounts that one address tried, each gets its share: whoever is on an attacker's list is no suspect for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.detect.alerts import Alert
from muniment.limits import RISK_HALF_LIFE_S

__all__ = ["KINDS", "POINTS", "RISK", "EntityRisk", "Part", "risk_of", "risks"]

RISK: Final = "risk"
"""The kind of behaviour rule that alerts about risk."""

POINTS: Final = {"informational": 0.0, "low": 10.0, "medium": 25.0, "high": 50.0, "critical": 100.0}
KINDS: Final = {"actors": "actor", "addresses": "address", "hosts": "host", "targets": "target"}
_NAMES: Final = {kind: name for name, kind in KINDS.items()}
_AGAIN: Final = 0.25


@dataclass(frozen=True, slots=True)
class Part:
    """What one alert adds."""

    alert: Alert
    points: float


@dataclass(frozen=True, slots=True)
class EntityRisk:
    """What is known against one entity; `parts` the heaviest first."""

    kind: str
    value: str
    score: float
    parts: tuple[Part, ...]

    @property
    def n_rules(self) -> int:
        """How many rules agree."""
        return len({part.alert.rule_id for part in self.parts})

    @property
    def tactics(self) -> tuple[str, ...]:
        """The rules' ATT&CK tactics."""
        tags = (tag for part in self.parts for tag in part.alert.tags)
        return tuple(
            dict.fromkeys(
                tag[7:]
                for tag in tags
                if tag.startswith("attack.") and not tag[7:8].isdigit() and not _is_technique(tag[7:])
            )
        )

    @property
    def words(self) -> str:
        """For people: `risk 120 of 3 rules: ...; rules by ...`."""
        authors = ", ".join(dict.fromkeys(part.alert.author for part in self.parts[:5] if part.alert.author))
        said = "; ".join(f"{part.alert.title} ({part.points:.0f})" for part in self.parts[:5])
        return f"risk {self.score:.0f} of {self.n_rules} rule{'s' if self.n_rules != 1 else ''}: {said}{f'; rules by {authors}' if authors else ''}"


def _is_technique(tag: str) -> bool:
    return tag[:1] in {"t", "s", "g"} and tag[1:5].isdigit()


def risks(alerts: Iterable[Alert], now_ns: int, only: str = "") -> list[EntityRisk]:
    """Every entity that alerts name, the highest risk first; with `only` those of that value."""
    by_entity: dict[tuple[str, str], list[Alert]] = defaultdict(list)
    for alert in alerts:
        if alert.kind != RISK and alert.state != "suppressed" and not alert.drill:
            for name, kind in KINDS.items():
                for value in alert.of(name):
                    if only in {"", value}:
                        by_entity[kind, value].append(alert)
    found = [_added(kind, value, mine, now_ns) for (kind, value), mine in by_entity.items()]
    return sorted((each for each in found if each.score >= 1), key=lambda each: (-each.score, each.kind, each.value))


def risk_of(kind: str, value: str, alerts: Iterable[Alert], now_ns: int) -> EntityRisk:
    """The risk of one entity."""
    name = _NAMES[kind]
    mine = [
        alert
        for alert in alerts
        if alert.kind != RISK and alert.state != "suppressed" and not alert.drill and value in alert.of(name)
    ]
    return _added(kind, value, mine, now_ns)


def _added(kind: str, value: str, alerts: Sequence[Alert], now_ns: int) -> EntityRisk:
    parts: list[Part] = []
    counted: set[str] = set()
    for alert in sorted(alerts, key=lambda each: -each.last_us):
        age_s = max(0.0, now_ns / 1e9 - alert.last_us / 1e6)
        points = POINTS.get(alert.level, POINTS["medium"]) * 0.5 ** (age_s / RISK_HALF_LIFE_S)
        points /= _among(alert, kind, value)
        if alert.rule_id in counted:
            points *= _AGAIN
        counted.add(alert.rule_id)
        if points >= 0.5:
            parts.append(Part(alert, points))
    parts.sort(key=lambda part: -part.points)
    return EntityRisk(kind, value, sum(part.points for part in parts), tuple(parts))


def _among(alert: Alert, kind: str, value: str) -> int:
    """How many share its points: one when it is about this entity, else all of the kind that it names."""
    if any(value == each for _, each in alert.group):
        return 1
    return max(1, len(alert.of(_NAMES[kind])))
