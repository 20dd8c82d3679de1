"""What a pattern cannot do without stands in everything it matches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.detect.patterns import texts_of

PIECE = st.recursive(
    st.sampled_from(["abc", "x", ".", r"\d", "[xyz]", "[a-f]", r"\.", "role", "^", "$"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")"),
        inner.map(lambda part: f"(?:{part})?"),
        inner.map(lambda part: f"(?:{part})+"),
        inner.map(lambda part: f"(?:{part}){{2,3}}"),
        inner.map(lambda part: f"(?:{part})*"),
    ),
    max_leaves=8,
)


@given(PIECE, st.data())
def test_a_match_has_one_of_the_texts(pattern: str, data: st.DataObject) -> None:
    texts = texts_of(pattern)
    if texts is None:
        return
    matching = data.draw(st.from_regex(pattern))
    assert any(text in matching.lower() for text in texts), (pattern, texts, matching)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"^(role|group)\.(grant|add)$", {"role.grant", "role.add", "group.grant", "group.add"}),
        (r"(?i)EVIL(\.exe)?", {"evil"}),
        (r"a.*longer-text", {"longer-text"}),
        (r"one|two", {"one", "two"}),
        (r"one|t.", None),
        (r".*", None),
        (r"[[:alpha:]]abc", None),
        (r"\Qabc\E", None),
        (r"(", None),
        (r"\pLabc", None),
    ],
)
def test_examples(pattern: str, texts: set[str] | None) -> None:
    assert texts_of(pattern) == (None if texts is None else frozenset(texts))
