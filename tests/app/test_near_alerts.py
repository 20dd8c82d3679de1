"""What could be one card with a new alert, told without putting all alerts together, is what all together would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muniment.together import Subject, near, together

_ADDRESSES = st.sampled_from(["203.0.113.7", "203.0.113.8", "198.51.100.7", "2001:db8::1", "(erased)"])
_OTHERS = st.sampled_from(["203.0.113.7", "anna", "web-1"])
_PAIRS = st.one_of(
    st.tuples(st.sampled_from(["src_ip", "address"]), _ADDRESSES),
    st.tuples(st.just("src_subnet"), st.sampled_from(["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/64"])),
    st.tuples(st.sampled_from(["actor", "dst_host", "source"]), _OTHERS),
)
_GROUPS = st.lists(_PAIRS, min_size=1, max_size=2, unique_by=lambda pair: pair[0]).map(tuple)
_LEVELS = st.sampled_from(["low", "medium", "high", "critical"])


@given(st.lists(st.tuples(_GROUPS, _LEVELS), min_size=1, max_size=12), st.data())
def test_the_cards_of_some_are_those_that_all_together_give(
    alerts: list[tuple[tuple[tuple[str, str], ...], str]], data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.sampled_from(range(len(alerts))), min_size=1))
    subjects = [Subject(str(n), dict(group), level, "new", "") for n, (group, level) in enumerate(alerts)]

    def cards(among: list[int]) -> dict[int, set[int]]:
        cards = [{among[at] for at in same} for same in together([subjects[at] for at in among])]
        return {at: card for card in cards for at in card if at in some}

    assert cards(near([group for group, _ in alerts], some)) == cards(list(range(len(alerts))))
