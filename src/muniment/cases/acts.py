"""What people did about a case, in words: blocks, ended sessions, states and notes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from muniment.cases.case import verdicts
from muniment.detect.alerts import Alert

__all__ = ["ACTS", "ANSWERS", "act_words"]

ANSWERS: Final = ("order.answer", "order.fail", "order.dead")
ACTS: Final = (
    "block.create", "block.request", "block.approve", "block.undo", "block.expire", "sessions.end", "order.drop",
    "alert.handle", "alert.assign", "alert.comment", "notify.silence", "notify.fail",
    "case.open", "case.add", "case.state", "case.close", "case.assign", "case.note", "case.pin", "case.leave_out",
    "case.draft", "case.export",
)  # fmt: skip
"""Actions of our own records that stand in a timeline. Looks are recorded, too, and are no act."""

_STATES: Final = {
    "new": "put back", "in_progress": "took up", "resolved": "resolved", "suppressed": "called a false alarm",
}  # fmt: skip
_COMMENT_NS: Final = 5 * 10**9
"""The record of a comment is written this soon after it; its words stand in the alert."""


def act_words(
    action: str, outcome: str, target_id: str, target_name: str, reason: str, metadata: Mapping[str, Any],
    *, sealed: str, alert: Alert | None, at_ns: int, by: str,
) -> str:  # fmt: skip
    """What was done, without who and when.

    >>> act_words("block.create", "success", "203.0.113.7", "", "guessing", {"hours": 24}, sealed="",
    ...           alert=None, at_ns=0, by="ana")
    'blocked 203.0.113.7 for 24 hours: guessing'
    """
    told = _told(action, target_id, target_name, metadata, alert)
    why = sealed or reason or str(metadata.get("reason", ""))
    if action == "alert.comment" and alert is not None:
        why = _comment(alert, at_ns, by)
    if outcome == "failure" and action not in {*ANSWERS, "notify.silence", "notify.fail", "block.expire"}:
        told = f"tried and was refused: {told}"
    return f"{told}: {why}" if why else told


def _told(action: str, target_id: str, target_name: str, metadata: Mapping[str, Any], alert: Alert | None) -> str:
    title = alert.title if alert is not None else target_name
    match action:
        case "alert.create":
            return f"Alert: {title}"
        case "block.create":
            hours = metadata.get("hours")
            return f"blocked {target_id}" + (f" for {_hours(hours)}" if isinstance(hours, int) else "")
        case "block.request":
            return f"asked a second person to block {target_id}"
        case "block.approve":
            return f"agreed to block {target_id}"
        case "block.undo":
            return f"undid the block of {target_id}"
        case "block.expire":
            return f"the block of {target_id} is over"
        case "sessions.end":
            return f"asked for the end of {target_id}'s sessions"
        case "order.drop":
            return "the end of the sessions was dropped with its block"
        case "order.answer" | "order.fail" | "order.dead":
            said = str(metadata.get("answer") or metadata.get("reason") or "")
            what = {"order.answer": "took the order", "order.fail": "did not take the order", "order.dead": "gave up"}
            return f"{metadata.get('action', 'the receiver')} {what[action]}" + (f" ({said})" if said else "")
        case "alert.handle":
            return _STATES.get(str(metadata.get("state", "")), "changed") + f" “{title}”"
        case "alert.assign":
            to = str(metadata.get("assignee", ""))
            return f"gave the alert “{title}” to {to}" if to else f"gave the alert “{title}” back"
        case "alert.comment":
            return f"wrote to the alert “{title}”"
        case "notify.silence":
            return "nobody was notified: a silence covers it"
        case "notify.fail":
            return "a notice of it could not be put on its way"
    return _of_case(action, metadata, title)


def _of_case(action: str, metadata: Mapping[str, Any], title: str) -> str:
    match action:
        case "case.open":
            return f"opened the case from “{title}”"
        case "case.add":
            return f"added the alert “{title}”"
        case "case.close":
            verdict = str(metadata.get("verdict", ""))
            return f"closed the case as {verdicts().get(verdict, verdict).lower()}"
        case "case.state":
            is_open = metadata.get("state") == "open"
            return "opened the case again" if is_open else "said that it is contained"
        case "case.assign":
            owner = str(metadata.get("owner", ""))
            return f"the case is {owner}'s now" if owner else "gave the case back"
        case "case.note":
            return "noted"
        case "case.pin":
            return f"pinned record {metadata.get('index')}"
        case "case.leave_out":
            return f"took the line of record {metadata.get('index')} out"
        case "case.draft":
            return f"left record {metadata.get('index')} to the draft again"
        case "case.export":
            return f"took the evidence file, {metadata.get('results')} records"
    return action


def _hours(hours: int) -> str:
    return "1 hour" if hours == 1 else f"{hours:,} hours"


def _comment(alert: Alert, at_ns: int, by: str) -> str:
    """The words of a comment whose record was written at that time."""
    near = [
        step for step in alert.steps
        if step.what == "comment" and step.by.casefold() == by.casefold() and 0 <= at_ns - step.at_ns < _COMMENT_NS
    ]  # fmt: skip
    return near[-1].text if near else ""
