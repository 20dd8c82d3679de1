"""Connections to the store: an error on one leaves nothing behind for whoever has it next."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from tests.live import within

from muniment.embedded import Embedded
from muniment.errors import AuditError
from muniment.limits import SEARCH_CONNECTIONS
from muniment.search.engine import Engine

FAILING = (
    "SELECT number, throwIf(number = 500000) FROM numbers(1000000)",
    "SELECT number, throwIf(number = 50) FROM numbers(100) SETTINGS max_block_size = 10, max_threads = 1",
    "SELECT toUInt64(7) AS x UNION ALL SELECT toUInt64(sleep(0.2) + throwIf(1)) SETTINGS max_threads = 2",
    "SELECT number FROM numbers(5) WHERE sleepEachRow(0.2) = 0 SETTINGS max_block_size = 1, max_execution_time = 0.3",
)
"""Statements that fail when rows are out already; the last one for its time."""


@pytest.mark.parametrize("failing", FAILING)
@pytest.mark.parametrize("by", ["query", "query_arrow", "command"])
def test_the_next_answer_holds_no_row_of_one_that_failed(engine: Engine, failing: str, by: str) -> None:
    for _ in range(2):
        with pytest.raises(AuditError):
            getattr(engine, by)(failing)
        assert list(engine.query("SELECT 1 AS one WHERE 0").rows) == []
        with pytest.raises(AuditError):
            getattr(engine, by)(failing)
        assert engine.query_arrow("SELECT 'a' AS a").to_pylist() == [{"a": "a"}]
        answer = engine.query("SELECT 2 AS two")
        assert (list(answer.names), [tuple(row) for row in answer.rows]) == (["two"], [(2,)])


def test_a_connection_that_cannot_be_made_anew_is_tried_again(engine: Engine) -> None:
    begun: list[int] = []

    def begin(client: object) -> None:
        begun.append(1)
        if len(begun) == 2:
            raise OSError("no more files")

    client = Embedded(engine.nodes[0].name, begin=begin)
    with pytest.raises(Exception, match="nope"):
        client.query("SELECT nope")
    assert client.query("SELECT 1 AS one").result_rows == [(1,)]
    assert len(begun) == 3
    client.close()


def test_who_waits_for_a_connection_has_it_before_who_gives_one_back_and_comes_again(engine: Engine) -> None:
    node, order = engine.nodes[0], list[str]()

    def wait() -> None:
        with node.reader():
            order.append("who waited")

    with ExitStack() as held:
        for _ in range(SEARCH_CONNECTIONS - 1):
            held.enter_context(node.reader())
        for _ in range(10):
            with node.reader():
                waiting = threading.Thread(target=wait)
                waiting.start()
                assert within(5, lambda: len(node._waiting) == 1, "nobody waits")
            with node.reader():
                order.append("who came again")
            waiting.join()
    assert order == ["who waited", "who came again"] * 10
