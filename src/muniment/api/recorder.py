"""What the system does is itself a record: reads, logins, exports, changes, each an event in the same ledger.

The record is durable before the answer leaves, and a record that cannot be written fails the act (ARCHITECTURE
rule 4). These events come from the source `muniment` and pass the same pipeline as everybody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from muniment.access.policy import Identity
from muniment.api.operations import Call
from muniment.api.times import rfc3339
from muniment.event.model import INTERNAL, Arrival

__all__ = ["ABOUT_OTHERS", "OWN_SOURCE", "Recorder", "own_event"]

OWN_SOURCE = "muniment"
ABOUT_OTHERS = tuple(
    {"path": f"targets[type={kind}].id", "kind": seals}
    for kind, seals in (
        ("blocked_account", "user_id"), ("blocked_address", "ip"), ("blocked_range", "ip"), ("blocked_key", "text"),
        ("account", "user_id"), ("case_words", "text"),
    )
)  # fmt: skip
"""What our own records say of people who are not our readers is sealed: who is blocked, whose sessions are ended, what is
written to cases."""


class Submits(Protocol):
    """Takes an arrival; when it returns, the events are in the ledger under a signed checkpoint."""

    async def submit(self, arrival: Arrival) -> Any: ...


def own_event(
    action: str,
    now_ns: int,
    *,
    actor: Mapping[str, str],
    on_behalf_of: Mapping[str, str] | None = None,
    targets: Sequence[Mapping[str, str]] = (),
    outcome: str = "success",
    context: Mapping[str, str] | None = None,
    metadata: Mapping[str, object] | None = None,
    reason: str = "",
    more: Mapping[str, object] | None = None,
) -> bytes:
    """The JSON text of one event of Muniment itself, in the shape of the SDK's events; `on_behalf_of`: the owner of a key;
    `more`: what its class of OCSF has beside.
    """
    record: dict[str, object] = {
        "action": action,
        "actor": actor,
        "targets": targets,
        "outcome": outcome,
        "occurred_at": rfc3339(now_ns),
    }
    record |= {"on_behalf_of": on_behalf_of} if on_behalf_of else {}
    record |= {"context": context} if context else {}
    record |= {"metadata": metadata} if metadata else {}
    record |= {"reason": reason} if reason else {}
    record |= more or {}
    return msgspec.json.encode(record)


class Recorder:
    """Writes own events through the pipeline."""

    def __init__(self, pipeline: Submits, clock: Callable[[], int]) -> None:
        self._pipeline = pipeline
        self._clock = clock

    async def record(
        self,
        action: str,
        identity: Identity,
        *,
        targets: Sequence[Mapping[str, str]] = (),
        outcome: str = "success",
        client_ip: str = "",
        user_agent: str = "",
        metadata: Mapping[str, object] | None = None,
        reason: str = "",
    ) -> None:
        """Write one event; durable on return."""
        event = self.event(
            action, identity, targets=targets, outcome=outcome, client_ip=client_ip, user_agent=user_agent,
            metadata=metadata, reason=reason,
        )  # fmt: skip
        await self.record_raw([event])

    def event(
        self,
        action: str,
        identity: Identity,
        *,
        targets: Sequence[Mapping[str, str]] = (),
        outcome: str = "success",
        client_ip: str = "",
        user_agent: str = "",
        metadata: Mapping[str, object] | None = None,
        reason: str = "",
        more: Mapping[str, object] | None = None,
    ) -> bytes:
        """The text of one event, for `record_raw`."""
        kind = {"api-key": "service", "session": "user"}.get(identity.via, "system")
        actor = {"type": kind, "id": identity.id, "name": identity.name}
        given = {"ip": client_ip, "user_agent": user_agent}
        is_owned = identity.via == "api-key" and identity.person
        return own_event(
            action,
            self._clock(),
            actor=actor,
            on_behalf_of={"type": "user", "id": identity.person} if is_owned else None,
            targets=targets,
            outcome=outcome,
            context={name: value for name, value in given.items() if value},
            metadata=metadata,
            reason=reason,
            more=more,
        )

    async def note(
        self, call: Call[Any, Any], action: str, kind: str, target: str, reason: str = "", **metadata: object
    ) -> None:
        """Write who called did this to one target; durable on return."""
        await self.record(
            action, call.identity, targets=[{"type": kind, "id": target}], client_ip=call.client_ip,
            user_agent=call.user_agent, metadata=metadata, reason=reason,
        )  # fmt: skip

    async def record_raw(self, events: Sequence[bytes], ids: Sequence[str] | None = None) -> None:
        """Write own events that are already JSON texts; what has an id is taken once, however often it is put."""
        await self._pipeline.submit(Arrival(OWN_SOURCE, INTERNAL, self._clock(), events, ids))
