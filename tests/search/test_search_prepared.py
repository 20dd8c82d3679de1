"""What a mapping makes of a record is the same by text and by view, alone and in a block of many formats."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.envelope import opened
from muniment.search.blocks import Block
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.prepared import Prepared
from muniment.search.projector import Projector
from muniment.search.replica import Replica
from muniment.search.schema import Unmapped, create_landing, migrate
from muniment.sources.catalogue import AUTO, Catalogue, load
from muniment.sources.narrowing import whole_mapping
from muniment.sources.testing import map_records

RECEIVED = "2026-11-23T12:00:00Z"
RECEIVED_NS = 1_795_435_200 * 10**9
FORMATS = ("openssh", "okta", "web_access", "kubernetes", "sudo", "json", "github_audit", "muniment")
"""Times in old forms and in new ones, actions of their own and derived ones; some fill few columns."""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


def _replica(engine: Engine, catalogue: Catalogue, *, has_streams: bool) -> Replica:
    migrate(engine)
    node = engine.nodes[0]
    replica = Replica(engine, node, mapping_set(catalogue), str, engine.local_table, has_streams=has_streams)
    replica.prepare()
    return replica


@pytest.fixture
def replica(engine: Engine, catalogue: Catalogue) -> Replica:
    """Of a store whose rows come in by tables, as on a node."""
    return _replica(engine, catalogue, has_streams=False)


def _samples(catalogue: Catalogue) -> list[tuple[str, bytes]]:
    return [(name, sample.record) for name in FORMATS if name in catalogue for sample in catalogue[name].samples[:3]]


def _write(replica: Replica, first: int, told: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """The rows that records of these formats become; index and id are left out."""
    count = len(told)
    ids = [str(uuid.UUID(int=0)) for _ in told]
    replica.write(Block(first, ids, [name for name, _ in told], [RECEIVED_NS] * count, [text for _, text in told]))
    found = replica.engine.query(
        f"SELECT * EXCEPT(`index`), record, rest FROM events WHERE `index` >= {first} ORDER BY `index`"
    )
    assert len(found.rows) == count
    return [dict(zip(found.names, row, strict=True)) for row in found.rows]


def _views(engine: Engine) -> list[str]:
    return [str(name) for (name,) in engine.query("SHOW TABLES").rows if str(name).endswith("_view")]


def test_rows_are_the_same_alone_together_and_by_view(replica: Replica, catalogue: Catalogue) -> None:
    told = _samples(catalogue)
    assert len({name for name, _ in told}) >= 6
    together = _write(replica, 0, told)
    assert not _views(replica.engine)
    by_view = _write(replica, 1_000, told)
    assert len(_views(replica.engine)) > len({name for name, _ in told})  # and one for what is made of all
    alone: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for name, _ in told):
        alone += _write(replica, 2_000 + 100 * len(alone), [each for each in told if each[0] == name])
    for k, (name, text) in enumerate(told):
        assert alone[k] == together[k], name
        assert by_view[k] == together[k], name
        assert together[k]["record"].encode() == text


def test_content_names_the_same_formats_by_text_and_by_view(replica: Replica, catalogue: Catalogue) -> None:
    names = ("okta", "web_access", "kubernetes", "aws_cloudtrail")
    told = [("auto", sample.record) for name in names for sample in catalogue[name].samples[:3]]
    by_text = _write(replica, 0, told)
    by_view = _write(replica, 1_000, told)
    assert by_view == by_text
    assert {row["format"] for row in by_text} == {*names}


def test_the_store_has_what_a_mapping_says(replica: Replica, catalogue: Catalogue) -> None:
    told = _samples(catalogue)
    rows = _write(replica, 0, told)
    with replica.node.reader() as client:
        for (name, text), row in zip(told, rows, strict=True):
            said = map_records(catalogue[name], [opened(text)[0]], client, received_at=RECEIVED, source=name)[0]
            for column in (
                "class_name",
                "activity_name",
                "category_uid",
                "severity",
                "action",
                "outcome",
                "actor_name",
            ):
                assert row[column] == said[column], (name, column)
            assert row["time"].strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z" == said["time"], name
            address = str(row["src_ip"].ipv4_mapped or row["src_ip"])
            assert (address if address != "::" else "") == said["src_ip"], name


TIMES = st.sampled_from(
    ["2026-11-23T06:36:01Z", "Nov 23 06:36:01", "23/Nov/2026:06:36:01 +0100", "1795400000", "garbage", "", "0", "5"]
)
ADDRESSES = st.sampled_from(
    ["10.1.2.3", "10.1.2.3:4711", "[2001:db8::1]:80", "2001:db8::1", "no address", "", "10.1.2.3, 10.9.9.9"]
)
RECORDS: st.SearchStrategy[tuple[str, bytes]] = st.builds(
    lambda name, time, address, actor: (
        name,
        b'{"time":"%b","timestamp":"%b","ip":"%b","client_ip":"%b","user":"%b","action":"login","action":"x"}'
        % (time.encode(), time.encode(), address.encode(), address.encode(), actor.encode()),
    ),
    st.sampled_from(["json", "app_login", "okta", "kubernetes", AUTO]),
    TIMES,
    ADDRESSES,
    st.sampled_from(["anna", "", r"an\u006ea", r"a\"b"]),
)


@pytest.mark.parametrize("has_streams", [False, True])
@settings(
    max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=st.lists(RECORDS, min_size=3, max_size=10))
def test_a_block_may_be_cut_anywhere(
    told: list[tuple[str, bytes]], engine: Engine, catalogue: Catalogue, has_streams: bool
) -> None:
    replica = _replica(engine, catalogue, has_streams=has_streams)
    replica.engine.command(f"TRUNCATE TABLE {replica.table}")
    together = _write(replica, 0, told)
    for k in range(0, len(told), 3):
        cut = _write(replica, 1_000 * (k + 1), told[k : k + 3])
        for one, other in zip(cut, together[k : k + 3], strict=True):
            assert one == other


def test_views_of_an_earlier_run_are_dropped_at_a_start(engine: Engine) -> None:
    ledger = MemoryLedger()
    for _ in range(3):
        ledger.append([record(action="user.login")])
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    landing = create_landing(engine, engine.nodes[0])
    engine.command(f"CREATE VIEW {landing}_{'0' * 16}_view AS SELECT 1")
    Projector(engine, ledger, None, MAPPINGS).recover()
    assert not _views(engine)


def test_the_mapping_not_used_for_longest_loses_its_view(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.search.prepared._KEPT", 2)
    landing = create_landing(engine, engine.nodes[0])
    prepared, mappings = Prepared(engine, engine.nodes[0], landing), [Unmapped(f"format{k}") for k in range(4)]
    for mapping in mappings:
        for _ in range(3):
            prepared.map(mapping, mapping.name)
    assert len(_views(engine)) == 2
    prepared.map(mappings[0], mappings[0].name)  # as text again, and the place of another
    assert len(_views(engine)) == 1


def test_every_whole_mapping_is_read_by_text_and_by_view(replica: Replica, catalogue: Catalogue) -> None:
    """The longest there are: records in which a plain letter is written as an escape may have any key."""
    longest = sorted(catalogue, key=lambda name: len(whole_mapping(catalogue[name], []).select_sql("r")))[-3:]
    assert "json" in longest
    for number, name in enumerate(longest * 3):
        rows = _write(replica, 100 * number, [(name, rb'{"us\u0065r":"anna","action":"login"}')])
        assert rows[0]["quarantine"] == "", name
