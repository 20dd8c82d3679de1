"""Statements that run on make of rows what tables make of them, however blocks come, and whatever ends them."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from memory_ledger import MAPPINGS, record

from muniment.event.place import Place
from muniment.search.blocks import Block
from muniment.search.engine import Engine
from muniment.search.landing import Texts
from muniment.search.mappings import mapping_set
from muniment.search.replica import Locate, Replica
from muniment.search.schema import MappingSet, Recognises, drop_landing, migrate
from muniment.search.streamed import StreamLanding
from muniment.sources.catalogue import AUTO, Catalogue, load

RECEIVED_NS = 1_795_435_200 * 10**9
INSIDE = (
    b'{"@timestamp":"2026-11-23T12:00:00Z","host":{"name":"web3"},"event":{"original":"Nov 23 06:36:01 web3 sshd[7]: '
    b'Failed password for root from 203.0.113.9 port 22 ssh2"},"message":"x"}'
)
"""A shipper's envelope."""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture
def replica(engine: Engine, catalogue: Catalogue) -> Iterator[Replica]:
    replica = _replica(engine, mapping_set(catalogue))
    yield replica
    engine.nodes[0].stop_running()


def _replica(
    engine: Engine, mappings: MappingSet, *, has_streams: bool = True, locate: Locate | None = None
) -> Replica:
    migrate(engine)
    node = engine.nodes[0]
    replica = Replica(engine, node, mappings, str, engine.local_table, locate=locate, has_streams=has_streams)
    replica.prepare()
    return replica


def _write(replica: Replica, first: int, told: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """The rows that records of these formats become; index and id are left out."""
    n = len(told)
    ids = [str(uuid.UUID(int=0))] * n
    replica.write(Block(first, ids, [name for name, _ in told], [RECEIVED_NS] * n, [text for _, text in told]))
    found = replica.engine.query(
        f"SELECT * EXCEPT(`index`), record, rest FROM events WHERE `index` >= {first} ORDER BY `index`"
    )
    assert len(found.rows) == n
    return [dict(zip(found.names, row, strict=True)) for row in found.rows]


def _running() -> int:
    return sum(thread.name == "running" for thread in threading.enumerate())


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _samples(catalogue: Catalogue, names: Sequence[str], count: int = 2) -> list[tuple[str, bytes]]:
    return [(name, sample.record) for name in names for sample in catalogue[name].samples[:count]]


def _named_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the numbers of rows that are named by a statement of its own."""
    asked: list[int] = []
    ask = StreamLanding._named

    def noted(self: StreamLanding, rows: pa.Table, wanted: str, recogniser: Recognises, cut: int) -> Texts:
        asked.append(rows.num_rows)
        return ask(self, rows, wanted, recogniser, cut)

    monkeypatch.setattr(StreamLanding, "_named", noted)
    return asked


def test_rows_are_those_that_tables_make(engine: Engine, catalogue: Catalogue) -> None:
    names = ("openssh", "okta", "web_access", "kubernetes", "json", "github", "muniment", "windows", "syslog")
    told = _samples(catalogue, names)
    told += [(AUTO, text) for name, text in told] + [(AUTO, INSIDE), ("json", INSIDE), ("no such format", b'{"a":1}')]
    wanted = _write(_replica(engine, mapping_set(catalogue), has_streams=False), 0, told)
    streamed = _replica(engine, mapping_set(catalogue))
    for number in range(1, 4):
        for row, other in zip(_write(streamed, 1_000 * number, told), wanted, strict=True):
            assert row == other
    assert _running() >= len(names)
    assert {row["format"] for row in wanted} >= {*names} - {"syslog"}


def test_what_a_source_sent_before_does_not_name_what_it_sends_now(
    engine: Engine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early lines are asked alone only where the others would change nothing."""
    asked: list[int] = []
    ask = StreamLanding._named

    def noted(self: StreamLanding, rows: pa.Table, *given: Any) -> Any:
        asked.append(given[-1])
        return ask(self, rows, *given)

    monkeypatch.setattr("muniment.search.stages._ROWS_MIN", 2)
    monkeypatch.setattr(StreamLanding, "_named", noted)
    early, late = ([(AUTO, text) for _, text in _samples(catalogue, [name], 9)] for name in ("windows", "web_access"))
    blocks = [early, [*early, *late[:1]], late, [*late, *early], early, [(AUTO, INSIDE), *early]]
    plain = _replica(engine, mapping_set(catalogue), has_streams=False)
    wanted = [_write(plain, 1_000 * number, told) for number, told in enumerate(blocks)]
    asked.clear()
    streamed = _replica(engine, mapping_set(catalogue))
    for number, (told, rows) in enumerate(zip(blocks * 2, wanted * 2, strict=True)):
        assert _write(streamed, 1_000 * (len(blocks) + number), told) == rows
    assert len(set(asked)) == 2


def test_a_source_that_sent_one_format_is_expected_to_send_it_again(
    engine: Engine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are named where they are mapped; what is of another format comes out as if it had been named first."""
    asked = _named_rows(monkeypatch)
    monkeypatch.setattr("muniment.search.stages._ROWS_MIN", 2)
    formats = ("windows", "json", "openssh", "web_access")
    windows, json, ssh, web = ([(AUTO, text) for _, text in _samples(catalogue, [name], 3)] for name in formats)
    many = windows * 8
    other = [*many, web[0], *many, json[0], *many, ssh[0]]
    blocks = [
        many,
        many,
        many,
        other,
        other,
        other,
        ssh * 9,
        [("syslog", text) for _, text in ssh],
        *[json * 2] * 4,
        [(AUTO, INSIDE)],
    ]
    plain = _replica(engine, mapping_set(catalogue), has_streams=False)
    wanted = [_write(plain, 1_000 * number, told) for number, told in enumerate(blocks)]
    asked.clear()
    streamed = _replica(engine, mapping_set(catalogue))
    counts = []
    for number, (told, rows) in enumerate(zip(blocks, wanted, strict=True), len(blocks)):
        assert _write(streamed, 1_000 * number, told) == rows
        counts.append([*asked])
        asked.clear()
    assert counts[:3] == [[len(many)], [len(many)], []], "named first, until a statement runs that names and maps"
    assert {row["format"] for row in wanted[5]} == {"windows", "web_access", "json", "openssh"}
    assert sum(counts[5]) <= 6, "those alone that no mapping knew, by early lines and then by all"
    assert sum(counts[6]) >= len(ssh) * 9, "and all, when a source sends something else"


def test_what_a_sender_mixes_is_guessed_and_comes_out_as_if_it_had_been_named(
    engine: Engine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts in a record say where it goes; the mapping there asks whether it is so, and says who made it up."""
    asked = _named_rows(monkeypatch)
    monkeypatch.setattr("muniment.search.stages._ROWS_MIN", 4)
    formats = ("openssh", "okta", "kubernetes", "web_access", "aws_cloudtrail")
    mixed = [(AUTO, text) for _, text in _samples(catalogue, formats, 4)] * 3
    like_others = [
        (AUTO, b'{"syslog":{"app":"sshd","message":"eventName \\"eventName\\" objectRef: nobody at all"}}'),
        (AUTO, b'{"eventName":"x","objectRef":{},"actor":"sshd","verb":"get"}'),
        (AUTO, b'{"actor":"zoe","action":"door.opened","objectRef":"7"}'),
    ]
    others = [(AUTO, text) for _, text in _samples(catalogue, ("windows", "gitlab", "json"), 4)] * 3
    blocks = [mixed] * 4 + [mixed + like_others] * 2 + [others] * 4 + [mixed + others] * 6
    plain = _replica(engine, mapping_set(catalogue), has_streams=False)
    wanted = [_write(plain, 1_000 * number, told) for number, told in enumerate(blocks)]
    streamed = _replica(engine, mapping_set(catalogue))
    counts = []
    for number, (told, rows) in enumerate(zip(blocks, wanted, strict=True), len(blocks)):
        asked.clear()
        assert _write(streamed, 1_000 * number, told) == rows
        counts.append(sum(asked))
    assert counts[0] >= len(mixed), "named first"
    assert counts[3] == 0, "until statements run that name and map"
    assert counts[5] <= 2 * len(like_others), (
        "those alone that are not what they look like, by early lines and then by all"
    )
    assert counts[-1] <= len(mixed) / 2, "what was learned of one mix gives way to what is learned of another"


def test_what_is_asked_once_starts_nothing(replica: Replica, catalogue: Catalogue) -> None:
    for number, name in enumerate(("okta", "openssh", "kubernetes")):
        _write(replica, 100 * number, _samples(catalogue, [name]))
    assert _running() == 0


def test_more_formats_than_may_run_are_mapped_all_the_same(
    replica: Replica, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.search.streamed._KEPT", 2)
    told = _samples(catalogue, ("openssh", "okta", "web_access", "kubernetes", "github"), 1)
    first = _write(replica, 0, told)
    assert all(_write(replica, 100 * number, told) == first for number in range(1, 4))
    assert _running() == 2


def test_a_statement_not_used_gives_its_place_away(
    replica: Replica, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.search.streamed._KEPT", 1)
    monkeypatch.setattr("muniment.search.streamed._IN_USE_S", -1)
    files = _open_files()
    for number in range(6):
        _write(replica, 100 * number, _samples(catalogue, ["okta" if number < 3 else "openssh"]))
    assert _running() == 1
    monkeypatch.setattr("muniment.search.streamed._IDLE_S", -1)
    _write(replica, 1_000, _samples(catalogue, ["kubernetes"]))
    assert _running() == 0
    assert _open_files() <= files + 4  # what the engine opens for its parts


def test_a_record_that_cannot_be_mapped_takes_nobody_with_it(engine: Engine) -> None:
    replica = _replica(engine, MAPPINGS)
    good = [("brittle", record(n=str(number))) for number in range(5)]
    for number in range(3):
        _write(replica, 100 * number, [*good, ("flat", record(action="user.login"))])
    assert _running() == 2
    rows = _write(replica, 400, [*good, ("brittle", record(n="none")), ("flat", record(action="user.login"))])
    assert [bool(row["quarantine"]) for row in rows] == [False] * 5 + [True, False]
    assert "mapping failed" in rows[5]["quarantine"]
    assert rows[6]["action"] == "user.login"
    assert _running() == 0
    for number in range(5, 8):
        assert not any(row["quarantine"] for row in _write(replica, 100 * number, good))
    assert _running() == 1


def test_a_statement_that_fails_by_itself_costs_no_row(replica: Replica, catalogue: Catalogue) -> None:
    told = _samples(catalogue, ["okta", "openssh"])
    first = _write(replica, 0, told)
    _write(replica, 100, told)
    _, running = replica.node._running[0]
    os.write(running._pipe, b"no frame")
    assert _write(replica, 200, told) == first
    assert _running() == 0
    assert all(_write(replica, 100 * number, told) == first for number in range(3, 6))
    assert _running() == 2


def test_tables_can_be_dropped_when_somebody_wants_to(replica: Replica, catalogue: Catalogue) -> None:
    for number in range(3):
        _write(replica, 100 * number, _samples(catalogue, ["okta"]))
    other = Replica(replica.engine, replica.node, replica.mappings, str, "events", "rebuild")
    other.prepare()
    assert _running() == 1  # those of another landing go on
    drop_landing(replica.engine, replica.node, "rebuild")
    _write(replica, 300, _samples(catalogue, ["okta"]))
    drop_landing(replica.engine, replica.node, "landing")
    assert _running() == 0


def test_rows_get_the_country_of_their_address(engine: Engine, catalogue: Catalogue) -> None:
    replica = _replica(engine, mapping_set(catalogue), locate=lambda _: Place(country="NL"))
    told = [("openssh", catalogue["openssh"].samples[0].record)]
    assert [_write(replica, 100 * number, told)[0]["src_country"] for number in range(3)] == ["NL"] * 3


def test_a_landing_forgets_what_was_put_in_before(replica: Replica, catalogue: Catalogue) -> None:
    told = _samples(catalogue, ["okta"])
    for number in range(2):
        _write(replica, 100 * number, told)
    ids = [str(uuid.UUID(int=0))] * len(told)
    block = Block(300, ids, ["okta"] * len(told), [RECEIVED_NS] * len(told), [text for _, text in told])
    landing = replica._landing
    assert isinstance(landing, StreamLanding)
    from muniment.search.blocks import as_arrow

    rows: pa.Table = as_arrow(block, lambda _: "okta")
    landing.put(rows, replica.mappings, has_envelopes=False)
    assert len(_write(replica, 300, told)) == len(told)
