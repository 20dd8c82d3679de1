"""What answers about alerts and about rules share: how far the rules have seen, and the techniques that tags name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from muniment.api.operations import Call
from muniment.api.services import Services
from muniment.detect import attack
from muniment.detect.alerts import SOURCE as OWN_ALERTS
from muniment.errors import DeniedError
from muniment.sources.registry import SourceInfo

__all__ = ["EvaluatedAnswer", "RuleText", "TechniqueAnswer", "all_rows", "evaluated", "techniques"]

RuleText = Annotated[str, Meta(max_length=200, examples=["5d6a1c3e-3b1e-4d55-9d4f-2f7f2a6d7a03"])]


class EvaluatedAnswer(msgspec.Struct, frozen=True):
    """How far the rules have seen: events below `position`, received up to `to_time` (ns), for `n_fresh` of `n_sources` sources.
    The others never spoke, or are silent for longer than they should be: what they know is not in what was found. Of one rule the
    sources are those that feed it; of all rules, and of alerts of any, every source.
    """

    position: int
    to_time: int
    n_fresh: int
    n_sources: int
    rules: int
    correlations: int
    dropped: int
    problem: str


class TechniqueAnswer(msgspec.Struct, frozen=True):
    """A technique of MITRE ATT&CK; `name` is empty when the table does not know the number."""

    id: str
    name: str
    tactics: list[str]


def evaluated(services: Services, feeding: Collection[str] | None = None) -> EvaluatedAnswer:
    """How far the rules have seen; `feeding`: the sources of the one rule that is asked about."""
    found = services.detector.evaluated()
    sources = [info for info in services.sources.all() if not info.retired_at and info.id != OWN_ALERTS]
    if feeding is not None and set(feeding) != {OWN_ALERTS}:  # who is about alerts is about whatever source they are of
        sources = [info for info in sources if info.id in feeding]
    now = services.clock()

    def is_fresh(info: SourceInfo) -> bool:
        heard = services.sources.counters(info.id).last_heard or 0
        return bool(heard) and (not info.rhythm_s or now - heard <= 2 * info.rhythm_s * 10**9)

    n_fresh = sum(map(is_fresh, sources))
    return EvaluatedAnswer(
        found.position, found.to_time, n_fresh, len(sources), found.rules, found.correlations, found.dropped,
        found.problem,
    )  # fmt: skip


def techniques(tags: Sequence[str]) -> list[TechniqueAnswer]:
    """Those that a rule is tagged with."""
    return [TechniqueAnswer(each.id, each.name, list(each.tactics)) for each in attack.techniques_of(tags)]


def all_rows(call: Call[Any, Any]) -> None:
    """Refuse who sees some rows only."""
    if call.identity.scope:
        raise DeniedError("alerts are about all rows; this key sees some rows only", permission="alerts")
