"""Lines of a timeline: what happened, folded, the most telling kept; in words. Pure.

A line is one event, or several alike that follow each other: "214 failed sign-ins as 31 accounts" says more than 214 lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from muniment.limits import CASE_FOLD_S, CASE_LINE_EVENTS_MAX, CASE_VALUES_MAX

__all__ = ["FIRST_SUCCESS", "Line", "folded", "notices", "told_first", "with_first_success", "words"]

FIRST_SUCCESS: Final = 88
"""How telling it is that somebody succeeded to sign in from there for the first time."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `kind`: event (of a source), alert (a rule found something), act (of people, in Muniment), notice.

    `at_us` and `until_us`: the first and the last of its `count` events; `index` is the first one's, -1 where no record stands
    for it, `indexes` are at most CASE_LINE_EVENTS_MAX of them. `who` and `targets`: all, at most CASE_VALUES_MAX. `weight`: how
    telling it is. `phase`: the tactic of the alert that has it as evidence; `also`: further alerts that a line of several is about. `mark`: pinned or left_out, by a person.
    """

    at_us: int
    kind: str
    index: int
    text: str = ""
    until_us: int = 0
    count: int = 1
    action: str = ""
    outcome: str = ""
    type_uid: int = 0
    source: str = ""
    who: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    target_type: str = ""
    address: str = ""
    country: str = ""
    place: str = ""
    detail: str = ""
    phase: str = ""
    alert: str = ""
    also: tuple[str, ...] = ()
    weight: int = 0
    indexes: tuple[int, ...] = ()
    mark: str = ""
    mark_by: str = ""
    mark_at: int = 0
    mark_reason: str = ""

    @property
    def is_refusal(self) -> bool:
        """Was somebody refused at a door?"""
        return self.type_uid // 100 == 3002 and self.outcome == "failure"

    @property
    def is_entry(self) -> bool:
        """Did somebody sign in?"""
        return self.type_uid == 300201 and self.outcome == "success"

    @property
    def key(self) -> tuple[str, ...]:
        """What is alike in events of one line: of refusals not whom they tried to be."""
        person = () if self.is_refusal else self.who
        return (self.kind, self.source, self.action, self.outcome, str(self.type_uid), self.address, *person)


def folded(lines: Iterable[Line]) -> list[Line]:
    """Those that are alike and follow each other within CASE_FOLD_S as one, by time."""
    open_: dict[tuple[str, ...], Line] = {}
    done: list[Line] = []
    for line in sorted(lines, key=_in_time):
        before = open_.get(line.key)
        if before is not None and line.at_us - before.until_us <= CASE_FOLD_S * 1_000_000:
            open_[line.key] = _joined(before, line)
            continue
        if before is not None:
            done.append(before)
        open_[line.key] = line
    return sorted([*done, *open_.values()], key=_in_time)


def _joined(before: Line, after: Line) -> Line:
    return replace(
        before, until_us=max(before.until_us, after.until_us), count=before.count + after.count,
        who=_both(before.who, after.who), targets=_both(before.targets, after.targets),
        phase=before.phase or after.phase, alert=before.alert or after.alert, weight=max(before.weight, after.weight),
        indexes=(*before.indexes, *after.indexes)[:CASE_LINE_EVENTS_MAX],
    )  # fmt: skip


def _both(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))[:CASE_VALUES_MAX]


_NOTICES: Final = {
    # state: outcome, of one alert, of several
    "delivered": ("success", "took the notice of it", "took the notices of"),
    "dead": ("failure", "could not be told", "could not be told of"),
    "discarded": ("", "was not told: discarded", "was not told, as the notices were discarded, of"),
    "pending": ("unknown", "is about to be told", "is about to be told of"),
}

_PENDING: Final = _NOTICES["pending"]


def notices(told: Iterable[tuple[int, str, str, str]]) -> list[Line]:
    """Who was told of a case's alerts, from (time in us, channel, state, alert): what a channel heard at once is one line.

    >>> [line.text for line in notices([(1, "soc", "dead", "a"), (2, "soc", "dead", "b"), (3, "duty", "delivered", "a")])]
    ['soc could not be told of 2 alerts', 'duty took the notice of it']
    """
    each = [
        Line(at_us=at, until_us=at, kind="notice", index=-1, who=(channel,), outcome=_NOTICES.get(state, _PENDING)[0],
             action=state if state in _NOTICES else "pending", alert=alert)
        for at, channel, state, alert in told
    ]  # fmt: skip
    return [replace(line, text=f"{line.who[0]} {_told(line)}") for line in folded(each)]


def _told(line: Line) -> str:
    _, of_one, of_several = _NOTICES[line.action]
    return of_one if line.count == 1 else f"{of_several} {line.count:,} alerts"


def with_first_success(lines: Sequence[Line]) -> list[Line]:
    """The first time each account gets in from each address weighs more than the next ones."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for line in lines:
        if line.is_entry and (key := (line.address, *line.who)) not in seen:
            seen.add(key)
            line = replace(line, weight=max(line.weight, FIRST_SUCCESS))
        found.append(line)
    return found


def told_first(lines: Sequence[Line], most: int) -> tuple[list[Line], list[Line]]:
    """At most so many, the most telling, by time; and those that are left out for room. Of as telling ones the earlier stay."""
    ranked = sorted(lines, key=lambda each: (-each.weight, each.at_us, each.index))
    return sorted(ranked[:most], key=_in_time), sorted(ranked[most:], key=_in_time)


def _in_time(line: Line) -> tuple[int, int]:
    return line.at_us, line.index


def words(line: Line) -> str:
    """What happened, without when and from where.

    >>> tried = Line(0, "event", 1, count=214, type_uid=300201, outcome="failure", who=("root", "admin"))
    >>> words(tried), words(Line(0, "event", 1, type_uid=300201, outcome="success", who=("m.ruiz",)))
    ('214 failed sign-ins as 2 accounts', 'm.ruiz signed in')
    >>> words(Line(0, "event", 1, count=48, action="customer.export", who=("ann",), targets=("p1", "p2")))
    'ann: customer.export, 48 times, 2 targets'
    """
    if line.text:
        return line.text
    who = named(line.who, "accounts")
    if line.type_uid == 300201 and line.is_refusal:
        tried = "failed sign-in" if line.count == 1 else f"{line.count:,} failed sign-ins"
        return f"{tried} as {who}" if who else tried
    if line.is_entry:
        return f"{who or 'somebody'} signed in" + (f", {line.count:,} times" if line.count > 1 else "")
    did = line.action or "an event without a name"
    parts = [f"{who}: {did}" if who else did]
    if line.outcome == "failure":
        parts.append("refused or failed")
    if line.count > 1:
        parts.append(f"{line.count:,} times")
    if len(line.targets) == 1:
        parts[0] += f" {line.targets[0]}"
    elif line.targets:
        parts.append(named(line.targets, "targets", 0))
    return ", ".join(parts)


def named(values: Sequence[str], word: str, most: int = 1) -> str:
    """One by its name, several by their number.

    >>> named(("a",), "accounts"), named(("a", "b"), "accounts"), named((), "accounts")
    ('a', '2 accounts', '')
    """
    if len(values) <= most:
        return ", ".join(values)
    return f"{len(values):,}{' or more' if len(values) >= CASE_VALUES_MAX else ''} {word}"
