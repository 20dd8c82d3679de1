"""A set of rules made ready, and what it finds in events: matches, firings of correlations, findings. Pure.

The detector runs it over what has just come in, a back-test over history, a trial over made-up events: one meaning.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy

import orjson

from muniment.detect.alerts import Finding
from muniment.detect.batch import Batch, Row
from muniment.detect.behaviour import Surroundings
from muniment.detect.condition import fields_of
from muniment.detect.correlation import Correlation, Firing
from muniment.detect.correlators import ENRICHING, Correlators, Part, Running
from muniment.detect.derived import DERIVED
from muniment.detect.keyvalue import with_fields
from muniment.detect.kinds import kind_of
from muniment.detect.logsources import PRODUCT, Kind, typed_kind
from muniment.detect.match import Event, Matcher
from muniment.detect.reading import RECORD, Formats, Store, Wanted, give_records, is_text, wanted
from muniment.detect.risk import RISK
from muniment.detect.rule import Rule
from muniment.detect.shapes import Shapes, Trial

__all__ = ["ENRICHING", "Found", "Ready", "alerts_alone", "entities", "finding_of_match"]

_log = logging.getLogger(__name__)

Found = Sequence[tuple[Rule, Sequence[int]]]
"""The rules that matched something in a batch, each with the places of its events, ascending."""

_NOTHING_AROUND = Surroundings()


def _has_work(correlation: Correlation, around: Surroundings) -> bool:
    """False for risk, which is about alerts, and for one that looks for domains like ours when nobody named ours."""
    b = correlation.behaviour
    if b is not None and b.kind == RISK:
        return False
    return b is None or b.kind != "look_alike" or bool(b.domains or around.domains)


class Ready:
    """Rules and correlations made ready to run. Not thread-safe: correlations keep what they have seen."""

    def __init__(
        self,
        rules: Sequence[Rule],
        correlations: Sequence[Correlation],
        formats: Formats,
        kept: Mapping[str, Running] | None = None,
        around: Surroundings = _NOTHING_AROUND,
    ) -> None:
        """`kept`: correlations that go on with what they have seen."""
        self.rules, self.correlations, self.formats = rules, correlations, formats
        correlations = [c for c in correlations if _has_work(c, around)]
        idle = {name for c in self.correlations for name in c.rules} - {name for c in correlations for name in c.rules}
        rules = [rule for rule in rules if rule.key not in idle or alerts_alone(rule)]
        self.wanted: Wanted = wanted(rules, correlations, formats)
        self.typed = Matcher([rule for rule in rules if rule.logsource.product == PRODUCT])
        self.raw = Matcher([rule for rule in rules if rule.logsource.product != PRODUCT])
        self._told: set[str] = set()
        self._working = correlations
        self._correlators = Correlators(correlations, kept, around, self._values)
        self._shapes = Shapes(self.typed)
        self.by_key: dict[str, Rule | Correlation] = {rule.key: rule for rule in self.rules}
        self.by_key |= {each.key: each for each in self.correlations}
        self._looking = frozenset(n for n, rule in enumerate(self.typed.rules) if self._looks_into_record(rule))
        self._looking_keys = {self.typed.rules[number].key for number in self._looking}

    def anew(self, around: Surroundings) -> Ready:
        """The same rules, made ready already, with correlations that have seen nothing. `around` knows domains if the one before did."""
        other = copy(self)
        other._told = set()
        other._correlators = Correlators(self._working, None, around, other._values)
        return other

    def _looks_into_record(self, rule: Rule) -> bool:
        """Does the rule, or a correlation about it, read what only the record has?"""
        names = fields_of(rule.condition)
        for c in self._correlators.about(rule.key):
            names |= {c.field_of(name, rule.key) for name in (*c.group_by, *c.fields)}
        return any(name.startswith(RECORD) for name in names)

    # --- single events --------------------------------------------------------------------------------------------

    def matches(self, rows: Sequence[Row], store: Store | None = None) -> list[tuple[Row, Rule]]:
        """Every match of any rule, in the order of the rows. `store`: where records stand that were not read yet."""
        found = [(place, rule) for rule, places in self.found(rows, store) for place in places]
        found.sort(key=lambda each: each[0])
        return [(rows[place], rule) for place, rule in found]

    def found(self, rows: Sequence[Row], store: Store | None = None) -> Found:
        """The rules that match, each with its events. `store`: where records stand that were not read yet."""
        typed = self._typed_matches(rows, store) if self.typed.rules else {}
        found: list[tuple[Rule, Sequence[int]]] = [
            (self.typed.rules[number], sorted(places)) for number, places in sorted(typed.items())
        ]
        if self.wanted.raw and self.raw.rules:
            places = _of_formats(rows, self.wanted.raw)
            records = [self._document(rows[place]) for place in places]
            taxonomies = [self.formats[rows[place].format][1] for place in places]
            known = [self.kind(rows[place]) for place in places]
            hits = self.raw.match(records, known, taxonomies, lambda n: orjson.dumps(dict(rows[places[n]].columns)))
            raw: dict[int, list[int]] = defaultdict(list)
            for n, number in hits:
                raw[number].append(places[n])
            found += [(self.raw.rules[number], sorted(at)) for number, at in sorted(raw.items())]
        return found

    def _typed_matches(self, rows: Sequence[Row], store: Store | None) -> dict[int, list[int]]:
        """By rule over typed columns: the places it matches."""
        found: dict[int, list[int]] = defaultdict(list)
        alone: Sequence[int] = range(len(rows))
        if isinstance(rows, Batch):
            sure, trials, alone = self._shapes.candidates(rows)
            for number, places in sure.items():
                found[number] += places
            if store is not None and self._looking:
                looked = {place for number in self._looking & sure.keys() for place in sure[number]}
                looked.update(place for trial in trials if trial.left.rule in self._looking for place in trial.places)
                give_records(store, rows, looked.union(alone))
            for trial in trials:
                found[trial.left.rule] += self._tried(rows, trial)
        for place, number in self._one_by_one(rows, alone):
            found[number].append(place)
        return {number: places for number, places in found.items() if places}

    def _tried(self, rows: Batch, trial: Trial) -> Iterator[int]:
        """Where a rule matches; events that say the same in all columns it reads are decided at once."""
        left, names = trial.left, trial.left.columns
        alike: dict[object, list[int]] = defaultdict(list)
        if names is None or not rows.has(names):
            alike.update((place, [place]) for place in trial.places)
        else:
            columns = [rows.values(name) for name in names]
            for place in trial.places:
                alike[tuple([column[place] for column in columns])].append(place)
        for places in alike.values():
            event = Event(rows[places[0]].document)
            if any(self.typed.tried(places[0], event, (left.rule,), {left.rule: left.test})):
                yield from places

    def _one_by_one(self, rows: Sequence[Row], places: Sequence[int]) -> list[tuple[int, int]]:
        """Rules over typed columns, tried on each of these events."""
        kinds = [typed_kind(rows[place].format, rows[place].class_name) for place in places]
        texts = [rows[place].text for place in places]
        hits = self.typed.match(texts, kinds, documents=lambda n: rows[places[n]].document)
        return [(places[n], number) for n, number in hits]

    def _document(self, row: Row) -> bytes:
        """A record as its rules see it."""
        record, keyvalue = row.record.encode(), self.formats[row.format][1].keyvalue
        return with_fields(record, keyvalue) if keyvalue else record

    def kind(self, row: Row) -> Kind:
        """Which of Sigma's log sources a row's record is."""
        return kind_of(*self.formats[row.format], str(row.columns.get("action", "")), row.record)

    # --- correlations ---------------------------------------------------------------------------------------------

    @property
    def correlators(self) -> Mapping[str, Running]:
        """The correlations with what they have seen."""
        return self._correlators.running

    def reads_columns(self, correlation: Correlation, rule: Rule) -> bool:
        """Does a correlation read nothing of a rule's events but what can be read as columns?"""
        running = self.correlators.get(correlation.key)
        return running is None or all(map(is_text, running.names_of(rule.key)))

    def fed(self, row: Row, rule: Rule, among: Collection[str] | None = None) -> Iterator[Firing]:
        """Give a match to the correlations about its rule (only those `among`); what fires, and because of that."""
        return self._correlators.fed(row, rule, among)

    def fed_all(self, found: Iterable[Part], among: Collection[str] | None = None) -> list[Firing]:
        """Give all matches of a stretch of the ledger to all correlations (only those `among`); what fires, in its order."""
        return self._correlators.fed_all(found, among)

    def advanced(self, now_us: int) -> Iterator[Firing]:
        """Event time has come so far: what fires because windows are over."""
        return self._correlators.advanced(now_us)

    def take_failures(self) -> list[tuple[str, str]]:
        """Keys of rules that failed on an event since the last call, and how."""
        failures = self._correlators.failures
        for matcher in (self.typed, self.raw):
            for number, error in matcher.failed.items():
                rule = matcher.rules[number]
                _log.error("rule %s (%s) failed", rule.key, rule.title, exc_info=error)
                failures[rule.key] = f"it failed: {error!r}"
            matcher.failed.clear()
        found = [(key, why) for key, why in failures.items() if key not in self._told]
        self._told.update(failures)
        return found

    def _values(self, row: Row, rule: Rule) -> Callable[[str], Sequence[str]]:
        """Fields of an event for a correlation: as the rule sees them, else as typed columns."""
        if rule.logsource.product == PRODUCT or row.format not in self.formats:
            columns = row.columns
            document = row.document if rule.key in self._looking_keys else columns

            def typed(name: str) -> Sequence[str]:
                value = columns.get(name) if name not in DERIVED else row.derived(name)
                if type(value) is str:  # nearly always
                    return (value,) if value and value != "::" else ()
                return _filled(Event(document).plain(name))

            return typed
        event = Event(row.document)
        raw = Event(
            orjson.loads(self._document(row) if row.record else b"{}"), self.formats[row.format][1], row.columns
        )
        return lambda name: _filled(raw.plain(name)) or _filled(event.plain(name))


def _of_formats(rows: Sequence[Row], formats: Collection[str]) -> Sequence[int]:
    """The places of the rows of some formats."""
    if isinstance(rows, Batch):
        return rows.of_formats(formats)
    return [place for place, row in enumerate(rows) if row.format in formats]


def _filled(values: Iterable[str]) -> Sequence[str]:
    return tuple(value for value in values if value not in {"", "::"})


def alerts_alone(rule: Rule) -> bool:
    """Does a match make an alert by itself?"""
    return not (rule.is_silent or rule.level.lower() == ENRICHING)


def finding_of_match(rule: Rule, row: Row) -> Finding:
    """One match of a rule over single events: grouped by who, from where and on what system."""
    columns = row.columns
    actor = columns.get("actor_name") or columns.get("actor_id") or columns.get("actor_email") or ""
    named = (("actor", actor), ("src_ip", row.address), ("dst_host", columns.get("dst_host", "")))
    group = tuple((name, str(value)) for name, value in named if value) or (("source", row.source),)
    return Finding(
        rule, group, (row.index,), row.time_us, row.time_us, entities([row]), row.drill, origins=(row.address,)
    )


def entities(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Who and what is involved."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in (*rows[-1:], *rows[:-1]):  # the event that decided says most
        columns = row.columns
        for kind, value in (
            ("actors", columns.get("actor_name") or columns.get("actor_id") or columns.get("actor_email")),
            ("addresses", row.address),
            ("hosts", columns.get("dst_host")),
            ("targets", columns.get("target_name") or columns.get("target_id")),
            ("sources", row.source),
            ("actions", columns.get("action")),
            ("outcomes", columns.get("outcome")),
        ):
            if value:
                found[kind][str(value)] = None
    return {kind: tuple(values) for kind, values in found.items()}
