"""A batch through scrubbing, sealing, erasure; what is stored holds no personal value and can be restored exactly."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.errors import ConfigError, RejectedError, VerificationError
from muniment.event.ids import UUID_PATTERN
from muniment.event.model import Arrival
from muniment.ledger.types import SealedPart
from muniment.privacy.keys import KeyStore
from muniment.privacy.places import spans
from muniment.privacy.plan import SealPlan
from muniment.privacy.protector import Protected, Protector
from muniment.privacy.seal import Sealer, unseal

APP = SealPlan.compile(
    [
        {"path": "actor.email", "subject": "actor.id", "kind": "email"},
        {"path": "actor.name", "subject": "actor.id", "kind": "name"},
        {"path": "actor", "kind": "name"},
        {"path": "context.ip", "subject": "actor.id", "kind": "ip"},
        {"path": "targets[*].email", "kind": "email"},
    ]
)
FLAT = SealPlan.compile([{"path": "who", "subject": "id"}, {"path": "ip", "subject": "id", "kind": "ip"}])
SSH = SealPlan.compile(
    [
        {
            "text": "syslog.message",
            "pattern": r"for (?:invalid user )?(?P<user>\S+) from (?P<ip>\S+)",
            "subject": "user",
            "kind": "ip",
        },
        {"text": "syslog.message", "pattern": r"for (?:invalid user )?(\S+) from", "kind": "user_id"},
    ]
)


class Plans:
    def plan_for(self, source_id: str) -> SealPlan | None:
        return {"app": APP, "ssh": SSH, "flat": FLAT}.get(source_id)


@pytest.fixture
def protector(tmp_path: Path) -> Protector:
    return Protector(Plans(), KeyStore.open(tmp_path / "keys"), "log.example/a")


def protect(protector: Protector, source: str, *records: bytes, **extra: object) -> Protected:
    return protector.protect([Arrival(source, "http", 1_795_500_000 * 10**9, records, **extra)])  # type: ignore[arg-type]


def test_a_clear_source_passes_as_it_came(protector: Protector) -> None:
    done = protect(protector, "clear", b'{ "a" : 1 }')
    assert done.entries.records == done.clear == [b'{ "a" : 1 }']
    assert list(done.entries.parts) == [()]


def test_personal_values_leave_and_come_back(protector: Protector) -> None:
    record = '{"actor": {"id":"u1","name":"Zoë Fit","email":"z@x.example"}, "m":"by z@x.example", "z@x.example": [true], "to":"Zo\\u00eb Fit"}'.encode()
    done = protect(protector, "flat", record.replace(b'"actor": {"id":"u1","name"', b'"id":"u1","k": {"a":1,"n"'))
    assert list(done.entries.parts) == [()]  # the plan does not fit: stays as it is
    done = protect(protector, "app", record)
    (stored,) = done.entries.records
    assert b"z@x.example" not in stored
    assert b"Fit" not in stored
    json.loads(stored)
    assert done.clear == [record]
    assert protector.unseal([stored], done.entries.parts) == [record]


def test_one_part_for_each_person(protector: Protector) -> None:
    event = {
        "actor": {"id": "u1", "email": "a@x.example"},
        "targets": [{"email": "b@x.example"}, {"email": "c@x.example"}],
    }
    done = protect(protector, "app", json.dumps(event).encode())
    (parts,) = done.entries.parts
    assert len({part.subject for part in parts}) == 3
    assert b"x.example" not in done.entries.records[0] + b"".join(part.ciphertext for part in parts)


def test_a_syslog_line_is_sealed_in_both_its_places(protector: Protector) -> None:
    text = "Failed password for bob from 10.1.2.3 port 43"
    record = json.dumps(
        {"syslog": {"message": text, "app": "sshd"}, "raw": f"<38>Nov 23 web01 sshd[1]: {text}"}
    ).encode()
    done = protect(protector, "ssh", record)
    (stored,) = done.entries.records
    assert b"bob" not in stored
    assert b"10.1.2.3" not in stored
    assert stored.count(b"for {$sealed:1} from {$sealed:2} port") == 2
    assert protector.unseal([stored], done.entries.parts) == [record]


@pytest.mark.parametrize(
    "junk", [b"", b"\xff\xfe", b"[1]", b"null", b'{"a":', b'{"a":"\xff"}', b'{"a":1}}', b"[" * 5000, b'{"a":' * 5000]
)
@pytest.mark.parametrize("source", ["clear", "app"])
def test_what_is_no_object_becomes_a_quarantine_record(protector: Protector, source: str, junk: bytes) -> None:
    done = protect(protector, source, junk)
    (stored,) = done.entries.records
    assert json.loads(stored)["$quarantine"] == {"reason": "not a JSON object", "door": "http"}
    assert protector.unseal([stored], done.entries.parts) == done.clear
    assert bool(done.entries.parts[0]) == (source == "app")


def test_quarantined_text_of_a_sealed_source_is_sealed_whole(protector: Protector) -> None:
    record = b'{"$quarantine":{"reason":"x","door":"tcp"},"$raw":"hello anna"}'
    done = protect(protector, "app", record, quarantined=["x"])
    assert done.entries.records == [b'{"$quarantine":{"reason":"x","door":"tcp"},"$raw":{"$sealed":1}}']
    assert protector.unseal(done.entries.records, done.entries.parts) == [record]


def test_secrets_are_gone_from_both_outputs_and_counted(protector: Protector) -> None:
    done = protect(protector, "app", b'{"actor":{"email":"a@x.example"},"password":"hunter2"}')
    assert b"hunter2" not in done.entries.records[0] + done.clear[0]
    assert protector.take_secret_counts() == {("app", "password"): 1}
    assert protector.take_secret_counts() == {}


def test_ids_are_stable_for_producers_and_fresh_otherwise(protector: Protector) -> None:
    one = protect(protector, "clear", b"{}", b"{}", b"{}", ids=["order-1", None, None]).entries
    two = protect(protector, "clear", b"{}", ids=["order-1"]).entries
    assert one.ids[0] == two.ids[0]
    assert len(set(one.ids)) == 3
    assert all(UUID_PATTERN.fullmatch(text) for text in one.ids)
    assert one.ids[1][14] == "7"
    assert one.sqs == [None] * 3


def test_an_erased_person_is_in_no_file_and_others_stay(protector: Protector, tmp_path: Path) -> None:
    records = [json.dumps({"actor": {"id": f"u{n}", "email": f"canary{n}@x.example"}}).encode() for n in range(50)]
    done = protect(protector, "app", *records)
    subject = done.entries.parts[7][0].subject
    assert protector.erase_subject("U7 ") == [subject]
    assert protector.erase_subject("u7") == []
    again = protector.unseal(done.entries.records, done.entries.parts)
    assert again[7] == done.entries.records[7]
    assert [*again[:7], *again[8:]] == [*records[:7], *records[8:]]
    assert protector.open_part(done.entries.parts[7][0]) is None
    files = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    assert subject not in files
    assert b"canary" not in files
    fresh = protect(protector, "app", records[7])
    assert fresh.entries.parts[0][0].subject != subject


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    record = b'{"actor":{"id":"u1","email":"a@x.example"}}'
    keys = KeyStore.open(tmp_path)
    done = protect(Protector(Plans(), keys, "o"), "app", record)
    keys.close()
    again = Protector(Plans(), KeyStore.open(tmp_path), "o")
    assert again.unseal(done.entries.records, done.entries.parts) == [record]
    assert protect(again, "app", record).entries.parts[0][0].subject == done.entries.parts[0][0].subject


def test_a_key_file_others_can_read_or_that_is_gone_stops_the_start(tmp_path: Path) -> None:
    KeyStore.open(tmp_path).close()
    os.chmod(tmp_path / "tenant.key", 0o644)
    with pytest.raises(ConfigError, match="0600"):
        KeyStore.open(tmp_path)
    (tmp_path / "tenant.key").unlink()
    with pytest.raises(ConfigError, match="missing"):
        KeyStore.open(tmp_path)


def test_an_altered_part_is_refused(protector: Protector) -> None:
    (parts,) = protect(protector, "app", b'{"actor":{"email":"a@x.example"}}').entries.parts
    part = parts[0]
    for bad in (
        SealedPart(part.subject, bytes(16), part.commitment, part.ciphertext),
        SealedPart(part.subject, part.nz, bytes(32), part.ciphertext),
        SealedPart(part.subject, part.nz, part.commitment, part.ciphertext[::-1]),
    ):
        with pytest.raises(VerificationError):
            protector.open_part(bad)


def test_equal_keys_are_all_found_by_the_thorough_way() -> None:
    record = b'{"a":{"b":1},"a":{"b":[2]}, "c":[{"b":3},{"b":"x"}]}'
    assert [record[s:e] for s, e in spans(record, ("a", "b"))] == [b"1", b"[2]"]
    assert [record[s:e] for s, e in spans(record, ("c", -1, "b"))] == [b"3", b'"x"']


def test_an_object_whose_fields_are_named_is_not_sealed_whole(protector: Protector) -> None:
    done = protect(
        protector, "app", b'{"actor":{"id":"u1","email":"a@x.example"}}', b'{"actor":"anna"}', b'{"actor":7}'
    )
    assert done.entries.records == [b'{"actor":{"id":"u1","email":{"$sealed":1}}}', *[b'{"actor":{"$sealed":1}}'] * 2]
    assert protector.unseal(done.entries.records, done.entries.parts) == done.clear


def test_a_plan_with_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RejectedError, match="a personal kind is one of"):
        SealPlan.compile([{"path": "a", "kind": "soul"}])


NASTY = st.text(st.sampled_from('ab1Z" \\/\n:{}[],$é☺@._-'), max_size=12) | st.sampled_from(
    ["anna@x.example", "$sealed", "{$sealed:1}", "10.0.0.1", "who", "anna smith", 'say "anna smith"', "\\n", "true"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NASTY, VALUES, max_size=4), VALUES, VALUES, VALUES, st.booleans(), st.booleans())
def test_sealing_is_undone_byte_for_byte(
    rest: dict[str, object], who: object, ip: object, owner: object, is_ascii: bool, is_wide: bool
) -> None:
    event = {**rest, "who": who, "ip": ip, "id": owner, "again": [who, {"x": ip}], "told": f"saw {who} at {ip}."}
    record = json.dumps(event, ensure_ascii=is_ascii, indent=1 if is_wide else None).encode()
    sealed, groups = Sealer(FLAT).seal(record)
    parsed = json.loads(sealed)
    for value, place in ((who, "who"), (ip, "ip")):
        if value not in (None, ""):
            assert set(parsed[place]) == {"$sealed"}
    values = {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}
    assert sum(map(len, groups.values())) == len(values)
    assert unseal(sealed, values) == record
    assert unseal(sealed, {}) == sealed
