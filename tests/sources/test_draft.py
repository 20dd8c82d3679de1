"""A draft loads, recognises its samples and nobody else's, and is never worse than what reads such records without it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from muniment.envelope import inside, opened
from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue, Entry, beside, load, read_entry
from muniment.sources.claims import claims
from muniment.sources.draft import UNTIMED, draft, masked
from muniment.sources.telling import Others
from muniment.sources.testing import Explained, explain, recognise

CATALOGUE = load()
OTHERS = Others.of(CATALOGUE)


def _line(app: str, message: str) -> dict[str, object]:
    return {
        "syslog": {
            "severity": "info",
            "timestamp": "2026-11-23T09:00:00Z",
            "hostname": "gate-1",
            "app": app,
            "message": message,
        }
    }


DOORS = [
    {"eventType": "User: Login", "createdAt": "2026-11-23T09:00:00Z", "actor": {"id": "u-1", "email": "anna@example.com"}, "turnstile": 3,
     "clientIp": "203.0.113.7", "result": "denied", "resource": {"type": "door", "id": "d-1"}, "tags": ["a"], "odd key": 1},
    {"eventType": "Door: Open", "createdAt": "2026-11-23T09:01:00Z", "actor": {"id": "u-2", "email": "bob@example.com"}, "turnstile": 4,
     "clientIp": "2001:db8::7", "result": "ok", "resource": {"type": "door", "id": "d-2"}},
]  # fmt: skip
PAYRUN = {
    "occurredOn": "2026-11-28T08:00:00Z", "evtName": "PAYRUN_APPROVED", "performedBy": {"fullName": "Ana Lima", "mail": "ana@example.com"},
    "clientAddr": "198.51.100.23:50212", "subject": {"kind": "payrun", "ref": "PR-77"}, "status": "OK",
}  # fmt: skip
TILL = {"tillEvent": "DrawerOpened", "at": "2026-11-23T09:00:00Z", "attendant": {"id": "c1", "name": "Anna"}, "origin": "203.0.113.7",
        "verdict": "denied", "drawer": "D7"}  # fmt: skip
KINDS: dict[str, list[dict[str, Any]]] = {
    "doors": DOORS,
    "payrun": [PAYRUN],
    "till": [TILL],
    "a service of its own": [{"user": "anna", "action": "login", "ip": "203.0.113.4", "time": "2026-11-23T09:00:00Z", "service": "payrolld-x"}],
    "a program in syslog": [_line("doord", f"badge {n}: user=anna from 203.0.113.{n} denied") for n in range(3)],
    "words in syslog": [_line("python", f"turnstile {n}: user=anna from 203.0.113.{n} denied") for n in range(3)],
    "key=value": [{"message": f"ts=2026-11-28T08:0{n}:00Z badgeno=7{n} swipe=read user=ana door=D7 verdict=denied"} for n in range(4)],
    "pipes": [{"message": f"2026-11-28T08:00:0{n}Z|BADGESWIPE|ana{n}|D7|DENIED"} for n in range(4)],
    "a line in an envelope": [{"log": f"2026-11-28T08:00:0{n}Z badgeswipe by ana{n} denied\n", "stream": "stdout"} for n in range(4)],
}  # fmt: skip
NOBODYS: dict[str, list[dict[str, Any]]] = {
    "a line of values": [{"message": '2026-11-28 08:02:40,004777,"Okafor, Ben",HQ,IN,DENIED,No'}],
    "lines of one person": [{"message": f'2026-11-28 08:0{n}:40,004777,"Okafor, Ben",HQ,IN,DENIED,No'} for n in range(3)],
    "keys that everybody has": [{"user": "anna", "action": "login", "ip": "203.0.113.4", "time": "2026-11-23T09:00:00Z"}],
    "a message with a level": [{"message": f"started {n}", "level": "info", "host": "web-1", "timestamp": n} for n in range(4)],
    "logins over SSH": [_line("sshd", f"Failed password for root from 203.0.113.{n} port 22 ssh2") for n in range(4)],
    "quarantined": [{"$quarantine": "not_json", "$raw": "abc def"}],
}  # fmt: skip


def _bytes(records: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [json.dumps(each).encode() for each in records]


def _drafted(name: str, records: list[bytes], read: Sequence[Explained], masks: int = 0) -> tuple[Entry, str]:
    like = CATALOGUE[Counter(each.entry for each in read).most_common(1)[0][0]]
    columns = [each.columns for each in read]
    text = draft(name, [*map(inside, records)], like=like, columns=columns, others=OTHERS, masks=masks)
    return beside(CATALOGUE, read_entry(text, f"{name}.yaml"))[name], text


def _read(client: Any, kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Explained]]:
    """All kinds at once: what costs is to prepare the engine."""
    found = explain(
        CATALOGUE, [record for some in kinds.values() for record in _bytes(some)], client, received_at=UNTIMED
    )
    return {kind: [next(found) for _ in some] for kind, some in kinds.items()}


@dataclass(frozen=True)
class Drafted:
    """The drafts of all kinds, and what the records of each become with all of them in force."""

    entries: Mapping[str, Entry]
    texts: Mapping[str, str]
    known: Catalogue
    before: Mapping[str, list[Explained]]
    after: Mapping[str, list[Explained]]


@pytest.fixture(scope="module")
def drafted(client: Any) -> Drafted:
    before = _read(client, KINDS)
    made = {kind: _drafted(_name(kind), _bytes(some), before[kind], masks=2) for kind, some in KINDS.items()}
    entries = {kind: entry for kind, (entry, _) in made.items()}
    known = Catalogue({**CATALOGUE, **{entry.name: entry for entry in entries.values()}})
    records = [record for some in KINDS.values() for record in _bytes(some)]
    found = explain(known, records, client, received_at=UNTIMED)
    after = {kind: [next(found) for _ in some] for kind, some in KINDS.items()}
    return Drafted(entries, {kind: text for kind, (_, text) in made.items()}, known, before, after)


def _name(kind: str) -> str:
    return re.sub("[^a-z]+", "_", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_is_never_worse_than_what_reads_such_records_now(kind: str, drafted: Drafted) -> None:
    assert {each.recognised for each in drafted.after[kind]} == {_name(kind)}
    for was, now in zip(drafted.before[kind], drafted.after[kind], strict=True):
        lost = {name for name, value in was.columns.items() if value not in ("", 0) and now.columns[name] != value}
        assert lost <= {"class_name", "activity_name"}  # which were those of an event that says nothing
        assert not now.problems


def test_drafts_take_no_sample_of_a_shipped_entry(drafted: Drafted, client: Any) -> None:
    assert not claims(CATALOGUE, drafted.entries.values(), client)


def test_their_masked_samples_are_recognised_and_name_nobody(drafted: Drafted, client: Any) -> None:
    samples = [(entry.name, sample.record) for entry in drafted.entries.values() for sample in entry.samples]
    assert recognise(drafted.known, [opened(record)[0] for _, record in samples], client) == [
        name for name, _ in samples
    ]
    for _, record in samples:
        text = record.decode().replace("person@example.com", "")
        assert not [each for each in ("ana", "Lima", "Anna", "anna", "u-1", "203.0.113", "198.51") if each in text], (
            text
        )


def test_a_draft_adds_what_is_not_read_now(drafted: Drafted) -> None:
    found = drafted.after["payrun"][0].columns
    assert {name: found[name] for name in ("action", "actor_name", "actor_email", "src_ip", "target_type", "target_id", "outcome")} == {
        "action": "payrun_approved", "actor_name": "Ana Lima", "actor_email": "ana@example.com", "src_ip": "198.51.100.23",
        "target_type": "payrun", "target_id": "PR-77", "outcome": "success",
    }  # fmt: skip
    assert "like: json" in drafted.texts["payrun"]
    assert "personal:" not in drafted.texts["payrun"]  # all of it is sealed as it is
    till = drafted.after["till"][0].columns
    assert (till["actor_id"], till["action"]) == ("c1", "drawer_opened")


def test_what_names_people_and_is_not_sealed_now_is_personal(drafted: Drafted) -> None:
    assert drafted.entries["till"].personal == ({"path": "attendant.name", "kind": "name"},)


def test_lines_are_like_what_reads_them(drafted: Drafted) -> None:
    assert {kind: entry.like for kind, entry in drafted.entries.items() if "inside: syslog" in drafted.texts[kind]} == {
        "a program in syslog": "syslog", "words in syslog": "syslog",
    }  # fmt: skip
    assert (drafted.entries["key=value"].like, drafted.entries["pipes"].like) == ("keyvalue", "text")


def test_what_nothing_tells_from_others_gives_no_draft(client: Any) -> None:
    for kind, read in _read(client, NOBODYS).items():
        with pytest.raises(RejectedError, match="set the format of that source"):
            pytest.fail(_drafted("x", _bytes(NOBODYS[kind]), read)[1])


@pytest.mark.parametrize(("records", "words"), [([], "no sample"), ([b"{"], "line 1"), ([b"{}", b"[]"], "line 2")])
def test_what_is_no_sample_is_named(records: list[bytes], words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        draft("x", records, like=CATALOGUE["json"], columns=[{}] * len(records), others=OTHERS)


def test_an_event_that_says_nothing_known_still_gives_a_draft_that_loads() -> None:
    text = draft("x", [b'{"zzz":1}'], like=CATALOGUE["json"], columns=[{}], others=OTHERS)
    assert read_entry(text, "x.yaml").like == "json"


def test_what_yaml_does_not_take_as_it_is_is_escaped() -> None:
    record = json.dumps({"zzz": "a\x7f\x85\x9f\ufeff b"}).encode()
    text = draft("x", [record], like=CATALOGUE["json"], columns=[{}], others=OTHERS)
    assert json.loads(read_entry(text, "x.yaml").samples[0].record) == json.loads(record)


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
        (
            {"message": '2026-11-28 08:02:40,004777,"Okafor, Ben",HQ,DENIED'},
            {"message": '2026-11-28 08:02:40,004777,"x, x",x,DENIED'},
        ),
        ({"notes": ["Anna", "Berta"], "ok": True, "none": None}, {"notes": ["x", "x"], "ok": True, "none": None}),
    ],
)
def test_a_masked_sample_has_the_shape_and_names_nobody(record: object, wanted: object) -> None:
    assert json.loads(masked(json.dumps(record).encode())) == wanted


_WHO: list[dict[str, Any]] = [
    {"performed_by": "ana"}, {"initiator": {"login": "ana"}}, {"who": "ana"}, {"changed_by": "ana"}, {"createdBy": {"email": "ana@example.com"}},
    {"act": {"sub": "ana"}}, {"operator_name": "ana"}, {"submitter": {"name": "ana"}}, {"caller_identity": "ana"}, {"identity": {"principal": "ana"}},
    {"clerk": "ana"}, {"signedInUser": "ana"}, {"usuario": "ana"}, {"ausgefuehrt_von": "ana"}, {"checkedBy": "ana"}, {"checked_by": {"name": "ana"}},
    {"initiated": {"person": "ana"}}, {"approver": "ana"},
]  # fmt: skip


def test_who_did_it_is_found_under_odd_keys(client: Any) -> None:
    kinds = {
        str(who): [{"tillEvent": f"Till.Opened{n}", "when": f"2026-11-23T09:00:0{n}Z", "tillNo": n, **who} for n in range(3)]
        for who in _WHO
    }  # fmt: skip
    read = _read(client, kinds)
    for kind, records in kinds.items():
        entry, _ = _drafted("mine", _bytes(records), read[kind])
        for found in explain({**CATALOGUE, "mine": entry}, _bytes(records), client, entry="mine"):
            who = {str(found.columns[name]) for name in ("actor_id", "actor_name", "actor_email")} - {""}
            assert who in ({"ana"}, {"ana@example.com"}), kind
    others = [{"tillEvent": f"Till.Opened{n}", "when": f"2026-11-23T09:00:0{n}Z", "tillNo": n, "lobby": "ana", "standby": "b"} for n in range(3)]  # fmt: skip
    _, text = _drafted("mine", _bytes(others), _read(client, {"x": others})["x"])
    entry_text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "actor_" not in entry_text
    assert "# In no column yet: lobby, standby." in text


def test_what_was_done_and_how_it_ended_are_found_by_the_end_of_their_names(client: Any) -> None:
    """A value that is no word of success or failure makes no outcome, whatever the name."""
    records = [
        {"receiptNr": f"R{n}", "at": f"2026-11-23T09:00:0{n}Z", "badge": f"C{n}", "desk_op": op, "op_result": ended, "tax_status": "reduced"}
        for n, (op, ended) in enumerate((("void", "OK"), ("refund", "DENIED"), ("open_drawer", "OK")))
    ]  # fmt: skip
    entry, text = _drafted("mine", _bytes(records), _read(client, {"x": records})["x"])
    found = list(explain({**CATALOGUE, "mine": entry}, _bytes(records), client, entry="mine"))
    assert [each.columns["action"] for each in found] == ["void", "refund", "open_drawer"]
    assert [each.columns["outcome"] for each in found] == ["success", "failure", "success"]
    assert "tax_status" not in text.partition("# In no column")[0]
    assert "# In no column yet: badge, receiptNr, tax_status." in text
