"""Timelines of cases over a real store: what a plain loop over the events says; the most telling first; gaps; bounds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from memory_ledger import START_NS, MemoryLedger, record

from muniment.cases.about import About
from muniment.cases.case import Case, Mark
from muniment.cases.gaps import gaps
from muniment.cases.timeline import draft
from muniment.detect.alerts import SOURCE, Alert, alert_of, kept_alerts, record_of
from muniment.limits import CASE_BEFORE_S, CASE_DAYS_MAX, CASE_LINES_MAX
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.sources.catalogue import AUTO, load

START_US = START_NS // 1_000
MINUTE_US = 60_000_000
ATTACKER = "203.0.113.7"


def _event(action: str, outcome: str, who: str, address: str, at_us: int, **more: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "action": action,
        "outcome": outcome,
        "actor": {"id": who},
        "context": {"ip": address},
        "occurred_at": at,
        **more,
    }


def _stored(engine: Engine, ledger: MemoryLedger) -> None:
    Projector(engine, ledger, None, mapping_set(load()), lambda source: AUTO).recover()


def _alert(evidence: Sequence[int], first_us: int, last_us: int) -> Alert:
    return Alert(
        uid="a-1", rule_id="r", title="Tries", level="high", author="Muniment", kind="rule", description="",
        tags=("attack.credential-access",), references=(), false_positives=(), file="", group=(("src_ip", ATTACKER),),
        count=len(evidence), first_us=first_us, last_us=last_us, evidence=tuple(evidence), seen_to=max(evidence, default=0),
        values={}, created_ns=last_us * 1_000, updated_ns=last_us * 1_000,
    )  # fmt: skip


def _case(**more: Any) -> Case:
    values = {
        "number": 1, "title": "Tries", "level": "high", "drill": "", "state": "open", "verdict": "", "reason": "", "owner": "",
        "opened_by": "ana", "opened_at": START_NS, "changed_by": "ana", "changed_at": START_NS, "closed_at": 0, "version": 1,
    }  # fmt: skip
    return Case(**{**values, **more})


def test_every_event_of_those_concerned_is_in_it_once_and_nobody_elses(engine: Engine) -> None:
    chance, ledger, events = random.Random(3), MemoryLedger(), []
    for _ in range(600):
        action, outcome = chance.choice(
            [("user.login", "failure"), ("user.login", "success"), ("file.read", "success"), ("role.grant", "success")]
        )
        who, address = f"u{chance.randrange(6)}", chance.choice([ATTACKER, "198.51.100.3", "2001:db8::5"])
        events.append(_event(action, outcome, who, address, START_US + chance.randrange(0, 180) * MINUTE_US))
    ledger.append([record(**each) for each in events], "shop")
    _stored(engine, ledger)
    first = START_US + 60 * MINUTE_US
    alert = _alert([0, 1, 2], first, first)
    concerned = About((ATTACKER,), (), ("U3",))
    found = draft(engine, _case(), [alert], concerned, [], (START_US + 170 * MINUTE_US) * 1_000)
    starts, ends = first - CASE_BEFORE_S * 1_000_000, START_US + 170 * MINUTE_US

    def at(each: dict[str, Any]) -> int:
        return int(datetime.fromisoformat(each["occurred_at"]).timestamp() * 1e6)

    wanted = {
        index for index, each in enumerate(events)
        if index < 3
        or ((each["context"]["ip"] == ATTACKER or each["actor"]["id"] == "u3") and starts <= at(each) <= ends)
    }  # fmt: skip
    assert not found.n_untold
    told = [index for line in found.lines for index in line.indexes]
    assert sorted(told) == sorted(wanted)
    assert sum(line.count for line in found.lines) == len(wanted)
    assert (found.from_us, found.to_us, found.is_cut) == (starts, ends, False)
    for line in found.lines:
        mine = [events[index] for index in line.indexes]
        assert {(each["action"], each["outcome"], each["context"]["ip"]) for each in mine} == {
            (line.action, line.outcome, line.address)
        }
        assert {each["actor"]["id"] for each in mine} == set(line.who)
        assert (line.at_us, line.until_us) == (min(map(at, mine)), max(map(at, mine)))
    phases = {index for line in found.lines if line.phase == "Credential Access" for index in line.indexes}
    assert {0, 1, 2} <= phases


def test_what_is_telling_stays_when_there_is_too_much(engine: Engine) -> None:
    ledger = MemoryLedger()
    noise = [
        _event(f"thing.look{k}", "success", "eve", ATTACKER, START_US + k * 1_000_000)
        for k in range(CASE_LINES_MAX + 80)
    ]
    telling = [
        _event("role.grant", "success", "eve", ATTACKER, START_US + 900_000_000),
        _event("data.export", "success", "eve", ATTACKER, START_US + 901_000_000),
        _event("setting.disable", "success", "eve", ATTACKER, START_US + 902_000_000),
        _event("token.create", "success", "eve", ATTACKER, START_US + 903_000_000),
        _event("user.login", "success", "eve", ATTACKER, START_US + 904_000_000),
    ]
    ledger.append([record(**each) for each in (*noise, *telling)], "shop")
    _stored(engine, ledger)
    alert = _alert([0], START_US, START_US)
    found = draft(engine, _case(), [alert], About((ATTACKER,)), [], (START_US + 3_600_000_000) * 1_000)
    assert len(found.lines) == CASE_LINES_MAX
    assert (found.n_untold, found.n_untold_events) == (85, 85)
    actions = {line.action for line in found.lines}
    assert {each["action"] for each in telling} <= actions
    assert 0 in {line.index for line in found.lines}, "the evidence is not there"
    by_action = {line.action: line.weight for line in found.lines}
    assert by_action["role.grant"] > by_action["token.create"] > by_action["data.export"] > by_action["setting.disable"]


def test_a_pinned_event_is_a_line_of_its_own_and_a_line_that_is_taken_out_is_listed(engine: Engine) -> None:
    ledger = MemoryLedger()
    tries = [_event("user.login", "failure", "eve", ATTACKER, START_US + k * 1_000_000) for k in range(20)]
    other = _event("file.read", "success", "bob", "192.0.2.1", START_US + 5)
    ledger.append([record(**each) for each in (*tries, other)], "shop")
    _stored(engine, ledger)
    alert, now = _alert([0], START_US, START_US), (START_US + 3_600_000_000) * 1_000
    marks = [Mark(3, "pinned", "ana", 9, ""), Mark(20, "pinned", "ana", 9, "")]
    found = draft(engine, _case(), [alert], About((ATTACKER,)), marks, now)
    assert {line.index: (line.count, line.kind) for line in found.lines} == {
        0: (19, "event"), 3: (1, "pinned"), 20: (1, "pinned"),
    }  # fmt: skip
    out = draft(engine, _case(), [alert], About((ATTACKER,)), [Mark(0, "left_out", "ana", 9, "a scanner of ours")], now)
    assert out.lines == ()
    assert [(line.index, line.mark_by, line.mark_reason) for line in out.left_out] == [(0, "ana", "a scanner of ours")]


def test_a_case_whose_alerts_are_gone_still_shows_what_was_pinned(engine: Engine) -> None:
    ledger = MemoryLedger()
    ledger.append([record(**_event("file.read", "success", "bob", "192.0.2.1", START_US))], "shop")
    _stored(engine, ledger)
    found = draft(engine, _case(), [], About(), [Mark(0, "pinned", "ana", 9, "")], START_NS + 9)
    assert [(line.index, line.kind) for line in found.lines] == [(0, "pinned")]
    assert draft(engine, _case(), [], About(), [], START_NS + 9).lines == ()


def test_alerts_too_old_for_memory_are_read_from_their_newest_records(engine: Engine) -> None:
    ledger = MemoryLedger()
    alert = _alert([1], START_US, START_US)
    newer = msgspec.structs.replace(alert, count=9, state="resolved")
    ledger.append([record_of(alert, "alert.create"), record_of(newer, "alert.update")], SOURCE)
    Projector(engine, ledger, None, mapping_set(load()), lambda source: "alert").recover()
    assert kept_alerts(engine, ["a-1", "a-2"]) == {"a-1": alert_of(record_of(newer, "alert.update"))}


def test_it_ends_when_the_case_does_and_after_thirty_days(engine: Engine) -> None:
    ledger = MemoryLedger()
    day = 86_400_000_000
    events = [_event("file.read", "success", "eve", ATTACKER, START_US + k * day) for k in range(40)]
    ledger.append([record(**each) for each in events], "shop")
    _stored(engine, ledger)
    alert, now = _alert([0], START_US, START_US), (START_US + 60 * day) * 1_000
    open_ = draft(engine, _case(), [alert], About((ATTACKER,)), [], now)
    assert open_.is_cut
    assert open_.to_us - open_.from_us == CASE_DAYS_MAX * day
    assert len(open_.lines) == CASE_DAYS_MAX
    closed = draft(engine, _case(closed_at=(START_US + 3 * day) * 1_000), [alert], About((ATTACKER,)), [], now)
    assert (len(closed.lines), closed.is_cut) == (4, False)


def test_a_source_that_fell_silent_leaves_a_gap(engine: Engine) -> None:
    ledger = MemoryLedger()
    ledger.append([record(action="a.b") for _ in range(300)], "okta")
    ledger.append([record(action="a.b") for _ in range(10)], "slow")
    # okta: every minute, silent from minute 100 to 160 and from 240 on; slow: no rhythm.
    for k in range(300):
        minute = k if k < 100 else k + 60
        ledger.received_at[k] = START_NS + min(minute, 239) * 60 * 10**9 + (k if minute > 239 else 0)
    _stored(engine, ledger)
    end = START_US + 300 * MINUTE_US
    found = gaps(engine, {"okta": (60, 0), "slow": (0, 0)}, START_US, end)
    assert [(gap.source, round((gap.from_us - START_US) / MINUTE_US), round((gap.to_us - START_US) / MINUTE_US), gap.is_open) for gap in found] == [
        ("okta", 99, 160, False), ("okta", 239, 300, True),
    ]  # fmt: skip
    assert gaps(engine, {"okta": (3_600, 0)}, START_US, end) == []
    never = gaps(engine, {"gone": (60, START_US + 10 * MINUTE_US)}, START_US, end)
    assert [(gap.from_us, gap.to_us, gap.is_open) for gap in never] == [(START_US + 10 * MINUTE_US, end, True)]
    assert gaps(engine, {"okta": (60, 0)}, end, START_US) == []
