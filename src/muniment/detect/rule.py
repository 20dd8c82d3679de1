"""Rules that can be run, those that are refused, and which of them do run. Pure, and knows no parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from muniment.detect.condition import Condition
from muniment.detect.correlation import Correlation
from muniment.errors import RejectedError

__all__ = ["Exemption", "Loaded", "LogSource", "Refused", "Rule", "RuleSet"]


@dataclass(frozen=True, slots=True)
class LogSource:
    """What a rule is about, in Sigma's words; empty where it does not say."""

    category: str = ""
    product: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that can be run. `is_silent`: only correlations hear of its matches."""

    id: str
    title: str
    level: str
    status: str
    author: str
    description: str
    references: Sequence[str]
    tags: Sequence[str]
    false_positives: Sequence[str]
    logsource: LogSource
    condition: Condition
    file: str = ""
    remarks: Sequence[str] = ()
    name: str = ""
    is_silent: bool = False
    license: str = ""

    @property
    def key(self) -> str:
        """What correlations call it by."""
        return self.id or self.name or self.title


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that is not run, why, where the mistake stands (from 1; 0: unknown) and how to mend it."""

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
class Loaded:
    """What became of a set of rule files. `placeholders`: by name (`%admins%`) the file that says its values."""

    rules: Sequence[Rule]
    refused: Sequence[Refused]
    correlations: Sequence[Correlation] = ()
    placeholders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exemption:
    """Events of a rule (`rule` empty: of any) that make no alert: those the query finds, until `expires_at` (ns)."""

    number: int
    rule: str
    query: str
    reason: str
    owner: str
    created_at: int
    expires_at: int
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What runs. `all_rules` has also those that are switched off; `version` grows with every change."""

    version: int
    rules: Sequence[Rule]
    correlations: Sequence[Correlation]
    all_rules: Sequence[Rule | Correlation]
    refused: Sequence[Refused]
    exemptions: Sequence[Exemption]

    def get(self, key: str) -> Rule | Correlation:
        """A rule by its key, whether it runs or not. RejectedError with status 404 when there is none."""
        found = next((rule for rule in self.all_rules if rule.key == key), None)
        if found is None:
            raise RejectedError("there is no such rule", field="rule", status=404)
        return found
