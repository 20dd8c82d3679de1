"""`Audit`: what an application holds. `log` keeps an event and returns its id; a thread brings it to the ledger.

Rules: when `log` returns, the event is in the spool (on disk, fsynced unless `fsync=False`) and will be delivered once,
by this process or a later one. When it cannot be kept, `log` raises NotKeptError: at once, or after waiting for space
(`when_full="block"`). Nothing is dropped without a word. An event the server calls wrong is put into `refused.ndjson`
beside the spool and reported. Without `spool`, events wait in memory and are gone with the process.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from muniment.sdk.capture import captured, is_capturing
from muniment.sdk.context import current_context
from muniment.sdk.errors import NotKeptError, NotRecordedError
from muniment.sdk.event import ActorLike, Outcome, TargetLike, build_event, encode
from muniment.sdk.ids import uuid7
from muniment.sdk.limits import (
    BACKOFF_MAX_S,
    CLOSE_TIMEOUT_S,
    EVENT_BYTES_MAX,
    PROBLEM_EVERY_S,
    SPOOL_BYTES_MAX,
    SYNC_TIMEOUT_S,
    WAIT_FOR_SPACE_S,
)
from muniment.sdk.receipts import Receipt, ReceiptBook
from muniment.sdk.sender import Problem, Sender
from muniment.sdk.spool import DiskSpool, MemorySpool, Store
from muniment.sdk.stream import Record
from muniment.sdk.witness import Checkpoint, Witness

if TYPE_CHECKING:
    from muniment.sdk.transport import Transport

__all__ = ["Audit", "WhenFull"]

WhenFull: TypeAlias = Literal["raise", "block"]
_logger = logging.getLogger("muniment.sdk")
_SPACE_POLL_S = 0.02


class _Wanted:
    """An event somebody waits for."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self.receipt: Receipt | None = None
        self.refusal = ""


class Audit:
    """One for an application; used from any thread, and in children after a fork. `close` it, or leave that to atexit.

    `transport` replaces HTTP to `url` (tests, a proxy of one's own). `on_problem` hears what an operator should know,
    from the sending thread; without it, it goes to the logger `muniment.sdk`.
    """

    def __init__(
        self,
        url: str = "",
        key: str = "",
        *,
        spool: str | os.PathLike[str] | None = None,
        fsync: bool = True,
        when_full: WhenFull = "raise",
        wait_for_space_s: float = WAIT_FOR_SPACE_S,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        backoff_max_s: float = BACKOFF_MAX_S,
        transport: Callable[[], Transport] | None = None,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        if when_full not in {"raise", "block"}:
            raise ValueError(f"expected when_full 'raise' or 'block', got {when_full!r}")
        if transport is None:
            from muniment.sdk.transport import HttpTransport

            HttpTransport(url, key)  # a wrong address or key is said here, not by a thread later
            transport = partial(HttpTransport, url, key)
        self._make_transport = transport
        self._folder = Path(spool) if spool is not None else None
        self._fsync, self._bytes_max, self._backoff_max_s = fsync, spool_bytes_max, backoff_max_s
        self._wait_s = wait_for_space_s if when_full == "block" else 0.0
        self._on_problem = on_problem
        self._is_closed = False
        self._begin()
        _alive.add(self)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Audit:
        """From MUNIMENT_URL, MUNIMENT_KEY and MUNIMENT_SPOOL (a folder; without it, events wait in memory)."""
        missing = [name for name in ("MUNIMENT_URL", "MUNIMENT_KEY") if not environ.get(name)]
        if missing:
            raise ValueError(f"not set: {', '.join(missing)}")
        return cls(environ["MUNIMENT_URL"], environ["MUNIMENT_KEY"], spool=environ.get("MUNIMENT_SPOOL") or None)

    def _begin(self) -> None:
        """Everything that belongs to one process. Nothing is opened before the first event."""
        folder = self._folder
        self._store: Store = (
            MemorySpool() if folder is None else DiskSpool(folder, self._bytes_max, is_synced=self._fsync)
        )
        self._book = ReceiptBook(folder / "receipts.sqlite" if folder is not None else None)
        self._witness = Witness(folder / "checkpoints.json" if folder is not None else None)
        self._wanted: dict[str, _Wanted] = {}
        self._told: dict[str, float] = {}
        self._start_lock = threading.Lock()
        self._sender: Sender | None = None
        self._thread: threading.Thread | None = None

    # --- events --------------------------------------------------------------------------------------------------

    def log(
        self,
        action: str,
        *,
        actor: ActorLike | None = None,
        target: TargetLike | None = None,
        targets: Iterable[TargetLike] = (),
        outcome: Outcome = "success",
        before: object = None,
        after: object = None,
        reason: str | None = None,
        on_behalf_of: ActorLike | None = None,
        tenant: str | None = None,
        context: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        occurred_ns: int | None = None,
        event_id: str | None = None,
    ) -> str:
        """Keep one event; returns its id when it is safe. `action` is noun.verb, such as `invoice.approve`.

        `context` adds to what `muniment.sdk.context` and the middleware have set. `event_id` is a UUID of your own.

        Raises:
            NotKeptError: it could not be kept; nothing of it will be sent.
        """
        return self._keep(
            action, event_id, occurred_ns, target, targets,
            {
                "actor": actor, "outcome": outcome, "before": before, "after": after, "reason": reason,
                "on_behalf_of": on_behalf_of, "tenant": tenant, "context": context, "metadata": metadata,
            },
        )  # fmt: skip

    def require(self, action: str, *, timeout: float = SYNC_TIMEOUT_S, **fields: object) -> Receipt:
        """Like `log`, and wait for the ledger: for what must not happen unrecorded.

        Raises:
            NotRecordedError: no acknowledgement within `timeout` seconds, or the server refused the event.
            NotKeptError: as with `log`.
        """
        given = fields.pop("event_id", None)
        event_id = uuid7() if given is None else str(given).lower()
        wanted = self._wanted[event_id] = _Wanted()
        try:
            self.log(action, event_id=event_id, **fields)  # type: ignore[arg-type]  # log's own keywords
            if is_capturing():  # in a test: no ledger will answer, and none is needed
                return Receipt(event_id, 0, bytes(32), 1, "", False)
            self.hurry()
            wanted.settled.wait(timeout)
            if wanted.receipt is not None:
                return wanted.receipt
            if wanted.refusal:
                raise NotRecordedError(event_id, wanted.refusal, is_kept=False)
            raise NotRecordedError(event_id, f"no acknowledgement within {timeout} s", is_kept=True)
        finally:
            self._wanted.pop(event_id, None)

    async def alog(self, action: str, **fields: object) -> str:
        """`log` in a thread, for event loops: the disk's fsync would hold up other requests."""
        import asyncio

        return await asyncio.to_thread(partial(self.log, action, **fields))  # type: ignore[arg-type]

    def _keep(
        self,
        action: str,
        event_id: str | None,
        occurred_ns: int | None,
        target: TargetLike | None,
        targets: Iterable[TargetLike],
        fields: Mapping[str, object],
    ) -> str:
        event_id = uuid7() if event_id is None else event_id.lower()
        if len(event_id) != 36:
            raise ValueError(f"expected a UUID of 36 characters, got {event_id!r}")
        if target is not None:
            targets = [target, *([targets] if isinstance(targets, str) else targets)]
        event = build_event(
            action,
            event_id=event_id,
            occurred_ns=time.time_ns() if occurred_ns is None else occurred_ns,
            surroundings=current_context(),
            targets=targets,
            fields=fields,
        )
        if captured(event):
            return event_id
        text = encode(event)
        if len(text) > EVENT_BYTES_MAX:
            raise NotKeptError(event_id, f"{len(text)} bytes, more than {EVENT_BYTES_MAX}")
        if self._is_closed:
            raise NotKeptError(event_id, "the audit log is closed")
        self._append(event_id, text)
        self._running().stored(1)
        return event_id

    def _append(self, event_id: str, text: bytes) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return self._store.append([(event_id, text)])
            except OSError as error:
                if error.errno != errno.ENOSPC or time.monotonic() >= deadline:
                    raise NotKeptError(event_id, error.strerror or str(error)) from error
            self._running().hurry()
            time.sleep(_SPACE_POLL_S)

    # --- what became of them -------------------------------------------------------------------------------------

    def receipt(self, event_id: str) -> Receipt | None:
        """The ledger's acknowledgement of an event; None while there is none."""
        return self._book.find(event_id.lower())

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The newest checkpoint of each ledger this spool has sent to, by origin."""
        return self._witness.known()

    def forget_checkpoints(self) -> None:
        """After an operator has restored the ledger and knows what was lost: accept the smaller one."""
        self._witness.forget()

    def hurry(self) -> None:
        """Send what there is now, without waiting for a batch to fill."""
        self._running().hurry()

    def flush(self, timeout: float = SYNC_TIMEOUT_S) -> bool:
        """Wait until everything logged so far by this process is acknowledged; whether it was in time."""
        sender = self._running()
        sender.hurry()
        return sender.wait_drained(timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Flush, and end the thread. What was not acknowledged stays in the spool for the next start."""
        if self._is_closed:
            return True
        is_drained = self._thread is None or self.flush(timeout)
        self._is_closed = True
        _alive.discard(self)
        if self._sender is not None and self._thread is not None:
            self._sender.stop()
            self._thread.join(min(1.0, timeout) if not is_drained else timeout)
            if self._thread.is_alive():
                return is_drained  # in a request; the descriptors are its own until the process ends
        self._store.close()
        return is_drained

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the sending thread --------------------------------------------------------------------------------------

    def _running(self) -> Sender:
        if self._sender is not None:
            return self._sender
        with self._start_lock:
            if self._sender is None:
                if isinstance(self._store, DiskSpool):
                    self._store.open()
                sender = Sender(
                    self._store,
                    self._make_transport(),
                    self._witness,
                    report=self._report,
                    on_refused=self._refused,
                    on_receipts=self._receipts,
                    wanted=lambda: True,
                    backoff_max_s=self._backoff_max_s,
                )
                self._thread = threading.Thread(target=sender.run, name="muniment-sender", daemon=True)
                self._thread.start()
                self._sender = sender
            return self._sender

    def _receipts(self, receipts: Sequence[Receipt]) -> None:
        try:
            self._book.add(receipts)
        except OSError as error:  # delivery goes on; the entry can still be found by the event's id
            self._report(Problem("receipts", str(error)))
        for one in receipts if self._wanted else ():
            wanted = self._wanted.get(one.event_id)
            if wanted is not None:
                wanted.receipt = one
                wanted.settled.set()

    def _refused(self, record: Record, words: str) -> None:
        self._report(Problem("refused", f"event {record.event_id}: {words}"))
        if self._folder is not None:  # if this raises, the event stays in the spool and is tried again
            with open(self._folder / "refused.ndjson", "ab") as file:
                file.write(record.text + b"\n")
                file.flush()
                os.fsync(file.fileno())
        wanted = self._wanted.get(record.event_id)
        if wanted is not None:
            wanted.refusal = words
            wanted.settled.set()

    def _report(self, problem: Problem) -> None:
        now = time.monotonic()
        if problem.kind not in {"refused", "new_ledger"}:  # these are said each time
            if now < self._told.get(problem.kind, 0.0):
                return
            self._told[problem.kind] = now + PROBLEM_EVERY_S
        if self._on_problem is None:
            level = logging.CRITICAL if problem.kind == "contradiction" else logging.WARNING
            _logger.log(level, "%s: %s", problem.kind, problem.words)
            return
        try:
            self._on_problem(problem)
        except Exception:  # the application's own word; sending must go on
            _logger.exception("on_problem failed for %s: %s", problem.kind, problem.words)

    def _after_fork(self) -> None:
        self._store.drop_in_child()
        self._begin()


_alive: weakref.WeakSet[Audit] = weakref.WeakSet()


def _close_all() -> None:
    for one in list(_alive):
        one.close()


def _after_fork() -> None:
    for one in list(_alive):
        one._after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
