"""`python -m bench.alerting`: from the acknowledgement of an event to its alert, while a load comes in and rules run.

A server with our pack and `--rules` made-up rules over typed columns takes `--rate` events a second for `--seconds`; every half
second one event more is sent that a rule finds, and its alert is asked for until it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from pathlib import Path

from bench.corpus import Corpus, batches
from bench.running import RunningServer, post_all

_RULE = """title: Made-up rule {n}
id: 10000000-0000-4000-8000-{n:012d}
level: low
logsource: {{product: muniment}}
detection:
  a: {{action: thing{n}.happen, outcome: success}}
  b: {{actor_name|contains: someone{n}, src_ip|cidr: 10.{m}.0.0/16}}
  condition: a or b
"""
_SIZE = 1_000
_CONNECTIONS = 8


def rules(folder: Path, n: int) -> Path:
    """A folder of `n` rules that rarely match."""
    folder.mkdir()
    for number in range(n):
        (folder / f"r{number}.yml").write_text(_RULE.format(n=number, m=number % 200))
    return folder


def probe(server: RunningServer, key: str, until: float, took: list[float]) -> None:
    """Send events that rule 7 finds, and wait for the alert of each."""
    number = 0
    while time.monotonic() < until:
        number += 1
        actor = f"probe-{number}"
        event = {"action": "thing7.happen", "actor": {"id": actor, "name": actor}, "outcome": "success"}
        answer = server.client.post("/v1/events", json=[event], headers={"Authorization": f"Bearer {key}"})
        began = time.monotonic()
        if answer.status_code != 200:
            continue
        while not server.get("/api/v1/alerts", entity=actor, limit=1)["alerts"]:
            if time.monotonic() - began > 60:
                break
            time.sleep(0.1)
        took.append(time.monotonic() - began)
        time.sleep(0.5)


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rules", type=int, default=300)
    arguments.add_argument("--rate", type=int, default=20_000)
    arguments.add_argument("--seconds", type=int, default=30)
    given = arguments.parse_args()
    bodies = list(batches(Corpus(given.rate * given.seconds, seed=5), _SIZE))
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as folder:
        made = rules(Path(folder) / "rules", given.rules)
        server = RunningServer(Path(folder) / "data", {"rules": str(made)})
        server.start()
        try:
            key = server.key_for("app", "clear")
            took: list[float] = []
            thread = threading.Thread(target=probe, args=(server, key, time.monotonic() + given.seconds + 2, took))
            thread.start()
            began = time.monotonic()
            asyncio.run(post_all(server.port, key, bodies, _CONNECTIONS, given.rate / _SIZE))
            seconds = time.monotonic() - began
            thread.join()
            evaluated = server.get("/api/v1/alerts", limit=1)["evaluated"]
        finally:
            server.stop()
    took.sort()
    print(
        f"{len(bodies) * _SIZE / seconds:,.0f} events/s taken, {evaluated['rules'] + evaluated['correlations']} rules, {len(took)} probes"
    )
    print(
        f"acknowledged -> alert: p50 {took[len(took) // 2]:.2f} s, p99 {took[int(len(took) * 0.99)]:.2f} s (goal 3 s)"
    )


if __name__ == "__main__":
    main()
