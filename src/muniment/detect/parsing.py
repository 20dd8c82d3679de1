"""The documents of a rule file through Sigma's parser, so that one it does not take stops no other of the file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sigma.collection import SigmaCollection
from sigma.conditions import ConditionIdentifier, ConditionItem, ConditionSelector
from sigma.exceptions import (
    SigmaAuthorError,
    SigmaDateError,
    SigmaDescriptionError,
    SigmaFalsePositivesError,
    SigmaFieldsError,
    SigmaLevelError,
    SigmaLicenseError,
    SigmaModifiedError,
    SigmaReferencesError,
    SigmaRelatedError,
    SigmaScopeError,
    SigmaStatusError,
    SigmaTagError,
    SigmaTaxonomyError,
)
from sigma.filters import SigmaFilter
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RegexEngine
from sigma.rule import SigmaDetections

from muniment.detect.documents import lines_of, spelled
from muniment.detect.rule import Refused
from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern

__all__ = ["Parsed", "filters_of_nothing", "parsed_documents", "remarks_of", "said", "unused_selections"]

_DESCRIBING = (
    SigmaAuthorError, SigmaDateError, SigmaDescriptionError, SigmaFalsePositivesError, SigmaFieldsError, SigmaLevelError,
    SigmaModifiedError, SigmaReferencesError, SigmaRelatedError, SigmaScopeError, SigmaStatusError, SigmaTaxonomyError,
    SigmaLicenseError, SigmaTagError,
)  # fmt: skip
_DESCRIBING_RULES = tuple(each for each in _DESCRIBING if each is not SigmaLevelError)


_SAID_CHARS_MAX: Final = 400


class _Engine(RegexEngine):
    """RE2, as the parser has it by itself; but what is wrong with a pattern is an error alone and nothing on stderr."""

    def compile(self, pattern: str, flags: int = 0) -> Any:
        names = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
        given = "".join(name for flag, name in names.items() if flags & flag)
        return compiled_pattern(f"(?{given}){pattern}" if given else pattern)

    @property
    def error(self) -> type[Exception]:
        return PatternError


_POLICY: Final = SigmaPolicy(regex_engine=_Engine())


class Parsed(NamedTuple):
    """The documents of a file, and of those that the parser does not take title, reason and line (0: its title tells)."""

    rules: list[Any]
    filters: list[SigmaFilter]
    refused: list[tuple[str, str, int]]


def parsed_documents(given: Sequence[Any], text: str) -> Parsed:
    """All documents at once; where that fails one after the other, so that one does not take the others with it."""
    try:
        taken = _taken(given)
        return Parsed(list(taken.rules), list(taken.filters), [])
    except Exception:  # some document's; which one, and why, is found and told below
        found = Parsed([], [], [])
    shared: list[Any] = []
    before: list[Any] = []  # the rule that `action: repeat` goes on from, with the repeats since
    for each, line in zip(given, lines_of(text, given), strict=True):
        action = each.get("action") if isinstance(each, dict) else None
        if action in {"global", "reset"}:
            shared, before = [each] if action == "global" else [], []
            continue
        before = [*before, each] if action == "repeat" else [each]
        try:
            taken = _taken([*shared, *before])
        except Exception as error:
            title = str(each.get("title") or "") if isinstance(each, dict) else ""
            found.refused.append((title, said(error), 0 if title else line))
        else:
            found.rules.extend(taken.rules[-1:])
            found.filters.extend(taken.filters)
    return found


def _taken(given: Sequence[Any]) -> SigmaCollection:
    """Documents as the parser reads them. Raises whatever it does not expect in one."""
    taken = SigmaCollection.from_dicts(
        list(map(spelled, given)), collect_errors=True, collect_filters=True, resolve_references=False, policy=_POLICY
    )
    if len(taken.errors) > sum(len(each.errors) for each in (*taken.rules, *taken.filters)):
        raise taken.errors[0]  # of a document of which nothing came
    return taken


def said(error: BaseException) -> str:
    """What a parser's error says, in one line."""
    if isinstance(error, RejectedError):
        return error.reason
    if isinstance(error, RecursionError):
        return "nested too deep to be read"
    said = " ".join(str(error).split()) or type(error).__name__
    if len(said) > _SAID_CHARS_MAX:  # what is wrong is said after what it is wrong with
        said = f"{said[: _SAID_CHARS_MAX // 2]} ... {said[-_SAID_CHARS_MAX // 2 :]}"
    if isinstance(error, AttributeError | TypeError | KeyError):
        return f"something in it is of another kind than Sigma has it there: {said}"
    return said


def unused_selections(detection: SigmaDetections) -> list[str]:
    """The selections of a rule that none of its conditions names: what they ask for, or leave out, counts for nothing."""
    used = set[str]().union(*(_named(each.parse(postprocess=False), detection) for each in detection.parsed_condition))
    return [name for name in detection.detections if name not in used and name != "timeframe"]


def _named(node: Any, detection: SigmaDetections) -> set[str]:
    match node:
        case ConditionSelector():
            return {each.identifier for each in node.resolve_referenced_detections(detection)}
        case ConditionIdentifier():
            return {node.identifier}
        case ConditionItem():
            return set[str]().union(*(_named(each, detection) for each in node.args))
    return set()


def filters_of_nothing(filters: Iterable[tuple[str, SigmaFilter]], rules: Iterable[Any]) -> Iterator[Refused]:
    """Filters that name a rule there is not: they would take nothing away, and nobody would notice."""
    names = {name for rule in rules for name in (str(rule.id or ""), rule.name or "") if name}
    for file, each in filters:
        named = each.filter.rules if isinstance(each.filter.rules, list) else ()
        for reference in named:
            if reference.reference not in names:
                reason = f"there is no rule with the id or name {reference.reference!r}"
                yield Refused(file, str(each.title or ""), reason)


def remarks_of(parsed: Any, file: str) -> tuple[str, ...]:
    """Mistakes in what only describes a rule, as a level does not: alerts are so severe. Raises RejectedError for any other."""
    describing = _DESCRIBING if isinstance(parsed, SigmaFilter) else _DESCRIBING_RULES
    if wrong := [error for error in parsed.errors if not isinstance(error, describing)]:
        raise RejectedError("; ".join(dict.fromkeys(map(said, wrong))), field=file)
    return tuple(dict.fromkeys(said(error) for error in parsed.errors))
