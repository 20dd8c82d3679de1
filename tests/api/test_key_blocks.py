"""An API key: from an event to its page, from its page to its block, and what it was seen with."""

from __future__ import annotations

import html

import pytest
from tests.live import LiveServer

KEY = "AKIAEXAMPLE0000000001"


@pytest.fixture(scope="module")
def seen(live_server: LiveServer) -> LiveServer:
    sender = live_server.key_for("keypage", "clear")
    for outcome in ("success", "failure"):
        live_server.send(sender, {
            "action": "object.read", "actor": {"id": "k.owner"}, "outcome": outcome,
            "context": {"ip": "198.51.100.80", "session": KEY},
        })  # fmt: skip
    live_server.send(sender, {"action": "object.list", "actor": {"id": KEY, "type": "service"}, "outcome": "success", "context": {"ip": "198.51.100.81"}})  # fmt: skip
    live_server.one("source:keypage action:object.list")
    return live_server


def _block(server: LiveServer, kind: str, value: str) -> str:
    shown = server.client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    body = {"kind": kind, "value": value, "preview": shown["preview"], "reason": "it leaked"}
    return str(server.client.post("/api/v1/blocks", json=body).raise_for_status().json()["id"])


def test_a_preview_of_a_key_counts_what_it_did_by_either_name(seen: LiveServer) -> None:
    shown = seen.client.post("/api/v1/blocks/preview", json={"kind": "key", "value": KEY}).json()
    assert (shown["events"], shown["successes"]) == (3, 2)
    assert {each["value"] for each in shown["origins"]} == {"198.51.100.80", "198.51.100.81"}


def test_an_event_leads_to_its_key_and_the_key_to_its_block(seen: LiveServer) -> None:
    ana = seen.session("ana", "analyst")
    index = seen.one("source:keypage action:object.read")["index"]
    assert f'href="/entities/key?v={KEY}"' in ana.get(f"/events/{index}").text
    page = html.unescape(ana.get("/entities/key", params={"v": KEY}).text)
    assert f'href="/blocks/new?kind=key&v={KEY}"' in page
    assert 'href="/entities/account?v=k.owner"' in page
    id = _block(seen, "key", KEY)
    try:
        page = ana.get("/entities/key", params={"v": KEY}).text
        assert f'href="/blocks/{id}"' in page
        assert "Preview block" not in page
        assert f'href="/blocks/{id}"' in ana.get("/entities/account", params={"v": "k.owner"}).text
        assert f'href="/entities/key?v={KEY}"' in ana.get(f"/blocks/{id}").text
    finally:
        seen.client.post(f"/api/v1/blocks/{id}/undo")
    assert f'href="/blocks/{id}"' in ana.get("/entities/key", params={"v": KEY}).text  # among those that ended


def test_the_page_of_a_key_shows_the_blocks_of_its_address_and_its_owner(seen: LiveServer) -> None:
    ana = seen.session("ana", "analyst")
    ids = [_block(seen, "address", "198.51.100.80"), _block(seen, "account", "k.owner")]
    try:
        page = ana.get("/entities/key", params={"v": KEY}).text
        for id in ids:
            assert f'href="/blocks/{id}"' in page
    finally:
        for id in ids:
            seen.client.post(f"/api/v1/blocks/{id}/undo")
