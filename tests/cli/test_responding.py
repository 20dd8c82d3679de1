"""Alerts, blocks and notices by the command line, on a real server with a real receiver that refuses at first."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, within


class Receiver(ThreadingHTTPServer):
    """Refuses for good until `is_open`; keeps what it was told."""

    is_open = False

    def __init__(self) -> None:
        self.told: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.is_open:
                    outer.told.append(body)
                self.send_response(200 if outer.is_open else 410)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("responding")
    notify = folder / "notify.toml"
    (folder / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    notify.write_text(
        f'allow = ["127.0.0.0/8"]\n[channels.hook]\nkind = "webhook"\nurl = "http://127.0.0.1:{receiver.server_port}/hook"\n'
        f'secrets_file = "{folder}/secret"\n[actions.idp]\nurl = "http://127.0.0.1:{receiver.server_port}/sessions"\n'
        f'secrets_file = "{folder}/secret"\nfor = "sessions.end"\n[[routes]]\nname = "everything"\nchannels = ["hook"]\nseverity = "informational"\n'
    )
    server = LiveServer(folder)
    server._settings = {**server._settings, "notify": str(notify)}
    server.start()
    key = server.key_for("app", "clear")
    failed = {"action": "user.login", "outcome": "failure", "actor": {"id": "anna"}, "context": {"ip": "203.0.113.50"}}
    server.send(key, *(failed for _ in range(12)))
    within(20, lambda: server.get("/api/v1/alerts", entity="203.0.113.50")["alerts"], "no alert")
    yield server
    server.stop()


def _run(server: LiveServer, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MUNIMENT_DATA": str(server.folder), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "muniment", *words], env=env, capture_output=True, text=True, check=False
    )


def _json(server: LiveServer, *words: str) -> Any:
    done = _run(server, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_alerts(server: LiveServer) -> None:
    listed = _json(server, "alerts", "list", "--entity", "203.0.113.50")["alerts"]
    brute = next(each for each in listed if each["title"] == "Many failed logins from one address")
    table = _run(server, "alerts", "list").stdout
    assert "Many failed logins from one address" in table
    assert "(more: --limit)" in _run(server, "alerts", "list", "--limit", "1").stderr
    assert _run(server, "rules", "show", "mass_export").returncode == 0  # by its name
    short = brute["uid"][:8]
    assert short in table
    assert _run(server, "alerts", "comment", short, "called anna").returncode == 0
    assert _run(server, "alerts", "assign", short, "--to", "dana").stdout.endswith("dana\n")
    shown = _run(server, "alerts", "show", short).stdout
    assert "203.0.113.50" in shown
    assert "What to do" in shown
    assert _run(server, "alerts", "set", brute["uid"], "resolved").returncode != 0  # a reason is asked for
    done = _run(server, "alerts", "set", brute["uid"], "resolved", "--reason", "it was a drill")
    assert "resolved" in done.stdout
    assert short not in _run(server, "alerts", "list").stdout


def test_rules(server: LiveServer) -> None:
    title = "Many failed logins from one address"
    shown = _run(server, "rules", "show", title.upper()).stdout
    assert "runs" in shown
    assert "condition: {gte: 10}" in shown
    key = _json(server, "rules", "show", title)["rule"]["key"]
    assert title in _run(server, "rules", "show", key[-6:]).stdout
    several = _run(server, "rules", "show", "login")
    assert (several.returncode, "may be one of" in several.stderr) == (2, True)
    assert "no rule is called" in _run(server, "rules", "off", "no such rule", "--reason", "x").stderr
    tested = _json(server, "rules", "backtest", title, "--since", "30d")
    assert tested["hits"] == 1
    assert "1 hit in 30d" in _run(server, "rules", "backtest", title, "--since", "-30d").stdout
    assert _run(server, "rules", "off", title).returncode == 2  # a reason is asked for
    assert _run(server, "rules", "off", title, "--reason", "too loud").stdout == f"{title}: off\n"
    assert title in _run(server, "rules", "list", "--show", "off").stdout
    assert "too loud" in _run(server, "rules", "show", title).stdout
    assert _run(server, "rules", "on", title, "--reason", "mended").stdout == f"{title}: runs\n"


def test_exceptions_of_rules(server: LiveServer) -> None:
    title = "Many failed logins from one address"
    assert "no rule overlooks anything" in _run(server, "rules", "exceptions").stderr
    wrong = _run(server, "rules", "except", title, "src_ip:(", "--reason", "x")
    assert (wrong.returncode, "query" in wrong.stderr) == (2, True)
    made = _json(server, "rules", "except", title, "src_ip:198.51.100.0/24", "--reason", "the pen test", "--days", "3")
    listed = _run(server, "rules", "exceptions").stdout
    assert title in listed
    assert "the pen test" in listed
    assert "command line on this machine" in listed
    assert "key:" not in listed
    with server.reader(role="administrator", owner="dana") as hers:
        body = {"rule": made["rule"], "query": "src_ip:198.51.100.9", "reason": "mine", "days": 1}
        assert hers.post("/api/v1/rules/exceptions", json=body).json()["owner"] == "dana (key reader of everything)"
    assert "ended" in _run(server, "rules", "end-exception", str(made["number"])).stdout
    assert "the pen test" not in _run(server, "rules", "exceptions").stdout
    assert "(over)" in _run(server, "rules", "exceptions", "--all").stdout


def test_blocks(server: LiveServer) -> None:
    assert "nothing is blocked" in _run(server, "blocks", "list").stderr
    for what in ("preview", "add"):
        wrong = _run(server, "blocks", what, "adress", "203.0.113.50", *(["--reason", "x"] if what == "add" else []))
        assert (wrong.returncode, "address, range, account, key" in wrong.stderr) == (2, True)
    preview = _run(server, "blocks", "preview", "address", "203.0.113.50")
    assert "12 failed" in preview.stdout
    unasked = _run(server, "blocks", "add", "address", "203.0.113.50", "--reason", "guesses passwords")
    assert unasked.returncode != 0  # nobody said yes
    added = _json(server, "blocks", "add", "address", "203.0.113.50", "--reason", "guesses passwords", "--yes")
    assert added["state"] == "active"
    assert "203.0.113.50" in _run(server, "blocks", "list").stdout
    short = added["id"][:8]
    assert short in _run(server, "blocks", "list").stdout
    shown = _run(server, "blocks", "show", short).stdout
    assert ("by nobody yet" in shown, "tries since" in shown) == (True, True)
    assert "there is no such block" in _run(server, "blocks", "undo", "not-a-block").stderr
    assert "undone" in _run(server, "blocks", "undo", short).stdout
    assert _run(server, "blocks", "undo", added["id"]).returncode != 0


def test_networks_that_are_never_blocked(server: LiveServer) -> None:
    assert "no network is protected" in _run(server, "blocks", "allowed").stderr
    made = _run(server, "blocks", "allow", "100.99.8.0/24", "--title", "Office Bern")
    assert made.stdout == "100.99.8.0/24 (Office Bern): never blocked\n"
    assert "Office Bern" in _run(server, "blocks", "allowed").stdout
    refused = _run(server, "blocks", "add", "address", "100.99.8.7", "--reason", "guesses", "--yes")
    assert (refused.returncode, "Office Bern" in refused.stderr) == (2, True)
    unasked = _run(server, "blocks", "add", "address", "100.99.8.7", "--reason", "guesses")
    assert (unasked.returncode, "must not be blocked" in unasked.stderr, "[y/N]" in unasked.stderr) == (2, True, False)
    wrong = _run(server, "blocks", "allow", "0.0.0.0/0", "--title", "all")
    assert (wrong.returncode, "network" in wrong.stderr) == (2, True)
    assert "may be blocked" in _run(server, "blocks", "disallow", "100.99.8.77/24").stdout
    assert _run(server, "blocks", "disallow", "100.99.8.0/24").returncode == 2


def test_who_blocks_an_account_is_told_of_those_it_is_taken_for(server: LiveServer) -> None:
    names = ("m.rulz", "m.ru\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}z", "M.Ruiz", "k.meier")
    key = server.key_for("orders", "clear")
    for name in names:
        server.send(key, {"action": "order.read", "actor": {"id": name}})
    within(20, lambda: len(server.rows("action:order.read")) >= len(names), "nothing came")
    near = _json(server, "blocks", "preview", "account", "m.ruiz")["near"]
    assert [(each["value"], each["why"]) for each in near] == [
        (names[1], "the same shape of letters"), (names[0], "one letter is different"),
    ]  # fmt: skip
    shown = _run(server, "blocks", "preview", "account", "m.ruiz").stdout
    assert "m.rulz (1 event, one letter is different)" in " ".join(shown.split())
    page = server.session().get("/blocks/new", params={"kind": "account", "v": "m.ruiz"}).text
    assert ("Easily taken for it" in page, "m.rulz" in page) == (True, True)
    assert "Easily taken" not in server.session().get("/blocks/new", params={"kind": "account", "v": "k.meier"}).text


def test_a_block_is_agreed_to_after_a_look_and_what_stays_open_is_not_asked_about(server: LiveServer) -> None:
    asked = _json(server, "blocks", "add", "range", "100.99.0.0/16", "--reason", "guesses", "--yes")
    assert asked["state"] == "asked"
    agreed = _run(server, "blocks", "approve", asked["id"][:8])
    assert (agreed.returncode != 0, "65,536 addresses" in agreed.stdout) == (True, True)  # nobody said yes
    assert server.get(f"/api/v1/blocks/{asked['id']}")["asked_person"] == asked["asked_person"]
    assert "undone" in _run(server, "blocks", "undo", asked["id"]).stdout
    own = {"network": "100.99.7.0/24", "title": "Office"}
    server.client.post("/api/v1/allowed", json=own).raise_for_status()
    refused = _run(server, "blocks", "add", "address", "100.99.7.7", "--reason", "guesses", "--yes")
    server.client.post("/api/v1/allowed/remove", json=own).raise_for_status()
    assert (refused.returncode, "Office" in refused.stderr) == (2, True)


def test_orders(server: LiveServer) -> None:
    unasked = _run(server, "orders", "end-sessions", "m.ruiz", "--reason", "guessed")
    assert unasked.returncode != 0  # nobody said yes
    made = _json(server, "orders", "end-sessions", "m.ruiz", "--reason", "guessed", "--yes")
    assert (made["account"], made["state"]) == ("m.ruiz", "pending")

    def dead() -> bool:
        return bool(_json(server, "orders", "show", made["id"])["state"] == "dead")

    within(30, dead, "the receiver is closed, and the order is not dead")
    assert "410" in _run(server, "orders", "list", "--account", "M.Ruiz").stdout
    assert "410" in _run(server, "orders", "show", made["id"]).stdout


def test_a_channel_is_tested_and_says_at_once_what_is_wrong(server: LiveServer, receiver: Receiver) -> None:
    receiver.is_open = False
    refused = _run(server, "notices", "test", "hook")
    assert refused.returncode == 1
    assert "hook did not take the test: " in refused.stdout
    assert "410" in refused.stdout
    browser = server.session()
    form = {"csrf": browser.headers["x-csrf-token"], "channel": "hook"}
    assert "hook did not take the test" in browser.post("/notices/test", data=form, follow_redirects=True).text
    receiver.is_open = True
    try:
        assert _json(server, "notices", "test", "hook")["state"] == "delivered"
        assert "hook took the test" in browser.post("/notices/test", data=form, follow_redirects=True).text
    finally:
        receiver.is_open = False
    sent = [json.loads(body) for body in receiver.told]
    assert [(each["data"]["title"], each["data"]["severity"]) for each in sent] == [
        ("Test of this channel", "critical")
    ] * 2
    receiver.told.clear()
    assert server.one("source:muniment action:notify.test target_id:hook", 5)["outcome"] == "success"
    unknown = _run(server, "notices", "test", "fax")
    assert "there is no channel 'fax'; there are: hook" in unknown.stderr
    assert unknown.returncode == 2


def test_dead_letters_are_seen_and_sent_again(server: LiveServer, receiver: Receiver) -> None:
    def dead() -> Any:
        found = _json(server, "notices", "list")["notifications"]
        return [each for each in found if each["state"] == "dead" and each["channel"] == "hook"]

    letters = within(30, dead, "nothing could not be delivered")
    assert "410" in letters[0]["remark"]
    assert letters[0]["notice_id"] in _run(server, "notices", "list", "--state", "dead").stdout
    status = _run(server, "status")
    assert ("could not be delivered: muniment notices list --state dead" in status.stdout, status.returncode) == (
        True,
        1,
    )
    assert re.search(r"^muniment_notices_dead [1-9]", server.client.get("/metrics").text, re.MULTILINE)
    browser = server.session()
    page = browser.get("/notices").text
    assert "Could not be delivered" in page
    assert "410" in page
    assert "everything" in page
    receiver.is_open = True
    assert _run(server, "notices", "again", letters[0]["notice_id"], "hook").returncode == 0
    within(30, lambda: receiver.told, "the letter did not go out again")
    form = {"csrf": browser.headers["x-csrf-token"], "notice": letters[1]["notice_id"], "channel": "hook"}
    assert browser.post("/notices/again", data=form).status_code == 303
    within(30, lambda: len(receiver.told) >= 2, "nor the other")
    within(30, lambda: "last sent" in browser.get("/notices").text, "the page does not say so")
    assert server.one("action:notify.revive", 5)["outcome"] == "success"
    every = {"csrf": browser.headers["x-csrf-token"], "notice": "*", "channel": "hook"}
    n = len(dead())
    assert n < 2 or f"All {n} of" in browser.get("/notices").text
    assert browser.post("/notices/again", data=every).status_code == (303 if n else 404)
    within(30, lambda: len(receiver.told) >= 2 + n, "nor all the others together")
    none_left = browser.post("/notices/discard", data=every)
    assert (none_left.status_code, "no dead letter of this channel" in none_left.text) == (404, True)


def test_silences(server: LiveServer) -> None:
    made = _run(server, "notices", "silence", "Many failed*", "--reason", "a pen test", "--hours", "2")
    assert "silent until" in made.stdout
    listed = _json(server, "notices", "silences")["silences"]
    assert (listed[0]["source"], listed[0]["reason"]) == ("Many failed*", "a pen test")
    browser = server.session()
    assert "a pen test" in browser.get("/notices").text
    form = {"csrf": browser.headers["x-csrf-token"]}
    more = form | {"source": "*", "reason": "not tonight", "hours": "1", "severity_max": "low"}
    assert browser.post("/notices/silences", data=more).status_code == 303
    assert browser.post("/notices/silences", data=more | {"hours": "0"}).status_code == 400
    assert "not tonight" in browser.get("/notices").text
    for each in _json(server, "notices", "silences")["silences"]:
        if each["reason"] == "not tonight":
            assert browser.post("/notices/silences/end", data=form | {"number": str(each["number"])}).status_code == 303
    assert "not tonight" not in browser.get("/notices").text
    assert _run(server, "notices", "end", str(listed[0]["number"])).returncode == 0
    reader = server.session("ana", "analyst")
    assert "Tell nobody" in reader.get("/notices").text
    assert server.session("rea", "reader").get("/notices").status_code == 403


def test_the_words_of_a_server_that_tells_nobody(live_server: LiveServer, tmp_path: Path) -> None:
    done = _run(live_server, "notices", "list")
    assert done.returncode != 0
    assert "names no channels" in done.stderr


def test_what_a_silence_hid_is_counted_and_shown_also_when_it_has_ended(server: LiveServer) -> None:
    made = _json(server, "notices", "silences")["silences"]
    assert (
        _run(server, "notices", "silence", "*", "--reason", "the yearly drill", "--severity-max", "critical").returncode
        == 0
    )
    failed = {"action": "user.login", "outcome": "failure", "actor": {"id": "bert"}, "context": {"ip": "203.0.113.51"}}
    server.send(server.key_for("quiet", "clear"), *(failed for _ in range(12)))

    def hidden() -> int:
        found = _json(server, "notices", "silences")["silences"][0]
        assert found["reason"] == "the yearly drill"
        return int(found["hidden"])

    n = within(20, hidden, "nothing was hidden")
    browser = server.session()
    assert "alert, the last" in browser.get("/notices").text or "alerts, the last" in browser.get("/notices").text
    assert server.one("source:muniment action:notify.silence", 10)
    assert _run(server, "notices", "end", str(len(made) + 1)).returncode == 0
    page = browser.get("/notices").text
    assert "Ended, with what nobody was told of" in page
    assert "the yearly drill" in page
    assert hidden() >= n
