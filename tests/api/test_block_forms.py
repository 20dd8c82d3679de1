"""The forms about blocks: what is refused is told beside what was typed, and nobody shuts out themselves or everybody."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.live import LiveServer

DESK = "198.51.100.20"
PROXIES = "127.0.0.0/8,192.0.2.64/30"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One behind a proxy, whose word about addresses is believed."""
    found = LiveServer(tmp_path_factory.mktemp("forms"))
    found._settings = {**found._settings, "trusted_proxies": PROXIES}
    found.start()
    yield found
    found.stop()
    assert "Traceback" not in found.log.read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def ana(server: LiveServer) -> httpx.Client:
    client = server.session("ana", "analyst")
    client.headers["x-forwarded-for"] = DESK
    return client


def _form(client: httpx.Client, kind: str, value: str, **more: str) -> dict[str, str]:
    shown = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    token = {"csrf": client.headers["x-csrf-token"], "kind": kind, "value": value}
    return {**token, "preview": shown["preview"], "reason": "because", "hours": "24", **more}


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("range", "203.0.113.0/33", "'203.0.113.0/33' is not a range like 203.0.113.0/24"),
        ("range", "0.0.0.0/0", "0.0.0.0/0 is the whole internet"),
        ("address", "203.0.113", "'203.0.113' is not an IP address"),
        ("address", "m.ruiz", "take the address that the events show; choose Account or API key if it is one"),
        ("address", "127.0.0.1", "127.0.0.1 is no host on a network"),
        ("account", "  ", "fill it in"),
    ],
)
def test_a_value_that_is_none_is_told_in_the_form_with_what_was_typed(
    ana: httpx.Client, kind: str, value: str, words: str
) -> None:
    answer = ana.get("/blocks/new", params={"kind": kind, "v": value})
    assert answer.status_code == 400
    page = answer.text.replace("&#39;", "'")
    assert words in page
    assert f'value="{value.strip()}" aria-invalid="true" aria-describedby="refused" autofocus' in page
    assert f'<option value="{kind}" selected>' in page


def test_a_range_typed_as_an_address_is_previewed_as_a_range(ana: httpx.Client) -> None:
    page = ana.get("/blocks/new", params={"kind": "address", "v": "203.0.113.0/28"}).text
    assert 'name="kind" value="range"' in page


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"reason": "   "}, "say why: the next reader will ask"),
        ({"reason": ""}, "Reason: fill it in"),
        ({"hours": "0"}, "a number of 1 or more"),
        ({"preview": "1.x"}, "look at the preview of exactly this block first"),
    ],
)
def test_a_block_that_is_refused_is_asked_again_beside_what_it_would_hit(
    server: LiveServer, ana: httpx.Client, more: dict[str, str], words: str
) -> None:
    answer = ana.post("/blocks", data=_form(ana, "address", "203.0.113.7", **more))
    assert answer.status_code in {400, 409}
    assert words in answer.text
    assert "Block 24 h" in answer.text
    if more.get("reason") is None:
        assert 'name="reason" required maxlength="1000" value="because"' in answer.text
    assert not [b for b in server.get("/api/v1/blocks")["blocks"] if b["value"] == "203.0.113.7"]


def test_the_form_that_came_back_blocks_once_it_is_mended(ana: httpx.Client) -> None:
    form = _form(ana, "address", "203.0.113.8", preview="1.x")
    back = ana.post("/blocks", data=form).text
    ticket = back.split('name="preview" value="')[1].split('"')[0]
    made = ana.post("/blocks", data=form | {"preview": ticket}, follow_redirects=False)
    assert made.status_code == 303
    page = ana.get(made.headers["location"]).text
    assert "Blocked, 24 hours left" in page
    assert 'href="/entities/address?v=203.0.113.8"' in page
    ana.post(f"{made.headers['location']}/undo", data={"csrf": ana.headers["x-csrf-token"]})


def test_an_account_named_in_the_reason_is_told_beside_it(ana: httpx.Client) -> None:
    answer = ana.post("/blocks", data=_form(ana, "account", "q.form", reason="q.form was phished"))
    assert answer.status_code == 400
    assert "leave the account out of it" in answer.text
    assert 'value="q.form was phished" aria-invalid="true"' in answer.text


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("address", DESK, f"you are working from {DESK}: the block would shut you out"),
        ("address", f"::ffff:{DESK}", f"you are working from {DESK}: the block would shut you out"),
        ("range", "198.51.100.0/24", f"you are working from {DESK}: the block would shut you out"),
        ("address", "192.0.2.65", "192.0.2.64/30 is a trusted proxy: everybody comes through it"),
        ("range", "192.0.2.0/24", "192.0.2.64/30 is a trusted proxy: everybody comes through it"),
        ("account", "ANA", "it is your own account: ask somebody else to block it"),
    ],
)
def test_nobody_shuts_out_themselves_or_everybody(
    server: LiveServer, ana: httpx.Client, kind: str, value: str, words: str
) -> None:
    page = ana.get("/blocks/new", params={"kind": kind, "v": value}).text
    assert words in page
    assert "Block 24 h" not in page
    form = _form(ana, kind, value)
    refused = ana.post("/api/v1/blocks", json={k: v for k, v in form.items() if k not in {"csrf", "hours"}})
    assert refused.status_code == 409
    assert words in refused.json()["error"]["reason"]
    assert words in ana.post("/blocks", data=form).text
    assert not [b for b in server.get("/api/v1/blocks")["blocks"] if b["value"] == value]


def test_who_agrees_does_not_shut_out_themselves_either(server: LiveServer, ana: httpx.Client) -> None:
    server.send(server.key_for("forms", "clear"), {
        "action": "user.login", "actor": {"id": "f.somebody"}, "context": {"ip": "203.0.113.60"}, "outcome": "success",
    })  # fmt: skip
    server.one("source:forms")
    asked = ana.post("/blocks", data=_form(ana, "address", "203.0.113.60"), follow_redirects=False)
    path = asked.headers["location"]
    bob = server.session("bob", "analyst")
    bob.headers["x-forwarded-for"] = "203.0.113.60"
    answer = bob.post(f"{path}/approve", data={"csrf": bob.headers["x-csrf-token"]})
    assert answer.status_code == 409
    assert "you are working from 203.0.113.60" in answer.text
    assert "Waits for a second person" in answer.text
    shown = ana.get("/entities/address", params={"v": "203.0.113.60"}).text
    assert "asked by ana; it waits for a second person" in shown
    assert "Preview block" not in shown
    ana.post(f"{path}/undo", data={"csrf": ana.headers["x-csrf-token"]})


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"network": "198.51.100.0/33", "title": "Office"}, "network", "is not a range like"),
        ({"network": "0.0.0.0/0", "title": "Office"}, "network", "name the networks that are yours"),
        ({"network": "198.51.100.0/24", "title": " "}, "title", "say whose it is"),
    ],
)
def test_an_own_network_that_is_none_is_told_in_the_form(
    ana: httpx.Client, fields: dict[str, str], field: str, words: str
) -> None:
    answer: Any = ana.post("/blocks/allow", data={"csrf": ana.headers["x-csrf-token"], **fields})
    assert answer.status_code == 400
    assert words in answer.text
    assert f'value="{fields[field]}" aria-invalid="true"' in answer.text


def test_an_event_leads_to_the_pages_of_its_address_and_its_account(server: LiveServer, ana: httpx.Client) -> None:
    server.send(server.key_for("leads", "clear"), {
        "action": "user.login", "actor": {"id": "f.leads"}, "context": {"ip": "203.0.113.61"}, "outcome": "failure",
    })  # fmt: skip
    index = server.one("source:leads")["index"]
    page = ana.get(f"/events/{index}").text
    assert 'href="/entities/address?v=203.0.113.61"' in page
    assert 'href="/entities/account?v=f.leads"' in page
    assert "/entities/" not in server.session("rea", "reader").get(f"/events/{index}").text


def test_an_empty_form_names_its_field_and_says_it_there(ana: httpx.Client) -> None:
    page = ana.get("/blocks/new", params={"kind": "address", "v": " "}).text
    form = page.split('<form method="get" action="/blocks/new"')[1].split("</form>")[0]
    assert '<p class="wrong" id="refused" role="alert">Address, range, account or key: fill it in</p>' in form
    assert page.count('id="refused"') == 1


def test_a_form_that_is_refused_says_that_nothing_was_changed(ana: httpx.Client) -> None:
    answer = ana.post("/saved", data={"csrf": ana.headers["x-csrf-token"], "q": "x" * 5_000})
    assert answer.status_code == 400
    assert "Nothing was changed. Go back, mend it and send it again." in answer.text


NO_ALERT = "there is no such alert; leave it empty, or take the id of one"


def test_a_block_for_an_alert_that_does_not_exist_is_refused_at_its_field(
    server: LiveServer, ana: httpx.Client
) -> None:
    form = _form(ana, "address", "203.0.113.90", alert="00000000-0000-0000-0000-000000000000")
    refused = ana.post("/api/v1/blocks", json={k: v for k, v in form.items() if k not in {"csrf", "hours"}})
    assert refused.status_code == 400
    assert (refused.json()["error"]["field"], refused.json()["error"]["reason"]) == ("alert", NO_ALERT)
    page = ana.post("/blocks", data=form)
    assert page.status_code == 400
    assert f"Alert: {NO_ALERT}" in page.text
    assert 'name="alert" value=""' in page.text  # so that the form that came back can be sent
    assert 'maxlength="1000" value="because"' in page.text
    assert not [b for b in server.get("/api/v1/blocks")["blocks"] if b["value"] == "203.0.113.90"]


def test_a_form_that_is_sent_twice_makes_one_block_and_leads_to_it_twice(server: LiveServer, ana: httpx.Client) -> None:
    form = _form(ana, "address", "203.0.113.91")
    with ThreadPoolExecutor(2) as pool:  # a double click: both are under way at once
        answers = list(pool.map(lambda _: ana.post("/blocks", data=form, follow_redirects=False), range(2)))
    answers.append(ana.post("/blocks", data=form, follow_redirects=False))
    assert [each.status_code for each in answers] == [303, 303, 303]
    (made,) = [b for b in server.get("/api/v1/blocks")["blocks"] if b["value"] == "203.0.113.91"]
    assert {each.headers["location"] for each in answers} == {f"/blocks/{made['id']}"}
    server.one(f'source:muniment action:block.create "{made["id"]}"', 5)
    assert len(server.rows(f'source:muniment action:block.create "{made["id"]}"')) == 1

    # Another wish is no double click: it is told that there is a block already.
    for other in (
        form | {"hours": "1"},
        form | {"reason": "something else"},
        _form(ana, "address", "203.0.113.91", hours="168"),
    ):
        answer = ana.post("/blocks", data=other, follow_redirects=False)
        assert answer.status_code == 409
        assert f'href="/blocks/{made["id"]}"' in answer.text
    later = _form(server.session("bob", "analyst"), "address", "203.0.113.91")
    assert ana.post("/blocks", data=later | {"csrf": form["csrf"]}, follow_redirects=False).status_code == 409
    ana.post(f"/blocks/{made['id']}/undo", data={"csrf": form["csrf"]})
