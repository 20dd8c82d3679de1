"""What a shipper carries is read, and sealed, as if it had come by itself: every JSON sample and line of the catalogue, in every envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import pytest

from muniment.envelope import Payload, payloads
from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer, unseal
from muniment.sources.catalogue import Catalogue, load
from muniment.sources.testing import Explained, explain
from muniment.wire.syslog import origin_suffix, syslog_record


def _innermost(record: bytes) -> Payload | None:
    return (payloads(record) or [None])[-1]


Wrap = Callable[[str], bytes]
_PEER = origin_suffix(transport="udp", peer="10.0.0.1")


def _dumped(wrap: Callable[[str], Mapping[str, Any]]) -> Wrap:
    return lambda text: json.dumps(wrap(text)).encode()


_SYSLOG: dict[str, Wrap] = {
    "syslog": lambda text: syslog_record(f"<134>Nov 23 06:36:01 h1 prog[1]: {text}".encode(), _PEER)[0],
    "syslog, with a cookie": lambda text: syslog_record(
        f"<134>1 2026-11-23T06:36:01Z h1 prog 1 - - @cee: {text}".encode(), _PEER
    )[0],
    "a file shipper": _dumped(
        lambda text: {
            "@timestamp": "2026-11-23T06:36:05Z",
            "message": text,
            "log": {"offset": 1},
            "agent": {"type": "x"},
        }
    ),
    "an event collector": _dumped(lambda text: {"time": 1795415761, "host": "h3", "event": json.loads(text)}),
}
_ANY: dict[str, Wrap] = {
    "a container": _dumped(lambda text: {"log": f"{text}\n", "stream": "stdout", "time": "2026-11-23T06:36:05Z"}),
    "a container runtime": _dumped(lambda text: {"message": f"2026-11-23T06:36:05.1Z stdout F {text}"}),
    "an event collector, text": _dumped(lambda text: {"time": "1795415761", "sourcetype": "x", "event": text}),
    "OpenTelemetry": _dumped(
        lambda text: {"otel": {"body": text, "attributes": {"log.file.name": "x"}, "resource": {"service.name": "svc"}}}
    ),
    "Loki": _dumped(lambda text: {"loki": {"line": text, "ts": "1795415761000000000", "stream": {"job": "x"}}}),
}
_COLUMNS = (
    "action",
    "class_uid",
    "outcome",
    "actor_name",
    "actor_id",
    "actor_email",
    "src_ip",
    "target_id",
    "severity_id",
)


def _objects() -> list[str]:
    found = []
    for entry in load().values():
        for sample in entry.samples:
            document = json.loads(sample.record)
            is_line = isinstance(document.get("message"), str) and len(document) <= 3
            if not sample.earlier and "syslog" not in document and _innermost(sample.record) is None and not is_line:
                found.append(sample.record.decode().strip())
    return found


def _lines() -> list[str]:
    messages = [
        json.loads(sample.record) for entry in load().values() for sample in entry.samples if not sample.earlier
    ]
    return [
        each["message"].strip()
        for each in messages
        if each.keys() <= {"message", "host"} and isinstance(each["message"], str) and each["message"].strip()[0] != "{"
    ]


OBJECTS, LINES = _objects(), _lines()


def _explained(
    catalogue: Catalogue, client: Any, texts: list[str], wraps: Mapping[str, Wrap]
) -> dict[str, list[Explained]]:
    """By envelope, what each text becomes in it; side by side, for a mapping is planned once for all that it reads."""
    records = [wrap(text) for text in texts for wrap in wraps.values()]
    found = list(explain(catalogue, records, client))
    return {name: found[k :: len(wraps)] for k, name in enumerate(wraps)}


@pytest.fixture(scope="module")
def objects(catalogue: Catalogue, client: Any) -> dict[str, list[Explained]]:
    return _explained(catalogue, client, OBJECTS, {"": str.encode, **_SYSLOG, **_ANY})


@pytest.fixture(scope="module")
def lines(catalogue: Catalogue, client: Any) -> dict[str, list[Explained]]:
    return _explained(catalogue, client, LINES, {"": _dumped(lambda text: {"message": text}), **_ANY})


@pytest.fixture(scope="module")
def objects_alone(objects: dict[str, list[Explained]]) -> list[Explained]:
    return objects[""]


def _told(found: Explained, alone: Explained) -> tuple[object, ...]:
    """What is to be alike; the time where the event has one."""
    has_time = alone.columns["time"] != "2026-11-23T12:00:00.000000Z"
    return found.entry, *(found.columns[name] for name in _COLUMNS), found.columns["time"] if has_time else ""


@pytest.mark.parametrize("name", [*_SYSLOG, *_ANY])
def test_an_object_is_read_as_if_it_had_come_alone(name: str, objects: dict[str, list[Explained]]) -> None:
    assert len(OBJECTS) > 300
    for text, alone, found in zip(OBJECTS, objects[""], objects[name], strict=True):
        assert _told(found, alone) == _told(alone, alone), text
        assert not found.problems


@pytest.mark.parametrize("name", _ANY)
def test_a_line_is_read_as_if_a_file_shipper_had_sent_it(name: str, lines: dict[str, list[Explained]]) -> None:
    assert len(LINES) > 60
    for text, alone, found in zip(LINES, lines[""], lines[name], strict=True):
        assert _told(found, alone) == _told(alone, alone), text


def test_host_program_and_time_are_the_envelopes_where_the_event_names_none(catalogue: Catalogue, client: Any) -> None:
    record = _SYSLOG["syslog"]('{"user": "anna", "action": "invoice.pay"}')
    (found,) = explain(catalogue, [record], client)
    assert [found.columns[name] for name in ("dst_host", "app", "action", "actor_name", "time")] == [
        "h1", "prog", "invoice.pay", "anna", "2026-11-23T06:36:01.000000Z",
    ]  # fmt: skip


def test_a_sentence_is_a_message_and_no_action(catalogue: Catalogue, client: Any) -> None:
    sentence = "the pump was started by somebody: all is well"
    for found in explain(catalogue, [wrap(sentence) for wrap in _ANY.values()], client):
        assert (found.columns["action"], found.columns["message"]) == ("", sentence)


_ROWS = {json.dumps(row, sort_keys=True): row for e in load().values() for row in (*e.personal, *e.people)}.values()
_SEALER = Sealer(SealPlan.compile(_ROWS, opens=True))


@pytest.mark.parametrize("name", [*_SYSLOG, *_ANY])
def test_who_is_hidden_alone_is_hidden_in_every_envelope(name: str) -> None:
    wrap = (_SYSLOG | _ANY)[name]
    for text in OBJECTS:
        _, alone = _SEALER.seal(text.encode())
        sealed, groups = _SEALER.seal(record := wrap(text))
        taken = {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}
        assert unseal(sealed, taken) == record
        values = {raw[1:-1].decode() for group in alone.values() for raw in group.values() if raw[:1] == b'"'}
        left = json.dumps(json.loads(sealed), ensure_ascii=False)
        for value in values:
            if len(value) >= 6 and "\\" not in value:
                assert f'"{value}"' not in left.replace('\\"', '"'), text


def test_short_names_numbers_and_escapes_in_a_text_are_hidden_too() -> None:
    document = {
        "user": {"name": "Bo", "email": "bö.mül@example.com", "id": 4711234},
        "userName": 'Ann "Q" Müller',
        "n": "Bo",
    }
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False), json.dumps(document, indent=1)):
        for wrap in _ANY.values():
            sealed, groups = _SEALER.seal(record := wrap(text))
            taken = {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}
            assert unseal(sealed, taken) == record
            left = json.dumps(json.loads(sealed), ensure_ascii=False)
            assert not [value for value in ("Bo", "example", "ller") if value in left], left
            inside = _innermost(sealed)
            assert inside is not None, sealed
            assert json.loads(inside.body)["user"]["name"].startswith("{$sealed:")


def test_a_person_has_one_owner_alone_and_inside() -> None:
    text = '{"user": {"email": "Anna@example.com", "name": "Anna Schmidt"}, "action": "x.y"}'
    _, alone = _SEALER.seal(text.encode())
    for name, wrap in (_SYSLOG | _ANY).items():
        assert alone.keys() <= _SEALER.seal(wrap(text))[1].keys(), name


# --- Windows events as XML ----------------------------------------------------------------------------------------------


def _as_xml(document: Mapping[str, Any]) -> str:
    """The event that an EVTX tool made JSON of, as Windows renders it."""
    root = ElementTree.Element("Event", xmlns="http://schemas.microsoft.com/win/2004/08/events/event")
    for name, value in document["Event"].items():
        if name == "EventData":
            data = ElementTree.SubElement(root, name)
            for key, text in (value or {}).items():
                if isinstance(text, dict):
                    for one in text["#text"] if isinstance(text["#text"], list) else [text["#text"]]:
                        ElementTree.SubElement(data, "Data").text = str(one)
                else:
                    ElementTree.SubElement(data, "Data", Name=key).text = str(text)
        elif name != "#attributes":
            _add(root, name, value)
    return ElementTree.tostring(root, encoding="unicode")


def _add(parent: ElementTree.Element, name: str, value: Any) -> None:
    child = ElementTree.SubElement(parent, name)
    if isinstance(value, dict):
        for key, text in value.get("#attributes", {}).items():
            child.set(key, str(text))
        child.text = str(value["#text"]) if "#text" in value else None
        for key, inner in value.items():
            if key[0] != "#":
                _add(child, key, inner)
    elif value is not None:
        child.text = str(value)


_EVENTS = [text for text in OBJECTS if text.startswith('{"Event":{"#attributes"')]


@pytest.mark.parametrize("name", ["syslog", "a file shipper", *_ANY])
def test_a_windows_event_as_xml_is_read_as_the_event(
    name: str, catalogue: Catalogue, client: Any, objects_alone: list[Explained]
) -> None:
    assert len(_EVENTS) > 2
    wrap = (_SYSLOG | _ANY)[name]
    alone = {text: objects_alone[OBJECTS.index(text)] for text in _EVENTS}
    inside = explain(catalogue, [wrap(_as_xml(json.loads(text))) for text in _EVENTS], client)
    for text, found in zip(_EVENTS, inside, strict=True):
        assert _told(found, alone[text]) == _told(alone[text], alone[text]), text


def test_people_in_xml_are_hidden_as_it_spells_them() -> None:
    event = {
        "System": {"EventID": 4625, "Channel": "Security"},
        "EventData": {"TargetUserName": "Bo & Co", "IpAddress": "203.0.113.7"},
    }
    for wrap in (_SYSLOG["syslog"], _SYSLOG["a file shipper"], *_ANY.values()):
        sealed, groups = _SEALER.seal(record := wrap(_as_xml({"Event": event})))
        taken = {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}
        assert unseal(sealed, taken) == record
        assert b"Bo &" not in sealed
        assert b"203.0.113.7" not in sealed
        inside = _innermost(sealed)
        assert inside is not None
        assert b"{$sealed:" in inside.body


def _of_receiver(document: Mapping[str, Any], is_listed: bool) -> bytes:
    system, data = document["Event"]["System"], document["Event"]["EventData"]
    number = system["EventID"]
    body = {
        "channel": system["Channel"], "computer": system["Computer"], "record_id": system["EventRecordID"],
        "event_id": {"id": number["#text"] if isinstance(number, dict) else number, "qualifiers": 0},
        "provider": {"name": system["Provider"]["#attributes"]["Name"]}, "keywords": system["Keywords"],
        "system_time": system["TimeCreated"]["#attributes"]["SystemTime"], "level": system["Level"],
        "event_data": {"data": [{name: value} for name, value in data.items()]} if is_listed else data,
    }  # fmt: skip
    return json.dumps(
        {"otel": {"body": body, "attributes": {}, "resource": {}, "timeUnixNano": "1795415761000000000"}}
    ).encode()


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_windows_event_of_a_receiver_is_read_as_the_event(
    is_listed: bool, catalogue: Catalogue, client: Any, objects_alone: list[Explained]
) -> None:
    inside = explain(catalogue, [_of_receiver(json.loads(text), is_listed) for text in _EVENTS], client)
    for text, found in zip(_EVENTS, inside, strict=True):
        alone = objects_alone[OBJECTS.index(text)]
        assert _told(found, alone) == _told(alone, alone), text
        sealed, groups = _SEALER.seal(record := _of_receiver(json.loads(text), is_listed))
        assert unseal(sealed, {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}) == record
        assert groups.keys() == _SEALER.seal(text.encode())[1].keys()


@pytest.mark.parametrize(
    "text",
    [
        "<Event><System>",
        "<Event>no system</Event>",
        "<Events><Event/></Events>",
        '<!DOCTYPE a [<!ENTITY b "c">]><Event><System>&b;</System></Event>',
        '<Event><System><Provider Name="Linux-Sysmon"/></System></Event>',
    ],
)
def test_xml_that_is_no_windows_event_stays_text(text: str) -> None:
    found = _innermost(json.dumps({"message": text}).encode())
    assert found is None


_SNARE = (
    "MSWinEventLog\t1\tSecurity\t3027\tMon Nov 23 06:36:01 2026\t4625\tMicrosoft-Windows-Security-Auditing\tCORP\\anna\tN/A\t"
    "Failure Audit\tdc1.corp\tLogon\t\tAn account failed to log on.    Subject:   Security ID:  S-1-0-0   Account Name:  -   "
    "Logon ID:  0x0    Logon Type:   3    Account For Which Logon Failed:   Security ID:  S-1-0-0   Account Name:  anna   "
    "Account Domain:  CORP    Failure Information:   Failure Reason:  Unknown user name or bad password.   Status:   0xC000006D   "
    "Network Information:   Workstation Name: WS1   Source Network Address: 203.0.113.7   Source Port:  0\t3026"
)
_FORWARDED = (
    "11/23/2026 06:36:01 AM\nLogName=Security\nEventCode=4625\nEventType=0\nComputerName=dc1.corp\n"
    "SourceName=Microsoft Windows security auditing.\nKeywords=Audit Failure\nTaskCategory=Logon\n"
    "Message=An account failed to log on.\n\nSubject:\n\tSecurity ID:\t\tS-1-0-0\n\tAccount Name:\t\t-\n\nLogon Type:\t\t\t3\n\n"
    "Account For Which Logon Failed:\n\tSecurity ID:\t\tS-1-0-0\n\tAccount Name:\t\tanna\n\tAccount Domain:\t\tCORP\n\n"
    "Network Information:\n\tWorkstation Name:\tWS1\n\tSource Network Address:\t203.0.113.7\n\tSource Port:\t\t\n"
)
_IN_WORDS = {
    "Snare": _SYSLOG["syslog"](_SNARE),
    "Snare behind rsyslog": _SYSLOG["syslog"](_SNARE.replace("\t", "#011")),
    "Splunk's forwarder": json.dumps({"event": _FORWARDED, "time": 1795415761, "host": "dc1"}).encode(),
    "a file": json.dumps({"message": _FORWARDED}).encode(),
}


@pytest.mark.parametrize("record", _IN_WORDS.values(), ids=_IN_WORDS)
def test_a_windows_event_in_words_is_read_as_the_event(record: bytes, catalogue: Catalogue, client: Any) -> None:
    (found,) = explain(catalogue, [record], client)
    assert found.entry == "windows"
    wanted = {
        "action": "user.login",
        "outcome": "failure",
        "actor_name": "anna",
        "src_ip": "203.0.113.7",
        "dst_host": "dc1.corp",
    }
    assert {name: found.columns[name] for name in wanted} == wanted
    inside = _innermost(record)
    assert inside is not None
    data = json.loads(inside.body)["Event"]["EventData"]
    assert (data["WorkstationName"], data["LogonType"], data["TargetDomainName"]) == ("WS1", "3", "CORP")
    assert "SubjectUserName" not in data
    sealed, groups = _SEALER.seal(record)
    assert unseal(sealed, {str(k).encode(): raw for group in groups.values() for k, raw in group.items()}) == record
    assert b"203.0.113.7" not in sealed
    assert b"anna" not in sealed


def test_what_only_looks_like_a_windows_event_in_words_stays_text() -> None:
    for text in ("MSWinEventLog\t1\tSecurity", "the LogName=x EventCode=7", "EventCode=1\nLogName=x\n"):
        assert payloads(json.dumps({"message": text}).encode()) == []
