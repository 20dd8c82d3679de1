"""R12, the short version: more than a server can hold, and a count of what became of every event."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.running import RunningServer
from tests.system.overload import overload

from muniment.ledger.check import check_ledger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def test_every_event_is_acknowledged_and_there_or_refused_and_not(server: RunningServer) -> None:
    found = overload(server, 8)
    assert found.odd == []
    assert found.refused > 0, "not overloaded: raise the number of senders"
    assert found.accepted > 20_000
    assert found.sent == found.accepted + found.refused
    assert found.recovered_s < 30
    assert found.resident_mib < 1_900
    server.wait_until_visible()
    facets = server.get("/api/v1/facets", q="source:flood", fields="source")["facets"]
    assert facets["source"][0]["count"] == found.accepted
    server.stop()
    check_ledger(server.folder / "ledger")
