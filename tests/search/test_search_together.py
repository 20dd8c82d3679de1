"""Rows of one event learn from each other the same way however they are cut, filled in or made anew, and never what was erased."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory_ledger import START_NS, MemoryLedger, Stored

from muniment.event.model import Arrival
from muniment.privacy.keys import KeyStore
from muniment.privacy.plan import SealPlan
from muniment.privacy.protector import Protector
from muniment.search import together
from muniment.search.blocks import Block
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.search.schema import MappingSet
from muniment.search.together import Recall
from muniment.sources import together as kept
from muniment.sources.catalogue import Catalogue, load

WHAT = "action, actor_name, actor_id, session_id, outcome, app, target_name"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    shipped = load()
    return Catalogue({name: shipped[name] for name in ("auditd", "syslog", "json", "text")})


@pytest.fixture(scope="module")
def mappings(catalogue: Catalogue) -> MappingSet:
    return mapping_set(catalogue)


def _said(text: str, host: str = "web-1") -> bytes:
    return json.dumps({"message": text, "host": {"name": host}}).encode()


def _event(number: int, who: str = "anna", host: str = "web-1", name: str = "") -> list[bytes]:
    """A file deleted: what the kernel says of it, in the usual order."""
    mark = f"msg=audit(1795424500.001:{number}):"
    texts = [
        f'type=SYSCALL {mark} arch=c000003e syscall=87 success=yes exit=0 items=2 ppid=1 pid=2 auid=1000 uid=0 tty=pts1 '
        f'ses={number} comm="rm" exe="/usr/bin/rm" key="files"\x1dAUID="{who}" UID="root"',
        f'type=CWD {mark} cwd="/srv"',
        f'type=PATH {mark} item=0 name="/srv/" inode=1 nametype=PARENT\x1dOUID="root"',
        f'type=PATH {mark} item=1 name="/srv/{name or number}" inode=2 nametype=DELETE\x1dOUID="root"',
        f'type=PROCTITLE {mark} proctitle=726D002F737276',
        f'type=EOE {mark}',
    ]  # fmt: skip
    return [_said(text, host) for text in texts]


def _noise(n: int) -> list[bytes]:
    return [json.dumps({"action": "page.view", "url": f"/?type={k} audit(x)"}).encode() for k in range(n)]


def _rows(engine: Engine, columns: str = WHAT, where: str = "1") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in engine.query(f"SELECT {columns} FROM events WHERE {where} ORDER BY `index`").rows]


def _projector(engine: Engine, ledger: Any, mappings: MappingSet, unsealer: Any = None) -> Projector:
    return Projector(engine, ledger, unsealer, mappings, lambda source: "auto")


def test_one_row_says_who_did_it_and_to_what(engine: Engine, mappings: MappingSet) -> None:
    ledger = MemoryLedger()
    ledger.append(_event(7))
    _projector(engine, ledger, mappings).recover()
    assert _rows(engine, where="target_name = '/srv/7'") == [
        ("file.delete", "anna", "1000", "7", "success", "/usr/bin/rm", "/srv/7")
    ]
    assert {row[1] for row in _rows(engine)} == {"anna"}
    assert _rows(engine, "record") == [(record.decode(),) for record in ledger.records]


def test_rows_are_the_same_however_the_records_are_cut(engine: Engine, mappings: MappingSet) -> None:
    """Live in batches of one, at a restart in the middle of an event, filled into a gap, and made anew."""
    records = [*_event(1), *_noise(3), *_event(2, "bert")]
    mixed = [each for pair in zip(_event(3), _event(3, "carl", "web-2"), strict=True) for each in pair]
    records += mixed
    ledger = MemoryLedger(piece=4)
    projector = _projector(engine, ledger, mappings)
    projector.recover()
    for number, record in enumerate(records):
        block = ledger.append([record])
        if number in (3, 11, 20):
            projector = _projector(engine, ledger, mappings)  # a restart: nothing is remembered
            projector.recover()
        else:
            projector._write(block)
    live = _rows(engine, f"`index`, {WHAT}")
    assert len(live) == len(records)
    assert {row[2] for row in live if row[0] >= 15} == {"anna", "carl"}

    gap = (3, 4, 5, 9, 12, 18, 22)
    engine.command(f"ALTER TABLE events DELETE WHERE `index` IN {gap} SETTINGS mutations_sync = 2")
    again = _projector(engine, ledger, mappings)
    again.recover()
    assert _rows(engine, f"`index`, {WHAT}") == live

    assert again.rebuild() == len(records)
    assert _rows(engine, f"`index`, {WHAT}") == live


def test_hosts_and_sources_do_not_mix(engine: Engine, mappings: MappingSet) -> None:
    ledger = MemoryLedger()
    ledger.append(_event(3, "anna", "web-1")[:1], "a")
    ledger.append(_event(3, "bert", "web-2")[:1], "a")
    ledger.append(_event(3, "carl", "web-1")[:1], "b")
    ledger.append([_event(3, host="web-2")[3], _event(3, host="web-1")[3]], "a")
    ledger.append([_event(3, host="web-1")[3], _event(3, host="web-9")[3]], "b")
    _projector(engine, ledger, mappings).recover()
    assert [row[1] for row in _rows(engine, where="`index` >= 3")] == ["bert", "anna", "carl", ""]


def test_a_lost_system_call_leaves_the_row_as_it_came(engine: Engine, mappings: MappingSet) -> None:
    ledger = MemoryLedger()
    ledger.append(_event(5)[1:])
    _projector(engine, ledger, mappings).recover()
    assert _rows(engine, where="target_name = '/srv/5'") == [("file.name", "", "", "", "unknown", "auditd", "/srv/5")]


def test_records_too_far_apart_do_not_meet_whoever_asks(mappings: MappingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is counted in entries of the ledger, so that one who read on and one who starts see the same."""
    for module in (together, kept):
        monkeypatch.setattr(module, "TOGETHER_ENTRIES_MAX", 10)
    ledger = MemoryLedger()
    for apart in (8, 9, 10):
        ledger.append([_event(apart)[0], *_noise(apart), _event(apart)[3]])
    assert _seen(ledger, mappings, 1) == _seen(ledger, mappings, 7) == _seen(ledger, mappings, 100)
    met = [bool(text) for text in _seen(ledger, mappings, 7) if text is not None]
    assert met == [False, True, False, True, False, False]


def test_text_past_the_bound_is_forgotten_the_oldest_first(
    mappings: MappingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "TOGETHER_BYTES_MAX", 1_000)
    ledger = MemoryLedger()
    events = [_event(number) for number in range(8)]
    ledger.append([record for event in events for record in event[:1]])
    ledger.append([event[3] for event in events])
    seen = _seen(ledger, mappings, 3)
    assert seen == _seen(ledger, mappings, 1) == _seen(ledger, mappings, 16)
    assert any(seen[8:])
    assert not all(seen[8:])


def _seen(ledger: MemoryLedger, mappings: MappingSet, piece: int) -> list[str | None]:
    """What each of the audit records sees, None for others; asked in blocks of `piece`, by one who is new every third time."""
    found: list[str | None] = []
    recall = Recall(ledger, None, lambda: mappings, lambda source: "auto")
    for number, start in enumerate(range(0, ledger.size, piece)):
        if number % 3 == 2:
            recall.forget()
        end = min(start + piece, ledger.size)
        parts = (each[start:end] for each in (ledger.ids, ledger.sources, ledger.received_at, ledger.records))
        block = Block(start, *parts)
        done = recall.block(block)
        earlier = done.earlier or [""] * len(block.records)
        found += [said if b"msg=audit" in record else None for said, record in zip(earlier, block.records, strict=True)]
    return found


def test_a_source_of_another_format_is_not_looked_at(mappings: MappingSet) -> None:
    ledger = MemoryLedger()
    block = ledger.append(_event(1))
    recall = Recall(ledger, None, lambda: mappings, lambda source: "json")
    assert recall.block(block) is block
    assert ledger.reads == 0


@dataclass(slots=True)
class SealedLedger(MemoryLedger):
    """A ledger of sealed records, as the real one."""

    parts: list[tuple[Any, ...]] = field(default_factory=list)

    def take(self, protector: Protector, records: Sequence[bytes]) -> Any:
        done = protector.protect([Arrival("host", "syslog", START_NS, list(records))])
        block = self.append(done.entries.records, "host")
        self.parts += done.entries.parts
        return type(block)(block.first, block.ids, block.sources, block.received_at, done.clear)

    def blocks(self, start: int, end: int) -> Iterator[Stored]:
        for a in range(start, min(end, self.size), self.piece):
            b = min(a + self.piece, end)
            yield Stored(a, self.ids[a:b], self.sources[a:b], self.received_at[a:b], self.records[a:b], self.parts[a:b])


def test_a_person_who_was_erased_is_gone_from_the_rows_that_learned_of_them(
    engine: Engine, mappings: MappingSet, catalogue: Catalogue, tmp_path: Path
) -> None:
    """Also from rows that come later, of an event that began before: what is remembered goes with the keys."""
    plan = SealPlan.compile(catalogue["auditd"].personal)

    class Plans:
        def plan_for(self, source_id: str) -> SealPlan | None:
            return plan

    protector = Protector(Plans(), KeyStore.open(tmp_path / "keys"), "log.example/a")
    ledger = SealedLedger()
    projector = _projector(engine, ledger, mappings, protector)
    projector.recover()
    gone, stays = _event(1, "zwetschge"), _event(2, "birne")
    projector._write(ledger.take(protector, [*gone[:4], *stays[:4]]))
    assert b"zwetschge" not in b"".join(ledger.records)
    assert [row[0] for row in _rows(engine, "actor_name")] == ["zwetschge"] * 4 + ["birne"] * 4

    assert protector.erase_subject("zwetschge")
    projector.rebuild()
    projector._write(ledger.take(protector, [*gone[4:], *stays[4:]]))
    everything = json.dumps(_rows(engine, "* EXCEPT (id, time, received_at, src_ip), record, words"), default=str)
    assert "zwetschge" not in everything
    names = [row[0] for row in _rows(engine, "actor_name")]
    assert names[4:8] + names[10:] == ["birne"] * 6
    assert set(names[:4] + names[8:10]) == {"{$sealed:1}"}
    assert _rows(engine, "action", "target_name = '/srv/1'") == [("file.delete",)]


def test_packed_addresses_and_names_in_hexadecimal_are_sealed_under_what_they_say(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    plan = SealPlan.compile(catalogue["auditd"].personal)

    class Plans:
        def plan_for(self, source_id: str) -> SealPlan | None:
            return plan

    protector = Protector(Plans(), KeyStore.open(tmp_path / "keys"), "log.example/a")
    ledger = SealedLedger()
    mark = "msg=audit(1795424500.001:9):"
    texts = [
        f"type=SOCKADDR {mark} saddr=02001F90CB0071070000000000000000",
        f"type=SOCKADDR {mark} saddr=0A0001BB0000000020010DB800000000000000000000000700000000",
        f"type=USER_AUTH {mark} pid=1 uid=0 auid=4294967295 ses=1 msg='op=x acct=616E6E612062 exe=\"/x\" addr=? res=failed'",
        f"type=SOCKADDR {mark} saddr=01002F72756E2F6400",
    ]
    ledger.take(protector, [_said(text) for text in texts])
    stored = b"".join(ledger.records)
    for hidden in (b"CB007107", b"20010DB8", b"616E6E612062"):
        assert hidden not in stored
    assert b"01002F72756E2F6400" in stored
    for spelled in ("203.0.113.7", "2001:db8::7", "anna b"):
        assert protector.erase_subject(spelled), spelled
    left = b"".join(protector.unseal(ledger.records, ledger.parts))
    assert b"CB007107" not in left
    assert b"616E6E612062" not in left


def test_of_many_texts_the_oldest_and_the_newest_are_kept() -> None:
    entry = kept.Together(
        "log", (("conn=",), (" op=", " fd=")), (("message",),), (), r"\b(conn=[0-9]+) ", r" (?:ACCEPT|BIND) "
    )
    memory, records = kept.Memory(), [b'{"message":"conn=7 fd=1 ACCEPT from 203.0.113.7"}']
    records += [b'{"message":"conn=7 op=%d BIND dn=\\"uid=u%d,%s\\""}' % (k, k, b"x" * 60) for k in range(200)]
    assert list(entry.having_marks(records, range(len(records)))) == list(range(len(records)))
    assert not list(entry.having_marks([b'{"message":"conn=7 closed"}'], [0]))
    for index, record in enumerate(records):
        memory.recall(index, "s", [entry], record)
    said = memory.recall(len(records), "s", [entry], b'{"message":"conn=7 op=200 RESULT "}').splitlines()
    assert "ACCEPT from 203.0.113.7" in said[0]
    assert "uid=u199" in said[-1]
    assert sum(map(len, said)) < 4_096
