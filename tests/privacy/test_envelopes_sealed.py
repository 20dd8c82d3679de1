"""Who is named in an event inside of envelopes is sealed, and the record comes back byte for byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer, unseal

SEALER = Sealer(
    SealPlan.compile(
        [
            {"path": "user.name", "kind": "name"},
            {"path": "user.id", "kind": "user_id", "subject": "user.name"},
            {"text": "note", "pattern": "by (?P<value>[^;]+);", "kind": "name"},
        ],
        opens=True,
    )
)
_WRAPPED: dict[str, Any] = {
    "a collector's object": lambda event: {"event": event, "host": "h"},
    "a collector's text": lambda event: {"event": json.dumps(event), "host": "h"},
    "a container": lambda event: {"log": json.dumps(event) + "\n", "stream": "stdout"},
    "a file shipper": lambda event: {"message": json.dumps(event, ensure_ascii=False), "@timestamp": "2026-11-23T06:36:01Z"},
    "syslog": lambda event: {"syslog": {"hostname": "h", "message": json.dumps(event)}, "raw": f"<14>{json.dumps(event)}"},
    "a notification": lambda event: {"TopicArn": "t", "Message": json.dumps(event)},
}  # fmt: skip


@given(
    around=st.lists(st.sampled_from(sorted(_WRAPPED)), min_size=1, max_size=3),
    name=st.sampled_from(
        ["Anna Example", "ann", "Jürgen Müller", 'Anna "A" Example', "EXAMPLE\\anna", "an/na.example"]
    ),
    number=st.sampled_from(["00u17", 4711, True]),
)
def test_nobody_inside_is_in_the_clear(around: list[str], name: str, number: Any) -> None:
    event: Any = {"user": {"name": name, "id": number}, "note": f"made by {name}; and so on"}
    for wrap in around:
        event = _WRAPPED[wrap](event)
    record = json.dumps(event).encode()
    sealed, groups = SEALER.seal(record)
    values = {b"%d" % number: raw for taken in groups.values() for number, raw in taken.items()}
    assert unseal(sealed, values) == record
    json.loads(sealed)
    assume("syslog" not in around[:-1])  # an event that says it is a line of syslog is closed, unless a door says so
    assert name in groups
    text = sealed.decode()
    for _ in range(4):
        text = text.replace("\\\\", "\\").replace('\\"', '"')
    assert f'"{name}"' not in text
    assert f"by {name};" not in text


def test_who_is_named_in_an_envelope_in_between_is_sealed_too() -> None:
    record = json.dumps(
        {"event": {"user": {"name": "Anna Example"}, "message": json.dumps({"note": "made by Bob Example; and"})}}
    )
    sealed, groups = SEALER.seal(record.encode())
    assert set(groups) == {"Anna Example", "Bob Example"}
    assert b"Example" not in sealed


def test_a_text_that_stands_as_its_bytes_is_sealed_as_a_whole() -> None:
    plan = SealPlan.compile([{"text": "MESSAGE", "pattern": "user (?P<value>\\S+) from", "kind": "name"}], opens=True)
    for said in ("Invalid user bob\udcff from 203.0.113.9", "Invalid user bob@example.com from 203.0.113.9"):
        numbers = list(said.encode("utf-8", "surrogateescape"))
        record = json.dumps({"_COMM": "sshd", "MESSAGE": numbers, "_PID": "1"}).encode()
        sealed, groups = Sealer(plan).seal(record)
        assert b"98, 111, 98" not in sealed  # bob
        values = {b"%d" % number: raw for taken in groups.values() for number, raw in taken.items()}
        assert unseal(sealed, values) == record
    harmless = json.dumps({"MESSAGE": list(b"nothing of anybody \xff")}).encode()
    assert Sealer(plan).seal(harmless) == (harmless, {})
