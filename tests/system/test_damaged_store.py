"""R6 for the search store, in a real server: what can be derived is made anew, alone, and said; nothing is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within

SENT = 3_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server with records in its store leaves on disk."""
    server = LiveServer(folder := tmp_path_factory.mktemp("filled"))
    server.start()
    key = server.key_for("app", "clear")
    for batch in range(SENT // 500):
        numbers = range(batch * 500, (batch + 1) * 500)
        server.send(key, *({"action": "page.read", "metadata": {"number": n, "word": f"w{n * 7919}"}} for n in numbers))
    server.wait_until_visible()
    server.stop()
    return folder


@pytest.fixture
def stopped(tmp_path: Path, filled: Path) -> Iterator[LiveServer]:
    """A server with records in its store, stopped; the folder is its own."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True, symlinks=True)
    server = LiveServer(tmp_path)
    yield server
    server.stop()


def _damage(path: Path) -> None:
    """Eight bytes in every 256: whatever column a read is about, it meets some, however the file is laid out."""
    data = bytearray(path.read_bytes())
    for at in range(min(128, len(data) // 2), len(data), 256):
        piece = data[at : at + 8]
        data[at : at + 8] = bytes(len(piece)) if any(piece) else b"\xff" * len(piece)
    path.write_bytes(data)


def _found(server: LiveServer) -> int | None:
    """How many of the records a search that reads all of them finds; None while it asks to come again."""
    answer = server.client.get("/api/v1/search", params={"q": "source:app action:page.read w0", "limit": "10"})
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert answer.headers["retry-after"]
        return None
    answer.raise_for_status()
    exported = server.client.get("/api/v1/export", params={"q": "source:app action:page.read", "format": "jsonl"})
    return len(exported.text.splitlines()) if exported.status_code == httpx.codes.OK else None


def _event(server: LiveServer) -> dict[str, Any]:
    """What was written down about it."""
    index = server.one("action:store.damage", 20)["index"]
    found: dict[str, Any] = json.loads(server.get(f"/api/v1/events/{index}")["record"])
    return found


@pytest.mark.parametrize("name", ["data.bin", "primary.cidx"])  # found by a read, and by the engine at its start
def test_a_part_that_cannot_be_read_is_read_from_the_ledger_again(stopped: LiveServer, name: str) -> None:
    parts = [path for path in (stopped.folder / "store").rglob(name) if not path.parent.name.startswith("all_")]
    assert parts
    for path in parts:
        _damage(path)
    stopped.start()
    assert within(90, lambda: _found(stopped) == SENT, "the rows are not back")
    assert "made anew" in _event(stopped)["metadata"]["what"]
    assert not [path for path in (stopped.folder / "store").rglob("detached/*") if path.is_dir()]
    assert within(10, lambda: stopped.get("/api/v1/status")["store"]["pending"] <= 5, "the store does not catch up")


def test_the_list_of_what_was_set_up_is_found_again(stopped: LiveServer) -> None:
    for path in (stopped.folder / "store").rglob("all_*/primary.cidx"):
        path.write_bytes(bytes(path.stat().st_size))
    stopped.start()
    assert within(90, lambda: _found(stopped) == SENT, "the rows are not back")


def test_a_store_that_does_not_open_is_set_aside_and_made_anew(stopped: LiveServer) -> None:
    (next((stopped.folder / "store").rglob("migrations.sql"))).write_bytes(bytes(100))
    stopped.start()
    assert within(60, lambda: _found(stopped) == SENT, "the rows are not back")
    assert "set aside" in _event(stopped)["metadata"]["what"]
    aside = [path for path in stopped.folder.iterdir() if path.name.startswith("store.damaged-")]
    assert len(aside) == 1
