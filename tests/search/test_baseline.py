"""What the store says in one aggregate is what feeding every event would have taught."""

from __future__ import annotations

import pytest
from memory_ledger import MAPPINGS, START_NS, MemoryLedger, record

from muniment.detect.baseline import aggregate
from muniment.detect.behaviour import BehaviourCorrelator, Surroundings
from muniment.detect.candidates import candidates
from muniment.detect.evaluate import Ready
from muniment.detect.history import History
from muniment.detect.rules import load_rules
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_RULES = """
title: Login
name: login
logsource: {product: muniment}
detection: {a: {action: user.login}, condition: a}
---
title: Odd
name: odd
behaviour: %s
"""
_DAY_NS = 86_400 * 10**9
_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    "behaviour",
    [
        "{type: first_seen, rules: [login], group-by: [actor], field: src_country}",
        "{type: first_seen, rules: [login], group-by: [actor], field: device}",
        "{type: rare, rules: [login], group-by: [actor], field: app, peers: severity}",
        "{type: volume, rules: [login], group-by: [actor]}",
        "{type: off_hours, rules: [login], group-by: [actor], zone: Asia/Tokyo}",
        "{type: dormant, rules: [login], group-by: [actor, app]}",
        "{type: first_seen, rules: [login], group-by: [src_subnet], field: src_ip}",
        "{type: first_seen, rules: [login], group-by: [actor], field: src_subnet}",
        "{type: impossible_travel, rules: [login], group-by: [actor], field: src_ip}",
    ],
)
def test_the_aggregate_teaches_what_the_events_teach(engine: Engine, behaviour: str) -> None:
    ledger = MemoryLedger()
    ledger.append(
        [
            record(
                action="user.login" if n % 5 else "user.logout", actor_id="anna" if n % 2 else "", actor_name="ben",
                src_country=("DE", "AT", "")[n % 3], app=("crm", "erp")[n % 2], severity="Low", ip=("192.0.2.1", "2001:db8::1", "")[n % 3],
                user_agent=(_CHROME, "curl/8", "")[n % 3], time=_text(START_NS + n * _DAY_NS // 5),
            )
            for n in range(60)
        ]
    )  # fmt: skip
    Projector(engine, ledger, None, MAPPINGS).recover()
    loaded = load_rules([("r.yml", _RULES % behaviour)])
    assert not loaded.refused, loaded.refused
    rule, correlation = loaded.rules[0], loaded.correlations[0]
    asked = aggregate(correlation, rule, candidates(rule))
    assert asked is not None
    assert correlation.behaviour is not None
    taught = BehaviourCorrelator(correlation, correlation.behaviour, Surroundings())
    for learned in asked.learned(engine.query(asked.sql.replace("{range}", "1"), asked.parameters).rows):
        taught.learn(learned)
    ready = Ready(loaded.rules, loaded.correlations, {})
    for row, matched in ready.matches(ready.wanted.read(engine, "1", {})):
        for _ in ready.fed(row, matched):
            pass
    fed = ready.correlators[correlation.key]
    assert isinstance(fed, BehaviourCorrelator)
    assert taught.known() == fed.known()
    assert fed.n_groups >= 2


@pytest.mark.parametrize(
    ("detection", "behaviour"),
    [
        ("{action: user.login}", "{type: dormant, rules: [login], group-by: [actor], after: 30d}"),
        ("{action: user.login}", "{type: first_seen, rules: [login], group-by: [actor], field: src_country}"),
        ("{action: user.login}", "{type: off_hours, rules: [login], group-by: [actor]}"),
        ("{action: user.login, record.metadata.by: web}", "{type: dormant, rules: [login], group-by: [actor], after: 30d}"),
    ],
)  # fmt: skip
def test_a_back_test_knows_what_was_before_its_range_and_nothing_of_what_is_in_it(
    engine: Engine, detection: str, behaviour: str
) -> None:
    """Ten days of logins, and one more 41 days later at another hour from another country: as it came in, that was unusual."""
    days = [*range(10), 50.5]
    ledger = MemoryLedger()
    ledger.append(
        [
            record(
                action="user.login", actor_id="anna", src_country="BR" if day > 40 else "DE", metadata={"by": "web"},
                time=_text(START_NS + int(day * _DAY_NS)),
            )
            for day in days
        ]
    )  # fmt: skip
    Projector(engine, ledger, None, MAPPINGS).recover()
    loaded = load_rules([("r.yml", (_RULES % behaviour).replace("{action: user.login}", detection))])
    assert not loaded.refused, loaded.refused
    rules = {each.key: each for each in (*loaded.rules, *loaded.correlations)}
    history = History(engine, rules.__getitem__, {})
    for since_day in (20, 49, None):
        since_us = None if since_day is None else (START_NS + since_day * _DAY_NS) // 1_000
        assert history.back_test("odd", since_us, None, 100).indexes == (10,), since_day


def _text(ns: int) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.UTC).isoformat()
