"""What the pages need to know of cases, as one promise. `app` fills it. Times of events are microseconds, others nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from muniment.web.backend import Horizon, Viewer

__all__ = ["About", "Case", "CaseAlert", "CaseView", "Cases", "CasesBackend", "Gap", "Line", "Note", "Opened"]


@dataclass(frozen=True, slots=True)
class About:
    """An address, range or account a case is about."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class CaseAlert:
    """An alert of a case; `author` wrote its rule."""

    uid: str
    title: str
    author: str
    level: str
    state: str
    count: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Case:
    """One case as people decided it."""

    number: int
    title: str
    sentence: str
    level: str
    drill: str
    state: str
    verdict: str
    reason: str
    owner: str
    opened_by: str
    opened_at: int
    changed_by: str
    changed_at: int
    closed_at: int
    version: int
    about: list[About] = field(default_factory=list)
    alerts: list[CaseAlert] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases, the newest change first; `near`: open ones about what an alert is about."""

    cases: list[Case]
    by_state: dict[str, int]
    near: list[Case] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Opened:
    """The case of an alert; `is_new`: made just now."""

    case: Case
    is_new: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline: an event, or `count` alike."""

    at_us: int
    until_us: int
    kind: str
    index: int
    count: int
    text: str
    action: str
    outcome: str
    source: str
    who: list[str]
    n_who: int
    targets: list[str]
    n_targets: int
    target_type: str
    address: str
    country: str
    place: str
    detail: str
    is_sign_in: bool
    weight: int
    phase: str
    alert: str
    also: list[str]
    mark: str
    mark_by: str
    mark_at: int
    mark_reason: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A source was not heard."""

    source: str
    from_us: int
    to_us: int
    rhythm_s: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody wrote."""

    at: int
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class CaseView:
    """One case with its timeline."""

    case: Case
    from_us: int
    to_us: int
    is_cut: bool
    lines: list[Line]
    left_out: list[Line]
    n_untold: int
    n_untold_events: int
    gaps: list[Gap]
    sources: list[str]
    without_rhythm: list[str]
    others: list[CaseAlert]
    notes: list[Note]
    horizon: Horizon


class CasesBackend(Protocol):
    """What these pages need; every method raises the errors of `muniment.errors`."""

    async def cases(
        self, viewer: Viewer, *, state: str = "", owner: str = "", kind: str = "", value: str = "", alert: str = ""
    ) -> Cases:
        """Cases of a state (`active`: not closed), of somebody, about something, or of an alert."""
        ...

    async def case(self, viewer: Viewer, number: int) -> CaseView:
        """One case."""
        ...

    async def open_case(self, viewer: Viewer, alert: str) -> Opened:
        """A case from an alert, or the one there is."""
        ...

    async def add_alert(self, viewer: Viewer, number: int, alert: str) -> Case:
        """Another alert in a case."""
        ...

    async def set_case_state(
        self, viewer: Viewer, number: int, *, state: str, verdict: str, reason: str, version: int, with_alerts: bool
    ) -> Case:
        """Contain, close or open again."""
        ...

    async def assign_case(self, viewer: Viewer, number: int, owner: str, version: int) -> Case:
        """Give it to somebody, or to nobody."""
        ...

    async def note_case(self, viewer: Viewer, number: int, text: str) -> Case:
        """Write something to it."""
        ...

    async def mark(self, viewer: Viewer, number: int, index: int, mark: str, reason: str) -> Case:
        """Pin an event, leave a line out, or leave it to the draft."""
        ...

    def verdicts(self) -> dict[str, str]:
        """What a closed case may have been, in words."""
        ...
