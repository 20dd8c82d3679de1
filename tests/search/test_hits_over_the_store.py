"""What came from an address or account, over a real store: two queries say what counting event by event says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest
from memory_ledger import START_NS, MemoryLedger, record

from muniment.limits import BLOCK_VALUES_SHOWN
from muniment.respond.block import Kind
from muniment.respond.preview import first_ever, hits
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.sources.catalogue import AUTO, load

NOW_NS = START_NS + 3_600 * 10**9


class Counting:
    """An engine that counts what it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.n = 0

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
        self.n += 1
        return self._engine.query(sql, parameters)


def _events(seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {
            "action": chance.choice(["user.login", "file.read", f"thing.do{chance.randrange(30)}"]),
            "outcome": chance.choice(["success", "failure"]),
            "actor": {"id": f"u{chance.randrange(25)}"} if chance.random() < 0.9 else {},
            "context": {
                "ip": chance.choice(["203.0.113.7", "203.0.113.7", "198.51.100.3", "2001:db8::5"]),
                "user_agent": chance.choice(["curl/8.0", "Firefox/130", ""]),
            },
            "occurred_at": f"2026-09-21T13:{chance.randrange(60):02}:{chance.randrange(60):02}Z",
        }
        for _ in range(400)
    ]


def _most(values: Iterable[str]) -> list[tuple[str, int]]:
    counted = Counter(value for value in values if value)
    return sorted(counted.items(), key=lambda each: (-each[1], each[0]))[:BLOCK_VALUES_SHOWN]


@pytest.mark.parametrize(("kind", "value"), [("address", "203.0.113.7"), ("account", "u7"), ("account", "nobody")])
def test_lists_and_sums_are_those_of_the_events_in_two_queries(engine: Engine, kind: Kind, value: str) -> None:
    ledger, events = MemoryLedger(), _events(7)
    projector = Projector(engine, ledger, None, mapping_set(load()), lambda source: AUTO)
    ledger.append([record(**each) for each in events], "shop")
    projector.recover()
    mine = [
        each
        for each in events
        if value == (each["context"]["ip"] if kind == "address" else each["actor"].get("id", ""))
    ]
    asked = Counting(engine)
    found = hits(cast("Engine", asked), kind, value, NOW_NS, ())
    assert asked.n == (2 if mine else 1)
    assert found.events == len(mine)
    assert list(found.people) == _most(e["actor"].get("id", "") for e in mine if e["outcome"] == "success")
    assert list(found.actions) == _most(e["action"] for e in mine)
    assert list(found.agents) == _most(e["context"]["user_agent"] for e in mine)
    assert list(found.origins) == _most(e["context"]["ip"] for e in mine)
    assert list(found.sources) == _most("shop" for _ in mine)
    assert found.first_us == first_ever(engine, kind, value)
