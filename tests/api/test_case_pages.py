"""The pages of cases: one click from an alert, refusals beside their fields, links from what a case is about."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.test_case_operations import _event, _tries
from tests.live import LiveServer, within

ADDRESS, SECOND = "198.18.61.9", "198.18.62.9"


@pytest.fixture(scope="module")
def server(live_server: LiveServer) -> LiveServer:
    key = live_server.key_for("page-door", "sealed")
    live_server.send(key, *_tries(ADDRESS), _event("user.login", "success", "p.age", ADDRESS, 200), *_tries(SECOND))
    within(30, lambda: _alert(live_server, ADDRESS) and _alert(live_server, SECOND), "no alerts")
    return live_server


def _alert(server: LiveServer, address: str) -> str:
    found = server.get("/api/v1/alerts", entity=address, sort="gravest")["alerts"]
    return str(found[0]["uid"]) if found else ""


@pytest.fixture(scope="module")
def ana(server: LiveServer) -> httpx.Client:
    return server.session("ana", "analyst")


def _send(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return client.post(path, data={"csrf": client.headers["x-csrf-token"], **fields})


def _case(server: LiveServer, ana: httpx.Client, address: str = ADDRESS) -> str:
    return _send(ana, "/cases", alert=_alert(server, address)).headers["location"]


def test_an_alerts_page_opens_a_case_and_then_leads_to_it(server: LiveServer, ana: httpx.Client) -> None:
    uid = _alert(server, ADDRESS)
    case = _send(ana, "/cases", alert=uid)
    assert case.status_code == 303
    path = case.headers["location"]
    assert re.fullmatch(r"/cases/[1-9]\d*", path)
    assert _send(ana, "/cases", alert=uid).headers["location"] == path
    page = ana.get(f"/alerts/{uid}").text
    assert f'In <a href="{path}">case' in page
    assert "Open a case" not in page
    shown = within(10, lambda: (text := ana.get(path).text) and "opened the case from" in text and text, "no timeline")
    assert "30 failed sign-ins" in shown
    assert "rule by Muniment" in shown
    assert "The MITRE Corporation" in shown
    assert f'href="/entities/address?v={ADDRESS}"' in shown
    assert path in ana.get("/cases").text
    assert path in ana.get("/cases?owner=ana").text
    assert path not in ana.get("/cases?state=closed").text


def test_what_a_case_is_about_leads_to_it(server: LiveServer, ana: httpx.Client) -> None:
    path = _case(server, ana)
    assert f'href="{path}"' in ana.get("/entities/address", params={"v": ADDRESS}).text
    assert f'href="{path}"' in ana.get("/entities/account", params={"v": "p.age"}).text
    other = ana.get("/entities/address", params={"v": "192.0.2.77"}).text
    assert "/cases/" not in other
    preview = ana.post("/api/v1/blocks/preview", json={"kind": "address", "value": SECOND}).json()
    body = {
        "kind": "address",
        "value": SECOND,
        "preview": preview["preview"],
        "reason": "x",
        "alert": _alert(server, SECOND),
    }
    block = ana.post("/api/v1/blocks", json=body).json()
    assert "Open a case" in ana.get(f"/blocks/{block['id']}").text
    second = _case(server, ana, SECOND)
    page = ana.get(f"/blocks/{block['id']}").text
    assert f'href="{second}"' in page
    assert "Open a case" not in page
    within(10, lambda: f"blocked {SECOND}" in ana.get(second).text, "the block is not in the timeline")
    ana.post(f"/api/v1/blocks/{block['id']}/undo")


def test_what_is_refused_is_told_beside_the_field_with_what_was_typed(server: LiveServer, ana: httpx.Client) -> None:
    path = _case(server, ana)
    version = re.search(r'name="version" value="(\d+)"', ana.get(path).text)
    assert version
    answer = _send(ana, f"{path}/state", state="closed", version=version[1], verdict="benign", reason=" ")
    assert answer.status_code == 400
    assert "say why" in answer.text
    assert re.search(r'<option value="benign" selected>', answer.text)
    answer = _send(ana, f"{path}/state", state="closed", version=version[1], verdict="", reason="it was nothing")
    assert answer.status_code == 400
    assert "say what it was" in answer.text
    assert 'value="it was nothing"' in answer.text
    stale = _send(ana, f"{path}/state", state="contained", version="999")
    assert stale.status_code == 409
    assert "changed it meanwhile" in stale.text
    for number in ("abc", "", "99999999999", "-1"):
        answer = _send(ana, f"{path}/marks", index=number, mark="pinned")
        assert answer.status_code in {400, 404}, number
        assert "record" in answer.text
    assert _send(ana, f"{path}/notes", text="  ").status_code == 400
    assert _send(ana, f"{path}/marks", index="1", mark="left_out", reason="").status_code == 400
    assert ana.get("/cases/abc").status_code == 404
    assert ana.get("/cases/99999").status_code == 404


def test_notes_are_text_and_names_of_others_do_no_harm(server: LiveServer, ana: httpx.Client) -> None:
    path = _case(server, ana)
    assert _send(ana, f"{path}/notes", text="<script>alert(1)</script>\u202eevil").status_code == 303
    page = ana.get(path).text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page


def test_a_case_is_taken_contained_closed_and_opened_again_by_forms(server: LiveServer, ana: httpx.Client) -> None:
    path = _case(server, ana, SECOND)
    ben = server.session("ben", "analyst")

    def version(client: httpx.Client) -> str:
        found = re.search(r'name="version" value="(\d+)"', client.get(path).text)
        assert found
        return found[1]

    assert _send(ben, f"{path}/owner", to="me", version=version(ben)).status_code == 303
    assert "ben&#39;s" in ana.get(path).text
    assert _send(ben, f"{path}/state", state="contained", version=version(ben)).status_code == 303
    assert "<b>Contained</b>" in ana.get(path).text
    fields = {"state": "closed", "verdict": "true_positive", "reason": "reset", "with_alerts": "1"}
    assert _send(ben, f"{path}/state", **fields, version=version(ben)).status_code == 303
    page = ana.get(path).text
    assert "Closed as true positive" in page
    assert "Pin a record" not in page
    assert path in ana.get("/cases?state=closed").text
    assert _send(ben, f"{path}/state", state="open", version=version(ben)).status_code == 303
    assert "Pin a record" in ana.get(path).text


def test_an_event_is_pinned_from_its_page(server: LiveServer, ana: httpx.Client) -> None:
    path = _case(server, ana)
    index = server.one("source:page-door ip:" + SECOND)["index"]
    assert f'href="/cases?pin={index}"' in ana.get(f"/events/{index}").text
    assert f'action="{path}/marks"' in ana.get(f"/cases?pin={index}").text
    assert _send(ana, f"{path}/marks", index=str(index), mark="pinned").status_code == 303
    assert "pinned by ana" in ana.get(path).text


def test_a_reader_looks_and_is_shown_nothing_to_decide(server: LiveServer, ana: httpx.Client) -> None:
    path, rea = _case(server, ana), server.session("rea", "reader")
    page = rea.get(path).text
    assert "30 failed sign-ins" in page
    assert 'method="post" action="/cases' not in page
    assert "/entities/" not in page
    for text in (page, rea.get("/cases").text, rea.get("/cases?state=closed").text):
        assert 'href="/alerts' not in text
    assert _send(rea, f"{path}/notes", text="x").status_code == 403
    assert _send(rea, "/cases", alert=_alert(server, ADDRESS)).status_code == 403
    assert rea.get(f"/api/v1{path}/evidence").status_code == 200


def test_an_erased_person_is_nowhere_in_a_case_and_it_still_reads(live_server: LiveServer) -> None:
    server, person, address = live_server, "quillfeather", "198.18.63.9"
    key = server.key_for("case-erased", "sealed")
    tries = [_event("user.login", "failure", person, address, 300 - k, metadata={"n": k}) for k in range(12)]
    server.send(key, *tries, _event("user.login", "success", person, address, 200))

    def critical() -> bool:
        return any(a["level"] == "critical" for a in server.get("/api/v1/alerts", entity=address)["alerts"])

    within(30, critical, "no alert")
    ana = server.session("ana", "analyst")
    path = _case(server, ana, address)
    _send(ana, f"{path}/notes", text=f"called {person}, who was on leave")
    within(10, lambda: f"{person} signed in" in json.dumps(server.get(f"/api/v1{path}")), "no timeline")
    first = server.reader(role="administrator", owner="first")
    asked = first.post(
        "/api/v1/erasures", json={"identifier": person, "source": "case-erased", "reason": "request 9"}
    ).json()
    second = server.reader(role="administrator", owner="second")
    assert second.post(f"/api/v1/erasures/{asked['number']}/approval").status_code == 202
    within(60, lambda: not server.rows(f"actor:{person} source:case-erased"), "not erased")
    found = within(
        30,
        lambda: (f := server.get(f"/api/v1{path}"))["notes"][0]["text"] == "called [erased], who was on leave" and f,
        "the note names them",
    )
    within(30, lambda: person not in json.dumps(server.get(f"/api/v1{path}")), "the records of the case name them")
    number = path.rpartition("/")[2]
    note = server.get(f"/api/v1/events/{server.one(f'action:case.note target_id:{number}')['index']}")
    assert "$sealed" in note["record"]
    assert person not in json.dumps(note)
    found = server.get(f"/api/v1{path}")
    assert "noted: (erased)" in [line["text"] for line in found["lines"]]
    assert [line for line in found["lines"] if line["kind"] == "event"], "its events are gone"
    assert ana.get(path).status_code == 200
    assert server.client.get(f"/api/v1{path}/evidence").status_code == 200


def test_a_case_and_what_was_not_recorded_yet_survive_a_kill(tmp_path: Path) -> None:
    """The server dies between the decision and its record: the next one writes the record, once."""
    server = LiveServer(tmp_path)
    server.start()
    try:
        key = server.key_for("door", "clear")
        server.send(key, *_tries(ADDRESS))
        uid = within(30, lambda: _alert(server, ADDRESS), "no alert")
        case = server.client.post("/api/v1/cases", json={"alert": uid}).json()["case"]
        server.client.post("/api/v1/cases/1/notes", json={"text": "before"}).raise_for_status()
        server.kill()
        record = (
            b'{"action":"case.note","class_uid":2005,"activity_id":2,"actor":{"type":"user","id":"ana"},"outcome":"success",'
            b'"occurred_at":"2026-11-29T10:00:00Z","targets":[{"type":"case","id":"1"},{"type":"case_words","id":"left behind"}]}'
        )
        left = str(uuid.uuid4())
        with sqlite3.connect(next((tmp_path / "data").glob("*.db"))) as database:
            database.execute("INSERT INTO case_acts (id, at, record) VALUES (?, ?, ?)", (left, 1, record))
        server.start()
        found: list[dict[str, Any]] = within(
            20, lambda: server.rows("action:case.note actor_id:ana"), "it is not recorded"
        )
        assert len(found) == 1
        assert server.get("/api/v1/cases/1")["case"]["alerts"] == case["alerts"]
        assert [note["text"] for note in server.get("/api/v1/cases/1")["notes"]] == ["before"]
        # Put once more under its id, as if we had died before the row was taken away: the ledger knows it.
        with sqlite3.connect(next((tmp_path / "data").glob("*.db"))) as database:
            database.execute("INSERT INTO case_acts (id, at, record) VALUES (?, ?, ?)", (left, 1, record))
        server.client.post("/api/v1/cases/1/notes", json={"text": "after"}).raise_for_status()
        within(10, lambda: len(server.rows("action:case.note")) >= 3, "the note is not recorded")
        assert len(server.rows("action:case.note actor_id:ana")) == 1
    finally:
        server.stop()
