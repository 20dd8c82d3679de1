"""What the operations of cases take and answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from muniment.api.search_operations import HorizonAnswer
from muniment.cases.about import About
from muniment.cases.case import Case
from muniment.cases.gaps import Gap
from muniment.cases.lines import Line, words
from muniment.detect.alerts import Alert
from muniment.limits import CASE_NOTE_CHARS_MAX

__all__ = [
    "Called",
    "CaseAlertBody",
    "CaseAnswer",
    "CaseGapAnswer",
    "CaseLineAnswer",
    "CaseListAnswer",
    "CaseMarkBody",
    "CaseNoteAnswer",
    "CaseNoteBody",
    "CaseOpenAnswer",
    "CaseOwnerBody",
    "CaseParams",
    "CaseStateBody",
    "CaseViewAnswer",
    "alert_answer",
    "case_answer",
    "gap_answer",
    "line_answer",
]  # fmt: skip

AlertText = Annotated[str, Meta(min_length=1, max_length=64, description="An alert's id, or the beginning of it")]
ReasonText = Annotated[str, Meta(max_length=1000, description="Sealed in the ledger, as notes are")]
VersionNumber = Annotated[
    int, Meta(ge=1, le=2**31, description="The one that was seen: a later change refuses this one")
]


class CaseParams(msgspec.Struct, frozen=True):
    state: Literal["", "active", "open", "contained", "closed"] = ""
    owner: Annotated[str, Meta(max_length=128, description="Whose it is; - for nobody's")] = ""
    kind: Annotated[Literal["", "address", "range", "account"], Meta(description="Of the value")] = ""
    value: Annotated[str, Meta(max_length=320, description="About this address, range or account")] = ""
    alert: Annotated[
        str, Meta(max_length=64, description="The case this alert is in, and open ones about the same")
    ] = ""


class CaseAlertBody(msgspec.Struct, frozen=True):
    alert: AlertText


class CaseStateBody(msgspec.Struct, frozen=True):
    state: Literal["open", "contained", "closed"]
    version: VersionNumber
    verdict: Annotated[str, Meta(max_length=32, examples=["true_positive", "false_positive", "benign"])] = ""
    reason: ReasonText = ""
    with_alerts: Annotated[bool, Meta(description="Its open alerts are done with, too: only where it is closed")] = (
        False
    )


class CaseOwnerBody(msgspec.Struct, frozen=True):
    version: VersionNumber
    owner: Annotated[str, Meta(max_length=128, description="Empty: nobody")] = ""


class CaseNoteBody(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=CASE_NOTE_CHARS_MAX)]


class CaseMarkBody(msgspec.Struct, frozen=True):
    index: Annotated[int, Meta(ge=0, le=2**53, description="The record; of a line its first")]
    mark: Literal["pinned", "left_out", "drafted"]
    reason: ReasonText = ""


class CaseEntityAnswer(msgspec.Struct, frozen=True):
    kind: str
    value: str


class CaseAlertAnswer(msgspec.Struct, frozen=True):
    """An alert of a case; `author` wrote its rule. Times in microseconds."""

    uid: str
    title: str
    author: str
    level: str
    state: str
    count: int
    first_us: int
    last_us: int


class CaseAnswer(msgspec.Struct, frozen=True):
    """One case. Times in nanoseconds, 0: never. `about`: what its alerts have in common; `sentence` says it in one."""

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
    about: list[CaseEntityAnswer]
    alerts: list[CaseAlertAnswer]


class CaseListAnswer(msgspec.Struct, frozen=True):
    """Cases, the newest change first; `by_state` counts all. `near`: open ones about what the alert is about."""

    cases: list[CaseAnswer]
    by_state: dict[str, int]
    near: list[CaseAnswer] = []


class CaseOpenAnswer(msgspec.Struct, frozen=True):
    """`is_new`: it was made just now; else it is the one that the alert is in already."""

    case: CaseAnswer
    is_new: bool


class CaseLineAnswer(msgspec.Struct, frozen=True):
    """One line: an event, or `count` alike. Times in microseconds; `index` is the first one's record, -1: there is none.

    `kind`: event, pinned, alert, act (of people, in Muniment) or notice. `text` says it; `n_who` and `n_targets` count all,
    `who` and `targets` name a few. `weight`: how telling it is, to 100. `phase`: the tactic of the alert that has it as
    evidence; `also`: further alerts that it is about.
    """

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


class CaseGapAnswer(msgspec.Struct, frozen=True):
    """A source was not heard for more than twice its rhythm. Times in microseconds; `is_open`: nothing has come since."""

    source: str
    from_us: int
    to_us: int
    rhythm_s: int
    is_open: bool


class CaseNoteAnswer(msgspec.Struct, frozen=True):
    at: int
    by: str
    text: str


class CaseViewAnswer(msgspec.Struct, frozen=True):
    """One case and its timeline, worked out from the log now: from `from_us` to `to_us`, `is_cut` where it goes on.

    `left_out`: lines that people took out; `n_untold`: lines there was no room for, with `n_untold_events` events. `sources`:
    whose events are in it; `without_rhythm`: those of them whose silence would not be noticed. `others`: open alerts about the same
    that are in no case.
    """

    case: CaseAnswer
    from_us: int
    to_us: int
    is_cut: bool
    lines: list[CaseLineAnswer]
    left_out: list[CaseLineAnswer]
    n_untold: int
    n_untold_events: int
    gaps: list[CaseGapAnswer]
    sources: list[str]
    without_rhythm: list[str]
    others: list[CaseAlertAnswer]
    notes: list[CaseNoteAnswer]
    horizon: HorizonAnswer


Called = Callable[[str], str]
"""Who did something, as people know them."""


def case_answer(case: Case, alerts: list[Alert], concerned: About, sentence: str, called: Called) -> CaseAnswer:
    """A case with what its alerts say."""
    values = {name: getattr(case, name) for name in Case.__dataclass_fields__ if name != "alerts"}
    values |= {name: called(values[name]) for name in ("owner", "opened_by", "changed_by")}
    return CaseAnswer(
        **values, sentence=sentence, about=[CaseEntityAnswer(*pair) for pair in concerned.pairs],
        alerts=list(map(alert_answer, alerts)),
    )  # fmt: skip


def alert_answer(a: Alert) -> CaseAlertAnswer:
    """An alert as a case names it."""
    return CaseAlertAnswer(a.uid, a.title, a.author, a.level, a.state, a.count, a.first_us, a.last_us)


def line_answer(line: Line, called: Called) -> CaseLineAnswer:
    """A line with its words."""
    return CaseLineAnswer(
        line.at_us, line.until_us, line.kind, line.index, line.count, words(line), line.action, line.outcome, line.source,
        list(line.who[:5]), len(line.who), list(line.targets[:5]), len(line.targets), line.target_type, line.address,
        line.country, line.place, line.detail, line.is_entry or line.is_refusal, line.weight, line.phase, line.alert, list(line.also), line.mark,
        called(line.mark_by), line.mark_at, line.mark_reason,
    )  # fmt: skip


def gap_answer(gap: Gap) -> CaseGapAnswer:
    """A gap."""
    return CaseGapAnswer(gap.source, gap.from_us, gap.to_us, gap.rhythm_s, gap.is_open)
