"""A real server process for tests at the edges: started once per worker, in a folder of its own, on free ports."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from bench.running import RunningServer

__all__ = ["LiveServer", "live_server", "within"]

T = TypeVar("T")
PATIENCE, PATIENCE_S = 10, 120
"""Half as fast a machine on which others work takes so many times as long; but nobody waits longer than this for less."""


class LiveServer(RunningServer):
    """A running server with all its doors, and the few things tests do with it again and again."""

    def __init__(self, folder: Path) -> None:
        ports = {"otlp_grpc_port": 0, "syslog_udp_port": 0, "syslog_tcp_port": 0, "detect_worker": "false"}
        super().__init__(folder / "data", ports, folder / "server.log")
        self.log = folder / "server.log"

    @property
    def url(self) -> str:
        """Where pages, API and HTTP doors are."""
        return f"http://127.0.0.1:{self.port}"

    def door(self, name: str) -> str:
        """The address of a door, as the status says it."""
        return str(self.get("/api/v1/status")["doors"][name][0])

    def reader(self, scope: str = "", role: str = "reader", owner: str = "") -> httpx.Client:
        """A client with a reading key of its own, which is `owner`'s, else nobody's."""
        body = {"name": f"reader of {scope or 'everything'}", "role": role, "scope": scope, "owner": owner}
        answer = self.client.post("/api/v1/keys", json=body)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['key']}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def nobody(self) -> httpx.Client:
        """A client without any credential."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def session(self, person: str = "admin", role: str = "administrator") -> httpx.Client:
        """A browser's client: a login link spent, the session's cookie kept, its form token in the header."""
        body = {"person": person, "name": person.title(), "role": role}
        made = self.client.post("/api/v1/links", json=body)
        made.raise_for_status()
        client = self.nobody()
        assert client.post(made.json()["url"], data={}).status_code == 303
        token = re.search(r'name="csrf" value="([^"]+)"', client.get("/saved").text)
        assert token
        client.headers["x-csrf-token"] = token[1]
        return client

    def send(self, key: str, *events: dict[str, Any]) -> dict[str, Any]:
        """Events through the native door; the acknowledgement."""
        answer = self.client.post("/v1/events", json=list(events), headers={"Authorization": f"Bearer {key}"})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def rows(self, q: str, **params: object) -> list[dict[str, Any]]:
        """The rows of a search."""
        found: list[dict[str, Any]] = self.get("/api/v1/search", q=q, **params)["rows"]
        return found

    def one(self, q: str, seconds: float = 2.0) -> dict[str, Any]:
        """The newest row that matches, which must be there within `seconds`."""
        return within(seconds, lambda: self.rows(q, limit=1), f"no row for {q}")[0]


def within(seconds: float, look: Callable[[], T], complaint: str) -> T:
    """What `look` gives as soon as it is something; `seconds` are those of a machine at rest, a busy one has `PATIENCE`."""
    limit_s = max(seconds, min(seconds * PATIENCE, PATIENCE_S))
    deadline = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{complaint} within {limit_s:g} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests of a worker; tests use sources and keys of their own in it."""
    server = LiveServer(tmp_path_factory.mktemp("live"))
    server.start()
    yield server
    server.stop()
    words = server.log.read_text("utf-8", "replace")
    assert "Traceback" not in words, words[-4_000:]
