"""Folding loses no event, keeps what is different apart and the order of time; the most telling lines stay."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from muniment.cases.lines import FIRST_SUCCESS, Line, folded, told_first, with_first_success, words
from muniment.limits import CASE_FOLD_S

SECOND = 1_000_000


@st.composite
def lines(draw: st.DrawFn) -> list[Line]:
    n = draw(st.integers(0, 30))
    found = []
    for index in range(n):
        at = draw(st.integers(0, 4 * CASE_FOLD_S)) * SECOND
        kind = draw(
            st.sampled_from(
                [("user.login", 300201, "failure"), ("user.login", 300201, "success"), ("file.read", 600102, "success")]
            )
        )
        found.append(
            Line(
                at_us=at, until_us=at, kind="event", index=index, indexes=(index,), action=kind[0], type_uid=kind[1],
                outcome=kind[2], source="s", who=(draw(st.sampled_from("ab")),), address=draw(st.sampled_from(["x", "y"])),
                weight=draw(st.integers(0, 100)),
            )
        )  # fmt: skip
    return found


@given(lines())
def test_folding_keeps_every_event_once_and_in_order(given_lines: list[Line]) -> None:
    found = folded(given_lines)
    assert sum(line.count for line in found) == len(given_lines)
    assert sorted(index for line in found for index in line.indexes) == sorted(line.index for line in given_lines)
    assert [line.at_us for line in found] == sorted(line.at_us for line in found)
    by_index = {line.index: line for line in given_lines}
    for line in found:
        mine = sorted((by_index[index] for index in line.indexes), key=lambda each: each.at_us)
        assert {each.key for each in mine} == {line.key}
        assert (line.at_us, line.until_us) == (mine[0].at_us, mine[-1].at_us)
        gaps = [b.at_us - a.at_us for a, b in pairwise(mine)]
        assert all(gap <= CASE_FOLD_S * SECOND for gap in gaps)
    for one in found:
        for other in found:
            if one.key == other.key and one.at_us < other.at_us:
                assert other.at_us - one.until_us > CASE_FOLD_S * SECOND


@given(lines(), st.integers(0, 40))
def test_what_is_kept_is_at_least_as_telling_as_what_is_not(given_lines: list[Line], most: int) -> None:
    kept, untold = told_first(given_lines, most)
    assert len(kept) == min(most, len(given_lines))
    assert sorted(line.index for line in (*kept, *untold)) == sorted(line.index for line in given_lines)
    assert not kept or not untold or min(line.weight for line in kept) >= max(line.weight for line in untold)
    assert kept == sorted(kept, key=lambda each: (each.at_us, each.index))


def test_the_first_success_of_each_from_each_place_is_telling() -> None:
    entry = Line(0, "event", 1, type_uid=300201, outcome="success", who=("a",), address="x", weight=60)
    later, elsewhere = replace(entry, at_us=9), replace(entry, at_us=10, address="y")
    found = with_first_success([entry, later, elsewhere])
    assert [line.weight for line in found] == [FIRST_SUCCESS, 60, FIRST_SUCCESS]


def test_words_say_how_many_and_whom() -> None:
    tried = Line(0, "event", 1, count=1, type_uid=300201, outcome="failure", who=("root",))
    assert words(tried) == "failed sign-in as root"
    assert words(replace(tried, who=())) == "failed sign-in"
    assert words(replace(tried, type_uid=300206, action="user.mfa")) == "root: user.mfa, refused or failed"
    many = replace(tried, count=900, who=tuple(f"u{k}" for k in range(500)))
    assert words(many) == "900 failed sign-ins as 500 or more accounts"
    assert words(Line(0, "event", 1)) == "an event without a name"
