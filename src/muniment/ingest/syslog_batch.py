"""From messages to arrivals: build the records of a batch, submit it, wait when the pipeline is busy.

Syslog has no acknowledgement. So a batch is held, and its socket not read, until the pipeline has taken it; only a
storage error, a refusal or the end of the server gives it up, and then the loss is reported, never silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from muniment.errors import BusyError
from muniment.event.model import Arrival
from muniment.wire.syslog import quarantine_record, syslog_record
from muniment.wire.syslog_framing import Frame

__all__ = ["Batch", "Counters", "Doorway"]


@dataclass(slots=True)
class Counters:
    """What the syslog door has seen since start; for the status page."""

    messages: int = 0
    quarantined: int = 0
    lost: int = 0
    busy: int = 0
    refused: int = 0
    connections: int = 0
    held_bytes: int = 0  # read from streams and not yet taken by the pipeline


@dataclass(frozen=True, slots=True)
class Doorway:
    """What every listener shares: where arrivals go, the clock, and whom to tell.

    `submit` returns when the arrival is durable; it raises BusyError (wait) or StorageError (give up).
    `on_loss(source, count, since_ns)` and `on_refused(peer, reason)` must not block.
    """

    submit: Callable[[Arrival], Awaitable[object]]
    clock_ns: Callable[[], int]
    on_loss: Callable[[str, int, int], None]
    on_refused: Callable[[str, str], None]
    counters: Counters

    async def deliver(self, arrival: Arrival) -> None:
        """Submit until taken. Raises what `submit` raises, except BusyError; the loss is reported before."""
        try:
            while True:
                try:
                    await self.submit(arrival)
                    return
                except BusyError as busy:
                    self.counters.busy += 1
                    await asyncio.sleep(busy.retry_after_ms / 1000)
        except BaseException:  # also cancellation at shutdown: what was read and not stored is lost, say so
            self.lose(arrival.source, len(arrival.records), arrival.received_at)
            raise

    def lose(self, source: str, count: int, since_ns: int) -> None:
        """Report messages that were sent to us and will not be in the ledger."""
        self.counters.lost += count
        self.on_loss(source, count, since_ns)

    def refuse(self, peer: str, reason: str) -> None:
        """Report a connection that was turned away or closed by us."""
        self.counters.refused += 1
        self.on_refused(peer, reason)


class Batch:
    """Records of one source in the making."""

    __slots__ = ("_quarantined", "records")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._quarantined: dict[int, str] = {}

    def add_message(self, data: bytes, suffix: bytes) -> None:
        """Add one whole message."""
        record, reason = syslog_record(data, suffix)
        if reason is not None:
            self._quarantined[len(self.records)] = reason
        self.records.append(record)

    def add_frame(self, frame: Frame, suffix: bytes) -> None:
        """Add a frame, or a piece of a damaged one."""
        if frame.reason:
            self._quarantined[len(self.records)] = frame.reason
            self.records.append(quarantine_record(frame.data, frame.reason, suffix, part=frame.part))
        else:
            self.add_message(frame.data, suffix)

    def arrival(self, door: str, source: str, received_at: int, peer: str, counters: Counters) -> Arrival:
        """The finished batch; `door` names the transport it came over."""
        counters.messages += len(self.records)
        counters.quarantined += len(self._quarantined)
        quarantined: Sequence[str | None] | None = None
        if self._quarantined:
            quarantined = [self._quarantined.get(k) for k in range(len(self.records))]
        return Arrival(source, door, received_at, self.records, quarantined=quarantined, peer=peer)
