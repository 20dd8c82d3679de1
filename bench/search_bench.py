"""The search store alone: insert cost, bytes, memory, and the six queries of the issue on N believable events.

    python -m bench.search_bench [--events 1000000] [--store /some/folder]

Prints p50 (warm) beside the goals. The events go in through the projector's own path (landing, mapping, indexes), in
blocks of 20,000; nothing is prepared outside it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.corpus import RARE_WORD, START_NS, Corpus, batches
from muniment.search.blocks import Block
from muniment.search.engine import open_engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Horizon
from muniment.search.replica import Replica
from muniment.search.service import SearchService
from muniment.sources import catalogue

_BLOCK = 20_000
_ROUNDS = 15
_GOALS = {  # query: goals in ms at 1 M and 10 M
    "needle: request id": (10, 30),
    "needle: free word": (10, 30),
    "one user's day": (51, 510),
    "failed logins by IP, top 10": (8, 80),
    "word in message, count": (285, 2_850),
    "word anywhere, count": (285, 2_850),
    "word in message, first page": (285, 2_850),
    "hour x action histogram": (65, 650),
    "substring in message, count": (300, 3_000),
    "first page of everything": (300, 300),
}


class _Complete:
    """The horizon of a store that has everything."""

    def __init__(self, size: int) -> None:
        self._size = size

    def horizon(self) -> Horizon:
        return Horizon(self._size - 1, START_NS, self._size, 0)


def fill(replica: Replica, corpus: Corpus) -> tuple[float, float]:
    """Insert everything; wall and CPU microseconds per event, without the making of the events."""
    wall = cpu = 0.0
    first = 0
    for body in batches(corpus, _BLOCK):
        records = body.split(b"\n")
        times = [corpus.time_of(first + k) + 500_000_000 for k in range(len(records))]
        ids = [record[7:43].decode() for record in records]  # the producer's id is a UUID, so the ledger keeps it
        block = Block(first, ids, ["portal"] * len(records), times, records)
        began, began_cpu = time.perf_counter(), time.process_time()
        replica.write(block)
        wall += time.perf_counter() - began
        cpu += time.process_time() - began_cpu
        first = block.end
    began_cpu = time.process_time()
    time.sleep(5)  # merges still running belong to the cost
    cpu += time.process_time() - began_cpu
    return wall / first * 1e6, cpu / first * 1e6


def _queries(service: SearchService, corpus: Corpus) -> dict[str, Callable[[], object]]:
    day = START_NS + 12 * 86_400 * 10**9
    end = START_NS + corpus.span_ns
    actor = service.facets("", None, None, ["actor_id"], 10)["actor_id"][5][0]
    needles = iter(range(corpus.size // 7, corpus.size, corpus.size // 97))
    return {
        "needle: request id": lambda: service.search(f"request:{corpus.request_id_of(next(needles))}"),
        "needle: free word": lambda: service.search(corpus.request_id_of(next(needles))),
        "one user's day": lambda: service.search(f"actor:{actor}", day, day + 86_400 * 10**9, limit=1000),
        "failed logins by IP, top 10": lambda: service.facets(
            "action:user.login outcome:failure", None, None, ["src_ip"], 10
        ),
        "word in message, count": lambda: service.count(f"message:{RARE_WORD}"),
        "word anywhere, count": lambda: service.count(RARE_WORD),
        "word in message, first page": lambda: service.search(f"message:{RARE_WORD}"),
        "hour x action histogram": lambda: service.histogram("", START_NS, end, buckets=720, by="action"),
        "substring in message, count": lambda: service.count(f"message:*{RARE_WORD[1:6]}*"),
        "first page of everything": lambda: service.search(""),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--store", default="")
    chosen = arguments.parse_args()
    folder = chosen.store or tempfile.mkdtemp(prefix="search-bench-")
    corpus = Corpus(chosen.events)
    engine = open_engine(f"chdb://{folder}")
    replica = Replica(engine, engine.nodes[0], mapping_set(catalogue.load()), lambda _: "muniment", "events")
    replica.prepare()
    if replica.unsure_below < corpus.size:
        wall, cpu = fill(replica, corpus)
        print(f"insert: {wall:.1f} us wall, {cpu:.1f} us CPU per event (merges included); goal 9 us CPU")
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
    parts = engine.query("SELECT sum(bytes_on_disk), count() FROM system.parts WHERE active AND table = 'events'").rows[
        0
    ]
    print(f"store: {parts[0] / corpus.size:.1f} bytes per event in {parts[1]} parts; RSS {rss:.0f} MiB; goal 100 bytes")
    service = SearchService(engine, _Complete(corpus.size))
    column = 0 if corpus.size <= 1_000_000 else 1
    for name, run in _queries(service, corpus).items():
        for _ in range(3):
            run()
        took = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            run()
            took.append((time.perf_counter() - began) * 1_000)
        goal = _GOALS[name][column]
        p50 = statistics.median(took)
        print(f"{name:32} p50 {p50:8.1f} ms   goal {goal:6} ms   {'ok' if p50 <= goal else 'MISSED'}")
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"RSS after the queries {rss:.0f} MiB, peak {peak:.0f} MiB")
    for name, size in engine.query(
        "SELECT name, data_compressed_bytes FROM system.columns WHERE table = 'events' UNION ALL SELECT name, "
        "data_compressed_bytes FROM system.data_skipping_indices WHERE table = 'events' ORDER BY 2 DESC LIMIT 16"
    ).rows:
        print(f"   {name:20} {size / corpus.size:7.2f} bytes per event")
    engine.close()
    if not chosen.store:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
