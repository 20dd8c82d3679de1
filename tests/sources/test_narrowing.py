"""A batch is mapped by what its records have, and what comes out is what the whole mapping makes of them."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from muniment.sources.catalogue import Catalogue, load
from muniment.sources.compiler import CompiledMapping, paths_of
from muniment.sources.marks import is_plain
from muniment.sources.narrowing import Narrowing, whole_mapping
from muniment.sources.testing import map_records

NAMES = [name for name, entry in load().items() if Narrowing(entry).n_keys >= 40]


def mapping_of(narrowing: Narrowing, records: list[bytes]) -> CompiledMapping:
    return narrowing.mapping(pa.array(records, pa.binary()))


@pytest.mark.parametrize("name", NAMES)
def test_samples_become_the_same_alone_and_together(name: str, catalogue: Catalogue, client: Any) -> None:
    entry, narrowing = catalogue[name], Narrowing(catalogue[name])
    records = [sample.record for sample in entry.samples]
    whole = map_records(entry, records, client)
    for some in (range(len(records)), [len(records) // 2]):
        part = [records[k] for k in some]
        mapping = mapping_of(narrowing, part)
        assert map_records(entry, part, client, mapping=mapping) == [whole[k] for k in some]


def test_a_mapping_for_few_keys_is_short(catalogue: Catalogue, client: Any) -> None:
    narrowing = Narrowing(catalogue["json"])
    record = b'{"time":"2026-11-23T06:36:01Z","user":"anna","event":"invoice.export","status":"accepted"}'
    mapping = mapping_of(narrowing, [record])
    assert mapping.tuple_type == "Tuple(`time` String, `event` String, `user` String, `status` String)"
    assert len(mapping.select_sql("r")) < len(whole_mapping(catalogue["json"], []).select_sql("r")) / 3


def test_several_threads_may_ask_for_mappings(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a rebuild does beside what comes in. Compiling is left out and threads take turns often, so that they meet."""
    monkeypatch.setattr("muniment.sources.narrowing.compile_entry", lambda _, absent: absent)
    narrowing = Narrowing(catalogue["json"])
    segments = {segment for path in paths_of(catalogue["json"]) for segment in path if is_plain(segment.key)}
    keys = sorted({segment.key for segment in segments})
    known = {key for segment in segments for key in segment.keys}
    interval = sys.getswitchinterval()

    def ask(at: int) -> bool:
        pairs = [{keys[k]: 1, keys[300 + k % 7]: 2} for k in range(at, at + 150)]
        found = [mapping_of(narrowing, [json.dumps(pair).encode()]) for pair in pairs]
        return all(
            known - absent == {keys[k], keys[300 + k % 7]} for k, absent in zip(range(at, at + 150), found, strict=True)
        )

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(64)))
    finally:
        sys.setswitchinterval(interval)


ODD = {
    "a key with an escape": rb'{"us\u0065r":"anna","action":"login"}',
    "a dash as an escape": rb'{"x\u002dforwarded\u002dfor":"203.0.113.7","action":"login"}',
    "a quote of a text inside as an escape": rb'{"message":"{\u0022user\u0022:\u0022anna\u0022}","data":"{\u0022user\u0022:\u0022ben\u0022}"}',
    "an array for an object": b'{"user":["anna","anna@larkfield.example"],"action":"login"}',
    "an array for an object in a text": rb'{"data":"{\"user\": [\"anna\"],\"action\":\"login\"}"}',
    "an array of arrays": b'{"actor":[["anna","x"]],"action":"login"}',
    "details in arrays": b'{"AdditionalDetails":[["Username","root"],["Password","x"]],"actors":[["anna"]],"action":"login"}',
    "an array of arrays of objects": b'{"actors":[[{"name":"anna","id":"7"}]],"target":[[{"id":"x"}],["y","z"]],"action":"login"}',
    "arrays in arrays in a text": rb'{"actor":"[[\"anna\",\"x\"]]","details":"[[[\"a\",\"b\"]]]","action":"login"}',
    "quotes in a sentence as escapes": rb'{"message":"user \u0022anna\u0022\u002C failed","user":{"name":"anna"},"action":"login"}',
    "an escape of an escape": rb'{"data":"{\u0022us\\u005cu0065r\u0022:\u0022anna\u0022,\u0022us\\u0065r\u0022:\u0022ben\u0022}"}',
    "a blank as an escape": rb'{"data":"{\u0022actor\u0022:\u0009[\u0022anna\u0022,\u0022x\u0022]}"}',
    "an array of texts that are arrays": rb'{"actor":["[\"anna\",\"x\"]"],"action":"login"}',
    "a text that is an array": rb'{"user":"[\"anna\",\"x\"]","action":"login"}',
    "an empty array": b'{"user":[],"request":[ ],"action":"login"}',
    "a record that is an array": b'["a","b","c","d","e","f"]',
    "no JSON": b'{"user":"anna","action":',
    "nothing": b"{}",
    "keys in a text in a text": rb'{"data":"{\"event\":\"{\\\"user\\\":\\\"anna\\\",\\\"action\\\":\\\"login\\\"}\"}"}',
    "a key twice": b'{"user":"anna","data":{"user":"ben","action":"login"},"user":"carl"}',
    "blanks": b'{ "user" : {\n"name"\t: "anna" } , "action":"login" }',
    "blanks in a text": rb'{"data":"{\n \"actor\" :\t[ \"anna\" ]}"}',
}


@pytest.mark.parametrize("name", ["json", "app_login", "okta"])
def test_odd_records_become_the_same(name: str, catalogue: Catalogue, client: Any) -> None:
    narrowing, records = Narrowing(catalogue[name]), list(ODD.values())
    whole = map_records(catalogue[name], records, client)
    for kind, record, wanted in zip(ODD, records, whole, strict=True):
        mapping = mapping_of(narrowing, [record])
        assert map_records(catalogue[name], [record], client, mapping=mapping) == [wanted], kind


KEYS = st.sampled_from(
    "user actor name id email action event data target targets type ip client source request status result message "
    "details http method url context session attributes time level error code".split()
)
TEXTS = st.one_of(
    st.sampled_from(["", "anna", "10.1.2.3", "login", "failed", "2026-11-23T06:36:01Z", "UserLoggedIn", "200", "GET"]),
    st.text(max_size=6),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-5, 500), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=3).map(json.dumps),
    ),
    max_leaves=12,
)


@settings(max_examples=4, deadline=None, phases=[Phase.generate])  # a whole mapping takes its time to be planned
@given(records=st.lists(st.dictionaries(KEYS, VALUES, max_size=8), min_size=6, max_size=12))
def test_any_records_become_the_same(records: list[dict[str, Any]], catalogue: Catalogue, client: Any) -> None:
    entry, narrowing = catalogue["json"], Narrowing(catalogue["json"])
    lines = [json.dumps(record, ensure_ascii=bool(k % 2)).encode() for k, record in enumerate(records)]
    whole = map_records(entry, lines, client)
    for k in (0, 1):
        mapping = mapping_of(narrowing, lines[k::2])
        assert map_records(entry, lines[k::2], client, mapping=mapping) == whole[k::2]
