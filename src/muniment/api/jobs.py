"""Long work in the background (verify, rebuild): one of a kind at a time, with progress that can be asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from muniment.errors import AuditError, BusyError, RejectedError

__all__ = ["Job", "JobState", "Jobs"]


class JobState(msgspec.Struct, frozen=True):
    """Where a job stands. `state`: running, done or failed; waiting: not begun, another person must agree; `done` and `total` count entries; times in UTC ns."""

    name: str
    state: str
    started_at: int
    ended_at: int | None = None
    done: int = 0
    total: int = 0
    result: dict[str, Any] = {}
    error: str = ""


_log = logging.getLogger(__name__)

Job = Callable[[Callable[[int, int], None]], dict[str, object]]
"""The work itself: gets a function to report (done, total), returns its result."""


@dataclass(slots=True)
class _Running:
    state: JobState


class Jobs:
    """Runs jobs on threads of their own; the last state of each name is kept."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, _Running] = {}

    def start(self, name: str, job: Job, when_done: Callable[[JobState], None] | None = None) -> JobState:
        """Start `job` unless one of its name is running (then BusyError)."""
        with self._lock:
            current = self._jobs.get(name)
            if current and current.state.state == "running":
                raise BusyError(f"{name} is running already, {current.state.done} of {current.state.total} done")
            running = self._jobs[name] = _Running(JobState(name, "running", self._clock()))
        threading.Thread(target=self._run, args=(running, job, when_done), name=f"job-{name}", daemon=True).start()
        return running.state

    def is_running(self, name: str) -> bool:
        """Is a job of that name under way?"""
        running = self._jobs.get(name)
        return running is not None and running.state.state == "running"

    def state(self, name: str) -> JobState:
        """The last known state of a job."""
        running = self._jobs.get(name)
        if running is None:
            raise RejectedError("it has not been started since the server came up", field="job", status=404)
        return running.state

    def _run(self, running: _Running, job: Job, when_done: Callable[[JobState], None] | None) -> None:
        def progress(done: int, total: int) -> None:
            running.state = msgspec.structs.replace(running.state, done=done, total=total)

        try:
            result = job(progress)
            running.state = msgspec.structs.replace(running.state, state="done", result=result, ended_at=self._clock())
        except AuditError as error:
            _log.error("%s: %s", running.state.name, error)
            running.state = msgspec.structs.replace(
                running.state, state="failed", error=f"{type(error).__name__}: {error}", ended_at=self._clock()
            )
        except BaseException as error:
            running.state = msgspec.structs.replace(
                running.state, state="failed", error=f"internal error: {type(error).__name__}", ended_at=self._clock()
            )
            raise
        finally:
            if when_done:
                when_done(running.state)
