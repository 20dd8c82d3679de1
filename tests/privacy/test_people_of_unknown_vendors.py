"""Who is named in the JSON of a vendor nobody wrote an entry for is sealed, wherever the reader for everything looks for people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer
from muniment.sources.catalogue import load

SEALER = Sealer(SealPlan.compile(list(load()["json"].personal)))


@pytest.mark.parametrize(
    "event",
    [
        {"action": "created", "initiator": {"uuid": "u1", "displayName": "Anna Example", "emailAddress": "anna@example.com"}},
        {"type": "audit", "data": {"eventName": "UserLoginFailed", "userEmail": "anna@example.com"}},
        {"event": {"type": "role.assigned"}, "payload": {"actor": {"email": "anna@example.com", "name": "Anna Example"}}},
        {"performedBy": "anna@example.com", "targetUser": {"mail": "anna@example.com"}},
        {"event": "login", "details": "a text", "admin": True, "user": "Anna Example", "upn": "anna@example.com"},
        {"actor": ["a list"], "createdBy": {"login": "Anna Example"}},
    ],
)  # fmt: skip
def test_no_name_or_address_stays_in_the_record(event: dict[str, Any]) -> None:
    sealed, groups = SEALER.seal(json.dumps(event).encode())
    assert b"anna" not in sealed.lower()
    assert all("anna" in person.lower() for person in groups)
    assert json.loads(sealed).keys() == event.keys()


def test_a_key_that_stands_twice_hides_nobody() -> None:
    record = b'{"user":{"name":"Anna","name":"Anna B"},"user":{"email":"anna@example.com"},"sender":"Anna"}'
    sealed, _ = SEALER.seal(record)
    assert b"nna" not in sealed
