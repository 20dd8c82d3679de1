"""A process that seals batches for the server, so that their work is not done under the server's interpreter lock.

`python -m muniment.privacy.worker` reads requests from its standard input and answers on its standard output; it ends
when the input does, so it never outlives the server. Frame: u32 length (little-endian) | msgpack. One request at a
time, answered by any number of [1, names] - each answered in turn by the keys - and a last [0, result].

Rules: it keeps no state but plans and keys it was told; keys are forgotten when `generation` changes (somebody was
erased). It sees clear text and keys, as the server does: same user, no files, no network. `SealWorker` is the
server's end; whatever goes wrong there is a `WorkerLostError`, and the server does the batch itself.
"""

from __future__ import annotations

import contextlib
import logging
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import msgspec

from muniment.ledger.types import SealedPart
from muniment.limits import SEAL_WORKER_ANSWER_S, SUBJECT_KEYS_CACHED_MAX
from muniment.privacy.batch import BatchSealer, Job, Name, Sealed, Subject
from muniment.privacy.plan import SealPlan
from muniment.privacy.scan import Scrubber

__all__ = ["SealWorker", "WorkerLostError", "main"]

_log = logging.getLogger(__name__)
_READY = b"ready"


class _Request(msgspec.Struct, array_like=True):
    generation: int
    origin: bytes
    plans: dict[int, bytes]  # those the worker has not been told yet
    jobs: list[Job]


class _Answer(msgspec.Struct, array_like=True):
    """Lists hold what differs from the records sent: record number to bytes; `parts` of those that have any."""

    kind: int  # 0: the result; 1: `names` are wanted
    names: list[Name] = []
    stored: dict[int, bytes] = {}
    clear: dict[int, bytes] = {}
    parts: dict[int, tuple[SealedPart, ...]] = {}
    secrets: list[tuple[int, str, int]] = []


_encode = msgspec.msgpack.Encoder().encode
_as_request = msgspec.msgpack.Decoder(_Request).decode
_as_answer = msgspec.msgpack.Decoder(_Answer).decode
_as_keys = msgspec.msgpack.Decoder(list[tuple[Name, Subject]]).decode


class WorkerLostError(Exception):
    """The worker is away, silent or talks nonsense. It was stopped; the batch is untouched."""


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(4, "little"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    header = stream.read(4)
    if len(header) < 4:
        raise EOFError
    data = stream.read(int.from_bytes(header, "little"))
    if len(data) < int.from_bytes(header, "little"):
        raise EOFError
    return data


def main() -> None:
    """Serve until the input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may write into the answers
    known: dict[Name, Subject] = {}

    def subjects(names: set[Name]) -> Mapping[Name, Subject]:
        wanted = [name for name in names if name not in known]
        if len(known) + len(wanted) > SUBJECT_KEYS_CACHED_MAX:
            known.clear()
            wanted = list(names)
        if wanted:
            _write(answers, _encode(_Answer(1, wanted)))
            known.update(_as_keys(_read(requests)))
        return known

    sealer: BatchSealer | None = None
    scrubber = Scrubber()  # takes a second: before it says that it is ready
    generation = -1
    _write(answers, _READY)
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            request = _as_request(_read(requests))
            if request.generation != generation:
                generation = request.generation
                known.clear()
            if sealer is None:
                sealer = BatchSealer(request.origin, subjects, scrubber)
            for number, plan in request.plans.items():
                sealer.learn(number, SealPlan.from_bytes(plan))
            records = [record for job in request.jobs for record in job.records]
            done = sealer.run(request.jobs)
            _write(answers, _encode(_Answer(
                0,
                stored={n: data for n, data in enumerate(done.stored) if data is not records[n]},
                clear={n: data for n, data in enumerate(done.clear) if data is not records[n]},
                parts={n: parts for n, parts in enumerate(done.parts) if parts},
                secrets=done.secrets,
            )))  # fmt: skip


class SealWorker:
    """One worker process and the server's end of its pipes. Thread-safe; one batch at a time."""

    def __init__(self, origin: bytes, keys: Callable[[Sequence[Name]], list[tuple[Name, Subject]]]) -> None:
        """`keys` makes or finds subject keys, durable on return; StorageError passes through `run`."""
        self._origin = origin
        self._keys = keys
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._told: set[int] = set()

    def start(self) -> None:
        """Start the process; it is of use a second later. Does nothing while it runs."""
        with self._lock:
            if self._process is None:
                self._told.clear()
                self._is_ready = False
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "muniment.privacy.worker"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                )  # fmt: skip

    def is_free(self) -> bool:
        """Is it up and not at work?"""
        if self._lock.locked() or self._process is None:
            return False
        if not self._is_ready:
            with self._lock:
                process = self._process
                if process is None or process.stdout is None or not select.select([process.stdout], [], [], 0)[0]:
                    return False
                try:
                    self._is_ready = _read(process.stdout) == _READY
                except EOFError:
                    self._stop()
        return self._is_ready

    def run(self, jobs: Sequence[Job], plans: Mapping[int, SealPlan], generation: int) -> Sealed:
        """Have a batch done. `plans` are those the jobs name.

        Raises:
            WorkerLostError: do it yourself; `start` makes a new worker.
            StorageError: keys could not be made durable.
        """
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise WorkerLostError
            new = {number: plan.to_bytes() for number, plan in plans.items() if number not in self._told}
            try:
                _write(process.stdin, _encode(_Request(generation, self._origin, new, list(jobs))))
                while True:
                    if not select.select([process.stdout], [], [], SEAL_WORKER_ANSWER_S)[0]:
                        raise EOFError
                    answer = _as_answer(_read(process.stdout))
                    if answer.kind == 0:
                        break
                    _write(process.stdin, _encode(self._keys(answer.names)))
            except (EOFError, OSError, msgspec.MsgspecError) as error:
                self._stop()
                _log.warning("a seal worker was lost (%r); the server seals by itself until there is a new one", error)
                raise WorkerLostError from error
            except BaseException:  # the worker still waits for keys it will not get
                self._stop()
                raise
            self._told.update(new)
        records = [record for job in jobs for record in job.records]
        parts: list[tuple[SealedPart, ...]] = [()] * len(records)
        clear, stored = records.copy(), records
        for number, data in answer.clear.items():
            clear[number] = data
        for number, data in answer.stored.items():
            stored[number] = data
        for number, found in answer.parts.items():
            parts[number] = found
        return Sealed(stored, clear, parts, answer.secrets)

    @property
    def pid(self) -> int | None:
        """Of the process, for those who watch memory."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        process, self._process, self._is_ready = self._process, None, False
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
