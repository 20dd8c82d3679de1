"""Rules over what is in the store already find what they would have found as it came in."""

from __future__ import annotations

import pytest
from memory_ledger import MAPPINGS, START_NS, MemoryLedger, record

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
                ip=("192.0.2.1", "")[n % 2],
                metadata={"team": "red" if n % 2 else "blue"},
                message=str(n),
            )
            for n in range(40)
        ]
    )
    Projector(engine, ledger, None, MAPPINGS).recover()
    return ledger.size


def _came_in(engine: Engine, loaded: Loaded, start: int, ready: Ready) -> list[Firing]:
    rows = ready.wanted.read(engine, "`index` >= {a:UInt64}", {"a": start}, "ORDER BY `index`", is_lazy=True)
    return ready.fed_all(Part(rows, rule, places) for rule, places in ready.found(rows, engine))


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
