"""Behaviour: what is unusual for somebody, told from what they did before. Pure; one more kind of correlation.

A behaviour is about matches of base rules, as a correlation is, and keeps for each entity (its `group-by`) what its type
asks for: values with the time they were last seen, counts by day, hours of the week, the last place. The same numbers come
from the store at a start (`learn`, one aggregate a rule), so a restart forgets nothing. Nothing fires before an entity
is known well enough (`learning`): a new installation, or a new colleague, is no finding.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import islice, product, repeat
from typing import Final
from zoneinfo import ZoneInfo

from muniment.detect.correlation import Correlation, Firing, Match, Matches, tuples
from muniment.detect.lookalike import look_alike
from muniment.event.place import Place
from muniment.limits import BEHAVIOUR_ENTITIES_MAX, BEHAVIOUR_VALUES_MAX

__all__ = ["DAY_US", "HOUR_US", "Behaviour", "BehaviourCorrelator", "Learned", "Locate", "Surroundings"]

Locate = Callable[[str], Place | None]
"""Where an address is said to be."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules are told about the world: where addresses are, and which domains are one's own."""

    locate: Locate = lambda address: None
    domains: tuple[str, ...] = ()


DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000
_EARTH_KM: Final = 6_371.0
_UNSURE_KM: Final = 50.0
"""How far off a place is taken to be when the data does not say."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a behaviour rule asks. Times in microseconds.

    `kind`: first_seen, rare, volume, dormant, off_hours, impossible_travel, look_alike, risk. `fields`: whose values are
    looked at. `peers`: the field that says who an entity's peers are. `learn_events`, `learn_us`: how often and how long
    an entity must be known. The rest belongs to one kind each.
    """

    kind: str
    fields: tuple[str, ...] = ()
    peers: str = ""
    history_us: int = 90 * DAY_US
    learn_events: int = 10
    learn_us: int = 7 * DAY_US
    entities_at_most: int = 1
    entities_known: int = 10
    per_us: int = DAY_US
    factor: float = 5.0
    at_least: int = 50
    after_us: int = 60 * DAY_US
    zone: str = "UTC"
    hours: tuple[int, int] | None = None
    days: tuple[int, ...] = (1, 2, 3, 4, 5)
    speed_kmh: float = 900.0
    distance_km: float = 500.0
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    domains: tuple[str, ...] = ()
    rules_at_least: int = 2

    def value_of(self, value: str, time_us: int) -> str:
        """What of one event is remembered."""
        if self.kind == "volume":
            return str(time_us // self.per_us)
        if self.kind == "off_hours":
            return str(_hour_of_week(time_us, self.zone))
        return value


@dataclass(frozen=True, slots=True)
class Learned:
    """`n` earlier matches of an entity with one value, the first and last of them."""

    entity: tuple[str, ...]
    peer: str
    value: str
    n: int
    first_us: int
    last_us: int


@dataclass(slots=True)
class _Entity:
    """What is known of one entity. `values`: value -> [matches, last seen]."""

    first_us: int
    last_us: int
    n: int = 0
    values: dict[str, list[int]] = field(default_factory=dict)
    latest: str = ""  # the value that was seen last
    alerted: str = ""
    limit: tuple[str, float, str] = ("", 0.0, "")


class BehaviourCorrelator:
    """The matches of one behaviour rule, and when it fires. Not thread-safe."""

    def __init__(self, correlation: Correlation, behaviour: Behaviour, around: Surroundings) -> None:
        self.correlation = correlation
        self.behaviour = behaviour
        self._locate = around.locate
        self._domains = (*behaviour.domains, *around.domains)
        self._entities: dict[tuple[str, ...], _Entity] = {}
        self._having: dict[tuple[str, str], dict[tuple[str, ...], int]] = {}  # (peer, value) -> entity -> last seen
        self.takes_columns = len(behaviour.fields) < 2
        self._has_others = behaviour.kind == "rare" or bool(behaviour.peers)
        self._newest = self._tidied = 0
        self._fields_of = cache(self._fields)
        self.dropped = 0

    def _fields(self, rule: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        group_by, _ = self.correlation.fields_of(rule)
        return group_by, tuple(self.correlation.field_of(name, rule) for name in self.behaviour.fields)

    @property
    def n_groups(self) -> int:
        """How many entities are known."""
        return len(self._entities)

    def known(self) -> dict[tuple[str, ...], tuple[int, int, int, dict[str, tuple[int, int]]]]:
        """All that is known: matches, first and last time, and each value with its matches and last time."""
        return {
            key: (e.n, e.first_us, e.last_us, {value: (n, last) for value, (n, last) in e.values.items()})
            for key, e in self._entities.items()
        }

    def learn(self, learned: Learned) -> None:
        """Take what happened before; nothing fires."""
        self._remember(learned.entity, learned.peer, learned.value, learned.n, learned.first_us, learned.last_us)

    def _remember(self, key: tuple[str, ...], peer: str, value: str, n: int, first_us: int, last_us: int) -> None:
        entity = self._entity(key, first_us)
        if first_us < entity.first_us:
            entity.first_us = first_us
        if last_us >= entity.last_us:
            entity.last_us, entity.latest = last_us, value
        entity.n += n
        held = entity.values.get(value)
        if held is None:
            entity.values[value] = [n, last_us]
            if len(entity.values) > BEHAVIOUR_VALUES_MAX:
                del entity.values[min(entity.values, key=lambda value: entity.values[value][1])]
                self.dropped += 1
        else:
            held[0] += n
            if last_us > held[1]:
                held[1] = last_us
        if self._has_others:
            having = self._having.setdefault((peer, value), {})
            having[key] = max(having.get(key, 0), last_us)

    def add(self, match: Match) -> Sequence[Firing]:
        """Take a match; what fires because of it."""
        b = self.behaviour
        group_by, fields = self._fields_of(match.rule)
        groups = [match.values(name) for name in group_by]
        if not all(groups):
            return ()
        peer = next(iter(match.values(b.peers)), "") if b.peers else ""
        values = [value for name in fields for value in match.values(name)]
        if fields and not values:
            return ()
        key = tuple([each[0] for each in groups])
        at = (match.index, match.time_us)
        if sum(map(len, groups)) == len(groups) and len(values) < 2:  # nearly always: one of each
            return self._added(*at, key, peer, values[0] if values else "")
        every = [(key, value) for key in dict.fromkeys(product(*groups)) for value in dict.fromkeys(values or [""])]
        return [firing for key, value in every for firing in self._added(*at, key, peer, value)]

    def names_of(self, rule: str) -> Sequence[str]:
        """The fields it reads of a rule's events."""
        group_by, fields = self._fields_of(rule)
        return (*group_by, *fields, *((self.behaviour.peers,) if self.behaviour.peers else ()))

    def add_all(self, found: Sequence[Matches]) -> list[Firing]:
        """Take all matches of a batch, if `takes_columns`; what fires because of them, entity by entity. As `add` of each in
        turn, but an entity that did only what is known of it costs one look.
        """
        b = self.behaviour
        seen: list[tuple[tuple[int, int, str, str], tuple[str, ...]]] = []
        for each in found:
            group_by, fields = self._fields_of(each.rule)
            values = each.values(fields[0]) if fields else repeat("")
            peers = each.values(b.peers) if b.peers else repeat("")
            said = zip(each.indexes, each.times_us, peers, values, strict=False)
            keys = tuples([each.values(name) for name in group_by])
            seen += [(row, key) for row, key in zip(said, keys, strict=False) if all(key) and (row[3] or not fields)]
        if len(found) > 1:
            seen.sort(key=lambda each: each[0][0])
        if self._has_others:  # what one did changes what is unusual for the next
            return [firing for (index, us, *what), key in seen for firing in self._added(index, us, key, *what)]
        by_entity: dict[tuple[str, ...], list[tuple[int, int, str, str]]] = {}
        for row, key in seen:
            by_entity.setdefault(key, []).append(row)
        firings: list[Firing] = []
        for key, rows in by_entity.items():
            if not self._all_known(key, rows):
                firings += [firing for index, us, *what in rows for firing in self._added(index, us, key, *what)]
        return firings

    def _all_known(self, key: tuple[str, ...], rows: Sequence[tuple[int, int, str, str]]) -> bool:
        """Take all matches of an entity at once, unless one of them might fire; whether they were taken."""
        b, entity = self.behaviour, self._entities.get(key)
        values: dict[str, list[int]] = {}
        for _, us, _, value in rows:
            times = values.get(value)
            if times is None:
                values[value] = [us]
            else:
                times.append(us)
        first, last = (rows[0][1], rows[0][1]) if len(rows) == 1 else (min(r[1] for r in rows), max(r[1] for r in rows))
        if b.kind == "look_alike":
            return not any(look_alike(value, self._domains) for value in values)
        if b.kind in {"volume", "off_hours"}:
            values = {}
            for _, us, _, value in rows:
                values.setdefault(b.value_of(value, us), []).append(us)
        if entity is None:
            if len(rows) > 1:
                return False
        elif not self._is_quiet(entity, values, len(rows), first, last):
            return False
        for value, times in values.items():
            self._remember(key, "", value, len(times), min(times), max(times))
        return True

    def _is_quiet(self, entity: _Entity, values: Mapping[str, object], n: int, first_us: int, last_us: int) -> bool:
        """Are `n` matches in this stretch of time certainly nothing unusual? `values`: as they are remembered."""
        b = self.behaviour
        if b.kind == "dormant":
            return last_us - entity.last_us <= b.after_us
        if b.kind == "impossible_travel":
            return len(values) == 1 and entity.latest in values
        is_set = b.kind == "off_hours" and b.hours is not None
        is_learning = entity.n + n <= b.learn_events or last_us - min(entity.first_us, first_us) < b.learn_us
        if is_learning and not is_set:
            return True
        if b.kind == "first_seen":
            oldest = last_us - b.history_us
            return all((held := entity.values.get(value)) is not None and held[1] >= oldest for value in values)
        if b.kind == "volume":
            (name, limit, _), (only, *others) = entity.limit, values
            return not others and only == name and entity.values.get(name, [0, 0])[0] + n < limit
        return b.kind == "off_hours" and not is_set and values.keys() <= entity.values.keys()

    def _added(self, index: int, time_us: int, key: tuple[str, ...], peer: str, value: str) -> Sequence[Firing]:
        b, c = self.behaviour, self.correlation
        why, is_more = self._why(key, peer, value, time_us)
        if b.kind != "look_alike":
            self._remember(key, peer, b.value_of(value, time_us), 1, time_us, time_us)
        if not why:
            return ()
        group = tuple(zip(c.group_by, key, strict=True))
        return (Firing(c, group, (index,), time_us, time_us, is_more, why),)

    def advance(self, now_us: int) -> Iterator[Firing]:
        """Event time has come to `now_us`: forget what is older than the history."""
        self._newest = max(self._newest, now_us)
        if self._newest > self._tidied + max(DAY_US, self.behaviour.history_us // 32):
            self._tidied = self._newest
            oldest = self._newest - max(self.behaviour.history_us, self.behaviour.after_us * 4)
            for key, entity in list(self._entities.items()):
                for value in [value for value, (_, last) in entity.values.items() if last < oldest]:
                    del entity.values[value]
                if entity.last_us < oldest:
                    del self._entities[key]
            for pair, having in list(self._having.items()):
                for key in [key for key, last in having.items() if last < oldest]:
                    del having[key]
                if not having:
                    del self._having[pair]
        yield from ()

    # --- the kinds ------------------------------------------------------------------------------------------------

    def _why(self, key: tuple[str, ...], peer: str, value: str, now_us: int) -> tuple[str, bool]:
        """Why this match is unusual, in words, and whether that goes on from before; empty when it is not."""
        b, who = self.behaviour, ", ".join(key)
        if b.kind == "look_alike":
            return look_alike(value, self._domains), False
        entity = self._entities.get(key)
        if entity is None:
            return "", False
        if b.kind == "dormant":
            away_us = now_us - entity.last_us
            return (f"{who} was last seen {_days(away_us)} ago" if away_us > b.after_us else ""), False
        if b.kind == "impossible_travel":
            return self._travel(entity, who, value, now_us), False
        if b.kind == "off_hours" and b.hours is not None:
            return self._outside(entity, who, now_us)
        if entity.n < b.learn_events or now_us - entity.first_us < b.learn_us:
            return "", False
        match b.kind:
            case "first_seen":
                return self._first(key, entity, peer, value, now_us), False
            case "rare":
                return self._rare(key, peer, value, now_us), False
            case "volume":
                return self._volume(entity, who, now_us)
            case "off_hours":
                return self._outside(entity, who, now_us)
        return "", False

    def _first(self, key: tuple[str, ...], entity: _Entity, peer: str, value: str, now_us: int) -> str:
        b = self.behaviour
        held = entity.values.get(value)
        if held is not None and held[1] >= now_us - b.history_us:
            return ""
        n_peers = 0
        if b.peers:
            others = self._having.get((peer, value), {})
            if any(last >= now_us - b.history_us for other, last in others.items() if other != key):
                return ""
            n_peers = sum(1 for other in self._entities if other != key)
        usual = sorted(entity.values.items(), key=lambda each: (-each[1][0], each[0]))[:3]
        said = ", ".join(f"{name} ({n:,})" for name, (n, _) in usual)
        days = min(b.history_us, now_us - entity.first_us)
        also = ", and none of the others did" if n_peers else ""
        return f"first {value} for {', '.join(key)} in {_days(days)}{also}; usual: {said or 'nothing'}"

    def _rare(self, key: tuple[str, ...], peer: str, value: str, now_us: int) -> str:
        b = self.behaviour
        since = now_us - b.history_us
        known = self._having.get((peer, value), {})
        if known.get(key, 0) >= since or len(self._entities) < b.entities_known:
            return ""
        having = list(islice((other for other, last in known.items() if last >= since), b.entities_at_most))
        if len(having) == b.entities_at_most:
            return ""
        others = f"{len(having)} other{'s' if len(having) != 1 else ''}" if having else "nobody else"
        return f"{value}: {others} of {len(self._entities):,} did so in {_days(b.history_us)}"

    def _volume(self, entity: _Entity, who: str, now_us: int) -> tuple[str, bool]:
        b = self.behaviour
        bucket = now_us // b.per_us
        name = str(bucket)
        n = entity.values.get(name, [0, 0])[0] + 1
        if entity.limit[0] != name:
            start = max(max(entity.first_us, now_us - b.history_us) // b.per_us, bucket - BEHAVIOUR_VALUES_MAX + 1)
            past = [entity.values.get(str(each), [0, 0])[0] for each in range(start, bucket)]
            if len(past) * b.per_us < b.learn_us:
                return "", False
            middle = statistics.median(past)
            spread = statistics.median(abs(each - middle) for each in past) * 1.4826
            ordered = sorted(past)
            low, high = ordered[len(past) // 10], ordered[-1 - len(past) // 10]
            limit = max(float(b.at_least), middle * b.factor, middle + b.factor * spread)
            entity.limit = (
                name,
                limit,
                f"usual {low:,} to {high:,}, median {middle:,.0f}, over {_days(len(past) * b.per_us)}",
            )
        if n < entity.limit[1]:
            return "", False
        is_more, entity.alerted = entity.alerted == name, name
        return f"{n:,} by {who} in {_span(b.per_us)}; {entity.limit[2]}", is_more

    def _outside(self, entity: _Entity, who: str, now_us: int) -> tuple[str, bool]:
        b = self.behaviour
        hour_of_week = _hour_of_week(now_us, b.zone)
        day, hour = divmod(hour_of_week, 24)
        if b.hours is not None:
            is_out = day + 1 not in b.days or not b.hours[0] <= hour < b.hours[1]
            usual = f"working hours are {b.hours[0]:02d}:00 to {b.hours[1]:02d}:00"
        else:
            is_weekend = day >= 5
            hours = {(int(each) // 24 >= 5, int(each) % 24) for each in entity.values}
            is_out = not any((is_weekend, (hour + step) % 24) in hours for step in (-1, 0, 1))
            known = sorted({each for weekend, each in hours if not weekend})
            usual = f"usually from {known[0]:02d}:00 to {known[-1] + 1:02d}:00" if known else "never on working days"
        if not is_out:
            return "", False
        name = str(now_us // DAY_US)
        is_more, entity.alerted = entity.alerted == name, name
        clock = datetime.fromtimestamp(now_us / 1e6, ZoneInfo(b.zone)).strftime("%A %H:%M")
        return f"{who} on {clock} ({b.zone}); {usual}", is_more

    def _travel(self, entity: _Entity, who: str, value: str, now_us: int) -> str:
        b = self.behaviour
        before = entity.latest
        if before == value or _is_in(value, b.networks) or _is_in(before, b.networks):
            return ""
        here, there = self._locate(value), self._locate(before)
        if here is None or there is None or None in (here.latitude, here.longitude, there.latitude, there.longitude):
            return ""
        slack = (here.radius_km or _UNSURE_KM) + (there.radius_km or _UNSURE_KM)
        km = max(0.0, _distance_km(here, there) - slack)
        hours = max(abs(now_us - entity.last_us) / HOUR_US, 1 / 60)
        if km < b.distance_km or km / hours < b.speed_kmh:
            return ""
        vpn = " (a VPN's or data centre's)"
        return (
            f"{who} was at {before}{vpn if there.hosting else ''} in {_name(there)} and "
            f"{_span(round(hours * HOUR_US))} later at {value}{vpn if here.hosting else ''} in {_name(here)}: "
            f"{km:,.0f} km, {km / hours:,.0f} km/h"
        )

    def _entity(self, key: tuple[str, ...], at_us: int) -> _Entity:
        entity = self._entities.pop(key, None)
        if entity is None:
            entity = _Entity(at_us, at_us)
            if len(self._entities) >= BEHAVIOUR_ENTITIES_MAX:
                del self._entities[next(iter(self._entities))]  # silent longest: they stand in the order of use
                self.dropped += 1
        self._entities[key] = entity
        return entity


def _distance_km(a: Place, b: Place) -> float:
    """Along the earth's surface."""
    assert a.latitude is not None
    assert a.longitude is not None
    assert b.latitude is not None
    assert b.longitude is not None
    north, south = math.radians(a.latitude), math.radians(b.latitude)
    turn = math.radians(b.longitude - a.longitude)
    half = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def _name(place: Place) -> str:
    return ", ".join(part for part in (place.city, place.country) if part) or "an unknown place"


def _is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


def _hour_of_week(time_us: int, zone: str) -> int:
    """0 is Monday from midnight to one."""
    at = datetime.fromtimestamp(time_us / 1e6, UTC if zone == "UTC" else ZoneInfo(zone))
    return at.weekday() * 24 + at.hour


def _days(us: int) -> str:
    days = us // DAY_US
    return f"{days} days" if days != 1 else "1 day"


def _span(us: int) -> str:
    for size, name in ((DAY_US, "day"), (HOUR_US, "hour"), (60_000_000, "minute")):
        if us >= size:
            n = us / size
            return f"{n:.0f} {name}{'s' if round(n) != 1 else ''}"
    return "less than a minute"
