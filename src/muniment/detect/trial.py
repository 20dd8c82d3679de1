"""Rules tried on made-up events: what the files beside our own rules say they must find, and must not. Pure.

A trial file `<name>.events.yml` stands beside the rules `<name>.yml`:

    - name: a leaver exports the customers
      places: {203.0.113.7: {country: BR, latitude: -23.5, longitude: -46.6}}   # for rules about travel, if needed
      finds: [mass_export]              # names of rules that must make an alert; [] for none at all
      events:
        - {repeat: 30, every_s: 5, action: customer.export, actor_id: u1}
        - {repeat: 9, src_ip: 203.0.113.*, varying: src_ip}   # .0 to .8; without a star the number follows the value
        - {after_s: 60, action: user.login}          # after the one before

An event is typed columns; `record` may hold more. One's own domain is example.com. Rules of the whole folder run, so that one must not find another's.
Rules about a vendor's events see the record as the vendor writes it; `format` says which entry of the catalogue knows such:

        - {format: github, record: {action: repo.destroy, actor: anna}}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Final

import orjson
import yaml

from muniment.detect.batch import Row
from muniment.detect.behaviour import Surroundings
from muniment.detect.evaluate import Ready, alerts_alone
from muniment.detect.logsources import PRODUCT, Kind
from muniment.detect.mistakes import YAML_FIX
from muniment.detect.reading import Formats
from muniment.detect.rule import Loaded, Rule
from muniment.errors import RejectedError
from muniment.event.place import Place
from muniment.limits import TRIAL_EVENTS_MAX
from muniment.search.columns import COLUMNS
from muniment.sources.nesting import check_nesting

__all__ = ["Trial", "found_by", "meets_none", "read_trials", "ready_for_trials"]

_START_US = 1_795_000_000_000_000
_END_US: Final = 253_402_300_799_000_000
"""When every window is over: what `lt` and `not` wait for is decided, as nothing more comes."""
_OWN = {"repeat", "every_s", "after_s", "record", "varying"}
_NO_FORMATS: Final[Formats] = {}
_OURS: Final = ("example.com",)
"""The domains of the company that trials are about."""
_PARTS: Final = ("name", "finds", "events", "places")
_PLACE: Final = tuple(field.name for field in fields(Place))


@dataclass(frozen=True, slots=True)
class Trial:
    """A story, the line of its file at which it begins, and the names of the rules that must make an alert of it."""

    name: str
    line: int
    finds: frozenset[str]
    rows: tuple[Row, ...]
    places: Mapping[str, Place]


def read_trials(text: str, file: str) -> list[Trial]:
    """The trials of a file. Raises RejectedError whose `field` is file:line:column; its reason ends with how to mend it."""
    try:
        check_nesting(text, file)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise RejectedError(f"not YAML: {error.problem or error.context}; {YAML_FIX}", field=f"{file}{place}") from None
    except yaml.YAMLError as error:
        raise RejectedError(f"not YAML: {' '.join(str(error).split())[:300]}; {YAML_FIX}", field=file) from None
    if not isinstance(root, yaml.SequenceNode):
        where = f"{file}:{root.start_mark.line + 1}:{root.start_mark.column + 1}" if root else f"{file}:1:1"
        raise RejectedError("expected a list of trials; begin each with `- name: ...`", field=where)
    return [_Reader(file).trial(node) for node in root.value]


class _Reader:
    """Reads the trials of one file from YAML's nodes, which know where they stand."""

    def __init__(self, file: str) -> None:
        self._file = file

    def trial(self, node: yaml.Node) -> Trial:
        parts = self._mapping(node, "a trial", _PARTS)
        for name in ("name", "finds", "events"):
            if name not in parts:
                raise self._mistake(node, f"a trial has name, finds and events; {name} is missing")
        finds = self._list(parts["finds"], "finds", "names of rules; [] for none at all")
        rows: list[Row] = []
        at_us = _START_US
        for each in self._list(parts["events"], "events", "mappings such as {action: user.login, actor_id: anna}"):
            at_us = self._add(each, at_us, rows)
        places: dict[str, Place] = {}
        if "places" in parts:
            for address, known in self._mapping(parts["places"], "places", None).items():
                values = {name: self._value(value) for name, value in self._mapping(known, "a place", _PLACE).items()}
                if "country" not in values:
                    raise self._mistake(known, "a place has a country")
                places[address] = Place(**values)
        name = str(self._value(parts["name"]))
        return Trial(
            name, node.start_mark.line + 1, frozenset(str(self._value(each)) for each in finds), tuple(rows), places
        )

    def _add(self, node: yaml.Node, at_us: int, rows: list[Row]) -> int:
        """An event, as often as it says; when the last of them was."""
        parts = self._mapping(node, "an event", (*COLUMNS, *_OWN))
        event = {name: self._value(value) for name, value in parts.items()}
        numbers = {name: self._whole(parts, name) for name in ("after_s", "repeat", "every_s")}
        if len(rows) + numbers["repeat"] > TRIAL_EVENTS_MAX:
            raise self._mistake(parts.get("repeat", node), f"a trial has at most {TRIAL_EVENTS_MAX:,} events")
        varying = event.get("varying")
        if varying is not None and varying not in COLUMNS:
            raise self._mistake(parts["varying"], f"there is no column {varying!r}{_near(str(varying), COLUMNS)}")
        at_us += numbers["after_s"] * 1_000_000
        for number in range(numbers["repeat"]):
            at_us += numbers["every_s"] * 1_000_000 if number else 0
            try:
                rows.append(_row(event, len(rows), at_us, number))
            except TypeError as error:  # a date, a set: what JSON cannot hold
                raise self._mistake(node, f"{error}; quote what is a text") from error
        return at_us

    def _whole(self, parts: Mapping[str, yaml.Node], name: str) -> int:
        value = self._value(parts[name]) if name in parts else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._mistake(parts[name], f"{name} is a whole number from 0, got {value!r}")
        return value

    def _list(self, node: yaml.Node, what: str, of: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._mistake(node, f"{what} is a list of {of}")
        return list(node.value)

    def _mapping(self, node: yaml.Node, what: str, known: Collection[str] | None) -> dict[str, yaml.Node]:
        """The parts of a mapping by their names; those that are not among `known` are mistakes."""
        if not isinstance(node, yaml.MappingNode):
            raise self._mistake(node, f"{what} is a mapping" + (f" of {', '.join(_PARTS)}" if known is _PARTS else ""))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise self._mistake(key, f"{name!r} stands twice; give each column once")
            if known is not None and name not in known:
                kind = "column" if what == "an event" else "key"
                more = "; what only the record has stands under record" if what == "an event" else ""
                raise self._mistake(key, f"there is no {kind} {name!r} in {what}{_near(name, known)}{more}")
            found[name] = value
        return found

    def _value(self, node: yaml.Node) -> Any:
        try:
            return yaml.SafeLoader("").construct_document(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self._mistake(node, f"{' '.join(str(error).split())[:200]}; quote what is a text") from error

    def _mistake(self, node: yaml.Node, reason: str) -> RejectedError:
        mark = node.start_mark
        return RejectedError(reason, field=f"{self._file}:{mark.line + 1}:{mark.column + 1}")


def _near(wrong: str, known: Collection[str]) -> str:
    found = get_close_matches(wrong.lower(), list(known), 1, 0.7)
    return f"; did you mean {found[0]}?" if found else ""


def _row(event: Mapping[str, Any], index: int, at_us: int, number: int) -> Row:
    columns = {name: value for name, value in event.items() if name not in _OWN}
    if "varying" in event:
        value = str(columns.get(event["varying"], ""))
        columns[event["varying"]] = value.replace("*", str(number)) if "*" in value else f"{value}{number}"
    columns.setdefault("outcome", "success")
    actor = columns.get("actor_id") or columns.get("actor_name") or columns.get("actor_email") or ""
    known = {"source": "trial", "format": "muniment", "class_name": "", **columns, "actor": actor}
    return Row(index, at_us, known, orjson.dumps(event.get("record", {})).decode())


def ready_for_trials(loaded: Loaded, formats: Formats = _NO_FORMATS) -> Ready:
    """Rules made ready once for any number of trials. `formats`: those whose records the rules of their log source meet."""
    return Ready(loaded.rules, loaded.correlations, formats, around=Surroundings(domains=_OURS))


def meets_none(trial: Trial, rule: Rule, formats: Formats) -> Sequence[str]:
    """The formats that an event would have to be of for the rule to see it; none when the trial has one, or it sees them all."""
    if rule.logsource.product == PRODUCT:
        return ()
    wanted = [name for name, (kind, _) in formats.items() if _is_about(rule, kind)]
    return () if any(row.format in wanted for row in trial.rows) else sorted(wanted)


def _is_about(rule: Rule, kind: Kind) -> bool:
    source = rule.logsource
    if kind.product == source.product == "windows":  # which channel an event is of shows in the event
        return True
    return kind.has(source)


def found_by(ready: Ready, trial: Trial) -> frozenset[str]:
    """The names of the rules that make an alert of a trial, which sees nothing of others. `ready`: by `ready_for_trials`."""
    ready = ready.anew(Surroundings(trial.places.get, _OURS))
    found: set[str] = set()
    for row in trial.rows:  # one at a time, as they would come in
        for _, rule in ready.matches([row]):
            if alerts_alone(rule):
                found.add(rule.name or rule.title)
            found |= {firing.correlation.name or firing.correlation.title for firing in ready.fed(row, rule)}
        found |= {firing.correlation.name or firing.correlation.title for firing in ready.advanced(row.time_us)}
    found |= {firing.correlation.name or firing.correlation.title for firing in ready.advanced(_END_US)}
    return frozenset(found)
