"""Sigma rules to conditions: parsed by pySigma, every modifier and condition form; what cannot be evaluated is refused.

Refused means named, with file and reason, and never run in part. Stops at single events: what a rule means over time is
not here. The author goes wherever a match goes (Detection Rule License).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
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

from muniment.detect.behaviour_rules import behaviour_of, split
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
from muniment.detect.correlation import All as AllPresent
from muniment.detect.correlation import Correlation, Has, Not, Presence, Some
from muniment.detect.derived import MADE
from muniment.detect.documents import RANGE, TWICE, documents
from muniment.detect.mistakes import YAML_FIX, fix_of, place_of, plain
from muniment.detect.parsing import filters_of_nothing, parsed_documents, said
from muniment.detect.rule import Loaded, LogSource, Refused, Rule
from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern
from muniment.search.columns import COLUMNS

__all__ = ["load_rules", "rule_of"]

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
_DESCRIBING_RULES = tuple(each for each in _DESCRIBING if each is not SigmaLevelError)
_TYPED = "muniment"

Placeholders = Mapping[str, Sequence[str]]
_NO_PLACEHOLDERS: Placeholders = {}


def load_rules(files: Iterable[tuple[str, str]], placeholders: Placeholders = _NO_PLACEHOLDERS) -> Loaded:
    """Read rule files, given as (name, YAML text); `placeholders` gives the values of `%name%` in them.

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
    made = _Correlations(_numbered(rules), correlations, behaviours)
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
    return Refused(file, "", f"not YAML: {told}", mark.line + 1, mark.column + 1, YAML_FIX)


def _told(refused: Refused, text: str, names: Collection[str]) -> Refused:
    """With the place of the mistake and how to mend it."""
    line, column = (refused.line, refused.column) if refused.line else place_of(text, refused.title, refused.reason)
    fix = refused.fix or fix_of(text, refused.title, refused.reason, names)
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
    _remarks(found, file)
    for each in found.filter.parsed_condition:
        condition = _Reader(placeholders).condition(each.parsed)
        if found.logsource.product == _TYPED:
            _check_columns(sorted(fields_of(condition)), file)


class _Correlations:
    """Correlations with the rules they are about, which are silent where the correlation does not say `generate`."""

    def __init__(
        self,
        rules: Sequence[Rule],
        parsed: Sequence[tuple[str, SigmaCorrelationRule]],
        behaviours: Sequence[tuple[str, Mapping[str, Any]]],
    ) -> None:
        self.refused: list[Refused] = []
        known: dict[str, str] = {}
        for rule in rules:
            known |= {name: rule.key for name in (rule.id, rule.name) if name}
        for _, each in parsed:
            key = str(each.id or each.name or each.title)
            known |= {name: key for name in (str(each.id or ""), each.name or "") if name}
        for _, document in behaviours:
            key = str(document.get("id") or document.get("name") or document.get("title"))
            known |= {str(document[name]): key for name in ("id", "name") if document.get(name)}

        def key_of(reference: str) -> str:
            if reference not in known:
                raise RejectedError(f"there is no rule with the id or name {reference!r}")
            return known[reference]

        found = []
        for file, document in behaviours:
            try:
                found.append(behaviour_of(document, file, key_of))
            except RejectedError as error:
                self.refused.append(Refused(file, str(document.get("title", "")), error.reason))
        typed = {rule.key for rule in rules if rule.logsource.product == _TYPED}
        for file, each in parsed:
            try:
                made = _correlation(each, file, known)
                _check_grouping(made[0], typed)
                found.append(made)
            except RejectedError as error:
                self.refused.append(Refused(file, str(each.title or ""), error.reason))
        found = self._without_circles(self._with_parts(found, {rule.key for rule in rules}))
        found = _credited(found, rules)
        silent = {name for (one, does_generate) in found if not does_generate for name in one.rules}
        self.correlations = [replace(one, is_silent=one.key in silent) for one, _ in found]
        self.rules = [replace(rule, is_silent=rule.key in silent) if rule.key in silent else rule for rule in rules]

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
        others = f"parts by {', '.join(parts)}" if parts else ""
        made.append((replace(one, author="; ".join(filter(None, (one.author, others)))), does_generate))
    return made


def _correlation(parsed: SigmaCorrelationRule, file: str, known: Mapping[str, str]) -> tuple[Correlation, bool]:
    """One correlation, and whether its rules alert by themselves too."""
    remarks = _remarks(parsed, file)

    def key(reference: str) -> str:
        if reference not in known:
            raise RejectedError(f"there is no rule with the id or name {reference!r}", field=file)
        return known[reference]

    def presence(node: Any) -> Presence:
        match node:
            case SigmaRuleReference():
                return Has(key(node.reference))
            case CorrelationConditionAND():
                return AllPresent(tuple(map(presence, node.args)))
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


def _remarks(parsed: Any, file: str) -> tuple[str, ...]:
    """Mistakes in what only describes a rule, as a level does not: alerts are so severe. Raises RejectedError for any other."""
    describing = _DESCRIBING if isinstance(parsed, SigmaFilter) else _DESCRIBING_RULES
    if wrong := [error for error in parsed.errors if not isinstance(error, describing)]:
        raise RejectedError("; ".join(dict.fromkeys(map(said, wrong))), field=file)
    return tuple(dict.fromkeys(said(error) for error in parsed.errors))


def rule_of(parsed: Any, file: str = "", placeholders: Placeholders = _NO_PLACEHOLDERS) -> Rule:
    """One parsed rule. Mistakes in what only describes it (dates, related rules, tags) become `remarks`.

    Raises:
        RejectedError: it cannot be evaluated; `reason` says why.
    """
    remarks = _remarks(parsed, file)
    if not isinstance(parsed, SigmaRule):
        raise RejectedError("not a rule over single events", field=file)
    try:
        conditions = tuple(_Reader(placeholders).condition(each.parsed) for each in parsed.detection.parsed_condition)
    except (SigmaError, KeyError, ValueError) as error:
        raise RejectedError(said(error), field=file) from error
    source = parsed.logsource
    if (source.product or "") == _TYPED:
        for condition in conditions:
            _check_columns(sorted(fields_of(condition)), file)
    return Rule(
        id=str(parsed.id or ""), title=parsed.title or "", level=str(parsed.level or ""), status=str(parsed.status or ""),
        author=parsed.author or "", description=parsed.description or "", references=tuple(parsed.references),
        tags=tuple(map(str, parsed.tags)), false_positives=tuple(parsed.falsepositives),
        logsource=LogSource(source.category or "", source.product or "", source.service or ""),
        condition=conditions[0] if len(conditions) == 1 else AnyOf(conditions), file=file, remarks=remarks,
        name=parsed.name or "", license=parsed.license or "",
    )  # fmt: skip


def _check_columns(names: Iterable[str], file: str) -> None:
    """A rule over typed columns that names one there is not would never match, and nobody would notice."""
    for name in names:
        if name not in COLUMNS and name not in MADE and not name.startswith("record."):
            raise RejectedError(f"there is no column {name!r}", field=file)


def _check_grouping(correlation: Correlation, typed: Collection[str]) -> None:
    """The same for what a correlation groups by and counts; `typed` are the rules over typed columns."""
    for rule in correlation.rules:
        if rule in typed:
            _check_columns([name for names in correlation.fields_of(rule) for name in names], correlation.file)


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
