"""Blocks that nobody means: of this server, of who refuses for it, of the key one works with, of a part of the world, of an old page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within

from muniment.respond.surroundings import surroundings


def _preview(client: httpx.Client, kind: str, value: str) -> dict[str, Any]:
    answer = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value})
    found: dict[str, Any] = answer.json()
    return found


def _ask(client: httpx.Client, kind: str, value: str, ticket: str = "") -> httpx.Response:
    ticket = ticket or _preview(client, kind, value)["preview"]
    return client.post("/api/v1/blocks", json={"kind": kind, "value": value, "preview": ticket, "reason": "guesses"})


@pytest.fixture
def tidy(live_server: LiveServer) -> Iterator[LiveServer]:
    yield live_server
    for each in live_server.get("/api/v1/blocks")["blocks"]:
        if each["state"] in {"active", "asked"}:
            live_server.client.post(f"/api/v1/blocks/{each['id']}/undo")


@pytest.mark.skipif(not surroundings(), reason="this machine has no address but its own loopback")
def test_this_server_and_its_gateway_cannot_be_blocked(tidy: LiveServer) -> None:
    for address, what in surroundings().items():
        width = 24 if "." in address else 64
        for kind, value in (("address", address), ("range", str(ip_network(f"{address}/{width}", strict=False)))):
            assert "server" in _preview(tidy.client, kind, value)["refusal"], (value, what)
            answer = _ask(tidy.client, kind, value)
            assert (answer.status_code, "could no longer hear" in answer.json()["error"]["reason"]) == (409, True)


def test_who_fetches_the_blocks_cannot_be_blocked(tidy: LiveServer, tmp_path: Any) -> None:
    server = LiveServer(tmp_path)
    server._settings = {**server._settings, "trusted_proxies": "127.0.0.1"}
    server.start()
    try:
        enforcer = server.reader(role="enforcer")
        enforcer.get("/feeds/nginx.conf", headers={"X-Forwarded-For": "198.51.100.44"}).raise_for_status()
        for kind, value in (("address", "198.51.100.44"), ("range", "198.51.100.0/24")):
            answer = _ask(server.client, kind, value)
            assert answer.status_code == 409
            assert "fetches the blocks from 198.51.100.44" in answer.json()["error"]["reason"]
        assert _ask(server.client, "address", "198.51.100.45").status_code == 201
        key = next(
            each for each in server.get("/api/v1/keys")["keys"] if each["role"] == "enforcer" and not each["revoked_at"]
        )
        server.client.delete(f"/api/v1/keys/{key['id']}").raise_for_status()
        assert _ask(server.client, "address", "198.51.100.44").status_code == 201, "whose key has ended fetches no more"
        enforcer.close()
    finally:
        server.stop()


@pytest.mark.parametrize("value", ["100.96.0.0/16", "100.96.0.0/23", "2001:db8::/32", "2001:db8::/47"])
def test_a_wide_range_needs_a_second_person_also_where_nothing_came_from(tidy: LiveServer, value: str) -> None:
    shown = _preview(tidy.client, "range", value)
    assert shown["needs_second_person"]
    assert "A second person must agree to" in shown["verdict"]
    assert _ask(tidy.client, "range", value).json()["state"] == "asked"


@pytest.mark.parametrize("value", ["100.97.0.0/24", "2001:db8:9::/48", "64:ff9b::6461:0/120"])
def test_a_range_of_one_customer_does_not(tidy: LiveServer, value: str) -> None:
    assert _ask(tidy.client, "range", value).json()["state"] == "active"


def test_all_of_ipv4_behind_nat64_is_as_wide_as_it_is(tidy: LiveServer) -> None:
    for value in ("64:ff9b::/96", "64:ff9b::/64", "64:ff9b::100:0/104", "64:ff9b::/32"):
        answer = tidy.client.post("/api/v1/blocks/preview", json={"kind": "range", "value": value})
        assert (answer.status_code, "NAT64" in answer.text) == (400, True), value


def test_a_key_does_not_block_itself_and_is_never_written_out(tidy: LiveServer) -> None:
    made = tidy.client.post("/api/v1/keys", json={"name": "soar", "role": "analyst", "owner": "ana"}).json()
    key = httpx.Client(base_url=tidy.url, headers={"Authorization": f"Bearer {made['key']}"}, trust_env=False)
    id = made["info"]["id"]
    for value in (id, f"key:{id}"):
        assert "the key you work with" in _preview(key, "key", value)["refusal"]
        assert _ask(key, "key", value).status_code == 409
    for path, body in (("preview", {}), ("", {"preview": "1.x", "reason": "leaked"})):
        url = "/api/v1/blocks" + (f"/{path}" if path else "")
        answer = tidy.client.post(url, json={"kind": "key", "value": made["key"], **body})
        assert (answer.status_code, "give its id" in answer.text) == (400, True)
    page = tidy.session("ana", "analyst").get("/blocks/new", params={"kind": "key", "v": made["key"]})
    assert "give its id" in page.text
    key.close()


def test_a_page_from_before_a_block_was_undone_blocks_nothing(tidy: LiveServer) -> None:
    """Back to the form after an undo: who sends it again looks again first."""
    client = tidy.client
    ticket = _preview(client, "address", "198.51.100.91")["preview"]
    made = _ask(client, "address", "198.51.100.91", ticket).json()["id"]
    client.post(f"/api/v1/blocks/{made}/undo").raise_for_status()
    again = _ask(client, "address", "198.51.100.91", ticket)
    assert (again.status_code, "has ended since you looked" in again.text) == (409, True)

    def looked_again() -> bool:
        time.sleep(0.3)  # tickets count seconds
        return _ask(client, "address", "198.51.100.91").status_code == 201

    within(5, looked_again, "a new look does not help")


def test_an_account_that_did_nothing_is_said_to_be_perhaps_misspelt(tidy: LiveServer) -> None:
    assert "is it written right?" in _preview(tidy.client, "account", "nobody.of.that.name")["verdict"]
