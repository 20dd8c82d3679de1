"""A case and its timeline in words: states, lines as sentences, gaps between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from muniment.web.case_answers import Case, Gap, Line
from muniment.web.sentence import Piece, sentence
from muniment.web.times import clock_text, span_text

__all__ = ["CaseLink", "GapRow", "LineRow", "case_link", "said", "state_words", "story"]

_QUIET = 20


@dataclass(frozen=True, slots=True)
class CaseLink:
    """A case on the page of something else."""

    number: int
    url: str
    title: str
    words: str
    by: str


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line. `where`: the address it came from; `span`: how long it went on; `by`: who wrote the rule of an alert."""

    line: Line
    day: str
    clock: str
    span: str
    url: str
    pieces: tuple[Piece, ...]
    where: str
    by: str = ""
    is_new_day: bool = False

    @property
    def is_quiet(self) -> bool:
        """Daily work, more likely than not: it stands back."""
        return self.line.kind == "event" and self.line.weight <= _QUIET


@dataclass(frozen=True, slots=True)
class GapRow:
    """A stretch in which a source was not heard."""

    gap: Gap
    day: str
    clock: str
    words: str
    is_new_day: bool = False


def state_words(case: Case) -> str:
    """How it stands and whose it is."""
    words = f"closed as {case.verdict.replace('_', ' ')}" if case.state == "closed" else case.state
    return f"{words}, {case.owner}'s" if case.owner else f"{words}, nobody's"


def said(case: Case) -> str:
    """What it is about, where its title stands already."""
    rest = case.sentence.removeprefix(case.title).lstrip(",:; ")
    return rest[:1].upper() + rest[1:] if len(rest) > 1 else case.sentence


def case_link(case: Case) -> CaseLink:
    """A link to it."""
    return CaseLink(case.number, f"/cases/{case.number}", case.title, state_words(case), _authors(case))


def _authors(case: Case) -> str:
    return ", ".join(dict.fromkeys(each.author or "nobody named" for each in case.alerts))


def story(
    lines: Sequence[Line], gaps: Sequence[Gap], authors: Mapping[str, str], zone: tzinfo, *, sees_alerts: bool
) -> tuple[LineRow | GapRow, ...]:
    """Lines and gaps by time; the day stands where it changes. Who `sees_alerts` is led to an alert, others to its record."""
    every: list[tuple[int, int, LineRow | GapRow]] = [
        *((gap.from_us, 0, _gap(gap, zone)) for gap in gaps), *((line.at_us, 1, _line(line, authors, zone, sees_alerts)) for line in lines),
    ]  # fmt: skip
    found: list[LineRow | GapRow] = []
    day = ""
    for _, _, each in sorted(every, key=lambda item: item[:2]):
        found.append(_on_day(each, each.day != day))
        day = each.day
    return tuple(found)


def _on_day(each: LineRow | GapRow, is_new: bool) -> LineRow | GapRow:
    if isinstance(each, GapRow):
        return GapRow(each.gap, each.day, each.clock, each.words, is_new)
    return LineRow(each.line, each.day, each.clock, each.span, each.url, each.pieces, each.where, each.by, is_new)


def _gap(gap: Gap, zone: tzinfo) -> GapRow:
    day, _, clock = clock_text(gap.from_us * 1_000, zone, "second").partition(" ")
    source = "Muniment itself" if gap.source == "muniment" else gap.source
    until = "until now" if gap.is_open else f"until {clock_text(gap.to_us * 1_000, zone, 'second')}"
    rhythm = span_text(gap.rhythm_s * 10**9).removeprefix("1 ")
    words = (
        f"{source} was not heard for {span_text((gap.to_us - gap.from_us) * 1_000)}, {until}; "
        f"it should be heard every {rhythm}. What it saw then may be missing."
    )
    return GapRow(gap, day, clock, words)


def _line(line: Line, authors: Mapping[str, str], zone: tzinfo, sees_alerts: bool) -> LineRow:
    day, _, clock = clock_text(line.at_us * 1_000, zone, "second").partition(" ")
    lasts = line.until_us - line.at_us
    url = (
        f"/alerts/{line.alert}"
        if line.kind == "alert" and sees_alerts
        else f"/events/{line.index}"
        if line.index >= 0
        else ""
    )
    where = line.address + (f" ({line.country})" if line.country and line.address else "")
    return LineRow(
        line, day, clock, f"for {span_text(lasts * 1_000)}" if line.count > 1 and lasts >= 1_000_000 else "", url,
        tuple(_pieces(line)), where, _by(line, authors) if line.kind == "alert" else "",
    )  # fmt: skip


def _by(line: Line, authors: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(authors[uid] for uid in (line.alert, *line.also) if uid in authors))


def _pieces(line: Line) -> list[Piece]:
    """A line as a sentence; of several events what they have in common."""
    if line.kind in {"act", "notice"}:
        actors = line.who[:1] if line.kind == "act" else []
        return [*(Piece("actor", each) for each in actors), Piece("plain", line.text)]
    if line.kind == "alert":
        return [Piece("plain", line.text)]
    who = line.who[0] if line.n_who == 1 else f"{line.n_who:,} accounts" if line.n_who else ""
    if line.is_sign_in and line.outcome == "failure":
        tried = "failed sign-in" if line.count == 1 else f"{line.count:,} failed sign-ins"
        named = [Piece("plain", "as"), Piece("actor", who)] if who else []
        return [Piece("verb", tried), *named, *_to(line)]
    if line.is_sign_in:
        times = [Piece("plain", f"{line.count:,} times")] if line.count > 1 else []
        return [Piece("actor", who or "somebody"), Piece("verb", "signed in"), *_to(line), *times]
    row = {
        "actor_name": who, "action": line.action, "outcome": line.outcome, "source": line.source, "dst_host": line.place,
        "target_name": line.targets[0] if line.n_targets == 1 else "", "target_type": line.target_type,
        "status_detail": line.detail if line.count == 1 else "",
    }  # fmt: skip
    more = [f"{line.count:,} times"] if line.count > 1 else []
    if line.n_targets > 1:
        more.append(f"{line.n_targets:,} targets")
    return [*sentence(row), *([Piece("plain", f"({', '.join(more)})")] if more else [])]


def _to(line: Line) -> list[Piece]:
    return [Piece("plain", "to"), Piece("place", line.place)] if line.place else []
