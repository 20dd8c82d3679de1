"""Rules over what is in the store already find what they would have found as it came in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from memory_ledger import MAPPINGS, START_NS, MemoryLedger, record

from muniment.detect import history as history_module
from muniment.detect.alerts import SOURCE
from muniment.detect.correlation import Firing
from muniment.detect.correlators import Part
from muniment.detect.evaluate import Ready
from muniment.detect.history import History
from muniment.detect.rule import Loaded
from muniment.detect.rules import load_rules
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_LOGIN = """
title: Login
name: login
logsource: {product: muniment}
detection: {a: {action: user.login}, condition: a}
---
title: Export
name: export
logsource: {product: muniment}
detection: {a: {action|contains: export}, condition: a}
---
"""
_CORRELATIONS = {
    "devices": "{type: value_count, rules: [login], group-by: [actor], timespan: 1h, condition: {gte: 2, field: device}}",
    "session": "{type: event_count, rules: [login], group-by: [session_id], timespan: 1h, condition: {gte: 3}}",
    "apps": "{type: value_count, rules: [login], group-by: [src_ip], timespan: 1h, condition: {gte: 2, field: app}}",
    "ordered": "{type: temporal_ordered, rules: [login, export], group-by: [session_id], timespan: 1h}",
    "record": "{type: event_count, rules: [login], group-by: [record.metadata.team], timespan: 1h, condition: {gte: 4}}",
    "networks": "{type: value_count, rules: [login], group-by: [src_subnet], timespan: 1h, condition: {gte: 2, field: src_ip}}",
    "places": "{type: value_count, rules: [login], group-by: [src_country], timespan: 1h, condition: {gte: 2, field: src_subnet}}",
    "silence": "{type: event_count, rules: [export], group-by: [app], timespan: 1h, condition: {lt: 2}}",
}
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def _loaded(name: str) -> Loaded:
    loaded = load_rules([("r.yml", f"{_LOGIN}title: It\nname: it\ncorrelation: {_CORRELATIONS[name]}\n")])
    assert not loaded.refused, loaded.refused
    return loaded


def _fill(engine: Engine) -> int:
    ledger = MemoryLedger()
    ledger.append(
        [
            record(
                action="data.export" if n % 7 == 6 else "user.login",
                actor_id=("anna", "bert", "cem")[n % 3],
                user_agent=_FIREFOX if n % 2 else "curl/8.5",
                session_id=f"s{n % 4}",
                app=f"app{n % 5}",
                ip=("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.77", "2001:db8::ffff:2")[n // 2 % 4] if n % 2 else "",
                src_country=("BR", "")[n % 3 == 0],
                metadata={"team": "red" if n % 2 else "blue"},
                message=str(n),
            )
            for n in range(40)
        ]
    )
    Projector(engine, ledger, None, MAPPINGS).recover()
    return ledger.size


def _came_in(engine: Engine, loaded: Loaded, start: int, ready: Ready) -> list[Firing]:
    rows = ready.wanted.read_new(engine, start, 2**40, SOURCE)
    return ready.fed_all(Part(rows, rule, places) for rule, places in ready.found(rows, engine))


@pytest.fixture(params=["whole", "in parts", "of dense groups"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """History as one part, in many, and of the groups alone that can fire."""
    if request.param == "of dense groups":
        monkeypatch.setattr(history_module, "DETECT_DENSE_EVENTS_MIN", 0)
    if request.param != "whole":
        monkeypatch.setattr(history_module, "DETECT_HISTORY_PART_EVENTS", 7)
        monkeypatch.setattr(history_module, "DETECT_HISTORY_STEP", 3)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("name", sorted(_CORRELATIONS))
def test_a_back_test_of_a_correlation_finds_what_would_have_been_found(engine: Engine, name: str) -> None:
    size = _fill(engine)
    loaded = _loaded(name)
    ready = Ready(loaded.rules, loaded.correlations, {})
    fired = [*_came_in(engine, loaded, 0, ready), *ready.advanced(START_NS // 1_000 + 2 * 3_600_000_000)]
    expected = [firing.indexes[-1] for firing in fired if not firing.is_more]
    assert expected
    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    found = history.back_test("it", None, None, size)
    assert (found.hits, sorted(found.indexes)) == (len(expected), sorted(expected))


_OF_GROUPS = {
    "counted": ("{type: event_count, rules: [login], group-by: [actor], timespan: 10m, condition: {gte: 3}}", (3, 1)),
    "more than": ("{type: event_count, rules: [login], group-by: [actor], timespan: 10m, condition: {gt: 3}}", (0, 0)),
    "of values": ("{type: value_count, rules: [login], group-by: [actor], timespan: 10m, condition: {gte: 3, field: app}}", (3, 1)),
    "in order": ("{type: temporal_ordered, rules: [login, export], group-by: [actor], timespan: 10m}", (2, 1)),
    "by device": ("{type: event_count, rules: [login], group-by: [device], timespan: 10m, condition: {gte: 3}}", (11, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(_OF_GROUPS))
def test_of_groups_that_cannot_fire_nothing_is_read(engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Anna logs in three times in ten minutes, Bert and an address without a name now and then; Cem exports after his login."""
    minutes = [("anna", 0), ("bert", 1), ("anna", 4), ("", 5), ("anna", 10), ("bert", 40), ("", 50), ("bert", 90)]
    logins = [("user.login", who, minute) for who, minute in [*minutes, ("cem", 100), ("bert", 140), ("dora", 200)]]
    exports = [("data.export", "cem", 109), ("data.export", "dora", 211)]
    ledger = MemoryLedger()
    for n, (action, who, minute) in enumerate(sorted([*logins, *exports], key=lambda each: each[2])):
        at = _text(START_NS + minute * 60 * 10**9)
        ledger.append([record(action=action, actor_id=who, app=f"app{n}", message=str(n), time=at)])
    Projector(engine, ledger, None, MAPPINGS).recover()
    body, expected = _OF_GROUPS[name]
    loaded = load_rules([("r.yml", f"{_LOGIN}title: It\nname: it\ncorrelation: {body}\n")])
    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    whole = history.back_test("it", None, None, ledger.size)
    monkeypatch.setattr(history_module, "DETECT_DENSE_EVENTS_MIN", 0)
    found = history.back_test("it", None, None, ledger.size)
    assert (found.hits, found.indexes, found.by_day) == (whole.hits, whole.indexes, whole.by_day)
    assert (found.looked_at, found.hits) == expected
    assert whole.looked_at >= len(logins)


def test_what_a_silent_correlation_would_have_fed_is_not_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    size = _fill(engine)
    monkeypatch.setattr(history_module, "DETECT_DENSE_EVENTS_MIN", 0)
    for times, is_found in ((3, True), (30, False)):
        many = (
            f"{{type: event_count, rules: [login], group-by: [session_id], timespan: 1h, condition: {{gte: {times}}}}}"
        )
        then = "{type: temporal, rules: [many, export], group-by: [session_id], timespan: 1h}"
        text = f"{_LOGIN}title: Many\nname: many\ncorrelation: {many}\n---\ntitle: It\nname: it\ncorrelation: {then}\n"
        loaded = load_rules([("r.yml", text)])
        ready = Ready(loaded.rules, loaded.correlations, {})
        fired = [f for f in _came_in(engine, loaded, 0, ready) if f.correlation.name == "it" and not f.is_more]
        history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
        found = history.back_test("it", None, None, size)
        assert sorted(found.indexes) == sorted(firing.indexes[-1] for firing in fired)
        assert (bool(fired), found.looked_at > 0) == (is_found, is_found)


def test_a_back_test_tells_what_a_part_of_another_finds(engine: Engine) -> None:
    """It alerts through the other only, and people ask what it would find all the same."""
    size = _fill(engine)
    whole = "title: Whole\ncorrelation: {type: temporal, rules: [it, export], group-by: [session_id], timespan: 1h}\n"
    alone = f"{_LOGIN}title: It\nname: it\ncorrelation: {_CORRELATIONS['session']}\n"
    hits = []
    for text in (alone, f"{alone}---\n{whole}", alone.replace("name: it", "name: it\nlevel: informational")):
        loaded = load_rules([("r.yml", text)])
        assert not loaded.refused
        history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
        hits.append(history.back_test("it", None, None, size).hits)
    assert hits[0] > 0
    assert hits == [hits[0]] * 3


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("name", sorted(_CORRELATIONS))
def test_after_a_restart_correlations_know_what_came_before(engine: Engine, name: str) -> None:
    size = _fill(engine)
    loaded = _loaded(name)
    through, again = (Ready(loaded.rules, loaded.correlations, {}) for _ in range(2))
    expected = [f.indexes for f in _came_in(engine, loaded, 0, through) if f.indexes[-1] >= size - 1]
    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    history.warm_up(again, START_NS // 1_000, size - 1)
    assert [f.indexes for f in _came_in(engine, loaded, size - 1, again)] == expected
    assert again.correlators["it"].n_groups == through.correlators["it"].n_groups


def _text(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_window_that_was_over_before_a_restart_is_not_told_again(engine: Engine) -> None:
    """Conditions that are decided when the window is over: what was decided before is not decided once more."""
    minute_ns = 60 * 10**9
    ledger = MemoryLedger()
    for n, minute in enumerate((0, 66, 114)):
        at = _text(START_NS + minute * minute_ns)
        ledger.append([record(action="data.export", app=f"app{n}", message=str(n), time=at)])
    Projector(engine, ledger, None, MAPPINGS).recover()
    loaded = _loaded("silence")
    through, again = (Ready(loaded.rules, loaded.correlations, {}) for _ in range(2))
    _came_in(engine, loaded, 0, through)
    before = [firing.indexes for firing in through.advanced((START_NS + 114 * minute_ns) // 1_000)]
    assert before == [(0,)]
    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    history.warm_up(again, (START_NS + 116 * minute_ns) // 1_000, ledger.size)
    later = (START_NS + 240 * minute_ns) // 1_000
    assert [f.indexes for f in again.advanced(later)] == [f.indexes for f in through.advanced(later)] == [(1,), (2,)]
