"""The way of a record on a real server process: sent, found, proved offline, and still there after a kill."""

import asyncio
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.corpus import Corpus, batches
from bench.running import RunningServer
from tests.live import within

from muniment.ledger.check import check_ledger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def found_within(server: RunningServer, query: str, seconds: float) -> dict[str, object]:
    def look() -> list[dict[str, object]]:
        rows: list[dict[str, object]] = server.get("/api/v1/search", q=query, limit=5, order="asc")["rows"]
        return rows

    return within(seconds, look, f"{query} was not found")[0]


def test_a_record_is_found_and_its_evidence_verifies_offline_under_a_pinned_key(
    server: RunningServer, tmp_path: Path
) -> None:
    key = server.key_for("shop", "sealed")
    event = {
        "id": "0193e2a1-7c3b-7abc-8def-0123456789ab",
        "action": "document.delete",
        "actor": {"id": "anna", "name": "Anna Costa", "email": "anna.costa@larkfield.example"},
        "targets": [{"type": "document", "id": "doc-9"}],
        "context": {"ip": "203.0.113.9"},
        "metadata": {"password": "correct-horse-battery-staple-9"},
    }
    headers = {"Authorization": f"Bearer {key}"}
    answer = server.client.post("/v1/events", json=event, headers=headers)
    assert answer.json()["accepted"] == 1
    again = server.client.post("/v1/events", json=event, headers=headers)
    assert again.json()["duplicates"] == 1

    row = found_within(server, "actor:anna.costa@larkfield.example ip:203.0.113.0/24", 2.0)
    index = row["index"]
    evidence = tmp_path / "evidence.zip"
    evidence.write_bytes(server.client.get("/api/v1/evidence", params={"indexes": str(index)}).content)
    vkey = server.get("/api/v1/log-keys")["vkeys"][0]
    verify = [sys.executable, "-m", "muniment.evidence", str(evidence), "--vkey"]
    assert subprocess.run([*verify, vkey], check=False, capture_output=True).returncode == 0
    with zipfile.ZipFile(evidence) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    (place,) = [name for name in members if name.endswith("/part0.json")]
    members[place] = members[place].replace(b"delete", b"create")
    with zipfile.ZipFile(evidence, "w") as forged:
        for name, content in members.items():
            forged.writestr(name, content)
    assert subprocess.run([*verify, vkey], check=False, capture_output=True).returncode == 10

    # What is sealed or secret stands nowhere in the ledger's files, in clear or compressed.
    server.stop()
    stored = b"".join(path.read_bytes() for path in (server.folder / "ledger").rglob("*") if path.is_file())
    assert b"correct-horse-battery-staple-9" not in stored
    check_ledger(server.folder / "ledger")
    server.start()
    record = server.get(f"/api/v1/events/{index}")["record"]
    assert "[secret:" in record
    assert "correct-horse" not in record


def test_reads_are_records_themselves(server: RunningServer) -> None:
    server.get("/api/v1/search", q="actor:nobody-in-particular")
    row = found_within(server, "action:log.search source:muniment", 2.0)
    assert row["source"] == "muniment"
    record = server.get(f"/api/v1/events/{row['index']}")["record"]
    assert json.loads(record)["metadata"]["query"] == "actor:nobody-in-particular"


def test_nothing_acknowledged_is_lost_by_kills_under_load(server: RunningServer) -> None:
    """Three SIGKILLs at random moments under 16 writers; every acknowledged event is there once, and searchable."""
    key = server.key_for("app", "clear")
    events = [line for body in batches(Corpus(24_000, seed=5), 1_000) for line in body.split(b"\n")]
    acked: dict[str, int] = {}

    async def writer(queue: list[bytes]) -> None:
        reader, out = await asyncio.open_connection("127.0.0.1", server.port)
        while queue:
            event = queue.pop()
            out.write(
                b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
                % (key.encode(), len(event), event)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            answer = json.loads(await reader.readexactly(length))
            acked[json.loads(event)["id"]] = answer["first_index"]

    async def load(queue: list[bytes], seconds: float) -> None:
        writers = [asyncio.create_task(writer(queue)) for _ in range(16)]
        await asyncio.sleep(seconds)
        server.kill()
        await asyncio.gather(*writers, return_exceptions=True)

    for round_number in range(3):
        asyncio.run(load(events[round_number * 8_000 : (round_number + 1) * 8_000], random.uniform(0.3, 1.2)))
        server.start()
    assert len(acked) > 100  # in two seconds of a slow machine
    server.wait_until_visible()
    for event_id, index in list(acked.items())[:: max(1, len(acked) // 200)]:
        rows = server.get("/api/v1/search", q=f"id:{event_id}", limit=5)["rows"]
        assert [row["index"] for row in rows] == [index]
    assert len(set(acked.values())) == len(acked)
    server.stop()
    assert check_ledger(server.folder / "ledger").entries >= len(acked)
