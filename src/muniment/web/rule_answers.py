"""What pages show of rules, as the API says it: each rule, how far all have seen, exceptions, back-tests, ATT&CK.

Times of events are microseconds, others nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BackTest",
    "Coverage",
    "Covered",
    "Evaluated",
    "Exemption",
    "OneRule",
    "Refused",
    "Rule",
    "Rules",
    "Technique",
]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How far the rules have seen: events below `position`, received up to `to_time`, from `n_fresh` of `n_sources`."""

    position: int
    to_time: int
    n_fresh: int
    n_sources: int
    rules: int
    correlations: int
    dropped: int
    problem: str


@dataclass(frozen=True, slots=True)
class Technique:
    """A technique of MITRE ATT&CK."""

    id: str
    name: str
    tactics: list[str]

    @property
    def url(self) -> str:
        """Its page at MITRE."""
        return f"https://attack.mitre.org/techniques/{self.id.replace('.', '/')}/"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and whether it runs."""

    key: str
    title: str
    level: str
    status: str
    author: str
    kind: str
    description: str
    tags: list[str]
    file: str
    logsource: dict[str, str]
    is_on: bool
    is_silent: bool
    reason: str
    by: str
    alerts: int
    remarks: list[str]
    license: str
    references: list[str]
    false_positives: list[str]
    techniques: list[Technique]
    sources: list[str]
    missing: str
    matches_day: int
    matches_month: int
    spent_s: float
    rules: list[str]
    used_by: list[str]
    off: list[str]


@dataclass(frozen=True, slots=True)
class OneRule:
    """One rule with its text, the line of its file it begins at, and the titles of the rules it names.

    `evaluated` counts the sources that feed it, as of `fed_at`.
    """

    rule: Rule
    text: str
    line: int
    names: dict[str, str]
    budget_share: float
    last_alert_us: int
    counted_since_us: int
    evaluated: Evaluated
    fed_at: int


@dataclass(frozen=True, slots=True)
class Covered:
    """A technique that running rules are tagged with; `fed` of them have a source that sends."""

    id: str
    name: str
    tactics: list[str]
    rules: list[str]
    fed: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """ATT&CK: its tactics in order, and the techniques watched for."""

    tactics: dict[str, str]
    techniques: list[Covered]
    without: int
    version: str
    notice: str
    fed_at: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that cannot be run, why, where the mistake stands (from 1; 0: unknown) and how to mend it."""

    file: str
    title: str
    reason: str
    line: int = 0
    column: int = 0
    fix: str = ""

    @property
    def where(self) -> str:
        """File, line and column, as far as they are known."""
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules."""

    rules: list[Rule]
    refused: list[Refused]
    evaluated: Evaluated
    counted_since_us: int
    fed_at: int


@dataclass(frozen=True, slots=True)
class Exemption:
    """What a rule overlooks, why and until when."""

    number: int
    rule: str
    query: str
    reason: str
    owner: str
    created_at: int
    expires_at: int
    hidden: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class BackTest:
    """What a rule would have found."""

    rule: str
    hits: int
    indexes: list[int]
    by_day: dict[str, int]
    looked_at: int
    took_ms: float
