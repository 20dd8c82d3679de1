"""What is unusual for somebody: told by words, from state that a restart and an aggregate give again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.detect.behaviour import DAY_US, HOUR_US, Behaviour, BehaviourCorrelator, Learned, Surroundings
from muniment.detect.correlation import Correlation, Match, Matches
from muniment.detect.lookalike import look_alike
from muniment.detect.rules import load_rules
from muniment.event.place import Place

_BASE = """
title: Any
name: any
logsource: {product: muniment}
detection: {a: {action: x}, condition: a}
---
title: Odd
name: odd
behaviour:
"""
_NOON = 1_795_000_000_000_000 // DAY_US * DAY_US + DAY_US // 2


def _rule(text: str) -> Correlation:
    lines = "".join(f"  {line.strip()}\n" for line in text.strip().splitlines())
    loaded = load_rules([("odd.yml", _BASE + lines)])
    assert not loaded.refused, loaded.refused
    return loaded.correlations[0]


def _running(text: str, around: Surroundings | None = None) -> BehaviourCorrelator:
    rule = _rule(text)
    assert rule.behaviour is not None
    return BehaviourCorrelator(rule, rule.behaviour, around or Surroundings())


def _match(n: int, at_us: int, **fields: str) -> Match:
    return Match("any", n, at_us, lambda name: (fields[name],) if name in fields else ())


def _whys(correlator: BehaviourCorrelator, matches: Sequence[Match]) -> list[str]:
    return [firing.why for match in matches for firing in correlator.add(match)]


def test_a_first_value_is_told_with_what_is_usual() -> None:
    correlator = _running("type: first_seen\nrules: [any]\ngroup-by: [actor]\nfield: src_country")
    days = [_match(n, _NOON + n * DAY_US, actor="anna", src_country="DE" if n % 4 else "AT") for n in range(20)]
    assert _whys(correlator, days) == []
    (why,) = _whys(correlator, [_match(99, _NOON + 21 * DAY_US, actor="anna", src_country="BR")])
    assert why == "first BR for anna in 21 days; usual: DE (15), AT (5)"


def test_what_a_peer_does_is_not_new() -> None:
    text = "type: first_seen\nrules: [any]\ngroup-by: [actor]\nfield: app\npeers: actor_type\nlearning: {events: 2, span: 1d}"
    correlator = _running(text)
    for n in range(4):
        for who in ("anna", "ben"):
            assert not _whys(correlator, [_match(n, _NOON + n * DAY_US, actor=who, actor_type="user", app="crm")])
    assert _whys(correlator, [_match(9, _NOON + 5 * DAY_US, actor="ben", actor_type="user", app="payroll")])
    assert not _whys(correlator, [_match(10, _NOON + 6 * DAY_US, actor="anna", actor_type="user", app="payroll")])


def test_volume_says_the_usual_range_once_a_day() -> None:
    correlator = _running("type: volume\nrules: [any]\ngroup-by: [actor]\nat-least: 10\nfactor: 3")

    for day in range(15):
        for k in range(4 + day % 3):
            assert not _whys(correlator, [_match(k, _NOON + day * DAY_US + k, actor="anna")])
    firings = [f for k in range(20) for f in correlator.add(_match(k, _NOON + 15 * DAY_US + k, actor="anna"))]
    assert firings[0].why == "15 by anna in 1 day; usual 4 to 6, median 5, over 15 days"
    assert [firing.is_more for firing in firings] == [False, True, True, True, True, True]


def test_travel_names_places_distance_and_speed_and_who_may_hide() -> None:
    places = {
        "1.1.1.1": Place("DE", "Berlin", 52.52, 13.4, 10),
        "2.2.2.2": Place("JP", "Tokyo", 35.69, 139.69, 10, hosting=True),
        "3.3.3.3": Place("FR"),
    }
    text = "type: impossible_travel\nrules: [any]\ngroup-by: [actor]\nfield: src_ip\nnetworks: [9.0.0.0/8]"
    correlator = _running(text, Surroundings(places.get))
    steps = [("1.1.1.1", 0), ("2.2.2.2", 2), ("3.3.3.3", 3), ("9.9.9.9", 4), ("1.1.1.1", 5)]
    (why,) = _whys(
        correlator, [_match(n, _NOON + h * 3_600_000_000, actor="anna", src_ip=ip) for n, (ip, h) in enumerate(steps)]
    )
    assert why == (
        "anna was at 1.1.1.1 in Berlin, DE and 2 hours later at 2.2.2.2 (a VPN's or data centre's) in Tokyo, JP: "
        "8,896 km, 4,448 km/h"
    )


def test_declared_hours_in_a_zone() -> None:
    text = "type: off_hours\nrules: [any]\ngroup-by: [actor]\nhours: 8-18\nzone: Europe/Zurich"
    correlator = _running(text)
    monday_noon = 1_795_435_200_000_000  # 2026-11-23T12:00:00Z
    assert not _whys(correlator, [_match(1, monday_noon, actor="anna")])
    (why,) = _whys(correlator, [_match(2, monday_noon + 6 * 3_600_000_000, actor="anna")])
    assert why == "anna on Monday 19:00 (Europe/Zurich); working hours are 08:00 to 18:00"
    assert _whys(correlator, [_match(3, monday_noon - DAY_US, actor="anna")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type: odd\nrules: [any]\ngroup-by: [actor]", "behaviour.type: must be one of first_seen"),
        ("type: volume\nrules: [any]\ngroup-by: [actor]\nspeed: 3", "behaviour.speed: not known for volume"),
        ("type: rare\nrules: [any]\ngroup-by: [actor]", "behaviour.field: rare needs one"),
        ("type: dormant\nrules: [any]\ngroup-by: [actor]\nafter: soon", "after: expected a time span such as"),
        ("type: dormant\nrules: [nothing]\ngroup-by: [actor]", "there is no rule with the id or name 'nothing'"),
        ("type: off_hours\nrules: [any]\ngroup-by: [actor]\nzone: Mars/Base", "zone: there is no time zone"),
        ("type: off_hours\nrules: [any]\ngroup-by: [actor]\nhours: 20-7", "hours: expected such as 7-20"),
        ("type: volume\nrules: [any]\ngroup-by: [actor]\nfactor: -1", "factor: expected a number above 0"),
        ("type: impossible_travel\nrules: [any]\ngroup-by: [actor]\nfield: src_ip\nnetworks: [x]", "networks: "),
    ],
)
def test_a_mistake_is_refused_with_what_may_stand_there(text: str, reason: str) -> None:
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    (refused,) = load_rules([("odd.yml", _BASE + lines)]).refused
    assert refused.file == "odd.yml"
    assert refused.reason.startswith(reason)


_STEP = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 40))


@settings(deadline=None)
@given(
    st.lists(_STEP, max_size=40),
    st.integers(0, 40),
    st.sampled_from(["first_seen", "rare", "volume", "dormant", "off_hours"]),
)
def test_a_restart_in_the_middle_changes_nothing(steps: list[tuple[str, str, int]], cut: int, kind: str) -> None:
    """What was before is given as the store's aggregate gives it: (entity, value, n, first, last), oldest last first."""
    behaviour: dict[str, Any] = {
        "kind": kind, "fields": ("v",) if kind in {"first_seen", "rare"} else (), "learn_events": 2, "learn_us": DAY_US,
        "at_least": 2, "factor": 2.0, "after_us": 5 * DAY_US, "entities_known": 1,
    }  # fmt: skip
    b = Behaviour(**behaviour)
    rule = Correlation(
        "", "odd", "Odd", "low", "", "", "", (), (), (), kind, ("any",), 3_600, ("actor",), fields=b.fields, behaviour=b
    )
    matches = [
        _match(n, _NOON + hours * 7 * 3_600_000_000, actor=who, v=value)
        for n, (who, value, hours) in enumerate(sorted(steps, key=lambda step: step[2]))
    ]
    whole = BehaviourCorrelator(rule, b, Surroundings())
    expected = [(f.indexes, f.why) for match in matches for f in whole.add(match) if not f.is_more]
    after = BehaviourCorrelator(rule, b, Surroundings())
    counted: dict[tuple[str, str], list[int]] = {}
    for match in matches[:cut]:
        value = b.value_of(match.values("v")[0] if b.fields else "", match.time_us)
        held = counted.setdefault((match.values("actor")[0], value), [0, match.time_us, match.time_us])
        held[0] += 1
        held[2] = match.time_us
    for (who, value), (n, first, last) in sorted(counted.items(), key=lambda each: each[1][2]):
        after.learn(Learned((who,), "", value, n, first, last))
    found = [(f.indexes, f.why) for match in matches[cut:] for f in after.add(match) if not f.is_more]
    if kind in {"volume", "off_hours"}:  # a day that had begun to be told may be told once more; alerts are grouped
        assert {index for index, _ in found} >= {index for index, _ in expected if index[0] >= cut}
    else:
        assert sorted(map(str, found)) == sorted(str(each) for each in expected if each[0][0] >= cut)


def test_a_batch_that_reaches_what_is_usual_fires_with_the_match_that_does() -> None:
    correlator = _running(
        "type: volume\nrules: [any]\ngroup-by: [actor]\nper: 1d\nat-least: 3\nlearning: {events: 2, span: 2d}"
    )
    found = []
    for day, counts in enumerate(((1,), (1,), (1,), (1,), (1, 1, 1, 1, 1))):
        for n, count in enumerate(counts):
            at_us = _NOON + day * DAY_US + n * HOUR_US
            matches = Matches("any", [day * 10 + n] * count, [at_us] * count, lambda name: ["anna"])
            found += correlator.add_all([matches])
    assert [firing.indexes for firing in found] == [(44,)]


_BEHAVIOURS: tuple[dict[str, Any], ...] = (
    {"kind": "first_seen", "fields": ("v",), "history_us": 3 * DAY_US},
    {"kind": "first_seen", "fields": ("v",), "peers": "team"},
    {"kind": "rare", "fields": ("v",), "entities_known": 1},
    {"kind": "volume", "at_least": 2, "factor": 2.0},
    {"kind": "dormant", "after_us": 3 * DAY_US},
    {"kind": "off_hours"},
    {"kind": "off_hours", "hours": (8, 18)},
    {"kind": "impossible_travel", "fields": ("v",), "distance_km": 100.0},
    {"kind": "look_alike", "fields": ("v",), "domains": ("example.com",)},
)
_PLACES = {"x": Place("DE", latitude=52.5, longitude=13.4), "y": Place("US", latitude=40.7, longitude=-74.0)}


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(_BEHAVIOURS),
    st.lists(
        st.tuples(st.sampled_from("aab"), st.sampled_from(["x", "y", "z", "examp1e.com", ""]), st.integers(0, 200)),
        min_size=10,
        max_size=60,
    ),
    st.integers(1, 8),
    st.booleans(),
)
def test_a_batch_as_columns_fires_as_its_matches_one_by_one(
    kind: dict[str, Any], steps: list[tuple[str, str, int]], size: int, is_late: bool
) -> None:
    b = Behaviour(**{"learn_events": 2, "learn_us": DAY_US, **kind})
    rule = Correlation(
        "",
        "odd",
        "Odd",
        "low",
        "",
        "",
        "",
        (),
        (),
        (),
        b.kind,
        ("any",),
        3_600,
        ("actor",),
        fields=b.fields,
        behaviour=b,
    )
    around = Surroundings(_PLACES.get)
    one, whole = BehaviourCorrelator(rule, b, around), BehaviourCorrelator(rule, b, around)
    events = [
        {"actor": who, "v": value, "team": "red" if who == "a" else "blue", "at": _NOON + hour * HOUR_US}
        for who, value, hour in (steps if is_late else sorted(steps, key=lambda step: step[2]))
    ]
    for start in range(0, len(events), size):
        part = events[start : start + size]
        matches = [
            _match(start + n, event["at"], **{k: v for k, v in event.items() if k != "at" and v})
            for n, event in enumerate(part)
        ]
        expected = [firing for match in matches for firing in one.add(match)]
        indexes, times = [match.index for match in matches], [match.time_us for match in matches]
        columns = {name: [event[name] for event in part] for name in ("actor", "v", "team")}
        found = whole.add_all([Matches("any", indexes, times, columns.__getitem__)])
        assert sorted(found, key=lambda firing: firing.indexes) == expected
        newest = max(times)
        assert not [*one.advance(newest), *whole.advance(newest)]
        assert one.known() == whole.known()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("ceo@examp1e.com", True), ("https://exarnple.com/login", True), ("x@example.org", True),
        ("example-login.com", True), ("example.com.evil.net", True), ("xn--exmple-cua.com", True), ("exmaple.com", True),
        ("\u0435xample.com", True), ("example.com", False), ("a.b.example.com", False), ("github.com", False),
        ("sample.com", False), ("e.com", False), ("no domain here", False), ("", False),
    ],
)  # fmt: skip
def test_domains_that_look_like_ours(text: str, is_one: bool) -> None:
    assert bool(look_alike(text, ("example.com",))) is is_one
