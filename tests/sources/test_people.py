"""What a mapping's own patterns read people by is personal, where the pattern is particular."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer
from muniment.sources.catalogue import load
from muniment.sources.paths import Segment
from muniment.sources.people import captured_people, without_covered
from muniment.sources.rules import Case, Rules
from muniment.sources.values import parse_value


def _rules(fields: dict[str, Any] | None = None, let: dict[str, Any] | None = None, **more: Any) -> Rules:
    values = {name: parse_value(value) for name, value in (fields or {}).items()}
    return Rules((), False, {name: parse_value(value) for name, value in (let or {}).items()}, values, (), **more)


def _capture(pattern: str, column: str = "actor_name", text: str = "line") -> list[dict[str, str]]:
    return list(captured_people(_rules({column: {"capture": text, "pattern": pattern}})))


def test_a_particular_pattern_is_a_row_with_the_group_of_the_column() -> None:
    assert _capture("AUDIT-LOGIN: ([^ ]+)") == [
        {"text": "line", "pattern": "AUDIT-LOGIN: (?P<value>[^ ]+)", "kind": "name"}
    ]


@pytest.mark.parametrize("pattern", [r"^(\S+) ", r"user (\S+)", r"(?i)from ([0-9.]+)", r"AUDIT-LOGIN: (.*) from"])
def test_a_pattern_that_takes_whatever_stands_there_is_none(pattern: str) -> None:
    assert _capture(pattern) == []


def test_of_an_address_only_an_address_counts() -> None:
    (row,) = _capture(r"AUDIT-LOGIN from (\S+) ", "src_ip")
    sealed, _ = Sealer(SealPlan.compile([row])).seal(
        b'{"line":"AUDIT-LOGIN from 2001:db8::1 (x), AUDIT-LOGIN from home "}'
    )
    assert sealed == b'{"line":"AUDIT-LOGIN from {$sealed:1} (x), AUDIT-LOGIN from home "}'


def test_a_pattern_over_small_letters_finds_them_in_any_case() -> None:
    rules = _rules(
        {"actor_name": {"capture": "$words", "pattern": "administrator=([a-z]+)"}}, {"words": {"lower": "line"}}
    )
    (row,) = captured_people(rules)
    sealed, groups = Sealer(SealPlan.compile([row])).seal(b'{"line":"Administrator=Anna"}')
    assert (sealed, list(groups)) == (b'{"line":"Administrator={$sealed:1}"}', ["Anna"])


def test_each_case_gives_its_groups_in_their_own_places() -> None:
    entry = load()["arista"]
    assert any(isinstance(case, Case) and "src_ip" in case.sets for case in entry.mapping.cases)
    patterns = [row["pattern"] for row in entry.people if "LOGIN_FAILED" in row["pattern"]]
    assert [pattern.index("(?P<value>") < pattern.index("failed to login") for pattern in patterns] == [True, False]
    assert all("actor_name" not in row["pattern"] and row["text"] == "syslog.message" for row in entry.people)


def test_an_address_is_personal_at_its_place_and_below_the_keys_that_are_read_through() -> None:
    rows = captured_people(_rules({"src_ip": ["client.ip", "host"]}, unwrap=(Segment("data"),)))
    assert rows == ({"path": "client.ip", "kind": "ip"}, {"path": "data.client.ip", "kind": "ip"})


def test_what_is_sealed_whole_is_not_sealed_in_parts_instead() -> None:
    rows = [
        {"path": "device.ip", "kind": "ip"},
        {"path": "user.ip", "kind": "ip"},
        {"text": "arn", "pattern": "x", "kind": "name"},
    ]
    named = [{"path": "device"}, {"path": "arn"}, {"path": "user"}, {"path": "user.name"}]
    assert without_covered(rows, named) == [{"path": "user.ip", "kind": "ip"}]
