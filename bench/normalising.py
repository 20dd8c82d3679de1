"""`python -m bench.normalising`: CPU an event costs from its clear record to typed columns in the store, by kind of source.

Records are the samples of the catalogue's entries, each made different by numbers, in blocks as the projector cuts them. Our own
format is the spine's cost: beside each block of a kind goes one of as many events of ours, each of the same size and with the
record's own parts as its metadata, as it costs more to store more. The kinds are recognised by their content, and those of one
entry are also measured as records of a source whose format is said. CPU of the whole process, so that threads of the engine
count, and another process on the machine does not; medians of blocks.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.corpus import Corpus, batches
from bench.table import note
from muniment.app.demo import FORMATS
from muniment.drills.activity import DAY_NS, Activity
from muniment.drills.company import SYSTEMS, make_company
from muniment.drills.shapes import to_bytes
from muniment.search.blocks import Block
from muniment.search.engine import open_engine
from muniment.search.mappings import mapping_set
from muniment.search.replica import Replica
from muniment.search.schema import migrate
from muniment.sources.catalogue import AUTO, Catalogue, load
from muniment.wire.otlp import decode_otlp_json
from muniment.wire.syslog import origin_suffix, syslog_record

KINDS = {
    "sshd": ("openssh",),
    "CloudTrail": ("aws_cloudtrail",),
    "free JSON": ("json",),
    "web server": ("web_access",),
    "Windows": ("windows",),
    "six kinds": ("openssh", "aws_cloudtrail", "okta", "web_access", "kubernetes", "windows"),
    "all kinds": (),
}

ONE_BY_ONE = ("free JSON",)
"""Of these each sample is measured as a source of its own, too: a program writes one or two forms, not what thirty vendors do."""

_WARM = 4
"""Blocks before the clock runs: what is made once is made by then, and what is made when it comes again, or is expected to."""


def records_of(catalogue: Catalogue, names: Sequence[str], count: int) -> list[bytes]:
    """`count` records after the samples of these entries, or of all."""
    samples = [s.record for name in names or catalogue for s in catalogue[name].samples if s.record.startswith(b"{")]
    return [_numbered(samples[k % len(samples)], k) for k in range(count)]


def again(record: bytes, count: int) -> list[bytes]:
    """The same record so many times, each made different."""
    return [_numbered(record, k) for k in range(count)]


def _numbered(record: bytes, k: int) -> bytes:
    return b'{"n%d":%d,' % (k % 1_000, k) + record.lstrip()[1:]


def company(count: int) -> tuple[list[str], list[bytes]]:
    """Sources and records of what the forty systems of the demo's company send on a working day, as they stand in the ledger."""
    rng, sources, records = random.Random(7), [], []
    for action in Activity(make_company(), seed=7, per_second=count / 3_000).between(_MORNING_NS, _MORNING_NS + DAY_NS):
        system, body = action.system, to_bytes(action, rng)
        if system.door == "syslog":
            body, _ = syslog_record(body, _SUFFIX)
        elif system.door == "otlp":
            item = json.loads(body)
            scope = {"scope": {"name": item["service"]}, "logRecords": [item["record"]]}
            resource = {"attributes": [{"key": "service.name", "value": {"stringValue": item["service"]}}]}
            export = {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}
            body = decode_otlp_json(json.dumps(export).encode(), door="otlp").records[0]
        sources.append("syslog" if system.door == "syslog" else system.id)
        records.append(body)
        if len(records) == count:
            break
    return sources, records


_MORNING_NS = 1_795_424_400 * 10**9  # Monday, 23 November 2026, 9:00
_SUFFIX = origin_suffix(transport="tcp", peer="192.0.2.1")


def of_ours(records: Sequence[bytes]) -> list[bytes]:
    """An event of our own format for each record, of its size where that is 350 bytes or more, with parts of it as metadata."""
    events = [line for body in batches(Corpus(len(records), seed=3), len(records)) for line in body.split(b"\n")]
    return [_filled(json.loads(event), record) for event, record in zip(events, records, strict=True)]


def _filled(event: dict[str, Any], record: bytes) -> bytes:
    parts: dict[str, Any] = {}
    event |= {"targets": [], "metadata": parts}
    left = len(record) - len(_json(event))
    for key, value in json.loads(record).items():
        whole = {key: value}
        if len(_json(whole)) > left and isinstance(value, dict):
            inner: dict[str, Any] = {}
            for name, each in value.items():
                if len(_json(inner | {name: each})) + len(key) + 4 <= left:
                    inner[name] = each
            whole = {key: inner} if inner else {}
        elif isinstance(value, str):
            whole = {key: value[: max(0, left - len(key) - 8)]}
        if len(_json(whole)) <= left:
            parts |= whole
            left -= len(_json(whole)) - 1
    return _json(event)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Measure:
    """What records cost on their way into one store; indexes go on from one call to the next."""

    def __init__(self, replica: Replica, block: int) -> None:
        self._replica = replica
        self._size = block
        self._index = 0

    def __call__(self, source: str | Sequence[str], records: Sequence[bytes]) -> tuple[float, float, float]:
        """Microseconds of CPU: an event of ours, a record, and a record over an event beside it; without the first blocks.

        `source`: of all records, or of each.
        """
        ours = of_ours(records)
        sources = [source] * len(records) if isinstance(source, str) else source
        costs = []
        for start in range(0, len(records) - self._size + 1, self._size):
            part = slice(start, start + self._size)
            costs.append((self._written(["own"] * self._size, ours[part]), self._written(sources[part], records[part])))
        counted = costs[_WARM:]
        return (
            statistics.median(own for own, _ in counted),
            statistics.median(each for _, each in counted),
            statistics.median(each - own for own, each in counted),
        )

    def _written(self, sources: Sequence[str], records: Sequence[bytes]) -> float:
        ids = [str(uuid.UUID(int=self._index + k)) for k in range(len(records))]
        block = Block(self._index, ids, sources, [1_795_000_000 * 10**9] * len(records), records)
        self._index += len(records)
        began = time.process_time()
        self._replica.write(block)
        return (time.process_time() - began) * 1e6 / len(records)


def measured(events: int, block: int, only: Sequence[str]) -> None:
    """Note the figures. `only`: these kinds alone."""
    catalogue = load()
    wanted = {kind: names for kind, names in KINDS.items() if not only or kind in only}
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as folder:
        engine = open_engine(f"chdb:///{Path(folder).resolve()}/store")
        migrate(engine)
        formats = {"own": "muniment"} | {each.id: FORMATS[each.shape] for each in SYSTEMS if each.door != "syslog"}
        formats["syslog"] = "syslog"
        replica = Replica(
            engine, engine.nodes[0], mapping_set(catalogue), lambda s: formats.get(s, AUTO), engine.local_table
        )
        replica.prepare()
        engine.command("SYSTEM STOP MERGES")
        measure = Measure(replica, block)

        def show(kind: str, records: Sequence[bytes], cost: tuple[float, float, float]) -> None:
            own, each, over = cost
            size = sum(map(len, records)) / len(records)
            note(f"store, CPU a record, an event of ours beside it: {kind}, {size:,.0f} bytes",
                 f"{each:.1f} us, {own:.1f} us, {over:+.1f}", "+8")  # fmt: skip

        for kind, names in wanted.items():
            records = records_of(catalogue, names, events)
            show(kind, records, measure(kind, records))
            if len(names) != 1:
                continue
            formats[said := f"{kind}, format said"] = names[0]
            show(said, records, measure(said, records))
            if kind in ONE_BY_ONE:
                samples = records_of(catalogue, names, len(catalogue[names[0]].samples))
                found = [measure(f"{kind} {k}", again(sample, block * (_WARM + 3))) for k, sample in enumerate(samples)]
                own, each, over = (sum(costs) / len(found) for costs in zip(*found, strict=True))
                show(f"{kind}, one at a time", samples, (own, each, over))
        if not only:
            sources, records = company(events)
            show("a company's forty systems, formats said", records, measure(sources, records))
        engine.close()


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=100_000)
    arguments.add_argument("--block", type=int, default=10_000)
    arguments.add_argument("--only", action="append", choices=KINDS, help="these kinds alone")
    given = arguments.parse_args()
    measured(given.events, given.block, given.only or ())


if __name__ == "__main__":
    main()
