"""The peer of `bench.detection`, for an environment with pySigma 1 and its SQLite backend: `python sigma_peer.py FOLDER`."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any


def _found(pattern: str, value: object) -> bool:
    try:
        return value is not None and re.search(pattern, str(value)) is not None
    except re.error:
        return False


def main() -> None:
    """Convert the rules, load the events, run every query; the last line printed is the outcome."""
    from sigma.backends.sqlite import sqlite as backend_module  # type: ignore[import-not-found,unused-ignore]
    from sigma.collection import SigmaCollection
    from sigma.pipelines.sysmon import sysmon_pipeline  # type: ignore[import-not-found,unused-ignore]
    from sigma.pipelines.windows import windows_logsource_pipeline  # type: ignore[import-not-found,unused-ignore]

    folder = Path(sys.argv[1])
    # Its usual pipelines. Beside them that of Windows' own audit would make conditions that contradict each other.
    backend: Any = backend_module.sqliteBackend(sysmon_pipeline() + windows_logsource_pipeline())
    queries: list[tuple[int, str]] = []
    for number, text in enumerate(json.loads((folder / "rules.json").read_text())):
        try:
            queries += [(number, query) for query in backend.convert(SigmaCollection.from_yaml(text))]
        except Exception:  # what the peer cannot convert it does not run
            continue
    events = [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    began = time.perf_counter()
    columns: dict[str, str] = {}
    for event in events:
        for name in event:
            columns.setdefault(name.lower(), name)
    database = sqlite3.connect(":memory:")
    database.create_function("regexp", 2, _found)
    listed = ", ".join(f'"{name}" TEXT COLLATE NOCASE' for name in columns)
    database.execute(f"CREATE TABLE logs ({listed})")
    places = ", ".join("?" * len(columns))
    rows = [
        [None if value is None else value if isinstance(value, int | str) else json.dumps(value) for value in
         ({k.lower(): v for k, v in event.items()}.get(name) for name in columns)]
        for event in events
    ]  # fmt: skip
    database.executemany(f"INSERT INTO logs VALUES ({places})", rows)
    matches: dict[int, set[int]] = {}
    for number, query in queries:
        found = matches.setdefault(number, set())
        sql = query.replace("SELECT *", "SELECT rowid", 1).replace("<TABLE_NAME>", "logs")
        while True:
            try:
                found.update(row - 1 for (row,) in database.execute(sql))
            except sqlite3.OperationalError as error:
                if missing := re.fullmatch("no such column: (.+)", str(error)):  # no event has it: it is empty
                    database.execute(f'ALTER TABLE logs ADD COLUMN "{missing[1]}" TEXT COLLATE NOCASE')
                    continue
            break
    seconds = time.perf_counter() - began
    told = {number: sorted(found) for number, found in matches.items()}
    print(json.dumps({"events": len(events), "matches": told, "seconds": seconds}))


if __name__ == "__main__":
    main()
