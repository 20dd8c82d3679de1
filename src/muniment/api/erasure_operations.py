"""Operations of erasure (INTEGRITY 2.14): asked by one administrator, approved by another, every step in the ledger.

Order on approval: (1) `privacy.erase` with subject ids, reason and both people is in the ledger, (2) the person leaves the
tables beside the ledger (blocks, orders, exceptions, silences, outbox) and the keys are destroyed, (3) the search store is made anew from the ledger, where the person's values are placeholders now, (4) `privacy.erased` with
the outcome. A crash between the steps leaves the request open; approving again goes on from there. Proofs stay valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from muniment.access.erasures import Erasure
from muniment.api.jobs import JobState
from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.errors import BusyError, RejectedError

__all__ = ["Erasing", "erasure_operations"]


class ErasureBody(msgspec.Struct, frozen=True):
    identifier: Annotated[
        str, Meta(min_length=1, max_length=256, description="E-mail address, or an id within a source")
    ]
    reason: Annotated[
        str,
        Meta(min_length=3, max_length=1000, description="Why; without naming the person", examples=["Request 2026-17"]),
    ]
    source: Annotated[str, Meta(max_length=64, description="Only as this source knows the identifier")] = ""


class ErasureAnswer(msgspec.Struct, frozen=True):
    """A request. `subjects`: how many keys the person has now; `identifier` is empty once it is done.

    `asked_person`: whose session or key asked; empty: nobody's in particular.
    """

    number: int
    identifier: str
    source: str
    reason: str
    asked_by: str
    asked_at: int
    approved_by: str
    done_at: int
    subjects: int
    asked_person: str = ""


class ErasureListAnswer(msgspec.Struct, frozen=True):
    erasures: list[ErasureAnswer]


def erasure_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    e = Erasing(services)
    return [
        Operation("GET", "/api/v1/erasures", "erasures", "Requests to erase a person", "admin", e.list,
                  answer=ErasureListAnswer, tag="privacy"),
        Operation("POST", "/api/v1/erasures", "erasure_ask", "Ask to erase a person; another administrator approves",
                  "admin", e.ask, body=ErasureBody, answer=ErasureAnswer, status=201, tag="privacy",
                  refusals=frozenset({404})),
        Operation("POST", "/api/v1/erasures/{number}/approval", "erasure_approve",
                  "Approve and carry out an erasure; cannot be undone", "admin", e.approve, answer=JobState, status=202,
                  tag="privacy", refusals=frozenset({409})),
    ]  # fmt: skip


class Erasing:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def _record(self, call: Call[Any, Any], action: str, subjects: list[str], **metadata: object) -> None:
        await self._s.recorder.record(
            action,
            call.identity,
            targets=[{"type": "subject", "id": subject} for subject in subjects],
            client_ip=call.client_ip,
            user_agent=call.user_agent,
            metadata=metadata,
        )

    def _subjects(self, erasure: Erasure) -> list[str]:
        if not erasure.identifier:
            return []
        return [subject.hex() for subject in self._s.subjects_of(erasure.identifier, erasure.source or None)]

    def _answer(self, erasure: Erasure) -> ErasureAnswer:
        e = erasure
        return ErasureAnswer(e.number, e.identifier, e.source, e.reason, e.asked_by, e.asked_at, e.approved_by, e.done_at,
                             len(self._subjects(e)), e.asked_person)  # fmt: skip

    async def list(self, call: Call[Empty, Empty]) -> ErasureListAnswer:
        """Every request."""
        found = await self._s.blocking(lambda: [self._answer(each) for each in self._s.erasures.all()])
        await self._record(call, "privacy.list", [], results=len(found))
        return ErasureListAnswer(found)

    async def ask(self, call: Call[Empty, ErasureBody]) -> ErasureAnswer:
        """Keep a request for a person whom some sealed record is about."""
        b = call.body
        known = await self._s.blocking(lambda: self._s.subjects_of(b.identifier, b.source or None))
        if not known:
            raise RejectedError(
                "nobody is known by it; people are known by the id their records hold, such as actor.id",
                field="identifier",
                status=404,
            )
        now = self._s.clock()
        made = await self._s.blocking(
            lambda: self._s.erasures.ask(
                b.identifier, b.source, b.reason, call.identity.id, now, person=call.identity.person
            )
        )
        subjects = [subject.hex() for subject in known]
        await self._record(call, "privacy.ask", subjects, number=made.number, reason=b.reason, source=b.source)
        return self._answer(made)

    async def approve(self, call: Call[Empty, Empty]) -> JobState:
        """Steps (1) to (4); (2) to (4) as a job. Where a key of nobody's had asked, the first who approves makes it their
        own request, and nothing starts: another administrator approves."""
        if self._s.jobs.is_running("rebuild"):
            raise RejectedError("the store is being rebuilt; approve when that is done", field="job", status=409)
        who = call.identity
        erasure = await self._s.blocking(
            lambda: self._s.erasures.approve(call.path["number"], who.id, person=who.person)
        )
        subjects = await self._s.blocking(lambda: self._subjects(erasure))
        facts = {
            "number": erasure.number,
            "reason": erasure.reason,
            "source": erasure.source,
            "asked_by": erasure.asked_by,
            "asked_person": erasure.asked_person,
        }
        if not erasure.approved_by:
            await self._record(call, "privacy.agree", subjects, **facts)
            return JobState("rebuild", "waiting", self._s.clock(), result={"number": erasure.number})
        await self._record(call, "privacy.erase", subjects, **facts, count=len(subjects))  # (1)
        rebuild, loop = self._s.rebuild(), asyncio.get_running_loop()

        def job(progress: Callable[[int, int], None]) -> dict[str, object]:
            forgotten = self._s.forget_person(erasure.identifier, erasure.source)  # (2)
            gone = self._s.erase_subject(erasure.identifier, erasure.source or None)
            result = rebuild(progress)  # (3)
            self._s.detector.forget()  # what alerts and rules have in memory of the person
            self._s.erasures.finish(erasure.number, self._s.clock())
            return {"number": erasure.number, "keys_destroyed": len(gone), "forgotten": forgotten, **result}

        def when_done(state: JobState) -> None:  # (4)
            found = {"number": erasure.number, "result": state.result, "error": state.error}
            outcome = "success" if state.state == "done" else "failure"
            targets = [{"type": "subject", "id": subject} for subject in subjects]
            writing = self._s.recorder.record(
                "privacy.erased", call.identity, targets=targets, outcome=outcome, metadata=found
            )
            asyncio.run_coroutine_threadsafe(writing, loop)

        try:
            return self._s.jobs.start("rebuild", job, when_done)
        except BusyError as error:
            raise RejectedError(str(error), field="job", status=409) from None
