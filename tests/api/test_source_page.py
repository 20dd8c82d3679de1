"""The page of one source: what comes, what its records say, how it is read, what watches it, with which keys."""

from __future__ import annotations

import html
import re

import httpx
import pytest
from tests.live import LiveServer, within


def _words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def _panel(page: str, title: str) -> str:
    return page.split(f"<h2>{title}")[1].split("</section>")[0]


@pytest.fixture(scope="module")
def known(live_server: LiveServer) -> LiveServer:
    """A source with four events: all say who and what, one says from where."""
    key = live_server.key_for("page-of-shop", "sealed")
    actor = {"id": "u-1", "name": "Ann"}
    events: list[dict[str, object]] = [{"action": "order.refund", "actor": actor, "outcome": "success"}] * 3
    live_server.send(key, *events, {"action": "order.read", "actor": actor, "context": {"ip": "203.0.113.41"}})
    within(5, lambda: len(live_server.rows("source:page-of-shop")) == 4, "not stored")
    return live_server


@pytest.fixture(scope="module")
def ana(known: LiveServer) -> httpx.Client:
    return known.session("source-ana", "administrator")


def test_the_list_leads_to_the_page_of_a_source_and_an_unknown_one_is_not_found(ana: httpx.Client) -> None:
    assert 'href="/sources/page-of-shop"' in ana.get("/sources").text
    missing = ana.get("/sources/no-such-source")
    assert (missing.status_code, "there is no such source" in _words(missing.text)) == (404, True)


def test_what_records_do_not_say_is_told_in_percent_and_one_click_away(ana: httpx.Client) -> None:
    page = ana.get("/sources/page-of-shop").text
    said = _words(_panel(page, "What its records say"))
    assert "Who did it 100 %" in said
    assert "From which address those that do not say it: 25 %" in said
    link = html.unescape(re.findall(r'href="([^"]+)" title="Records that do not say it"', page)[-2])
    found = ana.get(link).text
    assert "-ip:" in link
    assert len(set(re.findall(r'data-index="(\d+)"', found))) == 3
    assert "order.refund 3" in _words(_panel(page, "What it sends"))


def test_each_role_sees_the_parts_that_are_open_to_it(known: LiveServer, ana: httpx.Client) -> None:
    parts = {"Keys that send as it": {"administrator"}, "Rules it feeds": {"administrator", "analyst"}, "Newest events": {"administrator", "analyst", "reader"}}  # fmt: skip
    for role in ("administrator", "analyst", "reader"):
        page = known.session(f"source-{role}", role).get("/sources/page-of-shop")
        assert page.status_code == 200
        assert {part for part in parts if f"<h2>{part}" in page.text} == {
            p for p, roles in parts.items() if role in roles
        }
    keys = [key["id"] for key in ana.get("/api/v1/keys").json()["keys"] if key["source"] == "page-of-shop"]
    assert keys[0] in _panel(ana.get("/sources/page-of-shop").text, "Keys that send as it")


def test_records_that_no_entry_knows_lead_to_their_suggestion(known: LiveServer, ana: httpx.Client) -> None:
    made = known.client.post("/api/v1/sources", json={"id": "page-of-till", "privacy": "clear"}).json()
    known.send(made["key"], {"tillEvent": "DrawerOpened", "cashier": "c1", "drawer": "D7"})
    within(10, lambda: "What no entry knows" in ana.get("/sources/page-of-till").text, "no group")
    page = ana.get("/sources/page-of-till").text
    link = re.findall(r'href="(/formats/[^"]+)"', _panel(page, "What no entry knows"))[0]
    assert "Suggested entry" in ana.get(link).text
    assert "What no entry knows" not in ana.get("/sources/page-of-shop").text
