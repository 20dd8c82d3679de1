"""Matches and time of rules are counted by hour and outlive a restart."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from muniment.detect.tally import Tally, Told

HOUR = 3_600_000_000
NOW = 500_000 * HOUR


def test_counts_are_of_a_day_and_of_thirty_before_and_after_a_restart(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/t.db")
    tally = Tally(engine)
    assert tally.since_us() == 0
    tally.matched("r", NOW)
    tally.matched("r", NOW - 2 * HOUR, 4)
    tally.matched("r", NOW - 25 * HOUR, 10)
    tally.matched("r", NOW - 29 * 24 * HOUR, 100)
    tally.spent("r", NOW, 0.5)
    expected = Told(5, 115, 0.5)
    assert tally.told(NOW)["r"] == expected
    tally.flush(NOW)
    assert tally.told(NOW)["r"] == expected
    tally.matched("r", NOW)
    tally.flush(NOW)
    assert Tally(engine).told(NOW)["r"] == Told(6, 116, 0.5)
    assert tally.since_us() == NOW - 29 * 24 * HOUR


def test_what_is_older_than_it_may_say_is_forgotten(tmp_path: Path) -> None:
    tally = Tally(sa.create_engine(f"sqlite:///{tmp_path}/t.db"))
    tally.matched("old", NOW - 40 * 24 * HOUR)
    tally.flush(NOW)
    assert tally.told(NOW) == {}
