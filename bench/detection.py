"""`python -m bench.detection --rules RULES --events EVENTS`: Sigma rules over events, beside a plain loop over SQLite.

RULES: a folder of rule files, or JSON Lines (.gz) with the rule under `yaml`. EVENTS: a folder of JSON Lines (.xz, .gz or
plain), one Windows event each with flat fields. The peer is what Zircolite does: pySigma's SQLite backend makes a query of
each rule, the events are loaded into a table, every query is run. It needs another version of pySigma than we do, so it
runs in an environment of its own (`--peer`, a Python with pysigma-backend-sqlite and the Windows and Sysmon pipelines).
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muniment.detect.batch import Row
from muniment.detect.evaluate import Ready
from muniment.detect.logsources import kind_of_entry, taxonomy_of, windows_kind_of
from muniment.detect.rules import load_rules
from muniment.sources.catalogue import load
from muniment.sources.testing import local_client, map_records

_IN_FORCE = {"rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance", "rules-dfir"}
PEER = Path(__file__).with_name("sigma_peer.py")


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, packed or not."""
    opened: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "rb") as file:
        yield from file


def rules_of(path: Path, product: str = "windows") -> list[tuple[str, str]]:
    """(name, YAML) of every rule about a product; empty: of all that are in force."""
    if path.is_dir():
        return [(str(file), file.read_text("utf-8")) for file in sorted(path.rglob("*.yml"))]
    found = [json.loads(line) for line in lines(path)]
    chosen = [each for each in found if each["product"] == product or (not product and each["tree"] in _IN_FORCE)]
    return [(each["path"], each["yaml"]) for each in chosen]


def events_of(folder: Path) -> list[bytes]:
    """Every event that is a JSON object with a channel."""
    found = []
    for path in sorted(folder.iterdir()):
        for line in lines(path):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "Channel" in event:
                found.append(line.strip())
    return found


def ours(rules: list[tuple[str, str]], events: list[bytes], dead: int = 0) -> tuple[float, int, int, float]:
    """(seconds, matches, rules, seconds to make them ready) of our rules over the events, read as the detector reads
    them; `dead` rules besides match nothing. Made ready: once for each kind of event, as converting is for the peer.
    """
    texts = [*rules, *((f"dead{n}.yml", _DEAD.format(n=n)) for n in range(dead))]
    loaded = load_rules(texts)
    entry = load()["windows"]
    formats = {"windows": (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma))}
    ready = Ready(loaded.rules, (), formats)
    began = time.perf_counter()
    kinds = {windows_kind_of(event): event for event in events}
    ready.matches([Row(0, 0, _WINDOWS, event.decode("utf-8", "replace")) for event in kinds.values()])
    made_ready = time.perf_counter() - began
    began = time.perf_counter()
    found = 0
    for start in range(0, len(events), 5_000):
        rows = [
            Row(start + k, 0, _WINDOWS, event.decode("utf-8", "replace"))
            for k, event in enumerate(events[start : start + 5_000])
        ]
        found += len(ready.matches(rows))
    return time.perf_counter() - began, found, len(loaded.rules), made_ready


_WINDOWS = {"source": "s", "format": "windows", "class_name": ""}
_DEAD = """title: Nothing {n}
id: 00000000-0000-4000-8000-{n:012d}
logsource: {{product: windows, category: process_creation}}
detection:
  a: {{CommandLine|contains: ['zzqx{n}w', 'qqyx{n}v'], Image|endswith: 'nothing{n}.exe'}}
  condition: a
"""


def mixed(rules: list[tuple[str, str]], windows: list[bytes], count: int) -> tuple[float, int, int]:
    """(seconds, matches, rules) of all rules over `count` events of all kinds: every second one of `windows`, the others after
    the catalogue's samples, each made different by a number; their typed columns are read before.
    """
    loaded, catalogue = load_rules(rules), load()
    formats = {name: (kind_of_entry(e.sigma), taxonomy_of(e.sigma)) for name, e in catalogue.items() if e.sigma}
    with local_client() as client:
        others = [
            ({**columns, "source": "s", "format": name}, sample.record)
            for name, entry in catalogue.items()
            for sample in entry.samples
            if sample.record.startswith(b"{")
            for columns in map_records(entry, [sample.record], client)
        ]
    ready = Ready(loaded.rules, (), formats)
    took, found = 0.0, 0
    for start in range(0, count, 5_000):
        texts = []
        for k in range(start, start + 5_000):
            columns, record = (_WINDOWS, windows[k // 2 % len(windows)]) if k % 2 else others[k // 2 % len(others)]
            texts.append((columns, f'{{"n":{k},{record.decode("utf-8", "replace").lstrip()[1:]}'))
        began = time.perf_counter()
        rows = [Row(start + k, 0, columns, text) for k, (columns, text) in enumerate(texts)]
        found += len(ready.matches(rows))
        took += time.perf_counter() - began
    return took, found, len(loaded.rules)


def peer(python: str, rules: list[tuple[str, str]], events: list[bytes]) -> dict[str, Any]:
    """What the peer says of itself: events, rules, matches, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.json").write_text(json.dumps([text for _, text in rules]))
        (Path(folder) / "events.jsonl").write_bytes(b"\n".join(events))
        done = subprocess.run([python, str(PEER), folder], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rules", type=Path, required=True)
    arguments.add_argument("--events", type=Path, required=True)
    arguments.add_argument("--peer", default="", help="a Python that has pysigma-backend-sqlite")
    arguments.add_argument("--mixed", type=int, default=0, help="so many events of all kinds, too, with all rules")
    given = arguments.parse_args()
    rules, events = rules_of(given.rules), events_of(given.events)
    took, found, n, made_ready = min(ours(rules, events) for _ in range(3))
    print(
        f"muniment: {len(events):,} events, {n:,} rules, {found:,} matches, {len(events) / took:,.0f} events/s (ready in {made_ready:.1f} s)"
    )
    more, _, with_dead, _ = min(ours(rules, events, 1_000) for _ in range(3))
    print(f"muniment with {with_dead - n:,} rules that never match: {100 * (more / took - 1):+.1f} % (goal +15 %)")
    if given.peer:
        other = peer(given.peer, rules, events)
        rate = other["events"] / other["seconds"]
        print(
            f"SQLite loop: {other['events']:,} events, {other['rules']:,} rules, {other['matches']:,} matches, {rate:,.0f} events/s"
        )
        print(f"ratio: {len(events) / took / rate:.0f} (goal 40)")
    if given.mixed:
        took, found, n = mixed(rules_of(given.rules, ""), events, given.mixed)
        print(f"mixed: {given.mixed:,} events, {n:,} rules, {found:,} matches, {given.mixed / took:,.0f} events/s")


if __name__ == "__main__":
    main()
