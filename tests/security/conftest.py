"""The live server for tests of security, and two sources that must never meet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.live import LiveServer, live_server, within

__all__ = ["live_server"]


@dataclass(frozen=True)
class Neighbours:
    """Sources `alpha` and `bravo` with one shape and different values; `reader` sees rows of alpha only.

    `marks`: texts that stand in records of bravo, in its name and in what others wrote about it, and nowhere else.
    """

    server: LiveServer
    reader: httpx.Client
    alpha_key: str
    bravo_key: str
    alpha: list[int]
    bravo: list[int]
    marks: tuple[str, ...]
    until: int


@pytest.fixture(scope="session")
def neighbours(live_server: LiveServer) -> Iterator[Neighbours]:
    """Both sources filled and visible, and a shared saved search of an administrator that names bravo."""
    keys = {name: live_server.key_for(name, "clear") for name in ("alpha-shop", "bravo-bank")}
    sent = {}
    for source, word in (("alpha-shop", "amber"), ("bravo-bank", "zirkon")):
        events = [
            {
                "action": f"{word}.delete",
                "actor": {"id": f"{word}-{k}", "name": f"{word.title()} Person", "email": f"p{k}@{word}.example"},
                "targets": [{"type": "document", "id": f"{word}-doc-{k}", "name": f"{word} papers"}],
                "outcome": "failure" if k % 2 else "success",
                "context": {"ip": "203.0.113.7" if word == "amber" else "198.51.100.9"},
            }
            for k in range(8)
        ]
        sent[source] = live_server.send(keys[source], *events)
    saved = {"name": "All of Zirkon", "q": "source:bravo-bank", "is_shared": True}
    live_server.client.post("/api/v1/saved", json=saved).raise_for_status()
    within(5, lambda: len(live_server.rows("source:bravo-bank")) == 8, "bravo is not visible")
    first = {name: int(answer["first_index"]) for name, answer in sent.items()}
    with live_server.reader("source:alpha-shop") as reader:
        yield Neighbours(
            live_server, reader, keys["alpha-shop"], keys["bravo-bank"],
            list(range(first["alpha-shop"], first["alpha-shop"] + 8)),
            list(range(first["bravo-bank"], first["bravo-bank"] + 8)),
            ("zirkon", "Zirkon", "bravo", "198.51.100.9"), time.time_ns(),
        )  # fmt: skip
