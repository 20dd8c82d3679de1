"""Crash campaigns: R1 kills, R2 power cuts, R3 flipped bits, R4 full disk, R5 EIO on fsync, R6 damage, R7 rollback.
`make crash` runs the long ones.

Oracle: every acknowledged entry is at its index with its bytes (I1), indexes are contiguous (I2), the tree is
consistent with every checkpoint that was ever released (I3), one entry per (source, id) (I4).
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.disk import Crash, SimulatedDisk

from muniment.errors import AuditError, StorageError
from muniment.event.ids import uuid7
from muniment.ledger.check import check_ledger
from muniment.ledger.folder import Folder
from muniment.ledger.head import FolderHeadStore
from muniment.ledger.ledger import Ledger
from muniment.ledger.types import Entries
from muniment.merkle.note import VerifierKey, open_checkpoint
from muniment.merkle.tree import verify_consistency

ORIGIN = "sim.example/audit"


@dataclass(slots=True)
class Acked:
    """What the sender was told."""

    entries: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    checkpoints: list[bytes] = field(default_factory=list)


def start(disk: SimulatedDisk) -> Ledger:
    """A ledger on the disk, without threads: the workload publishes itself."""
    disk.makedirs("/ledger")
    disk.makedirs("/head")
    return Ledger(Folder(disk, "/ledger"), FolderHeadStore(Folder(disk, "/head")), ORIGIN, is_publishing=False)


def entries(first: int, count: int) -> Entries:
    """Entries that are a function of their numbers."""
    numbers = range(first, first + count)
    return Entries(
        sources=["app"] * count,
        ids=[uuid7(1_700_000_000_000_000_000, n.to_bytes(10, "big")) for n in numbers],
        sqs=list(numbers),
        received_at=[1_700_000_000_000_000_000 + n * 1000 for n in numbers],
        records=[b'{"n":%d,"x":"%s"}' % (n, b"y" * (n % 700)) for n in numbers],
        parts=[()] * count,
    )


def work(ledger: Ledger, acked: Acked, batches: int = 5) -> None:
    """Append, publish, resend: what a server does, step by step."""
    for number in range(batches):
        batch = entries(number * 30, 30 + number)  # the tail of each batch comes again in the next
        appended = ledger.append(batch)
        for k, index in enumerate(appended.indexes):
            acked.entries[index] = (batch.ids[k], batch.records[k])
        acked.checkpoints.append(appended.checkpoint)
        if number % 2:
            ledger.publish()


def judge(ledger: Ledger, acked: Acked) -> None:
    """The oracle; AssertionError or VerificationError is a violation."""
    found: list[tuple[str, bytes]] = []
    names: list[tuple[str, str]] = []
    for block in ledger.blocks(0, ledger.size):
        assert block.first == len(found), f"I2: entry {block.first}"
        found += zip(block.ids, block.records, strict=True)
        names += zip(block.sources, block.ids, strict=True)
    assert len(found) == ledger.size, "I2"
    assert len(set(names)) == len(names), "I4"
    for index, sent in acked.entries.items():
        assert found[index : index + 1] == [sent], f"I1: entry {index}"
    keys = [VerifierKey.parse(vkey) for vkey in ledger.vkeys]
    now = open_checkpoint(ledger.checkpoint, ledger.origin, keys)
    for note in acked.checkpoints:
        older = open_checkpoint(note, ledger.origin, keys)
        proof = ledger.consistency_proof(older.size, now.size)
        verify_consistency(older.size, now.size, older.root_hash, now.root_hash, proof)


def calls_of_a_run() -> int:
    """How many durable calls the workload makes."""
    disk = SimulatedDisk()
    work(start(disk), Acked())
    return disk.calls


def power_cut(call: int, seed: int) -> bool:
    """Cut the power before `call`, restart, judge, work on, judge. False: the run ended before."""
    disk, acked = SimulatedDisk(crash_at=call), Acked()
    try:
        work(start(disk), acked)
        return False
    except Crash:
        pass
    found = disk.after_crash(seed)
    ledger = start(found)
    judge(ledger, acked)
    work(ledger, acked, batches=3)
    judge(ledger, acked)
    return True


NEW_YEAR_NS = 1_798_761_600_000_000_000
"""2027-01-01T00:00:00Z, where the half-year and so the shard changes."""


def _over_new_year(disk: SimulatedDisk, ledger: Ledger, acked: Acked) -> None:
    for number in range(4):
        if number == 2:
            disk.set_time(NEW_YEAR_NS)
        batch = entries(number * 30, 30)
        appended = ledger.append(batch)
        for k, index in enumerate(appended.indexes):
            acked.entries[index] = (batch.ids[k], batch.records[k])
        if number == 3:
            ledger.publish()


def calls_of_a_roll_over() -> int:
    """How many durable calls the workload around a change of shards makes."""
    disk = SimulatedDisk(start_ns=NEW_YEAR_NS - 10**9)
    _over_new_year(disk, start(disk), Acked())
    return disk.calls


def roll_over(call: int, seed: int, *, is_full: bool = False) -> None:
    """Power cut (or a disk that is full for three calls) at `call` of a workload over a change of shards."""
    disk, acked = SimulatedDisk(crash_at=-1 if is_full else call, start_ns=NEW_YEAR_NS - 10**9), Acked()
    if is_full:
        disk.full_from, disk.full_until = call, call + 3
    with contextlib.suppress(Crash, AuditError):
        _over_new_year(disk, start(disk), acked)
    disk.full_from = disk.full_until = -1
    found = disk.after_crash(1 if is_full else seed)
    found.set_time(NEW_YEAR_NS + 10**9)
    ledger = start(found)
    for again in range(4):  # nobody knows what of it is there: all of it comes again
        batch = entries(again * 30, 30)
        appended = ledger.append(batch)
        for k, index in enumerate(appended.indexes):
            assert acked.entries.setdefault(index, (batch.ids[k], batch.records[k])) == (batch.ids[k], batch.records[k])
    for index, (event_id, record) in acked.entries.items():
        entry = ledger.entry(index)
        assert (entry.id, entry.record) == (event_id, record), f"I1: entry {index}"
    assert len(acked.entries) == 120, "I4: an event stands twice"
    ledger.publish()
    assert check_ledger(Path("/ledger"), files=found).shards == len(ledger.shard_folders())


def full_disk(call: int, length: int) -> None:
    """No space for `length` calls from `call` on: nothing acked is lost, and it goes on when there is space."""
    disk, acked = SimulatedDisk(), Acked()
    ledger = start(disk)
    work(ledger, acked, batches=2)
    disk.full_from, disk.full_until = disk.calls + call, disk.calls + call + length
    for number in range(3, 8):
        batch = entries(number * 30, 30)
        try:
            appended = ledger.append(batch)
            ledger.publish()
        except StorageError:
            continue
        for k, index in enumerate(appended.indexes):
            acked.entries[index] = (batch.ids[k], batch.records[k])
    disk.full_from = disk.full_until = -1
    restarted = start(disk.after_crash(1))
    judge(restarted, acked)
    restarted.append(entries(900, 5))


def failed_sync(call: int, seed: int) -> None:
    """EIO on a sync: no acknowledgement after it, and after a restart everything acknowledged is there."""
    disk, acked = SimulatedDisk(), Acked()
    ledger = start(disk)
    work(ledger, acked, batches=2)
    disk.eio_at = disk.calls + call
    is_broken = False
    for number in range(3, 8):
        batch = entries(number * 30, 30)
        try:
            appended = ledger.append(batch)
        except AuditError:
            is_broken = True
            continue
        assert not is_broken, "an acknowledgement after a failed fsync"
        for k, index in enumerate(appended.indexes):
            acked.entries[index] = (batch.ids[k], batch.records[k])
    restarted = start(disk.after_crash(seed))
    judge(restarted, acked)


def power_cuts(states: int, first_seed: int = 0) -> int:
    """Crash states over every call and many seeds; how many were judged."""
    calls, done, seed = calls_of_a_run(), 0, first_seed
    while done < states:
        for call in range(1, calls + 1):
            done += power_cut(call, seed)
            if done >= states:
                break
        seed += 1
    return done


def power_cuts_at_once(states: int, first_seed: int, jobs: int) -> int:
    """`power_cuts` in several processes, each with seeds of its own."""
    shares = [states // jobs + (job < states % jobs) for job in range(jobs)]
    seeds = [first_seed + job * 1_000_000 for job in range(jobs)]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(power_cuts, shares, seeds))


def roll_overs(seeds: int) -> int:
    """Every call of a change of shards, cut off with so many seeds and with a full disk; how many states."""
    calls = calls_of_a_roll_over()
    for call in range(1, calls + 1):
        for seed in range(seeds):
            roll_over(call, seed)
        roll_over(call, 0, is_full=True)
    return calls * (seeds + 1)


def main() -> None:
    """Run for long, or a part of it, and print figures."""
    from tests.faults import damage, flips, kills  # they build on this module

    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", choices=["R1", "R2", "R3", "R4", "R6", "R7"], help="R4 stands for R4 and R5")
    parser.add_argument("--states", type=int, default=0, help="of R2")
    parser.add_argument("--kills", type=int, default=0, help="of R1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes of R2")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other states")
    options = parser.parse_args()
    states = options.states or (1_000_000 if options.long else 5_000)
    count = options.kills or (5_000 if options.long else 20)

    def timed(name: str, work: Callable[[], str]) -> None:
        if options.only in (None, name):
            began = time.monotonic()
            print(f"{name}: {work()}, 0 violations, {time.monotonic() - began:.0f} s", flush=True)

    def r3() -> str:
        with tempfile.TemporaryDirectory() as folder:
            flips.make(Path(folder), 1_000)
            return f"{flips.flips(Path(folder), options.seed, 0 if options.long else 300):,} flipped bits found"

    def r1() -> str:
        with tempfile.TemporaryDirectory() as folder:
            return f"{count:,} kills, {kills.kills(count, Path(folder), options.seed):,} acknowledged entries there"

    def r4() -> str:
        for call in range(1, 60):
            for length in (1, 3, 1000):
                full_disk(call, length)
            for seed in range(5):
                failed_sync(call, seed)
        return f"{59 * 3} full disks, {59 * 5} failed syncs (R5)"

    def r2() -> str:
        done = power_cuts_at_once(states, options.seed, options.jobs)
        return f"{done:,} crash states, {roll_overs(20):,} at a change of shards"

    def r6() -> str:
        with tempfile.TemporaryDirectory() as name:
            folder, found = Path(name), Counter[str]()
            for entries_, cases in ((1_000, 4_500), (70_000, 500)) if options.long else ((1_000, 200),):
                damage.make(folder / str(entries_), entries_)
                found += damage.damages(folder / str(entries_), folder / "work", cases, options.seed)
            return f"{found['named']:,} damaged files named, {found['harmless']:,} without harm"

    def r7() -> str:
        with tempfile.TemporaryDirectory() as folder:
            done = damage.rollbacks(Path(folder), 1_000 if options.long else 50, options.seed)
            return f"{done:,} older copies under a newer head refused"

    timed("R1", r1)
    timed("R2", r2)
    timed("R3", r3)
    timed("R4", r4)
    timed("R6", r6)
    timed("R7", r7)


if __name__ == "__main__":
    main()
