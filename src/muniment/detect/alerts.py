"""Alerts: what rules found, grouped by who and where, as Detection Findings (OCSF 2004) in the ledger.

The ledger is the truth: each record carries the whole alert, the newest one is its state, and `AlertBook` is a look at
them in memory that is made anew at every start. Matches of one rule for the same group that follow each other within
`ALERT_GAP_S` (for a correlation, its time span) are one alert. An alert is written when it begins, when it has doubled,
once a minute while it grows, and when a person changes its state. Its `seen_to` is the highest index it has counted:
a range of events that is evaluated again after a crash adds nothing twice.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from muniment.detect.correlation import Correlation
from muniment.detect.rule import Rule
from muniment.errors import RejectedError, VerificationError
from muniment.limits import (
    ALERT_EVIDENCE_MAX,
    ALERT_GAP_S,
    ALERT_REWRITE_S,
    ALERT_STEPS_MAX,
    ALERT_VALUES_MAX,
    ALERTS_AT_ONCE_MAX,
    ALERTS_KEPT_MAX,
)
from muniment.search.engine import Engine
from muniment.search.rows import micros_text

__all__ = ["LEVELS", "SOURCE", "STATES", "Alert", "AlertBook", "Finding", "Step", "kept_alerts"]

SOURCE: Final = "muniment.alerts"
"""The source whose records alerts are. Its personal values are sealed like anybody's."""

LEVELS: Final[Mapping[str, int]] = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
"""Sigma's levels as OCSF severities."""

STATES: Final[Mapping[str, int]] = {"new": 1, "in_progress": 2, "suppressed": 3, "resolved": 4}
"""OCSF's states of a finding."""

_NAMESPACE: Final = uuid.UUID("5d0c2a0e-8c1a-5b7e-9a43-1f6a0f3f8c55")
_PREFIX_MIN: Final = 8
"""So much of an id names an alert to people who type it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: Final = ("actors", "addresses", "hosts", "targets", "sources", "actions", "outcomes")


@dataclass(frozen=True, slots=True)
class Finding:
    """One match, or one firing of a correlation, with what its events say. Times in microseconds. `origins`: the address
    each of `indexes` came from, '' where that is not known.
    """

    rule: Rule | Correlation
    group: tuple[tuple[str, str], ...]
    indexes: tuple[int, ...]
    first_us: int
    last_us: int
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drill: str = ""
    why: str = ""
    origins: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """What a person did with an alert, when (ns): a state it was brought into, `assigned`, or `comment`."""

    at_ns: int
    by: str
    what: str
    text: str


class Alert(msgspec.Struct, frozen=True):
    """One alert. `group`: what the matches have in common; `evidence`: indexes of events, the first and the newest;
    `count`: all of them; times of events in microseconds, of alerts in nanoseconds. `address_counts`: how many of them came
    from each of its addresses, in their order; empty in records of before.
    """

    uid: str
    rule_id: str
    title: str
    level: str
    author: str
    kind: str
    description: str
    tags: tuple[str, ...]
    references: tuple[str, ...]
    false_positives: tuple[str, ...]
    file: str
    group: tuple[tuple[str, str], ...]
    count: int
    first_us: int
    last_us: int
    evidence: tuple[int, ...]
    seen_to: int
    values: dict[str, tuple[str, ...]]
    created_ns: int
    updated_ns: int
    state: str = "new"
    state_reason: str = ""
    state_by: str = ""
    gap_s: int = ALERT_GAP_S
    drill: str = ""
    why: str = ""
    assignee: str = ""
    steps: tuple[Step, ...] = ()
    address_counts: tuple[int, ...] = ()

    @property
    def by_address(self) -> dict[str, int]:
        """How many of its events came from each address it names."""
        return dict(zip(self.of("addresses"), self.address_counts, strict=False))

    @property
    def severity_id(self) -> int:
        """OCSF severity."""
        return LEVELS.get(self.level, 3)

    def of(self, name: str) -> tuple[str, ...]:
        """Its actors, addresses, hosts, targets, sources or actions."""
        return self.values.get(name, ())


class AlertBook:
    """All alerts of one Muniment. Thread-safe. `apply` and `set_state` return when the records are in the ledger."""

    def __init__(self, write: Callable[[Sequence[bytes], Sequence[str]], None], now_ns: Callable[[], int]) -> None:
        """`write(records, ids)` puts records of the source `SOURCE` into the ledger and returns when they are there."""
        self._write = write
        self._now_ns = now_ns
        self._lock = threading.RLock()
        self._alerts: dict[str, Alert] = {}
        self._written: dict[str, tuple[int, int]] = {}  # by uid: count and time of the last record
        self._open: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}

    def load(self, records: Iterable[str]) -> None:
        """Take records as they stand in the ledger, oldest first."""
        with self._lock:
            for text in records:
                try:
                    alert = alert_of(text)
                except VerificationError:
                    continue  # a record of an older form: it stays findable as an event
                self._keep(alert)
                self._written[alert.uid] = (alert.count, alert.updated_ns)

    def forget(self) -> None:
        """Drop what is in memory; `load` fills it again (after a person was erased)."""
        with self._lock:
            self._alerts.clear()
            self._open.clear()
            self._written.clear()

    def all(self) -> list[Alert]:
        """Every alert in memory, the newest event first."""
        with self._lock:
            return sorted(self._alerts.values(), key=lambda alert: (-alert.last_us, alert.uid))

    def get(self, uid: str) -> Alert:
        """One alert, by its id or the beginning of it. RejectedError with status 404 when there is none, or several."""
        with self._lock:
            found = self._alerts.get(uid)
            if found is None and len(uid) >= _PREFIX_MIN:
                begun = [alert for key, alert in self._alerts.items() if key.startswith(uid)]
                found = begun[0] if len(begun) == 1 else None
        if found is None:
            raise RejectedError("there is no such alert", field="uid", status=404)
        return found

    def apply(self, findings: Sequence[Finding]) -> list[Alert]:
        """Count findings into alerts; what has to be written is in the ledger when this returns. The alerts that began."""
        began: list[Alert] = []
        with self._lock:
            touched: dict[str, Alert] = {}
            for finding in findings:
                key = (finding.rule.key, finding.group)
                held = self._alerts.get(self._open.get(key, ""))
                grown = _grown(held, finding, self._now_ns()) if held is not None else None
                if grown is held and held is not None:
                    continue  # counted before a crash
                if grown is None:
                    grown = _begun(finding, self._now_ns())
                    if grown.uid in self._alerts:
                        continue
                    began.append(grown)
                touched[grown.uid] = grown
                self._keep(grown)
            due = [alert for alert in touched.values() if self._is_due(alert)]
            self._put(due)
        return began

    def flush(self) -> None:
        """Write what has grown and is due by time."""
        with self._lock:
            self._put([alert for alert in self._alerts.values() if self._is_due(alert)])

    def set_state(self, uid: str, state: str, reason: str, by: str) -> Alert:
        """A person takes an alert up, or is done with it. Who takes up what is nobody's has it."""
        return self.set_states([uid], state, reason, by)[0]

    def set_states(self, uids: Sequence[str], state: str, reason: str, by: str) -> list[Alert]:
        """The same for several: all of them, or none when one is not there. What is in that state already stays."""
        if state not in STATES:
            raise RejectedError(f"must be one of {', '.join(STATES)}, got {state!r}", field="state")
        if state in {"resolved", "suppressed"} and not reason.strip():
            raise RejectedError("say why: the next reader will ask", field="reason")
        if len(uids) > ALERTS_AT_ONCE_MAX:
            raise RejectedError(f"at most {ALERTS_AT_ONCE_MAX:,} at once, got {len(uids):,}", field="uids")
        with self._lock:
            before = [self.get(uid) for uid in dict.fromkeys(uids)]
            after = [self._brought(alert, state, reason.strip(), by) for alert in before]
            changed = [new for new, old in zip(after, before, strict=True) if new is not old]
            self._put(changed)
            for alert in changed:
                self._keep(alert)
            return after

    def _brought(self, alert: Alert, state: str, reason: str, by: str) -> Alert:
        if (state, reason) == (alert.state, alert.state_reason):
            return alert
        owner = "" if state == "new" else alert.assignee or (by if state == "in_progress" else "")
        changed = msgspec.structs.replace(alert, state=state, state_reason=reason, state_by=by, assignee=owner)
        return self._stepped(changed, by, state, reason)

    def assign(self, uid: str, assignee: str, by: str) -> Alert:
        """Somebody has an alert now; empty: nobody."""
        with self._lock:
            alert = msgspec.structs.replace(self.get(uid), assignee=assignee.strip())
            return self._changed(self._stepped(alert, by, "assigned", alert.assignee))

    def comment(self, uid: str, text: str, by: str) -> Alert:
        """Somebody writes something to an alert."""
        if not text.strip():
            raise RejectedError("there is nothing in it", field="text")
        with self._lock:
            return self._changed(self._stepped(self.get(uid), by, "comment", text))

    def _stepped(self, alert: Alert, by: str, what: str, text: str) -> Alert:
        now = self._now_ns()
        steps = (*alert.steps, Step(now, by, what, text.strip()))[-ALERT_STEPS_MAX:]
        return msgspec.structs.replace(alert, steps=steps, updated_ns=now)

    def _changed(self, alert: Alert) -> Alert:
        self._put([alert])
        self._keep(alert)
        return alert

    def _keep(self, alert: Alert) -> None:
        self._alerts[alert.uid] = alert
        rule = alert.rule_id
        if alert.state not in {"resolved", "suppressed"}:
            self._open[rule, alert.group] = alert.uid
        else:
            self._open.pop((rule, alert.group), None)
        if len(self._alerts) > ALERTS_KEPT_MAX:
            oldest = min(self._alerts.values(), key=lambda each: each.updated_ns)
            del self._alerts[oldest.uid]
            self._written.pop(oldest.uid, None)
            if self._open.get((oldest.rule_id, oldest.group)) == oldest.uid:
                del self._open[oldest.rule_id, oldest.group]

    def _is_due(self, alert: Alert) -> bool:
        count, at = self._written.get(alert.uid, (0, 0))
        if alert.count == count:
            return False
        return alert.count >= 2 * count or self._now_ns() - at >= ALERT_REWRITE_S * 10**9

    def _put(self, alerts: Sequence[Alert]) -> None:
        if not alerts:
            return
        verbs = ["update" if alert.uid in self._written else "create" for alert in alerts]
        records = [record_of(alert, f"alert.{verb}") for alert, verb in zip(alerts, verbs, strict=True)]
        self._write(records, [f"{alert.uid}/{alert.count}/{alert.updated_ns}" for alert in alerts])
        for alert in alerts:
            self._written[alert.uid] = (alert.count, self._now_ns())


def _begun(finding: Finding, now_ns: int) -> Alert:
    rule = finding.rule
    name = "\n".join((rule.key, *(f"{k}={v}" for k, v in finding.group), str(finding.indexes[0])))
    gap_s = rule.timespan_s if isinstance(rule, Correlation) else ALERT_GAP_S
    values = {k: tuple(v)[:ALERT_VALUES_MAX] for k, v in finding.values.items()}
    origins = Counter(finding.origins)
    return Alert(
        uid=str(uuid.uuid5(_NAMESPACE, name)), rule_id=rule.key, title=rule.title, level=rule.level.lower() or "medium",
        author=rule.author, kind=rule.kind if isinstance(rule, Correlation) else "rule",
        description=rule.description, tags=tuple(rule.tags), references=tuple(rule.references),
        false_positives=tuple(rule.false_positives), file=rule.file, group=finding.group, count=len(finding.indexes),
        first_us=finding.first_us, last_us=finding.last_us, evidence=finding.indexes[:ALERT_EVIDENCE_MAX],
        seen_to=max(finding.indexes), values=values, created_ns=now_ns, updated_ns=now_ns, gap_s=gap_s, drill=finding.drill,
        why=finding.why, address_counts=tuple(origins[each] for each in values.get("addresses", ()) if origins),
    )  # fmt: skip


def _grown(alert: Alert, finding: Finding, now_ns: int) -> Alert | None:
    """The alert with the finding in it; itself when it has counted it before; None when too much time lies between."""
    fresh = tuple(index for index in finding.indexes if index > alert.seen_to)
    if not fresh:
        return alert
    gap_us = alert.gap_s * 1_000_000
    if finding.first_us - alert.last_us > gap_us or alert.first_us - finding.last_us > gap_us:
        return None
    if alert.drill != finding.drill:
        return None
    evidence = (*alert.evidence, *fresh)
    if len(evidence) > ALERT_EVIDENCE_MAX:
        half = ALERT_EVIDENCE_MAX // 2
        evidence = (*evidence[:half], *evidence[-half:])
    values = {
        kind: tuple(dict.fromkeys((*alert.of(kind), *finding.values.get(kind, ()))))[:ALERT_VALUES_MAX]
        for kind in _KINDS
    }
    counts = alert.by_address
    if counts or not alert.of("addresses"):  # else it is of before, and nobody counted
        origins = Counter(
            at for index, at in zip(finding.indexes, finding.origins, strict=False) if index > alert.seen_to
        )
        counts = {each: counts.get(each, 0) + origins[each] for each in values["addresses"]}
    return msgspec.structs.replace(
        alert, count=alert.count + len(fresh), first_us=min(alert.first_us, finding.first_us),
        last_us=max(alert.last_us, finding.last_us), evidence=evidence, values=values, updated_ns=now_ns,
        seen_to=max(alert.seen_to, *finding.indexes), why=finding.why or alert.why, address_counts=tuple(counts.values()),
    )  # fmt: skip


# --- records -----------------------------------------------------------------------------------------------------------


def record_of(alert: Alert, action: str) -> bytes:
    """The alert as a JSON record in OCSF's words for a Detection Finding."""
    analytic = {"uid": alert.rule_id, "name": alert.title, "type": "Rule", "type_id": 1, "category": alert.kind}
    event: dict[str, Any] = {
        "class_uid": 2004,
        "action": action,
        "activity_id": 1 if action == "alert.create" else 3 if alert.state == "resolved" else 2,
        "time": micros_text(alert.updated_ns // 1_000),
        "severity_id": alert.severity_id,
        "status_id": STATES[alert.state],
        "status": alert.state,
        "message": f"{alert.title}: {alert.count} {'event' if alert.count == 1 else 'events'}; rule by {alert.author or 'nobody named'}",
        "finding_info": {
            "uid": alert.uid,
            "title": alert.title,
            "desc": alert.description,
            "analytic": analytic,
            "tags": alert.tags,
            "first_seen_time": micros_text(alert.first_us),
            "last_seen_time": micros_text(alert.last_us),
            "created_time": micros_text(alert.created_ns // 1_000),
        },
        "rule": {
            "author": alert.author, "level": alert.level, "file": alert.file, "references": alert.references,
            "false_positives": alert.false_positives,
        },
        "count": alert.count,
        "group": [{"name": name, "value": value} for name, value in alert.group],
        "evidence": alert.evidence,
        "seen_to": alert.seen_to,
        "gap_s": alert.gap_s,
    }  # fmt: skip
    event |= {kind: alert.of(kind) for kind in _KINDS if alert.of(kind)}
    if alert.address_counts:
        event["address_counts"] = alert.address_counts
    if alert.state_by:
        event |= {"status_by": alert.state_by, "comment": alert.state_reason}
    if alert.assignee:
        event["assignee"] = {"name": alert.assignee}
    if alert.steps:
        event["steps"] = [
            {"time": micros_text(each.at_ns // 1_000), "by": each.by, "what": each.what, "text": each.text}
            for each in alert.steps
        ]
    if alert.why:
        event["risk_details"] = alert.why
    if alert.drill:
        event["drill"] = alert.drill
    return msgspec.json.encode(event)


def kept_alerts(engine: Engine, uids: Sequence[str]) -> dict[str, Alert]:
    """Alerts that are too old to be in memory, each as its newest record tells it; those that can be read."""
    rows = engine.query(
        "SELECT argMax(record, `index`) FROM events WHERE source = {source:String} AND target_id IN {uids:Array(String)} "
        "GROUP BY target_id",
        {"source": SOURCE, "uids": list(uids)},
    ).rows
    found = {}
    for (record,) in rows:
        with contextlib.suppress(VerificationError):
            alert = alert_of(str(record))
            found[alert.uid] = alert
    return found


def alert_of(text: str | bytes) -> Alert:
    """The alert of a record. Raises VerificationError when it is none."""
    try:
        event = msgspec.json.decode(text)
        info, rule = event["finding_info"], event["rule"]
        return Alert(
            uid=info["uid"], rule_id=info["analytic"]["uid"], title=info["title"], level=rule["level"],
            author=rule["author"], kind=info["analytic"]["category"], description=info["desc"],
            tags=tuple(info["tags"]), references=tuple(rule["references"]),
            false_positives=tuple(rule["false_positives"]), file=rule["file"],
            group=tuple((each["name"], _plain(each["value"])) for each in event["group"]), count=event["count"],
            first_us=_micros(info["first_seen_time"]), last_us=_micros(info["last_seen_time"]),
            evidence=tuple(event["evidence"]), seen_to=event["seen_to"], gap_s=event["gap_s"],
            values={kind: tuple(map(_plain, event.get(kind, ()))) for kind in _KINDS},
            created_ns=_micros(info["created_time"]) * 1_000, updated_ns=_micros(event["time"]) * 1_000,
            state=event["status"], state_by=event.get("status_by", ""), state_reason=event.get("comment", ""),
            drill=event.get("drill", ""), why=_plain(event.get("risk_details", "")),
            assignee=_plain(event.get("assignee", {}).get("name", "")),
            steps=tuple(
                Step(_micros(each["time"]) * 1_000, each["by"], each["what"], _plain(each["text"]))
                for each in event.get("steps", ())
            ),
            address_counts=tuple(event.get("address_counts", ())),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"not a record of an alert: {error!r}", expected="an alert", computed=text) from error


def _plain(value: object) -> str:
    """A value as it stands; of an erased person only the placeholder is left."""
    return value if isinstance(value, str) else "(erased)"


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
