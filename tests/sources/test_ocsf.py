"""The validator finds each kind of violation; every class we know can be built from next to nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from muniment.sources.ocsf import to_ocsf
from muniment.sources.ocsf_schema import classes, problems

ROW: dict[str, object] = {
    "index": 7,
    "id": "018bcfe5-6800-7000-8000-000000000000",
    "source": "okta",
    "time": dt.datetime(2026, 11, 23, 6, 36, 1, 123456, tzinfo=dt.UTC),
    "class_uid": 3002,
    "activity_id": 1,
    "severity_id": 1,
    "outcome": "failure",
    "actor_id": "u-1",
    "actor_email": "anna@example.com",
    "src_ip": "::ffff:203.0.113.7",
    "app": "shop",
    "record": "{}",
}


def _event(**changes: object) -> dict[str, Any]:
    return to_ocsf({**ROW, **changes})


def test_a_login_is_valid_and_carries_its_values() -> None:
    event = _event()
    assert problems(event) == []
    assert event["type_uid"] == 300201
    assert event["time"] == 1795415761123
    assert event["user"] == {"uid": "u-1", "name": "anna@example.com", "email_addr": "anna@example.com"}
    assert event["src_endpoint"] == {"ip": "203.0.113.7"}
    assert event["status_id"] == 2
    assert event["raw_data"] == "{}"


@pytest.mark.parametrize("uid", sorted(classes()))
def test_every_class_is_valid_even_from_an_empty_row(uid: int) -> None:
    assert problems(to_ocsf({"class_uid": uid, "activity_id": 1})) == []
    assert problems(_event(class_uid=uid, activity_id=77, target_name="x", changes_after="{broken")) == []


BROKEN = {
    "a required attribute": (lambda e: e.pop("metadata"), "metadata: required"),
    "a type": (lambda e: e.update(time="now"), "time: expected timestamp_t"),
    "an enumeration": (lambda e: e.update(severity_id=42), "severity_id: 42 is not one of"),
    "a sibling": (lambda e: e.update(status="Success"), "status: expected 'Failure'"),
    "an unknown attribute": (lambda e: e.update(colour="blue"), "colour: no such attribute"),
    "an address": (lambda e: e["src_endpoint"].update(ip="1.2.3"), "src_endpoint.ip: '1.2.3' is not an address"),
    "at least one": (lambda e: e.update(user={"type_id": 1}), "user.: at least one of"),
    "an object": (lambda e: e.update(user="anna"), "user: expected an object user"),
    "the type number": (lambda e: e.update(type_uid=1), "type_uid: expected 300201"),
    "a pattern": (lambda e: e["user"].update(email_addr="anna"), "user.email_addr: 'anna' does not look like"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_violation_is_found(name: str) -> None:
    breaks, words = BROKEN[name]
    event = _event()
    breaks(event)
    assert any(problem.startswith(words) for problem in problems(event)), problems(event)
