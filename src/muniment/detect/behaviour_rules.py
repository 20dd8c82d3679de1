"""Behaviour rules as files: a Sigma document with `behaviour:` where a correlation has `correlation:`.

title: A login from a country that is new for the account
name: login_new_country
level: medium
behaviour:
  type: first_seen            # or rare, volume, dormant, off_hours, impossible_travel, look_alike, risk
  rules: [login_succeeded]
  group-by: [actor]
  field: src_country
  history: 90d
  learning: {events: 10, span: 7d}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sigma.rule import SigmaStatus

from muniment.detect.behaviour import Behaviour
from muniment.detect.correlation import Correlation
from muniment.detect.documents import documents
from muniment.detect.mistakes import LEVELS
from muniment.errors import RejectedError

__all__ = ["behaviour_of", "is_behaviour", "split"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_COMMON: Final = {"type", "rules", "group-by", "field", "peers", "history", "learning", "generate", "aliases"}
_OWN: Final[Mapping[str, frozenset[str]]] = {
    "first_seen": frozenset(),
    "rare": frozenset({"entities"}),
    "volume": frozenset({"per", "factor", "at-least"}),
    "dormant": frozenset({"after"}),
    "off_hours": frozenset({"zone", "hours", "days"}),
    "impossible_travel": frozenset({"speed", "distance", "networks"}),
    "look_alike": frozenset({"domains"}),
    "risk": frozenset({"at-least", "rules-at-least"}),
}
_STATUSES: Final = {"", *(each.name.lower() for each in SigmaStatus)}
_NEEDS_FIELD: Final = {"first_seen", "rare", "impossible_travel", "look_alike"}


def is_behaviour(document: Any) -> bool:
    """Is a YAML document a behaviour rule?"""
    return isinstance(document, dict) and "behaviour" in document


def split(text: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """The documents of a file: those for Sigma's parser, and the behaviour rules. Raises yaml.YAMLError."""
    found = [each for each in documents(text) if each is not None]
    return [each for each in found if not is_behaviour(each)], [each for each in found if is_behaviour(each)]


def behaviour_of(document: Mapping[str, Any], file: str, known: Callable[[str], str]) -> tuple[Correlation, bool]:
    """The rule, and whether its base rules alert by themselves too. `known` gives the key of a rule's id or name.

    Raises:
        RejectedError: it cannot be run; `reason` names the key and what may stand there.
    """
    given = document["behaviour"]
    if not isinstance(given, dict):
        raise RejectedError("behaviour: expected a mapping", field=file)
    kind = str(given.get("type", ""))
    if kind not in _OWN:
        raise RejectedError(f"behaviour.type: must be one of {', '.join(_OWN)}, got {kind!r}", field=file)
    if unknown := sorted(set(given) - _COMMON - _OWN[kind]):
        allowed = ", ".join(sorted(_COMMON | _OWN[kind]))
        raise RejectedError(f"behaviour.{unknown[0]}: not known for {kind}; there is {allowed}", field=file)
    made = _Reader(given, file)
    rules, group_by = made.texts("rules"), made.texts("group-by")
    fields = made.texts("field")
    if kind != "risk" and (not rules or not group_by):
        raise RejectedError("behaviour: rules and group-by are needed", field=file)
    if kind in _NEEDS_FIELD and not fields:
        raise RejectedError(f"behaviour.field: {kind} needs one", field=file)
    learning = given.get("learning", {})
    if not isinstance(learning, dict) or set(learning) - {"events", "span"}:
        raise RejectedError("behaviour.learning: a mapping of events and span", field=file)
    learned = _Reader(learning, file)
    peers = made.texts("peers")
    behaviour = Behaviour(
        kind=kind, fields=fields, peers=peers[0] if peers else "",
        history_us=made.span("history", "90d"), learn_events=int(learned.number("events", 10)),
        learn_us=learned.span("span", "7d"), entities_at_most=int(made.number("entities", 1)),
        per_us=made.span("per", "1d"), factor=made.number("factor", 5), at_least=int(made.number("at-least", 50)),
        after_us=made.span("after", "60d"), zone=made.zone(), hours=made.hours(), days=made.days(),
        speed_kmh=made.number("speed", 900), distance_km=made.number("distance", 500),
        networks=made.networks(), domains=tuple(each.lower() for each in made.texts("domains")),
        rules_at_least=int(made.number("rules-at-least", 2)),
    )  # fmt: skip
    level, status = _level(document, file), str(document.get("status", "") or "")
    aliases = given.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(each, dict) for each in aliases.values()):
        raise RejectedError("behaviour.aliases: a mapping of names to mappings of rules to fields", field=file)
    top = _Reader(document, file)
    together_s = {"volume": behaviour.per_us // 1_000_000, "off_hours": 43_200, "risk": 7 * 86_400}.get(kind, 3_600)
    correlation = Correlation(
        id=str(document.get("id", "") or ""), name=str(document.get("name", "") or ""),
        title=str(document.get("title", "") or ""), level=level, status=status, author=str(document.get("author", "") or ""),
        description=str(document.get("description", "") or ""), references=top.texts("references"),
        tags=top.texts("tags"), false_positives=top.texts("falsepositives"), kind=kind,
        rules=tuple(map(known, rules)), timespan_s=together_s, group_by=group_by,
        aliases={str(name): {known(str(rule)): str(to) for rule, to in each.items()} for name, each in aliases.items()},
        fields=(*fields, *([behaviour.peers] if behaviour.peers else [])), file=file, behaviour=behaviour,
        remarks=() if status.lower() in _STATUSES else (f"{status!r} is not a valid Sigma rule status",),
    )  # fmt: skip
    if not correlation.title:
        raise RejectedError("title: a rule needs one", field=file)
    return correlation, bool(given.get("generate", False))


def _level(document: Mapping[str, Any], file: str) -> str:
    """How severe its alerts are; the words are those of Sigma's parser, for which the fix is the same."""
    given = document.get("level")
    if given is None:
        return "medium"
    if not isinstance(given, str):
        raise RejectedError("Sigma rule level must be a string", field=file)
    if given.lower() not in LEVELS:
        raise RejectedError(f"{given!r} is not a valid Sigma rule level", field=file)
    return given.lower()


class _Reader:
    """Values of a mapping, checked."""

    def __init__(self, given: Mapping[str, Any], file: str) -> None:
        self._given = given
        self._file = file

    def texts(self, name: str) -> tuple[str, ...]:
        """A list, or one."""
        value = self._given.get(name, ())
        return (str(value),) if isinstance(value, str | int) else tuple(map(str, value or ()))

    def number(self, name: str, default: float) -> float:
        """A number above zero."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise RejectedError(f"{name}: expected a number above 0, got {value!r}", field=self._file)
        return float(value)

    def span(self, name: str, default: str) -> int:
        """A time span such as 30d, in microseconds."""
        value = str(self._given.get(name, default))
        found = re.fullmatch(r"(\d{1,6})([smhdw])", value)
        if found is None or not int(found[1]):
            raise RejectedError(f"{name}: expected a time span such as 10m, 8h or 30d, got {value!r}", field=self._file)
        return int(found[1]) * _UNITS[found[2]] * 1_000_000

    def zone(self) -> str:
        """A time zone's name."""
        name = str(self._given.get("zone", "UTC"))
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise RejectedError(f"zone: there is no time zone {name!r}", field=self._file) from error
        return name

    def hours(self) -> tuple[int, int] | None:
        """Working hours such as 7-20."""
        if "hours" not in self._given:
            return None
        found = re.fullmatch(r"(\d{1,2})(?::00)?\s*-\s*(\d{1,2})(?::00)?", str(self._given["hours"]))
        if found is None or not 0 <= int(found[1]) < int(found[2]) <= 24:
            raise RejectedError(f"hours: expected such as 7-20, got {self._given['hours']!r}", field=self._file)
        return int(found[1]), int(found[2])

    def days(self) -> tuple[int, ...]:
        """Working days, Monday is 1."""
        names = self.texts("days") or _DAYS[:5]
        if unknown := [name for name in names if name.lower()[:3] not in _DAYS]:
            raise RejectedError(f"days: expected such as mon, got {unknown[0]!r}", field=self._file)
        return tuple(_DAYS.index(name.lower()[:3]) + 1 for name in names)

    def networks(self) -> tuple[Any, ...]:
        """Own networks, from which travel is not counted."""
        try:
            return tuple(ip_network(each) for each in self.texts("networks"))
        except ValueError as error:
            raise RejectedError(f"networks: {error}", field=self._file) from error
