"""The live tail: what is new comes by itself, and it ends when the key does."""

import json
import threading
import time

import httpx
from tests.live import LiveServer, within


def listen(client: httpx.Client, q: str, got: list[dict[str, object]], ended: threading.Event, **params: str) -> None:
    with client.stream("GET", "/api/v1/tail", params={"q": q, **params}, timeout=30) as response:
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                got.append({"kind": kind, **json.loads(line[6:])})
    ended.set()


def test_new_rows_come_by_themselves_in_order_and_a_revoked_key_ends_the_stream(live_server: LiveServer) -> None:
    key = live_server.key_for("tailed", "clear")
    made = live_server.client.post("/api/v1/keys", json={"name": "tail", "scope": "source:tailed"}).json()
    got: list[dict[str, object]] = []
    ended = threading.Event()
    headers = {"Authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=live_server.url, headers=headers, trust_env=False) as reader:
        thread = threading.Thread(target=listen, args=(reader, "action:thing.*", got, ended), daemon=True)
        thread.start()
        within(3, lambda: got, "the first horizon")
        sent = time.monotonic()
        for n in range(5):
            live_server.send(key, {"action": "thing.make", "actor": {"id": f"a{n}"}})
        live_server.send(key, {"action": "other.make", "actor": {"id": "b"}})
        within(2, lambda: sum(each["kind"] == "row" for each in got) == 5, "five rows")
        assert time.monotonic() - sent < 2.5
        rows = [each for each in got if each["kind"] == "row"]
        assert [row["actor_id"] for row in rows] == [f"a{n}" for n in range(5)]
        assert {row["source"] for row in rows} == {"tailed"}
        assert live_server.client.delete(f"/api/v1/keys/{made['info']['id']}").status_code == 200
        assert ended.wait(2)
        assert reader.get("/api/v1/search").status_code == 401
        thread.join(2)


def test_a_tail_goes_on_after_the_row_it_is_given_and_a_bad_query_is_an_answer(live_server: LiveServer) -> None:
    key = live_server.key_for("tailed-on", "clear")
    first = live_server.send(key, {"action": "thing.one", "actor": {"id": "a"}})["first_index"]
    live_server.send(key, {"action": "thing.two", "actor": {"id": "a"}})
    live_server.one("source:tailed-on action:thing.two")
    q = "source:tailed-on"
    with live_server.client.stream("GET", "/api/v1/tail", params={"q": q, "after": str(first)}) as response:
        lines = response.iter_lines()
        row = next(json.loads(line[6:]) for line in lines if line.startswith("data: "))
    assert row["action"] == "thing.two"
    assert live_server.client.get("/api/v1/tail", params={"q": "ip:nowhere"}).status_code == 400
