"""The records of what people do with cases: Incident Findings (OCSF 2005), each under an id that the ledger takes once.

What people write is sealed in them, as in alerts: it names others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from muniment.api.operations import Call
from muniment.api.recorder import Recorder
from muniment.cases.case import Case
from muniment.cases.cases import Cases

__all__ = ["case_event", "record_acts"]

_CREATE, _UPDATE, _CLOSE = 1, 2, 3
_ACTIVITIES: Final[Mapping[str, int]] = {"case.open": _CREATE, "case.close": _CLOSE}


def case_event(
    recorder: Recorder, call: Call[Any, Any], action: str, case: Case, words: str = "", /, **metadata: object
) -> bytes:
    """The record of one act; `words`: what somebody wrote."""
    targets = [{"type": "case", "id": str(case.number), "name": case.title}]
    if words.strip():
        targets.append({"type": "case_words", "id": words.strip()})
    told = {
        "case": case.number, "state": case.state, "verdict": case.verdict, "owner": case.owner, "alerts": list(case.alerts),
        **({"drill": case.drill} if case.drill else {}), **metadata,
    }  # fmt: skip
    more = {"class_uid": 2005, "activity_id": _ACTIVITIES.get(action, _UPDATE), "severity": case.level}
    return recorder.event(
        action, call.identity, targets=targets, client_ip=call.client_ip, user_agent=call.user_agent, metadata=told,
        more=more,
    )  # fmt: skip


async def record_acts(cases: Cases, recorder: Recorder) -> None:
    """Put into the ledger what is not known to be there; durable on return. Errors are those of the ledger."""
    waiting = await asyncio.to_thread(cases.unrecorded)
    if waiting:
        await recorder.record_raw([record for _, record in waiting], [id for id, _ in waiting])
        await asyncio.to_thread(cases.recorded, [id for id, _ in waiting])
