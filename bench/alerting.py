"""`python -m bench.alerting`: from the acknowledgement of an event to its alert, while a load comes in and rules run.

A server with our pack and `--rules` made-up rules over typed columns takes `--rate` events a second for `--seconds`; four times a
second one event more is sent that a rule finds, and the newest alerts are asked for ten times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from pathlib import Path

import httpx

from bench.corpus import Corpus, batches
from bench.running import RunningServer, post_all
from bench.table import note, p

_RULE = """title: Made-up rule {n}
id: {id}
level: low
logsource: {{product: muniment}}
detection:
  a: {{action: thing{n}.happen, outcome: success}}
  b: {{actor_name|contains: someone{n}, src_ip|cidr: 10.{m}.0.0/16}}
  condition: a or b
"""
_RULE_ID = "10000000-0000-4000-8000-{n:012d}"
_SIZE = 1_000
_CONNECTIONS = 8


def rules(folder: Path, n: int) -> Path:
    """A folder of `n` rules that rarely match."""
    folder.mkdir()
    for number in range(n):
        (folder / f"r{number}.yml").write_text(_RULE.format(n=number, m=number % 200, id=_RULE_ID.format(n=number)))
    return folder


class Probes:
    """Events that rule 7 finds, sent four times a second: when each was acknowledged, and when its alert was seen."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self._server = server
        self._key = key
        self._sent: dict[str, float] = {}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._look)]
        self.took: list[float] = []
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Send no more, and wait for the alerts that are still to come, a minute at most."""
        self._stopping.set()
        for each in self._threads:
            each.join()

    def _send(self) -> None:
        with httpx.Client(base_url=str(self._server.client.base_url), trust_env=False, timeout=60) as client:
            number = 0
            while not self._stopping.wait(0.25):
                number += 1
                actor = f"probe-{number}"
                event = {"action": "thing7.happen", "actor": {"id": actor, "name": actor}, "outcome": "success"}
                answer = client.post("/v1/events", json=[event], headers={"Authorization": f"Bearer {self._key}"})
                if answer.status_code == 200:
                    self._sent[actor] = time.monotonic()

    def _look(self) -> None:
        give_up = 0.0
        while not self._stopping.is_set() or self._sent:
            found = self._server.get("/api/v1/alerts", rule=_RULE_ID.format(n=7), limit=40)["alerts"]
            now = time.monotonic()
            for actor in {actor for alert in found for actor in alert["values"].get("actors", ())}:
                if (sent := self._sent.pop(actor, None)) is not None:
                    self.took.append(now - sent)
            if self._stopping.is_set():
                give_up = give_up or now + 60
                if now > give_up:
                    self.took += [now - sent for sent in self._sent.values()]
                    return
            time.sleep(0.1)


def measured(n_rules: int, rate: int, seconds: int) -> None:
    """Note the figures."""
    bodies = list(batches(Corpus(rate * seconds, seed=5), _SIZE))
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as folder:
        made = rules(Path(folder) / "rules", n_rules)
        server = RunningServer(Path(folder) / "data", {"rules": str(made)})
        server.start()
        try:
            key = server.key_for("app", "clear")
            probes = Probes(server, key)
            began = time.monotonic()
            asyncio.run(post_all(server.port, key, bodies, _CONNECTIONS, rate / _SIZE))
            wall = time.monotonic() - began
            probes.stop()
            evaluated = server.get("/api/v1/alerts", limit=1)["evaluated"]
        finally:
            server.stop()
    running = evaluated["rules"] + evaluated["correlations"]
    note(
        f"alerts, {running} rules: taken of {rate:,} events/s offered",
        f"{len(bodies) * _SIZE / wall:,.0f} events/s",
        f">= {rate:,}",
    )
    note(
        f"  acknowledged to alert, {len(probes.took)} probes, p50 / p99",
        f"{p(probes.took, 0.5):.2f} / {p(probes.took, 0.99):.2f} s",
        "p99 <= 3 s",
    )


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rules", type=int, default=300)
    arguments.add_argument("--rate", type=int, default=20_000)
    arguments.add_argument("--seconds", type=int, default=30)
    given = arguments.parse_args()
    measured(given.rules, given.rate, given.seconds)


if __name__ == "__main__":
    main()
