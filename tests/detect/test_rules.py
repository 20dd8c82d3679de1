"""Sigma rules: every modifier and condition form means what the specification says; what cannot be run is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.detect.condition import All, AnyOf, Condition, No, Regex, Text, Wild, fields_of
from muniment.detect.logsources import Kind
from muniment.detect.match import _BIG, Event, Matcher, compiled
from muniment.detect.prefilter import literals
from muniment.detect.rule import LogSource, Rule
from muniment.detect.rules import load_rules
from muniment.patterns import PatternError, compiled_pattern

CASES = [json.loads(line) for line in (Path(__file__).parent / "sigma" / "semantics.jsonl").read_text().splitlines()]

RULE = """title: A rule
id: 4db60cc0-36fb-42b7-9b58-a5b53019fb74
author: Somebody, Somebody Else
level: high
tags: [attack.t1562.001]
logsource: {{product: app, category: web}}
detection:
{detection}
"""


def rule(detection: str, condition: str = "selection") -> Rule:
    """A rule with one detection, `selection`, unless it says more."""
    body = detection if "selection" in detection else f"selection:\n  {detection}"
    text = "\n".join("  " + line for line in f"{body}\ncondition: {condition}".splitlines())
    loaded = load_rules([("rule.yml", RULE.format(detection=text))])
    assert not loaded.refused, loaded.refused
    return loaded.rules[0]


def reason(detection: str, condition: str = "selection") -> str:
    """Why a rule is refused."""
    text = "\n".join("  " + line for line in f"selection:\n  {detection}\ncondition: {condition}".splitlines())
    loaded = load_rules([("rule.yml", RULE.format(detection=text))])
    assert not loaded.rules
    assert loaded.refused[0].file == "rule.yml"
    return loaded.refused[0].reason


def holds(found: Rule, event: dict[str, Any]) -> bool:
    """The verdict of the condition itself and of the whole matcher, which must be the same."""
    verdict = compiled(found.condition)(Event(event))
    assert Matcher([found]).match([json.dumps(event).encode()]) == ([(0, 0)] if verdict else [])
    return verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["rule_file"])
def test_published_verdicts(case: dict[str, Any]) -> None:
    loaded = load_rules([(case["rule_file"], case["rule"])], case["placeholders"])
    event = dict(case["fields"] or {}) | ({"message": case["message"]} if case["message"] else {})
    assert holds(loaded.rules[0], event) is case["want"]


@pytest.mark.parametrize(
    ("detection", "yes", "no"),
    [
        ("path: /etc/passwd", [{"path": "/ETC/passwd"}], [{"path": "/etc/passwd2"}, {}, {"path": None}]),
        ("path: /etc/*", [{"path": "/etc/x"}, {"path": ["no", "/etc/y"]}], [{"path": "x/etc/y"}]),
        ("path: a?c", [{"path": "abc"}], [{"path": "ac"}, {"path": "abbc"}]),
        (r"path: a\*c", [{"path": "a*c"}], [{"path": "abc"}]),
        ("path|contains: pass", [{"path": "/etc/PASSwd"}], [{"path": "/etc"}]),
        ("path|startswith: /etc", [{"path": "/etc/x"}], [{"path": "x/etc"}]),
        ("path|endswith: wd", [{"path": "/etc/passwd"}], [{"path": "wdx"}]),
        ("path|contains|all: [a, b]", [{"path": "xbxa"}], [{"path": "a"}]),
        ("path|cased: Abc", [{"path": "Abc"}], [{"path": "abc"}]),
        ("path|contains|cased: Abc", [{"path": "xAbcx"}], [{"path": "xabcx"}]),
        ("path|re: '^a.+c$'", [{"path": "abc"}], [{"path": "ABC"}, {"path": "ac"}]),
        ("path|re|i: '^a.+c$'", [{"path": "ABC"}], [{"path": "ac"}]),
        ("path|re: b+", [{"path": "abba"}], [{"path": "aa"}]),
        ("ip|cidr: 10.0.0.0/8", [{"ip": "10.1.2.3"}, {"ip": "::ffff:10.0.0.1"}], [{"ip": "11.0.0.1"}, {"ip": "x"}]),
        ("ip|cidr: 2001:db8::/32", [{"ip": "2001:DB8::1"}], [{"ip": "10.0.0.1"}]),
        ("n: 4624", [{"n": 4624}, {"n": "4624"}, {"n": 4624.0}], [{"n": 46240}]),
        ("n|gt: 5", [{"n": 6}, {"n": "5.5"}], [{"n": 5}, {"n": "x"}, {}]),
        ("n|gte: 5", [{"n": 5}], [{"n": 4}]),
        ("n|lt: 5", [{"n": -1}], [{"n": 5}]),
        ("n|lte: 5", [{"n": 5}], [{"n": 6}]),
        ("n: null", [{}, {"n": None}, {"n": ""}], [{"n": 0}, {"n": "x"}]),
        ("n: ''", [{"n": ""}], [{"n": "x"}, {}]),
        ("n|exists: true", [{"n": None}, {"n": 1}], [{}]),
        ("n|exists: false", [{}], [{"n": 1}]),
        ("n: true", [{"n": True}, {"n": "true"}], [{"n": False}, {"n": 1}]),
        ("a|fieldref: b", [{"a": "X", "b": "x"}], [{"a": "x", "b": "y"}, {"a": "x"}]),
        ("a|fieldref|startswith: b", [{"a": "xy", "b": "x"}], [{"a": "yx", "b": "x"}]),
        ("cmd|base64offset|contains: /bin/sh", [{"cmd": "echo L2Jpbi9zaA== | x"}], [{"cmd": "/bin/sh"}]),
        ("cmd|base64: hello", [{"cmd": "aGVsbG8="}], [{"cmd": "hello"}]),
        ("cmd|windash|contains: ' -f '", [{"cmd": "a /f b"}, {"cmd": "a -f b"}], [{"cmd": "a f b"}]),
        ("cmd|wide|base64offset|contains: ping", [{"cmd": "cABpAG4AZw"}], [{"cmd": "cGluZw=="}]),
        ("t|hour: 3", [{"t": "2026-11-23T03:59:00Z"}, {"t": "2026-11-23T05:00:00+02:00"}], [{"t": "2026-11-23T04:00:00Z"}]),
        ("t|hour|gte: 22", [{"t": "2026-11-23T23:00:00Z"}], [{"t": "2026-11-23T21:59:00Z"}, {"t": "99"}, {}]),
        ("t|hour|neq: 3", [{"t": "2026-11-23T04:00:00Z"}], [{"t": "2026-11-23T03:00:00Z"}]),
        ("cmd|utf16le|base64offset|contains: ping", [{"cmd": "cABpAG4AZw"}], [{"cmd": "cGluZw=="}]),
        ("port|endswith: 443", [{"port": 8443}, {"port": "443"}], [{"port": 4430}]),
        ("port|contains: [22, 44]", [{"port": 8443}, {"port": "2222"}], [{"port": 80}]),
        ("port|re: 5", [{"port": 25}], [{"port": 80}]),
        ("id: 9007199254740993", [{"id": 9007199254740993}], [{"id": 9007199254740992}]),
        ("5: x", [{"5": "x"}], [{"5": "y"}]),
        ("day: 2026-11-23", [{"day": "2026-11-23"}], [{"day": "2026-11-24"}]),
        ("a|contains: '\"key\":\"v1\"'", [{"a": {"key": "v1"}}, {"a": '{"key":"v1"}'}], [{"a": {"key": "v2"}}]),
        ("a|re: '\"key\":\"v1\"'", [{"a": [{"key": "v1"}]}, {"a": '{"key":"v1"}'}], [{"a": {"key": "v2"}}]),
        ("a|re: '\"k(1|2)\":'", [{"a": {"k1": 1}}, {"a": '"k2":'}], [{"a": {"k3": 1}}]),
        ("a|neq: x", [{"a": "y"}, {}], [{"a": "x"}]),
        ("a.b: x", [{"a": {"b": "x"}}, {"a.b": "x"}, {"a": [{"b": "y"}, {"b": "x"}]}], [{"a": {"c": "x"}}]),
        ("a: [x, y]", [{"a": "y"}], [{"a": "z"}]),
        ("a: 'ünï*'", [{"a": "ÜNÏcode"}], [{"a": "unicode"}]),
        # A line that came by syslog is taken apart under `syslog`.
        ("message|contains: for root", [{"syslog": {"message": "it is for root"}}],
         [{"syslog": {"hostname": "for root"}}, {"message": "x", "syslog": {"message": "for root"}}]),
    ],
)  # fmt: skip
def test_modifiers_and_values(detection: str, yes: list[dict[str, Any]], no: list[dict[str, Any]]) -> None:
    found = rule(detection)
    for event in yes:
        assert holds(found, event), event
    for event in no:
        assert not holds(found, event), event


def test_conditions_of_all_forms() -> None:
    detection = "selection_a:\n  a: 1\nselection_b:\n  b: 1\nfilter:\n  c: 1\nlist:\n  - a: 2\n  - b: 2\nkeywords:\n  - 'root login'\n  - 77"
    table: list[tuple[str, dict[str, Any], bool]] = [
        ("1 of selection_*", {"b": 1}, True),
        ("all of selection_*", {"b": 1}, False),
        ("all of selection_* and not filter", {"a": 1, "b": 1}, True),
        ("all of selection_* and not filter", {"a": 1, "b": 1, "c": 1}, False),
        ("(selection_a or selection_b) and not filter", {"a": 1}, True),
        ("1 of them", {"c": 1}, True),
        ("list", {"b": 2}, True),
        ("keywords", {"x": {"y": ["a ROOT Login b"]}}, True),
        ("keywords", {"n": 77}, True),
        ("keywords", {"root login": 1}, False),
        ("not 1 of selection_*", {}, True),
    ]
    for condition, event, verdict in table:
        assert holds(rule(detection, condition), event) is verdict, condition


def test_what_cannot_be_run_is_refused_with_a_reason() -> None:
    assert "(?=x)y" in reason("a|re: '(?=x)y'")
    assert "%Admins%" in reason("a|expand: '%Admins%'")
    assert "not defined" in reason("a: 1", "other")
    assert "deprecated" in reason("a: 1", "selection | count() > 5")
    loaded = load_rules([("bad.yml", "title: [\n"), ("empty.yml", "title: x\n")])
    assert [refused.file for refused in loaded.refused] == ["bad.yml", "empty.yml"]


def test_a_slip_in_what_only_describes_a_rule_does_not_stop_it() -> None:
    text = RULE.format(detection="  selection:\n    a: 1\n  condition: selection") + "status: somehow\n"
    loaded = load_rules([("rule.yml", text)])
    assert loaded.rules[0].remarks
    assert loaded.rules[0].author == "Somebody, Somebody Else"
    assert loaded.rules[0].logsource == LogSource("web", "app", "")
    assert fields_of(loaded.rules[0].condition) == {"a"}


def test_nobody_slips_past_the_prefilter_by_spelling() -> None:
    matcher = Matcher([rule("cmd|contains: /bin/sh")])
    assert matcher.match([rb'{"cmd":"\u002fb\u0069n\/sh"}', b'{"cmd":"/bin/s"}']) == [(0, 0)]


_WORDS = st.sampled_from(
    ["abc", "abcd", "xyz", 'a\\c"', "é", "AbC", "b c", "1234", "true", "C:\\users\\u", "x/abc", ""]
)
_FIELDS = st.sampled_from(["f", "g", "h.i"])
_PARTS = st.lists(st.one_of(_WORDS.filter(bool), st.sampled_from(list(Wild))), max_size=3).map(tuple)
_TEXTS: st.SearchStrategy[Condition] = st.builds(Text, st.one_of(_FIELDS, st.none()), _PARTS, st.booleans())
_PATTERNS = st.builds(
    Regex,
    st.one_of(_FIELDS, st.none()),
    st.sampled_from(["abc", "(?i)XYZ", '"i":', '"i":"abc"', '[{]"i":1234', 'a.c"']),
)
_CONDITIONS = st.recursive(
    st.one_of(_TEXTS, _PATTERNS),
    lambda inner: st.one_of(
        st.builds(No, inner),
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
_EVENTS = st.dictionaries(
    st.sampled_from(["f", "g", "h"]),
    st.one_of(
        _WORDS,
        st.lists(_WORDS, max_size=2),
        st.none(),
        st.sampled_from([1234, True, {"i": "abc"}, [{"i": 1234}, "abcd"], '{"i":"abc"}']),
    ),
)


@given(condition=_CONDITIONS, event=_EVENTS, is_ascii=st.booleans())
def test_the_prefilter_never_loses_a_match(condition: Condition, event: dict[str, Any], is_ascii: bool) -> None:
    found = Rule("", "", "", "", "", "", (), (), (), LogSource(), condition)
    verdict = compiled(condition)(Event(event))
    record = json.dumps(event, ensure_ascii=is_ascii).encode()
    assert Matcher([found]).match([record]) == ([(0, 0)] if verdict else [])
    texts = literals(condition)
    if verdict and texts is not None and b"\\u" not in record:
        assert any(text in record.lower() for text in texts)


@given(
    st.lists(
        st.sampled_from(["abc|x", "(?i)ABC", "^a", "b$", "a.c", "c{2}", "(?s)a.b", "[0-9]+"]), min_size=2, max_size=4
    ),
    st.sampled_from(["", "abc", "ABC", "xabcx", "a\nb", "cc", "7", "ba"]),
)
def test_patterns_of_one_field_find_together_what_each_finds_alone(patterns: list[str], text: str) -> None:
    parts = tuple(Regex("f", pattern) for pattern in patterns)
    alone = [compiled(part)(Event({"f": text})) for part in parts]
    assert compiled(AnyOf(parts))(Event({"f": text})) is any(alone)


def test_patterns_that_are_too_large_together_are_searched_one_by_one() -> None:
    large = tuple(Regex("f", start + r"\pL{900}") for start in "1234")
    with pytest.raises(PatternError):
        compiled_pattern("|".join(part.pattern for part in large), bytes_max=_BIG)
    assert compiled(AnyOf(large))(Event({"f": "4" + "é" * 900}))
    assert not compiled(AnyOf(large))(Event({"f": "9" + "é" * 900}))


@given(condition=_CONDITIONS, event=_EVENTS, f=st.sampled_from(["abc", "1234", "other"]), is_number=st.booleans())
def test_what_a_kind_tells_changes_no_verdict(
    condition: Condition, event: dict[str, Any], f: str, is_number: bool
) -> None:
    event["f"] = int(f) if is_number and f.isdigit() else f
    found = Rule("", "", "", "", "", "", (), (), (), LogSource(), condition)
    verdict = compiled(condition)(Event(event))
    record = json.dumps(event).encode()
    assert Matcher([found]).match([record], [Kind(known=(("f", f),))]) == ([(0, 0)] if verdict else [])


def test_a_record_with_half_a_character_is_looked_through() -> None:
    matcher = Matcher([rule("cmd|contains: mimikatz")])
    assert matcher._chosen(None).prefilter.candidates(rb'{"cmd":"\ud83e m\u0069mikatz"}') == [0]
