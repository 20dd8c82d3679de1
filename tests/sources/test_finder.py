"""Patterns are found wherever the text has them, also where they are looked for as plain texts."""

from __future__ import annotations

import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.sources.finder import Finder
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
