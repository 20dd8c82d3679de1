"""Patterns are found wherever the text has them, also where they are looked for as plain texts."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.sources import finder
from muniment.sources.finder import Finder, Watch
from muniment.sources.marks import alternatives

_WORDS = st.text(alphabet="ab./", min_size=1, max_size=3).map(re.escape)
_PARTS = st.recursive(
    st.one_of(_WORDS, st.just("[ab]"), st.just("a{2}"), st.just("[0-9]")),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        inner.map(lambda part: f"(?:{part})?b"),
    ),
    max_leaves=6,
)
_PATTERNS = st.tuples(st.sampled_from(["", "(?i)"]), _PARTS).map("".join)


@settings(deadline=None)
@given(st.lists(_PATTERNS, min_size=1, max_size=5), st.lists(st.text(alphabet="abAB./0", max_size=12), max_size=4))
def test_a_pattern_is_found_in_the_records_that_have_it(patterns: list[str], texts: list[str]) -> None:
    records = pa.array([f"<{text}>".encode() for text in texts], pa.binary())  # no match crosses two of these
    matched = {
        number: [k for k, text in enumerate(texts) if re.search(each, text)] for number, each in enumerate(patterns)
    }
    assert Finder(patterns).found(records) == {number for number, places in matched.items() if places}
    for number, pattern in enumerate(patterns):
        assert Finder([pattern]).places(records) == matched[number]


@settings(deadline=None)
@given(_PATTERNS, st.text(alphabet="abAB./0", max_size=12))
def test_one_of_the_alternatives_stands_where_a_pattern_does(pattern: str, text: str) -> None:
    assert any(re.search(each, text) for each in alternatives(pattern)) == bool(re.search(pattern, text))


def test_what_would_be_too_many_texts_stays_one_pattern() -> None:
    many = "(?:a|b|c)" * 5
    assert alternatives(many) == (many,)
    assert alternatives("(?:a|)") == ("(?:a|)",)


@settings(deadline=None)
@given(
    st.lists(st.lists(_PATTERNS, min_size=1, max_size=1), min_size=1, max_size=5),
    st.lists(st.lists(st.text(alphabet="abAB./0", max_size=6), min_size=1, max_size=3), max_size=12),
    st.integers(0, 2),
    st.integers(1, 3),
)
def test_what_is_there_is_found_whatever_was_there_before(
    patterns: list[list[str]], batches: list[list[str]], sure: int, trusted: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finder, "_ALIKE_BYTES", 1)
        patch.setattr(finder, "_TRUSTED", trusted)
        all_of_them = Finder([each for [each] in patterns])
        watch = Watch(all_of_them, sure)
        before: frozenset[int] = frozenset()
        for texts in batches:
            records = pa.array([text.encode() for text in texts], pa.binary())
            really, found = all_of_them.found(records), watch.found(records)
            assert really <= found <= really | {number for number in before if number >= sure}
            before |= really


def test_batches_that_are_alike_are_searched_for_what_is_new_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_ALIKE_BYTES", 20)
    all_of_them = Finder(["user", "host", "port", "rare"])
    whole: list[int] = []
    find = all_of_them.found
    monkeypatch.setattr(all_of_them, "found", lambda records: whole.append(1) or find(records))
    watch = Watch(all_of_them)
    batch = pa.array([b"user host port"], pa.binary())
    found = [watch.found(batch) for _ in range(10)]
    assert set(found) == {frozenset((0, 1, 2))}
    assert len(whole) == 2
    assert watch.found(pa.array([b"user rare"], pa.binary())) == {0, 3}, "less is there, and something new"
    assert len(whole) == 3


def test_what_has_gone_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_ALIKE_BYTES", 1)
    watch = Watch(Finder(["user", "host"]))
    for _ in range(3):
        watch.found(pa.array([b"user host"], pa.binary()))
    fewer = [watch.found(pa.array([b"host"], pa.binary())) for _ in range(finder._TRUSTED + 1)]
    assert fewer[0] == {0, 1}
    assert fewer[-1] == {1}
