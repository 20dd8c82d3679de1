"""A rule that no source feeds cannot fire, and that is known; what the kind of an event leaves open may be."""

from __future__ import annotations

import pytest

from muniment.detect.attack import tactics, technique
from muniment.detect.feeding import Sent, feeds_of
from muniment.detect.rule import RuleSet
from muniment.detect.rules import load_rules

BASE = """title: {title}
name: {title}
level: low
logsource: {{product: muniment{more}}}
detection:
  s: {selection}
  condition: {condition}
"""
SENT = [
    Sent("okta", "okta", "Authentication", "user.login", "failure", 3),
    Sent("shop", "json", "Entity Management", "item.delete", "success", 9),
]


def _feeds(*texts: str) -> dict[str, tuple[str, ...]]:
    loaded = load_rules((f"{n}.yml", text) for n, text in enumerate(texts))
    assert not loaded.refused
    rules = (*loaded.rules, *loaded.correlations)
    return feeds_of(RuleSet(1, loaded.rules, loaded.correlations, rules, (), ()), {}, SENT)


@pytest.mark.parametrize(
    ("selection", "more", "condition", "sources"),
    [
        ("{class_name: Authentication}", "", "s", ("okta",)),
        ("{action|endswith: .delete}", "", "s", ("shop",)),
        ("{action: mail.forward}", "", "s", ()),
        ("{class_name: Authentication, outcome: success}", "", "s", ()),
        ("{src_ip: 192.0.2.1}", "", "s", ("okta", "shop")),
        ("{source: shop}", "", "not s", ("okta",)),
        ("{src_ip: 192.0.2.1}", ", service: okta", "s", ("okta",)),
        ("{src_ip: 192.0.2.1}", ", category: dns_activity", "s", ()),
    ],
)
def test_a_rule_is_fed_by_who_sends_what_it_could_be_about(
    selection: str, more: str, condition: str, sources: tuple[str, ...]
) -> None:
    assert _feeds(BASE.format(title="one", selection=selection, more=more, condition=condition)) == {"one": sources}


@pytest.mark.parametrize(("kind", "fed"), [("temporal_ordered", ()), ("event_count", ("okta",))])
def test_a_sequence_needs_all_its_parts_and_a_count_any(kind: str, fed: tuple[str, ...]) -> None:
    there = BASE.format(title="there", selection="{class_name: Authentication}", more="", condition="s")
    absent = BASE.format(title="absent", selection="{action: mail.forward}", more="", condition="s")
    condition = "" if kind == "temporal_ordered" else "  condition: {gte: 2}\n"
    both = (
        f"title: Both\nname: both\nlevel: high\ncorrelation:\n  type: {kind}\n  rules: [there, absent]\n"
        f"  group-by: [actor]\n  timespan: 5m\n{condition}"
    )
    assert _feeds(there, absent, both)["both"] == fed


def test_attack_names_techniques_and_orders_tactics() -> None:
    assert technique("T1110.003").name == "Brute Force: Password Spraying"
    assert technique("T1110.003").tactics == ("credential-access",)
    assert next(iter(tactics().values())) == "Reconnaissance"
    assert len(tactics()) == 14
