"""Two people are two people: sessions and keys of one person count once wherever the product asks for a second one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within


def _key_of(server: LiveServer, client: httpx.Client, role: str = "administrator") -> httpx.Client:
    """A client with a key that the one signed in as `client` makes."""
    made = client.post("/api/v1/keys", json={"name": "a script", "role": role})
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False)


def _asked(server: LiveServer, client: httpx.Client, address: str) -> dict[str, Any]:
    """A block that needs a second person, asked for by `client`."""
    event = {"action": "user.login", "actor": {"id": "works"}, "context": {"ip": address}, "outcome": "success"}
    sources = [each["id"] for each in server.get("/api/v1/sources")["sources"]]
    name = f"two-{len(sources)}"
    server.send(server.key_for(name, "clear"), event)
    server.one(f"source:{name} ip:{address}", 10)
    preview = client.post("/api/v1/blocks/preview", json={"kind": "address", "value": address}).json()
    body = {"kind": "address", "value": address, "preview": preview["preview"], "reason": "test", "hours": 1}
    answer = client.post("/api/v1/blocks", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert found["state"] == "asked"
    return found


@pytest.fixture
def ana(live_server: LiveServer) -> Iterator[httpx.Client]:
    with closing(live_server.session("two.ana", "administrator")) as client:
        yield client


@pytest.fixture
def bob(live_server: LiveServer) -> Iterator[httpx.Client]:
    with closing(live_server.session("two.bob", "administrator")) as client:
        yield client


def test_a_session_and_an_own_key_do_not_make_two_people_of_one(
    live_server: LiveServer, ana: httpx.Client, bob: httpx.Client
) -> None:
    with _key_of(live_server, ana) as key, _key_of(live_server, ana) as other, _key_of(live_server, key) as third:
        for address, asking, agreeing in (
            ("198.18.40.1", key, ana),
            ("198.18.40.2", ana, key),
            ("198.18.40.3", key, other),
            ("198.18.40.4", other, third),  # a key that a key of hers made is hers, too
        ):
            block = _asked(live_server, asking, address)
            assert block["asked_person"] == "two.ana"
            refused = agreeing.post(f"/api/v1/blocks/{block['id']}/approve")
            assert refused.status_code == 403
            problem = refused.json()["error"]
            assert (problem["type"], problem["permission"]) == ("DeniedError", "block")
            assert problem["reason"] == (
                "a second person has to agree; two.ana asked for this, signed in or with a key of their own"
            )
            assert live_server.get(f"/api/v1/blocks/{block['id']}")["state"] == "asked"
        page = ana.get(f"/blocks/{block['id']}").text
        assert "Agree: block it" not in page
        assert f"{block['asked_by']} asked, so <b>another person</b> who may block" in page
        assert "Agree: block it" in bob.get(f"/blocks/{block['id']}").text
        with _key_of(live_server, bob) as his:
            assert his.post(f"/api/v1/blocks/{block['id']}/approve").json()["state"] == "active"


def test_a_key_of_nobodys_asks_and_never_agrees(live_server: LiveServer, ana: httpx.Client, bob: httpx.Client) -> None:
    """Nor is one person enough for what it asked: its maker may be the one who agrees."""
    mine = _asked(live_server, ana, "198.18.40.11")
    with live_server.reader(role="administrator") as nobodys:
        refused = nobodys.post(f"/api/v1/blocks/{mine['id']}/approve")
        assert refused.status_code == 403
        assert refused.json()["error"]["reason"] == (
            "this key belongs to nobody, so it cannot tell that a second person agrees; sign in, or make a new key: it "
            "belongs to who makes it"
        )
        assert live_server.client.post(f"/api/v1/blocks/{mine['id']}/approve").status_code == 403
        block = _asked(live_server, nobodys, "198.18.40.12")
    path = f"/api/v1/blocks/{block['id']}"
    assert block["asked_person"] == ""
    page = ana.get(f"/blocks/{block['id']}").text
    assert "Waits for two people" in page
    assert "so two people must agree" in page
    assert "Agree, as the first of two" in page
    first = ana.post(f"{path}/approve").json()
    assert (first["state"], first["asked_person"], first["approved_by"]) == ("asked", "two.ana", "two.ana")
    assert ana.post(f"{path}/approve").status_code == 403
    assert "Agree: block it" in bob.get(f"/blocks/{block['id']}").text
    assert bob.post(f"{path}/approve").json()["state"] == "active"


def test_erasing_asks_for_two_people_as_well(live_server: LiveServer, ana: httpx.Client, bob: httpx.Client) -> None:
    key = live_server.key_for("two-erasing", "sealed")
    live_server.send(key, {"action": "file.read", "actor": {"id": "u-two", "email": "two@example.org"}})
    live_server.one("actor_email:two@example.org", 10)
    body = {"identifier": "u-two", "source": "two-erasing", "reason": "request 2026-40"}
    with _key_of(live_server, ana) as own:
        asked = own.post("/api/v1/erasures", json=body).json()
        path = f"/api/v1/erasures/{asked['number']}/approval"
        for agreeing in (own, ana):
            refused = agreeing.post(path)
            assert (refused.status_code, refused.json()["error"]["permission"]) == (403, "admin")
            assert "two.ana asked for this" in refused.json()["error"]["reason"]
    refused = live_server.client.post(path)
    assert refused.status_code == 403
    assert "this key belongs to nobody" in refused.json()["error"]["reason"]

    nobodys = live_server.client.post("/api/v1/erasures", json=body).json()
    path = f"/api/v1/erasures/{nobodys['number']}/approval"
    waiting = ana.post(path)
    assert (waiting.status_code, waiting.json()["state"]) == (202, "waiting")
    assert ana.post(path).status_code == 403
    assert live_server.rows("actor_email:two@example.org")
    assert bob.post(path).json()["state"] == "running"
    done = within(30, lambda: [e for e in live_server.get("/api/v1/erasures")["erasures"] if e["done_at"] and e["number"] == nobodys["number"]], "not erased")  # fmt: skip
    assert (done[0]["asked_person"], done[0]["approved_by"]) == ("two.ana", "two.bob")


def test_a_key_belongs_to_who_makes_it_and_the_servers_machine_alone_names_somebody(
    live_server: LiveServer, ana: httpx.Client
) -> None:
    given = ana.post("/api/v1/keys", json={"name": "for him", "role": "administrator", "owner": "two.bob"})
    assert (given.status_code, given.json()["error"]["field"]) == (400, "owner")
    with live_server.reader(role="administrator") as nobodys:
        given = nobodys.post("/api/v1/keys", json={"name": "for him", "role": "administrator", "owner": "two.bob"})
        assert (given.status_code, given.json()["error"]["field"]) == (400, "owner")
        with _key_of(live_server, nobodys) as child:
            assert child.get("/api/v1/keys").json()["keys"][-1]["owner"] == ""
    for wrong in ("@machine", "Two.Bob", "key:x", "bob\n"):
        named = live_server.client.post("/api/v1/keys", json={"name": "x", "owner": wrong})
        assert named.status_code == 400, wrong
    assert ana.post("/api/v1/keys", json={"name": "mine"}).json()["info"]["owner"] == "two.ana"
    named = live_server.client.post("/api/v1/keys", json={"name": "hers", "owner": "two.ana"}).json()
    assert named["info"]["owner"] == "two.ana"
    source = ana.post("/api/v1/sources", json={"id": "two-owned", "format": "muniment", "privacy": "clear"})
    assert source.status_code == 201
    owners = {key["name"]: key["owner"] for key in ana.get("/api/v1/keys").json()["keys"]}
    assert owners["two-owned (first key)"] == "two.ana"
    assert owners["command line on this machine"] == ""


def test_the_record_of_what_a_key_does_says_the_key_and_its_owner(live_server: LiveServer, ana: httpx.Client) -> None:
    with _key_of(live_server, ana) as key:
        assert key.get("/api/v1/search", params={"q": "two-record-of-a-key"}).status_code == 200
    row = live_server.one('source:muniment action:log.search "two-record-of-a-key" on_behalf_of:two.ana', 10)
    assert row["actor_id"].startswith("key:")
    record = json.loads(live_server.get(f"/api/v1/events/{row['index']}")["record"])
    assert record["on_behalf_of"] == {"type": "user", "id": "two.ana"}
    assert record["actor"] == {"type": "service", "id": row["actor_id"], "name": "a script"}
    ana.get("/api/v1/search", params={"q": "two-record-of-a-session"})
    row = live_server.one('source:muniment action:log.search "two-record-of-a-session" actor_id:two.ana', 10)
    assert "on_behalf_of" not in json.loads(live_server.get(f"/api/v1/events/{row['index']}")["record"])


def test_who_has_left_has_no_way_in_and_no_source_falls_silent(live_server: LiveServer, ana: httpx.Client) -> None:
    server = live_server
    with closing(server.session("two.cleo", "administrator")) as cleo, _key_of(server, cleo) as key:
        sending = cleo.post(
            "/api/v1/sources", json={"id": "two-cleos", "format": "muniment", "privacy": "clear"}
        ).json()["key"]
        unused = server.client.post(
            "/api/v1/links", json={"person": "two.cleo", "name": "Cleo", "role": "administrator"}
        ).json()["url"]
        own = cleo.post("/api/v1/people/two.cleo/leave")
        assert (own.status_code, own.json()["error"]["reason"]) == (409, "that is you; another administrator does this")
        left = ana.post("/api/v1/people/two.cleo/leave").json()
        assert left["person"]["left_at"] > 0
        assert [each["role"] for each in left["revoked"]] == ["administrator"]
        assert [each["source"] for each in left["sending"]] == ["two-cleos"]
        assert key.get("/api/v1/search").status_code == 401
        assert cleo.get("/api/v1/search").status_code == 401
        assert server.nobody().post(unused, data={}).status_code == 403
    assert server.send(sending, {"action": "still.there", "actor": {"id": "x"}})["accepted"] == 1
    assert server.one("source:muniment action:user.leave actor_id:two.ana", 10)["target_id"] == "two.cleo"
    listed = {each["id"]: each for each in ana.get("/api/v1/people").json()["people"]}
    assert listed["two.cleo"]["left_at"] == left["person"]["left_at"]
    assert len(listed["two.cleo"]["keys"]) == 1
    assert ana.post("/api/v1/people/two.cleo/leave").status_code == 409
    assert ana.post("/api/v1/people/two.nobody/leave").status_code == 404
    with closing(
        server.session("two.cleo", "administrator")
    ) as again:  # a new link lets somebody in again, their old keys stay ended
        assert again.get("/api/v1/search").status_code == 200
        assert {each["id"]: each for each in again.get("/api/v1/people").json()["people"]}["two.cleo"]["left_at"] == 0
