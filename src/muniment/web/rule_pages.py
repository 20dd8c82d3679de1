"""Rules: which there are and which run, what feeds them, what they cover of ATT&CK, and one rule with its back-test.

Coverage that is only on paper looks different: a rule that no source sends events for cannot fire, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, RejectedError
from muniment.limits import PAGE_RULES_MAX
from muniment.web.address import Address
from muniment.web.alert_cards import rule_url, seen, url
from muniment.web.alert_words import control_words, paragraphs
from muniment.web.backend import Viewer, Wanted
from muniment.web.fields import ROW_COLUMNS
from muniment.web.query_text import quoted
from muniment.web.refused import Refused as RefusedForm
from muniment.web.refused import refused
from muniment.web.rows import Row, rows, time_ns
from muniment.web.rule_answers import BackTest, Coverage, Covered, Evaluated, Exemption, OneRule, Refused, Rule
from muniment.web.security import SecurityBackend
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text, span_text

__all__ = ["RulePages"]

_ROWS = 12
_FIRST = 50
"""Rules that a page shows at once: those that alert and the severest come first."""
_DAY_S = 86_400
_BARS = 60
_ORDER = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_SHOWN = (
    ("", "Alerting"), ("paper", "Without a source"), ("off", "Off or paused"), ("parts", "Parts of others"), ("all", "All"),
)  # fmt: skip
_DONE = {
    "rule.enable": "switched it on", "rule.disable": "switched it off", "rule.backtest": "ran it over history",
    "rule.exempt": "made an exception", "rule.exempt_end": "ended an exception", "rule.pause": "paused it",
}  # fmt: skip
KINDS = {
    "rule": "one event", "event_count": "many events", "value_count": "many different values", "temporal": "several together",
    "temporal_ordered": "several in order", "first_seen": "first time", "rare": "rare", "volume": "unusual amount",
    "dormant": "back after long", "off_hours": "unusual hour", "impossible_travel": "impossible travel",
    "look_alike": "look-alike domain", "risk": "risk adds up",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RulesView:
    """All rules; `shown` those that match the filter, without `n_more` that are behind a link."""

    shown: tuple[Rule, ...]
    n_more: int
    more_url: str
    kinds: dict[str, str]
    n_on: int
    n_all: int
    n_paper: int
    tabs: tuple[tuple[str, int, str, bool], ...]
    show: str
    refused: tuple[Refused, ...]
    n_refused: int
    evaluated: Evaluated
    seen: str
    counted: str
    q: str
    exemptions: tuple[tuple[Exemption, str, str], ...]
    fed_at: str = ""


@dataclass(frozen=True, slots=True)
class Tactic:
    """A column of the matrix: what is watched for under a tactic."""

    name: str
    techniques: tuple[tuple[Covered, str], ...]
    n_fed: int


@dataclass(frozen=True, slots=True)
class MatrixView:
    """ATT&CK by tactic."""

    tactics: tuple[Tactic, ...]
    coverage: Coverage
    others: tuple[tuple[Covered, str], ...]
    n_fed: int
    n_tactics: int
    fed_at: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody did with a rule: a record of the ledger."""

    who: str
    words: str
    reason: str
    when: str
    url: str


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule: what it says, what feeds it, how it does, a back-test, its switch, what it overlooks, its text."""

    rule: Rule
    one: OneRule
    kind: str
    paragraphs: tuple[str, ...]
    controls: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    used_by: tuple[tuple[str, str], ...]
    share: str
    budget: str
    last_alert: str
    counted: str
    alerts_url: str
    back_test: BackTest | None
    bars: tuple[tuple[str, int, int], ...]
    rows: tuple[Row, ...]
    exemptions: tuple[tuple[Exemption, str], ...]
    history: tuple[Done, ...]
    start: str
    may_change: bool
    problem: str
    seen: str
    fed_at: str
    refused: RefusedForm | None = None


class RulePages:
    """The pages."""

    def __init__(self, site: Site, backend: SecurityBackend) -> None:
        self._site = site
        self._backend = backend

    async def rules(self, request: Request, viewer: Viewer) -> Response:
        """All rules, and those that cannot be run."""
        found = await self._backend.rules(viewer)
        look, now = self._site.look(request), self._site.backend.now_ns()
        titles = {rule.key: rule.title for rule in found.rules}
        exemptions = [
            (each, titles.get(each.rule, "every rule"), _until(each.expires_at, now))
            for each in await self._backend.exemptions(viewer)
            if each.is_active
        ]
        q = request.query_params.get("q", "").strip()[:200]
        show = request.query_params.get("show", "")
        show = show if show in {name for name, _ in _SHOWN} else ""
        matching = [rule for rule in found.rules if _holds(rule, q.lower().split())]
        shown = [rule for rule in matching if _is_shown(rule, show)]
        shown.sort(key=lambda rule: (-rule.alerts, _ORDER.get(rule.level, 4), rule.title))
        tabs = tuple(
            (words, sum(_is_shown(rule, name) for rule in matching), url("/rules", q=q, show=name), name == show)
            for name, words in _SHOWN
        )
        n_shown = PAGE_RULES_MAX if "more" in request.query_params else _FIRST
        view = RulesView(
            tuple(shown[:n_shown]), len(shown[n_shown:PAGE_RULES_MAX]), url("/rules", q=q, show=show, more="1"), KINDS, sum(rule.is_on for rule in found.rules), len(found.rules),
            sum(_is_shown(rule, "paper") for rule in found.rules), tabs, show, tuple(found.refused[:200]), len(found.refused),
            found.evaluated, seen(found.evaluated, look.zone), _counted(found.counted_since_us, now, look.zone), q,
            tuple(exemptions), clock_text(found.fed_at, look.zone, "second"),
        )  # fmt: skip
        shell = self._site.shell(request, "Rules", "rules", json_url="/api/v1/rules")
        return self._site.render("rules.html", shell, view)

    async def matrix(self, request: Request, viewer: Viewer) -> Response:
        """What running rules cover of ATT&CK, and what of that is fed."""
        found = await self._backend.coverage(viewer)
        listed = [(each, url("/rules", q=each.id, show="all")) for each in found.techniques]
        tactics = []
        for tag, name in found.tactics.items():
            mine = tuple((each, link) for each, link in listed if tag in each.tactics)
            tactics.append(Tactic(name, mine, sum(bool(each.fed) for each, _ in mine)))
        view = MatrixView(
            tuple(tactics), found, tuple((each, link) for each, link in listed if not each.tactics),
            sum(bool(each.fed) for each in found.techniques), sum(bool(tactic.n_fed) for tactic in tactics),
            clock_text(found.fed_at, self._site.look(request).zone, "second"),
        )  # fmt: skip
        shell = self._site.shell(request, "ATT&CK coverage", "rules", json_url="/api/v1/rules/coverage")
        return self._site.render("matrix.html", shell, view)

    async def rule(self, request: Request, viewer: Viewer) -> Response:
        """One rule; with `since` its back-test."""
        return await self._rule(request, viewer, request.query_params.get("rule", ""))

    async def _rule(
        self, request: Request, viewer: Viewer, key: str, told: RefusedForm | None = None, status: int = 200
    ) -> Response:
        one = await self._backend.rule(viewer, key)
        rule = one.rule
        since = request.query_params.get("since", "")
        tested: BackTest | None = None
        problem = ""
        if since:
            try:
                tested = await self._backend.back_test(viewer, key, since)
            except AuditError as error:
                problem = str(error)
        look, now = self._site.look(request), self._site.backend.now_ns()
        exemptions = [each for each in await self._backend.exemptions(viewer) if each.rule in {"", key}]
        view = RuleView(
            rule=rule, one=one, kind=KINDS.get(rule.kind, rule.kind), paragraphs=paragraphs(rule.description),
            controls=tuple(control_words(tag) for tag in rule.tags if not tag.startswith("attack.")),
            parts=_linked(one, rule.rules), used_by=_linked(one, rule.used_by), share=_share(rule.spent_s / _DAY_S),
            budget=_share(one.budget_share), last_alert=ago(one.last_alert_us * 1_000, now) if one.last_alert_us else "never",
            counted=_counted(one.counted_since_us, now, look.zone), alerts_url=url("/alerts", state="all", rule=key), back_test=tested, bars=_bars(tested),
            rows=await self._rows(viewer, request, tested), exemptions=tuple((each, _until(each.expires_at, now)) for each in exemptions),
            history=await self._history(viewer, key), start=since or "-90d",
            may_change="rules" in viewer.permissions, problem=problem, seen=seen(one.evaluated, look.zone, is_one=True),
            fed_at=clock_text(one.fed_at, look.zone, "second"),
            refused=told,
        )  # fmt: skip
        shell = self._site.shell(request, rule.title, "rules", json_url=url("/api/v1/rules/one", rule=key))
        return self._site.render("rule.html", shell, view, status)

    async def _rows(self, viewer: Viewer, request: Request, tested: BackTest | None) -> tuple[Row, ...]:
        """The newest hits of a back-test, as events."""
        if tested is None or not tested.indexes:
            return ()
        page = await self._site.backend.search(
            viewer, Wanted(f"index:({' OR '.join(map(str, tested.indexes[-_ROWS:]))})"), limit=_ROWS, cursor=None,
            order="desc", columns=ROW_COLUMNS,
        )  # fmt: skip
        return tuple(rows(page.rows, Address(when="all"), self._site.look(request).zone))

    async def _history(self, viewer: Viewer, key: str) -> tuple[Done, ...]:
        """What people did with it: records of the ledger, so each has its proof."""
        page = await self._site.backend.search(
            viewer, Wanted(f"source:muniment target_id:{quoted(key)} action:rule.* -action:rule.view"), limit=8, cursor=None,
            order="desc", columns=["index", "time", "actor_name", "actor_id", "action", "reason"],
        )  # fmt: skip
        now = self._site.backend.now_ns()
        return tuple(
            Done(
                str(row["actor_name"] or row["actor_id"]), _DONE.get(str(row["action"]), str(row["action"])), str(row["reason"] or ""),
                ago(time_ns(row["time"]), now), f"/events/{row['index']}",
            )
            for row in page.rows
        )  # fmt: skip

    async def switch(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Run a rule, or do not."""
        rule = fields.get("rule", "")
        try:
            await self._backend.switch(viewer, rule, fields.get("on") == "1", fields.get("reason", ""))
        except RejectedError as error:
            return await self._rule(request, viewer, rule, refused("switch", error, fields), error.status)
        return redirect(rule_url(rule))

    async def exempt(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Let a rule overlook some events."""
        rule, days = fields.get("rule", ""), fields.get("days", "30").strip()
        try:
            await self._backend.exempt(
                viewer, rule, fields.get("query", ""), fields.get("reason", ""),
                int(days) if days.isdecimal() and len(days) < 5 else 0,
            )  # fmt: skip
        except RejectedError as error:
            return await self._rule(request, viewer, rule, refused("exempt", error, fields), error.status)
        return redirect(rule_url(rule))

    async def end_exemption(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End an exception; one that is over says so where the exceptions are."""
        rule, number = fields.get("rule", ""), fields.get("number", "")
        try:
            if not number.isdecimal() or len(number) > 12:
                raise RejectedError("there is no such exception", status=404)
            await self._backend.end_exemption(viewer, int(number))
        except RejectedError as error:
            told = refused("end", RejectedError(error.reason), fields)
            return await self._rule(request, viewer, rule, told, error.status)
        return redirect(rule_url(rule))


def _holds(rule: Rule, words: Sequence[str]) -> bool:
    text = " ".join(
        (rule.title, rule.file, rule.author, rule.level, *rule.tags, *rule.logsource.values(), *rule.sources,
         *(each.name for each in rule.techniques), KINDS.get(rule.kind, rule.kind))
    ).lower()  # fmt: skip
    return all(word in text for word in words)


def _is_shown(rule: Rule, show: str) -> bool:
    match show:
        case "all":
            return True
        case "off":
            return not rule.is_on
        case "paper":
            return rule.is_on and not rule.sources
        case "parts":
            return rule.is_silent
    return not rule.is_silent


def _linked(one: OneRule, keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((one.names.get(key, key), rule_url(key)) for key in keys)


def _bars(tested: BackTest | None) -> tuple[tuple[str, int, int], ...]:
    if tested is None:
        return ()
    most = max(tested.by_day.values(), default=1)
    return tuple((day, n, max(1, n * 100 // most)) for day, n in sorted(tested.by_day.items()))[-_BARS:]


def _share(share: float) -> str:
    """A part of the time, so that small ones are still a number."""
    if not share:
        return "0 %"
    return (
        "less than 0.01 %" if 0 < share < 0.0001 else f"{share * 100:.2f} %" if share < 0.01 else f"{share * 100:.0f} %"
    )


def _counted(since_us: int, now_ns: int, zone: tzinfo) -> str:
    """Since when matches are counted, where that is not thirty days yet."""
    if not since_us:
        return "not counted yet"
    if now_ns // 1_000 - since_us >= 30 * _DAY_S * 1_000_000:
        return ""
    return f"counted since {clock_text(since_us * 1_000, zone, 'minute')}"


def _until(at_ns: int, now_ns: int) -> str:
    return f"{span_text(at_ns - now_ns)} left" if at_ns > now_ns else "over"
