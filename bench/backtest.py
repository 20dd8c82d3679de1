"""`python -m bench.backtest`: every rule of our pack, and of a folder, tried over history, on N believable events.

The events go in through the projector's own path. Prints the rate of filling, and of all rules the time a back-test takes.
`--only` takes rules by a part of their title, and `--rounds` tells the median of several rounds over all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.corpus import START_NS, Corpus
from bench.search_bench import fill
from bench.table import note, p
from muniment.access.database import open_database
from muniment.detect.history import History
from muniment.detect.logsources import kind_of_entry, taxonomy_of
from muniment.detect.rulebook import RuleBook
from muniment.search.engine import open_engine
from muniment.search.mappings import mapping_set
from muniment.search.replica import Replica
from muniment.sources import catalogue


def measured(events: int, store: str, rules: Sequence[Path], only: Sequence[str] = (), rounds: int = 1) -> None:
    """Note the figures. `store`: a folder to keep the store in, and to find it again."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as temporary:
        kept, folder = Path(store or f"{temporary}/store").resolve(), Path(temporary).resolve()
        _measured(str(kept), folder, events, rules, only, rounds)


def _measured(store: str, folder: Path, events: int, rules: Sequence[Path], only: Sequence[str], rounds: int) -> None:
    """Fill the store unless it is full, and try each rule over all of it."""
    corpus = Corpus(events)
    entries = catalogue.load()
    engine = open_engine(f"chdb://{store}")
    replica = Replica(engine, engine.nodes[0], mapping_set(entries), lambda _: "muniment", "events")
    replica.prepare()
    if replica.unsure_below < corpus.size:
        wall, _ = fill(replica, corpus)
        print(f"filled with {events:,} events, {wall:.1f} us each", flush=True)
    database = open_database(f"sqlite:///{folder}/rules.db")
    book = RuleBook(list(rules), database, lambda: START_NS + corpus.span_ns)
    formats = {name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)) for name, entry in entries.items()}
    history = History(engine, book.get, formats)
    chosen = [rule for rule in book.current.all_rules if not only or any(part in rule.title for part in only)]
    times: dict[str, list[float]] = {rule.key: [] for rule in chosen}
    hits: dict[str, int] = {}
    for _ in range(rounds):
        for rule in chosen:
            began = time.perf_counter()
            hits[rule.key] = history.back_test(rule.key, None, None, corpus.size).hits
            times[rule.key].append(time.perf_counter() - began)
    took = sorted((statistics.median(times[rule.key]), rule.title, hits[rule.key]) for rule in chosen)
    seconds = [each[0] for each in took]
    what = f"back-test of each of {len(took)} rules over {events:,} events"
    note(f"{what}, p50 / p90", f"{p(seconds, 0.5):.2f} / {p(seconds, 0.9):.2f} s", "typical <= 3 s")
    note("  within 3 s / the slowest", f"{sum(s <= 3 for s in seconds)} / {seconds[-1]:.1f} s")
    for second, title, n_hits in took[-12:]:
        print(f"   {second:6.2f} s  {n_hits:>10,} hits  {title}")
    engine.close()


def main() -> None:
    """Print the figures, and the slowest rules."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--store", default="", help="a folder to keep the store in, and to find it again")
    arguments.add_argument("--rules", type=Path, action="append", default=[], help="a folder of rules besides our pack")
    arguments.add_argument("--only", action="append", default=[], help="a part of a title: those rules alone")
    arguments.add_argument("--rounds", type=int, default=1, help="how often; the median of each rule counts")
    chosen = arguments.parse_args()
    measured(chosen.events, chosen.store, chosen.rules, chosen.only, chosen.rounds)


if __name__ == "__main__":
    main()
