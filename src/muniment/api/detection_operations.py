"""Operations of detection: alerts and their state, rules, exceptions, back-tests, coverage of ATT&CK."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.api.times import parse_time
from muniment.detect import attack
from muniment.detect.admitted import Admitted, admitted
from muniment.detect.alerts import LEVELS, Alert
from muniment.detect.correlation import Correlation
from muniment.detect.risk import EntityRisk, risks
from muniment.detect.rule import Exemption, Rule
from muniment.detect.rulebook import Switch
from muniment.detect.tally import Told
from muniment.errors import DeniedError, RejectedError
from muniment.limits import ALERTS_AT_ONCE_MAX, RULE_BUDGET_SHARE

__all__ = ["Detecting", "detection_operations"]

T = TypeVar("T")
RuleText = Annotated[str, Meta(max_length=200, examples=["5d6a1c3e-3b1e-4d55-9d4f-2f7f2a6d7a03"])]
StateText = Literal["new", "in_progress", "suppressed", "resolved"]
LevelText = Literal["informational", "low", "medium", "high", "critical"]


class AlertParams(msgspec.Struct, frozen=True):
    state: Literal["", "open", "new", "in_progress", "suppressed", "resolved"] = ""
    level: Literal["", "informational", "low", "medium", "high", "critical"] = ""
    rule: RuleText = ""
    entity: Annotated[str, Meta(max_length=320, description="An account, address or host")] = ""
    source: Annotated[str, Meta(max_length=128, description="Where its events came from")] = ""
    assignee: Annotated[str, Meta(max_length=128, description="Whose it is; - for nobody's")] = ""
    q: Annotated[str, Meta(max_length=200, description="Words in its title, its rule's tags or what it names")] = ""
    sort: Annotated[Literal["newest", "gravest"], Meta(description="gravest: by level, then the newest")] = "newest"
    offset: Annotated[int, Meta(ge=0, le=100_000)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EvaluatedAnswer(msgspec.Struct, frozen=True):
    """How far the rules have seen: events below `position`, received up to `to_time` (ns), from `n_fresh` of
    `n_sources` sources that are as talkative as they should be.
    """

    position: int
    to_time: int
    n_fresh: int
    n_sources: int
    rules: int
    correlations: int
    dropped: int
    problem: str


class TechniqueAnswer(msgspec.Struct, frozen=True):
    """A technique of MITRE ATT&CK; `name` is empty when the table does not know the number."""

    id: str
    name: str
    tactics: list[str]


class StepAnswer(msgspec.Struct, frozen=True):
    """What a person did with an alert, when (ns): a state, `assigned`, or `comment`."""

    at_ns: int
    by: str
    what: str
    text: str


class AdmittedAnswer(msgspec.Struct, frozen=True):
    """Logins that succeeded from there, or of that account, in the alert's time and the hour after."""

    count: int
    who: list[str]
    last_us: int
    last_index: int


class AlertAnswer(msgspec.Struct, frozen=True):
    """One alert. Times of events in microseconds, of the alert in nanoseconds; `author` wrote the rule.

    `admitted` is there where its events were refusals at a login: did any succeed?
    """

    uid: str
    rule_id: str
    title: str
    level: str
    author: str
    kind: str
    description: str
    tags: list[str]
    references: list[str]
    false_positives: list[str]
    file: str
    group: dict[str, str]
    count: int
    first_us: int
    last_us: int
    evidence: list[int]
    values: dict[str, list[str]]
    created_ns: int
    updated_ns: int
    state: str
    state_reason: str
    state_by: str
    drill: str
    why: str
    assignee: str
    steps: list[StepAnswer]
    techniques: list[TechniqueAnswer]
    admitted: AdmittedAnswer | None = None


class CountedRule(msgspec.Struct, frozen=True):
    rule: str
    title: str
    count: int


class AlertListAnswer(msgspec.Struct, frozen=True):
    """`total` matched, of which this is a page; `by_*` count what matched in all but that respect."""

    alerts: list[AlertAnswer]
    total: int
    evaluated: EvaluatedAnswer
    by_state: dict[str, int]
    by_level: dict[str, int]
    by_rule: list[CountedRule]
    by_source: dict[str, int]


class RiskParams(msgspec.Struct, frozen=True):
    entity: Annotated[str, Meta(max_length=256, description="Only this account, address, host or target")] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class RiskPart(msgspec.Struct, frozen=True):
    alert: str
    title: str
    level: str
    points: float
    last_us: int


class RiskAnswerRow(msgspec.Struct, frozen=True):
    kind: str
    value: str
    score: float
    rules: int
    tactics: list[str]
    parts: list[RiskPart]


class RiskAnswer(msgspec.Struct, frozen=True):
    """Who is most at risk, or is one; what each alert adds."""

    entities: list[RiskAnswerRow]
    total: int


class StateBody(msgspec.Struct, frozen=True):
    state: StateText
    reason: Annotated[str, Meta(max_length=1000)] = ""


class StatesBody(msgspec.Struct, frozen=True):
    uids: Annotated[list[str], Meta(min_length=1, max_length=ALERTS_AT_ONCE_MAX)]
    state: StateText
    reason: Annotated[str, Meta(max_length=1000)] = ""


class StatesAnswer(msgspec.Struct, frozen=True):
    alerts: list[AlertAnswer]


class AssignBody(msgspec.Struct, frozen=True):
    assignee: Annotated[str, Meta(max_length=128, description="Empty: nobody")] = ""


class CommentBody(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class RuleAnswer(msgspec.Struct, frozen=True):
    """One rule. `sources` sent events it could be about in `FEEDING_DAYS`: without one it cannot fire. `matches_*`: events,
    of a correlation alerts; `spent_s` of the last day; `rules`: what it is about, `used_by`: which are about it, by key.
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
    matches_day: int
    matches_month: int
    spent_s: float
    rules: list[str]
    used_by: list[str]


class RuleTextParams(msgspec.Struct, frozen=True):
    rule: RuleText


class OneRuleAnswer(msgspec.Struct, frozen=True):
    """One rule, the text of its document, the line of its file at which that begins, and the alert that came last (µs)."""

    rule: RuleAnswer
    text: str
    line: int
    names: dict[str, str]
    budget_share: float
    last_alert_us: int
    counted_since_us: int


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
    """ATT&CK by tactic, in the matrix's order (`tactics`: tag to name). `without`: running rules with no technique."""

    tactics: dict[str, str]
    techniques: list[CoveredAnswer]
    without: int
    version: str
    notice: str


def detection_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    d = Detecting(services)
    return [
        Operation("GET", "/api/v1/alerts", "alerts", "What rules found, the newest first", "alerts", d.alerts,
                  params=AlertParams, answer=AlertListAnswer, tag="detection"),
        Operation("GET", "/api/v1/risk", "risk", "What alerts add up to, by account, address, host and target", "alerts",
                  d.risk, params=RiskParams, answer=RiskAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/states", "alert_states", "Take up or close several alerts at once", "alerts",
                  d.set_states, body=StatesBody, answer=StatesAnswer, tag="detection", refusals=frozenset({404})),
        Operation("GET", "/api/v1/alerts/{uid}", "alert", "One alert", "alerts", d.alert, answer=AlertAnswer,
                  tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/state", "alert_state", "Take an alert up, or be done with it", "alerts",
                  d.set_state, body=StateBody, answer=AlertAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/assign", "alert_assign", "Give an alert to somebody, or to nobody", "alerts",
                  d.assign, body=AssignBody, answer=AlertAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/comment", "alert_comment", "Write something to an alert", "alerts",
                  d.comment, body=CommentBody, answer=AlertAnswer, tag="detection"),
        Operation("GET", "/api/v1/rules", "rules", "Every rule, whether it runs, and those that cannot", "alerts", d.rules,
                  answer=RuleListAnswer, tag="detection"),
        Operation("GET", "/api/v1/rules/one", "rule", "One rule, with its text", "alerts", d.rule, params=RuleTextParams,
                  answer=OneRuleAnswer, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/switch", "rule_switch", "Run a rule, or do not", "rules", d.switch,
                  body=SwitchBody, answer=RuleAnswer, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/backtest", "rule_backtest", "What a rule would have found", "alerts", d.back_test,
                  body=BackTestBody, answer=BackTestAnswer, tag="detection", refusals=frozenset({404})),
        Operation("GET", "/api/v1/rules/exceptions", "exceptions", "What rules overlook, why and until when", "alerts",
                  d.exceptions, answer=ExceptionListAnswer, tag="detection"),
        Operation("POST", "/api/v1/rules/exceptions", "exception_create", "Let a rule overlook some events", "rules",
                  d.exempt, body=ExceptionBody, answer=ExceptionAnswer, status=201, tag="detection", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rules/exceptions/{number}/end", "exception_end", "End an exception now", "rules",
                  d.end_exception, answer=ExceptionAnswer, tag="detection"),
        Operation("GET", "/api/v1/rules/coverage", "rule_coverage", "Which techniques of ATT&CK running rules watch for, and what feeds them",
                  "alerts", d.coverage, answer=CoverageAnswer, tag="detection"),
    ]  # fmt: skip


class Detecting:
    """The handlers. A change is recorded before its answer leaves, and so is every look."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._s.readers, work)

    async def _record(
        self, call: Call[Any, Any], action: str, kind: str, target: str, reason: str = "", **metadata: object
    ) -> None:
        await self._s.recorder.record(
            action, call.identity, targets=[{"type": kind, "id": target}], client_ip=call.client_ip,
            user_agent=call.user_agent, metadata=metadata, reason=reason,
        )  # fmt: skip

    def evaluated(self) -> EvaluatedAnswer:
        """How far the rules have seen."""
        found = self._s.detector.evaluated()
        watched = [info for info in self._s.sources.all() if info.rhythm_s and not info.retired_at]
        heard = [info for info in watched if self._s.sources.counters(info.id).received]
        now = self._s.clock()
        fresh = [
            info
            for info in heard
            if now - (self._s.sources.counters(info.id).last_heard or 0) <= 2 * info.rhythm_s * 10**9
        ]
        return EvaluatedAnswer(
            found.position, found.to_time, len(fresh), len(heard), found.rules, found.correlations, found.dropped,
            found.problem,
        )  # fmt: skip

    async def alerts(self, call: Call[AlertParams, Empty]) -> AlertListAnswer:
        _all_rows(call)
        p = call.params
        known = [alert for alert in self._s.alerts.all() if _is_about(alert, p)]
        found = [alert for alert in known if _is_wanted(alert, p)]
        if p.sort == "gravest":
            found.sort(key=lambda alert: -alert.severity_id)  # stable: the newest first among equals
        page = found[p.offset : p.offset + p.limit]
        let_in = await self._blocking(lambda: admitted(self._s.engine, page))
        await self._record(call, "alert.list", "ledger", self._s.ledger.origin, results=len(found), entity=p.entity)

        def but(name: str) -> list[Alert]:
            return [alert for alert in known if _is_wanted(alert, msgspec.structs.replace(p, **{name: ""}))]

        by_rule = Counter((alert.rule_id, alert.title) for alert in but("rule"))
        sources = Counter(source for alert in but("source") for source in alert.of("sources"))
        return AlertListAnswer(
            [_alert(alert, let_in.get(alert.uid)) for alert in page], len(found), self.evaluated(),
            dict(Counter(alert.state for alert in but("state"))), dict(Counter(alert.level for alert in but("level"))),
            [CountedRule(rule, title, n) for (rule, title), n in by_rule.most_common(100)], dict(sources.most_common(100)),
        )  # fmt: skip

    async def risk(self, call: Call[RiskParams, Empty]) -> RiskAnswer:
        _all_rows(call)
        p = call.params
        found = [each for each in risks(self._s.alerts.all(), self._s.clock()) if p.entity in {"", each.value}]
        await self._record(call, "risk.list", "ledger", self._s.ledger.origin, results=len(found), entity=p.entity)
        return RiskAnswer([_risk(each) for each in found[: p.limit]], len(found))

    async def alert(self, call: Call[Empty, Empty]) -> AlertAnswer:
        _all_rows(call)
        alert = self._s.alerts.get(str(call.path["uid"]))
        let_in = await self._blocking(lambda: admitted(self._s.engine, [alert]))
        await self._record(call, "alert.view", "alert", alert.uid, results=1)
        return _alert(alert, let_in.get(alert.uid))

    async def set_state(self, call: Call[Empty, StateBody]) -> AlertAnswer:
        _all_rows(call)
        uid, b = str(call.path["uid"]), call.body
        alert = await self._blocking(lambda: self._s.alerts.set_state(uid, b.state, b.reason, call.identity.id))
        await self._record(call, "alert.handle", "alert", uid, b.reason, state=b.state)
        return _alert(alert)

    async def set_states(self, call: Call[Empty, StatesBody]) -> StatesAnswer:
        _all_rows(call)
        b = call.body
        alerts = await self._blocking(lambda: self._s.alerts.set_states(b.uids, b.state, b.reason, call.identity.id))
        for alert in alerts:
            await self._record(call, "alert.handle", "alert", alert.uid, b.reason, state=b.state, together=len(alerts))
        return StatesAnswer([_alert(alert) for alert in alerts])

    async def assign(self, call: Call[Empty, AssignBody]) -> AlertAnswer:
        _all_rows(call)
        uid, assignee = str(call.path["uid"]), call.body.assignee
        alert = await self._blocking(lambda: self._s.alerts.assign(uid, assignee, call.identity.id))
        await self._record(call, "alert.assign", "alert", uid, assignee=assignee)
        return _alert(alert)

    async def comment(self, call: Call[Empty, CommentBody]) -> AlertAnswer:
        """The words stand in the alert, where personal values are sealed; the record of who wrote has none."""
        _all_rows(call)
        uid, text = str(call.path["uid"]), call.body.text
        alert = await self._blocking(lambda: self._s.alerts.comment(uid, text, call.identity.id))
        await self._record(call, "alert.comment", "alert", uid, characters=len(text))
        return _alert(alert)

    async def rules(self, call: Call[Empty, Empty]) -> RuleListAnswer:
        current = self._s.rules.current
        known = await self._blocking(self._known)
        rows = [self._rule(rule, known) for rule in current.all_rules]
        await self._record(call, "rule.list", "ledger", self._s.ledger.origin, results=len(rows))
        refused = [
            RefusedAnswer(each.file, each.title, each.reason, each.line, each.column, each.fix)
            for each in current.refused
        ]
        return RuleListAnswer(rows, refused, self.evaluated(), known.since_us)

    async def rule(self, call: Call[RuleTextParams, Empty]) -> OneRuleAnswer:
        rule = self._s.rules.get(call.params.rule)
        known = await self._blocking(self._known)
        text, line = self._s.rules.text(rule)
        answer = self._rule(rule, known)
        names = {each.key: each.title for each in self._s.rules.current.all_rules}
        about = {key: names[key] for key in (*answer.rules, *answer.used_by) if key in names}
        last = max((alert.last_us for alert in self._s.alerts.all() if alert.rule_id == rule.key), default=0)
        await self._record(call, "rule.view", "rule", rule.key, results=1)
        return OneRuleAnswer(answer, text, line, about, RULE_BUDGET_SHARE, last, known.since_us)

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
            used_by, self._s.rules.tally.since_us(),
        )  # fmt: skip

    def _counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for alert in self._s.alerts.all():
            counts[alert.rule_id] += 1
        return counts

    def _rule(self, rule: Rule | Correlation, known: _Known) -> RuleAnswer:
        decided, told = known.switches.get(rule.key), known.told.get(rule.key, Told())
        paused = self._s.rules.paused.get(rule.key, "")
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
            reason=paused or (decided.reason if decided else ""), by="muniment" if paused else decided.by if decided else "",
            alerts=known.alerts.get(rule.key, 0), remarks=list(rule.remarks),
            license=rule.license if isinstance(rule, Rule) else "", references=list(rule.references),
            false_positives=list(rule.false_positives), techniques=_techniques(rule.tags),
            sources=list(known.sources.get(rule.key, ())), matches_day=told.day, matches_month=told.month,
            spent_s=round(told.spent_s, 3), rules=list(rule.rules) if isinstance(rule, Correlation) else [],
            used_by=known.used_by.get(rule.key, []),
        )  # fmt: skip

    async def switch(self, call: Call[Empty, SwitchBody]) -> RuleAnswer:
        b = call.body
        await self._blocking(lambda: self._s.rules.switch(b.rule, b.is_on, b.reason, call.identity.id))
        await self._record(call, "rule.enable" if b.is_on else "rule.disable", "rule", b.rule, b.reason)
        return self._rule(self._s.rules.get(b.rule), await self._blocking(self._known))

    async def back_test(self, call: Call[Empty, BackTestBody]) -> BackTestAnswer:
        _all_rows(call)
        b, now = call.body, self._s.clock()
        start = parse_time(b.start, now, field="start") // 1_000 if b.start else None
        end = parse_time(b.end, now, field="end") // 1_000 if b.end and b.end != "now" else None
        found = await self._blocking(lambda: self._s.detector.back_test(b.rule, start, end))
        await self._record(call, "rule.backtest", "rule", b.rule, results=found.hits, start=b.start, end=b.end)
        return BackTestAnswer(
            b.rule, found.hits, list(found.indexes), dict(found.by_day), found.looked_at, found.took_ms
        )

    async def exceptions(self, call: Call[Empty, Empty]) -> ExceptionListAnswer:
        found = await self._blocking(self._s.rules.exemptions)
        await self._record(call, "exception.list", "ledger", self._s.ledger.origin, results=len(found))
        return ExceptionListAnswer([_exception(each, self._s.clock()) for each in found])

    async def exempt(self, call: Call[Empty, ExceptionBody]) -> ExceptionAnswer:
        b, now = call.body, self._s.clock()
        try:
            made = self._s.rules.exempt(b.rule, b.query, b.reason, call.identity.id, now + b.days * 86_400 * 10**9)
        except RejectedError as error:
            raise RejectedError(
                error.reason, field=error.field or "query", column=error.column, status=error.status
            ) from None
        await self._record(call, "rule.exempt", "rule", b.rule or "all", b.reason, query=b.query, days=b.days)
        return _exception(made, now)

    async def end_exception(self, call: Call[Empty, Empty]) -> ExceptionAnswer:
        ended = self._s.rules.end_exemption(int(call.path["number"]))
        await self._record(call, "rule.exempt_end", "rule", ended.rule or "all", number=ended.number)
        found = next(each for each in self._s.rules.exemptions() if each.number == ended.number)
        return _exception(found, self._s.clock())

    async def coverage(self, call: Call[Empty, Empty]) -> CoverageAnswer:
        current, known = self._s.rules.current, await self._blocking(self._known)
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
        await self._record(call, "rule.list", "ledger", self._s.ledger.origin, results=len(rules))
        techniques = [
            CoveredAnswer(
                each.id, each.name, list(each.tactics), rules[each.id], sum(bool(known.sources.get(key)) for key in rules[each.id]),
                sum(known.alerts.get(key, 0) for key in rules[each.id]),
            )
            for each in (named[id] for id in sorted(named))
        ]  # fmt: skip
        return CoverageAnswer(dict(attack.tactics()), techniques, without, attack.version(), attack.notice())


@dataclass(frozen=True, slots=True)
class _Known:
    """Of all rules: decisions, alerts, the sources that feed them, their counts, and which are about them."""

    switches: dict[str, Switch]
    alerts: Mapping[str, int]
    sources: Mapping[str, Sequence[str]]
    told: Mapping[str, Told]
    used_by: Mapping[str, list[str]]
    since_us: int


def _techniques(tags: Sequence[str]) -> list[TechniqueAnswer]:
    return [TechniqueAnswer(each.id, each.name, list(each.tactics)) for each in attack.techniques_of(tags)]


def _all_rows(call: Call[Any, Any]) -> None:
    if call.identity.scope:
        raise DeniedError("alerts are about all rows; this key sees some rows only", permission="alerts")


def _is_about(alert: Alert, p: AlertParams) -> bool:
    """What is looked for, apart from state, level, rule and source."""
    if p.assignee and alert.assignee != ("" if p.assignee == "-" else p.assignee):
        return False
    named = {value for kind in ("actors", "addresses", "hosts", "targets") for value in alert.of(kind)}
    named.update(dict(alert.group).values())
    if p.entity and p.entity not in named:
        return False
    text = " ".join((alert.title, alert.author, *alert.tags, *named, alert.uid)).lower() if p.q else ""
    return all(word in text for word in p.q.lower().split())


def _is_wanted(alert: Alert, p: AlertParams) -> bool:
    if p.state == "open" and alert.state not in {"new", "in_progress"}:
        return False
    if p.state not in {"", "open", alert.state} or (p.level and LEVELS[p.level] > alert.severity_id):
        return False
    return not (p.rule and alert.rule_id != p.rule) and not (p.source and p.source not in alert.of("sources"))


def _alert(alert: Alert, let_in: Admitted | None = None) -> AlertAnswer:
    return AlertAnswer(
        uid=alert.uid, rule_id=alert.rule_id, title=alert.title, level=alert.level, author=alert.author, kind=alert.kind,
        description=alert.description, tags=list(alert.tags), references=list(alert.references),
        false_positives=list(alert.false_positives), file=alert.file, group=dict(alert.group), count=alert.count,
        first_us=alert.first_us, last_us=alert.last_us, evidence=list(alert.evidence),
        values={kind: list(values) for kind, values in alert.values.items()}, created_ns=alert.created_ns,
        updated_ns=alert.updated_ns, state=alert.state, state_reason=alert.state_reason, state_by=alert.state_by,
        drill=alert.drill, why=alert.why, assignee=alert.assignee,
        steps=[StepAnswer(each.at_ns, each.by, each.what, each.text) for each in alert.steps],
        techniques=_techniques(alert.tags),
        admitted=AdmittedAnswer(let_in.count, list(let_in.who)[:10], let_in.last_us, let_in.last_index) if let_in else None,
    )  # fmt: skip


def _risk(each: EntityRisk) -> RiskAnswerRow:
    parts = [
        RiskPart(part.alert.uid, part.alert.title, part.alert.level, round(part.points, 1), part.alert.last_us)
        for part in each.parts[:20]
    ]
    return RiskAnswerRow(each.kind, each.value, round(each.score, 1), each.n_rules, list(each.tactics), parts)


def _exception(each: Exemption, now_ns: int) -> ExceptionAnswer:
    return ExceptionAnswer(
        each.number, each.rule, each.query, each.reason, each.owner, each.created_at, each.expires_at, each.hidden,
        each.expires_at > now_ns,
    )  # fmt: skip
