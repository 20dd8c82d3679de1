"""What is said about an event: values of any kind, context, middleware, log lines, the pytest fixture, proofs."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from muniment.merkle import tree
from muniment.sdk import Actor, Audit, Checkpoint, ProofError, Target, bind, context, current_context
from muniment.sdk.asgi import AuditMiddleware as AsgiMiddleware
from muniment.sdk.capture import CapturedEvents
from muniment.sdk.event import encode
from muniment.sdk.ids import uuid7
from muniment.sdk.log_handler import AuditHandler
from muniment.sdk.proofs import verify_consistency, verify_inclusion
from muniment.sdk.request import request_values
from muniment.sdk.wsgi import AuditMiddleware as WsgiMiddleware


@pytest.fixture
def audit() -> Audit:
    return Audit("http://127.0.0.1:9", "mk_a_b")


def test_values_json_cannot_say_become_text(audit: Audit, audit_events: CapturedEvents) -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = {"in": deep}
    loop: list[object] = []
    loop.append(loop)
    audit.log("a.b", before={"n": float("nan"), "s": "\ud800", "big": 2**90}, after=[deep, loop, object])
    (event,) = audit_events
    said = json.loads(encode(event))
    assert said["before"] == {"n": "nan", "s": "?", "big": str(2**90)}


def test_what_log_is_told_wins_over_the_context(audit: Audit, audit_events: CapturedEvents) -> None:
    with context(actor="u-1", request_id="r", reason="routine"):
        with context(actor="u-2", request_id=None):
            audit.log("a.b", targets=[Target("t", type="doc"), "s"])
        audit.log("a.b", actor=Actor("u-3", name="Eve"), context={"ip": "192.0.2.1"})
    first, second = audit_events
    assert (first["actor"], first.get("context")) == ({"id": "u-2"}, None)
    assert first["targets"] == [{"id": "t", "type": "doc"}, {"id": "s"}]
    assert second["actor"] == {"id": "u-3", "type": "user", "name": "Eve"}
    assert second["context"] == {"request_id": "r", "ip": "192.0.2.1"}
    assert second["reason"] == "routine"
    assert not current_context()


def test_ids_rise_also_between_threads() -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append([uuid7() for _ in range(2000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in found)
    assert len({one for ids in found for one in ids}) == 8000
    assert {one[14] for ids in found for one in ids} == {"7"}


async def test_requests_side_by_side_do_not_see_each_other(audit: Audit, audit_events: CapturedEvents) -> None:
    gate = asyncio.Barrier(2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        bind(actor=scope["path"])
        await gate.wait()
        await audit.alog("page.view")

    wrapped = AsgiMiddleware(app, session=lambda scope: "s" + scope["path"])

    async def call(path: str) -> None:
        scope = {"type": "http", "path": path, "headers": [(b"x-request-id", path.encode())], "client": None}
        await wrapped(scope, None, None)  # type: ignore[arg-type]

    await asyncio.gather(call("/a"), call("/b"))
    found = sorted((e["actor"]["id"], e["context"]["request_id"], e["context"]["session_id"]) for e in audit_events)
    assert found == [("/a", "/a", "s/a"), ("/b", "/b", "s/b")]
    assert not current_context()


def test_a_streamed_wsgi_answer_still_knows_its_request(audit: Audit, audit_events: CapturedEvents) -> None:
    closed = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            yield b"1"
            audit.log("file.read")
            yield b"2"
        finally:
            closed.append(current_context()["request_id"])

    answer = WsgiMiddleware(app)({"HTTP_X_REQUEST_ID": "r-5", "REMOTE_ADDR": "192.0.2.9"}, lambda *_: None)
    assert next(iter(answer)) == b"1"
    assert not current_context()
    assert list(answer) == [b"2"]
    answer.close()  # type: ignore[attr-defined]
    assert audit_events.assert_logged("file.read")["context"] == {"request_id": "r-5", "ip": "192.0.2.9"}
    assert closed == ["r-5"]


def test_a_request_id_or_trace_that_looks_wrong_is_not_taken_over() -> None:
    headers = {"x-request-id": "a b\n", "traceparent": "00-zz", "x-forwarded-for": "203.0.113.1"}
    values = request_values(lambda name: headers.get(name, ""), "192.0.2.1", ())
    assert len(str(values.pop("request_id"))) == 36
    assert values == {"ip": "192.0.2.1"}
    headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    values = request_values(lambda name: headers.get(name, ""), "192.0.2.1", ())
    assert (values["trace_id"], values["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_only_log_lines_that_carry_an_event_become_one(audit: Audit, audit_events: CapturedEvents) -> None:
    logger = logging.Logger("shop")
    logger.addHandler(AuditHandler(audit))
    logger.info("nothing")
    logger.error("no %s", "way", extra={"audit": {"action": "door.open", "target": "d-1", "metadata": {"k": 1}}})
    event = audit_events.assert_logged("door.open", target="d-1", outcome="failure", times=1)
    assert event["metadata"] | {"code": ""} == {
        "message": "no way", "logger": "shop", "level": "ERROR", "code": "", "k": 1,
    }  # fmt: skip
    audit_events.assert_nothing_else()
    logger.handlers = [AuditHandler(audit, default_action="app.log")]
    logger.info("all")
    audit_events.assert_logged("app.log")


def test_the_fixture_says_what_was_missing_and_what_was_too_much(audit: Audit, audit_events: CapturedEvents) -> None:
    audit.log("invoice.read", actor="u-1")
    with pytest.raises(AssertionError, match=r"expected invoice\.pay .* got 0; logged: invoice\.read .*u-1"):
        audit_events.assert_logged("invoice.pay", actor="u-1")
    with pytest.raises(AssertionError, match=r"2 times, got 1"):
        audit_events.assert_logged("invoice.read", times=2)
    with pytest.raises(AssertionError, match="expected no"):
        audit_events.assert_not_logged("invoice.read")
    audit_events.assert_not_logged("invoice.read", actor="u-2")
    assert audit.require("invoice.delete").event_id == audit_events.events[-1]["id"]
    with pytest.raises(AssertionError, match=r"nothing else, got invoice\.delete"):
        audit_events.assert_nothing_else()


def test_the_plugin_is_loaded_by_name_and_touches_no_other_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from muniment.sdk import Audit\n"
        "from muniment.sdk import capture\n"
        "audit = Audit('http://127.0.0.1:9', 'mk_a_b')\n"
        "def test_caught(audit_events):\n"
        "    audit.log('a.b', actor='u')\n"
        "    audit_events.assert_logged('a.b', actor='u')\n"
        "def test_other():\n"
        "    assert not capture._open\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "muniment.sdk.pytest_plugin", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout


def _tree(size: int) -> tuple[list[bytes], Any]:
    leaves = [tree.leaf_hash(b"%d" % n) for n in range(size)]

    def root(start: int, end: int) -> bytes:
        if end - start == 1:
            return leaves[start]
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        return tree.node_hash(root(start, middle), root(middle, end))

    return leaves, root


def _inclusion(root: Any, index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + (1 << ((end - start - 1).bit_length() - 1))
    if index < middle:
        return [*_inclusion(root, index, start, middle), root(middle, end)]
    return [*_inclusion(root, index, middle, end), root(start, middle)]


def _consistency(root: Any, size: int, start: int, end: int, is_whole: bool) -> list[bytes]:
    if size == end - start:
        return [] if is_whole else [root(start, end)]
    middle = start + (1 << ((end - start - 1).bit_length() - 1))
    if size <= middle - start:
        return [*_consistency(root, size, start, middle, is_whole), root(middle, end)]
    return [*_consistency(root, size - (middle - start), middle, end, False), root(start, middle)]


def test_every_right_proof_is_accepted_and_every_other_is_not() -> None:
    leaves, root = _tree(18)
    for size in range(1, 19):
        new = Checkpoint("o", size, root(0, size), "")
        for index in range(size):
            proof = _inclusion(root, index, 0, size)
            verify_inclusion(leaves[index], index, size, proof, root(0, size))
            tree.verify_inclusion(leaves[index], index, size, proof, root(0, size))
            wrong = [[*proof, leaves[0]], *([proof[:-1]] if proof else [])]
            wrong += [[*proof[:k], bytes(32), *proof[k + 1 :]] for k in range(len(proof))]
            for one in wrong:
                with pytest.raises(ProofError):
                    verify_inclusion(leaves[index], index, size, one, root(0, size))
            old = Checkpoint("o", index + 1, root(0, index + 1), "")
            steps = _consistency(root, index + 1, 0, size, True)
            verify_consistency(old, new, steps)
            for one in [[*steps, leaves[0]], *([steps[:-1]] if steps else [])]:
                with pytest.raises(ProofError):
                    verify_consistency(old, new, one)
            with pytest.raises(ProofError):
                verify_consistency(Checkpoint("o", index + 1, bytes(32), ""), new, steps)
