"""Ending sessions and telling of blocks: signed, tried again, answered, dead letters seen, every step a record."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Provider(ThreadingHTTPServer):
    """An identity provider: takes orders signed with the secret; `answers` come first."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.hang = threading.Event()
        self.hang.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/hang":
                    outer.hang.clear()
                    outer.hang.wait(30)
                    return
                signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
                mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
                status = 401
                if self.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode():
                    status = outer.answers.pop(0) if outer.answers else 200
                    if status == 200:
                        outer.taken.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def of(self, type: str) -> list[dict[str, Any]]:
        return [each["data"] for each in self.taken if each["type"] == type]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    found.hang.set()
    found.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("orders")
    (folder / "secret").write_text(SECRET)
    url = f"http://127.0.0.1:{provider.server_port}"
    (folder / "notify.toml").write_text(
        f'allow = ["127.0.0.0/8"]\n[actions.idp]\nurl = "{url}/sessions"\nsecrets_file = "{folder}/secret"\n'
        f'for = "sessions.end"\n[actions.firewall]\nurl = "{url}/blocks"\nsecrets_file = "{folder}/secret"\n'
        f'for = ["block.*"]\n[channels.stuck]\nkind = "webhook"\nurl = "{url}/hang"\nsecrets_file = "{folder}/secret"\n'
        '[[routes]]\nname = "all"\nchannels = ["stuck"]\nseverity = "informational"\n'
    )
    server = LiveServer(folder)
    server._settings = {**server._settings, "notify": str(folder / "notify.toml")}
    server.start()
    yield server
    server.stop()


def _end(server: LiveServer, account: str, **more: str) -> dict[str, Any]:
    answer = server.client.post("/api/v1/orders", json={"account": account, "reason": "guessed", **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _state(server: LiveServer, id: str, state: str) -> dict[str, Any]:
    def look() -> Any:
        found = server.get(f"/api/v1/orders/{id}")
        return found if found["state"] == state else None

    found: dict[str, Any] = within(20, look, f"the order is not {state}")
    return found


def test_sessions_are_ended_by_a_signed_webhook_and_the_answer_is_shown(server: LiveServer, provider: Provider) -> None:
    body = {"account": "m.ruiz", "reason": "guessed", "alert": "a-1"}
    refused = server.client.post("/api/v1/orders", json=body)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "alert")
    made = _end(server, "m.ruiz")
    found = _state(server, made["id"], "delivered")
    assert [(a["action"], a["remark"], a["attempts"]) for a in found["answers"]] == [("idp", "answered 200", 1)]
    (order,) = [each for each in provider.of("sessions.end") if each["id"] == made["id"]]
    assert (order["account"], order["reason"], order["alert"]) == ("m.ruiz", "guessed", "")
    assert order["asked_by"].startswith("key:")  # a name is what people are shown
    assert made["asked_by"] == "command line on this machine"
    asked = server.one("source:muniment action:sessions.end", 5)
    said = json.loads(server.get(f"/api/v1/events/{asked['index']}")["record"])
    assert (said["targets"], said["reason"]) == ([{"type": "account", "id": "m.ruiz"}], "guessed")
    record = json.loads(server.get(f"/api/v1/events/{server.one('action:order.answer', 15)['index']}")["record"])
    assert record["metadata"] == {"order": made["id"], "action": "idp", "attempt": 1, "answer": "answered 200"}
    assert record["outcome"] == "success"
    page = server.session("ana", "analyst").get(f"/orders/{made['id']}").text
    assert "answered 200" in page
    for who in ("key:*", "ana"):
        assert server.one(f"source:muniment action:order.view target_id:{made['id']} actor_id:{who}", 5), who
    assert server.get("/api/v1/orders", account="M.RUIZ")["orders"][0]["id"] == made["id"]


def test_a_refusal_is_tried_again_and_a_dead_letter_is_seen_and_sent_again(
    server: LiveServer, provider: Provider
) -> None:
    provider.answers = [500, 410]
    made = _end(server, "dora")
    again = server.client.post("/api/v1/orders", json={"account": "Dora", "reason": "twice"})
    assert again.status_code == 409
    found = _state(server, made["id"], "dead")  # the second attempt comes after five seconds
    assert found["answers"][0]["attempts"] == 2
    assert "410" in found["answers"][0]["remark"]
    within(15, lambda: server.rows("action:order.fail") and server.rows("action:order.dead"), "attempts are no records")
    browser = server.session("ana", "analyst")
    assert "Somebody has to look" in browser.get(f"/orders/{made['id']}").text
    assert made["id"] in browser.get("/notices").text
    form = {"csrf": browser.headers["x-csrf-token"], "notice": made["id"], "channel": "idp"}
    assert browser.post("/notices/again", data=form).status_code == 303
    assert _state(server, made["id"], "delivered")["answers"][0]["remark"] == "answered 200"


def _preview(client: httpx.Client, kind: str, value: str) -> dict[str, Any]:
    found: dict[str, Any] = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    return found


def _block(client: httpx.Client, kind: str, value: str, **more: object) -> dict[str, Any]:
    body = {
        "kind": kind,
        "value": value,
        "preview": _preview(client, kind, value)["preview"],
        "reason": "test",
        "hours": 1,
    }
    answer = client.post("/api/v1/blocks", json=body | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_whoever_enforces_is_told_of_blocks_made_and_undone(server: LiveServer, provider: Provider) -> None:
    block = _block(server.client, "address", "192.0.2.10")

    def told(type: str) -> Any:
        return [each for each in provider.of(type) if each["block"] == block["id"]]

    made = within(20, lambda: told("block.made"), "no event of the block")[0]
    assert (made["kind"], made["value"], made["ended_at"]) == ("address", "192.0.2.10", "")
    assert made["id"] == f"block_{block['id']}_made"
    taken = within(5, lambda: server.get(f"/api/v1/blocks/{block['id']}")["taken_at"], "the answer counts for nothing")
    assert taken >= block["active_at"]
    server.client.post(f"/api/v1/blocks/{block['id']}/undo")
    undone = within(20, lambda: told("block.undone"), "no event of the end")[0]
    assert undone["ended_by"] != ""


def test_sessions_end_with_a_block_and_not_before_a_second_person_agrees(
    server: LiveServer, provider: Provider
) -> None:
    key = server.key_for("shop", "clear")
    server.send(key, {"action": "user.login", "actor": {"id": "eve"}, "outcome": "success"},
                {"action": "user.login", "actor": {"id": "Zed"}, "outcome": "success"})  # fmt: skip
    within(10, lambda: server.rows("actor:eve source:shop") and server.rows("actor:Zed source:shop"), "no events")
    one, two = server.session("one", "analyst"), server.session("two", "analyst")
    asked = _block(one, "account", "EVE", end_sessions=True)  # another spelling is the same account
    assert asked["state"] == "asked"
    order = server.get("/api/v1/orders", account="eve")["orders"][0]
    assert (order["state"], order["block"], order["asked_by"]) == ("held", asked["id"], "one")
    assert two.post(f"/api/v1/blocks/{asked['id']}/approve").json()["state"] == "active"
    _state(server, order["id"], "delivered")
    assert [each["account"] for each in provider.of("sessions.end") if each["id"] == order["id"]] == ["EVE"]

    taken_back = _block(one, "account", "zed", end_sessions=True)
    held = server.get("/api/v1/orders", account="Zed")["orders"][0]
    assert one.post(f"/api/v1/blocks/{taken_back['id']}/undo").json()["state"] == "undone"
    assert server.get(f"/api/v1/orders/{held['id']}")["state"] == "dropped"
    assert not [each for each in provider.of("sessions.end") if each["id"] == held["id"]]
    assert server.one("source:muniment action:order.drop", 5)["target_id"] == held["id"]


def test_the_page_asks_once_and_names_the_account(server: LiveServer, provider: Provider) -> None:
    browser = server.session("ana", "analyst")
    page = browser.get("/orders/new", params={"account": "l.meyer"}).text
    assert "End l.meyer&#39;s sessions" in page
    form = {"csrf": browser.headers["x-csrf-token"], "account": "l.meyer", "alert": "", "reason": "a stolen laptop"}
    answer = browser.post("/orders", data=form)
    assert answer.status_code == 303
    assert "a stolen laptop" in browser.get(answer.headers["location"]).text
    named = browser.post("/orders", data=form | {"account": "b.roe", "reason": "B.Roe said so"})
    assert named.status_code == 400
    assert "ledger for ever" in named.text
    assert browser.get("/orders").text.count("l.meyer") >= 1
    assert server.session("rea", "reader").post("/orders", data=form).status_code == 403


def test_a_receiver_that_hangs_keeps_nobody_waiting(server: LiveServer, provider: Provider) -> None:
    key = server.key_for("door", "clear")
    failed = {"action": "user.login", "outcome": "failure", "actor": {"id": "x"}, "context": {"ip": "203.0.113.50"}}
    server.send(key, *(failed for _ in range(12)))
    within(30, lambda: not provider.hang.is_set(), "the channel is not at work")
    made = _end(server, "while.it.hangs")
    _state(server, made["id"], "delivered")
    assert not provider.hang.is_set(), "it hung all the time"
    provider.hang.set()


def test_without_an_action_it_says_what_to_configure(live_server: LiveServer) -> None:
    answer = live_server.client.post("/api/v1/orders", json={"account": "a", "reason": "b"})
    assert answer.status_code == 409
    assert "sessions.end" in answer.json()["error"]["reason"]
    assert (
        "Nobody is configured" in live_server.session("ana", "analyst").get("/orders/new", params={"account": "a"}).text
    )
