"""The thread that brings events from the store to the ledger, and what it does when that fails.

A batch leaves when BATCH_EVENTS are waiting, BATCH_WAIT_S after the first, or at once when somebody waits for it. It is
done when the ledger has acknowledged it *and* its checkpoint does not contradict an earlier one; anything else
keeps it and tries again, with jittered back-off up to 30 s, or when `Retry-After` says. Nothing is given up but a
single event the server calls wrong (400, 413, 422), which is handed to `on_refused` and counted.
"""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from muniment.sdk.limits import (
    BACKOFF_FIRST_S,
    BATCH_BYTES_MAX,
    BATCH_EVENTS,
    BATCH_EVENTS_MAX,
    BATCH_WAIT_S,
    RETRY_AFTER_MAX_S,
)
from muniment.sdk.receipts import Receipt
from muniment.sdk.spool import Store
from muniment.sdk.stream import Record
from muniment.sdk.witness import Checkpoint, Witness

if TYPE_CHECKING:  # it loads HTTP and TLS, which an importing application does not need yet
    from muniment.sdk.transport import Answer, Transport

__all__ = ["Problem", "ProblemKind", "Sender"]

ProblemKind: TypeAlias = Literal[
    "contradiction", "denied", "internal", "new_ledger", "receipts", "refused", "spool", "unreachable"
]
_WRONG = frozenset({400, 413, 422})
_IDLE_S = 2.0
"""How often the store is looked at without being told: dead processes leave work behind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something an operator should know. `contradiction` is the loud one: the ledger has lost or changed entries."""

    kind: ProblemKind
    words: str


class Sender:
    """Used from any thread, except `run`."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        witness: Witness,
        *,
        report: Callable[[Problem], None],
        on_refused: Callable[[Record, str], None],
        on_receipts: Callable[[Sequence[Receipt]], None],
        wanted: Callable[[], bool],
        backoff_max_s: float,
    ) -> None:
        self._store, self._transport, self._witness = store, transport, witness
        self._report, self._on_refused, self._on_receipts, self._wanted = report, on_refused, on_receipts, wanted
        self._backoff_max_s = backoff_max_s
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._drained = 0
        self._failures = 0
        self._n_ready = 0
        self._half = 0  # after a refusal: how many events the next request may hold
        self._origins: set[str] = set(witness.known())

    # --- told by others ------------------------------------------------------------------------------------------

    def stored(self, n_events: int, *, is_urgent: bool = False) -> None:
        """`n_events` more are in the store."""
        with self._changed:
            self._n_ready += n_events
            is_full = self._n_ready >= BATCH_EVENTS
        if is_urgent or is_full:
            self._hurry.set()
        self._wake.set()

    def hurry(self) -> None:
        """Send what there is now."""
        self._hurry.set()
        self._wake.set()

    def stop(self) -> None:
        """End soon; a request under way is finished."""
        self._stopping.set()
        self.hurry()

    def wait_drained(self, timeout_s: float) -> bool:
        """Wait until what this process has stored so far is acknowledged."""
        target = self._store.next_sq()
        with self._changed:
            return self._changed.wait_for(lambda: self._drained >= target, timeout_s)

    # --- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopping.is_set():
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            self._hurry.wait(BATCH_WAIT_S)
            self._hurry.clear()
            try:
                self._drain()
            except Exception as error:  # whatever it is, the events are kept, and the thread must live
                self._report(Problem("internal", f"{type(error).__name__}: {error}"))
                self._pause(None)
        self._transport.close()

    def _drain(self) -> None:
        """Send batches; leaves a small rest to the next round, so that steady traffic still makes batches of some size."""
        is_first = True
        while not self._stopping.is_set() or is_first:
            mark = self._store.next_sq()
            with self._changed:
                self._n_ready = 0
            known = self._witness.known()
            records = self._store.take(self._half or BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
            n_damaged = self._store.take_damaged()
            if n_damaged:
                self._report(Problem("spool", f"{n_damaged} events in the spool are damaged and cannot be sent"))
            if not records:
                self._settled(mark)
                return
            if not is_first and len(records) < BATCH_EVENTS and not self._hurry.is_set() and not self._half:
                self._wake.set()
                return
            is_first = False
            body = b"\n".join([record.text for record in records])
            self._settle(records, known, self._transport.send(body, is_full=self._wanted()))

    def _settle(self, records: Sequence[Record], known: Mapping[str, Checkpoint], answer: Answer) -> None:
        if answer.status == 200:
            self._acknowledge(records, known, answer)
        elif answer.status in _WRONG:
            if len(records) > 1:
                self._half = max(1, len(records) // 2)
                return
            self._half = 0
            self._on_refused(records[0], answer.words)
            self._store.done(records)
            self._settled(self._store.done_sq())
        else:
            self._report(Problem("denied" if answer.status in {401, 403} else "unreachable", answer.words))
            self._pause(answer.retry_after_s)

    def _acknowledge(self, records: Sequence[Record], known: Mapping[str, Checkpoint], answer: Answer) -> None:
        try:
            receipt = answer.receipt
            accepted, size, first = int(receipt["accepted"]), int(receipt["size"]), int(receipt["first_index"])
            seen = Checkpoint.parse(str(receipt["checkpoint"]))
            items = [_receipt(item, size, seen.note) for item in receipt.get("items", ())]
        except (KeyError, TypeError, ValueError) as error:
            self._report(Problem("unreachable", f"the answer is no receipt: {type(error).__name__}: {error}"))
            self._pause(None)
            return
        is_other = bool(items) and [item.event_id for item in items] != [record.event_id for record in records]
        if accepted != len(records) or is_other or first < 0 or size > seen.size:
            self._report(Problem("unreachable", f"sent {len(records)} events, the answer speaks of {accepted}"))
            self._pause(None)
            return
        contradiction = self._witness.judge(known, seen)
        if contradiction is not None:
            self._report(Problem("contradiction", str(contradiction)))
            self._pause(None)
            return
        if seen.origin not in self._origins:
            if self._origins:
                before = ", ".join(sorted(self._origins))
                self._report(Problem("new_ledger", f"{seen.origin} answers now; before: {before}"))
            self._origins.add(seen.origin)
        # Receipts first: if we die between the two, the events are sent again and answered with the same entries.
        self._on_receipts(items)
        self._store.done(records)
        self._failures = 0
        self._half = 0
        self._settled(self._store.done_sq())

    def _settled(self, sq: int) -> None:
        with self._changed:
            self._drained = max(self._drained, sq)
            self._changed.notify_all()

    def _pause(self, retry_after_s: float | None) -> None:
        """Wait before the next try; ends early when the process does."""
        self._failures += 1
        ceiling = min(self._backoff_max_s, BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 16))
        wait_s = ceiling * random.uniform(0.5, 1.0)
        if retry_after_s is not None:
            wait_s = min(RETRY_AFTER_MAX_S, retry_after_s) + random.uniform(0.0, 0.25) * ceiling
        self._stopping.wait(wait_s)
        self.hurry()


def _receipt(item: dict[str, object], size: int, note: str) -> Receipt:
    leaf_hash = base64.b64decode(str(item["leaf_hash"]), validate=True)
    return Receipt(str(item["id"]), int(str(item["index"])), leaf_hash, size, note, bool(item["duplicate"]))
