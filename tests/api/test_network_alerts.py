"""Addresses of one network that each ask a little are one alert: it names the network and each address, and offers to block both."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.live import LiveServer, within

NETWORK = "198.18.7.0/24"
PEOPLE = ("anna", "bert", "cem")


def _login(number: int, address: str, outcome: str, name: str, seconds_ago: int) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))
    return {
        "action": "user.login", "outcome": outcome, "actor": {"id": name, "name": name}, "context": {"ip": address},
        "occurred_at": at, "metadata": {"n": number},
    }  # fmt: skip


@pytest.fixture(scope="module")
def alert(live_server: LiveServer) -> dict[str, Any]:
    """Twelve addresses of a network are refused once or twice; one of them is let in."""
    key = live_server.key_for("portal", "clear")
    tries = [_login(n, f"198.18.7.{n % 12 + 1}", "failure", PEOPLE[n % 12 // 4], 300 - 10 * n) for n in range(20)]
    live_server.send(key, *tries, _login(20, "198.18.7.9", "success", "cem", 60))

    def found() -> dict[str, Any] | None:
        alerts = live_server.get("/api/v1/alerts")["alerts"]
        title = "Failed logins from many addresses of one network"
        wanted = [a for a in alerts if a["title"] == title and a["group"] == {"src_subnet": NETWORK}]
        return wanted[0] if wanted and wanted[0]["count"] == 20 else None

    alert = within(20, found, "no alert of the network, or not of all its events")
    assert alert
    return alert


def test_the_alert_names_the_network_and_each_address_with_its_events(alert: dict[str, Any]) -> None:
    assert alert["group"] == {"src_subnet": NETWORK}
    assert alert["address_counts"] == {f"198.18.7.{n}": 2 if n <= 8 else 1 for n in range(1, 13)}
    assert set(alert["values"]["addresses"]) == set(alert["address_counts"])
    assert alert["admitted"]["who"] == ["cem"]


def test_no_address_of_it_is_over_the_bar_of_another_rule(live_server: LiveServer, alert: dict[str, Any]) -> None:
    groups = [each["group"] for each in live_server.get("/api/v1/alerts", entity="198.18.7.3")["alerts"]]
    assert groups
    assert all(group == {"src_subnet": NETWORK} for group in groups)


def test_who_asks_for_an_address_of_the_network_finds_its_alert(live_server: LiveServer, alert: dict[str, Any]) -> None:
    """Also for one that it does not name."""
    for entity in ("198.18.7.3", "198.18.7.77", NETWORK):
        found = live_server.get("/api/v1/alerts", entity=entity)["alerts"]
        assert alert["uid"] in [each["uid"] for each in found], entity
    assert alert["uid"] not in [e["uid"] for e in live_server.get("/api/v1/alerts", entity="198.18.8.3")["alerts"]]


def test_the_page_offers_the_range_first_and_the_busiest_addresses(
    live_server: LiveServer, alert: dict[str, Any]
) -> None:
    client = live_server.session("nina", "analyst")
    page = client.get(f"/alerts/{alert['uid']}").text.replace("&amp;", "&")
    range_url = "/blocks/new?" + urlencode({"kind": "range", "v": NETWORK, "alert": alert["uid"]})
    address_url = "/blocks/new?" + urlencode({"kind": "address", "v": "198.18.7.1", "alert": alert["uid"]})
    assert 0 < page.index(range_url) < page.index(address_url)
    assert f"/entities/range?{urlencode({'v': NETWORK, 'alert': alert['uid']})}" in page
    assert "198.18.7.1 (2)" in page
    assert '<span class="muted">from <span class="mono">198.18.7.' in page, "each event says which address it was"
    assert page.index("What can be done") < page.index("What it means"), "on a phone one does not scroll to act"
    assert "198.18.7.9 (1)" in page
    assert client.get(f"/entities/range?{urlencode({'v': NETWORK})}").status_code == 200
    cards = client.get("/alerts", params={"entity": NETWORK}).text
    assert cards.count('<li class="alert-card') == 1, "the slow rule's alert is in the same card"


def test_the_range_is_blocked_after_its_preview_and_then_no_longer_offered(
    live_server: LiveServer, alert: dict[str, Any]
) -> None:
    client = live_server.session("omar", "analyst")
    shown = client.post("/api/v1/blocks/preview", json={"kind": "range", "value": NETWORK}).json()
    assert (shown["addresses"], shown["needs_second_person"]) == (12, True)
    page = client.get("/blocks/new", params={"kind": "range", "v": NETWORK, "alert": alert["uid"]}).text
    assert "Addresses seen" in page
    made = client.post(
        "/api/v1/blocks",
        json={"kind": "range", "value": NETWORK, "preview": shown["preview"], "hours": 24, "reason": "guesses", "alert": alert["uid"]},
    )  # fmt: skip
    assert made.status_code in {200, 201}, made.text
    second = live_server.session("nina", "analyst").get(f"/blocks/{made.json()['id']}").text
    for words in ("Agree: block it", "Addresses seen", "Accounts that succeeded"):
        assert words in second, "who agrees sees what who asked saw"
    again = client.get(f"/alerts/{alert['uid']}").text
    assert "kind=range" not in again
    assert "may be blocked" in again


def test_an_office_of_ours_cannot_be_blocked_by_its_network(live_server: LiveServer) -> None:
    own = {"network": "100.90.80.64/26", "title": "Bern"}
    live_server.client.post("/api/v1/allowed", json=own).raise_for_status()
    shown: httpx.Response = live_server.session("omar", "analyst").post(
        "/api/v1/blocks/preview", json={"kind": "range", "value": "100.90.80.0/24"}
    )
    live_server.client.post("/api/v1/allowed/remove", json=own).raise_for_status()
    assert [each["title"] for each in shown.json()["offices"]] == ["Bern"]
