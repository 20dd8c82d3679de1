"""A case as people decide it: its alerts, state, verdict and owner; notes and marks. Pure.

What happened is none of it: the timeline is worked out from the log (`timeline`). States run open, contained, closed, and back;
who closes says what it was, in OCSF's words for a verdict, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from muniment.errors import RejectedError
from muniment.sources.ocsf_schema import verdict_names

__all__ = ["MARKS", "STATES", "Case", "Mark", "Note", "Subject", "check_change", "verdicts"]

STATES: Final = ("open", "contained", "closed")
MARKS: Final = ("pinned", "left_out", "drafted")
"""Of an event: in the timeline whatever the draft says; out of it; as the draft says."""
_NO_VERDICT: Final = {"unknown", "other"}


def verdicts() -> Mapping[str, str]:
    """What a closed case may be found to be, as OCSF's Incident Finding calls it.

    >>> verdicts()["false_positive"], "unknown" in verdicts()
    ('False Positive', False)
    """
    return {name: caption for name, (_, caption) in verdict_names().items() if name not in _NO_VERDICT}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a case needs to know of an alert when it takes it in."""

    uid: str
    title: str
    level: str
    drill: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Times in UTC nanoseconds, 0: never. `version` grows with every change of state or owner.

    `level` is that of the gravest of its alerts, `drill` that of the first; `alerts` in the order they were added.
    """

    number: int
    title: str
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
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody wrote."""

    at: int
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What somebody decided about one event of the timeline: pinned or left out, and why."""

    index: int
    mark: str
    by: str
    at: int
    reason: str


def check_change(state: str, verdict: str, reason: str) -> None:
    """Raises RejectedError: no such state, a verdict where none belongs or none where one does, or no reason."""
    if state not in STATES:
        raise RejectedError(f"must be one of {', '.join(STATES)}, got {state!r}", field="state")
    if state != "closed":
        if verdict:
            raise RejectedError("only a closed case has a verdict", field="verdict")
        return
    if verdict not in verdicts():
        raise RejectedError(f"say what it was: {', '.join(verdicts())}", field="verdict")
    if not reason.strip():
        raise RejectedError("say why: the next reader will ask", field="reason")
