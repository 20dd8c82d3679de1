"""A notice: what one notification says, before any receiver's format. Frozen, bounded and on one line each.

Who makes a notice decides what it shows: personal values are masked before, because a chat or a mailbox forgets nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, cast, get_args
from urllib.parse import urlsplit

from muniment.errors import AuditError, RejectedError
from muniment.limits import (
    NOTICE_FIELDS_MAX,
    NOTICE_ID_CHARS_MAX,
    NOTICE_LINE_CHARS_MAX,
    NOTICE_LINES_MAX,
    NOTICE_LINK_CHARS_MAX,
    NOTICE_TITLE_CHARS_MAX,
)
from muniment.respond.block import one_line

__all__ = [
    "RULE_BY",
    "SEVERITIES",
    "Channel",
    "DeliveryError",
    "Notice",
    "Severity",
    "new_notice",
    "read_notice",
    "summary_of",
    "told_of",
    "trial_notice",
    "went_wrong",
]

Severity = Literal["informational", "low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""Sigma's levels, from least to most."""

RULE_BY: Final = "rule by"
"""The field that names the author of a rule, whose Detection Rule License asks for it wherever a match is shown."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened and where to look. `occurred_at` in UTC nanoseconds; `link` empty or http(s); `source` the rule's
    title, `origins` the sources whose events it is about.

    Raises:
        RejectedError: a field is out of bounds or not on one line; `new_notice` shortens instead.
    """

    id: str
    title: str
    severity: Severity
    source: str
    occurred_at: int
    lines: tuple[str, ...] = ()
    link: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= NOTICE_ID_CHARS_MAX or not all(c.isalnum() or c in "-_" for c in self.id):
            raise RejectedError(f"1 to {NOTICE_ID_CHARS_MAX} letters, digits, - and _", field="id")
        if not self.id.isascii():
            raise RejectedError("letters and digits of ASCII", field="id")
        if self.severity not in SEVERITIES:
            raise RejectedError(f"expected one of {', '.join(SEVERITIES)}, got {self.severity!r}", field="severity")
        if not self.title or not 0 <= self.occurred_at < 253_402_300_800_000_000_000:
            raise RejectedError("a notice has a title and a time before the year 10000", field="title")
        if len(self.lines) > NOTICE_LINES_MAX or len(self.fields) > NOTICE_FIELDS_MAX:
            raise RejectedError(f"at most {NOTICE_LINES_MAX} lines and {NOTICE_FIELDS_MAX} fields", field="lines")
        texts = [
            self.title,
            self.source,
            *self.lines,
            *(part for field in self.fields for part in field),
            *self.origins,
        ]
        if any(one_line(text, NOTICE_LINE_CHARS_MAX) != text for text in texts):
            raise RejectedError(f"texts are one line of at most {NOTICE_LINE_CHARS_MAX} characters", field="lines")
        if self.link and not _is_link(self.link):
            raise RejectedError(f"an http or https address of at most {NOTICE_LINK_CHARS_MAX} characters", field="link")

    def to_json(self) -> str:
        """The notice as the outbox keeps it and a webhook carries it."""
        return json.dumps(
            {
                "id": self.id, "title": self.title, "severity": self.severity, "source": self.source,
                "occurred_at": self.occurred_at, "lines": self.lines, "link": self.link, "fields": self.fields,
                "origins": self.origins,
            },
            ensure_ascii=False, separators=(",", ":"),
        )  # fmt: skip


def new_notice(
    id: str, title: str, severity: str, source: str, occurred_at: int, *,
    lines: Sequence[str] = (), link: str = "", fields: Mapping[str, str] | None = None, origins: Sequence[str] = (),
) -> Notice:  # fmt: skip
    """A notice of any texts: each on one line, the long ones cut with an ellipsis, the last line saying what is left out."""
    kept = [one_line(line, NOTICE_LINE_CHARS_MAX) for line in lines[:NOTICE_LINES_MAX]]
    if len(lines) > NOTICE_LINES_MAX:
        kept[-1] = f"… and {len(lines) - NOTICE_LINES_MAX + 1} more lines"
    pairs = [
        (one_line(name, NOTICE_LINE_CHARS_MAX), one_line(value, NOTICE_LINE_CHARS_MAX))
        for name, value in (fields or {}).items()
    ]
    if len(pairs) > NOTICE_FIELDS_MAX:
        left = len(pairs) - NOTICE_FIELDS_MAX + 1
        pairs = [*pairs[: NOTICE_FIELDS_MAX - 1], ("…", f"{left} more fields")]
    return Notice(
        id, one_line(title, NOTICE_TITLE_CHARS_MAX) or "(no title)", cast(Severity, severity),
        one_line(source, NOTICE_LINE_CHARS_MAX), occurred_at, tuple(kept), link, tuple(pairs),
        tuple(one_line(origin, NOTICE_LINE_CHARS_MAX) for origin in origins[:NOTICE_LINES_MAX]),
    )  # fmt: skip


def trial_notice(id: str, by: str, now_ns: int, link: str) -> Notice:
    """A notice that says it is a test; of the highest severity, so that the receiver's own filters let it pass."""
    lines = [f"{by} sent this to see whether notices arrive here.", "There is no alert. Nothing has to be done."]
    return new_notice(f"test_{id}", "Test of this channel", "critical", "Muniment", now_ns, lines=lines, link=link)


def summary_of(id: str, notices: Sequence[Notice], now_ns: int, link: str) -> Notice:
    """One notice that stands for many: of which rules, how often, the gravest and most frequent first."""
    counted = Counter((each.title, each.severity) for each in notices)
    ordered = sorted(counted.items(), key=lambda item: (-SEVERITIES.index(item[0][1]), -item[1], item[0][0]))
    authors = {each.title: dict(each.fields).get(RULE_BY, "") for each in notices}
    rules = "one rule" if len({title for title, _ in counted}) == 1 else f"{len({t for t, _ in counted})} rules"
    return new_notice(
        f"summary_{id}", f"{len(notices)} more alerts of {rules}", ordered[0][0][1], "Muniment", now_ns,
        lines=[
            f"{n} x {title} ({severity}{f', {RULE_BY} {authors[title]}' if authors[title] else ''})"
            for (title, severity), n in ordered
        ],
        link=link,
        fields={"alerts": str(len(notices))},
        origins=sorted({origin for each in notices for origin in each.origins}),
    )  # fmt: skip


def read_notice(text: str) -> Notice:
    """The notice that `to_json` wrote."""
    kept = json.loads(text)
    return Notice(
        kept["id"], kept["title"], kept["severity"], kept["source"], kept["occurred_at"], tuple(kept["lines"]),
        kept["link"], tuple((name, value) for name, value in kept["fields"]), tuple(kept.get("origins", ())),
    )  # fmt: skip


def told_of(notice: Notice) -> tuple[tuple[str, str], ...]:
    """Who told of it, as a fact beside the others; none where it is about no source."""
    return (("source" if len(notice.origins) == 1 else "sources", ", ".join(notice.origins)),) if notice.origins else ()


class Channel(Protocol):
    """One receiver. Called by one thread at a time; a notice may come again after a crash, with the same id."""

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Hand it over within a bounded time; a remark to keep (refused recipients), or "".

        Raises:
            DeliveryError: the receiver did not take it.
        """
        ...


class DeliveryError(AuditError):
    """A receiver did not take a notice. `is_permanent`: trying again cannot help until somebody changes something.

    The text never holds an address with a secret in it (webhook paths are secrets), only the host.
    """

    def __init__(self, message: str, *, is_permanent: bool = False, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
        self.retry_after_ms = retry_after_ms


def went_wrong(error: Exception) -> str:
    """Why a receiver was not reached, without the numbers of the operating system.

    >>> went_wrong(ConnectionRefusedError(111, "Connection refused")), went_wrong(ValueError())
    ('Connection refused', 'ValueError')
    """
    said = getattr(error, "strerror", None) or str(error)
    return one_line(str(said)) or type(error).__name__


def _is_link(link: str) -> bool:
    if (
        len(link) > NOTICE_LINK_CHARS_MAX
        or not link.isascii()
        or not link.isprintable()
        or set(link) & set(' <>"\\^`{|}')
    ):
        return False
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
