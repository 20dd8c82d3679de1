"""R1, the other hundred kills, and R3: flipped bits."""

from pathlib import Path

import pytest
from tests.faults.flips import flips, make
from tests.faults.kills import kills


@pytest.mark.parametrize("seed", [5, 6, 7, 8])
@pytest.mark.timeout(600)
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, seed: int) -> None:
    assert kills(25, tmp_path, seed) > 500


def test_a_flipped_bit_in_any_file_is_found_and_named(tmp_path: Path) -> None:
    make(tmp_path, 1_000)
    assert flips(tmp_path, count=450) == 450


def test_a_flipped_bit_in_a_pack_is_found_and_named(tmp_path: Path) -> None:
    make(tmp_path, 66_000)
    assert flips(tmp_path, count=6, only="/packs/") == 6
