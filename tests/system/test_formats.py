"""Records that nobody knows, in a real server: grouped, given an entry, corrected, accepted, in force at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import LiveServer, within

TILL = [
    {"tillEvent": "DrawerOpened", "at": "2026-11-23T09:00:00Z", "attendant": {"id": f"c{n}", "name": "Anna"}, "origin": "203.0.113.7",
     "verdict": "denied" if n % 2 else "granted", "drawer": "D7"}
    for n in range(6)
]  # fmt: skip
ENTRY = """\
name: till
title: Tills
vendor: us
docs: none
owner: shops
rhythm_s: 3600

recognise:
  - {tillEvent: {present: true}, drawer: {present: true}}

time: [at]

personal:
  - {path: attendant.name, subject: attendant.id, kind: name}

fields:
  action: {camel: tillEvent}
  outcome: {outcome: verdict}
  actor_id: attendant.id
  actor_name: attendant.name
  src_ip: origin
  target_type: =drawer
  target_id: drawer
  class_uid: 6003
  activity_id: 2

samples:
  - name: one
    origin: ours
    licence: ours
    record: {"tillEvent": "DrawerOpened", "at": "2026-11-23T09:00:00Z", "attendant": {"id": "c1"}, "drawer": "D7", "verdict": "denied"}
    expect: {outcome: failure}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path)
    server.start()
    yield server
    server.stop()


def _add_source(server: LiveServer, name: str) -> str:
    answer = server.client.post("/api/v1/sources", json={"id": name, "privacy": "clear"})
    answer.raise_for_status()
    return str(answer.json()["key"])


def _group(server: LiveServer, source: str) -> dict[str, Any]:
    found = within(
        10, lambda: [each for each in server.get("/api/v1/formats")["unknown"] if each["source"] == source], "no group"
    )
    return dict(found[0])


def test_from_unknown_to_known(server: LiveServer) -> None:
    key = _add_source(server, "tills")
    server.send(key, *TILL)
    server.wait_until_visible()
    group = _group(server, "tills")
    assert (group["count"], group["format"], group["reason"]) == (6, "json", "")
    assert group["keys"] == "at attendant drawer origin tillEvent verdict"
    assert server.one("action:format.list", 5)["outcome"] == "success"

    suggested = server.get(f"/api/v1/formats/{group['id']}")
    assert "name: tills" in suggested["text"]
    assert "recognise:" in suggested["text"]
    assert "like: json" in suggested["text"]
    assert "{path: attendant.name, kind: name}" in suggested["text"]
    assert "203.0.113.7" not in suggested["text"]  # the entry is kept where nothing is sealed
    assert "Anna" not in suggested["text"]
    assert suggested["preview"][0]["columns"]["src_ip"] == "203.0.113.7"
    assert len(suggested["preview"]) == 6

    view = server.one(f"action:format.view target_id:{group['id']}", 5)
    assert json.loads(server.get(f"/api/v1/events/{view['index']}")["record"])["metadata"]["results"] == 6

    path = f"/api/v1/formats/{group['id']}/try"
    wrong = server.client.post(path, json={"text": ENTRY.replace("{outcome: verdict}", "{outcom: verdict}")})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["field"] == "entry.yaml:18:3"
    tried = server.client.post(path, json={"text": ENTRY}).json()["preview"]
    assert {(each["columns"]["action"], each["columns"]["outcome"]) for each in tried} == {
        ("drawer.opened", "success"), ("drawer.opened", "failure")
    }  # fmt: skip
    assert all(each["problems"] == [] for each in tried)

    timeless = server.client.post(path, json={"text": ENTRY.replace("time: [at]", "time: [received]")}).json()[
        "preview"
    ]
    received = {row["index"]: row["received_at"] for row in server.rows("source:tills")}
    assert {each["index"]: each["columns"]["time"] for each in timeless} == received

    taken = server.client.post("/api/v1/formats", json={"text": ENTRY.replace("name: till\n", "name: okta\n")})
    assert "comes with Muniment" in taken.json()["error"]["reason"]
    accepted = server.client.post("/api/v1/formats", json={"text": ENTRY})
    assert accepted.status_code == 201, accepted.text
    assert server.one("action:format.accept target_id:till", 5)["outcome"] == "success"

    server.send(key, TILL[1])
    server.wait_until_visible()
    row = server.one("source:tills format:till", 10)
    assert (row["action"], row["outcome"], row["actor_id"]) == ("drawer.opened", "failure", "c1")
    assert len(server.rows("source:tills format:json")) == 6  # what was there stays as it was read
    assert "till" in server.get("/api/v1/sources")["formats"]

    server.client.post("/api/v1/rebuild")
    within(30, lambda: len(server.rows("source:tills format:till")) == 7, "a rebuild reads what was there")
    assert not [each for each in server.get("/api/v1/formats")["unknown"] if each["source"] == "tills"]

    server.stop()  # and a start finds it
    broken = server.folder / "formats" / "broken.yaml"
    broken.write_text("name: broken\ntitel: x\n")
    greedy = ENTRY.replace("name: till\n", "name: greedy\n").replace(
        "{tillEvent: {present: true}, drawer:", "{message:"
    )
    (server.folder / "formats" / "greedy.yaml").write_text(greedy)
    server.start()
    server.send(key, TILL[0])
    server.wait_until_visible()
    assert within(10, lambda: len(server.rows("source:tills format:till")) == 8, "the entry is forgotten by a start")
    problems = server.get("/api/v1/status")["problems"]
    assert any("broken.yaml" in problem for problem in problems)
    assert any("greedy.yaml: it would take records that entries of Muniment read" in problem for problem in problems)
    assert "greedy" not in server.get("/api/v1/sources")["formats"]

    assert server.client.delete("/api/v1/formats/okta").status_code == 404
    assert server.client.delete("/api/v1/formats/till").json()["name"] == "till"
    server.send(key, TILL[2])
    server.wait_until_visible()
    within(10, lambda: server.rows("source:tills format:json"), "it is still in force")


def test_an_entry_for_all_of_a_source_and_lines_of_a_program(server: LiveServer) -> None:
    key = _add_source(server, "doors")
    lines = [
        {"syslog": {"facility": "local0", "severity": "info", "pri": 134, "timestamp": "2026-11-23T09:00:00Z", "hostname": "gate-1",
                    "app": "doord", "message": f"badge {n}: user=anna from 203.0.113.{n} denied"}}
        for n in range(4)
    ]  # fmt: skip
    server.send(key, *lines)
    server.wait_until_visible()
    group = _group(server, "doors")
    assert group["program"] == "doord"
    suggested = server.get(f"/api/v1/formats/{group['id']}")
    assert "name: doord" in suggested["text"]
    assert {each["columns"]["actor_name"] for each in suggested["preview"]} == {"anna"}
    assert {each["columns"]["outcome"] for each in suggested["preview"]} == {"failure"}
    accepted = server.client.post("/api/v1/formats", json={"text": suggested["text"], "source": "doors"})
    assert accepted.status_code == 201, accepted.text
    server.send(key, lines[0])
    server.wait_until_visible()
    assert server.one("source:doors format:doord", 10)["actor_name"] == "anna"
    assert {each["id"]: each["format"] for each in server.get("/api/v1/sources")["sources"]}["doors"] == "doord"


def test_optional_keys_make_no_groups_of_their_own_and_two_products_do(server: LiveServer) -> None:
    key = _add_source(server, "mixed")
    till = [{**TILL[n], **({"amount": n} if n % 2 else {}), **({"reason": "x"} if n % 3 else {})} for n in range(6)]
    gate = [
        {"at": "2026-11-23T09:00:00Z", "badgeNo": n, "gateState": "open", "lane": 3, "guard": "bob"} for n in range(4)
    ]
    server.send(key, *till, *gate)
    server.wait_until_visible()
    _group(server, "mixed")
    groups = [each for each in server.get("/api/v1/formats")["unknown"] if each["source"] == "mixed"]
    assert [(each["count"], each["keys"]) for each in groups] == [
        (6, "at attendant drawer origin tillEvent verdict"),
        (4, "at badgeNo gateState guard lane"),
    ]
    suggested = server.get(f"/api/v1/formats/{groups[0]['id']}")
    assert len(suggested["preview"]) == 6
    recognise = next(line for line in suggested["text"].splitlines() if "present: true" in line)
    assert "amount" not in recognise
    assert "reason" not in recognise


def test_what_everybody_has_is_neither_suggested_nor_accepted(server: LiveServer) -> None:
    key = _add_source(server, "badges")
    server.send(key, {"message": '2026-11-28 08:02:40,004777,"Okafor, Ben",HQ,IN,DENIED,No'})
    server.wait_until_visible()
    group = _group(server, "badges")
    suggested = server.get(f"/api/v1/formats/{group['id']}")
    assert suggested["text"] == ""
    assert "nothing in these records tells them from those of others" in suggested["problem"]
    browser = server.session()
    page = browser.get(f"/formats/{group['id']}").text
    assert "set the format of that source" in page
    assert "Accept it" not in page

    greedy = ENTRY.replace("{tillEvent: {present: true}, drawer:", "{message:")
    refused = server.client.post("/api/v1/formats", json={"text": greedy})
    assert refused.status_code == 400
    assert (refused.json()["error"]["field"], "till" in server.get("/api/v1/sources")["formats"]) == (
        "entry.yaml",
        False,
    )
    assert "narrow what stands under `recognise:`" in refused.json()["error"]["reason"]
    alone = greedy.replace("recognise:\n  - {message: {present: true}}\n", "")
    assert server.client.post("/api/v1/formats", json={"text": alone, "source": "badges"}).status_code == 201
    key = _add_source(server, "hosts")
    server.send(key, {"message": "sshd[7]: Failed password for root from 203.0.113.7 port 22 ssh2"})
    server.wait_until_visible()
    row = server.one("source:hosts", 10)
    assert (row["actor_name"], row["src_ip"], row["outcome"]) == ("root", "203.0.113.7", "failure")


def test_the_pages(server: LiveServer) -> None:
    key = _add_source(server, "tills")
    server.send(key, *TILL)
    server.wait_until_visible()
    group = _group(server, "tills")
    browser = server.session()
    assert 'href="/formats"' in browser.get("/sources").text
    assert f'href="/formats/{group["id"]}"' in browser.get("/formats").text
    page = browser.get(f"/formats/{group['id']}")
    assert "Suggested entry" in page.text
    form = {"csrf": browser.headers["x-csrf-token"], "text": ENTRY.replace("\n", "\r\n"), "do": "try"}
    tried = browser.post(f"/formats/{group['id']}", data=form)
    assert tried.status_code == 200, tried.text[:2_000]
    assert "drawer.opened" in tried.text
    wrong = browser.post(f"/formats/{group['id']}", data=form | {"text": "name: [\n"})
    assert wrong.status_code == 400
    assert "entry.yaml:" in wrong.text
    emptied = browser.post(f"/formats/{group['id']}", data=form | {"text": ""})
    assert (emptied.status_code, "<textarea" in emptied.text) == (400, True)  # and what was typed can be typed again
    done = browser.post(f"/formats/{group['id']}", data=form | {"do": "accept", "for_source": "1"})
    assert (done.status_code, done.headers["location"]) == (303, "/formats?done=accepted")
    listed = browser.get("/formats?done=accepted").text
    assert "in force" in listed
    assert "Tills" in listed
    record = json.loads(server.get(f"/api/v1/events/{server.one('action:format.accept', 5)['index']}")["record"])
    assert record["metadata"]["source"] == "tills"
    reader = server.session("anna", "reader")
    assert reader.get("/formats").status_code == 403
    removed = browser.post("/formats/own/till/remove", data={"csrf": form["csrf"]})
    assert removed.headers["location"] == "/formats?done=removed"
    assert "Tills" not in browser.get("/formats").text


def test_a_group_without_a_draft_is_read_with_an_entry_of_the_catalogue(server: LiveServer) -> None:
    key = _add_source(server, "badges")
    line = {"message": '2026-11-28 08:02:40,004777,"Okafor, Ben",HQ,IN,DENIED,No'}
    server.send(key, line)
    alone = ENTRY.replace("recognise:\n  - {tillEvent: {present: true}, drawer: {present: true}}\n", "")
    assert server.client.post("/api/v1/formats", json={"text": alone}).status_code == 201
    server.wait_until_visible()
    group = _group(server, "badges")
    browser, url = server.session(), f"/formats/{group['id']}"
    page = browser.get(url).text
    assert "Read it with an entry of the catalogue" in page
    assert 'value="till"' in page
    assert 'value="muniment"' not in page
    form = {"csrf": browser.headers["x-csrf-token"], "entry": "till", "do": "try-entry"}
    tried = browser.post(url, data=form)
    assert (tried.status_code, 'value="till" selected' in tried.text) == (200, True)
    assert "<dt>target_type</dt><dd>drawer</dd>" in tried.text
    assert "Read badges with it" in tried.text
    assert _format(server, "badges") == "auto"  # trying changes nothing
    for do in ("try-entry", "read-as"):
        told = browser.post(url, data=form | {"entry": "no_such_entry", "do": do})
        assert (told.status_code, "no_such_entry" in told.text) == (400, True)
    done = browser.post(url, data=form | {"do": "read-as"})
    assert (done.status_code, done.headers["location"]) == (303, "/formats?done=read-as")
    assert "is read with the entry you chose" in browser.get("/formats?done=read-as").text
    server.send(key, line | {"n": 2})
    assert server.one("source:badges format:till", 10)["target_type"] == "drawer"
    record = json.loads(server.get(f"/api/v1/events/{server.one('action:source.change', 5)['index']}")["record"])
    assert (record["metadata"], record["targets"]) == (
        {"format": "till", "before": "auto"},
        [{"type": "source", "id": "badges"}],
    )


def test_muniments_own_records_are_read_as_they_are_and_a_trial_is_of_one_entry(server: LiveServer) -> None:
    for source in ("muniment", "muniment.alerts"):
        refused = server.client.post(f"/api/v1/sources/{source}/format", json={"format": "json"})
        assert (refused.status_code, _format(server, source) == "json") == (400, False)
        refused = server.client.post("/api/v1/formats", json={"text": ENTRY, "source": source})
        assert (refused.status_code, "till" in server.get("/api/v1/sources")["formats"]) == (400, False)
    assert server.client.post("/api/v1/sources/nobody/format", json={"format": "json"}).status_code == 404
    for body in ({}, {"text": ENTRY, "entry": "json"}):
        assert server.client.post("/api/v1/formats/x/try", json=body).status_code == 400


def _format(server: LiveServer, source: str) -> str:
    return {str(each["id"]): str(each["format"]) for each in server.get("/api/v1/sources")["sources"]}[source]
