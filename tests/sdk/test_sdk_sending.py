"""How events leave: batches, gzip, resends, back-off, refusals, a ledger that went back; against a real HTTP server."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import pytest
from tests.live import within
from tests.sdk.conftest import Scripted

from muniment.sdk import Audit, NotKeptError, NotRecordedError, Problem


def test_events_leave_in_gzipped_ndjson_batches_with_the_key(scripted: Scripted, tmp_path: Path) -> None:
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, fsync=False) as audit:
        for n in range(250):
            audit.log("invoice.approve", target=f"inv-{n}")
        assert audit.flush(10)
    assert [event["sq"] for event in scripted.events()] == list(range(250))
    assert len(scripted.batches) < 20
    assert {header["Authorization"] for header in scripted.headers} == {"Bearer mk_a_b"}
    assert scripted.headers[-1]["Content-Type"] == "application/x-ndjson"
    assert any(header.get("Content-Encoding") == "gzip" for header in scripted.headers)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_gets_the_same_events_again_no_sooner_than_it_asked(
    scripted: Scripted, tmp_path: Path, status: int
) -> None:
    scripted.plan = [(status, {"Retry-After": "1"})]
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, on_problem=lambda problem: None) as audit:
        event_id = audit.log("invoice.approve")
        began = time.monotonic()
        assert audit.flush(10)
        assert time.monotonic() - began >= 1.0
    assert [event["id"] for event in scripted.events()] == [event_id]


def test_a_denied_key_keeps_the_events_and_is_reported(scripted: Scripted, tmp_path: Path) -> None:
    scripted.plan = [(401, {})]
    problems: list[Problem] = []
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, on_problem=problems.append, backoff_max_s=0.1) as audit:
        audit.log("invoice.approve")
        assert audit.flush(10)
    assert [problem.kind for problem in problems] == ["denied"]
    assert len(scripted.events()) == 1


def test_one_wrong_event_does_not_hold_up_the_others_and_is_set_aside(scripted: Scripted, tmp_path: Path) -> None:
    scripted.refuses = "bad.one"
    problems: list[Problem] = []
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, on_problem=problems.append) as audit:
        for n in range(9):
            audit.log("bad.one" if n == 4 else "good.one")
        assert audit.flush(10)
    assert [event["sq"] for event in scripted.events()] == [0, 1, 2, 3, 5, 6, 7, 8]
    aside = [json.loads(line) for line in (tmp_path / "refused.ndjson").read_text().splitlines()]
    assert [event["sq"] for event in aside] == [4]
    assert [problem.kind for problem in problems] == ["refused"]


def test_what_must_be_recorded_raises_when_refused_or_late(scripted: Scripted, tmp_path: Path) -> None:
    scripted.refuses = "bad.one"
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, on_problem=lambda problem: None) as audit:
        with pytest.raises(NotRecordedError) as refused:
            audit.require("bad.one")
        assert not refused.value.is_kept
        scripted.hold.clear()
        with pytest.raises(NotRecordedError, match=r"within 0.1 s") as late:
            audit.require("good.one", timeout=0.1)
        assert late.value.is_kept
        scripted.hold.set()
        assert audit.flush(10)
        assert audit.receipt(late.value.event_id)


def test_a_ledger_that_went_back_is_noticed_and_gets_nothing_more(scripted: Scripted, tmp_path: Path) -> None:
    problems: list[Problem] = []
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, backoff_max_s=0.05, on_problem=problems.append) as audit:
        for _ in range(3):
            audit.require("invoice.approve")
        assert audit.checkpoints()["scripted.example/log"].size == 3
    scripted.size, scripted.seen = 0, {}
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, backoff_max_s=0.05, on_problem=problems.append) as audit:
        kept = audit.log("invoice.approve")
        assert not audit.flush(0.5)
        assert [problem.kind for problem in problems] == ["contradiction"]
        assert "had 3 entries, now says 1" in problems[0].words
        assert audit.receipt(kept) is None
        audit.forget_checkpoints()
        assert audit.flush(10)
        assert audit.receipt(kept)


def test_two_trees_of_one_size_contradict_each_other(scripted: Scripted, tmp_path: Path) -> None:
    problems: list[Problem] = []
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, backoff_max_s=0.05, on_problem=problems.append) as audit:
        audit.require("invoice.approve")
        scripted.size, scripted.root = 0, "other"
        audit.log("invoice.approve")
        within(5, lambda: problems, "no problem reported")
        assert not audit.close(0.1)
    assert problems[0].kind == "contradiction"
    assert "two different trees of size 1" in problems[0].words


def test_a_full_spool_raises_and_loses_nothing_it_took(scripted: Scripted, tmp_path: Path) -> None:
    scripted.hold.clear()
    kept = []
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, fsync=False, spool_bytes_max=4000) as audit:

        def fill() -> None:
            for _ in range(100):
                kept.append(audit.log("invoice.approve", reason="x" * 200))

        with pytest.raises(NotKeptError, match="the spool holds"):
            fill()
        scripted.hold.set()
        assert audit.flush(10)
    assert [event["id"] for event in scripted.events()] == kept
    assert [event["sq"] for event in scripted.events()] == list(range(len(kept)))


def test_a_full_spool_that_blocks_waits_for_space_and_then_raises(scripted: Scripted) -> None:
    scripted.hold.clear()
    audit = Audit(scripted.url, "mk_a_b", when_full="block", wait_for_space_s=0.2)
    audit._store._limits = (5, 10**6)  # type: ignore[attr-defined]  # a small queue
    for _ in range(5):
        audit.log("invoice.approve")
    with pytest.raises(NotKeptError, match="the queue is full"):
        audit.log("invoice.approve")
    threading.Timer(0.05, scripted.hold.set).start()
    audit._wait_s = 10
    audit.log("invoice.approve")
    assert audit.flush(10)
    audit.close()
    assert [event["sq"] for event in scripted.events()] == list(range(6))


def test_flush_ends_under_steady_traffic(scripted: Scripted, tmp_path: Path) -> None:
    with Audit(scripted.url, "mk_a_b", spool=tmp_path, fsync=False) as audit:
        stop = threading.Event()

        def traffic() -> None:
            while not stop.wait(0.002):
                audit.log("page.view")

        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            for _ in range(5):
                assert audit.flush(5)
        finally:
            stop.set()
            thread.join()


def test_problems_go_to_the_log_when_nobody_asked_for_them(
    scripted: Scripted, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    scripted.plan = [(503, {})]
    with (
        caplog.at_level(logging.WARNING, "muniment.sdk"),
        Audit(scripted.url, "mk_a_b", spool=tmp_path, backoff_max_s=0.05) as audit,
    ):
        audit.require("invoice.approve")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["unreachable"]


@pytest.mark.parametrize(("url", "key"), [("ftp://a", "k"), ("http://", "k"), ("http://a", ""), ("http://a", "a b")])
def test_a_wrong_address_or_key_is_said_at_once(url: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"http|key"):
        Audit(url, key)


def test_a_closed_audit_keeps_nothing(scripted: Scripted) -> None:
    audit = Audit(scripted.url, "mk_a_b")
    audit.close()
    with pytest.raises(NotKeptError, match="closed"):
        audit.log("invoice.approve")
