"""R1, the short version: 200 kills in two files, so that two workers share them."""

from pathlib import Path

import pytest
from tests.faults.kills import kills


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.timeout(600)
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, seed: int) -> None:
    assert kills(25, tmp_path, seed) > 500
