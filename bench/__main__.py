"""`make bench`: the figures, in one run, fsync on: the way of a record beside PostgreSQL 15 and SQLite FTS5, the rules beside a
plain loop over the queries that pySigma's SQLite backend makes of them.

Every server here is a process of its own on a fresh folder; bodies are made before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from bench.sections import SECTIONS, rows_of
from bench.table import Row


def main() -> None:
    """Run, print, and keep the table of a whole run in bench/results/."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="corpus of the queries")
    parser.add_argument("--ingest-events", type=int, default=200_000, help="corpus of each ingest row")
    parser.add_argument("--backtest-events", type=int, default=10_000_000, help="history of the back-tests")
    parser.add_argument("--mixed-events", type=int, default=1_000_000, help="events of all kinds for all Sigma rules")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--sigma-rules", type=Path, help="see bench.detection; made up without it")
    parser.add_argument("--sigma-events", type=Path, help="see bench.detection; made up without it")
    parser.add_argument("--sigma-peer", default="", help="a Python that has pysigma-backend-sqlite")
    parser.add_argument("--only", action="append", default=[], choices=SECTIONS, help="these sections alone")
    options = parser.parse_args()
    found: list[Row] = []
    for section in SECTIONS:
        if not options.only or section in options.only:
            # Each in a process of its own: an embedded engine is opened once a process, and CPU is that of the process.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found += pool.submit(rows_of, section, options).result()
    if options.only:  # the table that is kept is of a whole run
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    head = (
        f"# {today}, commit {commit}\n\n{platform.platform()}, fsync on, `python -m bench {' '.join(sys.argv[1:])}`\n\n"
    )
    table = "| what | figure | goal |\n|---|---|---|\n" + "".join(f"| {a} | {b} | {c} |\n" for a, b, c in found)
    (results / f"{today}.md").write_text(head + table, "utf-8")
    (results / f"{today}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
