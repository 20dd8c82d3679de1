"""The network of an address is one and the same: as an event comes in, over the store, and as SQL says it."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_ledger import MAPPINGS, MemoryLedger, empty, record

from muniment.detect.alerts import SOURCE
from muniment.detect.correlators import Part
from muniment.detect.derived import SUBNET, SUBNET_SQL, subnet_of
from muniment.detect.evaluate import Ready
from muniment.detect.history import History
from muniment.detect.rules import load_rules
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_RULES = """
title: Refused
name: refused
logsource: {product: muniment}
detection: {a: {outcome: failure}, condition: a}
---
title: Of one network
name: network
logsource: {product: muniment}
detection: {a: {src_subnet: %s}, condition: a}
---
title: Three addresses of a network
name: addresses
correlation: {type: value_count, rules: [refused], group-by: [src_subnet], timespan: 1h, condition: {gte: 3, field: src_ip}, generate: true}
---
title: Two networks of an account
name: networks
correlation: {type: value_count, rules: [refused], group-by: [actor], timespan: 1h, condition: {gte: 2, field: src_subnet}, generate: true}
"""
_ODD = [
    "",
    "::",
    "0.0.0.0",
    "::1",
    "127.0.0.1",
    "2001:db8::ffff:1",
    "::ffff:0:1:2",
    "::1.2.3.4",
    "fe80::1",
    "0:0:0:1::",
    "1:0:0:2::",
]
_ADDRESSES = st.one_of(
    st.sampled_from(_ODD),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=4).map(lambda each: f"::ffff:{each}"),
    st.ip_addresses(v=4).map(lambda each: f"64:ff9b::{each}"),
    st.integers(0, 255).map(lambda host: f"198.51.100.{host}"),
    st.integers(0, 3).map(lambda host: f"::ffff:198.51.100.{host}"),
    st.integers(0, 2**64 - 1).map(lambda host: str(IPv6Address(0x2001_0DB8_0000_0007 << 64 | host))),
)
_LISTS = st.lists(_ADDRESSES, min_size=1, max_size=40)


def _network(text: str) -> str:
    """The slow twin: what the network of an address is, by the standard library."""
    if not text or (found := ip_address(text)).is_unspecified:
        return ""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
        if found.is_unspecified:
            return ""
    is_translated = found in ip_network("64:ff9b::/96")
    bits = 24 if isinstance(found, IPv4Address) else 120 if is_translated else 64
    return str(ip_network((found, bits), strict=False))


@given(_ADDRESSES | st.text(max_size=20))
def test_any_text_has_a_network_or_none(text: str) -> None:
    try:
        expected = _network(text)
    except ValueError:
        expected = ""
    assert subnet_of(text) == (expected if "%" not in text else subnet_of(text.partition("%")[0]))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(addresses=_LISTS, wanted=st.data())
@example(addresses=_ODD, wanted=None)
@example(
    addresses=["198.51.100.1", "::ffff:198.51.100.2", "2001:db8:0:7::1", "198.51.100.3", "2001:db8:0:7::ffff:1"],
    wanted=None,
)
def test_live_and_back_test_agree_over_any_addresses(
    engine: Engine, addresses: list[str], wanted: st.DataObject | None
) -> None:
    empty(engine)
    ledger = MemoryLedger()
    ledger.append([record(outcome="failure", ip=each, actor_id=f"u{n % 2}") for n, each in enumerate(addresses)])
    Projector(engine, ledger, None, MAPPINGS).recover()
    expected = [_network(each) for each in addresses]

    assert [str(row[0]) for row in engine.query(f"SELECT {SUBNET_SQL} FROM events ORDER BY `index`").rows] == expected
    one = wanted.draw(st.sampled_from(expected)) if wanted is not None else max(expected)
    loaded = load_rules([("r.yml", _RULES % f"'{one}'")])
    assert not loaded.refused, loaded.refused
    ready = Ready(loaded.rules, loaded.correlations, {})
    rows = ready.wanted.read_new(engine, 0, 2**40, SOURCE)
    assert list(rows.values(SUBNET)) == expected == [row.derived(SUBNET) for row in rows]
    found = ready.found(rows, engine)
    matched = {rule.name: [rows.indexes[place] for place in places] for rule, places in found}
    assert matched.get("network", []) == [n for n, each in enumerate(expected) if each == one]
    firings = ready.fed_all(Part(rows, rule, places) for rule, places in found)
    fired = defaultdict(list)
    for firing in firings:
        if not firing.is_more:
            fired[firing.correlation.name].append(firing.indexes[-1])
    assert fired["addresses"] == _third_addresses(addresses, expected)

    history = History(engine, {each.key: each for each in (*loaded.rules, *loaded.correlations)}.__getitem__, {})
    for name, indexes in (
        ("network", matched.get("network", [])), ("addresses", fired["addresses"]), ("networks", fired["networks"]),
    ):  # fmt: skip
        back = history.back_test(name, None, None, ledger.size)
        assert (back.hits, sorted(back.indexes)) == (len(indexes), sorted(indexes)), name


def _third_addresses(addresses: list[str], networks: list[str]) -> list[int]:
    """Where the third address of each network comes."""
    seen: dict[str, set[str]] = defaultdict(set)
    found = []
    for n, (text, network) in enumerate(zip(addresses, networks, strict=True)):
        if not network:
            continue
        address = ip_address(text)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        before = len(seen[network])
        seen[network].add(str(mapped or address))
        if before == 2 and len(seen[network]) == 3:
            found.append(n)
    return found
