"""The same store on real ClickHouse nodes: two replicas we write ourselves, and two shards; a node dies and returns."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_node import ClickHouseNode, free_ports, library
from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.search.engine import Engine, open_engine
from muniment.search.projector import Projector
from muniment.search.replica import BIN
from muniment.search.service import SearchService

pytestmark = pytest.mark.skipif(
    library() is None, reason="no ClickHouse library: set MUNIMENT_TEST_CLICKHOUSE_LIB to libchdb.so of the npm package"
)


def _nodes(shards: int) -> Iterator[tuple[list[ClickHouseNode], str, list[list[int]]]]:
    folder = Path(tempfile.mkdtemp(prefix="muniment-nodes-"))
    ports = free_ports(4)
    nodes = [ClickHouseNode(folder / str(k), ports[2 * k], ports[2 * k + 1]) for k in range(2)]
    groups = [[n.tcp_port for n in nodes]] if shards == 1 else [[n.tcp_port] for n in nodes]
    try:
        for node in nodes:
            node.start("audit", groups)
        hosts = ",".join(f"127.0.0.1:{n.http_port}" for n in nodes)
        yield nodes, f"clickhouse://store:s3cret@{hosts}/store?cluster=audit&shards={shards}", groups
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def replicas() -> Iterator[tuple[list[ClickHouseNode], str, list[list[int]]]]:
    yield from _nodes(1)


@pytest.fixture
def shards() -> Iterator[tuple[list[ClickHouseNode], str, list[list[int]]]]:
    yield from _nodes(2)


def _some(n: int) -> list[bytes]:
    return [record(action="document.read", actor_name=f"user{k % 3}", message=f"read {k}") for k in range(n)]


def _local(engine: Engine, node: int) -> int:
    return int(engine.query("SELECT count() FROM events_local", node=engine.nodes[node]).rows[0][0])


def test_a_replica_that_died_is_filled_from_the_ledger_when_it_returns(
    replicas: tuple[list[ClickHouseNode], str, list[list[int]]],
) -> None:
    nodes, url, groups = replicas
    engine = open_engine(url)
    ledger = MemoryLedger()
    ledger.append(_some(500))
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    service = SearchService(engine, projector)
    assert (_local(engine, 0), _local(engine, 1)) == (500, 500)
    assert service.count("actor:user1") == 167
    nodes[0].kill()
    ledger.append(_some(100))
    projector.catch_up()
    assert projector.horizon().complete_to_index == 599
    assert service.search("", limit=1).rows[0]["index"] == 599
    nodes[0].start("audit", groups)
    projector._step()
    assert (_local(engine, 0), _local(engine, 1)) == (600, 600)
    assert projector.rebuild() == 600
    assert service.count("") == 600
    engine.close()


def test_shards_hold_disjoint_runs_of_indexes_and_answer_as_one(
    shards: tuple[list[ClickHouseNode], str, list[list[int]]],
) -> None:
    _, url, _ = shards
    engine = open_engine(url)
    ledger = MemoryLedger(piece=40_000)
    ledger.append(_some(BIN + 1_000))
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    assert (_local(engine, 0), _local(engine, 1)) == (BIN, 1_000)
    service = SearchService(engine, projector)
    assert service.count("") == BIN + 1_000
    page = service.search("read", limit=10, order="desc")
    assert [row["index"] for row in page.rows] == list(range(BIN + 999, BIN + 989, -1))
    engine.close()
