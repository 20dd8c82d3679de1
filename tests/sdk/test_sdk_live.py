"""The SDK against a real server: rows, receipts with their proofs, kill -9 on both sides, the examples."""

from __future__ import annotations

import base64
import json
import os
import runpy
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within

from muniment.sdk import Audit, ProofError, context
from muniment.sdk.proofs import verify_consistency, verify_receipt

EXAMPLES = Path(__file__).parents[2] / "examples"


def _key(server: LiveServer) -> tuple[str, str]:
    source = f"sdk-{secrets.token_hex(4)}"
    return source, server.key_for(source, "clear")


def _records(server: LiveServer, source: str) -> list[dict[str, Any]]:
    """Every record of a source as it stands in the ledger, in its order."""
    server.wait_until_visible()
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = server.get(
            "/api/v1/search", q=f"source={source}", limit=1000, order="asc", columns="record", **({"cursor": cursor} if cursor else {})
        )  # fmt: skip
        found += [json.loads(row["record"]) for row in page["rows"]]
        cursor = page["cursor"]
        if not cursor or not page["rows"]:
            return found


def _assert_once_without_gaps(records: list[dict[str, Any]], ids: list[str]) -> None:
    assert len({record["id"] for record in records}) == len(records)
    assert set(ids) <= {record["id"] for record in records}
    by_spool: dict[str, list[int]] = {}
    for record in records:
        by_spool.setdefault(record["spool"], []).append(record["sq"])
    for sqs in by_spool.values():
        assert sorted(sqs) == list(range(len(sqs)))


def test_an_event_is_found_with_everything_said_about_it(live_server: LiveServer, tmp_path: Path) -> None:
    source, key = _key(live_server)
    with Audit(live_server.url, key, spool=tmp_path) as audit, context(request_id="r-1", ip="203.0.113.7"):
        audit.log(
            action="invoice.approve", actor={"id": "u-17", "name": "Anna Ruiz"}, target={"type": "invoice", "id": "9"},
            outcome="failure", before={"state": "open"}, after={"state": "approved"}, reason="over the limit",
        )  # fmt: skip
        assert audit.flush(20)
    row = live_server.one(f"source={source}", 10)
    expected = {
        "action": "invoice.approve", "actor_id": "u-17", "target_id": "9", "outcome": "failure", "request_id": "r-1",
    }  # fmt: skip
    event = live_server.get(f"/api/v1/events/{row['index']}")
    columns = event.get("columns", event)
    assert {name: columns[name] for name in expected} == expected
    assert columns["reason"] == "over the limit"
    assert json.loads(columns["changes_before"]) == {"state": "open"}


def test_a_receipt_is_verified_offline_with_the_pinned_key(live_server: LiveServer, tmp_path: Path) -> None:
    _, key = _key(live_server)
    with Audit(live_server.url, key, spool=tmp_path) as audit:
        first = audit.require("invoice.approve")
        old = audit.checkpoints()[_pinned(live_server)[0]]
        for _ in range(20):
            last = audit.require("invoice.approve")
    origin, vkey = _pinned(live_server)
    with Audit(live_server.url, key, spool=tmp_path) as audit:  # receipts outlive the process
        assert audit.receipt(first.event_id) == first
        new = audit.checkpoints()[origin]
    for one in (first, last):
        proof = live_server.client.get(f"/api/v1/events/{one.index}/proof").content
        verify_receipt(one, origin, vkey)
        assert verify_receipt(one, origin, vkey, proof).size > one.index
    with pytest.raises(ProofError, match="expected a proof of entry"):
        verify_receipt(first, origin, vkey, proof)
    with pytest.raises(ProofError, match="expected a checkpoint of"):
        verify_receipt(first, "other.example/log", vkey)
    answer = live_server.get("/api/v1/consistency", size1=old.size, size2=new.size)
    hashes = [base64.b64decode(text) for text in answer["consistency_proof"]]
    verify_consistency(old, new, hashes)


def _pinned(server: LiveServer) -> tuple[str, str]:
    keys = server.get("/api/v1/log-keys")
    return keys["origin"], keys["vkeys"][0]


SENDER = """
import sys
from muniment.sdk import Audit
audit = Audit(sys.argv[1], sys.argv[2], spool=sys.argv[3], fsync=sys.argv[4] == "1")
for n in range(100_000):
    print(audit.log("payment.make", target=f"p-{n}"), flush=True)
"""


@pytest.mark.parametrize("fsync", [True, False])
def test_nothing_told_to_the_application_is_lost_when_it_is_killed(
    live_server: LiveServer, tmp_path: Path, fsync: bool
) -> None:
    source, key = _key(live_server)
    ids: list[str] = []
    for after in (30, 400, 900):
        command = [sys.executable, "-c", SENDER, live_server.url, key, str(tmp_path), str(int(fsync))]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(after):
            ids.append(child.stdout.readline().strip())
        child.kill()
        ids += [line.strip() for line in child.stdout.read().splitlines() if len(line.strip()) == 36]
        child.wait(20)
    with Audit(live_server.url, key, spool=tmp_path) as audit:
        ids.append(audit.require("payment.end", timeout=30).event_id)
        assert audit.flush(30)
    records = _records(live_server, source)
    _assert_once_without_gaps(records, ids)
    assert len({record["spool"] for record in records}) == 1


def test_every_event_arrives_once_when_the_server_is_killed_in_between(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    server.start()
    source, key = _key(server)
    ids: list[str] = []
    stop = threading.Event()
    with Audit(server.url, key, spool=tmp_path / "spool", backoff_max_s=0.3, on_problem=lambda problem: None) as audit:

        def traffic() -> None:
            while not stop.wait(0.001):
                ids.append(audit.log("payment.make"))
                if len(ids) % 10 == 0:
                    audit.hurry()

        threads = [threading.Thread(target=traffic) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                before = len(ids)
                within(20, lambda before=before: len(ids) > before + 150, "no traffic")  # type: ignore[misc]
                server.kill()
                time.sleep(0.1)  # the outage itself
                server.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert audit.flush(60)
        assert all(audit.receipt(event_id) for event_id in ids)
    records = _records(server, source)
    server.stop()
    _assert_once_without_gaps(records, ids)
    assert len(records) == len(ids)


def test_the_script_example_records_and_reads_its_receipts(live_server: LiveServer, tmp_path: Path) -> None:
    source, key = _key(live_server)
    environ = os.environ | {"MUNIMENT_URL": live_server.url, "MUNIMENT_KEY": key, "MUNIMENT_SPOOL": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "script.py"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "under a checkpoint of" in done.stdout
    assert [record["action"] for record in _records(live_server, source)] == ["account.disable", "key.destroy"]


@pytest.fixture
def example_environment(live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    source, key = _key(live_server)
    for name, value in {"URL": live_server.url, "KEY": key, "SPOOL": str(tmp_path)}.items():
        monkeypatch.setenv(f"MUNIMENT_{name}", value)
    return source


async def test_the_asgi_example_carries_the_request_into_its_events(
    live_server: LiveServer, example_environment: str
) -> None:
    loaded = runpy.run_path(str(EXAMPLES / "asgi_app.py"))
    transport = httpx.ASGITransport(loaded["app"], client=("127.0.0.1", 5))
    headers = {"X-Forwarded-For": "203.0.113.7", "User-Agent": "browser/1", "X-Request-ID": "req-77"}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.post("/invoices/9", headers=headers)
    assert answer.headers["x-request-id"] == "req-77"
    assert loaded["audit"].close(20)
    (record,) = _records(live_server, example_environment)
    assert record["id"] == answer.json()["event"]
    assert record["actor"]["id"] == "u-17"
    assert record["context"] == {"request_id": "req-77", "ip": "203.0.113.7", "user_agent": "browser/1"}


def test_the_wsgi_example_records_calls_and_log_lines(live_server: LiveServer, example_environment: str) -> None:
    loaded = runpy.run_path(str(EXAMPLES / "wsgi_app.py"))
    transport = httpx.WSGITransport(loaded["app"], remote_addr="198.51.100.4", script_name="")
    with httpx.Client(transport=transport, base_url="http://shop") as client:
        assert client.get("/invoices/9").status_code == 200
        assert client.delete("/invoices/9").headers["x-request-id"]
    assert loaded["audit"].close(20)
    read, denied = _records(live_server, example_environment)
    assert (read["action"], denied["action"], denied["outcome"]) == ("invoice.read", "invoice.delete", "denied")
    assert {read["context"]["ip"], denied["context"]["ip"]} == {"198.51.100.4"}
    assert denied["metadata"]["message"] == "refused"
