"""Detection in a real server: rules from a folder, hot reload, exceptions, late events, kills; nothing counted twice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within
from tests.respond.servers import hooks

RULE = """title: A shop that is closed
id: 11111111-2222-4333-8444-555555555555
author: The shop team
level: {level}
logsource: {{product: muniment}}
detection:
  selection:
    action: shop.close
    record.metadata.city|contains: {city}
  condition: selection
"""
KEY = "11111111-2222-4333-8444-555555555555"
BRUTE_FORCE = "5d6a1c3e-3b1e-4d55-9d4f-2f7f2a6d7a03"


class RuledServer(LiveServer):
    """A server with a folder of rules."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rules = folder / "rules"
        self.rules.mkdir()
        self._settings = {**self._settings, "rules": str(self.rules), "detect_worker": "true"}

    def alerts(self, **params: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/alerts", **params)["alerts"]
        return found

    def evaluated(self) -> None:
        """Until the rules have seen all that was sent."""
        size = self.get("/api/v1/status")["ledger"]["size"]
        within(10, lambda: self.get("/api/v1/alerts", limit=1)["evaluated"]["position"] >= size, "rules are behind")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuledServer]:
    found = RuledServer(tmp_path_factory.mktemp("ruled"))
    (found.rules / "shop.yml").write_text(RULE.format(level="high", city="Bern"))
    found.start()
    yield found
    found.stop()
    assert "Traceback" not in found.log.read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def key(server: RuledServer) -> str:
    return server.key_for("shop", "sealed")


def _close(city: str, actor: str, **more: Any) -> dict[str, Any]:
    return {"action": "shop.close", "actor": {"id": actor, "name": actor}, "metadata": {"city": city}, **more}


def _failed(number: int, address: str, at: str) -> dict[str, Any]:
    return {
        "action": "user.login",
        "outcome": "failure",
        "actor": {"id": f"u{number}"},
        "context": {"ip": address},
        "occurred_at": at,
    }


def test_a_correlation_whose_parts_are_switched_off_says_so(server: RuledServer) -> None:
    base = RULE.format(level="low", city="Thun").replace("-5555", "-5556").replace("author:", "name: thun\nauthor:")
    many = (
        "title: Many\nname: many\ncorrelation: {type: event_count, rules: [thun], timespan: 5m, condition: {gte: 2}}\n"
    )
    (server.rules / "thun.yml").write_text(f"{base}---\n{many}")
    within(10, lambda: any(each["key"] == "many" for each in server.get("/api/v1/rules")["rules"]), "not read")
    thun = next(each["rules"][0] for each in server.get("/api/v1/rules")["rules"] if each["key"] == "many")
    off = {"rule": thun, "is_on": False, "reason": "noisy"}
    server.client.post("/api/v1/rules/switch", json=off).raise_for_status()
    many_now = server.get("/api/v1/rules/one", rule="many")["rule"]
    assert (many_now["is_on"], many_now["off"], many_now["sources"]) == (True, ["A shop that is closed"], [])
    page = server.session().get("/rules/one", params={"rule": "many"}).text
    assert "It cannot fire without</b> A shop that is closed, switched off" in page
    (server.rules / "thun.yml").unlink()
    within(10, lambda: all(each["key"] != "many" for each in server.get("/api/v1/rules")["rules"]), "not taken out")


def test_what_rules_say_they_have_seen_counts_sources_that_never_spoke(server: RuledServer) -> None:
    def told() -> tuple[int, int]:
        found = server.get("/api/v1/rules")["evaluated"]
        return found["n_fresh"], found["n_sources"]

    fresh, there = told()
    key = server.key_for("speaks-later", "clear")
    assert told() == (fresh, there + 1)
    server.send(key, {"action": "shop.open"})
    server.one("source:speaks-later", 10)
    assert told() == (fresh + 1, there + 1)


def test_what_one_rule_says_it_has_seen_counts_the_sources_that_feed_it(server: RuledServer, key: str) -> None:
    """Others may be silent for ever: what they know is nothing that this rule is about."""
    server.key_for("never-a-shop", "clear")
    server.send(server.key_for("other-work", "clear"), {"action": "door.open"})
    server.send(server.key_for("second-shop", "clear"), _close("Chur", "ruth"))
    server.send(key, _close("Chur", "ruth"))
    server.one("source:shop", 10)
    server.one("source:second-shop", 10)

    def told() -> dict[str, Any]:
        found = server.get("/api/v1/rules/one", rule=KEY)
        return found if len(found["rule"]["sources"]) == 2 else {}

    found = within(10, told, "what has just come feeds no rule")
    assert found["rule"]["sources"] == ["second-shop", "shop"]
    seen = found["evaluated"]
    assert (seen["n_fresh"], seen["n_sources"]) == (2, 2)
    assert abs(found["fed_at"] - time.time_ns()) < 120e9
    of_alerts = server.get("/api/v1/alerts", rule=KEY)["evaluated"]
    assert (of_alerts["n_fresh"], of_alerts["n_sources"]) == (2, 2)
    everybody = server.get("/api/v1/rules")["evaluated"]
    assert everybody["n_sources"] == server.get("/api/v1/alerts")["evaluated"]["n_sources"] > 4
    page = server.session().get("/rules/one", params={"rule": KEY}).text
    assert "for 2 of 2 sources that feed it" in page
    assert "in seven days, as of " in page


def test_a_rule_that_nothing_feeds_says_so_and_one_about_alerts_is_about_every_source(server: RuledServer) -> None:
    within(10, lambda: server.get("/api/v1/rules")["evaluated"]["to_time"], "nothing is evaluated")
    rules = server.get("/api/v1/rules")["rules"]
    paper = next(each["key"] for each in rules if not each["sources"] and each["logsource"])
    assert server.get("/api/v1/rules/one", rule=paper)["evaluated"]["n_sources"] == 0
    assert "; no source feeds it" in server.session().get("/rules/one", params={"rule": paper}).text
    first, whole = (server.session().get("/rules", params={"show": "all", **more}).text for more in ({}, {"more": "1"}))
    assert first.count('<tr><th scope="row"><a href="/rules/one') == 50
    assert f"Show the other {len(rules) - 50}" in first
    assert whole.count('<tr><th scope="row"><a href="/rules/one') == len(rules)
    risk = next(each["key"] for each in rules if each["kind"] == "risk")
    every = server.get("/api/v1/rules")["evaluated"]["n_sources"]
    assert server.get("/api/v1/rules/one", rule=risk)["evaluated"]["n_sources"] == every


def test_a_match_is_an_alert_with_its_author_and_a_sealed_record(server: RuledServer, key: str) -> None:
    server.send(key, _close("Bern", "ruth"), _close("Basel", "ruth"))
    alert = within(5, lambda: server.alerts(rule=KEY), "no alert")[0]
    assert (alert["title"], alert["author"], alert["level"], alert["count"]) == (
        "A shop that is closed",
        "The shop team",
        "high",
        1,
    )
    assert alert["group"]["actor"] == "ruth"
    row = server.one(f"source:muniment.alerts target_id:{alert['uid']}")
    event = server.get(f"/api/v1/events/{row['index']}")
    assert event["ocsf"]["class_uid"] == 2004
    assert event["ocsf"]["finding_info"]["uid"] == alert["uid"]
    proof = server.get(f"/api/v1/events/{row['index']}/proof", format="json")
    sealed = base64.b64decode(proof["record"])
    assert b"A shop that is closed" in sealed
    assert b"$sealed" in sealed
    assert b"ruth" not in sealed


def test_matches_of_one_person_are_one_alert(server: RuledServer, key: str) -> None:
    server.send(key, *(_close("Bern", "paul") for _ in range(5)))
    server.send(key, *(_close("Bern", "eva") for _ in range(3)))
    server.evaluated()
    counts = {alert["group"]["actor"]: alert["count"] for alert in server.alerts(rule=KEY)}
    assert counts["paul"] == 5
    assert counts["eva"] == 3


def test_rules_are_read_again_when_a_file_changes_and_a_broken_one_stops_nothing(server: RuledServer, key: str) -> None:
    (server.rules / "broken.yml").write_text(
        "title: Broken\nlogsource: {product: muniment}\ndetection:\n  s: {a|re: '('}\n  condition: s\n"
    )
    (server.rules / "shop.yml").write_text(RULE.format(level="low", city="Chur"))

    def refused() -> list[str]:
        return [each["reason"] for each in server.get("/api/v1/rules")["refused"]]

    assert "RE2" in within(10, refused, "the broken rule is not told")[0] or "(" in refused()[0]
    server.send(key, _close("Chur", "nina"))
    assert (
        within(5, lambda: [a for a in server.alerts(rule=KEY) if a["group"]["actor"] == "nina"], "no alert")[0]["level"]
        == "low"
    )
    (server.rules / "broken.yml").unlink()
    within(10, lambda: not refused(), "the broken rule is still told")
    assert server.one("source:muniment action:rules.reload", 10)


def test_an_exception_hides_counts_and_ends(server: RuledServer, key: str) -> None:
    body = {"rule": KEY, "query": "actor:janitor", "reason": "closes every evening", "days": 1}
    made = server.client.post("/api/v1/rules/exceptions", json=body).json()
    server.send(key, _close("Chur", "janitor"), _close("Chur", "stranger"))
    server.evaluated()
    assert [a for a in server.alerts(rule=KEY) if a["group"]["actor"] == "stranger"]
    assert not [a for a in server.alerts(rule=KEY) if a["group"]["actor"] == "janitor"]
    listed = server.get("/api/v1/rules/exceptions")["exceptions"]
    assert [each["hidden"] for each in listed if each["number"] == made["number"]] == [1]
    server.client.post(f"/api/v1/rules/exceptions/{made['number']}/end")
    server.send(key, _close("Chur", "janitor"))
    within(5, lambda: [a for a in server.alerts(rule=KEY) if a["group"]["actor"] == "janitor"], "still hidden")
    for wrong in ({**body, "query": "actor:("}, {**body, "reason": " "}, {**body, "rule": "none"}, {**body, "days": 0}):
        assert server.client.post("/api/v1/rules/exceptions", json=wrong).status_code in {400, 404}, wrong


def test_a_rule_is_switched_off_with_a_reason_and_a_back_test_still_runs(server: RuledServer, key: str) -> None:
    off = {"rule": KEY, "is_on": False, "reason": "renovation"}
    assert server.client.post("/api/v1/rules/switch", json=off).json()["is_on"] is False
    server.send(key, _close("Chur", "ghost"))
    server.evaluated()
    assert not [a for a in server.alerts(rule=KEY) if a["group"]["actor"] == "ghost"]
    tested = server.client.post("/api/v1/rules/backtest", json={"rule": KEY, "start": "-1d"}).json()
    assert tested["hits"] >= 4
    shown = server.get(f"/api/v1/events/{tested['indexes'][-1]}")
    assert shown["columns"]["actor_id"] == "ghost"
    server.client.post("/api/v1/rules/switch", json={**off, "is_on": True})
    alert = server.one("source:muniment.alerts action:alert.create*", 10)  # switching a rule off is an alert itself
    assert alert


def test_late_events_complete_a_window(server: RuledServer, key: str) -> None:
    now = time.time() - 600
    stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 10 * n)) for n in range(12)]
    late = stamps[3]
    early = [stamp for stamp in stamps[:9] if stamp != late]
    server.send(key, *(_failed(n, "203.0.113.91", stamp) for n, stamp in enumerate(early)))
    server.send(key, _failed(20, "203.0.113.92", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())))
    server.evaluated()
    assert not server.alerts(rule=BRUTE_FORCE, entity="203.0.113.91")
    server.send(key, _failed(21, "203.0.113.91", late), _failed(22, "203.0.113.91", stamps[9]))
    found = within(5, lambda: server.alerts(rule=BRUTE_FORCE, entity="203.0.113.91"), "late events are not counted")
    assert found[0]["count"] == 10


def test_a_person_is_done_with_an_alert_and_that_is_a_record(server: RuledServer, key: str) -> None:
    alert = server.alerts(rule=KEY)[0]
    path = f"/api/v1/alerts/{alert['uid']}/state"
    assert server.client.post(path, json={"state": "resolved"}).status_code == 400
    done = server.client.post(path, json={"state": "resolved", "reason": "it was Sunday"}).json()
    assert (done["state"], done["state_reason"]) == ("resolved", "it was Sunday")
    assert alert["uid"] not in {each["uid"] for each in server.alerts(state="open")}
    assert server.one(f"source:muniment action:alert.handle target_id:{alert['uid']}", 5)["outcome"] == "success"
    assert server.get(f"/api/v1/alerts/{alert['uid']}")["state"] == "resolved"
    assert server.one(f"source:muniment action:alert.view target_id:{alert['uid']}", 5)
    page = server.session("looker", "analyst").get(f"/alerts/{alert['uid']}")
    assert "it was Sunday" in page.text
    assert server.one("source:muniment action:alert.view actor:looker", 5)


def test_readers_without_the_permission_see_no_alerts(server: RuledServer) -> None:
    for client in (server.reader(), server.reader(scope="source:shop")):
        for path in (
            "/api/v1/alerts",
            "/api/v1/rules",
            "/api/v1/blocks",
            "/feeds/addresses.txt",
            "/api/v1/entities/address/203.0.113.91",
        ):
            assert client.get(path).status_code == 403, path
    assert server.nobody().get("/feeds/addresses.txt").status_code == 401


def test_after_a_kill_alerts_are_there_and_count_nothing_twice(tmp_path: Path) -> None:
    server = RuledServer(tmp_path)
    (server.rules / "shop.yml").write_text(RULE.format(level="high", city="Bern"))
    server.start()
    key = server.key_for("shop", "clear")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    server.send(
        key, *(_close("Bern", "ruth") for _ in range(7)), *(_failed(n, "203.0.113.50", stamp) for n in range(9))
    )
    server.evaluated()
    before = server.alerts(rule=KEY)
    server.kill()
    server.start()
    server.send(key, _failed(9, "203.0.113.50", stamp))
    found = within(
        10, lambda: server.alerts(rule=BRUTE_FORCE, entity="203.0.113.50"), "the window is forgotten after a kill"
    )
    assert found[0]["count"] == 10
    assert [(a["uid"], a["count"]) for a in before] == [(a["uid"], a["count"]) for a in server.alerts(rule=KEY)]
    assert before[0]["count"] == 7
    server.stop()


def test_a_killed_process_of_rules_is_started_again_and_forgets_and_doubles_nothing(tmp_path: Path) -> None:
    server = RuledServer(tmp_path)
    (server.rules / "shop.yml").write_text(RULE.format(level="high", city="Bern"))
    server.start()
    key = server.key_for("shop", "sealed")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    server.send(key, *(_failed(n, "203.0.113.60", stamp) for n in range(9)))
    server.evaluated()
    killed = server.children_of("muniment.detect.worker")
    assert len(killed) == 1
    os.kill(killed[0], signal.SIGKILL)
    server.send(key, _failed(9, "203.0.113.60", stamp), *(_close("Bern", "ruth") for _ in range(3)))
    server.evaluated()
    assert server.alerts(rule=BRUTE_FORCE, entity="203.0.113.60")[0]["count"] == 10
    assert [alert["count"] for alert in server.alerts(rule=KEY)] == [3]
    assert server.children_of("muniment.detect.worker") not in ([], killed)
    assert server.get("/api/v1/alerts", limit=1)["evaluated"]["problem"] == ""
    server.stop()
    assert not Path(f"/proc/{killed[0]}").exists()


def test_blocks_of_two_people(server: RuledServer, key: str) -> None:
    event = {"action": "user.login", "actor": {"id": "anna"}, "context": {"ip": "198.51.100.200"}, "outcome": "success"}
    server.send(key, event)
    server.wait_until_visible()
    first, second = server.session("first", "analyst"), server.session("second", "analyst")
    asked = _block(first, "address", "198.51.100.200")
    assert asked["state"] == "asked"
    assert "198.51.100.200" not in first.get("/feeds/addresses.txt").text
    path = f"/api/v1/blocks/{asked['id']}/approve"
    assert first.post(path).status_code == 403
    assert second.post(path).json()["state"] == "active"
    assert "198.51.100.200\n" in first.get("/feeds/addresses.txt").text
    check = (
        server.reader(role="enforcer").get("/api/v1/blocks/check", params={"address": "::ffff:198.51.100.200"}).json()
    )
    assert check["is_blocked"] is True
    assert first.post(f"/api/v1/blocks/{asked['id']}/undo").json()["state"] == "undone"
    assert first.get("/feeds/addresses.txt").text == ""
    assert second.post(path).status_code == 409


def _block(client: httpx.Client, kind: str, value: str) -> dict[str, Any]:
    preview = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    body = {"kind": kind, "value": value, "preview": preview["preview"], "reason": "test", "hours": 1}
    answer = client.post("/api/v1/blocks", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_block_keeps_the_whole_id_of_its_alert(server: RuledServer, key: str) -> None:
    server.send(key, *(_close("Bern", "rosa") for _ in range(3)))
    server.evaluated()
    uid = server.alerts(rule=KEY)[0]["uid"]
    with closing(server.session("fifth", "analyst")) as client:
        preview = client.post("/api/v1/blocks/preview", json={"kind": "account", "value": "rosa.x"}).json()
        body = {"kind": "account", "value": "rosa.x", "preview": preview["preview"], "reason": "test", "alert": uid[:8]}
        made = client.post("/api/v1/blocks", json=body).json()
        assert made["alert"] == uid
        assert f"/alerts/{uid}" in client.get(f"/blocks/{made['id']}").text


def test_a_ticket_is_for_what_and_whom_it_was_made(server: RuledServer) -> None:
    first, second = server.session("third", "analyst"), server.session("fourth", "analyst")
    ticket = first.post("/api/v1/blocks/preview", json={"kind": "address", "value": "203.0.113.201"}).json()["preview"]
    body = {"kind": "address", "value": "203.0.113.201", "preview": ticket, "reason": "x"}
    assert second.post("/api/v1/blocks", json=body).status_code == 409
    assert first.post("/api/v1/blocks", json={**body, "value": "203.0.113.202"}).status_code == 409
    assert first.post("/api/v1/blocks", json={**body, "preview": "0." + ticket.partition(".")[2]}).status_code == 409
    assert first.post("/api/v1/blocks", json=body).status_code == 201
    assert first.post("/api/v1/blocks", json=body).status_code == 409


def test_people_are_told_signed_once_and_silences_hold(tmp_path: Path) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    (tmp_path / "secret").write_text(secret)
    server = RuledServer(tmp_path)
    (server.rules / "shop.yml").write_text(RULE.format(level="high", city="Bern"))
    with hooks() as receiver:
        receiver.script.append(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        notify = tmp_path / "notify.toml"
        notify.write_text(
            f'allow = ["127.0.0.0/8", "::1/128"]\n[channels.soc]\nkind = "webhook"\nurl = "{receiver.url("/secret-path")}"\n'
            f'secrets_file = "{tmp_path}/secret"\n[[routes]]\nchannels = ["soc"]\nseverity = "medium"\n'
        )
        server._settings = {**server._settings, "notify": str(notify)}
        server.start()
        key = server.key_for("shop", "clear")
        server.send(key, _close("Bern", "ruth"))

        def state() -> list[dict[str, Any]]:
            return [each for each in server.get("/api/v1/notifications")["notifications"] if each["attempts"]]

        # An attempt is counted before it is made; its outcome stands beside it a moment later.
        tried = within(10, lambda: [each for each in state() if each["remark"]], "nothing was tried")[0]
        assert (tried["state"], "503" in tried["remark"], "secret-path" in tried["remark"]) == ("pending", True, False)
        within(15, lambda: len(receiver.posted) > 1, "it was not tried again")
        within(5, lambda: state()[0]["state"] == "delivered", "not delivered")
        posted = receiver.posted[-1]
        signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
        wanted = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
        assert posted.headers["webhook-signature"] == f"v1,{wanted}"
        assert b"A shop that is closed" in posted.body
        assert b"The shop team" in posted.body
        assert b"ruth" not in posted.body
        body = {"source": "A shop*", "reason": "renovation", "hours": 1}
        silence = server.client.post("/api/v1/silences", json=body).json()
        server.send(key, _close("Bern", "paul"))
        server.one("source:muniment action:notify.silence", 10)
        server.client.post(f"/api/v1/silences/{silence['number']}/end")
        server.send(key, _close("Bern", "eva"))
        within(15, lambda: len(receiver.posted) == 3, "the silence goes on")
    server.stop()


def test_what_is_unusual_for_somebody_is_told_with_the_usual_and_survives_a_restart(
    server: RuledServer, key: str
) -> None:
    """Ten logins from one country over three weeks, a restart, and one from another; then more that adds up."""

    def login(day: int, country: str) -> dict[str, Any]:
        at = time.strftime("%Y-%m-%dT10:00:00Z", time.gmtime(time.time() - day * 86_400))
        return {
            "action": "user.login", "outcome": "success", "actor": {"id": "traveller", "name": "traveller"},
            "occurred_at": at, "context": {"country": country, "ip": "198.51.100.20"},
        }  # fmt: skip

    server.send(key, *(login(22 - 2 * n, "DE") for n in range(10)))
    server.evaluated()
    row = server.one("source:shop actor:traveller action:user.login")
    assert row
    server.stop()
    server.start()
    server.send(key, login(1, "BR"))
    server.evaluated()
    found = [each for each in server.alerts(entity="traveller") if each["kind"] == "first_seen"]
    assert [each["title"] for each in found] == ["A login from a country that is new for the account"], server.alerts()
    assert found[0]["why"] == "first BR for traveller in 21 days; usual: DE (10)"
    index = server.one(f"source:muniment.alerts target_id:{found[0]['uid']}")["index"]
    assert (
        "traveller"
        not in base64.b64decode(server.get(f"/api/v1/events/{index}/proof", format="json")["record"]).decode()
    )
    risk = server.get("/api/v1/risk", entity="traveller")["entities"][0]
    assert (risk["kind"], risk["score"], risk["rules"]) == ("actor", pytest.approx(25, abs=4), 1)
