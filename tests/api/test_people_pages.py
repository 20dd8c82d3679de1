"""The pages of people, keys and erasures: who sees them, what they say, and what their forms do."""

from __future__ import annotations

import html
import re
from contextlib import closing

import httpx
import pytest
from tests.live import LiveServer, within


@pytest.fixture(scope="module")
def ana(live_server: LiveServer) -> httpx.Client:
    return live_server.session("pages-ana", "administrator")


@pytest.fixture(scope="module")
def ben(live_server: LiveServer) -> httpx.Client:
    return live_server.session("pages-ben", "administrator")


def _words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def _sent(client: httpx.Client, path: str, **fields: str) -> tuple[int, str]:
    answer = client.post(path, data={"csrf": client.headers["x-csrf-token"], **fields}, follow_redirects=True)
    return answer.status_code, answer.text


def _row(page: str, text: str) -> str:
    return next(_words(row) for row in re.findall(r"<tr>.*?</tr>", page, re.S) if text in row)


@pytest.mark.parametrize("role", ["reader", "analyst"])
def test_only_administrators_see_people_keys_and_erasures_or_the_way_there(live_server: LiveServer, role: str) -> None:
    client = live_server.session(f"pages-{role}", role)
    assert 'href="/people"' not in client.get("/").text
    for path in ("/people", "/keys", "/erasures"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "Missing permission: admin" in _words(answer.text)


def test_a_key_stands_with_its_owner_and_what_it_may_and_sees_and_did(
    live_server: LiveServer, ana: httpx.Client
) -> None:
    made = ana.post("/api/v1/keys", json={"name": "nightly report", "scope": "source:okta"}).json()
    idle = ana.post("/api/v1/keys", json={"name": "edge proxies", "role": "enforcer"}).json()["info"]["id"]
    with httpx.Client(base_url=live_server.url, headers={"Authorization": f"Bearer {made['key']}"}) as reader:
        reader.get("/api/v1/search").raise_for_status()
    live_server.one(f'source:muniment actor_id:"key:{made["info"]["id"]}"')
    page = ana.get("/keys").text
    used = _row(page, made["info"]["id"])
    for words in ("nightly report", "pages-ana", "reader", "source:okta", "just now", "1 record in 30 days"):
        assert words in used
    assert "enforcer fetches the feeds of blocks" in _row(page, idle)
    assert "not in 30 days" in _row(page, idle)
    assert made["key"] not in page
    only = ana.get("/keys", params={"owner": "nobody-at-all"}).text
    assert made["info"]["id"] not in only


def test_a_revoked_key_is_refused_and_stands_among_the_revoked(live_server: LiveServer, ana: httpx.Client) -> None:
    made = ana.post("/api/v1/keys", json={"name": "given away"}).json()
    reader = httpx.Client(base_url=live_server.url, headers={"Authorization": f"Bearer {made['key']}"})
    assert reader.get("/api/v1/search").status_code == 200
    without_token = ana.post(f"/keys/{made['info']['id']}/revoke", data={"csrf": "guessed"})
    assert without_token.status_code == 403
    assert reader.get("/api/v1/search").status_code == 200
    status, page = _sent(ana, f"/keys/{made['info']['id']}/revoke")
    assert (status, f"The key {made['info']['id']} is revoked" in _words(page)) == (200, True)
    assert reader.get("/api/v1/search").status_code == 401
    assert made["info"]["id"] in page.split("<h2>Revoked</h2>")[1]
    reader.close()


def test_keys_that_send_stand_by_their_source(live_server: LiveServer, ana: httpx.Client) -> None:
    key = live_server.key_for("pages-sending", "sealed")
    sending = ana.get("/keys").text.split("<h2>Keys that send</h2>")[1]
    assert "source never heard" in _row(sending, "source:pages-sending")
    live_server.send(key, {"action": "file.read", "actor": {"id": "u"}})
    within(5, lambda: "source heard just now" in _row(ana.get("/keys").text, "source:pages-sending"), "not heard")


def test_who_has_left_is_shown_with_the_keys_that_go_on(live_server: LiveServer, ana: httpx.Client) -> None:
    leaver = live_server.session("pages-leaver", "administrator")
    leaver.post("/api/v1/sources", json={"id": "pages-left-behind"}).raise_for_status()
    assert leaver.get("/people").status_code == 200
    status, page = _sent(ana, "/people/pages-leaver/leave")
    words = _words(page)
    assert status == 200
    assert "pages-leaver has left: sessions, login links and reading keys have ended" in words
    assert "sends for the source pages-left-behind" in words
    assert "pages-leaver" in page.split("<h2>Who has left</h2>")[1]
    assert leaver.get("/people", follow_redirects=False).headers["location"] == "/login"
    status, page = _sent(ana, "/people/pages-ana/leave")
    assert (status, "another administrator does this" in _words(page)) == (400, True)


def test_an_erasure_waits_on_a_page_that_says_what_to_do_until_a_second_person_approves(
    live_server: LiveServer, ana: httpx.Client, ben: httpx.Client
) -> None:
    key, gone = live_server.key_for("pages-erasing", "sealed"), "quetsche@example.org"
    actor = {"id": "u-8812", "name": "Quetsche Quillfeather", "email": gone}
    live_server.send(key, {"action": "file.read", "actor": actor})
    live_server.one(f"actor_email:{gone}")

    status, page = _sent(ana, "/erasures", identifier="pflaume@example.org", reason="request 2026-1871", source="")
    assert status == 400
    assert "Whom: nobody is known by it" in _words(page)
    assert 'value="request 2026-1871"' in page
    status, page = _sent(ana, "/erasures", identifier="u-8812", reason="request 2026-1871", source="")
    assert (status, "You asked, so another administrator has to approve it" in _words(page)) == (200, True)
    number = max(map(int, re.findall(r'id="request-(\d+)"', page)))  # others of this server's may wait, too
    assert f'action="/erasures/{number}/approve"' not in page

    status, page = _sent(ana, f"/erasures/{number}/approve", identifier="u-8812")
    assert (status, "a second person has to agree" in _words(page)) == (400, True)
    waiting = re.search(r"(\d+) requests? waits? for a second person", _words(ben.get("/erasures").text))
    told = re.search(
        r"(\d+) requests? to erase a person waits? for a second administrator", _words(ben.get("/status").text)
    )
    assert waiting is not None
    assert told is not None
    assert int(waiting[1]) == int(told[1]) >= 1
    with closing(live_server.session("pages-analyst", "analyst")) as analyst:
        assert "request to erase" not in analyst.get("/status").text
    status, page = _sent(ben, f"/erasures/{number}/approve", identifier="somebody.else@example.org")
    assert (status, "type whom the request is about" in _words(page)) == (400, True)
    assert live_server.rows(f"actor_email:{gone}")

    assert _sent(ben, f"/erasures/{number}/approve", identifier="U-8812")[0] == 200
    within(60, lambda: f'id="request-{number}"' not in ben.get("/erasures").text, "not erased")
    done = ben.get("/erasures").text
    assert "request 2026-1871" in _row(done, "request 2026-1871")
    assert "pages-ben" in _row(done, "request 2026-1871")
    assert gone not in done
    assert live_server.rows(f"actor_email:{gone}") == []
