"""Operations of alerts: what rules found, whose it is, what became of it, and what it adds up to."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

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
from muniment.detect.admitted import Admitted, admitted
from muniment.detect.alerts import LEVELS, Alert
from muniment.detect.derived import SUBNET, subnet_of
from muniment.detect.risk import EntityRisk, risks
from muniment.limits import ALERTS_AT_ONCE_MAX

__all__ = [
    "AlertParams",
    "Alerting",
    "AssignBody",
    "CommentBody",
    "RiskParams",
    "StateBody",
    "StatesBody",
    "alert_operations",
]

StateText = Literal["new", "in_progress", "suppressed", "resolved"]


class AlertParams(msgspec.Struct, frozen=True):
    state: Literal["", "open", "new", "in_progress", "suppressed", "resolved"] = ""
    level: Literal["", "informational", "low", "medium", "high", "critical"] = ""
    rule: RuleText = ""
    entity: Annotated[str, Meta(max_length=320, description="An account, address, network or host")] = ""
    source: Annotated[str, Meta(max_length=128, description="Where its events came from")] = ""
    assignee: Annotated[str, Meta(max_length=128, description="Whose it is; - for nobody's")] = ""
    q: Annotated[str, Meta(max_length=200, description="Words in its title, its rule's tags or what it names")] = ""
    sort: Annotated[Literal["newest", "gravest"], Meta(description="gravest: by level, then the newest")] = "newest"
    offset: Annotated[int, Meta(ge=0, le=100_000)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


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

    `group` is what its events have in common: an account, an address (`src_ip`), a network (`src_subnet`, to be blocked as a
    `range`). `address_counts`: how many of them came from each address it names; empty where nobody counted. `admitted` is
    there where they were refusals at a login: did any succeed?
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
    address_counts: dict[str, int]
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
    author: str
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


def alert_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    a = Alerting(services)
    return [
        Operation("GET", "/api/v1/alerts", "alerts", "What rules found, the newest first", "alerts", a.alerts,
                  params=AlertParams, answer=AlertListAnswer, tag="detection"),
        Operation("GET", "/api/v1/risk", "risk", "What alerts add up to, by account, address, host and target", "alerts",
                  a.risk, params=RiskParams, answer=RiskAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/states", "alert_states", "Take up or close several alerts at once", "alerts",
                  a.set_states, body=StatesBody, answer=StatesAnswer, tag="detection", refusals=frozenset({404})),
        Operation("GET", "/api/v1/alerts/{uid}", "alert", "One alert", "alerts", a.alert, answer=AlertAnswer,
                  tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/state", "alert_state", "Take an alert up, or be done with it", "alerts",
                  a.set_state, body=StateBody, answer=AlertAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/assign", "alert_assign", "Give an alert to somebody, or to nobody", "alerts",
                  a.assign, body=AssignBody, answer=AlertAnswer, tag="detection"),
        Operation("POST", "/api/v1/alerts/{uid}/comment", "alert_comment", "Write something to an alert", "alerts",
                  a.comment, body=CommentBody, answer=AlertAnswer, tag="detection"),
    ]  # fmt: skip


class Alerting:
    """The handlers. A change is recorded before its answer leaves, and so is every look."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def alerts(self, call: Call[AlertParams, Empty]) -> AlertListAnswer:
        all_rows(call)
        p = call.params
        known = [alert for alert in self._s.alerts.all() if _is_about(alert, p)]
        found = [alert for alert in known if _is_wanted(alert, p)]
        if p.sort == "gravest":
            found.sort(key=lambda alert: -alert.severity_id)  # stable: the newest first among equals
        page = found[p.offset : p.offset + p.limit]
        let_in = await self._s.blocking(lambda: admitted(self._s.engine, page))
        await self._s.recorder.note(
            call, "alert.list", "ledger", self._s.ledger.origin, results=len(found), entity=p.entity
        )

        def but(name: str) -> list[Alert]:
            return [alert for alert in known if _is_wanted(alert, msgspec.structs.replace(p, **{name: ""}))]

        by_rule = Counter((alert.rule_id, alert.title) for alert in but("rule"))
        sources = Counter(source for alert in but("source") for source in alert.of("sources"))
        return AlertListAnswer(
            [_alert(self._s, alert, let_in.get(alert.uid)) for alert in page], len(found), await self._evaluated(p.rule),
            dict(Counter(alert.state for alert in but("state"))), dict(Counter(alert.level for alert in but("level"))),
            [CountedRule(rule, title, n) for (rule, title), n in by_rule.most_common(100)], dict(sources.most_common(100)),
        )  # fmt: skip

    async def _evaluated(self, rule: str) -> EvaluatedAnswer:
        """How far all rules have seen, or the one whose alerts are asked for."""
        if not rule:
            return evaluated(self._s)
        current, now_us = self._s.rules.current, self._s.clock() // 1_000
        asked = next((each for each in current.all_rules if each.key == rule), None)
        if asked is None:
            return evaluated(self._s)
        fed, switches = await self._s.blocking(lambda: (self._s.feeding.of(current, now_us), self._s.rules.switches()))
        is_dead = self._s.rules.off_parts(asked, switches)[1]
        return evaluated(self._s, () if is_dead or rule not in fed else fed[rule].sources)

    async def risk(self, call: Call[RiskParams, Empty]) -> RiskAnswer:
        all_rows(call)
        p = call.params
        now = self._s.clock()
        found = await self._s.blocking(lambda: risks(self._s.alerts.all(), now, p.entity))
        await self._s.recorder.note(
            call, "risk.list", "ledger", self._s.ledger.origin, results=len(found), entity=p.entity
        )
        return RiskAnswer([_risk(each) for each in found[: p.limit]], len(found))

    async def alert(self, call: Call[Empty, Empty]) -> AlertAnswer:
        all_rows(call)
        alert = self._s.alerts.get(str(call.path["uid"]))
        let_in = await self._s.blocking(lambda: admitted(self._s.engine, [alert]))
        await self._s.recorder.note(call, "alert.view", "alert", alert.uid, results=1)
        return _alert(self._s, alert, let_in.get(alert.uid))

    async def set_state(self, call: Call[Empty, StateBody]) -> AlertAnswer:
        all_rows(call)
        uid, b = str(call.path["uid"]), call.body
        alert = await self._s.blocking(lambda: self._s.alerts.set_state(uid, b.state, b.reason, call.identity.id))
        await self._s.recorder.note(call, "alert.handle", "alert", uid, b.reason, state=b.state)
        return _alert(self._s, alert)

    async def set_states(self, call: Call[Empty, StatesBody]) -> StatesAnswer:
        all_rows(call)
        b = call.body
        alerts = await self._s.blocking(lambda: self._s.alerts.set_states(b.uids, b.state, b.reason, call.identity.id))
        for alert in alerts:
            await self._s.recorder.note(
                call, "alert.handle", "alert", alert.uid, b.reason, state=b.state, together=len(alerts)
            )
        return StatesAnswer([_alert(self._s, alert) for alert in alerts])

    async def assign(self, call: Call[Empty, AssignBody]) -> AlertAnswer:
        all_rows(call)
        uid, assignee = str(call.path["uid"]), call.body.assignee
        alert = await self._s.blocking(lambda: self._s.alerts.assign(uid, assignee, call.identity.id))
        await self._s.recorder.note(call, "alert.assign", "alert", uid, assignee=assignee)
        return _alert(self._s, alert)

    async def comment(self, call: Call[Empty, CommentBody]) -> AlertAnswer:
        """The words stand in the alert, where personal values are sealed; the record of who wrote has none."""
        all_rows(call)
        uid, text = str(call.path["uid"]), call.body.text
        alert = await self._s.blocking(lambda: self._s.alerts.comment(uid, text, call.identity.id))
        await self._s.recorder.note(call, "alert.comment", "alert", uid, characters=len(text))
        return _alert(self._s, alert)


def _is_about(alert: Alert, p: AlertParams) -> bool:
    """What is looked for, apart from state, level, rule and source."""
    if p.assignee and alert.assignee != ("" if p.assignee == "-" else p.assignee):
        return False
    named = {value for kind in ("actors", "addresses", "hosts", "targets") for value in alert.of(kind)}
    group = dict(alert.group)
    named.update(group.values())
    if p.entity and p.entity not in named and not (SUBNET in group and subnet_of(p.entity) == group[SUBNET]):
        return False
    text = " ".join((alert.title, alert.author, *alert.tags, *named, alert.uid)).lower() if p.q else ""
    return all(word in text for word in p.q.lower().split())


def _is_wanted(alert: Alert, p: AlertParams) -> bool:
    if p.state == "open" and alert.state not in {"new", "in_progress"}:
        return False
    if p.state not in {"", "open", alert.state} or (p.level and LEVELS[p.level] > alert.severity_id):
        return False
    return not (p.rule and alert.rule_id != p.rule) and not (p.source and p.source not in alert.of("sources"))


def _alert(services: Services, alert: Alert, let_in: Admitted | None = None) -> AlertAnswer:
    called = services.keys.called
    return AlertAnswer(
        uid=alert.uid, rule_id=alert.rule_id, title=alert.title, level=alert.level, author=alert.author, kind=alert.kind,
        description=alert.description, tags=list(alert.tags), references=list(alert.references),
        false_positives=list(alert.false_positives), file=alert.file, group=dict(alert.group), count=alert.count,
        first_us=alert.first_us, last_us=alert.last_us, evidence=list(alert.evidence),
        values={kind: list(values) for kind, values in alert.values.items()}, created_ns=alert.created_ns,
        updated_ns=alert.updated_ns, state=alert.state, state_reason=alert.state_reason, state_by=called(alert.state_by),
        drill=alert.drill, why=alert.why, assignee=alert.assignee,
        steps=[StepAnswer(each.at_ns, called(each.by), each.what, each.text) for each in alert.steps],
        techniques=techniques(alert.tags), address_counts=alert.by_address,
        admitted=AdmittedAnswer(let_in.count, list(let_in.who)[:10], let_in.last_us, let_in.last_index) if let_in else None,
    )  # fmt: skip


def _risk(each: EntityRisk) -> RiskAnswerRow:
    parts = [
        RiskPart(
            part.alert.uid,
            part.alert.title,
            part.alert.author,
            part.alert.level,
            round(part.points, 1),
            part.alert.last_us,
        )
        for part in each.parts[:20]
    ]
    return RiskAnswerRow(each.kind, each.value, round(each.score, 1), each.n_rules, list(each.tactics), parts)
