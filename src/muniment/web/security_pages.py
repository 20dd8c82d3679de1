"""Alerts, one alert, an entity, the preview of a block, blocks and rules: the analyst's path from a card to an effect.

Each step is one click and says what the next one will do. A block is only to be had from the page that shows what it
would have hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, DeniedError, RejectedError
from muniment.web.address import Address
from muniment.web.backend import Viewer, Wanted
from muniment.web.fields import ROW_COLUMNS
from muniment.web.order_pages import OrderRow, new_order_url, order_rows
from muniment.web.query_text import quoted
from muniment.web.rows import Row, rows
from muniment.web.security import (
    Alert,
    Allowed,
    BackTest,
    Block,
    Entity,
    Evaluated,
    Exemption,
    Fetch,
    Refused,
    Risk,
    Rule,
    SecurityBackend,
)
from muniment.web.site import Site, redirect
from muniment.web.times import absolute, ago, clock_text, span_text

__all__ = ["SecurityPages"]

_EVIDENCE_ROWS = 12
_ENTITY_ROWS = 15
_ENDABLE = 5
_GROUP_WORDS = {
    "src_ip": "address",
    "actor": "account",
    "actor_id": "account",
    "actor_name": "account",
    "dst_host": "host",
}
_ENTITY_KINDS = {"address", "range", "account", "key"}
_RISK_KINDS = {"actor": "account", "address": "address"}
_LEVELS = {"critical": 4, "high": 3, "medium": 2, "low": 1}
_HOURS = ((1, "1 hour"), (24, "24 hours"), (168, "7 days"), (720, "30 days"))


@dataclass(frozen=True, slots=True)
class Named:
    """A value with the page about it."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Card:
    """An alert in a list: what it is about, how much and how long, in one line."""

    alert: Alert
    url: str
    about: tuple[Named, ...]
    facts: str
    when: str
    clock: str
    state: str
    also: tuple[Named, ...] = ()  # weaker alerts about the same, from other rules


@dataclass(frozen=True, slots=True)
class AlertsView:
    """A list of alerts and how far the rules have seen."""

    cards: tuple[Card, ...]
    total: int
    tabs: tuple[tuple[str, str, bool], ...]
    levels: tuple[tuple[str, str, bool], ...]
    evaluated: Evaluated
    seen: str
    risks: tuple[tuple[Named, Risk], ...] = ()


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert: who and what, its events, what to do, the rule and its author."""

    card: Card
    groups: tuple[tuple[str, tuple[Named, ...]], ...]
    rows: tuple[Row, ...]
    search: str
    paragraphs: tuple[str, ...]
    techniques: tuple[Named, ...]
    tags: tuple[str, ...]
    blocks: tuple[Block, ...]
    related: tuple[Card, ...]
    rule_url: str
    may_handle: bool
    endings: tuple[OrderRow, ...] = ()
    ends: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class EntityView:
    """An address, account or key: what came from it, alerts about it, what is done about it."""

    entity: Entity
    word: str
    first: str
    last: str
    rows: tuple[Row, ...]
    search: str
    alerts: tuple[Card, ...]
    blocks: tuple[Block, ...]
    preview_url: str
    may_block: bool
    alert: str
    risk: Risk | None = None
    endings: tuple[OrderRow, ...] = ()
    end_url: str = ""


@dataclass(frozen=True, slots=True)
class PreviewView:
    """What a block would have hit, and the form that asks for it."""

    entity: Entity
    word: str
    reason: str
    alert: str
    hours: tuple[tuple[int, str], ...]
    first: str
    last_success: str
    back: str
    people: tuple[Named, ...]
    ends_sessions: bool = False


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block and its effect."""

    block: Block
    word: str
    state_words: str
    effect: str
    is_effective: bool
    since: str
    until: str
    fetches: tuple[tuple[Fetch, str], ...]
    feeds: tuple[tuple[str, str], ...]
    may_block: bool
    may_approve: bool
    entity_url: str
    search: str
    alert: Alert | None
    hits: Entity | None = None
    people: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class BlocksView:
    """All blocks, the allow-list and the feeds."""

    active: tuple[tuple[Block, str], ...]
    asked: tuple[tuple[Block, str], ...]
    ended: tuple[tuple[Block, str], ...]
    allowed: tuple[Allowed, ...]
    feeds: tuple[tuple[str, str], ...]
    fetches: tuple[tuple[Fetch, str], ...]
    may_block: bool


@dataclass(frozen=True, slots=True)
class RulesView:
    """All rules; `shown` those that match the filter."""

    shown: tuple[Rule, ...]
    n_on: int
    n_all: int
    refused: tuple[Refused, ...]
    techniques: tuple[tuple[str, int], ...]
    evaluated: Evaluated
    seen: str
    q: str
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule: what it says, a back-test, its switch, what it overlooks."""

    rule: Rule
    paragraphs: tuple[str, ...]
    techniques: tuple[Named, ...]
    back_test: BackTest | None
    bars: tuple[tuple[str, int, int], ...]
    rows: tuple[Row, ...]
    exemptions: tuple[tuple[Exemption, str], ...]
    start: str
    may_change: bool
    problem: str


class SecurityPages:
    """The pages."""

    def __init__(self, site: Site, backend: SecurityBackend) -> None:
        self._site = site
        self._backend = backend

    # --- alerts ---------------------------------------------------------------------------------------------------

    async def alerts(self, request: Request, viewer: Viewer) -> Response:
        """What rules found, the newest first."""
        state = request.query_params.get("state", "open")
        level = request.query_params.get("level", "")
        found = await self._backend.alerts(
            viewer, state="" if state == "all" else state, level=level, rule="", entity=""
        )
        look, now = self._site.look(request), self._site.backend.now_ns()
        risky = await self._backend.risk(viewer, entity="", limit=5)
        tabs = tuple(
            (words, _url("/alerts", state=name, level=level), name == state)
            for name, words in (
                ("open", "Open"),
                ("resolved", "Resolved"),
                ("suppressed", "Suppressed"),
                ("all", "All"),
            )
        )
        levels = tuple(
            (words, _url("/alerts", state=state, level=name), name == level)
            for name, words in (("", "Any level"), ("medium", "Medium and above"), ("high", "High and above"))
        )
        view = AlertsView(
            _folded([_card(alert, now, look.zone) for alert in found.alerts]), found.total, tabs, levels, found.evaluated,
            _seen(found.evaluated, look.zone),
            tuple((Named(each.value, _entity_url(_RISK_KINDS.get(each.kind, ""), each.value)), each) for each in risky.entities),
        )  # fmt: skip
        shell = self._site.shell(request, "Alerts", "alerts", json_url="/api/v1/alerts")
        return self._site.render("alerts.html", shell, view)

    async def alert(self, request: Request, viewer: Viewer) -> Response:
        """One alert with its events."""
        alert = await self._backend.alert(viewer, request.path_params["uid"])
        look, now = self._site.look(request), self._site.backend.now_ns()
        near = alert.evidence[-_EVIDENCE_ROWS:]
        page = await self._site.backend.search(
            viewer, Wanted(" OR ".join(f"index:{index}" for index in near)), limit=_EVIDENCE_ROWS, cursor=None,
            order="desc", columns=ROW_COLUMNS,
        )  # fmt: skip
        about = {
            value for values in (alert.values.get("addresses", []), alert.values.get("actors", [])) for value in values
        }
        related: list[Alert] = []
        for value in sorted(about)[:3]:
            found = await self._backend.alerts(viewer, state="", level="", rule="", entity=value)
            related += [each for each in found.alerts if each.uid != alert.uid and each not in related]
        blocks = [block for block in (await self._backend.blocks(viewer)).blocks if block.value in about]
        accounts = alert.values.get("actors", [])[:_ENDABLE]
        endings = (await self._backend.orders(viewer, accounts)).orders if accounts else ()
        may_end = "block" in viewer.permissions and self._backend.ends_sessions()
        address = Address(when="all")
        view = AlertView(
            card=_card(alert, now, look.zone),
            groups=tuple(
                (words, tuple(Named(value, _entity_url(kind, value, alert.uid)) for value in alert.values.get(name, [])[:12]))
                for name, words, kind in (
                    ("addresses", "Addresses", "address"), ("actors", "Accounts", "account"), ("hosts", "Hosts", ""),
                    ("targets", "Targets", ""), ("actions", "Actions", ""), ("sources", "Sources", ""),
                )
                if alert.values.get(name)
            ),
            rows=tuple(rows(page.rows, address, look.zone)),
            search=_search_of(alert),
            paragraphs=_paragraphs(alert.description),
            techniques=_techniques(alert.tags),
            tags=tuple(tag for tag in alert.tags if not tag.startswith("attack.")),
            blocks=tuple(blocks[:5]),
            related=tuple(_card(each, now, look.zone) for each in related[:6]),
            rule_url=_rule_url(alert.rule_id),
            may_handle="alerts" in viewer.permissions,
            endings=order_rows(endings[:5], now, look.zone),
            ends=tuple(Named(each, new_order_url(each, alert.uid)) for each in accounts if may_end),
        )  # fmt: skip
        shell = self._site.shell(
            request, alert.title, "alerts", json_url=f"/api/v1/alerts/{alert.uid}", horizon=page.horizon
        )
        return self._site.render("alert.html", shell, view)

    async def set_state(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take an alert up, or be done with it."""
        uid = request.path_params["uid"]
        await self._backend.set_state(viewer, uid, fields.get("state", ""), fields.get("reason", ""))
        return redirect(f"/alerts/{quote(uid)}")

    # --- entities and blocks --------------------------------------------------------------------------------------

    async def entity(self, request: Request, viewer: Viewer) -> Response:
        """What came from an address, an account or a key."""
        kind, value = request.path_params["kind"], request.query_params.get("v", "")
        if kind not in _ENTITY_KINDS:
            raise RejectedError("there is no such kind of thing", field="kind", status=404)
        found = await self._backend.entity(viewer, kind, value)
        look, now = self._site.look(request), self._site.backend.now_ns()
        alerts = await self._backend.alerts(viewer, state="", level="", rule="", entity=found.value)
        blocks = [
            b for b in (await self._backend.blocks(viewer)).blocks if (b.kind, b.value) == (found.kind, found.value)
        ]
        address = Address(q=_entity_query(found.kind, found.value), when="30d")
        page = await self._site.backend.search(
            viewer, Wanted(address.q, now - 30 * 86_400 * 10**9, None), limit=_ENTITY_ROWS, cursor=None, order="desc",
            columns=ROW_COLUMNS,
        )  # fmt: skip
        alert = request.query_params.get("alert", "")
        risky = await self._backend.risk(viewer, entity=found.value, limit=1)
        is_account = found.kind == "account"
        endings = (await self._backend.orders(viewer, [found.value])).orders if is_account else ()
        may_end = is_account and "block" in viewer.permissions and self._backend.ends_sessions()
        view = EntityView(
            found, found.kind, _clock(found.first_us, look.zone), _clock(found.last_us, look.zone),
            tuple(rows(page.rows, address, look.zone)), address.url(),
            tuple(_card(each, now, look.zone) for each in alerts.alerts[:8]), tuple(blocks),
            _url("/blocks/new", kind=found.kind, v=found.value, alert=alert), "block" in viewer.permissions, alert,
            risky.entities[0] if risky.entities else None, order_rows(endings[:5], now, look.zone),
            new_order_url(found.value, alert) if may_end else "",
        )  # fmt: skip
        json_url = f"/api/v1/entities/{found.kind}/{quote(found.value, safe='')}"
        shell = self._site.shell(request, found.value, "alerts", json_url=json_url, horizon=page.horizon)
        return self._site.render("entity.html", shell, view)

    async def preview(self, request: Request, viewer: Viewer) -> Response:
        """What a block would have hit, and the form that asks for it."""
        if "block" not in viewer.permissions:
            raise DeniedError("blocking needs the permission 'block'", permission="block")
        params = request.query_params
        found = await self._backend.preview(viewer, params.get("kind", "address"), params.get("v", "").strip())
        look = self._site.look(request)
        alert_id, reason = params.get("alert", ""), ""
        if alert_id:
            alert = await self._backend.alert(viewer, alert_id)
            reason = f"{alert.title}: {alert.count:,} events"
        view = PreviewView(
            found, found.kind, reason, alert_id, _HOURS, _clock(found.first_us, look.zone),
            _clock(found.last_success_us, look.zone), _entity_url(found.kind, found.value, alert_id),
            _people(found), found.kind == "account" and self._backend.ends_sessions(),
        )  # fmt: skip
        shell = self._site.shell(request, f"Block {found.value}?", "blocks")
        return self._site.render("block_preview.html", shell, view)

    async def block(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Block what the preview showed."""
        hours = fields.get("hours", "24")
        made = await self._backend.block(
            viewer, kind=fields.get("kind", ""), value=fields.get("value", ""), preview=fields.get("preview", ""),
            hours=int(hours) if hours.isdecimal() and len(hours) < 6 else 0, reason=fields.get("reason", ""),
            alert=fields.get("alert", ""), accounts=_number(fields.get("accounts", "")),
            end_sessions=fields.get("end_sessions") == "1",
        )  # fmt: skip
        return redirect(f"/blocks/{made.id}")

    async def one_block(self, request: Request, viewer: Viewer) -> Response:
        """One block and its effect."""
        block = await self._backend.one_block(viewer, request.path_params["id"])
        look, now = self._site.look(request), self._site.backend.now_ns()
        effect, is_effective = _effect(block, now, look.zone)
        alert = None
        if block.alert:
            try:
                alert = await self._backend.alert(viewer, block.alert)
            except AuditError:  # an alert so old that it is only an event now
                alert = None
        fetches = (await self._backend.blocks(viewer)).fetches
        may_approve = "block" in viewer.permissions and viewer.id != block.asked_by
        hits = await self._backend.block_hits(viewer, block.id) if block.state == "asked" and may_approve else None
        view = BlockView(
            block, block.kind, _state_words(block, now), effect, is_effective,
            clock_text(block.active_at or block.asked_at, look.zone, "second"),
            clock_text(block.expires_at, look.zone, "second"),
            tuple((each, ago(each.at, now)) for each in sorted(fetches, key=lambda each: -each.at)[:8]),
            tuple(self._backend.feeds().items()), "block" in viewer.permissions,
            may_approve, _entity_url(block.kind, block.value),
            Address(_entity_query(block.kind, block.value), absolute(block.active_at or block.asked_at, now)).url(), alert,
            hits, _people(hits) if hits else (),
        )  # fmt: skip
        is_open = block.state in {"active", "asked"}
        shell = self._site.shell(
            request,
            f"Block of {block.value}",
            "blocks",
            json_url=f"/api/v1/blocks/{block.id}",
            refresh_s=10 if is_open and hits is None else 0,  # who reads and types is not interrupted
        )
        return self._site.render("block.html", shell, view)

    async def blocks(self, request: Request, viewer: Viewer) -> Response:
        """All blocks, the allow-list and the feeds."""
        found, allowed = await self._backend.blocks(viewer), await self._backend.allowed(viewer)
        now = self._site.backend.now_ns()

        def of(states: Sequence[str]) -> tuple[tuple[Block, str], ...]:
            return tuple((b, _state_words(b, now)) for b in found.blocks if _state(b, now) in states)

        view = BlocksView(
            of(["active"]), of(["asked"]), of(["undone", "expired"])[:50], tuple(allowed),
            tuple(self._backend.feeds().items()),
            tuple((each, ago(each.at, now)) for each in sorted(found.fetches, key=lambda each: -each.at)[:12]),
            "block" in viewer.permissions,
        )  # fmt: skip
        shell = self._site.shell(request, "Blocks", "blocks", json_url="/api/v1/blocks")
        return self._site.render("blocks.html", shell, view)

    async def approve(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Agree to a block."""
        await self._backend.approve(viewer, request.path_params["id"], _number(fields.get("accounts", "")))
        return redirect(f"/blocks/{quote(request.path_params['id'])}")

    async def undo(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End a block."""
        await self._backend.undo(viewer, request.path_params["id"])
        return redirect(f"/blocks/{quote(request.path_params['id'])}")

    async def allow(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Put a network on the allow-list."""
        await self._backend.allow(viewer, fields.get("network", ""), fields.get("title", ""))
        return redirect("/blocks#allowed")

    async def disallow(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Take a network off the allow-list."""
        await self._backend.disallow(viewer, fields.get("network", ""))
        return redirect("/blocks#allowed")

    # --- rules ----------------------------------------------------------------------------------------------------

    async def rules(self, request: Request, viewer: Viewer) -> Response:
        """All rules, those that cannot be run, and what they cover."""
        found = await self._backend.rules(viewer)
        exemptions = [each for each in await self._backend.exemptions(viewer) if each.is_active]
        q = request.query_params.get("q", "").strip()[:200]
        words = q.lower().split()
        shown = [
            rule
            for rule in found.rules
            if all(
                word in f"{rule.title} {rule.file} {rule.author} {' '.join(rule.tags)} {rule.level}".lower()
                for word in words
            )
        ]
        order = {"critical": 0, "high": 1, "medium": 2, "low": 3}
        shown.sort(key=lambda rule: (-rule.alerts, order.get(rule.level, 4), rule.title))
        counts: dict[str, int] = {}
        for rule in found.rules:
            if rule.is_on:
                for tag in rule.tags:
                    if tag.startswith("attack.t"):
                        name = tag.removeprefix("attack.").upper()
                        counts[name] = counts.get(name, 0) + 1
        look = self._site.look(request)
        view = RulesView(
            tuple(shown[:300]), sum(rule.is_on for rule in found.rules), len(found.rules), tuple(found.refused[:200]),
            tuple(sorted(counts.items())), found.evaluated, _seen(found.evaluated, look.zone), q, tuple(exemptions),
        )  # fmt: skip
        shell = self._site.shell(request, "Rules", "rules", json_url="/api/v1/rules")
        return self._site.render("rules.html", shell, view)

    async def rule(self, request: Request, viewer: Viewer) -> Response:
        """One rule; with `since` its back-test."""
        key = request.query_params.get("rule", "")
        rule = next((each for each in (await self._backend.rules(viewer)).rules if each.key == key), None)
        if rule is None:
            raise RejectedError("there is no such rule", field="rule", status=404)
        since = request.query_params.get("since", "")
        tested: BackTest | None = None
        problem = ""
        if since:
            try:
                tested = await self._backend.back_test(viewer, key, since)
            except AuditError as error:
                problem = str(error)
        look, now = self._site.look(request), self._site.backend.now_ns()
        found: list[Row] = []
        if tested is not None and tested.indexes:
            page = await self._site.backend.search(
                viewer, Wanted(" OR ".join(f"index:{i}" for i in tested.indexes[-_EVIDENCE_ROWS:])), limit=_EVIDENCE_ROWS,
                cursor=None, order="desc", columns=ROW_COLUMNS,
            )  # fmt: skip
            found = rows(page.rows, Address(when="all"), look.zone)
        most = max(tested.by_day.values(), default=1) if tested else 1
        bars = tuple((day, n, max(1, n * 100 // most)) for day, n in sorted(tested.by_day.items())) if tested else ()
        exemptions = [each for each in await self._backend.exemptions(viewer) if each.rule in {"", key}]
        view = RuleView(
            rule, _paragraphs(rule.description), _techniques(rule.tags), tested, bars[-60:], tuple(found),
            tuple((each, _until(each.expires_at, now)) for each in exemptions), since or "-90d",
            "rules" in viewer.permissions, problem,
        )  # fmt: skip
        return self._site.render("rule.html", self._site.shell(request, rule.title, "rules"), view)

    async def switch(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Run a rule, or do not."""
        await self._backend.switch(viewer, fields.get("rule", ""), fields.get("on") == "1", fields.get("reason", ""))
        return redirect(_rule_url(fields.get("rule", "")))

    async def exempt(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Let a rule overlook some events."""
        days = fields.get("days", "30")
        await self._backend.exempt(
            viewer, fields.get("rule", ""), fields.get("query", ""), fields.get("reason", ""),
            int(days) if days.isdecimal() and len(days) < 5 else 0,
        )  # fmt: skip
        return redirect(_rule_url(fields.get("rule", "")))

    async def end_exemption(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End an exception."""
        number = fields.get("number", "")
        if not number.isdecimal() or len(number) > 12:
            raise RejectedError("there is no such exception", field="number", status=404)
        await self._backend.end_exemption(viewer, int(number))
        return redirect(_rule_url(fields.get("rule", "")))


# --- words ------------------------------------------------------------------------------------------------------------


def _folded(cards: Sequence[Card]) -> tuple[Card, ...]:
    """One card for what is open about the same address, account or other group: the gravest, with the others in it."""
    together: dict[tuple[object, ...], list[Card]] = {}
    for card in cards:
        alert = card.alert
        is_open = bool(alert.group) and alert.state in {"new", "in_progress"}
        key = (*sorted(alert.group.items()), alert.drill) if is_open else (alert.uid,)
        together.setdefault(key, []).append(card)
    found = []
    for same in together.values():
        first, *others = sorted(same, key=lambda card: _LEVELS.get(card.alert.level, 0), reverse=True)
        found.append(replace(first, also=tuple(Named(each.alert.title, each.url) for each in others)))
    return tuple(found)


def _url(path: str, **params: str) -> str:
    kept = {name: value for name, value in params.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


def _rule_url(key: str) -> str:
    return _url("/rules/one", rule=key)


def _entity_url(kind: str, value: str, alert: str = "") -> str:
    if kind in _ENTITY_KINDS:
        return _url(f"/entities/{kind}", v=value, alert=alert)
    return ""


def _entity_query(kind: str, value: str) -> str:
    if kind in {"address", "range"}:
        return f"ip:{quoted(value)} -source:muniment.alerts"
    return f"{'session_id' if kind == 'key' else 'actor'}:{quoted(value)} -source:muniment.alerts"


def _card(alert: Alert, now_ns: int, zone: tzinfo) -> Card:
    kinds = {
        "src_ip": "address",
        "actor": "account",
        "actor_id": "account",
        "actor_name": "account",
        "actor_email": "account",
    }
    about = tuple(
        Named(value, _entity_url(kinds.get(name, ""), value, alert.uid)) for name, value in alert.group.items()
    )
    facts = ["1 event" if alert.count == 1 else f"{alert.count:,} events"]
    for name, one, many in (
        ("actors", "account", "accounts"),
        ("addresses", "address", "addresses"),
        ("hosts", "host", "hosts"),
    ):
        n = len(alert.values.get(name, []))
        if n > 1:
            facts.append(f"{n}{'+' if n >= 50 else ''} {many if n > 1 else one}")
    if alert.last_us > alert.first_us:
        facts.append(span_text((alert.last_us - alert.first_us) * 1_000))
    return Card(
        alert, f"/alerts/{quote(alert.uid)}", about, ", ".join(facts), ago(alert.last_us * 1_000, now_ns),
        clock_text(alert.last_us * 1_000, zone, "second"), alert.state.replace("_", " "),
    )  # fmt: skip


def _seen(evaluated: Evaluated, zone: tzinfo) -> str:
    if not evaluated.to_time:
        return "Nothing has been evaluated yet"
    clock = clock_text(evaluated.to_time, zone, "second")
    return f"Evaluated to {clock} for {evaluated.n_fresh} of {evaluated.n_sources} sources"


def _search_of(alert: Alert) -> str:
    """All its events: what the group says, in its time."""
    names = {"actor": "actor", "actor_id": "actor_id", "actor_name": "actor_name", "src_ip": "src_ip"}
    parts = [f"{names.get(name, name)}:{quoted(value)}" for name, value in alert.group.items() if value]
    when = absolute(alert.first_us * 1_000, alert.last_us * 1_000 + 1_000_000)
    return Address(" ".join([*parts, "-source:muniment.alerts"]), when).url()


def _paragraphs(text: str) -> tuple[str, ...]:
    """A description in paragraphs; its lines that begin "What to do" are one of their own."""
    return tuple(filter(None, (each.strip() for each in text.replace("What to do:", "\n\nWhat to do:").split("\n\n"))))


def _techniques(tags: Sequence[str]) -> tuple[Named, ...]:
    names = [tag.removeprefix("attack.").upper() for tag in tags if tag.startswith("attack.t")]
    return tuple(Named(name, f"https://attack.mitre.org/techniques/{name.replace('.', '/')}/") for name in names)


def _clock(us: int, zone: tzinfo) -> str:
    return clock_text(us * 1_000, zone, "second") if us else "never"


def _people(found: Entity) -> tuple[Named, ...]:
    return tuple(Named(f"{each.value} ({each.count:,})", _entity_url("account", each.value)) for each in found.people)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _state(block: Block, now_ns: int) -> str:
    return "expired" if block.state in {"active", "asked"} and block.expires_at <= now_ns else block.state


def _until(at_ns: int, now_ns: int) -> str:
    return f"{span_text(at_ns - now_ns)} left" if at_ns > now_ns else "over"


def _state_words(block: Block, now_ns: int) -> str:
    match _state(block, now_ns):
        case "active":
            return f"Blocked, {span_text(block.expires_at - now_ns)} left"
        case "asked":
            return "Waits for a second person"
        case "undone":
            return f"Undone by {block.ended_by}"
    return "Over"


def _effect(block: Block, now_ns: int, zone: tzinfo) -> tuple[str, bool]:
    """What has come from there since, in a sentence, and whether that is good."""
    if not block.active_at:
        return "Not in force: nothing is refused yet.", False
    since = clock_text(block.active_at, zone, "second")
    seen = f" Seen to {clock_text(block.seen_to, zone, 'second')}." if block.seen_to else ""
    if not block.attempts_since and not block.taken_at:
        return (
            f"0 attempts since {since}, but nobody who refuses has heard of it yet: nothing is verified.{seen}",
            False,
        )
    if not block.attempts_since:
        return f"0 attempts since {since}: effect verified.{seen}", True
    last = clock_text(block.last_us * 1_000, zone, "second")
    n = "1 event" if block.attempts_since == 1 else f"{block.attempts_since:,} events"
    return f"{n} since {since}, the last at {last}. Does the system in front of it fetch the feed?", False
