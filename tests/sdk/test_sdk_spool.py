"""What stays on disk: torn tails, damage, processes that died, processes side by side, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.sdk.conftest import Scripted

from muniment.sdk import Audit
from muniment.sdk.spool import DiskSpool
from muniment.sdk.stream import Stream

ID = "01932a5e-0000-7000-8000-{:012d}"


def _events(first: int, count: int) -> list[tuple[str, bytes]]:
    return [(ID.format(n), b'{"id":"%s"}' % ID.format(n).encode()) for n in range(first, first + count)]


def _all(spool: DiskSpool) -> list[str]:
    found = []
    while records := spool.take(3, 10**6):
        found += [record.event_id for record in records]
        spool.done(records)
    return found


def test_a_torn_tail_is_cut_and_its_counter_used_again(tmp_path: Path) -> None:
    first = DiskSpool(tmp_path)
    first.append(_events(0, 3))
    first.close()
    (log,) = tmp_path.glob("s-*/*.log")
    whole = log.read_bytes()
    for cut in range(whole.rindex(b"\n", 0, -1) + 1, len(whole)):
        log.write_bytes(whole[:cut])
        stream = Stream.claim(log.parent, "x")
        assert stream is not None
        assert stream.next_sq == 2
        stream.close()
        log = stream.folder / log.name
    again = DiskSpool(tmp_path)
    again.append(_events(9, 1))
    assert again.next_sq() == 3
    assert _all(again) == [ID.format(0), ID.format(1), ID.format(9)]
    again.close()


def test_a_damaged_line_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path)
    spool.append(_events(0, 5))
    (log,) = tmp_path.glob("s-*/*.log")
    data = bytearray(log.read_bytes())
    data[data.index(b"\n") + 60] ^= 1
    log.write_bytes(data)
    assert _all(spool) == [ID.format(n) for n in (0, 2, 3, 4)]
    assert spool.take_damaged() == 1
    spool.close()


def test_the_counter_goes_on_when_everything_was_delivered_before_the_restart(tmp_path: Path) -> None:
    for start in (0, 7):
        spool = DiskSpool(tmp_path)
        spool.append(_events(start, 7))
        assert spool.next_sq() == start + 7
        assert len(_all(spool)) == 7
        spool.close()
    assert len(list(tmp_path.glob("s-*"))) == 1


def test_files_that_were_delivered_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.sdk.stream.SEGMENT_BYTES_MAX", 2000)
    spool = DiskSpool(tmp_path, is_synced=False)
    for n in range(100):
        spool.append(_events(n, 1))
    assert len(list(tmp_path.glob("s-*/*.log"))) > 3
    assert _all(spool) == [ID.format(n) for n in range(100)]
    assert len(list(tmp_path.glob("s-*/*.log"))) == 1
    spool.close()


def test_a_failed_fsync_is_told_and_the_counter_has_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskSpool(tmp_path)
    spool.append(_events(0, 1))

    def fails(_: int) -> None:
        raise OSError(5, "EIO")

    with monkeypatch.context() as patch:
        patch.setattr("muniment.sdk.stream._fdatasync", fails)
        with pytest.raises(OSError, match="did not confirm"):
            spool.append(_events(1, 1))
    spool._refused_until = 0.0
    spool.append(_events(2, 1))
    texts = []
    while records := spool.take(10, 10**6):
        texts += [record.text[:8] for record in records]
        spool.done(records)
    assert texts == [b'{"sq":0,', b'{"sq":1,']
    spool.close()


def test_what_is_still_being_written_does_not_count_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sender that finds nothing to send would tell `flush` that it is delivered."""
    spool = DiskSpool(tmp_path)
    spool.append(_events(0, 1))
    reached, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        reached.set()
        go_on.wait(10)

    monkeypatch.setattr("muniment.sdk.stream._fdatasync", slow)
    writer = threading.Thread(target=spool.append, args=(_events(1, 1),))
    writer.start()
    assert reached.wait(10)
    assert spool.next_sq() == 1
    assert len(spool.take(10, 10**6)) == 1
    go_on.set()
    writer.join()
    assert spool.next_sq() == 2
    spool.close()


def test_threads_share_one_stream_without_gaps(scripted: Scripted, tmp_path: Path) -> None:
    with Audit(scripted.url, "mk_a_b", spool=tmp_path) as audit:
        threads = [threading.Thread(target=lambda: [audit.log("a.b") for _ in range(25)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert audit.flush(20)
    assert [event["sq"] for event in scripted.events()] == list(range(200))
    assert len(scripted.seen) == 200


def test_a_child_after_a_fork_has_a_stream_of_its_own(scripted: Scripted, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from muniment.sdk import Audit\n"
        "audit = Audit(sys.argv[1], 'mk_a_b', spool=sys.argv[2])\n"
        "audit.log('parent.before')\n"
        "pid = os.fork()\n"
        "for _ in range(20): audit.log('child.one' if pid == 0 else 'parent.one')\n"
        "ok = audit.close(10)\n"
        "if pid == 0: os._exit(0 if ok else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not ok)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, scripted.url, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    by_spool: dict[str, list[int]] = {}
    for event in scripted.events():
        by_spool.setdefault(event["spool"], []).append(event["sq"])
    assert sorted(len(sqs) for sqs in by_spool.values()) == [20, 21]
    assert all(sqs == list(range(len(sqs))) for sqs in by_spool.values())


def test_what_a_dead_process_left_is_sent_by_a_living_sibling(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.sdk.spool.SWEEP_EVERY_S", 0.05)
    with Audit(scripted.url, "mk_a_b", spool=tmp_path) as audit:
        audit.require("living.one")
        code = (
            "import os, sys\n"
            "from muniment.sdk import Audit\n"
            "audit = Audit('http://127.0.0.1:9', 'mk_a_b', spool=sys.argv[1])\n"
            "for _ in range(5): audit.log('dead.one')\n"
            "os._exit(9)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
        assert len(list(tmp_path.glob("s-*"))) == 2
        for _ in range(100):
            audit.require("living.one")
            if len(list(tmp_path.glob("s-*"))) == 1:
                break
    assert sum(event["action"] == "dead.one" for event in scripted.events()) == 5


def test_importing_the_sdk_loads_neither_http_nor_tls_nor_signatures() -> None:
    code = "import sys, muniment.sdk; print(sorted({'http', 'ssl', 'sqlite3', 'cryptography', 'asyncio', 'pytest'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_spool_files_are_for_their_owner_only(scripted: Scripted, tmp_path: Path) -> None:
    with Audit(scripted.url, "mk_a_b", spool=tmp_path / "spool") as audit:
        audit.log("a.b")
    assert os.stat(tmp_path / "spool").st_mode & 0o077 == 0
