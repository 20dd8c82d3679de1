"""The simulated company: same seed, same bytes; office hours; every system speaks in its own words."""

import itertools
import json
import random
from collections import Counter
from ipaddress import ip_address, ip_network

import pytest

from muniment.drills.activity import SECOND_NS, Activity
from muniment.drills.company import SYSTEMS, make_company
from muniment.drills.incidents import INCIDENTS, Incident
from muniment.drills.shapes import to_bytes

MONDAY_10_UTC = 1_795_428_000 * SECOND_NS  # 2026-11-23T10:00:00Z
HOUR = 3_600 * SECOND_NS


def test_300_people_with_unique_logins_and_addresses_that_belong_to_nobody() -> None:
    company = make_company()
    assert len(company.people) == 300
    assert len({p.email for p in company.people}) == 300
    assert len({p.login for p in company.people}) == 300
    for person in company.people:
        assert person.ip.startswith("10.")
        assert ip_address(person.home_ip) in ip_network("198.18.0.0/15")
    homes = Counter(person.home_ip.rpartition(".")[0] for person in company.people)
    assert max(homes.values()) <= 2, "neighbours at home look like one attacker"
    assert 39 <= len(SYSTEMS) <= 45


def test_the_same_seed_makes_the_same_bytes_and_spans_can_be_cut_anywhere() -> None:
    activity = Activity(make_company(7), seed=7, per_second=30)

    def stream(*edges: int) -> list[bytes]:
        rng = random.Random(1)
        return [
            to_bytes(a, rng)
            for s, e in itertools.pairwise(edges)
            for a in activity.between(MONDAY_10_UTC + s * SECOND_NS, MONDAY_10_UTC + e * SECOND_NS)
        ]

    assert stream(0, 60) == stream(0, 13, 60)


def test_people_work_in_business_hours_and_machines_always() -> None:
    activity = Activity(make_company(), per_second=30)

    def count(start: int) -> Counter[bool]:
        return Counter(a.person is not None for a in activity.between(start, start + 120 * SECOND_NS))

    by_day, by_night = count(MONDAY_10_UTC), count(MONDAY_10_UTC + 14 * HOUR + 3 * HOUR)
    assert by_day[True] > 2 * by_night[True]
    assert by_night[False] > 0.5 * by_day[False]


def test_every_shape_is_valid_in_its_own_format() -> None:
    activity = Activity(make_company(), per_second=60)
    rng = random.Random(2)
    seen = set()
    for action in activity.between(MONDAY_10_UTC, MONDAY_10_UTC + 60 * SECOND_NS):
        event = to_bytes(action, rng)
        seen.add(action.system.shape)
        if action.system.door == "syslog":
            assert event.startswith(b"<")
            assert b"\n" not in event
        else:
            assert isinstance(json.loads(event), dict)
    assert seen == {system.shape for system in SYSTEMS}


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda i: i.name)
def test_an_incident_stays_within_its_minutes_and_says_nothing_of_being_one(incident: Incident) -> None:
    rng = random.Random(5)
    actions = list(incident.make(make_company(), rng, MONDAY_10_UTC))
    assert actions == sorted(actions, key=lambda a: a.at_ns)
    assert actions[-1].at_ns - MONDAY_10_UTC <= incident.minutes * 60 * SECOND_NS + 20 * SECOND_NS
    for action in actions:
        assert incident.name.encode() not in to_bytes(action, rng)


def test_who_is_put_into_an_organisation_or_a_group_is_somebody_else() -> None:
    """An account that adds itself is what a rule looks for: an ordinary day must not be full of it."""
    activity = Activity(make_company(), per_second=200)
    rng, met = random.Random(3), set()
    for action in activity.between(MONDAY_10_UTC, MONDAY_10_UTC + 300 * SECOND_NS):
        if action.verb == "org.add_member":
            event = json.loads(to_bytes(action, rng))
            assert event["user"] != event["actor"]
        elif action.verb == "group.user_membership.add":
            event = json.loads(to_bytes(action, rng))
            assert [each["type"] for each in event["target"]] == ["User", "UserGroup"]
            assert event["target"][0]["id"] != event["actor"]["id"]
        elif action.system.shape == "github":
            assert "user" not in json.loads(to_bytes(action, rng))
            continue
        else:
            continue
        met.add(action.verb)
    assert met == {"org.add_member", "group.user_membership.add"}
