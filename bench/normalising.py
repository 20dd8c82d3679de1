"""`python -m bench.normalising`: CPU an event costs from its clear record to typed columns in the store, by kind of source.

Records are the samples of the catalogue's entries, each made different by numbers, in blocks as the projector cuts them. `own` is
our own format, which is the spine's cost; the others are recognised by their content. CPU of the whole process, so that
threads of the engine count, and another process on the machine does not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from bench.corpus import Corpus, batches
from muniment.search.blocks import Block
from muniment.search.engine import open_engine
from muniment.search.mappings import mapping_set
from muniment.search.replica import Replica
from muniment.search.schema import migrate
from muniment.sources.catalogue import AUTO, Catalogue, load

KINDS = {
    "sshd": ("openssh",),
    "CloudTrail": ("aws_cloudtrail",),
    "free JSON": ("json",),
    "web server": ("web_access",),
    "Windows": ("windows",),
    "six kinds": ("openssh", "aws_cloudtrail", "okta", "web_access", "kubernetes", "windows"),
    "all kinds": (),
}

_WARM = 2
"""Blocks before the clock runs: what is made once is made by then, and what is made when it comes again."""


def records_of(catalogue: Catalogue, names: Sequence[str], count: int) -> list[bytes]:
    """`count` records after the samples of these entries, or of all."""
    samples = [s.record for name in names or catalogue for s in catalogue[name].samples if s.record.startswith(b"{")]
    return [b'{"n%d":%d,' % (k % 1_000, k) + samples[k % len(samples)].lstrip()[1:] for k in range(count)]


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=60_000)
    arguments.add_argument("--block", type=int, default=10_000)
    given = arguments.parse_args()
    catalogue = load()
    own = [line for body in batches(Corpus(given.events, seed=3), given.block) for line in body.split(b"\n")]
    corpora = {"own": own} | {kind: records_of(catalogue, names, given.events) for kind, names in KINDS.items()}
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as folder:
        engine = open_engine(f"chdb:///{Path(folder).resolve()}/store")
        migrate(engine)
        formats = {"own": "muniment"}
        replica = Replica(
            engine, engine.nodes[0], mapping_set(catalogue), lambda s: formats.get(s, AUTO), engine.local_table
        )
        replica.prepare()
        engine.command("SYSTEM STOP MERGES")
        spine, index = 0.0, 0
        for kind, records in corpora.items():
            blocks = []
            for start in range(0, given.events, given.block):
                part = records[start : start + given.block]
                ids = [str(uuid.UUID(int=index + k)) for k in range(len(part))]
                blocks.append(Block(index, ids, [kind] * len(part), [1_795_000_000 * 10**9] * len(part), part))
                index += len(part)
            for block in blocks[:_WARM]:
                replica.write(block)
            began, clock = time.process_time(), time.perf_counter()
            for block in blocks[_WARM:]:
                replica.write(block)
            n_events = given.events - _WARM * given.block
            each = (time.process_time() - began) * 1e6 / n_events
            wall = (time.perf_counter() - clock) * 1e6 / n_events
            spine = spine or each
            size = sum(map(len, records)) / len(records)
            print(
                f"{kind:12} {size:6.0f} bytes  {each:5.1f} us CPU  {each - spine:+5.1f} over own  {wall:5.1f} us wall"
            )
        engine.close()


if __name__ == "__main__":
    main()
