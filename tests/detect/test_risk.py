"""What alerts add up to: levels, time, noise, false alarms; and the alert about it."""

from __future__ import annotations

from muniment.detect.alerts import Alert
from muniment.detect.risk import risk_of, risks
from muniment.limits import RISK_HALF_LIFE_S

_NOW_NS = 1_795_000_000 * 10**9


def _alert(n: int, level: str, rule: str, age_s: float = 0, **more: object) -> Alert:
    at = int(_NOW_NS / 1_000 - age_s * 1e6)
    given = {
        "uid": str(n), "rule_id": rule, "title": f"Rule {rule}", "level": level, "author": "", "kind": "rule",
        "description": "", "tags": ("attack.initial-access", "attack.t1078"), "references": (), "false_positives": (),
        "file": "", "group": (), "count": 1, "first_us": at, "last_us": at, "evidence": (n,), "seen_to": n,
        "values": {"actors": ("anna",), "addresses": ("203.0.113.7",)}, "created_ns": 0, "updated_ns": 0, **more,
    }  # fmt: skip
    return Alert(**given)  # type: ignore[arg-type]


def test_levels_add_up_and_fade() -> None:
    alerts = [_alert(1, "high", "a"), _alert(2, "medium", "b", RISK_HALF_LIFE_S)]
    anna = risk_of("actor", "anna", alerts, _NOW_NS)
    assert round(anna.score, 3) == 62.5
    assert anna.words == "risk 62 of 2 rules: Rule a (50); Rule b (12)"
    theirs = risk_of("actor", "anna", [_alert(1, "high", "a", author="Ana"), alerts[1]], _NOW_NS)
    assert theirs.words == "risk 62 of 2 rules: Rule a (50); Rule b (12); rules by Ana"
    assert anna.tactics == ("initial-access",)
    assert [(each.kind, each.value) for each in risks(alerts, _NOW_NS)] == [
        ("actor", "anna"),
        ("address", "203.0.113.7"),
    ]


def test_the_risk_of_one_is_the_same_when_the_others_are_not_looked_at() -> None:
    other = {"actors": ("bert", "203.0.113.7"), "addresses": ("203.0.113.8",)}
    alerts = [_alert(1, "high", "a"), _alert(2, "medium", "b", values=other), _alert(3, "high", "c", RISK_HALF_LIFE_S)]
    for value in ("anna", "bert", "203.0.113.7", "203.0.113.8", "nobody"):
        assert risks(alerts, _NOW_NS, value) == [each for each in risks(alerts, _NOW_NS) if each.value == value]


def test_a_noisy_rule_is_no_attack_of_many_steps() -> None:
    again = risk_of("actor", "anna", [_alert(n, "high", "a") for n in range(3)], _NOW_NS)
    assert (again.score, again.n_rules) == (75.0, 1)


def test_accounts_that_one_address_tried_share_its_points_and_the_address_has_them_all() -> None:
    tried = {"actors": tuple(f"u{n}" for n in range(25)), "addresses": ("203.0.113.7",)}
    alert = _alert(1, "high", "a", group=(("src_ip", "203.0.113.7"),), values=tried)
    assert risk_of("actor", "u3", [alert], _NOW_NS).score == 2.0
    assert risk_of("address", "203.0.113.7", [alert], _NOW_NS).score == 50.0


def test_false_alarms_drills_and_risk_itself_do_not_count() -> None:
    alerts = [
        _alert(1, "high", "a", state="suppressed"), _alert(2, "high", "b", drill="d-1"), _alert(3, "high", "c", kind="risk"),
        _alert(4, "low", "d", 20 * RISK_HALF_LIFE_S),
    ]  # fmt: skip
    assert risks(alerts, _NOW_NS) == []
