"""From the doors to the ledger: arrivals are collected, cut into batches, protected, appended, acknowledged.

What is promised: `submit` returns only when every record of the arrival is durable in the ledger and under a signed
checkpoint (null merge delay), or raises; nothing is acknowledged early, nothing is dropped in silence. Memory is
bounded: past PENDING_BYTES_MAX `submit` raises BusyError at once.

How it flows. Two equal threads take turns:

    (1) collect  - take a batch (one thread at a time, in order of arrival)
    (2) protect  - still in that turn, so batches stay in order; overlaps with the other thread's (3)
    (3) append   - one thread at a time; when it returns, the batch is acknowledged, then offered to the projector

A batch closes when the writer is idle (a single event never waits for company), at BATCH_EVENTS_MAX events,
BATCH_BYTES_MAX bytes, or BATCH_WAIT_MS after its oldest event; while the writer is busy it grows, and, for EASE_S at most,
while what follows the ledger is behind: only records of our own go then. A large arrival is
cut over batches and acknowledged after its last piece. If a later piece fails, the whole arrival fails; the sender
sends it again and the pieces already in the ledger are recognised by their ids.

After StorageError everything waiting fails; later arrivals are tried again, so an operator who makes room needs no
restart. An exception that is none of ours in `append` stops the pipeline for good: state that is not understood is
never stepped over.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from muniment.errors import AuditError, BusyError, RejectedError, StorageError
from muniment.event.model import INTERNAL, Arrival
from muniment.limits import (
    BATCH_BYTES_MAX,
    BATCH_EARLY_EVENTS,
    BATCH_EVENTS_MAX,
    BATCH_WAIT_MS,
    EASE_S,
    INTERNAL_RESERVE_BYTES,
    PENDING_BYTES_MAX,
    PENDING_EVENT_BYTES,
    STORAGE_RETRY_MS,
)

__all__ = ["Ack", "Appends", "Pipeline", "PipelineStatus", "Projects", "Protects"]


class Protects(Protocol):
    """Removes secrets, seals personal parts. Blocking; new subject keys are durable on return.

    Called by one thread at a time, in order of arrival, while another thread may be inside `append`. The result's
    `entries` (with `ids`, `records`, ... as parallel lists) holds the arrivals' records in order, none left out.
    """

    def protect(self, arrivals: Sequence[Arrival]) -> Any: ...


class Appends(Protocol):
    """Seals entries. On return they are durable and under a signed checkpoint; called by one thread at a time."""

    def append(self, entries: Any) -> Any: ...


class Projects(Protocol):
    """Told what was appended, in order, after the acknowledgement. May drop it: the projector can catch up."""

    def offer(self, protected: Any, appended: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Ack:
    """The receipt of one arrival: parallel lists, one entry per record, and the checkpoint that covers them all."""

    indexes: Sequence[int]
    ids: Sequence[str]
    is_duplicate: Sequence[bool]
    leaf_hashes: Sequence[bytes]
    size: int
    checkpoint: bytes

    @property
    def duplicates(self) -> int:
        """How many records were in the ledger already."""
        return sum(self.is_duplicate)


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """How the pipeline is: `trouble` is empty when the last append succeeded."""

    pending_events: int
    pending_bytes: int
    events: int
    batches: int
    trouble: str
    is_stopped: bool


@dataclass(slots=True)
class _Waiting:
    arrival: Arrival
    n_bytes: int
    since: float
    done: Callable[[_Waiting], None]
    taken: int = 0
    indexes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    is_duplicate: list[bool] = field(default_factory=list)
    leaf_hashes: list[bytes] = field(default_factory=list)
    ack: Ack | None = None
    error: BaseException | None = None

    @property
    def is_settled(self) -> bool:
        return self.ack is not None or self.error is not None


_EASE_STEP_S: Final = 0.02
_Piece = tuple[_Waiting, Arrival, bool]  # whose, what, and whether it is the last of its arrival


class Pipeline:
    """The one way into the ledger. `start` it, `submit` to it from event loops, `close` it: closing drains."""

    def __init__(
        self,
        protector: Protects,
        ledger: Appends,
        projector: Projects | None = None,
        *,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        clock: Callable[[], float] = time.monotonic,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_behind`: does what follows the ledger have too much to do? Then batches wait a little (`EASE_S`), and who sends more than
        it can take is acknowledged later, instead of all that was acknowledged being found much later.
        """
        self._protector = protector
        self._ledger = ledger
        self._projector = projector
        self._pending_bytes_max = pending_bytes_max
        self._clock = clock
        self._is_behind = is_behind
        self._easing_since: float | None = None
        self._changed = threading.Condition(threading.Lock())
        self._collecting = threading.Lock()
        self._writing = threading.Lock()
        # Guarded by _changed:
        self._pending: deque[_Waiting] = deque()
        self._waiting_events = 0  # not yet in a batch
        self._waiting_bytes = 0
        self._held_bytes = 0  # not yet acknowledged
        self._held_events = 0
        self._is_writing = False
        self._is_closing = False
        self._stop_reason = ""
        self._trouble = ""
        self._events = 0
        self._batches = 0
        self._threads = [threading.Thread(target=self._work, name=f"pipeline-{n}", daemon=True) for n in range(2)]

    def start(self) -> None:
        """Begin to work. Called once, after any fork."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = 30.0) -> None:
        """Take nothing more, finish what waits, and stop. Blocking."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        deadline = self._clock() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._clock()))
        self._fail_all(BusyError("the server is stopping", retry_after_ms=STORAGE_RETRY_MS))

    def status(self) -> PipelineStatus:
        """A consistent look at the counters; any thread."""
        with self._changed:
            return PipelineStatus(
                self._held_events,
                self._held_bytes,
                self._events,
                self._batches,
                self._stop_reason or self._trouble,
                bool(self._stop_reason or self._is_closing),
            )

    @property
    def held_bytes(self) -> int:
        """Bytes taken and not yet acknowledged; a glance, without a lock."""
        return self._held_bytes

    async def submit(self, arrival: Arrival) -> Ack:
        """Wait until `arrival` is in the ledger.

        Raises:
            BusyError: too much is waiting, or the server is stopping; nothing was taken.
            StorageError: the disk refused; of an arrival larger than a batch parts may be in the ledger, nothing is
                acknowledged.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ack] = loop.create_future()
        self._enter(arrival, _LoopDone(loop, future), self._pending_bytes_max)
        return await future

    def submit_nowait_threadsafe(self, arrival: Arrival) -> Future[Ack]:
        """Enter our own records from any thread, without waiting; the future may be ignored or waited for.

        Raises:
            BusyError: even the reserve for our own records is used up, or the pipeline is stopping.
        """
        future: Future[Ack] = Future()
        self._enter(arrival, _ThreadDone(future), self._pending_bytes_max + INTERNAL_RESERVE_BYTES)
        return future

    def _enter(self, arrival: Arrival, done: Callable[[_Waiting], None], bytes_max: int) -> None:
        n_events = len(arrival.records)
        if n_events == 0:
            raise RejectedError("no event in the body", field="body")
        n_bytes = arrival.n_bytes + PENDING_EVENT_BYTES * n_events
        waiting = _Waiting(arrival, n_bytes, self._clock(), done)
        with self._changed:
            if self._stop_reason:
                raise StorageError(self._stop_reason)
            if self._is_closing:
                raise BusyError("the server is stopping", retry_after_ms=STORAGE_RETRY_MS)
            if self._held_bytes and self._held_bytes + n_bytes > bytes_max:
                raise BusyError(f"{self._held_bytes} bytes wait to be sealed, more than {bytes_max} are not held")
            self._held_bytes += n_bytes
            self._held_events += n_events
            self._waiting_bytes += n_bytes
            self._waiting_events += n_events
            self._pending.append(waiting)
            self._changed.notify()

    # --- the two threads ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._collecting:
                batch = self._cut_own() if self._is_behind() and self._eased() else self._take()
                if batch is None:
                    return
                protected = self._protect(batch)
                # Entered before the collecting turn ends: batches are appended in the order they were collected.
                self._writing.acquire()
                with self._changed:
                    self._is_writing = True
                # Refused since it was collected: the batch before failed with an earlier piece of it.
                if any(waiting.error for waiting, _, _ in batch):
                    batch = [one for one in batch if one[0].error is None]
                    protected = self._protect(batch) if batch else None
                if protected is None:
                    # One sender's records trip the protector: the others must not fail with it, again and again.
                    self._one_by_one(batch)
            try:
                if protected is not None:
                    self._append(batch, protected)
            finally:
                with self._changed:
                    self._is_writing = False
                    self._writing.release()
                    self._changed.notify_all()

    def _eased(self) -> bool:
        """Let what follows the ledger catch up, for `EASE_S` at most; the next batch grows meanwhile. True: records of our own have
        come, which go before: who is behind may be waiting for them.
        """
        if self._easing_since is None:
            self._easing_since = self._clock()
        while self._clock() < self._easing_since + EASE_S and self._is_behind():
            with self._changed:
                if self._is_closing or self._stop_reason:
                    break
                if any(map(_is_own, self._pending)):
                    return True
                self._changed.wait(_EASE_STEP_S)
        self._easing_since = None
        return False

    def _cut_own(self) -> list[_Piece]:
        """The records of our own that wait, as many as are a small batch."""
        with self._changed:
            own: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            events_left, bytes_left = BATCH_EARLY_EVENTS, BATCH_BYTES_MAX
            for waiting in self._pending:
                if _is_own(waiting) and len(waiting.arrival.records) <= events_left and waiting.n_bytes <= bytes_left:
                    own.append(waiting)
                    waiting.taken = len(waiting.arrival.records)
                    events_left -= waiting.taken
                    bytes_left -= waiting.n_bytes
                else:
                    others.append(waiting)
            self._pending = others
            self._waiting_events -= BATCH_EARLY_EVENTS - events_left
            self._waiting_bytes -= BATCH_BYTES_MAX - bytes_left
        return [(waiting, waiting.arrival, True) for waiting in own]

    def _take(self) -> list[_Piece] | None:
        with self._changed:
            while True:
                if self._pending:
                    wait_s = self._wait_s()
                    if wait_s <= 0:
                        return self._cut()
                    self._changed.wait(wait_s)
                elif self._is_closing or self._stop_reason:
                    return None
                else:
                    self._changed.wait()

    def _wait_s(self) -> float:
        """How long the batch may still grow; 0 closes it."""
        if not self._is_writing or self._is_closing:
            return 0.0
        if self._waiting_events >= BATCH_EARLY_EVENTS or self._waiting_bytes >= BATCH_BYTES_MAX // 4:
            return 0.0
        return self._pending[0].since + BATCH_WAIT_MS / 1000 - self._clock()

    def _cut(self) -> list[_Piece]:
        batch: list[_Piece] = []
        events_left, bytes_left = BATCH_EVENTS_MAX, BATCH_BYTES_MAX
        while self._pending and events_left > 0 and bytes_left > 0:
            waiting = self._pending[0]
            total = len(waiting.arrival.records)
            start = waiting.taken
            if start == 0 and total <= events_left and waiting.n_bytes <= bytes_left:
                end, n_bytes, piece = total, waiting.n_bytes, waiting.arrival
            elif start == 0 and total <= BATCH_EVENTS_MAX and waiting.n_bytes <= BATCH_BYTES_MAX:
                break  # whole, in the next batch
            else:
                end, n_bytes = _fit(waiting.arrival, start, events_left, bytes_left, is_first=not batch)
                if end == start:
                    break
                piece = _slice(waiting.arrival, start, end)
            waiting.taken = end
            if end == total:
                self._pending.popleft()
            batch.append((waiting, piece, end == total))
            events_left -= end - start
            bytes_left -= n_bytes
            self._waiting_events -= end - start
            self._waiting_bytes -= n_bytes
        return batch

    def _protect(self, batch: list[_Piece]) -> Any:
        """The protected batch; None if it failed and each piece has to be tried alone."""
        with contextlib.suppress(Exception):
            return self._protector.protect([piece for _, piece, _ in batch])
        return None

    def _one_by_one(self, batch: list[_Piece]) -> None:
        for one in batch:
            try:
                protected = self._protector.protect([one[1]])
            except AuditError as error:
                self._failed(error, [one])
            except Exception as error:
                # Ours to mend, but no state was changed: this arrival fails, its sender tries again.
                self._failed(StorageError(f"protecting failed: {error!r}"), [one])
            else:
                self._append([one], protected)

    def _append(self, batch: list[_Piece], protected: Any) -> None:
        try:
            appended = self._ledger.append(protected.entries)
        except AuditError as error:
            self._failed(error, batch, is_everyones=True)
            return
        except BaseException as error:
            with self._changed:
                self._stop_reason = f"sequencing stopped: {error!r}"
            self._failed(StorageError(self._stop_reason), batch, is_everyones=True)
            return
        self._acknowledge(batch, protected.entries.ids, appended)
        if self._projector is not None:
            # The store is derived: what it misses it takes from the ledger. It reports its own trouble.
            with contextlib.suppress(Exception):
                self._projector.offer(protected, appended)

    def _acknowledge(self, batch: list[_Piece], ids: Sequence[str], appended: Any) -> None:
        indexes, duplicate, hashes = appended.indexes, appended.is_duplicate, appended.leaf_hashes
        settled: list[_Waiting] = []
        at = 0
        for waiting, piece, is_last in batch:
            end = at + len(piece.records)
            waiting.indexes += indexes[at:end]
            waiting.ids += ids[at:end]
            waiting.is_duplicate += duplicate[at:end]
            waiting.leaf_hashes += hashes[at:end]
            at = end
            if is_last and waiting.error is None:
                waiting.ack = Ack(
                    waiting.indexes,
                    waiting.ids,
                    waiting.is_duplicate,
                    waiting.leaf_hashes,
                    appended.size,
                    appended.checkpoint,
                )
                settled.append(waiting)
        with self._changed:
            self._trouble = ""
            self._events += at
            self._batches += 1
        self._settle(settled)

    def _failed(self, error: AuditError, batch: list[_Piece], *, is_everyones: bool = False) -> None:
        with self._changed:
            self._trouble = str(error)
        concerned = [waiting for waiting, _, _ in batch]
        for waiting in concerned:
            waiting.error = waiting.error or error
        if isinstance(error, StorageError) and is_everyones:
            self._fail_all(error)
        self._forget_rest(concerned)
        self._settle(concerned)

    def _fail_all(self, error: AuditError) -> None:
        with self._changed:
            waiting = list(self._pending)
            self._pending.clear()
            self._waiting_events = self._waiting_bytes = 0
        for one in waiting:
            one.error = one.error or error
        self._settle(waiting)

    def _forget_rest(self, concerned: list[_Waiting]) -> None:
        """Take the unsent rest of failed arrivals out of the queue; only the first can be cut in two."""
        with self._changed:
            while self._pending and any(self._pending[0] is one for one in concerned):
                one = self._pending.popleft()
                rest = _slice(one.arrival, one.taken, len(one.arrival.records))
                self._waiting_events -= len(rest.records)
                self._waiting_bytes -= rest.n_bytes + PENDING_EVENT_BYTES * len(rest.records)

    def _settle(self, settled: list[_Waiting]) -> None:
        """Answer each once, with one call into each event loop."""
        per_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        with self._changed:
            fresh = [one for one in settled if one.is_settled and one.n_bytes >= 0]
            for one in fresh:
                self._held_bytes -= one.n_bytes
                self._held_events -= len(one.arrival.records)
                one.n_bytes = -1  # settled: an arrival cut over two batches may come here twice
        for one in fresh:
            if isinstance(one.done, _LoopDone):
                per_loop.setdefault(one.done.loop, []).append(one)
            else:
                one.done(one)
        for loop, group in per_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
                loop.call_soon_threadsafe(_answer, group)


@dataclass(frozen=True, slots=True)
class _LoopDone:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Ack]

    def __call__(self, waiting: _Waiting) -> None:
        if self.future.done():
            return  # the sender went away; the record stays
        if waiting.ack is not None:
            self.future.set_result(waiting.ack)
        elif waiting.error is not None:
            self.future.set_exception(waiting.error)


def _is_own(waiting: _Waiting) -> bool:
    """Is it records of our own that fit in a small batch?"""
    is_small = len(waiting.arrival.records) <= BATCH_EARLY_EVENTS and waiting.n_bytes <= BATCH_BYTES_MAX
    return waiting.arrival.door == INTERNAL and not waiting.taken and is_small


@dataclass(frozen=True, slots=True)
class _ThreadDone:
    future: Future[Ack]

    def __call__(self, waiting: _Waiting) -> None:
        if waiting.ack is not None:
            self.future.set_result(waiting.ack)
        elif waiting.error is not None:
            self.future.set_exception(waiting.error)


def _answer(group: list[_Waiting]) -> None:
    for waiting in group:
        waiting.done(waiting)


def _fit(arrival: Arrival, start: int, events_left: int, bytes_left: int, *, is_first: bool) -> tuple[int, int]:
    """How far from `start` an arrival's records fit; at least one does when the batch is still empty."""
    end, n_bytes = start, 0
    for record in arrival.records[start : start + events_left]:
        cost = len(record) + PENDING_EVENT_BYTES
        if n_bytes + cost > bytes_left and (end > start or not is_first):
            break
        n_bytes += cost
        end += 1
    return end, n_bytes


def _slice(arrival: Arrival, start: int, end: int) -> Arrival:
    return replace(
        arrival,
        records=arrival.records[start:end],
        ids=None if arrival.ids is None else arrival.ids[start:end],
        sqs=None if arrival.sqs is None else arrival.sqs[start:end],
        quarantined=None if arrival.quarantined is None else arrival.quarantined[start:end],
    )
