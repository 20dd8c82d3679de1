"""The timeline of a case, drafted from the log at every look: evidence, what those concerned did, what people did about it.

(1) Events of the alerts' evidence, pinned ones, and what the addresses and accounts concerned did in the case's time: one
query, in which the engine folds what is alike within a tenth of an hour and hands the most telling rows over first. (2) What people did in
Muniment: our own records that name an alert of the case, the case, or whom it is about. (3) Folded, ranked, marked. Nothing of
it is stored: a mapping that reads better, or an event that comes late, is in the next look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec

from muniment.cases.about import About, phase_of
from muniment.cases.acts import ACTS, ANSWERS, act_words
from muniment.cases.case import Case, Mark
from muniment.cases.lines import Line, folded, told_first, with_first_success
from muniment.detect.alerts import SOURCE as ALERTS_SOURCE
from muniment.detect.alerts import Alert
from muniment.detect.derived import SUBNET_SQL
from muniment.limits import (
    CASE_BEFORE_S,
    CASE_DAYS_MAX,
    CASE_GROUPS_MAX,
    CASE_LINE_EVENTS_MAX,
    CASE_LINES_MAX,
    CASE_VALUES_MAX,
)
from muniment.search.columns import address_sql
from muniment.search.engine import Engine

__all__ = ["OWN_SOURCE", "Draft", "draft", "sealed_words", "span_of"]

OWN_SOURCE: Final = "muniment"
_BUCKET_US: Final = 360_000_000
_DAY_US: Final = 86_400_000_000
_ALERTS_US: Final = 60_000_000
_AT_ONCE_US: Final = 5_000_000
_NO_INDEX: Final = 2**64 - 1  # of no record: the engine takes no empty table
_EVIDENCE: Final = 100
_ACT: Final = 95

_WEIGHTS: Final = (
    ("class_uid = 3005 OR type_uid IN (300207, 300603) OR match(act, '(^|[._])(roles?|permissions?|privileges?)')", 90),
    (r"match(act, '(^|[._])(mfa|passwords?|secrets?|tokens?|credentials?|access_keys?|api_keys?|devices?|certificates?)')", 85),
    ("type_uid IN (600102, 600107) OR match(act, 'export|download')", 80),
    ("type_uid IN (300403, 300408, 300409) OR match(act, '(^|[._])(settings?|policy|policies|rules?|config|trail|logging|domains?)')", 75),
    ("class_uid IN (3001, 3006)", 70),
    ("type_uid = 300201 AND outcome = 'success'", 60),
    ("class_uid = 3002 AND outcome = 'failure'", 55),
    ("match(act, 'delete|remove|purge|destroy|wipe')", 50),
    ("match(act, 'share|publish')", 45),
    ("outcome = 'failure'", 30),
    ("match(act, 'create|update|change|add|write|put')", 20),
)  # fmt: skip
"""How telling an event is: privilege, credentials, data that leaves, settings, accounts, who got in, who was refused."""

_WHO: Final = (
    "multiIf(actor_name != '', toString(actor_name), actor_id != '', toString(actor_id), toString(actor_email))"
)
_TARGET: Final = "if(target_name != '', target_name, target_id)"


@dataclass(frozen=True, slots=True)
class Draft:
    """A timeline. `from_us` and `to_us` bound it; `is_cut`: the case is older than CASE_DAYS_MAX, so it ends before now.

    `lines` by time; `left_out`: lines that people took out; `n_untold`: lines there was no room for, `n_untold_events` the events
    in them. `sources`: whose events are in it.
    """

    from_us: int
    to_us: int
    is_cut: bool
    lines: tuple[Line, ...]
    left_out: tuple[Line, ...]
    n_untold: int
    n_untold_events: int
    sources: tuple[str, ...] = field(default=())


def span_of(case: Case, alerts: Sequence[Alert], now_ns: int) -> tuple[int, int, bool]:
    """When the timeline begins and ends, in microseconds; and whether it is cut: see `Draft`."""
    first = min((alert.first_us for alert in alerts), default=case.opened_at // 1_000)
    start, end = first - CASE_BEFORE_S * 1_000_000, (case.closed_at or now_ns) // 1_000
    most = start + CASE_DAYS_MAX * _DAY_US
    return start, max(start, min(end, most)), end > most


def draft(
    engine: Engine, case: Case, alerts: Sequence[Alert], concerned: About, marks: Sequence[Mark], now_ns: int
) -> Draft:
    """The timeline as the log has it now."""
    start, end, is_cut = span_of(case, alerts, now_ns)
    by_index = {each.index: each for each in marks}
    pinned = [each.index for each in marks if each.mark == "pinned"]
    events = with_first_success(folded(_events(engine, case, alerts, concerned, pinned, start, end)))
    own = _acts(engine, case, alerts, concerned, start, now_ns // 1_000)
    every = [_marked(line, by_index) for line in (*events, *own)]
    out = [line for line in every if line.mark == "left_out"]
    kept, untold = told_first([line for line in every if line.mark != "left_out"], CASE_LINES_MAX)
    return Draft(
        start, end, is_cut, tuple(kept), tuple(out), len(untold), sum(line.count for line in untold),
        tuple(sorted({line.source for line in events if line.source})),
    )  # fmt: skip


def _marked(line: Line, marks: Mapping[int, Mark]) -> Line:
    mark = marks.get(line.index)
    if mark is None:
        return line
    weight = _EVIDENCE if mark.mark == "pinned" else line.weight
    return replace(line, mark=mark.mark, mark_by=mark.by, mark_at=mark.at, mark_reason=mark.reason, weight=weight)


# --- events of the sources ----------------------------------------------------------------------------------------------


def _events(
    engine: Engine, case: Case, alerts: Sequence[Alert], concerned: About, pinned: Sequence[int], start: int, end: int
) -> list[Line]:
    evidence: dict[int, int] = {}
    for number, alert in enumerate(alerts, 1):
        for index in alert.evidence:
            evidence.setdefault(index, number)
    parameters: dict[str, Any] = {
        "evidence": list(evidence) or [_NO_INDEX], "of": list(evidence.values()) or [0], "pinned": list(pinned), "from": start, "to": end,
        "drill": case.drill, "own": [OWN_SOURCE, ALERTS_SOURCE],
        "addresses": [_mapped(each) for each in concerned.addresses], "ranges": list(concerned.ranges),
        "accounts": [each.casefold() for each in concerned.accounts],
    }  # fmt: skip
    weight = f"multiIf({', '.join(f'{sql}, {n}' for sql, n in _WEIGHTS)}, 10)"
    person = "if(class_uid = 3002 AND outcome = 'failure', '', who)"
    alike = "source, action, outcome, type_uid, address, person, bucket, is_pinned"
    # A pinned event is a line of its own: its index is in what must be alike.
    inner = (
        f"SELECT `index`, toUnixTimestamp64Micro(time) AS us, toString(source) AS source, toString(action) AS action, "
        f"lower(toString(action)) AS act, toString(outcome) AS outcome, class_uid, class_uid * 100 + activity_id AS type_uid, "
        f"if(src_ip IN (toIPv6('::'), toIPv6('0.0.0.0')), '', {address_sql('src_ip')}) AS address, {_WHO} AS who, "
        f"{_TARGET} AS target, toString(target_type) AS target_type, toString(src_country) AS country, "
        "if(dst_host != '', toString(dst_host), toString(app)) AS place, toString(status_detail) AS detail, "
        "transform(`index`, {evidence:Array(UInt64)}, {of:Array(UInt64)}, toUInt64(0)) AS of_alert, "
        f"{person} AS person, intDiv(us, {_BUCKET_US}) AS bucket, "
        "if(`index` IN {pinned:Array(UInt64)}, `index` + 1, 0) AS is_pinned, "
        f"if(of_alert > 0 OR is_pinned > 0, {_EVIDENCE}, {weight}) AS telling "
        "FROM events WHERE "
    )
    named = "(`index` IN {evidence:Array(UInt64)} OR `index` IN {pinned:Array(UInt64)})"
    theirs = (
        f"{_concerned_sql()} AND source NOT IN {{own:Array(String)}} AND drill = {{drill:String}} AND NOT {named} "
        "AND time >= fromUnixTimestamp64Micro({from:Int64}, 'UTC') AND time <= fromUnixTimestamp64Micro({to:Int64}, 'UTC')"
    )
    # Apart: with both in one condition no index could leave anything out, and all events ever would be read.
    both = f"{inner}{named} UNION ALL {inner}{theirs}"
    sql = (
        f"SELECT {alike}, count() AS n, min(us), max(us), argMin(`index`, (us, `index`)), "
        f"groupUniqArray({CASE_VALUES_MAX})(who), groupUniqArray({CASE_VALUES_MAX})(target), "
        "argMin(target_type, (us, `index`)), argMin(country, (us, `index`)), argMin(place, (us, `index`)), "
        f"argMin(detail, (us, `index`)), max(telling) AS most, max(of_alert), groupArray({CASE_LINE_EVENTS_MAX})(`index`) "
        f"FROM ({both}) GROUP BY {alike} ORDER BY most DESC, min(us) LIMIT {CASE_GROUPS_MAX}"
    )
    return [_line(row, alerts) for row in engine.query(sql, parameters).rows]


def _line(row: Sequence[Any], alerts: Sequence[Alert]) -> Line:
    source, action, outcome, type_uid, address, _, _, pinned, n, first, last, index, who, targets = row[:14]
    target_type, country, place, detail, weight, of_alert, indexes = row[14:]
    alert = alerts[int(of_alert) - 1] if of_alert else None
    return Line(
        at_us=int(first), kind="event" if not pinned else "pinned", index=int(index), until_us=int(last), count=int(n),
        action=str(action), outcome=str(outcome), type_uid=int(type_uid), source=str(source), who=_filled(who),
        targets=_filled(targets), target_type=str(target_type), address=str(address), country=str(country),
        place=str(place), detail=str(detail), phase=phase_of(alert.tags) if alert else "",
        alert=alert.uid if alert else "", weight=int(weight), indexes=tuple(sorted(int(each) for each in indexes)),
    )  # fmt: skip


def _filled(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(sorted(str(each) for each in values if each))


def _concerned_sql() -> str:
    spelt = " OR ".join(
        f"lowerUTF8(toString({name})) IN {{accounts:Array(String)}}"
        for name in ("actor_id", "actor_name", "actor_email")
    )
    return f"(src_ip IN {{addresses:Array(IPv6)}} OR {SUBNET_SQL} IN {{ranges:Array(String)}} OR {spelt})"


def _mapped(address: str) -> str:
    return address if ":" in address else f"::ffff:{address}"


# --- what people did about it -------------------------------------------------------------------------------------------


def _acts(engine: Engine, case: Case, alerts: Sequence[Alert], concerned: About, start: int, now_us: int) -> list[Line]:
    """Our own records about the case, its alerts, and blocks and orders of whom it is about."""
    uids = [alert.uid for alert in alerts]
    parameters: dict[str, Any] = {
        "own": OWN_SOURCE, "alerts_source": ALERTS_SOURCE, "acts": list(ACTS), "alerts": uids, "case": str(case.number),
        "from": start, "to": now_us,
        "values": [each.casefold() for _, each in concerned.pairs],
    }  # fmt: skip
    in_time = (
        "time >= fromUnixTimestamp64Micro({from:Int64}, 'UTC') AND time <= fromUnixTimestamp64Micro({to:Int64}, 'UTC')"
    )
    records = _own(
        engine,
        f"{in_time} AND ((source = {{alerts_source:String}} AND action = 'alert.create' "
        "AND target_id IN {alerts:Array(String)}) OR (source = {own:String} AND action IN {acts:Array(String)} AND ("
        "(target_type = 'case' AND target_id = {case:String}) OR (target_type = 'alert' AND target_id IN {alerts:Array(String)}) "
        "OR (target_type != 'case' AND JSONExtractString(record, 'metadata', 'alert') IN {alerts:Array(String)}) "
        "OR (target_type NOT IN ('case', 'alert') AND lowerUTF8(target_id) IN {values:Array(String)}))))",
        parameters,
    )
    orders = [str(each.metadata.get("order", "")) for each in records if each.action == "sessions.end"]
    if orders:  # who carries orders out names the order only
        records += _own(
            engine,
            f"{in_time} AND source = {{own:String}} AND action IN {{answers:Array(String)}} "
            "AND JSONExtractString(record, 'metadata', 'order') IN {orders:Array(String)}",
            parameters | {"orders": orders, "answers": list(ANSWERS)},
        )
    by_uid = {alert.uid: alert for alert in alerts}
    return _gathered([_act(record, by_uid) for record in records], by_uid)


def _gathered(lines: Sequence[Line], alerts: Mapping[str, Alert]) -> list[Line]:
    """Alerts that began together as one line, the gravest of them; and what somebody did to several alerts at once."""
    groups: dict[tuple[str, ...], list[list[Line]]] = {}
    rest: list[Line] = []
    for line in sorted(lines, key=lambda each: (each.at_us, each.index)):
        if line.kind != "alert" and line.action != "alert.handle":
            rest.append(line)
            continue
        # What was done stands before the title of what it was done to.
        key = (line.kind, *line.who, line.text.partition(" “")[0] if line.kind == "act" else "")
        span_us = _ALERTS_US if line.kind == "alert" else _AT_ONCE_US
        open_ = groups.setdefault(key, [])
        if open_ and line.at_us - open_[-1][0].at_us <= span_us:
            open_[-1].append(line)
        else:
            open_.append([line])
    return [*rest, *(_as_one(same, alerts) for every in groups.values() for same in every)]


def _as_one(same: Sequence[Line], alerts: Mapping[str, Alert]) -> Line:
    if len(same) == 1:
        return same[0]
    first = max(same, key=lambda each: alerts[each.alert].severity_id if each.alert in alerts else 0)
    what = first.text.partition(" “")[0]
    is_alert = first.kind == "alert"
    return replace(
        first, at_us=same[0].at_us, until_us=same[-1].until_us, count=len(same),
        text=f"{first.text} and {len(same) - 1} more" if is_alert else f"{what}: {len(same)} alerts of this case",
        also=tuple(each.alert for each in same if each.alert and each.alert != first.alert),
        indexes=tuple(index for each in same for index in each.indexes),
    )  # fmt: skip


class _Own(NamedTuple):
    """One of our own records. `who`: as people are shown; `actor_id`: as alerts call who did something."""

    at_index: int
    us: int
    action: str
    outcome: str
    who: str
    actor_id: str
    target_type: str
    target_id: str
    target_name: str
    reason: str
    source: str
    record: str

    @property
    def metadata(self) -> dict[str, Any]:
        found = _decoded(self.record).get("metadata")
        return found if isinstance(found, dict) else {}


def _own(engine: Engine, where: str, parameters: Mapping[str, Any]) -> list[_Own]:
    rows = engine.query(
        "SELECT `index`, toUnixTimestamp64Micro(time), toString(action), toString(outcome), "
        f"if(actor_type = 'user', toString(actor_id), {_WHO}), toString(actor_id), toString(target_type), target_id, "
        f"target_name, reason, toString(source), record FROM events WHERE {where} "
        f"ORDER BY time, `index` LIMIT {CASE_GROUPS_MAX}",
        parameters,
    ).rows
    return [_Own(int(row[0]), int(row[1]), *map(str, row[2:])) for row in rows]


def _act(own: _Own, alerts: Mapping[str, Alert]) -> Line:
    metadata = own.metadata
    alert = alerts.get(own.target_id) or alerts.get(str(metadata.get("alert", "")))
    is_alert = own.source == ALERTS_SOURCE
    words = act_words(
        own.action, own.outcome, own.target_id, own.target_name, own.reason, metadata, sealed=sealed_words(own.record),
        alert=alert, at_ns=own.us * 1_000, by=own.actor_id,
    )  # fmt: skip
    return Line(
        at_us=own.us, until_us=own.us, kind="alert" if is_alert else "act", index=own.at_index, text=words,
        action=own.action, outcome=own.outcome, source=own.source, who=() if is_alert else _filled([own.who]),
        targets=_filled([own.target_name or own.target_id]), target_type=own.target_type, weight=_ACT,
        phase=phase_of(alert.tags) if is_alert and alert else "", alert=alert.uid if alert else "", indexes=(own.at_index,),
    )  # fmt: skip


def sealed_words(record: str) -> str:
    """What somebody wrote, in a record of a case: a note, a reason; `(erased)` where its key is gone, "" for none."""
    targets = _decoded(record).get("targets")
    for each in targets if isinstance(targets, list) else ():
        if isinstance(each, dict) and each.get("type") == "case_words":
            words = each.get("id")
            return words if isinstance(words, str) else "(erased)"
    return ""


def _decoded(record: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(record)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
