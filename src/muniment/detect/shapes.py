"""Rules over typed columns, decided for whole batches: what most events share is decided once for all that share it.

A **shape** is the values of the few columns that say what kind of thing happened (`SHAPE`). For each shape every
condition is reduced: it holds, it cannot hold, or something is left that depends on the other columns. What is left follows
from how the parts about the shape turned out, so most shapes have a decision that is there already. The texts which that remainder cannot do without are looked for in all events of a batch at once (hyperscan, one pass over each column that
rules read; what many events say is looked through once), so an event that no rule is about costs no Python at all, and the
number of rules costs nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import hyperscan
import numpy as np
import numpy.typing as npt
import orjson

from muniment.detect.condition import All, AnyOf, Condition, No, Regex, Text, fields_of, reduced
from muniment.detect.derived import DERIVED
from muniment.detect.logsources import typed_kind
from muniment.detect.match import Event, Matcher, Test, compiled
from muniment.detect.prefilter import literals
from muniment.detect.rule import Rule
from muniment.limits import DETECT_NEW_SHAPES_MAX, DETECT_SHAPES_MAX

__all__ = ["SHAPE", "Columnar", "Shapes", "Texts", "Trial"]

SHAPE: Final = (
    "source", "format", "class_name", "activity_id", "action", "outcome", "actor_type", "target_type", "src_country",
)  # fmt: skip
"""Columns whose values few events have to themselves."""

_DECISIONS_MAX: Final = 2_048
"""So many decisions that differ are remembered; one names every rule of which something is left."""

_TOLD_MAX: Final = 1_024
"""So many outcomes of its parts are remembered of one rule."""


class Texts(NamedTuple):
    """A column for looking through: the bytes of its texts one after another, where each begins, with the end, and which of
    them each event has; None: its own.
    """

    whole: bytes
    starts: npt.NDArray[np.int64]
    which: npt.NDArray[Any] | None = None


class Columnar(Protocol):
    """A batch of events as columns."""

    @property
    def shapes(self) -> npt.NDArray[np.int64]:
        """A number for each event; events of the batch with the same number have the same values in `SHAPE`."""

    def scanned(self, name: str) -> Texts | None:
        """A column of texts; None when it was not read."""

    def shape_of(self, place: int) -> Mapping[str, Any]:
        """The values of `SHAPE` of one event."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """What is left of a rule's condition for some shapes. `test` decides it, by what `columns` say; None: by more than columns.
    `texts`: it can hold only where one of these was met; None: it is to be tried on each event.
    """

    rule: int
    test: Test
    columns: tuple[str, ...] | None
    texts: frozenset[int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What follows from a shape: rules that match, by their number; what must be tried on each event; and what where a text
    was met.
    """

    sure: tuple[int, ...]
    open: tuple[Left, ...]
    by_text: Mapping[int, tuple[Left, ...]]


class Trial(NamedTuple):
    """What is left of a rule, to be tried on some events."""

    left: Left
    places: Sequence[int]


class Shapes:
    """The rules of a matcher, run over columnar batches. Not thread-safe."""

    def __init__(self, matcher: Matcher) -> None:
        self._decisions: dict[tuple[Any, ...], Decision] = {}
        self._made: dict[tuple[Left | bool, ...], Decision] = {}
        self._scanned = sorted(
            {field for rule in matcher.rules for field in fields_of(rule.condition) if _is_scanned(field)}
        )
        texts = sorted({text for rule in matcher.rules for text in _texts(rule.condition)})
        self._number_of = {text: number for number, text in enumerate(texts)}
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK) if texts else None
        if self._database is not None:
            self._database.compile(
                expressions=[re.escape(text) for text in texts], ids=list(range(len(texts))), elements=len(texts),
                flags=[hyperscan.HS_FLAG_CASELESS] * len(texts),
            )  # fmt: skip
            self._scratch = hyperscan.Scratch(self._database)
        self._rules = [_Rule(number, rule, self._number_of) for number, rule in enumerate(matcher.rules)]
        self._logsources = list({rule.logsource: None for rule in matcher.rules})

    def candidates(self, batch: Columnar) -> tuple[dict[int, list[int]], list[Trial], list[int]]:
        """By rule, the places where it matches for certain; what is to be tried; places of events of too many new shapes."""
        _, first, shape_of = np.unique(batch.shapes, return_index=True, return_inverse=True)
        numbers: dict[Decision | None, int] = {}
        of_shape: list[int] = []
        new = 0
        for place in first.tolist():
            values = batch.shape_of(place)
            decision = self._decisions.get(tuple(values.values()))
            if decision is None and new < DETECT_NEW_SHAPES_MAX:
                new += 1
                decision = self._learned(values)
            of_shape.append(numbers.setdefault(decision, len(numbers)))
        known, which = list(numbers), np.array(of_shape, np.int64)[shape_of]
        sure: dict[int, list[int]] = defaultdict(list)
        trials: list[Trial] = []
        alone: list[int] = []
        places_of = _grouped(which, len(known))
        for number, decision in enumerate(known):
            if decision is None:
                alone += places_of(number)
            elif decision.sure or decision.open:
                places = places_of(number)
                for rule in decision.sure:
                    sure[rule] += places
                trials += [Trial(left, places) for left in decision.open]
        if any(decision is not None and decision.by_text for decision in known):
            met: dict[Left, dict[int, None]] = defaultdict(dict)
            for place, text in self._met(batch):
                decision = known[which[place]]
                for left in decision.by_text.get(text, ()) if decision is not None else ():
                    met[left][place] = None
            trials += [Trial(left, list(at)) for left, at in met.items()]
        return sure, trials, alone

    def _met(self, batch: Columnar) -> Iterator[tuple[int, int]]:
        """(place, text) of every text that stands in a column of an event."""
        found: dict[tuple[int, int], None] = {}
        for name in self._scanned:
            column = batch.scanned(name)
            if column is not None and column.whole:
                found.update(dict.fromkeys(self._met_in(column)))
        yield from found

    def _met_in(self, column: Texts) -> Iterator[tuple[int, int]]:
        """(place, text) in one column. What lies across the end of a text is found, too, and tried in vain."""
        hits: list[tuple[int, int]] = []

        def hit(identity: int, _start: int, end: int, _flags: int, _context: object) -> None:
            hits.append((end, identity))

        assert self._database is not None
        self._database.scan(column.whole, match_event_handler=hit, scratch=self._scratch)
        if not hits:
            return
        ends = np.fromiter((end for end, _ in hits), np.int64, len(hits))
        numbers = (np.searchsorted(column.starts, ends - 1, side="right") - 1).tolist()
        if column.which is None:
            yield from zip(numbers, (text for _, text in hits), strict=True)
            return
        texts_of: dict[int, set[int]] = defaultdict(set)
        for number, (_, text) in zip(numbers, hits, strict=True):
            texts_of[number].add(text)
        for place in np.flatnonzero(np.isin(column.which, list(texts_of))).tolist():
            for text in texts_of[column.which[place]]:
                yield place, text

    def _learned(self, values: Mapping[str, Any]) -> Decision:
        if len(self._decisions) >= DETECT_SHAPES_MAX or len(self._made) >= _DECISIONS_MAX:
            self._decisions.clear()
            self._made.clear()
        event = Event(values)
        kind = typed_kind(str(values["format"]), str(values["class_name"]))
        about = {logsource for logsource in self._logsources if kind.has(logsource)}
        left = tuple([rule.left(event) if rule.logsource in about else False for rule in self._rules])
        decision = self._made.get(left)
        if decision is None:
            decision = self._made[left] = _decided(left)
        self._decisions[tuple(values.values())] = decision
        return decision


class _Rule:
    """A rule's condition, and what is left of it, remembered by how its parts about the shape turned out."""

    def __init__(self, number: int, rule: Rule, number_of: Mapping[bytes, int]) -> None:
        self.logsource = rule.logsource
        self._number = number
        self._condition = rule.condition
        self._number_of = number_of
        self._parts = list(dict.fromkeys(_parts_about_shape(rule.condition)))
        self._tests = [compiled(part) for part in self._parts]
        self._known: dict[tuple[bool, ...], Left | bool] = {}

    def left(self, event: Event) -> Left | bool:
        """For an event of which no more than the shape is known; True: it matches, False: it cannot."""
        told = tuple([test(event) for test in self._tests])
        found = self._known.get(told)
        if found is None:
            if len(self._known) >= _TOLD_MAX:
                self._known.clear()
            found = self._known[told] = self._made(dict(zip(self._parts, told, strict=True)))
        return found

    def _made(self, told: Mapping[Condition, bool]) -> Left | bool:
        left = reduced(self._condition, told.get)
        if isinstance(left, bool):
            return left
        texts = _plain(literals(left, _is_scanned))
        is_open = texts is None or not texts <= self._number_of.keys()
        numbers = None if texts is None or is_open else frozenset(self._number_of[text] for text in texts)
        return Left(self._number, compiled(left), _columns_of(left), numbers)


def _decided(left: Sequence[Left | bool]) -> Decision:
    by_text: dict[int, list[Left]] = defaultdict(list)
    some = [each for each in left if isinstance(each, Left)]
    for each in some:
        for text in each.texts or ():
            by_text[text].append(each)
    return Decision(
        tuple(number for number, each in enumerate(left) if each is True),
        tuple(each for each in some if each.texts is None),
        {text: tuple(those) for text, those in by_text.items()},
    )


def _parts_about_shape(condition: Condition) -> Iterator[Condition]:
    """The largest parts of a condition that read nothing but the shape."""
    names = _columns_of(condition)
    if names and frozenset(SHAPE).issuperset(names):
        yield condition
        return
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _parts_about_shape(part)
        case No(part):
            yield from _parts_about_shape(part)


def _grouped(which: npt.NDArray[Any], n: int) -> Callable[[int], Sequence[int]]:
    """The places of each of `n` groups."""
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(n + 1))
    return lambda number: order[bounds[number] : bounds[number + 1]].tolist()


def _is_scanned(field: str | None) -> bool:
    """Is the field a column that is looked through? One that is made of others is none."""
    return field is not None and field not in SHAPE and field not in DERIVED and not field.startswith("record.")


def _columns_of(condition: Condition) -> tuple[str, ...] | None:
    """All that a condition reads; None where that is more than columns."""
    match condition:
        case All(parts) | AnyOf(parts):
            every = [_columns_of(part) for part in parts]
            return None if None in every else tuple(sorted({name for each in every if each for name in each}))
        case No(part):
            return _columns_of(part)
        case Text(None) | Regex(None):
            return None
    fields = sorted(fields_of(condition))
    return None if any(name.startswith("record.") for name in fields) else tuple(fields)


def _plain(texts: frozenset[bytes] | None) -> frozenset[bytes] | None:
    """Texts as they stand in JSON, as they stand in a column."""
    return None if texts is None else frozenset(orjson.loads(b'"' + text + b'"').encode() for text in texts)


def _texts(condition: Condition) -> frozenset[bytes]:
    """The texts of every single test in a condition: whatever is left of it needs some of these."""
    match condition:
        case All(parts) | AnyOf(parts):
            return frozenset[bytes]().union(*map(_texts, parts))
        case No(part):
            return _texts(part)
        case _:
            return _plain(literals(condition, _is_scanned)) or frozenset()
