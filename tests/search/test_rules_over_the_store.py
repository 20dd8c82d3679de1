"""Rules read events from a real store as columns; what they see is what the store holds."""

from __future__ import annotations

from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.detect.evaluate import Ready
from muniment.detect.rules import load_rules
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_RULES = """
title: Who
name: who
logsource: {product: muniment}
detection:
  a: {action: 'user.delete', actor|contains: 'a/"nn'}
  condition: a
---
title: What the record says
name: deep
logsource: {product: muniment}
detection:
  a: {action|endswith: .delete, record.metadata.why: because}
  condition: a
---
title: Both
name: together
correlation: {type: event_count, rules: [deep], group-by: [record.metadata.team], timespan: 1h, condition: {gte: 2}}
"""


def test_columns_shapes_and_lazily_read_records(engine: Engine) -> None:
    ledger = MemoryLedger()
    projector = Projector(engine, ledger, None, MAPPINGS)
    why = {"why": "because", "team": "red"}
    ledger.append(
        [
            record(action="user.delete", actor_id='A/"nna', message="1"),
            record(action="user.login", actor_id='a/"nna', message="2"),
            record(action="user.delete", actor_id="bert", metadata=why, message="3"),
            record(action="user.delete", actor_id="bert", metadata={"why": "else"}, message="4"),
            record(action="file.delete", actor_id="bert", metadata=why, message="5"),
        ]
    )
    projector.recover()
    loaded = load_rules([("rules.yml", _RULES)])
    assert not loaded.refused
    found = {}
    for is_lazy in (True, False):
        ready = Ready(loaded.rules, loaded.correlations, {})
        rows = ready.wanted.read(engine, "`index` >= {a:UInt64}", {"a": 0}, "ORDER BY `index`", is_lazy=is_lazy)
        matches = ready.matches(rows, engine)
        found[is_lazy] = [(row.index, rule.name) for row, rule in matches]
        fired = [firing for row, rule in matches for firing in ready.fed(row, rule)]
        assert [(firing.group, firing.indexes) for firing in fired] == [((("record.metadata.team", "red"),), (2, 4))]

    assert found[True] == found[False] == [(0, "who"), (2, "deep"), (4, "deep")]
    assert ready.wanted.read(engine, "`index` > {a:UInt64}", {"a": 99}, "ORDER BY `index`").newest_us == 0
