"""`python -m bench.detection [--rules RULES] [--events EVENTS]`: Sigma rules over events, beside a plain loop over SQLite.

RULES: a folder of rule files, or JSON Lines (.gz) with the rule under `yaml`. EVENTS: a folder of JSON Lines (.xz, .gz or
plain), one Windows event each with flat fields. Without them they are made up. The peer is what Zircolite does: pySigma's SQLite backend makes a query of
each rule, the events are loaded into a table, every query is run. It needs another version of pySigma than we do, so it
runs in an environment of its own (`--peer`, a Python with pysigma-backend-sqlite and the Windows and Sysmon pipelines).
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench.table import note
from muniment.detect.batch import Row
from muniment.detect.evaluate import Ready
from muniment.detect.logsources import kind_of_entry, taxonomy_of, windows_kind_of
from muniment.detect.rules import load_rules
from muniment.sources.catalogue import load
from muniment.sources.testing import local_client, map_records

_IN_FORCE = {"rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance", "rules-dfir"}
_RUNS = 9
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


def made_rules(count: int = 1_600) -> list[tuple[str, str]]:
    """Rules of the forms that published ones have: of processes, registry and files, with texts that few events hold."""
    kinds = ("process_creation", "registry_set", "file_event", "image_load", "process_creation")
    fields = {"registry_set": "TargetObject", "file_event": "TargetFilename", "image_load": "ImageLoaded"}
    found = []
    for n in range(count):
        kind = kinds[n % len(kinds)]
        tool, word = ("whoami", "whoami") if n == 5 else (f"other{n}", f"zz{n}")
        made = _MADE.format(n=n, kind=kind, field=fields.get(kind, "CommandLine"), tool=tool, word=word)
        found.append((f"made{n}.yml", made))
    return found


_MADE = """title: Made {n}
id: 00000000-0000-4000-9000-{n:012d}
logsource: {{product: windows, category: {kind}}}
detection:
  image: {{Image|endswith: ['\\tool{n}.exe', '\\{tool}.exe']}}
  text:
    {field}|contains|all: ['{word}', 'a']
  other: {{{field}|contains: [' /made{n} ', ' -made{n}:']}}
  condition: (image and text) or other
"""


def made_events(count: int = 23_000) -> list[bytes]:
    """Windows events after the samples of the catalogue's entry, each made different by numbers."""
    samples = [json.loads(sample.record) for sample in load()["windows"].samples]
    flat = [sample for sample in samples if "Channel" in sample and "EventID" in sample]
    flat.append(
        {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Image": "C:\\Windows\\System32\\whoami.exe",
         "CommandLine": "whoami /all", "ParentImage": "C:\\Windows\\System32\\cmd.exe", "User": "SHOP\\anna"}
    )  # fmt: skip
    return [
        orjson.dumps(flat[k % len(flat)] | {"RecordNumber": k, "ProcessId": str(1_000 + k % 9_000)})
        for k in range(count)
    ]


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


Matches = dict[int, set[int]]
"""By the place of a rule: the places of the events that it matches."""


class Ours(NamedTuple):
    """What our rules did with the events. Made ready: once for each kind of event, as converting is for the peer."""

    seconds: float
    cpu_s: float
    matches: Matches
    n_rules: int
    made_ready_s: float


def ours(rules: list[tuple[str, str]], events: list[bytes], dead: int = 0) -> Ours:
    """Our rules over the events, read as the detector reads them; `dead` rules besides match nothing."""
    texts = [*rules, *((f"dead{n}.yml", _DEAD.format(n=n)) for n in range(dead))]
    loaded = load_rules(texts)
    entry = load()["windows"]
    formats = {"windows": (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma))}
    ready = Ready(loaded.rules, (), formats)
    began = time.perf_counter()
    kinds = {windows_kind_of(event): event for event in events}
    ready.matches([Row(0, 0, _WINDOWS, event.decode("utf-8", "replace")) for event in kinds.values()])
    made_ready = time.perf_counter() - began
    began, cpu_began = time.perf_counter(), time.process_time()
    hits = []
    for start in range(0, len(events), 5_000):
        rows = [
            Row(start + k, 0, _WINDOWS, event.decode("utf-8", "replace"))
            for k, event in enumerate(events[start : start + 5_000])
        ]
        hits += ready.matches(rows)
    took, cpu_took = time.perf_counter() - began, time.process_time() - cpu_began
    number_of = {name: number for number, (name, _) in enumerate(texts)}
    found: Matches = {number_of[rule.file]: set() for rule in loaded.rules}
    for row, rule in hits:
        found[number_of[rule.file]].add(row.index)
    return Ours(took, cpu_took, found, len(loaded.rules), made_ready)


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


def measured(rules_at: Path | None, events_at: Path | None, peer_python: str, n_mixed: int) -> None:
    """Note the figures, and print where the peer disagrees."""
    rules = rules_of(rules_at) if rules_at else made_rules()
    events = events_of(events_at) if events_at else made_events()
    runs = [(ours(rules, events), ours(rules, events, 1_000)) for _ in range(_RUNS)]
    took, _, found, n_rules, made_ready = min((plain for plain, _ in runs), key=lambda run: run.seconds)
    # Each beside its neighbour, and CPU: the machine's speed changes.
    more = statistics.median(dead.cpu_s / plain.cpu_s for plain, dead in runs) - 1
    n_dead = runs[0][1].n_rules - n_rules
    n_matches = sum(map(len, found.values()))
    given = "" if rules_at and events_at else "made-up "
    what = f"Sigma, {n_rules:,} {'' if rules_at else 'made-up '}Windows rules, {len(events):,} {given}events"
    note(f"{what}: {n_matches:,} matches", f"{len(events) / took:,.0f} events/s")
    note("  rules made ready", f"{made_ready:.1f} s")
    note(f"  {n_dead:,} rules more that never match", f"{100 * more:+.1f} %", "<= +15 %")
    if peer_python:
        other = peer(peer_python, rules, events)
        theirs: Matches = {int(number): set(places) for number, places in other["matches"].items()}
        rate = other["events"] / other["seconds"]
        n_theirs = sum(map(len, theirs.values()))
        n_same = sum(len(found.get(number, set()) & places) for number, places in theirs.items())
        note(f"  loop over SQLite's queries, {len(theirs):,} rules: {n_theirs:,} matches", f"{rate:,.0f} events/s")
        note("  times the loop", f"{len(events) / took / rate:.0f}", ">= 40")
        note("  matches of both / of ours alone / of the loop alone",
             f"{n_same:,} / {n_matches - n_same:,} / {n_theirs - n_same:,}", "the same")  # fmt: skip
        for number in sorted(found.keys() | theirs.keys()):
            mine, its = found.get(number, set()), theirs.get(number, set())
            if mine != its:
                why = "" if number in theirs else ", which the loop cannot run"
                print(f"   {rules[number][0]}: {len(mine - its)} ours alone, {len(its - mine)} the loop's alone{why}")
    if n_mixed:
        took, n_found, n_rules = mixed(rules_of(rules_at, "") if rules_at else rules, events, n_mixed)
        note(
            f"Sigma, {n_rules:,} rules, {n_mixed:,} events of all kinds: {n_found:,} matches",
            f"{n_mixed / took:,.0f} events/s",
        )


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rules", type=Path)
    arguments.add_argument("--events", type=Path)
    arguments.add_argument("--peer", default="", help="a Python that has pysigma-backend-sqlite")
    arguments.add_argument("--mixed", type=int, default=0, help="so many events of all kinds, too, with all rules")
    given = arguments.parse_args()
    measured(given.rules, given.events, given.peer, given.mixed)


if __name__ == "__main__":
    main()
