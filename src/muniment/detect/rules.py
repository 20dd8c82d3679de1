"""Sigma rules to conditions: parsed by pySigma, every modifier and condition form; what cannot be evaluated is refused.

Refused means named, with file and reason, and never run in part. Stops at single events: what a rule means over time is
not here. The author goes wherever a match goes (Detection Rule License).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
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
from yaml.reader import ReaderError

from muniment.detect.behaviour_rules import split
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
    fields_of,
)
from muniment.detect.correlation import Correlation
from muniment.detect.derived import check_columns
from muniment.detect.documents import TWICE, documents
from muniment.detect.linking import Linked
from muniment.detect.logsources import PRODUCT
from muniment.detect.mistakes import YAML_FIX, fix_of, place_of, plain
from muniment.detect.names import Holders
from muniment.detect.parsing import filters_of_nothing, parsed_documents, remarks_of, said, unused_selections
from muniment.detect.rule import Loaded, LogSource, Refused, Rule
from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern

__all__ = ["load_rules", "rule_of"]

_OPERATORS = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
    CompareOperators.NEQ: "!=",
}
_WILD = {SpecialChars.WILDCARD_MULTI: Wild.MANY, SpecialChars.WILDCARD_SINGLE: Wild.ONE}

Placeholders = Mapping[str, Sequence[str]]
_NO_PLACEHOLDERS: Placeholders = {}
_NO_HOLDERS: Holders = {}


def load_rules(
    files: Iterable[tuple[str, str]],
    placeholders: Placeholders = _NO_PLACEHOLDERS,
    held: Holders = _NO_HOLDERS,
    unread: Collection[str] = (),
) -> Loaded:
    """Read rule files, given as (name, YAML text); `placeholders` gives the values of `%name%` in them.

    `held` says which ids and names are taken, and by which file; `unread` are files that are there and could not be read.
    Filters change the rules they name, in whatever file; correlations find theirs by id or name.
    """
    texts = dict(files)
    refused: list[Refused] = []
    parsed: list[tuple[str, Any]] = []
    filters: list[tuple[str, SigmaFilter]] = []
    behaviours: list[tuple[str, Mapping[str, Any]]] = []
    for name, text in texts.items():
        try:
            given, behaving = split(text) if "behaviour:" in text else (documents(text), [])
            found = parsed_documents(given, text)
            behaviours += [(name, each) for each in behaving]
        except Exception as error:  # YAML's own errors, and what the parser does not expect in one
            refused.append(_unread(name, text, error))
            continue
        if not behaving and all(each is None for each in given):
            refused.append(Refused(name, "", "there is no rule in it", 1, 1))
        refused += [Refused(name, title, reason, line, 1 if line else 0) for title, reason, line in found.refused]
        parsed += [(name, each) for each in found.rules]
        for each in found.filters:
            try:
                _check_filter(each, name, placeholders)
                filters.append((name, each))
            except Exception as error:  # a filter's mistake, not that of all rules it would change
                refused.append(Refused(name, str(each.title or ""), said(error)))
    refused += filters_of_nothing(filters, [each for _, each in parsed])
    rules: list[Rule] = []
    correlations: list[tuple[str, SigmaCorrelationRule]] = []
    for name, each in parsed:
        if isinstance(each, SigmaCorrelationRule):
            correlations.append((name, each))
            continue
        try:
            rules.append(rule_of(_filtered(each, filters), name, placeholders))
        except RejectedError as error:
            refused.append(Refused(name, str(getattr(each, "title", "") or ""), error.reason))
        except Exception as error:  # what the parser let through: this rule's mistake, not that of the others
            refused.append(Refused(name, str(getattr(each, "title", "") or ""), said(error)))
    broken = {*unread, *(each.file for each in refused)}
    made = Linked(_numbered(rules), correlations, behaviours, list(texts), held, broken)
    there: list[Rule | Correlation] = [*made.rules, *made.correlations]
    names = {name for rule in there for name in (rule.id, rule.name) if name}
    told = [_told(each, texts.get(each.file, ""), names) for each in (*refused, *made.refused)]
    return Loaded(made.rules, told, made.correlations)


def _numbered(rules: Sequence[Rule]) -> list[Rule]:
    """The rules of one file that share an id, as those below one `action: global` do: each after the first gets a number."""
    met: Counter[tuple[str, str]] = Counter()
    found: list[Rule] = []
    for rule in rules:
        met[rule.file, rule.key] += 1
        n = met[rule.file, rule.key]
        is_other = n > 1 and all(rule.condition != each.condition for each in found if each.file == rule.file)
        found.append(replace(rule, id=f"{rule.key}.{n}") if is_other else rule)
    return found


_CLOSED_BY: Final = {"[": "]", "{": "}"}


def _unread(file: str, text: str, error: Exception) -> Refused:
    """A file that YAML or Sigma's parser does not take, with the place YAML names."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        found = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        return Refused(file, "", found, before.count("\n") + 1, len(before) - before.rfind("\n"))
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Refused(file, "", said(error))
    told = "; ".join(filter(None, (getattr(error, "context", ""), getattr(error, "problem", ""))))
    if told.endswith(TWICE):
        return Refused(file, "", told, mark.line + 1, mark.column + 1)
    opened = getattr(error, "context_mark", None)
    if opened is not None and "parsing a flow" in told and text[opened.index : opened.index + 1] in _CLOSED_BY:
        # What is never closed is noticed where the text after it makes no sense; who mends it looks where it began.
        bracket = text[opened.index]
        where = f"in line {mark.line + 1}" if mark.line != opened.line else f"at column {mark.column + 1}"
        told = f"not YAML: {bracket} is not closed with {_CLOSED_BY[bracket]}, {where} it does not go on"
        fix = f"close it, put a comma between its values, or quote it where {bracket} is a part of a text"
        return Refused(file, "", told, opened.line + 1, opened.column + 1, fix)
    return Refused(file, "", f"not YAML: {told}", mark.line + 1, mark.column + 1, YAML_FIX)


def _told(refused: Refused, text: str, names: Collection[str]) -> Refused:
    """With the place of the mistake and how to mend it."""
    line, column = (refused.line, refused.column) if refused.line else place_of(text, refused.title, refused.reason)
    fix = refused.fix or fix_of(text, refused.title, refused.reason, names)
    if not refused.fix:  # of several mistakes each has its own
        others = (fix_of(text, refused.title, part, names) for part in refused.reason.split("; ")[1:])
        fix = "; ".join(dict.fromkeys(filter(None, (fix, *others))))
    return replace(refused, reason=plain(refused.reason), line=line, column=column, fix=fix)


def _filtered(rule: Any, filters: Sequence[tuple[str, SigmaFilter]]) -> Any:
    for _, each in filters:
        try:
            rule = each.apply_on_rule(rule)
        except SigmaError as error:
            raise RejectedError(f"the filter {each.title!r}: {said(error)}") from error
    return rule


def _check_filter(found: SigmaFilter, file: str, placeholders: Placeholders) -> None:
    """Can what a filter takes away be evaluated? Raises RejectedError, SigmaError."""
    remarks_of(found, file)
    for each in found.filter.parsed_condition:
        condition = _Reader(placeholders).condition(each.parsed)
        if found.logsource.product == PRODUCT:
            check_columns(sorted(fields_of(condition)), file)


def rule_of(parsed: Any, file: str = "", placeholders: Placeholders = _NO_PLACEHOLDERS) -> Rule:
    """One parsed rule. Mistakes in what only describes it (dates, related rules, tags) become `remarks`.

    Raises:
        RejectedError: it cannot be evaluated; `reason` says why.
    """
    remarks = remarks_of(parsed, file)
    if not isinstance(parsed, SigmaRule):
        raise RejectedError("not a rule over single events", field=file)
    try:
        conditions = tuple(_Reader(placeholders).condition(each.parsed) for each in parsed.detection.parsed_condition)
        unused = unused_selections(parsed.detection)
    except (SigmaError, KeyError, ValueError) as error:
        raise RejectedError(said(error), field=file) from error
    remarks += tuple(f"no condition uses the selection '{name}'" for name in unused)
    source = parsed.logsource
    if (source.product or "") == PRODUCT:
        for condition in conditions:
            check_columns(sorted(fields_of(condition)), file)
    return Rule(
        id=str(parsed.id or ""), title=parsed.title or "", level=str(parsed.level or ""), status=str(parsed.status or ""),
        author=parsed.author or "", description=parsed.description or "", references=tuple(parsed.references),
        tags=tuple(map(str, parsed.tags)), false_positives=tuple(parsed.falsepositives),
        logsource=LogSource(source.category or "", source.product or "", source.service or ""),
        condition=conditions[0] if len(conditions) == 1 else AnyOf(conditions), file=file, remarks=remarks,
        name=parsed.name or "", license=parsed.license or "",
    )  # fmt: skip


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
        case SigmaCompareExpression() if isinstance(part := value.number, SigmaTimestampPart):
            return TimePart(field, part.timestamp_part.name.lower(), int(part.number), _OPERATORS[value.op])
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
        compiled_pattern(pattern)
    except PatternError as error:
        raise RejectedError(
            f"the pattern {pattern[:80]!r} is none of RE2's (linear time, so no look-around): {error}"
        ) from error
    return pattern
