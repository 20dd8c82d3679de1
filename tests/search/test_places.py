"""Countries of addresses, where the event itself does not say one."""

from __future__ import annotations

from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.event.place import Place
from muniment.search.engine import Engine
from muniment.search.projector import Projector


def test_an_address_gets_its_country_once_and_what_the_event_says_stays(engine: Engine) -> None:
    asked: list[str] = []

    def locate(address: str) -> Place | None:
        asked.append(address)
        return {"1.0.0.1": Place("AU"), "2001:200::1": Place("JP"), "9.9.9.9": Place("")}.get(address)

    ledger = MemoryLedger()
    told = [
        {"ip": "1.0.0.1"}, {"ip": "1.0.0.1", "src_country": "NZ"}, {"ip": "2001:200::1"},
        {"ip": "10.0.0.1"}, {"ip": "9.9.9.9"}, {}, {"ip": "1.0.0.1"},
    ]  # fmt: skip
    ledger.append([record(action="user.login", **each) for each in told])
    Projector(engine, ledger, None, MAPPINGS, locate=locate).recover()
    found = engine.query("SELECT src_country FROM events ORDER BY `index`").rows
    assert [row[0] for row in found] == ["AU", "NZ", "JP", "", "", "", "AU"]
    assert sorted(asked) == ["1.0.0.1", "10.0.0.1", "2001:200::1", "9.9.9.9"]
