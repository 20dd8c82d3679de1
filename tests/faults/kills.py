"""R1 on a real disk: a process that appends is killed with -9 at random moments, again and again in one folder.

The process tells what was acknowledged on its standard output; what of that reaches the pipe counts as acknowledged.
Some rounds append so much that packs are written and segments dropped, some are killed before the first answer.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.faults.campaign import ORIGIN, Acked, entries

from muniment.ledger.check import check_ledger
from muniment.ledger.ledger import Ledger
from muniment.merkle.note import VerifierKey, open_checkpoint
from muniment.merkle.tree import verify_consistency

__all__ = ["kills"]

ROUNDS_IN_A_FOLDER = 25


def append_for_ever(folder: Path, first: int, size: int) -> None:
    """The process that will be killed."""
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, head=str(folder / "head"))
    while True:
        done = ledger.append(entries(first, size))
        told = [first, done.indexes[0], done.indexes[-1], done.checkpoint.decode()]
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        first += size


def kills(count: int, folder: Path, seed: int = 0) -> int:
    """Kill `count` times; the number of acknowledged entries that were looked for and found. Raises on a violation."""
    draw, found = random.Random(seed), 0
    for number in range(count):
        if number % ROUNDS_IN_A_FOLDER == 0:
            here, acked, first = folder / str(number), Acked(), 0
        first = _one_kill(here, acked, first, draw)
        ledger = Ledger.open(here / "ledger", origin=ORIGIN, head=str(here / "head"))
        try:
            _judge(ledger, acked)
            again = entries(max(0, first - 30), 30) if first else entries(0, 1)  # what was perhaps not acknowledged
            ledger.append(again)
        finally:
            ledger.close()
        found += len(acked.entries)
        if number % ROUNDS_IN_A_FOLDER == ROUNDS_IN_A_FOLDER - 1 or number == count - 1:
            check_ledger(here / "ledger")
            shutil.rmtree(here)
    return found


def _judge(ledger: Ledger, acked: Acked) -> None:
    """I1 and I3; that nothing stands twice is looked at when the folder is done."""
    for index, (event_id, record) in acked.entries.items():
        entry = ledger.entry(index)
        assert (entry.id, entry.record) == (event_id, record), f"I1: entry {index}"
    keys = [VerifierKey.parse(vkey) for vkey in ledger.vkeys]
    now = open_checkpoint(ledger.checkpoint, ledger.origin, keys)
    for note in acked.checkpoints:
        older = open_checkpoint(note, ledger.origin, keys)
        proof = ledger.consistency_proof(older.size, now.size)
        verify_consistency(older.size, now.size, older.root_hash, now.root_hash, proof)


def _one_kill(folder: Path, acked: Acked, first: int, draw: random.Random) -> int:
    """One process from start to kill; the number of the next entry that was never sent."""
    size = 20_000 if draw.random() < 0.06 else draw.randrange(1, 60)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.kills", str(folder), str(first), str(size)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    if draw.random() < 0.15:  # somewhere in its start
        threading.Timer(draw.random() * 0.6, process.kill).start()
        lines = process.stdout.readlines()
    else:
        lines = [process.stdout.readline()]
        time.sleep(draw.random() ** 2 * (1.5 if size == 20_000 else 0.2))
        process.kill()
        lines += process.stdout.readlines()
    assert process.wait() == -9, "it ended by itself"
    for line in lines:
        if not line.endswith("\n"):
            break
        start, index, last, checkpoint = json.loads(line)
        acked.checkpoints.append(checkpoint.encode())
        del acked.checkpoints[:-5]
        batch = entries(start, size)
        assert last - index == size - 1
        for k in {0, size - 1, *(draw.randrange(size) for _ in range(5))}:
            acked.entries[index + k] = (batch.ids[k], batch.records[k])
        first = start + size
    return first + size  # the batch in hand may or may not be there: its numbers are not used again


if __name__ == "__main__":
    append_for_ever(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
