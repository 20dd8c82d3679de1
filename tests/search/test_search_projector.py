"""The store follows the ledger: everything once, whatever is dropped, killed or unmappable."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.errors import StorageError, VerificationError
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.sources.catalogue import AUTO, load


def _indexes(engine: Engine) -> list[int]:
    return [row[0] for row in engine.query("SELECT `index` FROM events ORDER BY `index`").rows]


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _some(n: int) -> list[bytes]:
    return [record(action="document.read", message=f"Ann read document number {k}") for k in range(n)]


def test_offered_blocks_become_rows_and_listeners_hear_each_range_once(engine: Engine) -> None:
    ledger, heard = MemoryLedger(), []
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.subscribe(lambda start, end: heard.append((start, end)))
    projector.start()
    for _ in range(3):
        projector.offer_block(ledger.append(_some(10)))
    _until(lambda: projector.watermark == 30)
    projector.close()
    assert _indexes(engine) == list(range(30))
    assert [start for start, _ in heard] == [0, *(end for _, end in heard[:-1])]
    assert heard[-1][1] == 30
    assert projector.horizon().pending == 0


def test_what_was_never_offered_is_read_from_the_ledger(engine: Engine) -> None:
    ledger = MemoryLedger(piece=7)
    projector = Projector(engine, ledger, None, MAPPINGS)
    ledger.append(_some(20))
    projector.start()
    ledger.append(_some(5))  # dropped from the queue, or never in it
    projector.offer_block(ledger.append(_some(5)))
    _until(lambda: projector.watermark == 30)
    projector.close()
    assert _indexes(engine) == list(range(30))


def test_a_block_that_got_in_half_is_completed_and_not_repeated(engine: Engine) -> None:
    """What a kill -9 between two formats of a block leaves behind."""
    ledger = MemoryLedger()
    ledger.append(_some(50))
    first = Projector(engine, ledger, None, MAPPINGS)
    first.recover()
    engine.command("ALTER TABLE events DELETE WHERE `index` IN (3, 4, 17, 49) SETTINGS mutations_sync = 2")
    again = Projector(engine, ledger, None, MAPPINGS)
    again.recover()
    assert again.watermark == 50
    assert _indexes(engine) == list(range(50))


def test_a_store_that_lost_much_answers_at_once_up_to_the_first_gap_and_fills_up_behind(engine: Engine) -> None:
    ledger = MemoryLedger()
    ledger.append(_some(60))
    Projector(engine, ledger, None, MAPPINGS).recover()
    engine.command("ALTER TABLE events DELETE WHERE `index` IN (20, 21, 22, 55) SETTINGS mutations_sync = 2")
    again = Projector(engine, ledger, None, MAPPINGS)
    again.recover(fill_max=3)
    assert (again.watermark, again.horizon().pending) == (20, 40)
    assert len(_indexes(engine)) == 56
    again.catch_up()
    assert again.watermark == 60
    assert _indexes(engine) == list(range(60))


def test_rows_above_the_watermark_are_found_before_they_are_written_again(engine: Engine) -> None:
    ledger = MemoryLedger()
    block = ledger.append(_some(40))
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    engine.command("ALTER TABLE events DELETE WHERE `index` < 20 AND `index` % 2 = 1 SETTINGS mutations_sync = 2")
    again = Projector(engine, ledger, None, MAPPINGS)
    replica = again._replicas[0]
    replica.prepare()
    replica.write(block)
    assert _indexes(engine) == list(range(40))


def test_a_record_whose_mapping_fails_lands_with_the_reason_and_the_rest_goes_on(engine: Engine) -> None:
    ledger = MemoryLedger()
    records = [record(n=str(k)) for k in range(20)]
    records[7] = record(n="not a number")
    ledger.append(records, source="brittle")
    ledger.append(_some(3))
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    assert _indexes(engine) == list(range(23))
    rows = engine.query("SELECT `index`, quarantine, record FROM events WHERE quarantine != ''").rows
    assert [row[0] for row in rows] == [7]
    assert "mapping failed" in rows[0][1]
    assert rows[0][2] == records[7].decode()


def test_a_quarantined_record_carries_its_reason(engine: Engine) -> None:
    ledger = MemoryLedger()
    ledger.append([b'{"$quarantine":{"reason":"not JSON","door":"http"},"$raw":"<<"}'])
    Projector(engine, ledger, None, MAPPINGS).recover()
    assert engine.query("SELECT quarantine FROM events").rows == [("not JSON",)]


def test_a_store_that_is_ahead_of_the_ledger_is_refused(engine: Engine) -> None:
    ledger = MemoryLedger()
    ledger.append(_some(5))
    Projector(engine, ledger, None, MAPPINGS).recover()
    shorter = MemoryLedger()
    shorter.append(_some(3))
    with pytest.raises(VerificationError, match="5 entries, the ledger 3"):
        Projector(engine, shorter, None, MAPPINGS).recover()


def test_records_come_back_byte_for_byte(engine: Engine) -> None:
    strange = [
        record(message='She said "yes" and left', request_id="12345678-abcd"),
        record(message="12345678", request_id="12345678", target_id="12345678 12345678"),
        b'{ "message" : "tab\\tand \\u00fc",\r\n\t"request_id":"\\u0031234567890" }',
        b'{"message":"raw \x01 control \x1e bytes","target_id":"raw \x01 control \x1e bytes"}',
        '{"message":"Grüße an Zoë 😀 und mehr","user_agent":"Grüße an Zoë 😀 und mehr"}'.encode(),
        b"{}",
        b"",
        b'{"message":"' + b"x" * 100_000 + b'"}',
        b'{"message":"not utf-8 \xff\xfe here"}',
    ]
    ledger = MemoryLedger()
    ledger.append(strange)
    Projector(engine, ledger, None, MAPPINGS).recover()
    stored = engine.query("SELECT hex(record) FROM events ORDER BY `index`").rows
    assert [bytes.fromhex(row[0]) for row in stored] == strange


def test_no_record_passes_through_the_temporary_folder(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))
    ledger = MemoryLedger()
    ledger.append(_some(20))
    Projector(engine, ledger, None, MAPPINGS).recover()
    assert _indexes(engine) == list(range(20))


@pytest.mark.parametrize("fails_at", range(7))
def test_a_repair_that_fails_on_the_way_is_finished_and_never_hides_what_is_missing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    ledger = MemoryLedger()
    ledger.append(_some(30))
    projector = Projector(engine, ledger, None, MAPPINGS)
    projector.recover()
    parts = [row[0] for row in engine.query("SELECT name FROM system.parts WHERE table = 'events' AND active").rows]
    assert parts
    calls = iter(range(1_000))

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(calls) == fails_at:
                raise StorageError("search store: away for a moment")
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(
            engine, "broken_parts", lambda _, table: [(p, "broken") for p in parts] if table == "events" else []
        )
        for name in ("query", "command", "insert"):
            patched.setattr(engine, name, failing(getattr(engine, name)))
        with pytest.raises(StorageError):
            projector.mend()
    have = len(_indexes(engine))
    assert have == 30 or projector.horizon().complete_to_index < 29
    assert engine.nodes[0].is_suspect
    projector.start()
    _until(lambda: projector.horizon().pending == 0)
    projector.close()
    assert _indexes(engine) == list(range(30))


def test_what_an_envelope_carries_is_mapped_and_the_record_stays_as_it_came(engine: Engine) -> None:
    event = '{"action": "user.delete", "actor": {"id": "anna"}, "occurred_at": "2026-09-21T10:00:00Z"}'
    records = [
        record(syslog={"hostname": "h1", "app": "p", "message": event, "timestamp": "Sep 21 09:00:00"}, raw=event),
        record(log=f"{event}\n", stream="stdout", kubernetes={"host": "h2", "container_name": "c"}),
        record(event=json.loads(event), host="h3"),
        record(message="no envelope", host="h4"),
        record(
            loki={"line": '{"message": "says nothing of when"}', "ts": "1790000000000000000", "stream": {"app": "l"}}
        ),
        b'{"message":"raw \x01 control \x1e bytes {","log":"{\\"a\\":1}","stream":"x"}',
    ]
    ledger = MemoryLedger()
    ledger.append(records[:3], source="syslog")
    ledger.append(records[3:])
    formats = {"syslog": "syslog"}
    Projector(engine, ledger, None, mapping_set(load()), lambda source: formats.get(source, AUTO)).recover()
    stored = engine.query(
        "SELECT hex(record), format, actor_id, dst_host, app, toString(time) FROM events ORDER BY `index`"
    ).rows
    assert [bytes.fromhex(row[0]) for row in stored] == records
    assert [tuple(row[1:]) for row in stored[:3]] == [
        ("muniment", "anna", "h1", "p", "2026-09-21 10:00:00.000000"),
        ("muniment", "anna", "h2", "c", "2026-09-21 10:00:00.000000"),
        ("muniment", "anna", "h3", "", "2026-09-21 10:00:00.000000"),
    ]
    assert [row[3] for row in stored[3:5]] == ["h4", ""]
    assert list(stored[4][4:]) == ["l", "2026-09-21 14:13:20.000000"]
