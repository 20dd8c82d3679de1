"""A case from an alert: one however often it is asked for, its timeline out of the log, decided about by people, each act a record."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.live import LiveServer, within

from muniment.sources.ocsf_schema import problems

ATTACKER, OTHER, SCANNER, NOTED, LAST = (f"198.18.{31 + k}.9" for k in range(5))


def _event(action: str, outcome: str, who: str, address: str, ago: int, **more: Any) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))
    return {
        "action": action, "outcome": outcome, "actor": {"id": who, "name": who}, "context": {"ip": address},
        "occurred_at": at, **more,
    }  # fmt: skip


def _tries(address: str, n: int = 30) -> list[dict[str, Any]]:
    return [_event("user.login", "failure", f"user{k % 7}", address, 300 - k, metadata={"n": k}) for k in range(n)]


@pytest.fixture(scope="module")
def server(live_server: LiveServer) -> LiveServer:
    """One address tries thirty times, gets in as m.case, makes itself a key, takes customers along; another one only tries."""
    key = live_server.key_for("case-door", "sealed")
    live_server.send(
        key, *_tries(ATTACKER), _event("user.login", "success", "m.case", ATTACKER, 200),
        _event("token.create", "success", "m.case", ATTACKER, 150, targets=[{"type": "token", "id": "t-1"}]),
        *[_event("customer.export", "success", "m.case", ATTACKER, 140 - 2 * k, targets=[{"type": "list", "id": f"p{k}"}])
          for k in range(48)],
    )  # fmt: skip
    for address in (OTHER, SCANNER, NOTED, LAST):
        live_server.send(key, *_tries(address))
    wanted = ("m.case", ATTACKER, OTHER, SCANNER, NOTED, LAST)
    within(30, lambda: all(_alerts(live_server, each) for each in wanted), "no alerts")
    within(30, lambda: _alerts(live_server, ATTACKER)[0]["level"] == "critical", "nobody was let in")
    return live_server


def _alerts(server: LiveServer, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/api/v1/alerts", entity=address, sort="gravest")["alerts"]
    return found


def _open(server: LiveServer, address: str) -> dict[str, Any]:
    answer = server.client.post("/api/v1/cases", json={"alert": _alerts(server, address)[0]["uid"]})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["case"]
    return found


def _post(server: LiveServer, case: dict[str, Any], what: str, **body: Any) -> dict[str, Any]:
    answer = server.client.post(f"/api/v1/cases/{case['number']}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _whole(server: LiveServer, case: dict[str, Any]) -> dict[str, Any]:
    """The case, once its timeline has its alerts and its opening."""

    def look() -> Any:
        found = server.get(f"/api/v1/cases/{case['number']}")
        kinds = {line["kind"] for line in found["lines"]} | {line["action"] for line in found["lines"]}
        return found if {"alert", "case.open"} <= kinds else None

    found: dict[str, Any] = within(10, look, "the case is not in its own timeline")
    return found


def _record(server: LiveServer, q: str) -> dict[str, Any]:
    event = server.get(f"/api/v1/events/{server.one('source:muniment ' + q, 5)['index']}")
    return {**json.loads(event["record"]), "ocsf": event["ocsf"]}


def test_whoever_may_not_handle_alerts_opens_nothing_but_may_look(server: LiveServer) -> None:
    uid = _alerts(server, ATTACKER)[0]["uid"]
    assert server.nobody().get("/api/v1/cases").status_code == 401
    reader = server.reader()
    assert reader.post("/api/v1/cases", json={"alert": uid}).status_code == 403
    assert server.reader(scope="source:alpha").get("/api/v1/cases").status_code == 403
    case = _open(server, ATTACKER)
    assert reader.get(f"/api/v1/cases/{case['number']}").status_code == 200
    body = {"state": "contained", "version": case["version"]}
    for what, sent in (("state", body), ("notes", {"text": "x"}), ("alerts", {"alert": uid}), ("owner", {"version": 1}),
                       ("marks", {"index": 1, "mark": "pinned"})):  # fmt: skip
        assert reader.post(f"/api/v1/cases/{case['number']}/{what}", json=sent).status_code == 403, what


def test_twenty_who_open_the_same_alert_at_once_get_one_case(server: LiveServer) -> None:
    uid = _alerts(server, OTHER)[0]["uid"]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.client.post("/api/v1/cases", json={"alert": uid}).json(), range(20)))
    assert len({each["case"]["number"] for each in answers}) == 1
    assert sum(each["is_new"] for each in answers) == 1
    number = answers[0]["case"]["number"]
    within(5, lambda: server.rows(f"action:case.open target_id:{number}"), "no record")
    assert len(server.rows(f"source:muniment action:case.open target_id:{number}")) == 1
    assert _alerts(server, OTHER)[0]["state"] == "in_progress"


def test_acts_at_the_same_time_are_each_recorded_once(server: LiveServer) -> None:
    """Whoever is about to record its own act finds those of others, too; the ledger takes each once."""
    number = _open(server, NOTED)["number"]
    with ThreadPoolExecutor(16) as pool:
        path = f"/api/v1/cases/{number}/notes"
        answers = list(pool.map(lambda k: server.client.post(path, json={"text": f"note {k}"}).status_code, range(48)))
    assert set(answers) == {200}
    q = f"source:muniment action:case.note target_id:{number}"
    within(10, lambda: len(server.rows(q, limit=200)) >= 48, "not all are recorded")
    server.wait_until_visible()
    assert len(server.rows(q, limit=200)) == 48
    assert len(server.get(f"/api/v1/cases/{number}")["notes"]) == 48


def test_an_opened_case_is_an_incident_finding_in_the_ledger(server: LiveServer) -> None:
    case = _open(server, ATTACKER)
    said = _record(server, f"action:case.open target_id:{case['number']}")
    assert said["ocsf"]["class_uid"] == 2005
    assert said["ocsf"]["activity_name"] == "Create"
    assert said["ocsf"]["finding_info_list"][0]["uid"] == str(case["number"])
    assert problems(said["ocsf"]) == []
    assert said["metadata"]["alerts"] == [each["uid"] for each in case["alerts"]]


def test_the_timeline_folds_what_is_alike_and_tells_what_is_telling(server: LiveServer) -> None:
    case = _open(server, ATTACKER)
    found = _whole(server, case)
    texts = [line["text"] for line in found["lines"]]
    assert "30 failed sign-ins as 7 accounts" in texts
    assert "m.case signed in" in texts
    assert any(text.startswith("m.case: token.create t-1") for text in texts), texts
    assert "m.case: customer.export, 48 times, 48 targets" in texts
    tried = next(line for line in found["lines"] if line["text"].startswith("30 failed"))
    assert (tried["address"], tried["source"], tried["phase"]) == (ATTACKER, "case-door", "Credential Access")
    assert texts.index("30 failed sign-ins as 7 accounts") < texts.index("m.case signed in")
    assert any(line["kind"] == "alert" for line in found["lines"])
    assert f"from {ATTACKER}" in found["case"]["sentence"]
    assert "m.case was let in" in found["case"]["sentence"]
    assert [each["value"] for each in found["case"]["about"] if each["kind"] == "address"] == [ATTACKER]
    assert not [line for line in found["lines"] if line["address"] == OTHER]
    assert found["without_rhythm"] == []
    assert found["sources"] == ["case-door"]


def test_what_people_did_is_in_the_timeline_and_what_they_wrote_is_sealed(server: LiveServer) -> None:
    case = _open(server, ATTACKER)
    preview = server.client.post("/api/v1/blocks/preview", json={"kind": "address", "value": ATTACKER}).json()
    body = {"kind": "address", "value": ATTACKER, "preview": preview["preview"], "reason": "guessing", "hours": 1}
    block = server.client.post("/api/v1/blocks", json=body)
    assert block.status_code == 201, block.text
    _post(server, case, "notes", text="called m.case at home: was not them")
    _post(server, case, "notes", text="called m.case at home: was not them")
    server.client.post(f"/api/v1/alerts/{case['alerts'][0]['uid']}/comment", json={"text": "looks real"})

    def told() -> Any:
        texts = [line["text"] for line in server.get(f"/api/v1/cases/{case['number']}")["lines"]]
        return texts if any("looks real" in text for text in texts) else None

    texts = within(10, told, "the comment is not in it")
    assert "asked a second person to block " + ATTACKER + ": guessing" in texts, texts
    assert texts.count("noted: called m.case at home: was not them") == 1
    assert any(text.startswith("took up") for text in texts)
    note = server.one(f"action:case.note target_id:{case['number']}", 5)
    proof = server.client.get(f"/api/v1/events/{note['index']}/proof", params={"format": "json"}).json()
    assert b"at home" not in base64.b64decode(proof["record"])
    assert b"$sealed" in base64.b64decode(proof["record"])
    server.client.post(f"/api/v1/blocks/{block.json()['id']}/undo")


def test_a_line_that_is_taken_out_is_said_and_a_pinned_event_stays(server: LiveServer) -> None:
    case = _open(server, ATTACKER)
    found = server.get(f"/api/v1/cases/{case['number']}")
    exports = next(line for line in found["lines"] if line["action"] == "customer.export")
    refused = server.client.post(
        f"/api/v1/cases/{case['number']}/marks", json={"index": exports["index"], "mark": "left_out"}
    )
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "reason")
    _post(server, case, "marks", index=exports["index"], mark="left_out", reason="a planned export")
    far = server.one("source:case-door ip:" + OTHER)["index"]
    _post(server, case, "marks", index=far, mark="pinned")
    found = within(
        5, lambda: (f := server.get(f"/api/v1/cases/{case['number']}"))["left_out"] and f, "it is not left out"
    )
    assert [(line["action"], line["mark_reason"]) for line in found["left_out"]] == [
        ("customer.export", "a planned export")
    ]
    assert not [line for line in found["lines"] if line["action"] == "customer.export"]
    assert [line["kind"] for line in found["lines"] if line["index"] == far] == ["pinned"]
    said = within(5, lambda: server.rows(f"action:case.leave_out target_id:{case['number']}"), "no record")
    assert said
    _post(server, case, "marks", index=exports["index"], mark="drafted")
    _post(server, case, "marks", index=far, mark="drafted")
    assert server.get(f"/api/v1/cases/{case['number']}")["left_out"] == []


def test_a_case_has_what_is_one_card_and_is_offered_to_what_else_is_about_the_same(server: LiveServer) -> None:
    case, other = _open(server, ATTACKER), _open(server, OTHER)
    card = {each["uid"] for each in _alerts(server, ATTACKER) if ATTACKER in each["group"].values()}
    assert {each["uid"] for each in case["alerts"]} >= card
    assert len(card) > 3
    assert not {each["uid"] for each in case["alerts"]} & {each["uid"] for each in other["alerts"]}
    exports = next(each for each in _alerts(server, "m.case") if ATTACKER not in each["group"].values())["uid"]
    offered = server.get("/api/v1/cases", alert=exports)
    assert (offered["cases"], [each["number"] for each in offered["near"]]) == ([], [case["number"]])
    assert exports in {each["uid"] for each in server.get(f"/api/v1/cases/{case['number']}")["others"]}
    taken = server.client.post(f"/api/v1/cases/{other['number']}/alerts", json={"alert": case["alerts"][0]["uid"]})
    assert taken.status_code == 409
    assert f"in case {case['number']} already" in taken.json()["error"]["reason"]
    added = _post(server, case, "alerts", alert=exports)
    assert added["alerts"][-1]["uid"] == exports
    assert _post(server, case, "alerts", alert=exports)["version"] == added["version"]
    assert [each["number"] for each in server.get("/api/v1/cases", alert=exports)["cases"]] == [case["number"]]
    for kind, value in (("account", "M.CASE"), ("address", ATTACKER), ("range", "198.18.31.8/30")):
        found = server.get("/api/v1/cases", kind=kind, value=value)["cases"]
        assert [each["number"] for each in found] == [case["number"]], kind


def test_two_who_decide_at_once_do_not_overwrite_each_other(server: LiveServer) -> None:
    case = _open(server, OTHER)
    number = case["number"]
    ana, ben = server.session("ana", "analyst"), server.session("ben", "analyst")
    seen = ana.get(f"/api/v1/cases/{number}").json()["case"]
    assert (
        ana.post(f"/api/v1/cases/{number}/owner", json={"owner": "ana", "version": seen["version"]}).json()["owner"]
        == "ana"
    )
    late = ben.post(f"/api/v1/cases/{number}/state", json={"state": "contained", "version": seen["version"]})
    assert (late.status_code, late.json()["error"]["field"]) == (409, "version")
    assert "ana changed it meanwhile" in late.json()["error"]["reason"]
    assert server.get(f"/api/v1/cases/{number}")["case"]["state"] == "open"


def test_a_case_is_closed_with_a_verdict_and_a_reason_and_its_alerts_with_it(server: LiveServer) -> None:
    case = server.get(f"/api/v1/cases/{_open(server, SCANNER)['number']}")["case"]
    path, version = f"/api/v1/cases/{case['number']}/state", case["version"]
    for body, field in (
        ({"verdict": ""}, "verdict"),
        ({"verdict": "benign"}, "reason"),
        ({"verdict": "bad", "reason": "x"}, "verdict"),
    ):
        answer = server.client.post(path, json={"state": "closed", "version": version, **body})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    closed = {"state": "closed", "verdict": "false_positive", "reason": "our own scanner", "with_alerts": True}
    assert server.client.post(path, json={**closed, "version": version}).json()["state"] == "closed"
    said = _record(server, f"action:case.close target_id:{case['number']}")
    assert (said["ocsf"]["verdict"], said["ocsf"]["status"], said["ocsf"]["activity_name"]) == (
        "False Positive",
        "Closed",
        "Close",
    )
    assert problems(said["ocsf"]) == []
    assert {a["state"] for a in _alerts(server, SCANNER) if a["uid"] == case["alerts"][0]["uid"]} == {"suppressed"}
    rest = _alerts(server, LAST)[0]["uid"]
    refused = server.client.post(f"/api/v1/cases/{case['number']}/alerts", json={"alert": rest})
    assert refused.status_code == 409
    assert "open it again" in refused.json()["error"]["reason"]
    again = server.client.post(path, json={"state": "open", "version": version + 1}).json()
    assert (again["state"], again["verdict"], again["closed_at"]) == ("open", "", 0)


def test_the_evidence_file_holds_every_line_and_verifies_offline(server: LiveServer, tmp_path: Path) -> None:
    case = _open(server, ATTACKER)
    file = tmp_path / "case.zip"
    found = _whole(server, case)
    answer = server.client.get(f"/api/v1/cases/{case['number']}/evidence")
    assert answer.status_code == 200, answer.text
    file.write_bytes(answer.content)
    pinned = [part for key in server.get("/api/v1/log-keys")["vkeys"] for part in ("--vkey", key)]
    command = [sys.executable, "-m", "muniment.evidence", str(file), *pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(zipfile.ZipFile(io.BytesIO(answer.content)).read("summary.json"))
    inside = {each["index"] for each in summary["records"]}
    assert {
        line["index"] for line in found["lines"] if line["index"] >= 0 and line["action"] != "case.export"
    } <= inside
    sources = {each["source"] for each in summary["records"]}
    assert sources == {"case-door", "muniment", "muniment.alerts"}
    assert summary["case"]["records_in_this_file"] == len(inside) >= summary["case"]["events_of_the_lines"]
    assert server.reader(role="enforcer").get(f"/api/v1/cases/{case['number']}/evidence").status_code == 403
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "broken.zip", "w") as broken:
        for name in whole.namelist():
            content = whole.read(name)
            broken.writestr(name, content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("part0.json") else content)
    done = subprocess.run([*command[:3], str(tmp_path / "broken.zip"), *pinned], capture_output=True, check=False)
    assert done.returncode != 0


def test_every_look_at_a_case_is_one_record(server: LiveServer) -> None:
    number = _open(server, ATTACKER)["number"]
    browser = server.session("carla", "analyst")
    assert browser.get(f"/cases/{number}").status_code == 200
    said = _record(server, f"action:case.view target_id:{number} actor_id:carla")
    assert said["metadata"]["page"] == f"/cases/{number}"
    assert said["metadata"]["results"] > 40
    server.client.get(f"/api/v1/cases/{number}/evidence").raise_for_status()
    taken = _record(server, f"action:case.export target_id:{number}")
    assert taken["metadata"]["format"] == "evidence"
    assert len(taken["metadata"]["indexes"]) == min(100, taken["metadata"]["results"])


def test_there_is_no_case_of_nothing(server: LiveServer) -> None:
    assert server.client.post("/api/v1/cases", json={"alert": "a-1"}).json()["error"]["field"] == "alert"
    for path in ("", "/evidence"):
        assert server.client.get(f"/api/v1/cases/99999{path}").status_code == 404
    case = _open(server, ATTACKER)
    answer = server.client.post(f"/api/v1/cases/{case['number']}/marks", json={"index": 2**40, "mark": "pinned"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "index")
