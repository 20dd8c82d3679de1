"""Is somebody blocked? Against the real server, and against none at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.live import LiveServer

from muniment.sdk.blocklist import Blocklist, Verdict


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _block(server: LiveServer, kind: str, value: str) -> str:
    preview = server.client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    body = {"kind": kind, "value": value, "preview": preview["preview"], "reason": "test", "hours": 1}
    made = server.client.post("/api/v1/blocks", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_the_sdk_follows_the_servers_blocks(live_server: LiveServer) -> None:
    clock = Clock()
    key = live_server.reader(role="enforcer").headers["authorization"].partition(" ")[2]
    blocklist = Blocklist(live_server.url, key, when_unknown="refuse", refresh_s=10, clock=clock)
    assert not blocklist.is_blocked(address="192.0.2.77")
    ids = [
        _block(live_server, kind, value)
        for kind, value in (
            ("address", "192.0.2.77"), ("range", "2001:db8:77::/48"), ("account", "Mallory@example.com"), ("key", "k-77"),
        )
    ]  # fmt: skip
    assert not blocklist.is_blocked(address="192.0.2.77")  # what is known is younger than refresh_s
    clock.now += 10
    assert blocklist.look(address="192.0.2.77").block == ids[0]
    for given in (
        {"address": "::ffff:192.0.2.77"},
        {"address": "2001:db8:77:1::9"},
        {"account": " mallory@EXAMPLE.com"},
        {"key": "k-77"},
    ):
        assert blocklist.is_blocked(**given), given
    for given in (
        {"address": "192.0.2.78"},
        {"address": "2001:db8:78::1"},
        {"address": "unknown"},
        {"account": "m"},
        {"key": "K-77"},
        {},
    ):
        assert blocklist.look(**given) == Verdict(False), given
    assert (
        live_server.reader(role="enforcer")
        .get("/api/v1/blocks/check", params={"account": "MALLORY@example.com"})
        .json()["is_blocked"]
    )
    for id in ids:
        assert live_server.client.post(f"/api/v1/blocks/{id}/undo").status_code == 200
    clock.now += 10
    assert not blocklist.is_blocked(address="192.0.2.77", account="mallory@example.com", key="k-77")


def test_a_wrong_key_leaves_the_callers_choice(live_server: LiveServer) -> None:
    for choice, is_blocked in (("allow", False), ("refuse", True)):
        blocklist = Blocklist(live_server.url, "mk_none_none", when_unknown=choice)  # type: ignore[arg-type]
        assert blocklist.look(address="192.0.2.1") == Verdict(is_blocked, is_known=False)
        assert "401" in blocklist.problem


class Counting(ThreadingHTTPServer):
    """A server that counts, and may hang, fail or lose its mind."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = b'{"blocks":[]}'
        self.status = 200
        self.wait = threading.Event()
        self.wait.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.headers.get("If-None-Match", ""))
                outer.wait.wait(10)
                is_same = outer.status == 200 and self.headers.get("If-None-Match") == 'W/"1"'
                self.send_response(304 if is_same else outer.status)
                self.send_header("ETag", 'W/"1"')
                self.send_header("Content-Length", "0" if is_same else str(len(outer.answer)))
                self.end_headers()
                self.wfile.write(b"" if is_same else outer.answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def counting() -> Iterator[Counting]:
    server = Counting()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.wait.set()
        server.shutdown()
        server.server_close()


def _list(server: Counting, clock: Clock, **given: object) -> Blocklist:
    values = {"when_unknown": "refuse", "clock": clock, "refresh_s": 10, "max_age_s": 60, "timeout_s": 0.5, **given}
    return Blocklist(f"http://127.0.0.1:{server.server_port}", "k", **values)  # type: ignore[arg-type]


def test_an_unchanged_list_is_asked_for_by_its_tag_and_no_oftener_than_said() -> None:
    clock = Clock()
    with counting() as server:
        blocklist = _list(server, clock)
        for _ in range(50):
            assert blocklist.look(address="192.0.2.1") == Verdict(False)
        assert server.asked == [""]
        clock.now += 10
        assert blocklist.look(address="192.0.2.1") == Verdict(False)
        assert server.asked == ["", 'W/"1"']
        assert blocklist.age_s == 0


def test_a_list_is_good_until_it_is_too_old_and_then_unknown() -> None:
    clock = Clock()
    with counting() as server:
        server.answer = b'{"blocks":[{"kind":"address","value":"192.0.2.1","until":99999999999,"block":"b1"}]}'
        blocklist = _list(server, clock, when_unknown="allow")
        assert blocklist.is_blocked(address="192.0.2.1")
        server.status, server.answer = 500, b""
        clock.now += 59
        assert blocklist.look(address="192.0.2.1") == Verdict(True, block="b1", until=99999999999)
        assert "500" in blocklist.problem
        n = len(server.asked)
        assert blocklist.is_blocked(address="192.0.2.1")
        assert len(server.asked) == n, "a failing server is not asked again at once"
        clock.now += 5
        assert blocklist.look(address="192.0.2.1") == Verdict(False, is_known=False)
        server.status = 200
        clock.now += 5
        assert blocklist.look(address="192.0.2.1").is_known
        assert blocklist.is_blocked(address="192.0.2.1"), "304: it is what it was"
        assert blocklist.problem == ""


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b'{"blocks":3}', b'{"blocks":[{"kind":"range","value":"x"}]}', b"{" * 99_999]
)
def test_an_answer_that_is_no_list_changes_nothing(answer: bytes) -> None:
    clock = Clock()
    with counting() as server:
        server.answer = answer
        assert _list(server, clock).look(address="192.0.2.1") == Verdict(True, is_known=False)


def test_a_block_ends_at_its_time_without_the_server() -> None:
    clock, wall = Clock(), Clock()
    with counting() as server:
        server.answer = b'{"blocks":[{"kind":"account","value":"anna","until":1001,"block":"b1"}]}'
        blocklist = _list(server, clock, wall=wall)
        assert blocklist.is_blocked(account="Anna")
        wall.now += 1
        assert not blocklist.is_blocked(account="Anna")


def test_a_server_that_hangs_costs_one_thread_its_time_limit_and_the_others_nothing() -> None:
    clock = Clock()
    with counting() as server:
        blocklist = _list(server, clock)
        assert not blocklist.is_blocked(address="192.0.2.1")
        server.wait.clear()
        clock.now += 10
        first = threading.Thread(target=blocklist.is_blocked, kwargs={"address": "192.0.2.1"})
        began = time.perf_counter()
        first.start()
        while len(server.asked) < 2:
            time.sleep(0.005)
        for _ in range(1_000):
            assert blocklist.look(address="192.0.2.1") == Verdict(False)
        assert first.is_alive() or time.perf_counter() - began > 0.4
        first.join(5)
        assert not first.is_alive()
        assert "timed out" in blocklist.problem


def test_nobody_at_home_is_unknown_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert Blocklist(url, "k", when_unknown="allow").look(account="a") == Verdict(False, is_known=False)
        assert not Blocklist(url, "k", when_unknown="allow").refresh()


@pytest.mark.parametrize(
    "given",
    [{"when_unknown": "maybe"}, {"when_unknown": "allow", "refresh_s": 0}, {"when_unknown": "allow", "max_age_s": 1}],
)
def test_a_choice_that_is_none_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"when_unknown|refresh_s"):
        Blocklist("https://h", "k", **given)  # type: ignore[arg-type]
