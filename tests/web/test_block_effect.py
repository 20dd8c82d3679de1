"""What a block's page says of its effect: verified only where there was something to see."""

from __future__ import annotations

from datetime import UTC

import pytest

from muniment.web.block_pages import _effect
from muniment.web.security import Block

S = 10**9
MADE = 1_790_000_000 * S


def _words(seen: int, attempts: int = 0, last: int = 0, taken: int = 1, ended: int = 0) -> tuple[str, bool]:
    """Seconds after the block was made."""
    block = Block(
        "1", "address", "203.0.113.7", "guesses", "undone" if ended else "active", "ana", MADE, "", MADE, MADE + 3_600 * S,
        "", MADE + ended * S if ended else 0, "", attempts, (MADE + last * S) // 1_000 if attempts else 0, MADE + seen * S,
        MADE + taken * S if taken else 0,
    )  # fmt: skip
    return _effect(block, MADE + seen * S, UTC)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (_words(60, taken=0), "nobody who refuses has heard of it yet"),
        (_words(2), "wait a minute to see"),  # fetched, and two seconds are no proof
        (_words(20, 9, last=8, taken=5), "wait a minute to see"),  # still on its way to who refuses
        (_words(400, 70, last=395), "is it refused?"),
    ],
)
def test_it_is_not_verified_where_nothing_shows_it(told: tuple[str, bool], words: str) -> None:
    assert words in told[0]
    assert not told[1]


def test_nothing_since_a_while_is_an_effect() -> None:
    words, is_verified = _words(6)
    assert words.startswith("0 attempts since")
    assert "effect verified" in words
    assert is_verified


def test_an_attack_that_went_on_until_the_feed_was_fetched_is_over_then() -> None:
    words, is_verified = _words(90, 12, last=9)
    assert "effect verified. Before, 12 events came after the block was made" in words
    assert is_verified


def test_a_block_that_has_ended_asks_nobody_to_look() -> None:
    assert "1 event while it was in force" in _words(90, 1, last=9, ended=60)[0]
    assert _words(90, ended=60) == ("Nothing came from there while it was in force.", False)
