"""Who several systems call the same: as an event comes in, over the store, and as SQL says it."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_ledger import MAPPINGS, MemoryLedger, empty, record

from muniment.detect.alerts import SOURCE
from muniment.detect.correlators import Part
from muniment.detect.derived import ACCOUNT, ACCOUNT_SQL, TARGET_ACCOUNT, TARGET_ACCOUNT_SQL
from muniment.detect.evaluate import Ready
from muniment.detect.history import History
from muniment.detect.rules import load_rules
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_RULES = """
title: Reset
name: reset
logsource: {product: muniment}
detection: {a: {action: user.password_reset}, condition: a}
---
title: Export
name: export
logsource: {product: muniment}
detection: {a: {action: report.export}, condition: a}
---
title: Both
name: both
correlation:
  type: temporal
  rules: [reset, export]
  group-by: [actor]
  timespan: 1h
  aliases: {actor: {reset: target_account, export: account}}
"""
_NAMES = [
    "",
    "anna",
    "Anna@Example.com",
    "anna@example.com",
    "user:anna@example.com",
    "a@b@c",
    "Ünna@example.com",
    "00u7",
]
_NAMED = st.sampled_from(_NAMES)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.booleans(), _NAMED, _NAMED), min_size=1, max_size=30))
@example([(True, "00u7", "Anna@Example.com"), (False, "i:3", "anna@example.com")])
def test_live_and_back_test_agree_about_who_is_the_same(engine: Engine, acts: list[tuple[bool, str, str]]) -> None:
    empty(engine)
    ledger = MemoryLedger()
    ledger.append(
        [
            record(action="user.password_reset", actor_id="desk", target_id=id, target_name=name)
            if is_reset
            else record(action="report.export", actor_id=id, actor_name=name)
            for is_reset, id, name in acts
        ]
    )
    Projector(engine, ledger, None, MAPPINGS).recover()
    loaded = load_rules([("r.yml", _RULES)])
    assert not loaded.refused, loaded.refused
    ready = Ready(loaded.rules, loaded.correlations, {})
    rows = ready.wanted.read_new(engine, 0, 2**40, SOURCE)
    for name, sql in ((ACCOUNT, ACCOUNT_SQL), (TARGET_ACCOUNT, TARGET_ACCOUNT_SQL)):
        told = [str(row[0]) for row in engine.query(f"SELECT {sql} FROM events ORDER BY `index`").rows]
        assert told == list(rows.values(name)) == [row.derived(name) for row in rows]
    resets = {_address(id, name) for is_reset, id, name in acts if is_reset} - {""}
    exports = {_address(id, name) for is_reset, id, name in acts if not is_reset} - {""}
    fired = list(ready.fed_all(Part(rows, rule, places) for rule, places in ready.found(rows, engine)))
    assert {dict(firing.group)["actor"] for firing in fired} == resets & exports
    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    assert history.back_test("both", None, None, ledger.size).hits == len(resets & exports)


def _address(id: str, name: str) -> str:
    """The slow twin: the one of both that is a mail address."""
    return next((each.lower() for each in (name, id) if each.count("@") == 1 and ":" not in each), "")
