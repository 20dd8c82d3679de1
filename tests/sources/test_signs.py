"""Signs: a few texts of many that tell kinds of event apart, and what is made of records that have others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.sources.catalogue import Catalogue, load
from muniment.sources.finder import Finder
from muniment.sources.recognition import Recogniser
from muniment.sources.signs import Signs

_MARKS = ["alpha", "beta", "gamma", '"id"', "never"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


def _learned(told: list[tuple[bytes, str]], marks: list[str]) -> Signs:
    return Signs.learned(_texts([text for text, _ in told]), np.asarray([name for _, name in told], object), marks)


def _texts(records: list[bytes]) -> pa.BinaryArray:
    return pa.array(records, pa.binary())


def test_kinds_are_told_apart_by_few_signs() -> None:
    told = [(b'{"id":1,"alpha":2}', "a"), (b'{"id":1,"beta":2,"alpha":3}', "b"), (b'{"id":1}', "c")] * 20
    signs = _learned(told, _MARKS)
    assert signs.guessed(_texts([text for text, _ in told])).tolist() == [name for _, name in told]
    assert signs.guessed(_texts([b"gamma", b"beta alpha", b"beta"])).tolist() == ["c", "b", ""], (
        "beta alone was not there"
    )


def test_what_has_the_signs_of_two_kinds_as_often_is_not_guessed() -> None:
    signs = _learned([(b"alpha", "a"), (b"alpha", "b"), (b"beta", "c")] * 20, _MARKS)
    assert signs.guessed(_texts([b"alpha", b"beta"])).tolist() == ["", "c"]


def test_a_kind_by_itself_has_no_signs() -> None:
    assert _learned([(b"alpha", "a")] * 3, _MARKS).guessed(_texts([b"x", b""])).tolist() == ["a", "a"]
    assert _learned([(b"alpha", "a")] * 3, []).guessed(_texts([b"x"])).tolist() == ["a"]


def test_samples_of_entries_are_guessed_as_what_they_are(catalogue: Catalogue) -> None:
    names = ("openssh", "aws_cloudtrail", "okta", "web_access", "kubernetes", "windows")
    told = [(sample.record, name) for name in names for sample in catalogue[name].samples]
    signs = _learned(told, Recogniser(catalogue).signs(names))
    guessed = signs.guessed(_texts([record for record, _ in told])).tolist()
    right = sum(a == b for a, (_, b) in zip(guessed, told, strict=True))
    assert right >= 0.9 * len(told)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([*_MARKS, "x"]), max_size=6), st.sampled_from("abc")),
        min_size=1,
        max_size=60,
    )
)
def test_what_is_guessed_was_so_of_most_that_had_those_signs(told: list[tuple[list[str], str]]) -> None:
    records = [" ".join(words).encode() for words, _ in told]
    names = [name for _, name in told]
    guessed = _learned([*zip(records, names, strict=True)], _MARKS).guessed(_texts(records)).tolist()
    for name in {*guessed} - {""}:
        those = [was == name for was, each in zip(names, guessed, strict=True) if each == name]
        assert sum(those) >= 0.95 * len(those)


@given(st.lists(st.text("ab x", max_size=8), max_size=8))
def test_each_pattern_is_found_where_it_ends(texts: list[str]) -> None:
    records = [text.encode() for text in texts]
    places, numbers = Finder(["ab", "x"]).each(_texts(records))
    found = {*zip(places.tolist(), numbers.tolist(), strict=True)}
    for place, record in enumerate(records):
        for number, text in enumerate((b"ab", b"x")):
            assert text not in record or (place, number) in found
