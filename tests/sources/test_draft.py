"""A draft of an entry loads, recognises its samples and finds what has the trade's names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue, load, read_entry
from muniment.sources.draft import draft, masked
from muniment.sources.testing import explain

EVENTS = [
    {"eventType": "User: Login", "createdAt": "2026-11-23T09:00:00Z", "actor": {"id": "u-1", "email": "anna@example.com"},
     "clientIp": "203.0.113.7", "result": "denied", "resource": {"type": "door", "id": "d-1"}, "tags": ["a"], "odd key": 1},
    {"eventType": "Door: Open", "createdAt": "2026-11-23T09:01:00Z", "actor": {"id": "u-2", "email": "bob@example.com"},
     "clientIp": "2001:db8::7", "result": "ok", "resource": {"type": "door", "id": "d-2"}},
]  # fmt: skip


def test_a_draft_reads_its_own_samples(client: Any) -> None:
    records = [json.dumps(event).encode() for event in EVENTS]
    entry = read_entry(draft("doors", records), "doors.yaml")
    found = next(explain(Catalogue({**load(), "doors": entry}), records[:1], client, entry="doors"))
    assert found.recognised == "doors"
    assert {name: found.columns[name] for name in ("action", "outcome", "actor_id", "actor_email", "src_ip", "target_id")} == {
        "action": "user.login", "outcome": "failure", "actor_id": "u-1", "actor_email": "anna@example.com",
        "src_ip": "203.0.113.7", "target_id": "d-1",
    }  # fmt: skip
    assert found.columns["time"] == "2026-11-23T09:00:00.000000Z"
    assert not found.problems
    assert {row["kind"] for row in entry.personal} == {"email", "ip"}


@pytest.mark.parametrize(("records", "words"), [([], "no sample"), ([b"{"], "line 1"), ([b"{}", b"[]"], "line 2")])
def test_what_is_no_sample_is_named(records: list[bytes], words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        draft("x", records)


def test_an_event_that_says_nothing_known_still_gives_a_draft_that_loads() -> None:
    assert read_entry(draft("x", [b'{"zzz":1}']), "x.yaml").name == "x"


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (
            {"type": "UserCreated", "who": {"mail": "anna@example.com", "id": 77}, "at": "2026-11-23T09:00:00Z"},
            {"type": "UserCreated", "who": {"mail": "person@example.com", "id": 1}, "at": "2026-11-23T09:00:00Z"},
        ),
        (
            {"syslog": {"app": "doord", "message": "login of anna from 203.0.113.7 failed: user=anna (Anna Müller)"}},
            {"syslog": {"app": "doord", "message": "login x x from 192.0.2.1 failed: user=x (x x)"}},
        ),
        ({"notes": ["Anna", "Berta"], "ok": True, "none": None}, {"notes": ["x", "x"], "ok": True, "none": None}),
    ],
)
def test_a_masked_sample_has_the_shape_and_names_nobody(record: object, wanted: object) -> None:
    assert json.loads(masked(json.dumps(record).encode())) == wanted
