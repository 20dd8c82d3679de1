"""A name that is said by its words is read and sealed in all its spellings; nothing that was listed one by one is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from muniment.errors import RejectedError
from muniment.privacy.plan import SealPlan, Step
from muniment.privacy.plan import parse_path as parse_place
from muniment.privacy.seal import Sealer
from muniment.sources.catalogue import Catalogue, Entry, read_entry
from muniment.sources.narrowing import Narrowing
from muniment.sources.paths import Segment, parse_path
from muniment.sources.recognition import Recogniser
from muniment.sources.testing import map_records, recognise
from muniment.sources.values import Below, parse_value, spread, walk
from muniment.sources.values import Path as Read

BEFORE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "places_of_unknown_json.yaml").read_text("utf-8"))
HEAD = """
name: demo
title: Demo
vendor: Demo
docs: docs/demo.md
owner: me
rhythm_s: 60
time: [at]
unwrap: [~event_data]
recognise: {~demo_id: {present: true}}
personal:
  - {path: '~{acting_user,user}.user_name', kind: name}
  - {path: '~{user,acting_user}', kind: name}
fields:
  actor_id: '~{user_id, uid}'
  actor_name: {plain: '~{acting_user,user}.`n.name`'}
  src_ip: {address: ~source_ip}
  target_name: {below: '~{full_name,name}', in: {object: ~target}}
samples:
  - {origin: mine, record: {"demoId": "1", "userId": "7"}, expect: {actor_id: "7"}}
"""
SPELLED = [
    {"user_id": "7", "source_ip": "203.0.113.7", "target": {"full_name": "x"}, "acting_user": {"n.name": "anna"}},
    {"userID": "7", "sourceIP": "203.0.113.7", "target": {"fullName": "x"}, "actingUser": {"n.name": "anna"}},
    {"UserId": "7", "SourceIp": "203.0.113.7", "Target": [{"FullName": "x"}], "ActingUser": {"n.name": "anna"}},
    {"USER_ID": "7", "SOURCE_IP": "203.0.113.7", "TARGET": {"FULL_NAME": "x"}, "ACTING_USER": {"n.name": "anna"}},
    {"user-id": "7", "Source-IP": "203.0.113.7", "target": {"full-name": "x"}, "Acting User": {"n.name": "anna"}},
    {"User ID": "7", "sourceip": "203.0.113.7", "target": {"Full Name": "x"}, "ACTINGUSER": {"n.name": "anna"}},
    {"EventData": {"User_ID": "7", "Source IP": "203.0.113.7", "target": {"name": "x"}, "User": {"n.name": "anna"}}},
    {"event-data": json.dumps({"UID": "7", "SOURCE-IP": "203.0.113.7", "Target": {"NAME": "x"}, "user": {"n.name": "anna"}})},
]  # fmt: skip


@pytest.fixture(scope="module")
def demo() -> Entry:
    return read_entry(HEAD, "demo.yaml")


def _read(records: Sequence[bytes], entry: Entry, client: Any, **more: Any) -> list[tuple[Any, ...]]:
    rows = map_records(entry, list(records), client, **more)
    return [tuple(row[column] for column in ("actor_id", "actor_name", "src_ip", "target_name")) for row in rows]


def test_all_spellings_are_read_together_and_alone(demo: Entry, client: Any) -> None:
    records = [json.dumps(record).encode() for record in SPELLED]
    wanted = ("7", "anna", "203.0.113.7", "x")
    assert _read(records, demo, client) == [wanted] * len(records)
    narrowing = Narrowing(demo)
    assert narrowing.has_names
    for record in records:
        mapping = narrowing.mapping(pa.array([record], pa.binary()))
        assert _read([record], demo, client, mapping=mapping) == [wanted]


def test_a_mapping_has_the_spellings_that_are_there(demo: Entry) -> None:
    mapping = Narrowing(demo).mapping(pa.array([b'{"UserID":"7","source-ip":"203.0.113.7"}'], pa.binary()))
    assert mapping.tuple_type == "Tuple(`UserID` String, `source-ip` String)"


def test_a_record_of_all_spellings_makes_no_endless_mapping(catalogue: Catalogue) -> None:
    narrowing = Narrowing(catalogue["json"])
    paths = [each.segments for each in walk_all(catalogue["json"])]
    every = {key: "x" for path in paths for segment in path for key in segment.keys}
    assert len(every) > 5_000
    mapping = narrowing.mapping(pa.array([json.dumps(every).encode()], pa.binary()))
    assert len(mapping.select_sql("r")) < 1_000_000


def walk_all(entry: Entry) -> list[Read]:
    """Every path that the entry's lets and fields read."""
    values = (*entry.mapping.let.values(), *entry.mapping.fields.values())
    return [each for value in values for each in walk(value) if isinstance(each, Read)]


def test_a_key_with_an_escape_is_found_in_an_unusual_spelling(demo: Entry, client: Any) -> None:
    record = rb'{"U\u0073er-ID":"7"}'
    mapping = Narrowing(demo).mapping(pa.array([record], pa.binary()))
    assert _read([record], demo, client, mapping=mapping) == [("7", "", "", "")]
    assert _read([record], demo, client) == [("7", "", "", "")]


def test_the_order_is_that_of_names_and_then_of_spellings(demo: Entry, client: Any) -> None:
    records = [b'{"uid":"2","USER_ID":"1"}', b'{"UserId":"2","user_id":"1"}']
    assert [row[0] for row in _read(records, demo, client)] == ["1", "1"]


def test_an_entry_is_recognised_by_a_name(demo: Entry, client: Any) -> None:
    catalogue = Catalogue({"demo": demo})
    records = [b'{"demo_id":"1"}', b'{"DemoID":"1"}', b'{"demo":"1"}']
    assert recognise(catalogue, records, client) == ["demo", "demo", "json"]
    assert Recogniser(catalogue).possible(pa.array([b'{"demo":1}'], pa.binary())) == frozenset()


@pytest.mark.parametrize(
    "record",
    [
        b'{"ActingUser":{"UserName":"Anna","id":7}}',
        b'{"acting-user":{"USERNAME":"Anna","id":7}}',
        b'{"USER":"Anna","id":7}',
        b'{"Acting User":{"username":"Anna","username":"Anna"},"id":7}',
    ],
)
def test_a_name_is_sealed_in_any_spelling_and_an_object_is_not_sealed_whole(record: bytes, demo: Entry) -> None:
    plan = SealPlan.compile(demo.personal)
    for each in (plan, SealPlan.from_bytes(plan.to_bytes())):
        sealed, groups = Sealer(each).seal(record)
        assert b"Anna" not in sealed
        assert b'"id":7' in sealed
        assert [*groups] == ["Anna"]


def test_a_number_at_a_name_is_sealed_where_it_stands() -> None:
    plan = SealPlan.compile([{"path": "~users[*].employee_id", "kind": "user_id"}, {"path": "user", "kind": "name"}])
    sealed, _ = Sealer(plan).seal(b'{"Users":[{"EmployeeID":12},{"x":12}],"User":{"x":1}}')
    assert sealed == b'{"Users":[{"EmployeeID":{"$sealed":1}},{"x":12}],"User":{"x":1}}'


def test_a_place_for_a_plain_key_leaves_other_spellings_alone() -> None:
    plan = SealPlan.compile([{"path": "User", "kind": "name"}, {"path": "~user.mail", "kind": "email"}])
    sealed, _ = Sealer(plan).seal(b'{"user":"x1","User":"Anna","USER":{"Mail":"Anna"}}')
    assert sealed == b'{"user":"x1","User":{"$sealed":1},"USER":{"Mail":{"$sealed":1}}}'


@pytest.mark.parametrize("text", ["~userName", "~User", "~user name", "~a..b", "~", "~x-y", "~_source"])
def test_what_is_no_name_is_refused(text: str) -> None:
    for parse in (parse_path, parse_place):
        with pytest.raises(RejectedError):
            parse(text)


# --- what was listed one by one -------------------------------------------------------------------------------------------


def _paths(texts: Iterable[str]) -> Iterator[tuple[Segment, ...]]:
    return (parse_path(each) for text in texts for each in spread(text))


def _read_by(entry: Entry, name: str) -> list[tuple[Segment, ...]]:
    rules = entry.mapping
    values = rules.time if name == "time" else [rules.let.get(name) or rules.fields[name]]
    inner = [each for value in values for each in walk(value)]
    below = [path for each in inner if isinstance(each, Below) for path in each.paths]
    return [each.segments for each in inner if isinstance(each, Read)] + below


def _is_among(path: Sequence[Segment], names: Iterable[Sequence[Segment]]) -> bool:
    return any(
        len(path) == len(each) and all(a.key in b.keys and a.pick == b.pick for a, b in zip(path, each, strict=True))
        for each in names
    )


@pytest.mark.parametrize("name", BEFORE["read"])
def test_every_place_that_was_named_is_read(name: str, catalogue: Catalogue) -> None:
    now = _read_by(catalogue["json"], name)
    assert [path for path in _paths(BEFORE["read"][name]) if not _is_among(path, now)] == []


def test_every_envelope_that_was_named_is_opened(catalogue: Catalogue) -> None:
    now = [(segment,) for segment in catalogue["json"].mapping.unwrap]
    assert all(_is_among(path, now) for path in _paths([BEFORE["unwrap"]]))


def test_every_place_that_was_sealed_is_sealed(catalogue: Catalogue) -> None:
    sealer = Sealer(SealPlan.compile(catalogue["json"].personal))
    places = [place for text in BEFORE["sealed"] for place in map(parse_place, spread(text))]
    assert len(places) > 12_000
    for place in places:
        sealed, groups = sealer.seal(json.dumps(_record(place)).encode())
        assert b"Anna Example" not in sealed, place
        assert [*groups] == ["Anna Example"], place


def test_every_text_that_was_searched_is_searched(catalogue: Catalogue) -> None:
    now = [parse_path(row["text"]) for row in catalogue["json"].personal if "text" in row]
    assert all(_is_among(path, now) for path in _paths(BEFORE["searched"]))


def _record(place: Sequence[Step]) -> Any:
    value: Any = "Anna Example"
    for step in reversed(place):
        value = {step: value} if isinstance(step, str) else [value]
    return value


def test_names_say_the_same_in_a_value_and_in_its_alternatives() -> None:
    value = parse_value("~{user,actor}.{user_id, uid}")
    found = [each.segments for each in walk(value) if isinstance(each, Read)]
    wanted = itertools.product(("user", "actor"), ("user_id", "uid"))
    assert [tuple(segment.key for segment in path) for path in found] == [*wanted]
    assert all(segment.is_name for path in found for segment in path)
