"""Measures correlations against labelled sequences of signals: `python tools/truth_correlations.py CASES.jsonl.gz`.

CASES are correlation rules of panther-labs/panther-analysis with their tests (a signal for each rule, value and time). Each
is written as Sigma: `Group` as `temporal`, `Sequence` as `temporal_ordered`, `Absence` as `not`, `MinMatchCount` as an
`event_count` that the other is about, a time between two steps as a correlation of the two. The signals then go the way of
events. Not part of CI: the data is kept outside the repository. `docs/truth.md` has the last figures.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from muniment.detect.batch import Row
from muniment.detect.evaluate import Ready, alerts_alone
from muniment.detect.rules import load_rules

_START_US = 1_795_000_000_000_000
_BY = "target_name"
"""The column the value that signals are joined by goes to."""


def sigma_of(detection: dict[str, Any]) -> str:
    """A rule of theirs as Sigma documents: a silent rule for each signal, and what they add up to, named `whole`."""
    steps = detection.get("Group") or detection["Sequence"]
    minutes = detection["LookbackWindowMinutes"]
    documents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for number, step in enumerate(steps):
        names[step["ID"]] = name = f"signal{number}"
        documents.append({
            "title": step["ID"], "name": name, "level": "informational", "logsource": {"product": "muniment"},
            "detection": {"selection": {"action": step["ID"]}, "condition": "selection"},
        })  # fmt: skip
        if step.get("MinMatchCount", 1) > 1:
            names[step["ID"]] = f"many{number}"
            counted: dict[str, Any] = {"condition": {"gte": step["MinMatchCount"]}}
            documents.append(_correlation(f"many{number}", "event_count", [name], minutes, **counted))
    absent = {step["ID"] for step in steps if step.get("Absence")}
    kind = "temporal" if "Group" in detection else "temporal_ordered"
    more: dict[str, Any] = {}
    if absent:
        more["condition"] = " and ".join(f"not {name}" if step in absent else name for step, name in names.items())
    parts = list(names.values())
    for number, transition in enumerate(detection.get("Transitions", ())):
        if not transition.get("WithinTimeFrameMinutes"):
            continue
        pair = [names[transition["From"]], names[transition["To"]]]
        documents.append(_correlation(f"step{number}", "temporal_ordered", pair, transition["WithinTimeFrameMinutes"]))
        parts = [f"step{number}" if name == pair[1] else name for name in parts]
    if len(parts) == 1:
        kind, more = "event_count", {"condition": {"gte": 1}}
    documents.append(_correlation("whole", kind, parts, minutes, level="high", **more))
    return yaml.safe_dump_all(documents)


def _correlation(
    name: str,
    kind: str,
    rules: list[str],
    minutes: int,
    *,
    level: str = "informational",
    is_part: bool = False,
    **more: Any,
) -> dict[str, Any]:
    asked = {"type": kind, "rules": rules, "group-by": [_BY], "timespan": f"{minutes}m", **more}
    return {"title": name, "name": name, "level": level, "correlation": asked}


def rows_of(test: dict[str, Any]) -> list[Row]:
    """The signals of a test as events, in the order of time."""
    signals = sorted(
        (_micros(at), output["ID"], value)
        for output in test["RuleOutputs"]
        for values in output["Matches"].values()
        for value, times in values.items()
        for at in times
    )
    return [
        Row(index, at, {"source": "s", "format": "muniment", "action": name, _BY: value, "outcome": "success"})
        for index, (at, name, value) in enumerate(signals)
    ]


def _micros(at: int | str) -> int:
    if isinstance(at, int):  # minutes from some start
        return _START_US + at * 60_000_000
    return int(datetime.fromisoformat(at).timestamp() * 1e6)


def found_in(text: str, rows: list[Row]) -> set[str]:
    """The names of correlations that fire."""
    loaded = load_rules([("case.yml", text)])
    if loaded.refused:
        raise SystemExit(f"refused: {loaded.refused[0].reason}")
    ready = Ready(loaded.rules, loaded.correlations, {})
    firings = [firing for row, rule in ready.matches(rows) for firing in ready.fed(row, rule)]
    firings += ready.advanced(max((row.time_us for row in rows), default=0) + 10**13)
    assert not any(alerts_alone(rule) for rule in loaded.rules)
    return {firing.correlation.name for firing in firings}


def outcomes(path: str) -> Iterator[tuple[str, str, bool, bool]]:
    """(case, test, wanted, found) of every test."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            rule = json.loads(line)["rule"]
            text = sigma_of(rule["Detection"][0])
            for test in rule["Tests"]:
                yield rule["RuleID"], test["Name"], test["ExpectedResult"], "whole" in found_in(text, rows_of(test))


def main() -> None:
    """Print how many agree, and those that do not."""
    all_of_them = list(outcomes(sys.argv[1]))
    for case, test, wanted, found in all_of_them:
        if wanted != found:
            print(f"{case}: {test}: expected {wanted}, got {found}")
    print(f"{sum(wanted == found for _, _, wanted, found in all_of_them)} of {len(all_of_them)} agree")


if __name__ == "__main__":
    main()
