"""What the marks of a record leave open is enough to name it, and no more than it must be."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.sources import values
from muniment.sources.catalogue import Catalogue, read_entry
from muniment.sources.marks import ESCAPED, marks_of, pattern_marks
from muniment.sources.paths import Segment
from muniment.sources.recognition import Recogniser
from muniment.sources.sql import array
from muniment.sources.testing import recognise

LONG = {"max_query_size": 10_000_000}
"""The samples of the whole catalogue stand in one query."""


def _possible(recogniser: Recogniser, records: list[bytes]) -> frozenset[int]:
    return recogniser.possible(pa.array(records, pa.binary()))


def _named(sql: str, records: list[bytes], client: Any) -> list[str]:
    given = array([record.decode() for record in records])
    return [
        row[0] for row in client.query(f"SELECT {sql} FROM (SELECT arrayJoin({given}) AS record)", LONG).result_rows
    ]


def _samples_named(catalogue: Catalogue, client: Any) -> tuple[Recogniser, list[bytes], list[str]]:
    """All samples, and what all lines name them."""
    records = [sample.record for entry in catalogue.values() for sample in entry.samples]
    recogniser = Recogniser(catalogue)
    return recogniser, records, _named(recogniser.sql(), records, client)


def test_what_the_marks_leave_open_names_every_sample_as_the_whole_catalogue_does(
    catalogue: Catalogue, client: Any
) -> None:
    recogniser, records, whole = _samples_named(catalogue, client)
    for record, name in zip(records, whole, strict=True):
        assert _named(recogniser.sql(_possible(recogniser, [record])), [record], client) == [name], record


def test_lines_before_a_cut_name_what_all_lines_name_by_them_and_nothing_else(
    catalogue: Catalogue, client: Any
) -> None:
    recogniser, records, whole = _samples_named(catalogue, client)
    for cut in recogniser.cuts[:-1]:
        possible = recogniser.possible(pa.array(records, pa.binary()), cut)
        found = _named(recogniser.sql(possible, cut), records, client)
        assert found == [name if recogniser.cut_of(name) <= cut else "" for name in whole]
        assert found != whole


def test_the_sql_for_one_kind_of_record_does_not_grow_with_the_catalogue(catalogue: Catalogue, client: Any) -> None:
    recogniser = Recogniser(catalogue)
    record = catalogue["github"].samples[0].record
    sql = recogniser.sql(_possible(recogniser, [record]))
    assert len(sql) < len(recogniser.sql()) / 5
    assert "'github'" in sql


@pytest.mark.parametrize("name", ["okta", "aws_cloudtrail", "openssh"])
def test_letters_written_as_escapes_hide_nothing(catalogue: Catalogue, client: Any, name: str) -> None:
    record = catalogue[name].samples[0].record
    spelled = "".join(f"\\u{ord(char):04x}" if char in "dSkg" else char for char in json.dumps(json.loads(record)))
    assert json.loads(spelled) == json.loads(record)
    assert recognise(catalogue, [spelled.encode(), record], client) == [name, name]


def test_cases_that_test_two_values_stand_among_cases_that_test_one(client: Any) -> None:
    """The first case that holds decides, whichever values the cases before and after it test."""
    from muniment.sources.testing import map_records

    entry = read_entry(
        """
name: shop
title: Shop
vendor: Example
docs: https://docs.example.com
owner: shop
rhythm_s: 60
recognise: {verb: {present: true}}
time: at
cases:
  - when: {verb: [a], kind: [x]}
    set: {reason: =one}
  - when: {verb: [a, b]}
    set: {reason: =two}
  - when: {kind: [y]}
    set: {reason: =three}
  - text: line
    pattern: '^stop'
    set: {reason: =four}
  - when: {verb: [c], kind: [x, z]}
    set: {reason: =five}
  - when: {verb: [c, d]}
    set: {reason: =six}
samples:
  - {origin: made, record: {"verb":"a"}, expect: {reason: two}}
""",
        "shop.yaml",
    )
    wanted = {
        ("a", "x", ""): "one",
        ("a", "y", ""): "two",
        ("c", "y", "stop"): "three",
        ("c", "x", "stop"): "four",
        ("c", "z", ""): "five",
        ("d", "z", ""): "six",
        ("d", "z", "stop"): "four",
        ("e", "z", ""): "",
    }
    records = [json.dumps({"verb": v, "kind": k, "line": line}).encode() for v, k, line in wanted]
    assert [row["reason"] for row in map_records(entry, records, client)] == list(wanted.values())


@pytest.mark.parametrize(
    ("pattern", "mark"),
    [
        (r"^CEF: ?[0-9]\|", "CEF:"),
        (r'(?i)^"?Login', "(?i)Login"),
        (r"^\d+$", None),
        (r"(foo|barbaz) [a-z]+ ends", "\\ ends"),
        (r"(foo|barbaz) [a-z]+", "(?:foo|barbaz)\\ "),
        (r"(foo)?\S*", None),
        ("a/b/see/d", r"a\\?/b\\?/see\\?/d"),
    ],
)
def test_the_texts_a_pattern_cannot_do_without(pattern: str, mark: str | None) -> None:
    assert pattern_marks(pattern) == ([mark] if mark else [])


SENTENCES = [
    r"^[^{]*[0-9]{1,2}:[0-9]{2}",
    r"[a-z]+[ _-]{1,2}[a-z]+$",
    r"(?i)[a-z]+(?: [0-9]+|=[0-9]*)$",
    r"^\s*[a-z]{2}\s",
    r"[0-9]\"[0-9]|[0-9]/[0-9]",
    r"(?:[a-f]\.){2,4}|[^a]\|",
]


@given(data=st.data(), pattern=st.sampled_from(SENTENCES), is_ascii=st.booleans())
@settings(deadline=None, max_examples=300)
def test_what_must_stand_in_a_sentence_stands_in_each_that_a_pattern_matches(
    data: st.DataObject, pattern: str, is_ascii: bool
) -> None:
    said = data.draw(st.from_regex(re.compile(pattern, re.ASCII)))
    condition = values.Condition(((values.Test(values.Path((Segment("event"),)), "matches", (pattern,)),),))
    ((mark,),) = marks_of(condition)
    record = json.dumps({"id": 7, "event": said}, ensure_ascii=is_ascii)
    assert re.search(mark, record) or re.search(ESCAPED, record)
    assert not re.search(mark, json.dumps({"event": "login", "said": said.replace('"event"', "")}))
