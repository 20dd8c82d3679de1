"""The list of alerts and one alert: triage, by mouse or by keyboard, without a script too.

The gravest stand first, alerts about the same are one card, and what is picked is taken up or closed together, with a
reason. Each step is one click and says what the next one will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, RejectedError
from muniment.limits import PAGE_ALERTS_MAX, PAGE_CARDS
from muniment.web.address import Address
from muniment.web.alert_cards import (
    KINDS,
    Card,
    Named,
    as_listed,
    by_rule,
    card,
    entity_url,
    folded,
    rule_url,
    seen,
    url,
)
from muniment.web.alert_words import control_words, paragraphs
from muniment.web.backend import Viewer, Wanted
from muniment.web.block_words import BlockLine, block_lines, covering
from muniment.web.case_words import CaseLink, case_link
from muniment.web.chart import Chart, chart
from muniment.web.fields import ROW_COLUMNS
from muniment.web.order_pages import OrderRow, new_order_url, order_rows
from muniment.web.query_text import quoted
from muniment.web.refused import Refused, refused
from muniment.web.rows import Row, rows
from muniment.web.rule_answers import Evaluated, Technique
from muniment.web.security import Alert, CountedRule, Risk, SecurityBackend, Step
from muniment.web.site import Site, redirect
from muniment.web.times import absolute, ago, clock_text

__all__ = ["AlertPages"]

_EVIDENCE_ROWS = 12
_ENDABLE = 5
_NEAR = 3
_BLOCKABLE = 3
_BUCKETS = 48
_VALUES = 12
_RISK_KINDS = {"actor": "account", "address": "address"}
_STATES = (("open", "Open"), ("resolved", "Resolved"), ("suppressed", "False alarms"), ("all", "All"))
_LEVELS = (("", "Any level"), ("medium", "Medium and above"), ("high", "High and above"), ("critical", "Critical"))
_SORTS = (("gravest", "Gravest first"), ("newest", "Newest first"))
_GROUPS = (("", "By who, where"), ("rule", "By rule"), ("none", "Every alert"))
_DONE = {"in_progress": "taken up", "resolved": "resolved", "suppressed": "closed as false alarms", "new": "put back"}
_STEPS = {
    "new": "put it back", "in_progress": "took it up", "resolved": "resolved it", "suppressed": "called it a false alarm",
    "comment": "wrote",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of alerts shows."""

    state: str
    level: str
    rule: str
    source: str
    entity: str
    assignee: str
    q: str
    sort: str
    group: str

    @classmethod
    def of(cls, params: Mapping[str, str]) -> Filter:
        """From an address; what is not known is as if it were not there."""

        def one_of(name: str, known: Sequence[tuple[str, str]], usual: str = "") -> str:
            value = params.get(name, usual)
            return value if value in {each for each, _ in known} else usual

        return cls(
            one_of("state", _STATES, "open"), one_of("level", _LEVELS), params.get("rule", "")[:200],
            params.get("source", "")[:128], params.get("entity", "").strip()[:320], params.get("assignee", "")[:128],
            params.get("q", "").strip()[:200], one_of("sort", _SORTS, "gravest"), one_of("group", _GROUPS),
        )  # fmt: skip

    def url(self, **changed: str) -> str:
        """Its address, or that of another one."""
        params = {name: getattr(self, name) for name in self.__slots__} | changed
        usual = {"state": "open", "sort": "gravest"}
        return url("/alerts", **{name: value for name, value in params.items() if value != usual.get(name)})


@dataclass(frozen=True, slots=True)
class AlertsView:
    """A page of cards; how many there are of each kind; how far the rules have seen."""

    cards: tuple[Card, ...]
    total: int
    n_cards: int
    first: int
    filter: Filter
    tabs: tuple[tuple[str, int, str, bool], ...]
    mine: tuple[str, bool]
    levels: tuple[tuple[str, str], ...]
    sorts: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, str], ...]
    rules: tuple[CountedRule, ...]
    sources: tuple[tuple[str, int], ...]
    is_narrowed: bool
    earlier: str
    later: str
    left_out: int
    evaluated: Evaluated
    seen: str
    done: str
    back: str
    risks: tuple[tuple[Named, Risk], ...] = ()
    refused: Refused | None = None
    picked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert: who and what, did any succeed, its events, what to do, what was done, the rule and its author."""

    card: Card
    groups: tuple[tuple[str, tuple[Named, ...], int], ...]
    admitted_url: str
    admitted_clock: str
    rows: tuple[Row, ...]
    chart: Chart | None
    search: str
    q: str
    first: str
    last: str
    paragraphs: tuple[str, ...]
    techniques: tuple[Technique, ...]
    controls: tuple[str, ...]
    blocks: tuple[BlockLine, ...]
    related: tuple[Card, ...]
    n_related: int
    related_url: str
    steps: tuple[tuple[Step, str, str], ...]
    rule_url: str
    is_mine: bool
    may_handle: bool
    endings: tuple[OrderRow, ...]
    ends: tuple[Named, ...]
    previews: tuple[Named, ...]
    cases: tuple[CaseLink, ...] = ()
    near: tuple[CaseLink, ...] = ()
    refused: Refused | None = None


class AlertPages:
    """The pages."""

    def __init__(self, site: Site, backend: SecurityBackend) -> None:
        self._site = site
        self._backend = backend

    async def alerts(self, request: Request, viewer: Viewer) -> Response:
        """What rules found."""
        return await self._alerts(request, viewer, request.query_params)

    async def _alerts(
        self, request: Request, viewer: Viewer, params: Mapping[str, str], told: Refused | None = None, status: int = 200,
    ) -> Response:  # fmt: skip
        wanted = Filter.of(params)
        found = await self._backend.alerts(
            viewer, state="" if wanted.state == "all" else wanted.state, level=wanted.level, rule=wanted.rule,
            entity=wanted.entity, source=wanted.source, assignee=wanted.assignee, q=wanted.q, sort=wanted.sort,
            limit=PAGE_ALERTS_MAX,
        )  # fmt: skip
        look, now = self._site.look(request), self._site.backend.now_ns()
        cards = [card(alert, now, look.zone) for alert in found.alerts]
        cards = cards if wanted.group == "none" else folded(cards)
        cards = by_rule(cards) if wanted.group == "rule" else cards
        first = _number(params.get("from", ""), len(cards) - 1)
        page = cards[first : first + PAGE_CARDS]
        risky = await self._backend.risk(viewer, entity="", limit=5)
        counts = found.by_state
        numbers = {
            "open": counts.get("new", 0) + counts.get("in_progress", 0), "resolved": counts.get("resolved", 0),
            "suppressed": counts.get("suppressed", 0), "all": sum(counts.values()),
        }  # fmt: skip
        is_mine = wanted.assignee == viewer.id
        view = AlertsView(
            cards=tuple(page), total=found.total, n_cards=len(cards), first=first, filter=wanted,
            tabs=tuple((words, numbers[name], wanted.url(state=name), name == wanted.state) for name, words in _STATES),
            mine=(wanted.url(assignee="" if is_mine else viewer.id), is_mine),
            levels=_LEVELS, sorts=_SORTS, groups=_GROUPS, rules=tuple(found.by_rule),
            sources=tuple(sorted(found.by_source.items())),
            is_narrowed=any((wanted.level, wanted.rule, wanted.source, wanted.entity, wanted.assignee, wanted.q)),
            earlier=_page_url(wanted, max(0, first - PAGE_CARDS)) if first else "",
            later=_page_url(wanted, first + PAGE_CARDS) if first + PAGE_CARDS < len(cards) else "",
            left_out=found.total - len(found.alerts), evaluated=found.evaluated, seen=seen(found.evaluated, look.zone),
            done=_done(params), back=_page_url(wanted, first), refused=told, picked=frozenset(_picked(told.typed if told else {})),
            risks=tuple(
                (Named(each.value, entity_url(_RISK_KINDS.get(each.kind, ""), each.value)), each) for each in risky.entities
            ),
        )  # fmt: skip
        asked = {
            "state": "" if wanted.state == "all" else wanted.state, "level": wanted.level, "rule": wanted.rule,
            "source": wanted.source, "entity": wanted.entity, "assignee": wanted.assignee, "q": wanted.q, "sort": wanted.sort,
        }  # fmt: skip
        shell = self._site.shell(request, "Alerts", "alerts", json_url=url("/api/v1/alerts", **asked))
        return self._site.render("alerts.html", shell, view, status)

    async def set_states(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take up, or be done with, what was picked."""
        uids, state, back = _picked(fields), fields.get("state", ""), fields.get("back", "/alerts")
        path = back if back.startswith("/alerts") and "\\" not in back else "/alerts"
        try:
            if not uids:
                raise RejectedError("nothing is ticked: tick the alerts it is about", field="pick")
            n = await self._backend.set_states(viewer, uids, state, fields.get("reason", ""))
        except RejectedError as error:
            params = dict(parse_qsl(path.partition("?")[2]))
            return await self._alerts(request, viewer, params, refused("states", error, fields), error.status)
        return redirect(f"{path}{'&' if '?' in path else '?'}done={n}.{quote(state)}")

    async def alert(self, request: Request, viewer: Viewer) -> Response:
        """One alert with its events."""
        return await self._alert(request, viewer)

    async def _alert(
        self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200
    ) -> Response:
        alert = await self._backend.alert(viewer, request.path_params["uid"])
        look, now = self._site.look(request), self._site.backend.now_ns()
        near = alert.evidence[-_EVIDENCE_ROWS:]
        page = await self._site.backend.search(
            viewer, Wanted(f"index:({' OR '.join(map(str, near))})"), limit=_EVIDENCE_ROWS, cursor=None,
            order="desc", columns=ROW_COLUMNS,
        )  # fmt: skip
        about = list(dict.fromkeys((*alert.group.values(), *alert.values.get("addresses", []))))[:3]
        related: dict[str, Alert] = {}
        for value in about:
            found = await self._backend.alerts(viewer, entity=value, sort="newest", limit=50)
            related |= {each.uid: each for each in found.alerts if each.uid != alert.uid}
        addresses, actors = alert.values.get("addresses", []), alert.values.get("actors", [])
        named = [
            *(("address", each) for each in (*alert.group.values(), *addresses)),
            *(("range", each) for each in alert.group.values()),
            *(("account", each) for each in (*alert.group.values(), *actors)),
        ]
        every = block_lines((await self._backend.blocks(viewer)).blocks, "", "", now, look.zone)
        blocks = [line for line in every if any(covering([line], kind, value) for kind, value in named)]
        cards = folded([card(each, now, look.zone) for each in related.values()])
        # Who was let in comes first: theirs are the sessions to be ended.
        let_in = alert.admitted
        who = let_in.who if let_in and let_in.count else ()
        accounts = sorted(alert.values.get("actors", []), key=lambda each: each not in who)[:_ENDABLE]
        endable = [each for each in accounts if each in who] or accounts
        endings = (await self._backend.orders(viewer, accounts)).orders if accounts else ()
        may_block = "block" in viewer.permissions
        may_end = may_block and self._backend.ends_sessions()
        is_blocked = [line for line in blocks if line.is_open]
        blockable = _blockable(alert) if may_block else ()
        free = [(kind, each) for kind, each in blockable if not covering(is_blocked, kind, each)]
        inside = await self._backend.cases(viewer, alert=alert.uid)
        view = AlertView(
            cases=tuple(map(case_link, inside.cases)), near=tuple(map(case_link, inside.near[:_NEAR])),
            card=as_listed(alert, list(related.values()), now, look.zone), groups=_groups(alert),
            admitted_url=f"/events/{let_in.last_index}" if let_in and let_in.count else "",
            admitted_clock=clock_text(let_in.last_us * 1_000, look.zone, "second") if let_in and let_in.count else "",
            rows=tuple(rows(page.rows, Address(when="all"), look.zone)), chart=await self._chart(viewer, alert, look.zone),
            search=_address(alert).url(), q=_address(alert).q, first=clock_text(alert.first_us * 1_000, look.zone, "second"),
            last=clock_text(alert.last_us * 1_000, look.zone, "second"), paragraphs=paragraphs(alert.description),
            techniques=tuple(alert.techniques),
            controls=tuple(control_words(tag) for tag in alert.tags if not tag.startswith("attack.")),
            blocks=tuple(blocks[:5]), related=tuple(cards[:6]), n_related=len(related),
            related_url=url("/alerts", state="all", entity=about[0]) if about else "",
            steps=tuple((each, _STEPS.get(each.what, _assigned(each)), ago(each.at_ns, now)) for each in reversed(alert.steps)),
            rule_url=rule_url(alert.rule_id), is_mine=alert.assignee == viewer.id, may_handle="alerts" in viewer.permissions,
            endings=order_rows(endings[:5], now, look.zone),
            ends=tuple(Named(each, new_order_url(each, alert.uid)) for each in endable if may_end),
            previews=tuple(
                Named(each, url("/blocks/new", kind=kind, v=each, alert=alert.uid)) for kind, each in free[:_BLOCKABLE]
            ),
            refused=told,
        )  # fmt: skip
        shell = self._site.shell(
            request, alert.title, "alerts", json_url=f"/api/v1/alerts/{alert.uid}", horizon=page.horizon
        )
        return self._site.render("alert.html", shell, view, status)

    async def _chart(self, viewer: Viewer, alert: Alert, zone: tzinfo) -> Chart | None:
        """Everything from there around the alert, by outcome: what came before and after says as much as the burst."""
        span = max(600_000_000, alert.last_us - alert.first_us)
        start, end = (alert.first_us - span // 4) * 1_000, (alert.last_us + span // 4) * 1_000
        try:
            series = await self._site.backend.histogram(
                viewer, Wanted(_address(alert).q, start, end), buckets=_BUCKETS, by="outcome"
            )
        except AuditError:  # a group that no query can name
            return None
        found = chart(series, end, 0, zone)
        return found if found.total else None

    async def set_state(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take an alert up, or be done with it."""
        uid = request.path_params["uid"]
        try:
            await self._backend.set_state(viewer, uid, fields.get("state", ""), fields.get("reason", ""))
        except RejectedError as error:
            if error.status == 404:
                raise
            return await self._alert(request, viewer, refused("state", error, fields), error.status)
        return redirect(f"/alerts/{quote(uid)}")

    async def assign(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Make it one's own, or nobody's."""
        uid = request.path_params["uid"]
        await self._backend.assign(viewer, uid, viewer.id if fields.get("to") == "me" else "")
        return redirect(f"/alerts/{quote(uid)}")

    async def comment(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Write something to it."""
        uid = request.path_params["uid"]
        try:
            await self._backend.comment(viewer, uid, fields.get("text", ""))
        except RejectedError as error:
            if error.status == 404:
                raise
            return await self._alert(request, viewer, refused("comment", error, fields), error.status)
        return redirect(f"/alerts/{quote(uid)}#steps")


def _picked(fields: Mapping[str, str]) -> list[str]:
    """The alerts that were ticked."""
    return [uid for name, value in fields.items() if name.startswith("pick.") for uid in value.split()]


def _number(text: str, most: int) -> int:
    return min(int(text), max(0, most)) if text.isdecimal() and len(text) < 7 else 0


def _page_url(wanted: Filter, first: int) -> str:
    path = wanted.url()
    return f"{path}{'&' if '?' in path else '?'}from={first}" if first else path


def _done(params: Mapping[str, str]) -> str:
    """What the last click did: `3 alerts resolved`."""
    n, _, state = params.get("done", "").partition(".")
    if not n.isdecimal() or len(n) > 5 or state not in _DONE:
        return ""
    return f"{int(n):,} {'alert' if n == '1' else 'alerts'} {_DONE[state]}."


def _assigned(step: Step) -> str:
    return "gave it to" if step.text else "gave it back"


def _addresses(alert: Alert) -> list[str]:
    """The addresses it names, those with the most events first."""
    return sorted(alert.values.get("addresses", []), key=lambda each: -alert.address_counts.get(each, 0))


def _blockable(alert: Alert) -> list[tuple[str, str]]:
    """What of it can be blocked by its address: first the network it is about, which has all the others."""
    ranges = [("range", value) for name, value in alert.group.items() if KINDS.get(name) == "range"]
    return [*ranges, *(("address", each) for each in _addresses(alert))]


def _groups(alert: Alert) -> tuple[tuple[str, tuple[Named, ...], int], ...]:
    """Who and what is involved, each with how many more there are."""
    found = []
    for name, words, kind in (
        ("addresses", "Addresses", "address"), ("actors", "Accounts", "account"), ("hosts", "Hosts", ""),
        ("targets", "Targets", ""), ("actions", "Actions", ""), ("sources", "Sources", ""),
    ):  # fmt: skip
        values = _addresses(alert) if name == "addresses" else alert.values.get(name, [])
        if values:
            counts = alert.address_counts if name == "addresses" and len(values) > 1 else {}
            shown = tuple(
                Named(f"{value} ({counts[value]:,})" if value in counts else value, entity_url(kind, value, alert.uid))
                for value in values[:_VALUES]
            )
            found.append((words, shown, len(values) - len(shown)))
    return tuple(found)


def _address(alert: Alert) -> Address:
    """The search for what the alert is about, in its time."""
    names = {"src_ip": "ip", "address": "ip", "src_subnet": "ip"}
    parts = [f"{names.get(name, name)}:{quoted(value)}" for name, value in alert.group.items() if value]
    when = absolute(alert.first_us * 1_000, alert.last_us * 1_000 + 1_000_000)
    return Address(" ".join([*parts, "-source:muniment.alerts"]), when)
