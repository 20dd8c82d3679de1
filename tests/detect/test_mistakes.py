"""A rule that cannot be run is named with file, line, column and how to mend it."""

from __future__ import annotations

import json

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


ODD = "title: Odd\nlogsource: {product: muniment}\ndetection: {selection: {action: a}, condition: selection}\n"
SEL = "  selection: {action: a}\n"
MANY = "title: Many\ncorrelation:\n  type: event_count\n  rules: [x]\n  timespan: 5m\n  condition: {gte: 3}\n"


@pytest.mark.parametrize(
    ("text", "where", "reason", "fix"),
    [
        (SEL + "  condition: selection and (not selection\n", "5:42", "Unbalanced", "close each parenthesis"),
        (SEL + "  condition: ''\n", "5:15", "does not begin with a selection", "and, or, not"),
        (SEL + "  condition: 'selection or 2 of them'\n", "5:30", "found 'of'", "1 of, all of"),
        (SEL + "  condition: selection | count() > 5\n", "5:14", "pipe syntax", "a correlation"),
        (SEL + "  condition: 1 of filter_*\n", "5:14", "filter_*", "this rule has selection"),
        (SEL, "3:1", "at least one condition", "condition: selection"),
        ("  s: {src_ip|cidr: 10.1.2.3/8}\n  condition: s\n", "4:20", "host bits", "write 10.0.0.0/8"),
        ("  s: {src_ip|cidr: 300.0.0.0/8}\n  condition: s\n", "4:20", "300.0.0.0/8", "such as 10.0.0.0/8"),
        ("  s: {severity_id|gt: many}\n  condition: s\n", "4:23", "many", "write a number"),
        ("  s: {action|exists: maybe}\n  condition: s\n", "4:22", "maybe", "true or false"),
        ("  s: {action|contains|re: x}\n  condition: s\n", "4:23", "unmodified", "right behind the field"),
        ("  s: {action|re: '(a'}\n  condition: s\n", "4:19", "is invalid: missing ): (a", "RE2"),
        ("  s: {action|expand: '%who%'}\n  condition: s\n", "4:23", "%who%", "placeholders.yml"),
        ("  s: null\n  condition: s\n", "4:3", "the selection 's' is empty", "what to look for"),
        ("  s: {action|contains: []}\n  condition: s\n", "4:7", "is empty", "what to look for"),
        ("  s: {action: {a: b}}\n  condition: s\n", "4:7", "is a mapping", "its fields so"),
        ("  s: {action|i: a}\n  condition: s\n", "4:17", "IgnoreCase", "|re|i"),
        ("  s: {SourceIp: 192.0.2.1}\n  condition: s\n", "4:7", "SourceIp", "did you mean src_ip?"),
    ],
)
def test_what_a_parser_says_without_a_place_has_one(text: str, where: str, reason: str, fix: str) -> None:
    found = _refused(f"title: Odd\nlogsource: {{product: muniment}}\ndetection:\n{text}")
    assert found[0] == f"shop.yml:{where}", found
    assert reason in found[1]
    assert fix in found[2]


@pytest.mark.parametrize(
    ("text", "where", "reason", "fix"),
    [
        ("title: x\ndetction: {}\nlogsource: {product: muniment}\n", "2:1", "detection", "did you mean detection?"),
        (ODD.replace("{product: muniment}", "{}"), "2:1", "empty", "product, category and service"),
        (ODD.replace("title: Odd", "title: Odd\nid: 7a"), "2:5", "UUID", "uuidgen"),
        (ODD.replace("title: Odd\n", ""), "1:1", "title", "title: Many"),
        (MANY.replace("  timespan: 5m\n", ""), "2:1", "without timespan", "timespan: 5m"),
        (MANY.replace("  condition: {gte: 3}\n", ""), "2:1", "without condition", "{gte: 10}"),
        (MANY.replace("gte: 3", "gte: three"), "6:20", "three", "a number"),
        (MANY.replace("gte: 3", "more: 3"), "6:3", "exactly one", "such as {gte: 10}"),
        (MANY.replace("event_count", "event_cuont"), "3:9", "event_cuont", "did you mean event_count?"),
        (MANY.replace("event_count", "value_count"), "6:3", "field reference", "{field: src_ip, gte: 10}"),
        (MANY.replace("[x]", "[Many]").replace("title: Many", "title: Many\nname: Many"), "5:3", "about itself", "take it"),
        ("", "1:1", "no rule in it", "take the file away"),
        ("# title: later\n---\n", "1:1", "no rule in it", "take the file away"),
        ("title: a\n\ndescription: a\x00b\n", "3:15", "U+0000", "UTF-8"),
        ("[" * 3_000 + "]" * 3_000, "1:1", "nested too deep", "flat"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_whole_rule_has_a_place_and_a_fix(text: str, where: str, reason: str, fix: str) -> None:
    found = _refused(text)
    assert found[0] == f"shop.yml:{where}", found
    assert reason in found[1]
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


def test_of_two_mistakes_both_are_told_how_to_mend() -> None:
    text = RULE.format(n="01", field="action|containz", value="shop.close", condition="selection").replace(
        "high", "hgh"
    )
    text = text if "hgh" in text else f"{text}level: hgh\n"
    _, reason, fix = _refused(text)
    assert "hgh" in reason
    assert "containz" in reason
    assert "did you mean high?" in fix
    assert "did you mean contains?" in fix


@pytest.mark.parametrize(
    ("selection", "where"), [("action: [user.login\n    outcome: failure", "4:13"), ("{action: user.login", "4:5")]
)
def test_a_bracket_that_is_never_closed_is_named_where_it_opens(selection: str, where: str) -> None:
    place, reason, fix = _refused(f"title: Broken\ndetection:\n  s:\n    {selection}\n  condition: s\n")
    assert place == f"shop.yml:{where}"
    assert "is not closed" in reason
    assert "close it" in fix


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


GOOD = RULE.format(n="01", field="action", value="shop.close", condition="selection")


@pytest.mark.parametrize(
    ("broken", "line", "reason"),
    [
        ("- a list", 10, "this is a list"),
        ("only words", 10, "this is 'only words'"),
        (ODD.replace("condition: selection", "condition: 5"), 12, "condition: expected a text"),
        (ODD.replace("action: a", "true: a"), 10, "is no text"),
        (ODD.replace("action: a", "action|re: [a, null]"), 10, "null has no re"),
        (ODD.replace("action: a", "action: 2026-11-23 06:36:01"), 10, "quote it"),
        (ODD.replace("title: Odd", "title: Odd\nid: [1]"), 10, "another kind"),
        (ODD.replace(": selection", ": " + "not " * 5_000 + "selection"), 10, "nested too deep"),
        (ODD.replace(": selection", ": selection AND selection"), 12, "found 'AND'"),
        ("title: Odd\ncorrelation: {type: event_count, rules: [x], timespan: 5m, condition: {about: 1}}", 11, "condition item"),
        ("title: Odd\nfilter: []", 10, "filter"),
        (
            "title: Odd\nlogsource: {product: muniment}\n"
            "filter: {rules: any, selection: {action: b}, condition: not selektion}",
            12,
            "selektion",
        ),
        (
            "title: Odd\nlogsource: {product: muniment}\n"
            "filter: {rules: any, selection: {acton: b}, condition: not selection}",
            12,
            "acton",
        ),
    ],
)  # fmt: skip
def test_what_is_broken_in_one_document_stops_no_other(broken: str, line: int, reason: str) -> None:
    other = GOOD.replace("5501", "5502").replace("closed", "opened")
    loaded = load_rules(
        [("shop.yml", f"{GOOD}---\n{broken}\n---\n{other}"), ("more.yml", other.replace("5502", "5503"))]
    )
    assert [rule.title for rule in loaded.rules] == ["A shop is closed", "A shop is opened", "A shop is opened"]
    (refused,) = loaded.refused
    assert (refused.line, reason in refused.reason) == (line, True), refused


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    """Of two tests under one key the first would be lost in silence."""
    where, reason, fix = _refused(ODD.replace("{action: a}", "{action: a, action: b}"))
    assert where == "shop.yml:3:36"
    assert reason == "the key 'action' stands twice"
    assert "as a list" in fix


@pytest.mark.parametrize("part", ["group-by: [acter]", "group-by: [actor]\n  field: acter"])
def test_a_correlation_over_columns_names_columns_that_there_are(part: str) -> None:
    base = GOOD.replace("level", "name: closed\nlevel")
    group, _, field = part.partition("\n  ")
    condition = f"{{gte: 3, {field}}}" if field else "{gte: 3}"
    kind = "value_count" if field else "event_count"
    many = (
        f"title: Many\nlevel: high\ncorrelation:\n  type: {kind}\n  rules: [closed]\n  {group}\n"
        f"  timespan: 5m\n  condition: {condition}\n"
    )
    refused = load_rules([("base.yml", base), ("many.yml", many)]).refused[0]
    assert refused.reason == "there is no column 'acter'"
    assert "did you mean actor" in refused.fix


def test_one_text_may_stand_for_a_list_in_what_describes_a_rule() -> None:
    loaded = load_rules([("shop.yml", ODD + "references: https://example.com\nfalsepositives: none\nfields: action\n")])
    assert [rule.references for rule in loaded.rules] == [("https://example.com",)]


def test_rules_below_one_global_part_have_ids_of_their_own() -> None:
    text = (
        "action: global\ntitle: Odd\nid: 11111111-2222-4333-8444-555555555503\nlogsource: {product: muniment}\n"
        "---\ndetection: {selection: {action: a}, condition: selection}\n"
        "---\ndetection: {selection: {action: b}, condition: selection}\n"
    )
    keys = [rule.key for rule in load_rules([("shop.yml", text)]).rules]
    assert keys == ["11111111-2222-4333-8444-555555555503", "11111111-2222-4333-8444-555555555503.2"]


def test_a_rule_that_repeats_another_is_kept_beside_a_broken_one() -> None:
    text = """title: First
id: 11111111-2222-4333-8444-555555555601
logsource: {product: muniment}
detection: {s: {action: a}, condition: s}
---
action: repeat
title: Second
id: 11111111-2222-4333-8444-555555555602
detection: {s: {action: b}}
---
title: Broken
logsource: {product: muniment}
detection: {s: {action: c}, condition: 7}
"""
    found = load_rules([("r.yml", text)])
    assert [rule.title for rule in found.rules] == ["First", "Second"]
    assert [each.title for each in found.refused] == ["Broken"]


BEHAVING = "title: New\n{more}behaviour: {{type: first_seen, rules: [x], group-by: [actor], field: src_country}}\n"
X = "---\ntitle: X\nname: x\nlogsource: {product: muniment}\ndetection: {s: {action: a}, condition: s}\n"


@pytest.mark.parametrize("kind", ["rule", "correlation", "behaviour"])
@pytest.mark.parametrize(
    ("level", "column", "fix"),
    [
        ("terrible", 8, "there are informational, low, medium, high, critical"),
        ("hihg", 8, "did you mean high?"),
        ("Informatoinal", 8, "did you mean informational?"),
        ("4", 8, "there are informational"),
        ("''", 9, "there are informational"),
        ("[high]", 1, "there are informational"),
    ],
)
def test_a_level_that_is_none_is_refused_where_it_stands(kind: str, level: str, column: int, fix: str) -> None:
    """How severe its alerts are would be a guess. The title has the same word, so the place is found by the key."""
    text = {
        "rule": ODD.replace("title: Odd\n", f"title: {level} Odd\nlevel: {level}\n"),
        "correlation": MANY.replace("title: Many\n", f"title: Many\nlevel: {level}\n") + X,
        "behaviour": BEHAVING.format(more=f"level: {level}\n") + X,
    }[kind].replace("title: [high] Odd", "title: Odd").replace("title: '' Odd", "title: Odd")  # fmt: skip
    where, reason, told = _refused(text)
    assert (where, "rule level" in reason) == (f"shop.yml:2:{column}", True), reason
    assert fix in told


@pytest.mark.parametrize("level", ["informational", "low", "medium", "high", "critical", "HIGH", ""])
def test_a_level_of_the_specification_is_taken_and_none_is_medium_to_an_alert(level: str) -> None:
    line = f"level: {level}\n"
    texts = [ODD.replace("title: Odd\n", f"title: Odd\n{line}"), MANY + line + X, BEHAVING.format(more=line) + X]
    for text in texts:
        loaded = load_rules([("shop.yml", text)])
        assert not loaded.refused
        assert level.lower() in {each.level for each in (*loaded.rules, *loaded.correlations)}


def test_a_status_that_is_none_is_remarked_upon_and_the_rule_runs() -> None:
    line = "status: nearly\n"
    for text in (ODD + line, MANY + line + X, BEHAVING.format(more=line) + X):
        loaded = load_rules([("shop.yml", text)])
        remarks = [remark for each in (*loaded.rules, *loaded.correlations) for remark in each.remarks]
        assert (loaded.refused, remarks) == ([], ["'nearly' is not a valid Sigma rule status"])


def test_a_filters_level_means_nothing_and_takes_nothing_away() -> None:
    filtering = (
        "title: Not ours\nlevel: terrible\nlogsource: {product: muniment}\n"
        "filter: {rules: any, selection: {actor: ours}, condition: not selection}\n"
    )
    loaded = load_rules([("shop.yml", ODD), ("filter.yml", filtering)])
    assert ([rule.title for rule in loaded.rules], loaded.refused) == (["Odd"], [])


@pytest.mark.parametrize(
    ("rules", "condition", "where", "fix"),
    [
        ("[oddd]", "not selection", "filter.yml:4:11", "did you mean odd?"),
        ("nothing", "not selection", "filter.yml:4:10", "by id or name"),
        ("[odd]", "not selektion", "filter.yml:6:18", "did you mean selection?"),
    ],
)
def test_a_filter_that_would_take_nothing_away_is_named(rules: str, condition: str, where: str, fix: str) -> None:
    filtering = (
        "title: Ours\nlogsource: {product: muniment}\nfilter:\n"
        f"  rules: {rules}\n  selection: {{action: a}}\n  condition: {condition}\n"
    )
    loaded = load_rules([("odd.yml", ODD + "name: odd\n"), ("filter.yml", filtering)])
    (found,) = loaded.refused
    assert found.where == where, found
    assert fix in found.fix
    assert [rule.name for rule in loaded.rules] == ["odd"]  # it runs all the same


@pytest.mark.parametrize(
    ("condition", "unused"),
    [
        ("selection", ["filter_a", "filter_b", "_note"]), ("selection and not 1 of filter_*", ["_note"]), ("1 of them", ["_note"]),
        ("selection and (filter_a or not filter_b) and _note", []), (["selection", "filter_a"], ["filter_b", "_note"]),
    ],
)  # fmt: skip
def test_a_selection_that_no_condition_uses_is_remarked_upon_and_the_rule_runs(
    condition: str | list[str], unused: list[str]
) -> None:
    text = (
        "title: A\nlogsource: {product: muniment}\ndetection:\n  selection: {action: a}\n  filter_a: {action: b}\n"
        f"  filter_b: {{action: c}}\n  _note: {{action: d}}\n  timeframe: 5m\n  condition: {json.dumps(condition)}\n"
    )
    loaded = load_rules([("r.yml", text)])
    assert loaded.refused == []
    assert list(loaded.rules[0].remarks) == [f"no condition uses the selection '{name}'" for name in unused]


def test_what_is_wrong_with_a_long_pattern_is_said_though_the_pattern_is_not_shown_whole() -> None:
    pattern = "|".join(f"a{n}b+c{{1,50}}" for n in range(8_000))
    text = GOOD.replace("action: shop.close", f"action|re: '{pattern}'")
    (refused,) = load_rules([("r.yml", text)]).refused
    assert (len(refused.reason) < 500, "too large" in refused.reason) == (True, True)
    assert refused.fix.startswith("make it shorter")
