"""Sigma rules to conditions: parsed by pySigma, every modifier and condition form; what cannot be evaluated is refused.

Refused means named, with file and reason, and never run in part. Stops at single events: what a rule means over time is
not here. The author goes wherever a match goes (Detection Rule License).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2
from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import (
    SigmaAuthorError,
    SigmaDateError,
    SigmaDescriptionError,
    SigmaError,
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
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from muniment.detect.condition import (
    Address,
    All,
    AnyOf,
    Compare,
    Condition,
    Exists,
    IsNull,
    No,
    Regex,
    SameAs,
    Text,
    TimePart,
    Wild,
)
from muniment.errors import RejectedError

__all__ = ["Loaded", "LogSource", "Refused", "Rule", "load_rules", "rule_of"]

_OPERATORS = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
    CompareOperators.NEQ: "!=",
}
_WILD = {SpecialChars.WILDCARD_MULTI: Wild.MANY, SpecialChars.WILDCARD_SINGLE: Wild.ONE}
_DESCRIBING = (
    SigmaAuthorError, SigmaDateError, SigmaDescriptionError, SigmaFalsePositivesError, SigmaFieldsError, SigmaLevelError,
    SigmaModifiedError, SigmaReferencesError, SigmaRelatedError, SigmaScopeError, SigmaStatusError, SigmaTaxonomyError,
    SigmaLicenseError, SigmaTagError,
)  # fmt: skip
_QUIET = re2.Options()
_QUIET.log_errors = False


@dataclass(frozen=True, slots=True)
class LogSource:
    """What a rule is about, in Sigma's words; empty where it does not say."""

    category: str = ""
    product: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that can be run."""

    id: str
    title: str
    level: str
    status: str
    author: str
    description: str
    references: Sequence[str]
    tags: Sequence[str]
    false_positives: Sequence[str]
    logsource: LogSource
    condition: Condition
    file: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that is not run, and why."""

    file: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a set of rule files."""

    rules: Sequence[Rule]
    refused: Sequence[Refused]


Placeholders = Mapping[str, Sequence[str]]
_NO_PLACEHOLDERS: Placeholders = {}


def load_rules(files: Iterable[tuple[str, str]], placeholders: Placeholders = _NO_PLACEHOLDERS) -> Loaded:
    """Read rule files, given as (name, YAML text); `placeholders` gives the values of `%name%` in them."""
    rules: list[Rule] = []
    refused: list[Refused] = []
    for name, text in files:
        try:
            found = SigmaCollection.from_yaml(text, collect_errors=True)
        except Exception as error:  # YAML's own errors, and what the parser does not expect in one
            refused.append(Refused(name, "", _said(error)))
            continue
        if not found.rules and found.errors:
            refused.append(Refused(name, "", _said(found.errors[0])))
        for parsed in found.rules:
            title = str(getattr(parsed, "title", "") or "")
            try:
                rules.append(rule_of(parsed, name, placeholders))
            except RejectedError as error:
                refused.append(Refused(name, title, error.reason))
    return Loaded(rules, refused)


def rule_of(parsed: Any, file: str = "", placeholders: Placeholders = _NO_PLACEHOLDERS) -> Rule:
    """One parsed rule. Mistakes in what only describes it (dates, related rules, tags) become `remarks`.

    Raises:
        RejectedError: it cannot be evaluated; `reason` says why.
    """
    remarks = tuple(dict.fromkeys(_said(error) for error in parsed.errors if isinstance(error, _DESCRIBING)))
    if wrong := [error for error in parsed.errors if not isinstance(error, _DESCRIBING)]:
        raise RejectedError("; ".join(dict.fromkeys(map(_said, wrong))), field=file)
    if isinstance(parsed, SigmaCorrelationRule) or not isinstance(parsed, SigmaRule):
        raise RejectedError("not a rule over single events", field=file)
    try:
        conditions = tuple(_Reader(placeholders).condition(each.parsed) for each in parsed.detection.parsed_condition)
    except (SigmaError, KeyError, ValueError) as error:
        raise RejectedError(_said(error), field=file) from error
    source = parsed.logsource
    return Rule(
        id=str(parsed.id or ""), title=parsed.title or "", level=str(parsed.level or ""), status=str(parsed.status or ""),
        author=parsed.author or "", description=parsed.description or "", references=tuple(parsed.references),
        tags=tuple(map(str, parsed.tags)), false_positives=tuple(parsed.falsepositives),
        logsource=LogSource(source.category or "", source.product or "", source.service or ""),
        condition=conditions[0] if len(conditions) == 1 else AnyOf(conditions), file=file, remarks=remarks,
    )  # fmt: skip


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


class _Reader:
    """Turns pySigma's tree into ours."""

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders = placeholders

    def condition(self, node: Any) -> Condition:
        """A node of a parsed condition."""
        match node:
            case ConditionAND():
                return All(tuple(self.condition(part) for part in node.args))
            case ConditionOR():
                return AnyOf(tuple(self.condition(part) for part in node.args))
            case ConditionNOT():
                return No(self.condition(node.args[0]))
            case ConditionFieldEqualsValueExpression():
                return self._test(node.field, node.value)
            case ConditionValueExpression():
                return self._test(None, node.value)
            case _:
                raise RejectedError(f"a condition of the kind {type(node).__name__} is not known")

    def _test(self, field: str | None, value: Any) -> Condition:
        match value:
            case SigmaExpansion():
                return AnyOf(tuple(self._test(field, each) for each in value.values))
            case SigmaString() if value.contains_placeholder():
                texts = tuple(_text(field, each) for each in value.replace_placeholders(self._values))
                return texts[0] if len(texts) == 1 else AnyOf(texts)
            case SigmaString():
                return _text(field, value)
            case SigmaRegularExpression():
                return Regex(field, _pattern(value))
        if field is None:
            if isinstance(value, SigmaNumber):
                return Text(None, (str(value),))
            raise RejectedError(f"a keyword of the kind {type(value).__name__} cannot be looked for")
        return _field_test(field, value)

    def _values(self, placeholder: Placeholder) -> Iterator[str | SpecialChars]:
        values = self._placeholders.get(placeholder.name)
        if not values:
            raise RejectedError(f"the placeholder %{placeholder.name}% stands for values nobody has given")
        yield from values


def _field_test(field: str, value: Any) -> Condition:
    match value:
        case SigmaTimestampPart():
            return TimePart(field, value.timestamp_part.name.lower(), int(value.number))
        case SigmaNumber():
            return Text(field, (str(value),))
        case SigmaBool():
            return Text(field, (str(value).lower(),))
        case SigmaCompareExpression():
            return Compare(field, _OPERATORS[value.op], float(value.number.number))
        case SigmaCIDRExpression():
            return Address(field, value.network)
        case SigmaNull():
            return IsNull(field)
        case SigmaExists():
            return Exists(field, bool(value))
        case SigmaFieldReference():
            return SameAs(field, value.field, value.starts_with, value.ends_with)
        case _:
            raise RejectedError(f"{field}: a value of the kind {type(value).__name__} cannot be evaluated")


def _text(field: str | None, value: SigmaString) -> Text:
    parts = tuple(
        part if isinstance(part, str) else _WILD[part] for part in value.s if not isinstance(part, Placeholder)
    )
    return Text(field, parts, isinstance(value, SigmaCasedString))


def _pattern(value: SigmaRegularExpression) -> str:
    if value.contains_placeholder():
        raise RejectedError("a placeholder in a pattern stands for values nobody has given")
    flags = "".join(sorted(SigmaRegularExpression.sigma_to_re_flag[flag] for flag in value.flags))
    pattern = (f"(?{flags})" if flags else "") + str(value.regexp)
    try:
        re2.compile(pattern, _QUIET)
    except re2.error as error:
        raise RejectedError(
            f"the pattern {pattern[:80]!r} is none of RE2's (linear time, so no look-around): {error}"
        ) from error
    return pattern
