"""Whose an id is, and what a name means, where several rules have the same. Pure.

An id belongs to the rule that ran under it before, as long as its file is there; of rules that come together, to the one
whose file comes first. Any other is refused: it would count everything twice, or take the place of one that people have
looked at, switched and made exceptions for. A name that two rules have means the one of the correlation's own file, else the one
that had it first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from muniment.detect.correlation import Correlation
from muniment.detect.rule import Refused, Rule
from muniment.errors import RejectedError

__all__ = ["Holders", "Named", "Names", "named"]

Holders = Mapping[str, str]
"""By id or name the file of the rule that has it."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a rule, a correlation or a behaviour rule is called."""

    file: str
    title: str
    id: str
    name: str

    @property
    def key(self) -> str:
        """What others call it by."""
        return self.id or self.name or self.title

    @property
    def claims(self) -> tuple[str, ...]:
        """What it is known by beyond its file; the first of them, its key, can be only one rule's."""
        return tuple(dict.fromkeys(filter(None, (self.key, self.name))))


def named(rule: Rule | Correlation) -> Named:
    """What a rule that can be run is called."""
    return Named(rule.file, rule.title, rule.id, rule.name)


class Names:
    """The names of a set of rules. `files` in their order; `unread` are those in which something cannot be run."""

    def __init__(
        self, documents: Sequence[Named], files: Sequence[str], held: Holders, unread: Collection[str]
    ) -> None:
        order = {file: n for n, file in enumerate(files)}
        self._first: dict[str, Named] = {}
        self._own: dict[str, dict[str, str]] = defaultdict(dict)
        self.kept: list[bool] = []
        self.refused: list[Refused] = []
        claimed: dict[str, list[Named]] = defaultdict(list)
        for each in documents:
            for claim in each.claims:
                claimed[claim].append(each)
        for claim, claimants in claimed.items():
            claimants.sort(key=lambda each: order.get(each.file, len(order)))
            holder = held.get(claim, "")
            first = next((each for each in claimants if each.file == holder), None)
            if first is not None or holder not in unread:
                self._first[claim] = first or claimants[0]
        for each in documents:
            first = self._first.get(each.key)
            is_kept = first is each or (first is not None and first.key != each.key)
            self.kept.append(is_kept)
            if not is_kept:
                where = f"{first.file}" if first else f"{held[each.key]}, which cannot be run now"
                self.refused.append(Refused(each.file, each.title, f"its id '{each.key}' is that of {where}"))
                continue
            for claim in each.claims:
                self._own[each.file].setdefault(claim, each.key)

    def key_of(self, reference: str, file: str) -> str:
        """The key of the rule that a file calls so. Raises RejectedError."""
        own = self._own.get(file, {}).get(reference)
        if own is not None:
            return own
        if (first := self._first.get(reference)) is None:
            raise RejectedError(f"there is no rule with the id or name {reference!r}", field=file)
        return first.key

    def remark_on(self, each: Named) -> str:
        """What is odd about the name of one that is kept."""
        first = self._first.get(each.name)
        if not each.name or first is None or first.key == each.key or first.file == each.file:
            return ""
        return f"its name '{each.name}' is that of {first.file}, too: correlations in other files mean that one"
