"""Operations of rules and their life: what runs and what feeds it, switches, back-tests, exceptions, coverage of ATT&CK."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from muniment.api.detection_answers import (
    EvaluatedAnswer,
    RuleText,
    TechniqueAnswer,
    all_rows,
    evaluated,
    techniques,
)
from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.api.times import parse_time
from muniment.detect import attack
from muniment.detect.correlation import Correlation
from muniment.detect.feeding import Fed
from muniment.detect.rule import Exemption, Rule
from muniment.detect.rulebook import Switch
from muniment.detect.tally import Told
from muniment.errors import RejectedError
from muniment.limits import RULE_BUDGET_SHARE

__all__ = ["BackTestBody", "ExceptionBody", "RuleTextParams", "Ruling", "SwitchBody", "rule_operations"]


class RuleAnswer(msgspec.Struct, frozen=True):
    """One rule. `sources` sent events it could be about in `FEEDING_DAYS`: without one it cannot fire, and `missing`
    says what would feed it. `matches_*`: events,
    of a correlation alerts; `spent_s` of the last day; `rules`: what it is about, `used_by`: which are about it, by key;
    `off`: titles of those it is about that do not run; `name`: what its file calls it. A rule that can find nothing without them has no `sources`.
    """

    key: str
    title: str
    level: str
    status: str
    author: str
    kind: str
    description: str
    tags: list[str]
    file: str
    logsource: dict[str, str]
    is_on: bool
    is_silent: bool
    reason: str
    by: str
    alerts: int
    remarks: list[str]
    license: str
    references: list[str]
    false_positives: list[str]
    techniques: list[TechniqueAnswer]
    sources: list[str]
    missing: str
    matches_day: int
    matches_month: int
    spent_s: float
    rules: list[str]
    used_by: list[str]
    off: list[str]
    name: str = ""


class RuleTextParams(msgspec.Struct, frozen=True):
    rule: RuleText


class OneRuleAnswer(msgspec.Struct, frozen=True):
    """One rule, the text of its document, the line of its file at which that begins, and the alert that came last (µs).
    `evaluated` is of the sources that feed it; `fed_at` (ns): when it was looked which those are.
    """

    rule: RuleAnswer
    text: str
    line: int
    names: dict[str, str]
    budget_share: float
    last_alert_us: int
    counted_since_us: int
    evaluated: EvaluatedAnswer
    fed_at: int


class RefusedAnswer(msgspec.Struct, frozen=True):
    """A rule that cannot be run: where the mistake stands (line and column from 1; 0: unknown) and how to mend it."""

    file: str
    title: str
    reason: str
    line: int = 0
    column: int = 0
    fix: str = ""


class RuleListAnswer(msgspec.Struct, frozen=True):
    rules: list[RuleAnswer]
    refused: list[RefusedAnswer]
    evaluated: EvaluatedAnswer
    counted_since_us: int
    fed_at: int


class SwitchBody(msgspec.Struct, frozen=True):
    rule: RuleText
    is_on: bool
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class BackTestBody(msgspec.Struct, frozen=True):
    rule: RuleText
    start: Annotated[str, Meta(max_length=35, examples=["-90d"])] = "-90d"
    end: Annotated[str, Meta(max_length=35)] = "now"


class BackTestAnswer(msgspec.Struct, frozen=True):
    """What a rule would have found: events, or for a correlation alerts, by day, and which. `looked_at`: candidates."""

    rule: str
    hits: int
    indexes: list[int]
    by_day: dict[str, int]
    looked_at: int
    took_ms: float


class ExceptionBody(msgspec.Struct, frozen=True):
    rule: RuleText
    query: Annotated[str, Meta(min_length=1, max_length=4096, examples=["src_ip:198.51.100.0/24"])]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    days: Annotated[int, Meta(ge=1, le=365)] = 30


class ExceptionAnswer(msgspec.Struct, frozen=True):
    number: int
    rule: str
    query: str
    reason: str
    owner: str
    created_at: int
    expires_at: int
    hidden: int
    is_active: bool


class ExceptionListAnswer(msgspec.Struct, frozen=True):
    exceptions: list[ExceptionAnswer]


class CoveredAnswer(msgspec.Struct, frozen=True):
    """A technique that running rules are tagged with. `fed`: how many of them some source sends events for."""

    id: str
    name: str
    tactics: list[str]
    rules: list[str]
    fed: int
    alerts: int


class CoverageAnswer(msgspec.Struct, frozen=True):
    """ATT&CK by tactic, in the matrix's order (`tactics`: tag to name). `without`: running rules with no technique; `fed_at`
    (ns): when it was looked what sources send.
    """

    tactics: dict[str, str]
    techniques: list[CoveredAnswer]
    without: int
    version: str
    notice: str
    fed_at: int


def rule_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    r = Ruling(services)
    return [
        Operation("GET", "/api/v1/rules", "rules", "Every rule, whether it runs, and those that cannot", "alerts", r.rules,
                  answer=RuleListAnswer, tag="detection"),
        Operation("GET", "/api/v1/rules/one", "rule", "One rule, with its text", "alerts", r.rule, params=RuleTextParams,
                  answer=OneRuleAnswer, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/switch", "rule_switch", "Run a rule, or do not", "rules", r.switch,
                  body=SwitchBody, answer=RuleAnswer, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/backtest", "rule_backtest", "What a rule would have found", "alerts", r.back_test,
                  body=BackTestBody, answer=BackTestAnswer, tag="detection", refusals=frozenset({404})),
        Operation("GET", "/api/v1/rules/exceptions", "exceptions", "What rules overlook, why and until when", "alerts",
                  r.exceptions, answer=ExceptionListAnswer, tag="detection"),
        Operation("POST", "/api/v1/rules/exceptions", "exception_create", "Let a rule overlook some events", "rules",
                  r.exempt, body=ExceptionBody, answer=ExceptionAnswer, status=201, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/exceptions/{number}/end", "exception_end", "End an exception now", "rules",
                  r.end_exception, answer=ExceptionAnswer, tag="detection"),
        Operation("GET", "/api/v1/rules/coverage", "rule_coverage", "Which techniques of ATT&CK running rules watch for, and what feeds them",
                  "alerts", r.coverage, answer=CoverageAnswer, tag="detection"),
    ]  # fmt: skip


class Ruling:
    """The handlers. A change is recorded before its answer leaves, and so is every look."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def rules(self, call: Call[Empty, Empty]) -> RuleListAnswer:
        current = self._s.rules.current
        known = await self._s.blocking(self._known)
        rows = [self._rule(rule, known) for rule in current.all_rules]
        await self._s.recorder.note(call, "rule.list", "ledger", self._s.ledger.origin, results=len(rows))
        refused = [
            RefusedAnswer(each.file, each.title, each.reason, each.line, each.column, each.fix)
            for each in current.refused
        ]
        return RuleListAnswer(rows, refused, evaluated(self._s), known.since_us, known.fed_at)

    async def rule(self, call: Call[RuleTextParams, Empty]) -> OneRuleAnswer:
        rule = self._s.rules.get(call.params.rule)
        known = await self._s.blocking(self._known)
        text, line = self._s.rules.text(rule)
        answer = self._rule(rule, known)
        names = {each.key: each.title for each in self._s.rules.current.all_rules}
        about = {key: names[key] for key in (*answer.rules, *answer.used_by) if key in names}
        last = max((alert.last_us for alert in self._s.alerts.all() if alert.rule_id == rule.key), default=0)
        await self._s.recorder.note(call, "rule.view", "rule", rule.key, results=1)
        return OneRuleAnswer(
            answer, text, line, about, RULE_BUDGET_SHARE, last, known.since_us, evaluated(self._s, answer.sources),
            known.fed_at,
        )  # fmt: skip

    def _known(self) -> _Known:
        """What is known of all rules together. Blocking."""
        now_us = self._s.clock() // 1_000
        current = self._s.rules.current
        used_by: dict[str, list[str]] = defaultdict(list)
        for each in current.all_rules:
            for name in each.rules if isinstance(each, Correlation) else ():
                used_by[name].append(each.key)
        return _Known(
            self._s.rules.switches(), self._counts(), self._s.feeding.of(current, now_us), self._s.rules.tally.told(now_us),
            used_by, self._s.rules.tally.since_us(), self._s.feeding.at_us * 1_000,
        )  # fmt: skip

    def _counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for alert in self._s.alerts.all():
            counts[alert.rule_id] += 1
        return counts

    def _rule(self, rule: Rule | Correlation, known: _Known) -> RuleAnswer:
        decided, told = known.switches.get(rule.key), known.told.get(rule.key, Told())
        fed = known.fed.get(rule.key, Fed())
        paused = self._s.rules.paused.get(rule.key, "")
        off, is_dead = self._s.rules.off_parts(rule, known.switches)
        if is_dead:
            fed = Fed((), f"{' and '.join(off)}, switched off")
        source = {} if isinstance(rule, Correlation) else {
            name: value
            for name, value in (
                ("product", rule.logsource.product), ("category", rule.logsource.category), ("service", rule.logsource.service),
            )
            if value
        }  # fmt: skip
        return RuleAnswer(
            key=rule.key, title=rule.title, level=rule.level.lower(), status=rule.status.lower(), author=rule.author,
            kind=rule.kind if isinstance(rule, Correlation) else "rule", description=rule.description,
            tags=list(rule.tags), file=rule.file, logsource=source, is_on=self._s.rules.is_on(rule, known.switches),
            is_silent=rule.is_silent or rule.level.lower() == "informational",
            reason=paused or (decided.reason if decided else ""), by="muniment" if paused else self._s.keys.called(decided.by) if decided else "",
            alerts=known.alerts.get(rule.key, 0), remarks=[*rule.remarks, *filter(None, [fed.remark])],
            license=rule.license if isinstance(rule, Rule) else "", references=list(rule.references),
            false_positives=list(rule.false_positives), techniques=techniques(rule.tags),
            sources=list(fed.sources), missing=fed.missing, matches_day=told.day, matches_month=told.month,
            spent_s=round(told.spent_s, 3), rules=list(rule.rules) if isinstance(rule, Correlation) else [],
            used_by=known.used_by.get(rule.key, []), off=off, name=rule.name,
        )  # fmt: skip

    async def switch(self, call: Call[Empty, SwitchBody]) -> RuleAnswer:
        b = call.body
        await self._s.blocking(lambda: self._s.rules.switch(b.rule, b.is_on, b.reason, call.identity.id))
        await self._s.recorder.note(call, "rule.enable" if b.is_on else "rule.disable", "rule", b.rule, b.reason)
        return self._rule(self._s.rules.get(b.rule), await self._s.blocking(self._known))

    async def back_test(self, call: Call[Empty, BackTestBody]) -> BackTestAnswer:
        all_rows(call)
        b, now = call.body, self._s.clock()
        start = parse_time(b.start, now, field="start") // 1_000 if b.start else None
        end = parse_time(b.end, now, field="end") // 1_000 if b.end and b.end != "now" else None
        found = await self._s.blocking(lambda: self._s.detector.back_test(b.rule, start, end))
        await self._s.recorder.note(call, "rule.backtest", "rule", b.rule, results=found.hits, start=b.start, end=b.end)
        return BackTestAnswer(
            b.rule, found.hits, list(found.indexes), dict(found.by_day), found.looked_at, found.took_ms
        )

    async def exceptions(self, call: Call[Empty, Empty]) -> ExceptionListAnswer:
        found = await self._s.blocking(self._s.rules.exemptions)
        await self._s.recorder.note(call, "exception.list", "ledger", self._s.ledger.origin, results=len(found))
        return ExceptionListAnswer([self._exception(each, self._s.clock()) for each in found])

    async def exempt(self, call: Call[Empty, ExceptionBody]) -> ExceptionAnswer:
        b, now = call.body, self._s.clock()
        try:
            made = self._s.rules.exempt(b.rule, b.query, b.reason, call.identity.id, now + b.days * 86_400 * 10**9)
        except RejectedError as error:
            field = "query" if error.field in {"", "q"} else error.field
            raise RejectedError(error.reason, field=field, column=error.column, status=error.status) from None
        await self._s.recorder.note(call, "rule.exempt", "rule", b.rule or "all", b.reason, query=b.query, days=b.days)
        return self._exception(made, now)

    async def end_exception(self, call: Call[Empty, Empty]) -> ExceptionAnswer:
        ended = self._s.rules.end_exemption(int(call.path["number"]))
        await self._s.recorder.note(call, "rule.exempt_end", "rule", ended.rule or "all", number=ended.number)
        found = next(each for each in self._s.rules.exemptions() if each.number == ended.number)
        return self._exception(found, self._s.clock())

    def _exception(self, each: Exemption, now_ns: int) -> ExceptionAnswer:
        return ExceptionAnswer(
            each.number, each.rule, each.query, each.reason, self._s.keys.called(each.owner), each.created_at, each.expires_at,
            each.hidden, each.expires_at > now_ns,
        )  # fmt: skip

    async def coverage(self, call: Call[Empty, Empty]) -> CoverageAnswer:
        current, known = self._s.rules.current, await self._s.blocking(self._known)
        rules: dict[str, list[str]] = defaultdict(list)
        named: dict[str, attack.Technique] = {}
        without = 0
        for rule in current.all_rules:
            if not self._s.rules.is_on(rule, known.switches):
                continue
            found = attack.techniques_of(rule.tags)
            without += not found
            for each in found:
                named[each.id] = each
                rules[each.id].append(rule.key)
        await self._s.recorder.note(call, "rule.list", "ledger", self._s.ledger.origin, results=len(rules))
        techniques = [
            CoveredAnswer(
                each.id, each.name, list(each.tactics), rules[each.id], sum(bool(known.fed.get(key, Fed()).sources) for key in rules[each.id]),
                sum(known.alerts.get(key, 0) for key in rules[each.id]),
            )
            for each in (named[id] for id in sorted(named))
        ]  # fmt: skip
        return CoverageAnswer(
            dict(attack.tactics()), techniques, without, attack.version(), attack.notice(), known.fed_at
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Of all rules: decisions, alerts, what feeds them, their counts, and which are about them."""

    switches: dict[str, Switch]
    alerts: Mapping[str, int]
    fed: Mapping[str, Fed]
    told: Mapping[str, Told]
    used_by: Mapping[str, list[str]]
    since_us: int
    fed_at: int
