"""Correlations linked with the rules they are about: by name, in an order that can be run, with their authors. Pure.

One whose part is refused is refused, too, and so are those that are about themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from muniment.detect.behaviour_rules import behaviour_of
from muniment.detect.correlation import All, Correlation, Has, Not, Presence, Some
from muniment.detect.derived import check_columns
from muniment.detect.documents import RANGE
from muniment.detect.logsources import PRODUCT
from muniment.detect.names import Holders, Named, Names, named
from muniment.detect.parsing import remarks_of
from muniment.detect.rule import Refused, Rule
from muniment.errors import RejectedError

__all__ = ["Linked"]

_R = TypeVar("_R", Rule, Correlation)


class Linked:
    """Correlations with the rules they are about, which are silent where the correlation does not say `generate`."""

    def __init__(
        self,
        rules: Sequence[Rule],
        parsed: Sequence[tuple[str, SigmaCorrelationRule]],
        behaviours: Sequence[tuple[str, Mapping[str, Any]]],
        files: Sequence[str],
        held: Holders,
        unread: Collection[str],
    ) -> None:
        called = [
            *map(named, rules),
            *(Named(file, each.title or "", str(each.id or ""), each.name or "") for file, each in parsed),
            *(Named(file, *(str(each.get(key) or "") for key in ("title", "id", "name"))) for file, each in behaviours),
        ]
        names = Names(called, files, held, unread)
        self.refused: list[Refused] = list(names.refused)
        is_kept = iter(names.kept)
        rules = [rule for rule in rules if next(is_kept)]
        parsed = [each for each in parsed if next(is_kept)]
        behaviours = [each for each in behaviours if next(is_kept)]
        found = []
        for file, document in behaviours:
            try:
                found.append(behaviour_of(document, file, partial(names.key_of, file=file)))
            except RejectedError as error:
                self.refused.append(Refused(file, str(document.get("title", "")), error.reason))
        typed = {rule.key for rule in rules if rule.logsource.product == PRODUCT}
        for file, each in parsed:
            try:
                made = _correlation(each, file, partial(names.key_of, file=file))
                _check_grouping(made[0], typed)
                found.append(made)
            except RejectedError as error:
                self.refused.append(Refused(file, str(each.title or ""), error.reason))
        found = self._without_circles(self._with_parts(found, {rule.key for rule in rules}))
        found = _credited(found, rules)
        silent = {name for (one, does_generate) in found if not does_generate for name in one.rules}

        def told(each: _R) -> _R:
            odd = names.remark_on(named(each))
            is_silent = each.key in silent
            return (
                replace(each, is_silent=is_silent, remarks=(*each.remarks, odd))
                if odd
                else (replace(each, is_silent=is_silent) if is_silent != each.is_silent else each)
            )

        self.correlations = [told(one) for one, _ in found]
        self.rules = [told(rule) for rule in rules]

    def _with_parts(self, found: list[tuple[Correlation, bool]], rules: set[str]) -> list[tuple[Correlation, bool]]:
        """Those whose every part can be run; leaving one out may take away a part of another."""
        while True:
            there = rules | {one.key for one, _ in found}
            lacking = [(one, missing) for one, _ in found if (missing := [r for r in one.rules if r not in there])]
            if not lacking:
                return found
            for one, missing in lacking:
                self.refused.append(Refused(one.file, one.title, f"a rule it is about cannot be run: {missing[0]}"))
            gone = {id(one) for one, _ in lacking}
            found = [each for each in found if id(each[0]) not in gone]

    def _without_circles(self, found: list[tuple[Correlation, bool]]) -> list[tuple[Correlation, bool]]:
        """In an order in which each comes after those it is about."""
        names = {one.key for one, _ in found}
        ordered: list[tuple[Correlation, bool]] = []
        done: set[str] = set()
        waiting = list(found)
        while waiting:
            ready = [each for each in waiting if all(r in done or r not in names for r in each[0].rules)]
            if not ready:
                for one, _ in waiting:
                    self.refused.append(Refused(one.file, one.title, "it is about itself, by way of its rules"))
                return ordered
            ordered += ready
            done |= {one.key for one, _ in ready}
            waiting = [each for each in waiting if each[0].key not in done]
        return ordered


def _credited(found: Sequence[tuple[Correlation, bool]], rules: Sequence[Rule]) -> list[tuple[Correlation, bool]]:
    """Correlations, each after those it is about, with the authors of their parts beside their own: what an alert shows are
    matches of those, and the Detection Rule License wants them named.
    """
    authors = {rule.key: [rule.author] for rule in rules}
    made = []
    for one, does_generate in found:
        parts = dict.fromkeys(
            author for rule in one.rules for author in authors[rule] if author not in {"", one.author}
        )
        authors[one.key] = [one.author, *parts]
        others = f"{', '.join(parts)} in its parts" if parts else ""
        made.append((replace(one, author="; ".join(filter(None, (one.author, others)))), does_generate))
    return made


def _correlation(parsed: SigmaCorrelationRule, file: str, key: Callable[[str], str]) -> tuple[Correlation, bool]:
    """One correlation, and whether its rules alert by themselves too. `key` gives that of a rule's id or name."""
    remarks = remarks_of(parsed, file)

    def presence(node: Any) -> Presence:
        match node:
            case SigmaRuleReference():
                return Has(key(node.reference))
            case CorrelationConditionAND():
                return All(tuple(map(presence, node.args)))
            case CorrelationConditionOR():
                return Some(tuple(map(presence, node.args)))
            case CorrelationConditionNOT():
                return Not(presence(node.args[0]))
        raise RejectedError(f"a condition of the kind {type(node).__name__} is not known", field=file)

    condition = parsed.condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        names = [each.reference for each in parsed.rules] if parsed.rules else condition.get_referenced_rules()
        more: dict[str, Any] = {"presence": presence(condition.parsed)}
    else:
        names = [each.reference for each in parsed.rules or ()]
        fields = condition.fieldref or ()
        if condition.percentile is not None and not 0 <= condition.percentile <= 100:
            raise RejectedError(f"correlation.condition.percentile: 0 to 100, not {condition.percentile}", field=file)
        more = {
            "operator": condition.op.name.lower(),
            "count": condition.count,
            "also": tuple(parsed.custom_attributes.get(RANGE, {}).items()),
            "fields": (fields,) if isinstance(fields, str) else tuple(fields),
            "percentile": condition.percentile if condition.percentile is not None else 50,
        }
    if not names:
        raise RejectedError("it names no rule", field=file)
    made = Correlation(
        id=str(parsed.id or ""), name=parsed.name or "", title=parsed.title or "", level=str(parsed.level or ""),
        status=str(parsed.status or ""), author=parsed.author or "", description=parsed.description or "",
        references=tuple(parsed.references), tags=tuple(map(str, parsed.tags)),
        false_positives=tuple(parsed.falsepositives), kind=parsed.type.name.lower(), rules=tuple(map(key, names)),
        timespan_s=parsed.timespan.seconds, group_by=tuple(parsed.group_by or ()),
        aliases={
            alias.alias: {key(rule.reference): name for rule, name in alias.mapping.items()} for alias in parsed.aliases
        },
        file=file, remarks=remarks, **more,
    )  # fmt: skip
    return made, parsed.generate


def _check_grouping(correlation: Correlation, typed: Collection[str]) -> None:
    """The same for what a correlation groups by and counts; `typed` are the rules over typed columns."""
    for rule in correlation.rules:
        if rule in typed:
            check_columns([name for names in correlation.fields_of(rule) for name in names], correlation.file)
