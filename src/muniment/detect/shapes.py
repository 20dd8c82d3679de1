"""Rules over typed columns, decided for whole batches: what most events share is decided once for all that share it.

A **shape** is the values of the few columns that say what kind of thing happened (`SHAPE`). For each shape every
condition is reduced: it holds, it cannot hold, or something is left that depends on the other columns. The texts which
that remainder cannot do without are looked for in all events of a batch at once (hyperscan, one pass over the column),
so an event that no rule is about costs no Python at all, and the number of rules costs nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import hyperscan
import numpy as np
import numpy.typing as npt

from muniment.detect.condition import All, AnyOf, Condition, No, fields_of, reduced
from muniment.detect.logsources import typed_kind
from muniment.detect.match import Event, Matcher, Test, compiled
from muniment.detect.prefilter import literals
from muniment.limits import DETECT_NEW_SHAPES_MAX, DETECT_SHAPES_MAX

__all__ = ["SHAPE", "Columnar", "Decision", "Shapes"]

SHAPE: Final = (
    "source", "format", "class_name", "activity_id", "action", "outcome", "actor_type", "target_type", "src_country",
)  # fmt: skip
"""Columns whose values few events have to themselves."""


class Columnar(Protocol):
    """A batch of events as columns."""

    @property
    def shapes(self) -> npt.NDArray[np.uint64]:
        """A number for each event; events with the same number have the same values in `SHAPE`."""

    @property
    def text(self) -> tuple[bytes, npt.NDArray[np.int64]]:
        """The other columns as JSON, one event after another, and where each begins, with the end."""

    def shape_of(self, place: int) -> Mapping[str, Any]:
        """The values of `SHAPE` of one event."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a shape, rules by their number: `sure` match; `open` must be tried on each event; `by_text` where
    a text was met. `tests`: what is left to try.
    """

    sure: tuple[int, ...]
    open: tuple[int, ...]
    by_text: Mapping[int, tuple[int, ...]]
    tests: Mapping[int, Test]


class Shapes:
    """The rules of a matcher, run over columnar batches. Not thread-safe."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._decisions: dict[int, Decision] = {}
        self._tests: dict[Condition, Test] = {}
        texts = sorted({text for rule in matcher.rules for text in _texts(rule.condition)})
        self._number_of = {text: number for number, text in enumerate(texts)}
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK) if texts else None
        if self._database is not None:
            self._database.compile(
                expressions=[re.escape(text) for text in texts], ids=list(range(len(texts))), elements=len(texts),
                flags=[hyperscan.HS_FLAG_CASELESS] * len(texts),
            )  # fmt: skip
            self._scratch = hyperscan.Scratch(self._database)

    def candidates(
        self, batch: Columnar
    ) -> tuple[dict[int, list[int]], dict[int, tuple[Decision, set[int]]], list[int]]:
        """By rule, the places where it matches for certain; by place, rules to try, with the decision whose `tests` say
        how; places of events of too many new shapes.
        """
        unique, first, which = np.unique(batch.shapes, return_index=True, return_inverse=True)
        known: list[Decision | None] = []
        new = 0
        for key, place in zip(unique.tolist(), first.tolist(), strict=True):
            decision = self._decisions.get(key)
            if decision is None and new < DETECT_NEW_SHAPES_MAX:
                new += 1
                decision = self._learned(key, batch.shape_of(place))
            known.append(decision)
        sure: dict[int, list[int]] = defaultdict(list)
        to_try: dict[int, tuple[Decision, set[int]]] = {}
        alone: list[int] = []
        places_of = _grouped(which, len(unique))
        for number, decision in enumerate(known):
            if decision is None:
                alone += places_of(number)
                continue
            if decision.sure or decision.open:
                places = places_of(number)
                for rule in decision.sure:
                    sure[rule] += places
                if decision.open:
                    to_try.update((place, (decision, set(decision.open))) for place in places)
        if any(decision is not None and decision.by_text for decision in known):
            for place, text in self._met(batch):
                decision = known[which[place]]
                if decision is not None and text in decision.by_text:
                    to_try.setdefault(place, (decision, set()))[1].update(decision.by_text[text])
        return sure, to_try, alone

    def _met(self, batch: Columnar) -> Iterator[tuple[int, int]]:
        """(place, text) of every text that stands in an event."""
        if self._database is None:
            return
        data, starts = batch.text
        hits: list[tuple[int, int]] = []

        def hit(identity: int, _start: int, end: int, _flags: int, _context: object) -> None:
            hits.append((end, identity))

        self._database.scan(data, match_event_handler=hit, scratch=self._scratch)
        if hits:
            ends = np.fromiter((end for end, _ in hits), np.int64, len(hits))
            places = np.searchsorted(starts, ends - 1, side="right") - 1
            yield from dict.fromkeys(zip(places.tolist(), (text for _, text in hits), strict=True))

    def _learned(self, key: int, values: Mapping[str, Any]) -> Decision:
        if len(self._decisions) >= DETECT_SHAPES_MAX:
            self._decisions.clear()
            self._tests.clear()
        decision = self._decisions[key] = self._decided(values)
        return decision

    def _decided(self, values: Mapping[str, Any]) -> Decision:
        event = Event(values)
        kind = typed_kind(str(values["format"]), str(values["class_name"]))
        sure: list[int] = []
        open_: list[int] = []
        by_text: dict[int, list[int]] = defaultdict(list)
        tests: dict[int, Test] = {}

        def holds(condition: Condition) -> bool | None:
            fields = fields_of(condition)
            if not fields or not fields.issubset(SHAPE):
                return None
            return self._compiled(condition)(event)

        for number, rule in enumerate(self._matcher.rules):
            left = reduced(rule.condition, holds) if kind.has(rule.logsource) else False
            if left is True:
                sure.append(number)
            elif not isinstance(left, bool):
                tests[number] = self._compiled(left)
                texts = literals(left, _is_scanned)
                if texts is None or not texts <= self._number_of.keys():
                    open_.append(number)
                else:
                    for text in texts:
                        by_text[self._number_of[text]].append(number)
        return Decision(tuple(sure), tuple(open_), {text: tuple(rules) for text, rules in by_text.items()}, tests)

    def _compiled(self, condition: Condition) -> Test:
        test = self._tests.get(condition)
        if test is None:
            test = self._tests[condition] = compiled(condition)
        return test


def _grouped(which: npt.NDArray[Any], n: int) -> Callable[[int], Sequence[int]]:
    """The places of each of `n` groups."""
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(n + 1))
    return lambda number: order[bounds[number] : bounds[number + 1]].tolist()


def _is_scanned(field: str | None) -> bool:
    """Does the field stand in the text that is scanned?"""
    return field is not None and field not in SHAPE and not field.startswith("record.")


def _texts(condition: Condition) -> frozenset[bytes]:
    """The texts of every single test in a condition: whatever is left of it needs some of these."""
    match condition:
        case All(parts) | AnyOf(parts):
            return frozenset[bytes]().union(*map(_texts, parts))
        case No(part):
            return _texts(part)
        case _:
            return literals(condition, _is_scanned) or frozenset()
