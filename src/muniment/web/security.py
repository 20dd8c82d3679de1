"""What the pages of detection and response need, as one promise beside `backend`. `app` fills it.

Every method that reads or changes is recorded by whoever fills it. Times of events are microseconds, others nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from muniment.web.backend import Viewer
from muniment.web.case_answers import Cases
from muniment.web.order_pages import Orders
from muniment.web.rule_answers import BackTest, Coverage, Evaluated, Exemption, OneRule, Rules, Technique

__all__ = [
    "Admitted",
    "Alert",
    "Alerts",
    "Allowed",
    "Block",
    "Blocks",
    "Counted",
    "CountedRule",
    "Entity",
    "Fetch",
    "Risk",
    "RiskPart",
    "Risks",
    "SecurityBackend",
    "Step",
]


@dataclass(frozen=True, slots=True)
class Step:
    """What a person did with an alert: a state, `assigned` or `comment`."""

    at_ns: int
    by: str
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """Logins that succeeded in an alert's time and the hour after: how many, whose, the last."""

    count: int
    who: list[str]
    last_us: int
    last_index: int


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `admitted` is None where nobody was refused at a login; `address_counts` is empty where nobody counted."""

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
    why: str = ""
    assignee: str = ""
    steps: list[Step] = field(default_factory=list)
    techniques: list[Technique] = field(default_factory=list)
    address_counts: dict[str, int] = field(default_factory=dict)
    admitted: Admitted | None = None


@dataclass(frozen=True, slots=True)
class CountedRule:
    """A rule and how many alerts it made."""

    rule: str
    title: str
    count: int


@dataclass(frozen=True, slots=True)
class RiskPart:
    """What one alert adds to a risk."""

    alert: str
    title: str
    author: str
    level: str
    points: float
    last_us: int


@dataclass(frozen=True, slots=True)
class Risk:
    """What alerts about one entity add up to."""

    kind: str
    value: str
    score: float
    rules: int
    tactics: list[str]
    parts: list[RiskPart]


@dataclass(frozen=True, slots=True)
class Risks:
    """The highest first."""

    entities: list[Risk]
    total: int


@dataclass(frozen=True, slots=True)
class Alerts:
    """Alerts; `total` matched. `by_*` count what matched in all but that respect."""

    alerts: list[Alert]
    total: int
    evaluated: Evaluated
    by_state: dict[str, int]
    by_level: dict[str, int]
    by_rule: list[CountedRule]
    by_source: dict[str, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """A value and how often."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """A network that is never blocked."""

    network: str
    title: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `asked_person`: whose session or key asked, "" for nobody in particular. `attempts_since` events came from it since it is active, counted to `seen_to`; `taken_at`: when somebody
    who refuses heard of it, 0 for never.
    """

    id: str
    kind: str
    value: str
    reason: str
    state: str
    asked_by: str
    asked_at: int
    approved_by: str
    active_at: int
    expires_at: int
    ended_by: str
    ended_at: int
    alert: str
    attempts_since: int
    last_us: int
    seen_to: int = 0
    taken_at: int = 0
    asked_person: str = ""


@dataclass(frozen=True, slots=True)
class Near:
    """An account whose name is easily taken for another's, its events in thirty days, and how it differs."""

    value: str
    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Entity:
    """What came from an address, account or key in thirty days. `preview`: the ticket for a block, where one was made.

    `blocks`: those of it that are or were, newest first; `related_blocks`: those open of what it was seen with.
    """

    kind: str
    value: str
    verdict: str
    events: int
    successes: int
    failures: int
    first_us: int
    last_us: int
    last_success_us: int
    people: list[Counted]
    n_people: int
    n_tried: int
    sources: list[Counted]
    actions: list[Counted]
    addresses: int
    offices: list[Allowed]
    needs_second_person: bool
    is_blocked: bool
    preview: str
    is_shared: bool = False
    countries: list[Counted] = field(default_factory=list)
    agents: list[Counted] = field(default_factory=list)
    hosts: list[Counted] = field(default_factory=list)
    origins: list[Counted] = field(default_factory=list)
    first_ever_us: int = 0
    blocks: list[Block] = field(default_factory=list)
    related_blocks: list[Block] = field(default_factory=list)
    refusal: str = ""
    near: list[Near] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Who fetched a feed last, and when."""

    feed: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Every block, newest first, and who fetches them."""

    blocks: list[Block]
    fetches: list[Fetch] = field(default_factory=list)


class SecurityBackend(Protocol):
    """Detection and response. Errors are those of `muniment.errors`."""

    async def alerts(
        self,
        viewer: Viewer,
        *,
        state: str = "",
        level: str = "",
        rule: str = "",
        entity: str = "",
        source: str = "",
        assignee: str = "",
        q: str = "",
        sort: str = "newest",
        limit: int = 100,
    ) -> Alerts:
        """Alerts of a state (`open`: new or in progress), of a level or above, of a rule, about an account, address or host,
        from a source, of somebody, with words; `sort`: newest or gravest.
        """
        ...

    async def risk(self, viewer: Viewer, *, entity: str, limit: int) -> Risks:
        """What alerts add up to, for all or one."""
        ...

    async def alert(self, viewer: Viewer, uid: str) -> Alert:
        """One alert."""
        ...

    async def set_state(self, viewer: Viewer, uid: str, state: str, reason: str) -> Alert:
        """Take it up, or be done with it."""
        ...

    async def set_states(self, viewer: Viewer, uids: Sequence[str], state: str, reason: str) -> int:
        """The same for several; how many."""
        ...

    async def assign(self, viewer: Viewer, uid: str, assignee: str) -> None:
        """Give it to somebody, or to nobody."""
        ...

    async def comment(self, viewer: Viewer, uid: str, text: str) -> None:
        """Write something to it."""
        ...

    async def rules(self, viewer: Viewer) -> Rules:
        """All rules."""
        ...

    async def rule(self, viewer: Viewer, rule: str) -> OneRule:
        """One rule with its text."""
        ...

    async def coverage(self, viewer: Viewer) -> Coverage:
        """Which techniques are watched for, and fed."""
        ...

    async def switch(self, viewer: Viewer, rule: str, is_on: bool, reason: str) -> None:
        """Run a rule, or do not."""
        ...

    async def back_test(self, viewer: Viewer, rule: str, start: str) -> BackTest:
        """What a rule would have found since `start`, an offset like `-90d`."""
        ...

    async def exemptions(self, viewer: Viewer) -> Sequence[Exemption]:
        """What rules overlook."""
        ...

    async def exempt(self, viewer: Viewer, rule: str, query: str, reason: str, days: int) -> None:
        """Let a rule overlook some events."""
        ...

    async def end_exemption(self, viewer: Viewer, number: int) -> None:
        """End an exception."""
        ...

    async def entity(self, viewer: Viewer, kind: str, value: str) -> Entity:
        """What came from there."""
        ...

    async def preview(self, viewer: Viewer, kind: str, value: str) -> Entity:
        """The same, with a ticket to block it."""
        ...

    async def block(
        self, viewer: Viewer, *, kind: str, value: str, preview: str, hours: int, reason: str, alert: str,
        accounts: int, end_sessions: bool,
    ) -> Block:  # fmt: skip
        """Block it, or ask a second person to agree; `accounts`: how many it hits, said where many share it."""
        ...

    async def block_hits(self, viewer: Viewer, id: str) -> Entity:
        """What a block hits now, for who must agree."""
        ...

    async def blocks(self, viewer: Viewer) -> Blocks:
        """Every block."""
        ...

    async def one_block(self, viewer: Viewer, id: str) -> Block:
        """One block and its effect."""
        ...

    async def approve(self, viewer: Viewer, id: str, accounts: int) -> None:
        """Agree to a block."""
        ...

    async def undo(self, viewer: Viewer, id: str) -> None:
        """End a block."""
        ...

    async def allowed(self, viewer: Viewer) -> Sequence[Allowed]:
        """Networks that are never blocked."""
        ...

    async def allow(self, viewer: Viewer, network: str, title: str) -> None:
        """Put a network on the allow-list."""
        ...

    async def disallow(self, viewer: Viewer, network: str) -> None:
        """Take a network off the allow-list."""
        ...

    def ends_sessions(self) -> bool:
        """Is somebody configured who ends sessions?"""
        ...

    async def orders(self, viewer: Viewer, accounts: Sequence[str]) -> Orders:
        """Requests to end sessions of these accounts."""
        ...

    async def cases(self, viewer: Viewer, *, alert: str = "", kind: str = "", value: str = "") -> Cases:
        """The case an alert is in and open ones about the same, or those about an address, range or account."""
        ...

    def feeds(self) -> Mapping[str, str]:
        """Names of the feeds and what each is."""
        ...
