"""A batch says the same of its events in whatever form the store gave their columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from muniment.detect.batch import Batch
from muniment.detect.condition import Condition, IsNull, No, Text, Wild
from muniment.detect.evaluate import Ready
from muniment.detect.rule import LogSource, Rule
from muniment.detect.shapes import SHAPE

_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
_EVENTS = [
    {
        "actor_name": "anna",
        "severity_id": 101,
        "device_id": "laptop-7",
        "src_ip": "203.0.113.7",
        "record": '{"why":"r1"}',
    },
    {"actor_name": "bert", "severity_id": 202, "user_agent": _AGENT, "record": '{"why":"r2"}'},
    {"actor_name": "anna", "severity_id": 303, "src_ip": "203.0.113.9", "record": ""},
]


def _table(places: list[int], *, is_dictionary: bool) -> pa.Table:
    def texts(name: str) -> pa.Array:
        array = pa.array([str(_EVENTS[place].get(name, "")) for place in places], pa.string())
        return array.dictionary_encode() if is_dictionary else array

    columns: dict[str, Any] = {
        "index": pa.array([100 + place for place in places], pa.uint64()),
        "time_us": pa.array([1_000 * place for place in places], pa.int64()),
        **{name: texts(name) for name in (*SHAPE, "actor_name", "device_id", "device_name", "user_agent", "src_ip")},
        "severity_id": pa.array([_EVENTS[place]["severity_id"] for place in places], pa.uint32()),
        "whole": pa.array([_EVENTS[place]["record"] for place in places], pa.string()),
    }
    return pa.table(columns)


def _batches() -> list[Batch]:
    tables = [_table([0, 1, 2], is_dictionary=each) for each in (False, True)]
    in_pieces = [
        pa.concat_tables([_table([2], is_dictionary=each), _table([0, 1], is_dictionary=each)])
        for each in (False, True)
    ]
    return [Batch(table) for table in (*tables, *in_pieces)]


@pytest.mark.parametrize("batch", _batches())
def test_events_stand_in_the_order_of_the_ledger_with_what_they_say(batch: Batch) -> None:
    assert [row.index for row in batch] == [100, 101, 102]
    assert [(row.columns["actor_name"], row.columns["severity_id"], row.record) for row in batch] == [
        (each["actor_name"], each["severity_id"], each["record"]) for each in _EVENTS
    ]
    assert batch.values("device") == ["laptop-7", "Chrome on Windows", ""] == [row.derived("device") for row in batch]
    assert batch.values("src_subnet") == ["203.0.113.0/24", "", "203.0.113.0/24"]
    assert batch.values("src_subnet") == [row.derived("src_subnet") for row in batch]
    assert batch.texts_at("src_subnet", [2, 1]) == ["203.0.113.0/24", ""]
    assert batch.texts_at("actor_name", [1]) == ["bert"]
    assert batch.place_of(101) == 1
    assert batch.place_of(99) is None


@pytest.mark.parametrize("batch", _batches())
@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (Text("actor_name", ("an", Wild.MANY)), [100, 102]),
        (Text("severity_id", ("202",)), [101]),
        (Text("device", ("Chrome", Wild.MANY)), [101]),
        (Text("device", ("laptop-7",)), [100]),
        (No(IsNull("device")), [100, 101]),
        (Text("src_subnet", ("203.0.113.0/24",)), [100, 102]),
        (IsNull("src_subnet"), [101]),
        (Text(None, (Wild.MANY, "bert", Wild.MANY)), [101]),
        (Text("record.why", ("r2",)), [101]),
    ],
)
def test_a_rule_finds_its_events_together_as_alone(batch: Batch, condition: Condition, found: list[int]) -> None:
    rule = Rule("k", "", "k", "", "", "", (), (), (), LogSource("", "muniment", ""), condition)
    ready = Ready([rule], (), {})
    assert [row.index for row, _ in ready.matches(batch)] == found
    assert [row.index for row, _ in ready.matches(list(batch))] == found


def test_a_letter_that_was_cut_in_two_stops_nothing() -> None:
    table = _table([0, 1, 2], is_dictionary=False)
    cut = pa.array([b"anna", "ü".encode()[:1], b""], pa.binary()).view(pa.string())
    batch = Batch(table.set_column(table.column_names.index("actor_name"), "actor_name", cut))
    assert batch.values("actor_name") == ["anna", "\ufffd", ""]


def test_a_record_that_is_read_later_is_what_the_event_says_from_then_on() -> None:
    batch = Batch(_table([0, 1], is_dictionary=True).drop_columns(["whole"]))
    row = batch[0]
    assert row.record == ""
    assert row.document.get("record") is None
    batch.give_records({0: b'{"why":"later"}', 1: b'{"why":"too"}'})
    assert row.document.get("record") == {"why": "later"}
    assert batch[1].document.get("record") == {"why": "too"}


def test_an_empty_batch_has_no_events() -> None:
    batch = Batch(_table([], is_dictionary=True))
    assert len(batch) == 0
    assert batch.newest_us == 0
    assert batch.of_formats({"x"}) == []
    assert Ready([], (), {}).found(batch) == []
