"""The short versions of the campaigns; `make crash` runs the long ones."""

import pytest
from tests.faults.campaign import (
    Acked,
    calls_of_a_roll_over,
    calls_of_a_run,
    failed_sync,
    full_disk,
    judge,
    power_cuts,
    roll_over,
    start,
    work,
)
from tests.faults.disk import SimulatedDisk


@pytest.mark.parametrize("share", range(4))
def test_power_cuts_at_every_call_lose_nothing_acknowledged(share: int) -> None:
    assert power_cuts(2_000, first_seed=share * 1_000) == 2_000


@pytest.mark.parametrize("share", range(3))
def test_a_change_of_shards_may_be_cut_off_anywhere(share: int) -> None:
    calls = calls_of_a_roll_over()
    assert calls > 80
    for call in range(1 + share, calls + 1, 3):
        for seed in range(5):
            roll_over(call, seed)
        roll_over(call, 0, is_full=True)


def test_a_full_disk_loses_nothing_and_is_survived() -> None:
    for call in range(1, 40):
        for length in (1, 3, 1_000):
            full_disk(call, length)


def test_after_a_failed_sync_nothing_is_acknowledged_until_a_restart() -> None:
    for call in range(1, 40):
        for seed in range(5):
            failed_sync(call, seed)


def test_the_same_seed_gives_the_same_disk() -> None:
    def run() -> dict[str, bytes]:
        disk = SimulatedDisk()
        work(start(disk), Acked())
        return {path: bytes(file.content) for path, file in disk.after_crash(4).names.items()}

    assert run() == run()


def test_the_oracle_notices_a_lost_entry() -> None:
    disk, acked = SimulatedDisk(), Acked()
    ledger = start(disk)
    work(ledger, acked)
    index = max(acked.entries)
    acked.entries[index] = (acked.entries[index][0], b"something else")
    with pytest.raises(AssertionError, match="I1"):
        judge(ledger, acked)
    assert calls_of_a_run() > 50
