"""Deciding once for all events of a kind finds what trying each rule on each event finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.detect import shapes
from muniment.detect.batch import Batch, Row
from muniment.detect.condition import All, AnyOf, Condition, No, Regex, Text, Wild
from muniment.detect.evaluate import Ready
from muniment.detect.match import Event, compiled
from muniment.detect.rule import LogSource, Rule
from muniment.detect.shapes import SHAPE, reduced

_WORDS = st.sampled_from(["user.login", "user.delete", "success", "anna", "bert", 'a\\c"', "x/y", "é", ""])
_FIELDS = st.sampled_from(["action", "outcome", "actor_name", "message", "record.why"])
_PARTS = st.lists(st.one_of(_WORDS.filter(bool), st.sampled_from(list(Wild))), max_size=3).map(tuple)
_TESTS: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Text, st.one_of(_FIELDS, st.none()), _PARTS, st.booleans()),
    st.builds(Regex, _FIELDS, st.sampled_from(["anna|bert", "user[.]", ".", "^$"])),
)
_CONDITIONS = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds(No, inner),
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
_EVENTS = st.fixed_dictionaries(
    {"action": _WORDS, "outcome": _WORDS, "actor_name": _WORDS, "message": _WORDS, "record": _WORDS}
)


def _values(events: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The shape, the other columns and the record of each event."""
    kinds = [{**dict.fromkeys(SHAPE, ""), "action": e["action"], "outcome": e["outcome"]} for e in events]
    others = [{"actor_name": e["actor_name"], "message": e["message"]} for e in events]
    return kinds, others, [orjson.dumps({"why": e["record"]}).decode() for e in events]


def _batch(events: Sequence[Mapping[str, str]]) -> Batch:
    kinds, others, records = _values(events)
    table = {
        "index": pa.array(range(len(events)), pa.uint64()),
        "time_us": pa.array([0] * len(events), pa.int64()),
        **{name: pa.array([kind[name] for kind in kinds], pa.string()) for name in SHAPE},
        "actor_name": pa.array([each["actor_name"] for each in others], pa.string()).dictionary_encode(),
        "message": pa.array([each["message"] for each in others], pa.string()),
        "whole": pa.array(records, pa.string()),
    }
    return Batch(pa.table(table))


def _rows(events: Sequence[Mapping[str, str]]) -> list[Row]:
    kinds, others, records = _values(events)
    return [
        Row(n, 0, {**kind, **other}, record)
        for n, (kind, other, record) in enumerate(zip(kinds, others, records, strict=True))
    ]


def _rule(condition: Condition, n: int = 0) -> Rule:
    return Rule(str(n), "", str(n), "", "", "", (), (), (), LogSource("", "muniment", ""), condition)


def _found(ready: Ready, rows: Sequence[Row]) -> list[tuple[int, str]]:
    return sorted((row.index, rule.key) for row, rule in ready.matches(rows))


@settings(deadline=None)  # each example compiles its patterns
@given(st.lists(_CONDITIONS, max_size=5), st.lists(_EVENTS, max_size=6))
def test_a_batch_finds_what_each_event_alone_finds(conditions: list[Condition], events: list[dict[str, str]]) -> None:
    ready = Ready([_rule(condition, n) for n, condition in enumerate(conditions)], (), {})
    assert _found(ready, _batch(events)) == _found(ready, _rows(events))


def test_what_keywords_find_does_not_depend_on_who_asked_for_the_record() -> None:
    """They look through the columns; `record.why` is read of the same event by another rule, before them and not."""
    looks, keyword = Text("record.why", ("success",)), Text(None, ("success",))
    event = {"action": "anna", "outcome": "anna", "actor_name": "anna", "message": "anna", "record": "success"}
    for conditions in ([keyword], [looks, keyword], [keyword, looks], [Text("action", ()), looks, keyword]):
        ready = Ready([_rule(condition, n) for n, condition in enumerate(conditions)], (), {})
        for rows in (_batch([event]), _rows([event])):
            assert _found(ready, rows) == [(0, str(n)) for n, each in enumerate(conditions) if each is looks]


@given(_CONDITIONS, _EVENTS)
def test_what_is_left_of_a_condition_decides_as_the_whole_does(condition: Condition, given: dict[str, str]) -> None:
    event = Event({**given, "record": {"why": given["record"]}})

    def holds(test: Condition) -> bool | None:
        return compiled(test)(event) if getattr(test, "field", None) in SHAPE else None

    left = reduced(condition, holds)
    assert (left if isinstance(left, bool) else compiled(left)(event)) is compiled(condition)(event)


def test_a_flood_of_new_kinds_is_tried_one_by_one_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "DETECT_NEW_SHAPES_MAX", 2)
    rule = _rule(All((Text("action", ("x9",)), Text("record.why", ("r9",)))))
    ready = Ready([rule], (), {})
    events = [{"action": f"x{n}", "outcome": "", "actor_name": "", "message": "", "record": f"r{n}"} for n in range(20)]
    assert _found(ready, _batch(events)) == [(9, "0")]


@pytest.mark.parametrize("limit", ["DETECT_SHAPES_MAX", "_DECISIONS_MAX"])
def test_the_memory_for_kinds_is_bounded(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, limit, 3)
    ready = Ready([_rule(Text("action", (f"x{n}",)), n) for n in range(10)], (), {})
    events = [{"action": f"x{n}", "outcome": "", "actor_name": "", "message": "", "record": ""} for n in range(10)]
    for _ in range(2):
        assert _found(ready, _batch(events)) == [(n, str(n)) for n in range(10)]
    assert len(ready._shapes._made) <= 3


def test_a_control_character_in_a_column_stops_nothing() -> None:
    """Columns and record are two JSON texts; an escape in either must not make them unreadable."""
    ready = Ready([_rule(All((Text("action", ("x1",)), Text("record.why", ("r/1",)))))], (), {})
    event = {"action": "x1", "outcome": "", "actor_name": "a\x1b[33m", "message": "\x00", "record": "r/1"}
    assert _found(ready, _rows([event])) == [(0, "0")]
