"""An alert's card says who, how many, how long, and whether any succeeded; cards about the same are one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from muniment.web.alert_cards import as_listed, by_rule, card, folded
from muniment.web.alert_pages import Filter
from muniment.web.alert_words import acts, admitted_words, facts, paragraphs
from muniment.web.security import Admitted, Alert

NOW_NS = 1_795_000_600 * 10**9


def _alert(uid: str = "a", **more: Any) -> Alert:
    alert = Alert(
        uid=uid, rule_id="r", title="Many failed logins from one address", level="high", author="Muniment", kind="event_count",
        description="", tags=[], references=[], false_positives=[], file="f.yml", group={"src_ip": "203.0.113.7"}, count=214,
        first_us=1_795_000_000_000_000, last_us=1_795_000_360_000_000, evidence=[1],
        values={"actors": [f"u{n}" for n in range(31)], "addresses": ["203.0.113.7"], "actions": ["user.login"], "outcomes": ["failure"]},
        created_ns=0, updated_ns=0, state="new", state_reason="", state_by="", drill="",
    )  # fmt: skip
    return replace(alert, **more)


def test_a_brute_force_reads_as_an_analyst_would_say_it() -> None:
    assert ", ".join(facts(_alert())) == "214 failed logins, 31 accounts, 6 minutes"
    assert admitted_words(Admitted(1, ["m.ruiz"], 0, 7)) == "1 success (m.ruiz)"
    assert admitted_words(Admitted(0, [], 0, -1)) == "none succeeded"
    assert admitted_words(None) == ""


@pytest.mark.parametrize(
    ("count", "actions", "outcomes", "words"),
    [
        (1, ["user.login"], ["success"], "1 login"),
        (48, ["customer.export"], ["success"], "48 customer exports"),
        (30, ["item.delete"], ["success", "failure"], "30 item deletions"),
        (2, ["bank_account.update", "payrun.approve"], ["success"], "2 events (bank account update, payrun approval)"),
        (9, ["a.b", "c.d", "e.f", "g.h"], ["failure"], "9 refused events"),
        (3, [], [], "3 events"),
    ],
)
def test_what_happened_is_counted_in_words(count: int, actions: list[str], outcomes: list[str], words: str) -> None:
    assert acts(count, actions, outcomes) == words


def test_alerts_about_the_same_address_are_one_card_that_says_all() -> None:
    few = _alert(
        "b", title="A login after many failed ones", level="critical", count=2, admitted=None,
        values={"actors": ["m.ruiz"], "actions": ["user.login"], "outcomes": ["success", "failure"]},
    )  # fmt: skip
    many = _alert("a", admitted=Admitted(1, ["m.ruiz"], 1, 5))
    risk = _alert("c", kind="risk", title="Several rules agree", group={"address": "203.0.113.7"}, count=500)
    (found,) = folded([card(each, NOW_NS, UTC) for each in (many, few, risk)])
    assert found.alert.uid == "b"
    alone = as_listed(few, [many, risk], NOW_NS, UTC)
    assert (alone.facts, alone.admitted, alone.uids) == (found.facts, found.admitted, ("b",))
    closed = as_listed(replace(few, state="resolved"), [many, risk], NOW_NS, UTC)
    assert closed.facts == ", ".join(facts(few))
    assert found.facts == "214 failed logins, 31 accounts, 6 minutes"
    assert (found.admitted, found.is_admitted) == ("1 success (m.ruiz)", True)
    assert set(found.uids) == {"a", "b", "c"}
    assert {each.text for each in found.also} == {"Many failed logins from one address", "Several rules agree"}


def test_a_card_names_who_wrote_each_rule_in_it() -> None:
    """The Detection Rule License asks for it wherever a match is shown."""
    first = _alert("a", level="critical", title="A login after many failed ones")
    mine, theirs = _alert("b"), _alert("c", title="Ports are scanned", author="Ana Example")
    (found,) = folded([card(each, NOW_NS, UTC) for each in (first, mine, theirs)])
    assert {each.text: each.by for each in found.also} == {
        "Many failed logins from one address": "", "Ports are scanned": "Ana Example",
    }  # fmt: skip


def _network(uid: str = "n", **more: Any) -> Alert:
    given: dict[str, Any] = {
        "title": "Many addresses of one network",
        "group": {"src_subnet": "203.0.113.0/24"},
        "count": 90,
    }
    return _alert(uid, **(given | more))


def test_addresses_of_a_network_are_one_card_about_the_network() -> None:
    addresses = [
        _alert(f"a{n}", group={"src_ip": f"203.0.113.{n}"}, admitted=Admitted(int(n == 3), ["anna"][: n == 3], 0, n))
        for n in range(12)
    ]
    elsewhere = _alert("x", group={"src_ip": "203.0.114.1"})
    both = _alert("y", group={"actor": "anna", "src_ip": "203.0.113.5"})
    found = folded([card(each, NOW_NS, UTC) for each in (*addresses, elsewhere, _network(), both)])
    assert [each.alert.uid for each in found] == ["x", "n", "y"]
    one = found[1]
    assert set(one.uids) == {"n", *(each.uid for each in addresses)}
    assert one.facts.startswith("90 failed logins"), "what is said is said of the network"
    assert [each.text for each in one.also] == ["Many failed logins from one address (12 times)"]
    assert (one.admitted, one.about[0].url) == ("1 success (anna)", "/entities/range?v=203.0.113.0%2F24&alert=n")


def test_what_is_graver_than_what_was_found_of_the_network_stands_alone() -> None:
    let_in, burst = _alert("c", level="critical"), _alert("b", level="medium")
    alone = _alert("d", group={"src_ip": "203.0.113.9"})
    found = folded([card(each, NOW_NS, UTC) for each in (let_in, alone, _network(), burst)])
    assert [(each.alert.uid, set(each.uids)) for each in found] == [("c", {"c", "b"}), ("n", {"n", "d"})]
    low = folded([card(each, NOW_NS, UTC) for each in (alone, _network(level="low"))])
    assert [each.alert.uid for each in low] == ["d", "n"]


@pytest.mark.parametrize(
    ("address", "network", "is_one"),
    [
        ("2001:db8:0:1::7", "2001:db8:0:1::/64", True),
        ("2001:db8:0:2::7", "2001:db8:0:1::/64", False),
        ("64:ff9b::cb00:7107", "64:ff9b::cb00:7100/120", True),
        ("(erased)", "203.0.113.0/24", False),
        ("203.0.113.7", "(erased)", False),
    ],
)
def test_an_address_is_in_its_network_and_in_no_other(address: str, network: str, is_one: bool) -> None:
    alerts = [_alert("a", group={"src_ip": address}), _network(group={"src_subnet": network})]
    assert (len(folded([card(each, NOW_NS, UTC) for each in alerts])) == 1) is is_one


def test_a_drill_and_what_is_done_stay_out_of_a_network() -> None:
    alerts = [_network(), _alert("a", drill="d1"), _alert("b", state="resolved")]
    assert len(folded([card(each, NOW_NS, UTC) for each in alerts])) == 3
    assert len(folded([card(each, NOW_NS, UTC) for each in (_network(state="resolved"), _alert("a"))])) == 2


def test_what_is_closed_or_a_drill_stays_a_card_of_its_own() -> None:
    alerts = [_alert("a"), _alert("b", state="resolved"), _alert("c", drill="d1")]
    assert len(folded([card(each, NOW_NS, UTC) for each in alerts])) == 3


def test_one_card_a_rule_holds_the_others() -> None:
    cards = [card(_alert(str(n), group={"src_ip": f"203.0.113.{n}"}), NOW_NS, UTC) for n in range(5)]
    (found,) = by_rule(cards)
    assert len(found.same) == 4
    assert found.uids == ("0", "1", "2", "3", "4")


def test_an_account_is_called_by_its_name() -> None:
    values = {"actors": ["Ann Keller"], "actions": ["user.login"]}
    found = card(_alert(group={"actor": "00u17"}, values=values), NOW_NS, UTC)
    assert found.about[0].text == "Ann Keller"
    assert "v=00u17" in found.about[0].url


def test_what_to_do_is_a_paragraph_of_its_own() -> None:
    assert paragraphs("It is bad.\nWhat to do: call.") == ("It is bad.", "What to do: call.")


def test_a_filter_keeps_only_what_it_knows_and_gives_its_own_address() -> None:
    found = Filter.of({"state": "<script>", "level": "high", "sort": "x", "group": "rule", "q": " a "})
    assert (found.state, found.level, found.sort, found.group, found.q) == ("open", "high", "gravest", "rule", "a")
    assert found.url() == "/alerts?level=high&q=a&group=rule"
    assert Filter.of({}).url() == "/alerts"
