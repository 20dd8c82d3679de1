"""Correlations fire exactly when a window holds, whatever the order in which events come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.detect import windows
from muniment.detect.batch import Row
from muniment.detect.correlation import Correlation, Firing, Match, Matches
from muniment.detect.evaluate import Ready
from muniment.detect.rules import load_rules
from muniment.detect.windows import Correlator

S = 1_000_000
BASE = """title: Base {name}
name: {name}
logsource: {{product: app}}
detection:
  selection: {{action: {name}}}
  condition: selection
"""


def correlation(body: str, *bases: str) -> Correlation:
    """The correlation rule with this body, about the rules `bases`."""
    lines = "\n".join("  " + line for line in body.strip().splitlines())
    texts = [(name, BASE.format(name=name)) for name in bases or ("a", "b", "c")]
    loaded = load_rules([*texts, ("c.yml", f"title: Together\nname: together\ncorrelation:\n{lines}\n")])
    assert not loaded.refused, loaded.refused
    return loaded.correlations[0]


Event = tuple[str, int, str, str]  # rule, seconds, group, value


def run(rule: Correlation, events: Sequence[Event], end_s: int | None = None) -> list[Firing]:
    """All firings, events being given in the order of their arrival."""
    correlator = Correlator(rule, lateness_s=3_600)
    found: list[Firing] = []
    for index, (name, second, group, value) in enumerate(events):
        fields = {"who": (group,), "value": (value,), "absent": ()}
        found += correlator.add(Match(name, index, second * S, lambda f, fields=fields: fields.get(f, ())))  # type: ignore[misc]
    if end_s is not None:
        found += correlator.advance(end_s * S)
    return found


def test_event_count_fires_once_and_then_goes_on() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 5m\ncondition: {gte: 3}")
    found = run(rule, [("a", t, "x", "") for t in (0, 100, 200, 250, 2_000)])
    assert [(f.indexes, f.is_more) for f in found] == [((0, 1, 2), False), ((3,), True)]
    assert found[0].group == (("who", "x"),)


def test_no_burst_is_cut_in_two_by_the_clock() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 5m\ncondition: {gte: 4}")
    assert run(rule, [("a", 300 + t, "x", "") for t in (-20, -10, 10, 20)])


def test_groups_do_not_mix_and_events_without_one_are_left_out() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 5m\ncondition: {gte: 2}")
    assert not run(rule, [("a", 0, "x", ""), ("a", 1, "y", "")])
    lacking = correlation("type: event_count\nrules: [a]\ngroup-by: [absent]\ntimespan: 5m\ncondition: {gte: 1}")
    assert not run(lacking, [("a", 0, "x", "")])


def test_a_late_event_completes_the_window_it_belongs_to() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {gte: 3}")
    found = run(rule, [("a", 0, "x", ""), ("a", 20, "x", ""), ("a", 500, "x", ""), ("a", 10, "x", "")])
    assert [f.indexes for f in found] == [(0, 3, 1)]


def test_a_value_count_counts_values() -> None:
    rule = correlation(
        "type: value_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {gte: 3, field: value}"
    )
    assert not run(rule, [("a", t, "x", "same") for t in range(30)])
    assert run(rule, [("a", t, "x", f"u{t}") for t in range(3)])
    assert not run(rule, [("a", 40 * t, "x", f"u{t}") for t in range(9)])


def test_values_are_counted_anew_after_a_window_went_on() -> None:
    rule = correlation(
        "type: value_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {gte: 3, field: value}"
    )
    events = [("a", t, "x", f"u{t}") for t in (0, 1, 2, 3, 4, 200, 201, 202)]
    assert [(f.indexes, f.is_more) for f in run(rule, events)] == [
        ((0, 1, 2), False), ((3,), True), ((4,), True), ((5, 6, 7), False),
    ]  # fmt: skip


def test_order_matters_where_it_is_asked_for() -> None:
    body = "type: {}\nrules: [a, b]\ngroup-by: [who]\ntimespan: 1m"
    backwards = [("b", 0, "x", ""), ("a", 10, "x", "")]
    assert run(correlation(body.format("temporal")), backwards)
    assert not run(correlation(body.format("temporal_ordered")), backwards)
    assert run(correlation(body.format("temporal_ordered")), [("a", 0, "x", ""), ("b", 9, "x", "")])


def test_an_event_that_two_rules_match_is_not_before_itself() -> None:
    rule = correlation("type: temporal_ordered\nrules: [a, b]\ntimespan: 1m")
    correlator = Correlator(rule, 0)
    keys = rule.rules
    for key in keys:
        assert not list(correlator.add(Match(key, 7, 5 * S, lambda name: ())))


def test_what_more_events_can_undo_is_decided_at_the_end_of_the_window() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {lt: 2}")
    events = [("a", 0, "x", ""), ("a", 1, "x", ""), ("a", 5, "y", "")]
    assert not run(rule, events, 30)
    assert [f.group for f in run(rule, events, 90)] == [(("who", "y"),)]


def test_two_operators_are_a_range_which_is_decided_at_the_end() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {lte: 3, gt: 1}")
    assert (rule.operator, rule.count, rule.also) == ("gt", 1, (("lte", 3),))
    events = [("a", n, who, "") for who, count in (("x", 1), ("y", 2), ("z", 3), ("w", 4)) for n in range(count)]
    assert not run(rule, events, 30)
    assert {f.group[0][1] for f in run(rule, events, 90)} == {"y", "z"}


@pytest.mark.parametrize(
    "condition",
    ["{gt: 1, lte: many}", "{gt: 1, lt: .inf}", "{gt: 1, lt: true}", "{}", "{gte: 5, field: n, percentile: 300}"],
)
def test_a_condition_that_is_none_is_refused(condition: str) -> None:
    text = (
        f"title: C\nname: c\ncorrelation: {{type: value_percentile, rules: [a], timespan: 1m, condition: {condition}}}"
    )
    loaded = load_rules([("a.yml", BASE.format(name="a")), ("c.yml", text)])
    assert [each.file for each in loaded.refused] == ["c.yml"]
    assert "condition" in loaded.refused[0].reason


def test_absence_of_a_rule_is_decided_at_the_end() -> None:
    rule = correlation("type: temporal\ntimespan: 1m\ngroup-by: [who]\ncondition: a and not b")
    events = [("a", 0, "x", ""), ("b", 5, "x", ""), ("a", 0, "y", "")]
    assert [f.group for f in run(rule, events, 90)] == [(("who", "y"),)]


@pytest.mark.parametrize(
    ("kind", "more", "values", "fires"),
    [
        ("value_sum", "gte: 10", "3 3 4", True),
        ("value_sum", "gte: 11", "3 3 4", False),
        ("value_avg", "gte: 5", "1 2 3", False),
        ("value_avg", "gt: 4", "1 2 12", True),
        ("value_median", "gte: 9", "1 9 12", True),
        ("value_median", "gte: 10", "1 9 12", False),
        ("value_percentile", "gte: 9, percentile: 95", "1 2 9", True),
        ("value_sum", "gte: 1", "none of them a number", False),
    ],
)
def test_measures_of_values(kind: str, more: str, values: str, fires: bool) -> None:
    rule = correlation(f"type: {kind}\nrules: [a]\ngroup-by: [who]\ntimespan: 1m\ncondition: {{{more}, field: value}}")
    assert bool(run(rule, [("a", t, "x", value) for t, value in enumerate(values.split())])) is fires


def test_a_correlation_of_correlations_finds_its_parts() -> None:
    many = "title: Many\nname: many\ncorrelation: {type: event_count, rules: [a], group-by: [who], timespan: 1m, condition: {gte: 2}}"
    then = "title: Then\nname: then\ncorrelation: {type: temporal_ordered, rules: [many, b], group-by: [who], timespan: 1h}"
    loaded = load_rules([("t", then), ("m", many), *((name, BASE.format(name=name)) for name in "ab")])
    assert [c.name for c in loaded.correlations] == ["many", "then"]
    assert all(rule.is_silent for rule in loaded.rules)
    assert loaded.correlations[0].is_silent


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("correlation: {type: event_count, rules: [nobody], timespan: 1m, condition: {gte: 1}}", "no rule with the id"),
        ("name: me\ncorrelation: {type: event_count, rules: [me], timespan: 1m, condition: {gte: 1}}", "about itself"),
        ("correlation: {type: sometimes, rules: [a], timespan: 1m, condition: {gte: 1}}", "no valid Sigma correlation"),
        ("correlation: {type: event_count, rules: [a], timespan: soon, condition: {gte: 1}}", "Timespan 'soon'"),
        ("correlation: {type: value_count, rules: [a], timespan: 1m, condition: {gte: 1}}", "without field"),
    ],
)
def test_a_correlation_that_cannot_be_run_is_refused_with_its_reason(text: str, reason: str) -> None:
    loaded = load_rules([("a.yml", BASE.format(name="a")), ("c.yml", f"title: T\n{text}")])
    assert [rule.name for rule in loaded.rules] == ["a"]
    assert reason in loaded.refused[0].reason
    assert not loaded.correlations


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.sampled_from("xy"), st.sampled_from("123")), max_size=14
)


def exists(rule: Correlation, events: Sequence[Event]) -> bool:
    """By definition: some events of one group, no further apart than the time span, satisfy the condition."""
    for group in {event[2] for event in events}:
        mine = sorted((e[1], n, e[0], e[3]) for n, e in enumerate(events) if e[2] == group)
        for start in range(len(mine)):
            window = [each for each in mine[start:] if each[0] - mine[start][0] <= rule.timespan_s]
            if rule.kind == "event_count" and len(window) >= rule.count:
                return True
            if rule.kind == "value_count" and len({each[3] for each in window}) >= rule.count:
                return True
            if rule.kind == "temporal" and len({each[2] for each in window}) >= rule.count:
                return True
            if rule.kind == "temporal_ordered":
                for chosen in combinations(window, len(rule.rules)):
                    if tuple(each[2] for each in chosen) == rule.rules:
                        return True
    return False


@given(
    EVENTS,
    st.sampled_from(
        [
            "type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 10s\ncondition: {gte: 3}",
            "type: value_count\nrules: [a, b]\ngroup-by: [who]\ntimespan: 10s\ncondition: {gte: 3, field: value}",
            "type: temporal\nrules: [a, b, c]\ngroup-by: [who]\ntimespan: 10s",
            "type: temporal_ordered\nrules: [a, b, c]\ngroup-by: [who]\ntimespan: 10s",
        ]
    ),
)
def test_it_fires_exactly_when_some_window_holds_in_any_order_of_arrival(events: list[Event], body: str) -> None:
    rule = correlation(body)
    mine = [event for event in events if event[0] in rule.rules]
    assert bool(run(rule, mine)) is exists(rule, mine)


@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from("123456")), min_size=10, max_size=40),
    st.sampled_from(
        [
            "type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 10s\ncondition: {gte: 3}",
            "type: value_count\nrules: [a]\ngroup-by: [who]\ntimespan: 10s\ncondition: {gte: 3, field: value}",
        ]
    ),
)
def test_every_window_is_found_as_if_it_were_the_first(steps: list[tuple[int, str]], body: str) -> None:
    rule, second = correlation(body), 0
    events = list[Event]()
    for step, value in steps:
        second += step
        events.append(("a", second, "x", value))
    expected, fired = [], None
    for n, event in enumerate(events):
        window = [k for k in range(n + 1) if event[1] - events[k][1] <= rule.timespan_s]
        counted = {events[k][3] for k in window} if rule.kind == "value_count" else window
        if fired is not None and event[1] - fired <= rule.timespan_s:
            fired = event[1]
            expected.append(((n,), True))
        elif len(counted) >= rule.count:
            fired = event[1]
            expected.append((tuple(window), False))
    assert [(firing.indexes, firing.is_more) for firing in run(rule, events)] == expected


_BODIES = (
    "type: event_count\nrules: [a]\ncondition: {gte: 3}",
    "type: event_count\nrules: [a, b]\ncondition: {gt: 2}",
    "type: event_count\nrules: [a, b]\ncondition: {gte: 3.5}",
    "type: event_count\nrules: [a]\ncondition: {lte: 1}",
    "type: event_count\nrules: [a, b]\ncondition: {gte: 1}",
    "type: value_count\nrules: [a, c]\ncondition: {gte: 2, field: value}",
    "type: value_sum\nrules: [a]\ncondition: {gt: 5, field: value}",
    "type: temporal\nrules: [a, b]",
    "type: temporal\nrules: [a, b, c]\ncondition: {gte: 2}",
    "type: temporal_ordered\nrules: [a, b]",
    "type: temporal_ordered\ncondition: a and b and not c",
)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(_BODIES),
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 40), st.sampled_from(["x", "x", "y", ""]), st.sampled_from("123")
        ),
        min_size=5,
        max_size=40,
    ),
    st.integers(1, 8),
    st.booleans(),
)
def test_a_batch_as_columns_fires_as_its_matches_one_by_one(
    body: str, events: list[Event], size: int, is_late: bool
) -> None:
    rule = correlation(f"{body}\ngroup-by: [who]\ntimespan: 10s")
    events = [event for event in events if event[0] in rule.rules]
    if not is_late:
        events.sort(key=lambda event: event[1])
    one, whole = Correlator(rule, 3_600), Correlator(rule, 3_600)
    for start in range(0, len(events), size):
        part = list(enumerate(events))[start : start + size]
        expected: list[Firing] = []
        for index, (name, second, who, value) in part:
            fields = {"who": tuple(filter(None, (who,))), "value": (value,)}
            expected += one.add(Match(name, index, second * S, lambda f, fields=fields: fields[f]))  # type: ignore[misc]
        found = whole.add_all([_columns(part, name) for name in rule.rules])
        newest = max(event[1] for _, event in part) * S
        expected += one.advance(newest)
        found += whole.advance(newest)
        assert sorted(map(_said, found)) == sorted(map(_said, expected))
    assert one.n_groups == whole.n_groups
    assert sorted(map(_said, one.advance(200 * S))) == sorted(map(_said, whole.advance(200 * S)))


class _CountingAnew(Correlator):
    """The slow twin: whatever is forgotten, everything that is left is counted again."""

    def _cut(self, group: Any, n: int) -> None:
        del group.entries[:n]
        group.is_counted = False
        if self._is_temporal:
            group.rules = tuple({entry[2] for entry in group.entries})


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(_BODIES),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 12), st.sampled_from("1112")),
        min_size=10, max_size=50,
    ),
    st.integers(2, 8),
)  # fmt: skip
def test_a_full_group_fires_as_if_all_that_is_left_were_counted_anew(
    body: str, steps: list[tuple[str, int, int, str]], most: int
) -> None:
    rule = correlation(f"{body}\ngroup-by: [who]\ntimespan: 10s")
    quick, slow, now = Correlator(rule, 5), _CountingAnew(rule, 5), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "CORRELATION_MATCHES_MAX", most)
        for index, (name, step, late, value) in enumerate(steps):
            now += step
            if name in rule.rules:
                fields = {"who": ("x",), "value": (value,)}
                match = Match(name, index, max(0, now - late // 9 * late) * S, fields.__getitem__)
                assert list(map(_said, quick.add(match))) == list(map(_said, slow.add(match)))
            assert list(map(_said, quick.advance(now * S))) == list(map(_said, slow.advance(now * S)))
    assert quick.dropped == slow.dropped


def test_a_full_group_that_does_not_fire_costs_a_few_looks_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood from one address, where several addresses are counted: ten thousand matches are kept."""
    monkeypatch.setattr(windows, "CORRELATION_MATCHES_MAX", 500)
    looks = 0

    class Counting(Correlator):
        def _what(self, entry: Any) -> tuple[str, ...]:
            nonlocal looks
            looks += 1
            return super()._what(entry)

    body = "type: value_count\nrules: [a]\ngroup-by: [who]\ntimespan: 1h\ncondition: {gte: 2, field: value}"
    correlator = Counting(correlation(body), 3_600)
    fields = {"who": ("x",), "value": ("1",)}
    for index in range(2_000):
        assert not correlator.add(Match("a", index, index * S, fields.__getitem__))
    assert correlator.dropped == 1_500
    assert looks <= 4 * 2_000


def test_matches_that_come_late_in_a_quiet_batch_stand_where_they_belong() -> None:
    rule = correlation("type: event_count\nrules: [a]\ngroup-by: [who]\ntimespan: 10s\ncondition: {gte: 3}")
    correlator = Correlator(rule, 3_600)
    found = [
        correlator.add_all([_columns([(n, ("a", second, "x", ""))], "a")]) for n, second in enumerate((50, 45, 52))
    ]
    assert [[firing.indexes for firing in each] for each in found] == [[], [], [(1, 0, 2)]]


def _columns(part: Sequence[tuple[int, Event]], name: str) -> Matches:
    mine = [(index, event) for index, event in part if event[0] == name]
    columns = {"who": [event[2] for _, event in mine], "value": [event[3] for _, event in mine]}
    return Matches(name, [index for index, _ in mine], [event[1] * S for _, event in mine], columns.__getitem__)


def _said(firing: Firing) -> tuple[object, ...]:
    return firing.indexes, firing.group, firing.is_more, firing.first_us, firing.last_us


def test_a_rule_that_fails_is_left_out_and_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "title: {0}\nname: {0}\nlevel: high\nlogsource: {{product: muniment}}\ndetection: {{a: {{action: x}}, condition: a}}\n"
    many = "title: Many\nname: many\ncorrelation: {type: event_count, rules: [one], group-by: [actor_id], timespan: 1m, condition: {gte: 1}}"
    loaded = load_rules([("one", text.format("one")), ("two", text.format("two")), ("many", many)])
    ready = Ready(loaded.rules, loaded.correlations, {})
    row = Row(0, 0, {"source": "s", "format": "muniment", "action": "x", "actor_id": "anna"})

    def broken(*_: object) -> Iterator[Firing]:
        raise KeyError("a mistake")

    correlator = ready.correlators[loaded.correlations[0].key]
    monkeypatch.setattr(correlator, "add", broken)
    matches = ready.matches([row])
    assert [rule.name for _, rule in matches] == ["one", "two"]
    assert not [firing for _, rule in matches for firing in ready.fed(row, rule)]
    assert ready.take_failures() == [("many", "it failed: KeyError('a mistake')")]
    monkeypatch.setattr(ready.typed, "_tests", lambda condition: broken)
    ready.typed._by_kind.clear()
    ready.typed._made.clear()
    assert not ready.matches([row])
    assert {key for key, _ in ready.take_failures()} == {"one", "two"}
    assert not ready.take_failures()


def test_authors_of_parts_are_named_with_a_correlation() -> None:
    """Also through another correlation; who wrote both is named once."""
    texts = [
        (name, BASE.format(name=name) + f"author: {author}\n")
        for name, author in (("a", "Ana"), ("b", "Bert, Bea"), ("d", ""))
    ]
    many = "title: {0}\nname: {0}\n{1}correlation: {{type: temporal, rules: {2}, timespan: 5m}}\n"
    for name, author, rules in (
        ("own", "author: Ana\n", "[a]"), ("both", "author: Cem\n", "[a, b]"), ("none", "", "[both, d]"), ("nobody", "", "[d]")
    ):  # fmt: skip
        texts.append((name, many.format(name, author, rules)))
    loaded = load_rules(texts)
    assert not loaded.refused
    assert {one.name: one.author for one in loaded.correlations} == {
        "own": "Ana", "both": "Cem; Ana, Bert, Bea in its parts", "none": "Cem, Ana, Bert, Bea in its parts", "nobody": "",
    }  # fmt: skip
