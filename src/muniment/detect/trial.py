"""Rules tried on made-up events: what the files beside our own rules say they must find, and must not. Pure.

A trial file `<name>.events.yml` stands beside the rules `<name>.yml`:

    - name: a leaver exports the customers
      places: {203.0.113.7: {country: BR, latitude: -23.5, longitude: -46.6}}   # for rules about travel, if needed
      finds: [mass_export]              # names of rules that must make an alert; [] for none at all
      events:
        - {repeat: 30, every_s: 5, action: customer.export, actor_id: u1}
        - {after_s: 60, action: user.login}          # after the one before

An event is typed columns; `record` may hold more. One's own domain is example.com. Rules of the whole folder run, so that one must not find another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from muniment.detect.behaviour import Surroundings
from muniment.detect.evaluate import Ready, alerts_alone
from muniment.detect.reading import Row
from muniment.detect.rule import Loaded
from muniment.errors import RejectedError
from muniment.event.place import Place
from muniment.search.columns import COLUMNS

__all__ = ["Trial", "found_by", "read_trials"]

_START_US = 1_795_000_000_000_000
_OWN = {"repeat", "every_s", "after_s", "record", "varying"}


@dataclass(frozen=True, slots=True)
class Trial:
    """A story, and the names of the rules that must make an alert of it."""

    name: str
    finds: frozenset[str]
    rows: tuple[Row, ...]
    places: Mapping[str, Place]


def read_trials(text: str, file: str) -> list[Trial]:
    """The trials of a file. Raises RejectedError naming the file and trial."""
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RejectedError(" ".join(str(error).split())[:300], field=file) from error
    if not isinstance(given, list):
        raise RejectedError("expected a list of trials", field=file)
    return [_trial(each, file) for each in given]


def _trial(given: Any, file: str) -> Trial:
    if not isinstance(given, dict) or {"name", "finds", "events"} - set(given):
        raise RejectedError("a trial has name, finds and events", field=file)
    try:
        rows = tuple(_rows(given["events"]))
        places = {str(address): Place(**known) for address, known in given.get("places", {}).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedError(f"{given['name']}: {error}", field=file) from error
    return Trial(str(given["name"]), frozenset(map(str, given["finds"])), rows, places)


def _rows(events: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    at_us, index = _START_US, 0
    for event in events:
        at_us += int(event.get("after_s", 1)) * 1_000_000
        for number in range(int(event.get("repeat", 1))):
            if number:
                at_us += int(event.get("every_s", 1)) * 1_000_000
            yield _row(event, index, at_us, number)
            index += 1


def _row(event: Mapping[str, Any], index: int, at_us: int, number: int) -> Row:
    columns = {name: value for name, value in event.items() if name not in _OWN}
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise ValueError(f"there is no column {unknown[0]!r}")
    if "varying" in event:
        columns[event["varying"]] = f"{columns.get(event['varying'], '')}{number}"
    columns.setdefault("outcome", "success")
    actor = columns.get("actor_id") or columns.get("actor_name") or columns.get("actor_email") or ""
    text = orjson.dumps({**columns, "actor": actor}).decode()
    record = orjson.dumps(event.get("record", {})).decode()
    format, class_name = str(columns.get("format", "muniment")), str(columns.get("class_name", ""))
    return Row((index, at_us, str(columns.get("source", "trial")), format, class_name, text, record))


def found_by(loaded: Loaded, trial: Trial) -> frozenset[str]:
    """The names of the rules that make an alert of a trial."""
    ready = Ready(loaded.rules, loaded.correlations, {}, around=Surroundings(trial.places.get, ("example.com",)))
    found: set[str] = set()
    for row in trial.rows:  # one at a time, as they would come in
        for _, rule in ready.matches([row]):
            if alerts_alone(rule):
                found.add(rule.name or rule.title)
            found |= {firing.correlation.name or firing.correlation.title for firing in ready.fed(row, rule)}
        found |= {firing.correlation.name or firing.correlation.title for firing in ready.advanced(row.time_us)}
    return frozenset(found)
