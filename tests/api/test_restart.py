"""What people read about sources and verifications is still there after a restart."""

from pathlib import Path
from typing import Any

from tests.live import LiveServer, within


def _verify(server: LiveServer) -> dict[str, Any]:
    last = server.get("/api/v1/status")["ledger"]["last_verified"]
    server.client.post("/api/v1/verify", json={}).raise_for_status()

    def newer() -> dict[str, Any] | None:
        found: dict[str, Any] | None = server.get("/api/v1/status")["ledger"]["last_verified"]
        return found if found != last else None

    found = within(10, newer, "no verdict")
    assert found
    return found


def test_counters_and_the_last_verification_survive_a_restart(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    server.start()
    try:
        assert server.get("/api/v1/status")["ledger"]["last_verified"] is None
        key = server.key_for("shop", "clear")
        server.send(key, *[{"action": "a.b", "actor": {"id": str(k)}} for k in range(7)])
        before = _verify(server)
        while before["entries"] < 8:  # tiles are published behind the acknowledgement; a verification reads tiles
            before = _verify(server)
        within(10, lambda: server.rows("action:ledger.verified"), "the verdict is not written down")
        server.wait_until_visible()
        assert before["holds"]
        heard = {each["id"]: each for each in server.get("/api/v1/sources")["sources"]}["shop"]
        server.stop()
        server.start()
        after = server.get("/api/v1/status")["ledger"]["last_verified"]
        assert {**after, "at": 0} == {**before, "at": 0}
        assert abs(after["at"] - before["at"]) < 10**9
        again = {each["id"]: each for each in server.get("/api/v1/sources")["sources"]}["shop"]
        assert again["received"] == heard["received"] == 7
        assert abs(again["last_heard"] - heard["last_heard"]) < 1_000
        server.send(key, {"action": "a.b", "actor": {"id": "8"}})
        assert {each["id"]: each for each in server.get("/api/v1/sources")["sources"]}["shop"]["received"] == 8
    finally:
        server.stop()


def test_what_webhooks_delivered_and_what_was_refused_survives_a_restart(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    server.start()
    try:
        for source in ("git", "chat", "gone"):
            server.key_for(source, "clear")
            server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "github"}).raise_for_status()
        for source, body in (("git", b"{}"), ("git", b"[]"), ("gone", b"{}")):
            assert server.nobody().post(f"/ingest/webhook/{source}", content=body).status_code == 401
        before = _webhooks(server)
        assert before["git"]["refused"][0]["count"] == 2
        server.stop()
        server.start()
        assert _webhooks(server) == before
        server.client.delete("/api/v1/sources/gone/webhook").raise_for_status()
        server.client.post("/api/v1/sources/git/webhook", json={"kind": "github"}).raise_for_status()
        server.stop()
        server.start()
        assert [each for each, found in _webhooks(server).items() if found["refused"]] == []
    finally:
        server.stop()


def _webhooks(server: LiveServer) -> dict[str, Any]:
    return {each["source"]: each for each in server.get("/api/v1/webhooks")["webhooks"]}
