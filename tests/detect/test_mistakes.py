"""A rule that cannot be run is named with file, line, column and how to mend it."""

from __future__ import annotations

import pytest

from muniment.detect.rules import load_rules

RULE = """title: A shop is closed
id: 11111111-2222-4333-8444-5555555555{n}
logsource: {{product: muniment}}
level: high
detection:
  selection:
    {field}: {value}
  condition: {condition}
"""


def _refused(text: str) -> tuple[str, str, str]:
    (found,) = load_rules([("shop.yml", text)]).refused
    return found.where, found.reason, found.fix


@pytest.mark.parametrize(
    ("field", "value", "condition", "where", "fix"),
    [
        ("action", "shop.close", "selektion", "shop.yml:8:14", "did you mean selection?"),
        ("action|containz", "shop", "selection", "shop.yml:7:12", "did you mean contains?"),
        ("action|re", "'(?=x)'", "selection", "shop.yml:7:17", "RE2"),
        ("srcip", "192.0.2.1", "selection", "shop.yml:7:5", "did you mean src_ip?"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_fix(
    field: str, value: str, condition: str, where: str, fix: str
) -> None:
    found = _refused(RULE.format(n="01", field=field, value=value, condition=condition))
    assert found[0] == where, found
    assert fix in found[2]


def test_the_place_is_that_of_the_document_and_the_others_of_the_file_run() -> None:
    good = RULE.format(n="01", field="action", value="shop.close", condition="selection")
    bad = RULE.format(n="02", field="action", value="shop.open", condition="other").replace("closed", "opened")
    loaded = load_rules([("shop.yml", f"{good}---\n{bad}")])
    assert [rule.title for rule in loaded.rules] == ["A shop is closed"]
    assert loaded.refused[0].where == "shop.yml:17:14"


def test_broken_yaml_is_named_where_it_breaks() -> None:
    where, reason, fix = _refused("title: Broken\ndetection:\n  s:\n    a: b\n   c: d\n")
    assert where == "shop.yml:5:4"
    assert reason.startswith("not YAML")
    assert "spaces" in fix


def test_a_correlation_is_told_which_rule_it_may_have_meant() -> None:
    base = RULE.format(n="01", field="action", value="x", condition="selection").replace("level", "name: closed\nlevel")
    many = (
        "title: Many\nlevel: high\ncorrelation:\n  type: event_count\n  rules: [closd]\n  group-by: [actor]\n"
        "  timespan: 5m\n  condition: {gte: 3}\n"
    )
    found = load_rules([("base.yml", base), ("many.yml", many)]).refused[0]
    assert (found.where, "did you mean closed?" in found.fix) == ("many.yml:5:11", True)


def test_what_only_the_record_holds_may_be_named() -> None:
    text = RULE.format(n="01", field="record.metadata.city", value="Bern", condition="selection")
    assert not load_rules([("shop.yml", text)]).refused


def test_a_file_nested_without_end_is_refused_and_the_others_run() -> None:
    """libyaml's binding would end the process with it."""
    good = RULE.format(n="01", field="action", value="shop.close", condition="selection")
    loaded = load_rules([("deep.yml", "title: " + "[" * 100_000), ("shop.yml", good)])
    assert [rule.title for rule in loaded.rules] == ["A shop is closed"]
    assert [each.file for each in loaded.refused] == ["deep.yml"]
