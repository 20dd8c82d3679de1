"""A process that evaluates rules for the server, so that their work is not done under the server's interpreter lock.

`python -m muniment.detect.worker FD` serves one socket that it inherited and ends when that closes, so it never outlives
the server. It has no files and no network; what it reads of the store, where addresses are and what exceptions hide, it
asks the server for in the middle of a request. Frames are pickles between a process and the child it started.

Rules: a worker that is lost, silent or fails is ended, and with it what its correlations have seen: the next `adopt`
starts another and warms it up from the store. The detector repeats the range, and alerts know what they have counted.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

import pyarrow as pa

from muniment.detect.alerts import Finding
from muniment.detect.behaviour import Surroundings
from muniment.detect.correlation import Correlation
from muniment.detect.evaluator import Evaluation, Evaluator, Hidden
from muniment.detect.reading import Formats, Store
from muniment.detect.rule import Rule, RuleSet
from muniment.errors import AuditError, BusyError, StorageError
from muniment.event.place import Place
from muniment.limits import DETECT_WORKER_ANSWER_S, DETECT_WORKER_START_S

__all__ = ["EvaluatorProcess", "main"]

_log = logging.getLogger(__name__)

_READY: Final = "ready"
_DONE: Final = "done"
_FAILED: Final = "failed"
_LOST: Final = "the process that runs the rules was lost; another one starts"


# --- the worker -------------------------------------------------------------------------------------------------------


class _Server:
    """What the worker asks the server for, as if it had it: the store, places, exceptions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _ask(self, what: str, *given: object) -> Any:
        self._connection.send((what, given))
        is_answer, found = self._connection.recv()
        if not is_answer:
            raise StorageError(found)
        return found

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> _Rows:
        return _Rows(self._ask("query", sql, dict(parameters or {})))

    def query_arrow(
        self, sql: str, parameters: Mapping[str, object] | None = None, *, settings: Mapping[str, int] | None = None
    ) -> pa.Table:
        return self._ask("query_arrow", sql, dict(parameters or {}), dict(settings or {}))

    def locate(self, address: str) -> Place | None:
        found: Place | None = self._ask("locate", address)
        return found

    def hidden(self, matches: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        found: set[tuple[int, str]] = self._ask("hidden", matches)
        return found


class _Rows:
    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self.rows = rows


def main() -> None:
    """Serve until the socket closes."""
    connection = Connection(int(sys.argv[1]))
    server = _Server(connection)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        connection.send(_READY)
        domains: tuple[str, ...] = connection.recv()
        evaluator = Evaluator(server, Surroundings(server.locate, domains), server.hidden)
        while True:
            what, given = connection.recv()
            try:
                done = (_adopted if what == "adopt" else _evaluated)(evaluator, *given)
            except StorageError:
                connection.send((_FAILED, ""))  # the server knows what its store said
            except Exception:  # a mistake of ours: the server logs it
                connection.send((_FAILED, traceback.format_exc()))
            else:
                connection.send((_DONE, done))


def _adopted(evaluator: Evaluator, rules: RuleSet, formats: Formats, now_us: int, below: int) -> tuple[Any, ...]:
    evaluator.adopt(rules, formats, now_us, below)
    gc.collect()
    gc.freeze()  # rules stay: whole collections of them would be pauses
    gc.set_threshold(50_000, 20, 50)
    return ()


def _evaluated(evaluator: Evaluator, start: int, end: int, now_us: int, has_exceptions: bool) -> tuple[Any, ...]:
    found = evaluator.evaluate(start, end, now_us, has_exceptions=has_exceptions)
    findings = [
        (f.rule.key, (f.group, f.indexes, f.first_us, f.last_us, f.values, f.drill, f.why, f.origins))
        for f in found.findings
    ]
    return findings, dict(found.matched), found.failures, found.spent_s, found.dropped


# --- the server's end -------------------------------------------------------------------------------------------------


class EvaluatorProcess:
    """Evaluates in a worker process, which it starts when there are rules. One call at a time; `close` from any thread."""

    def __init__(self, store: Store, around: Surroundings, hidden: Hidden) -> None:
        self._around = around
        self._answers: Mapping[str, Callable[..., object]] = {
            "query": lambda sql, parameters: store.query(sql, parameters).rows,
            "query_arrow": lambda sql, parameters, settings: store.query_arrow(sql, parameters, settings=settings),
            "locate": around.locate,
            "hidden": hidden,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._rules: RuleSet | None = None

    @property
    def is_ready(self) -> bool:
        return self._rules is not None

    @property
    def pid(self) -> int | None:
        """Of the process, for those who watch memory."""
        process = self._process
        return process.pid if process else None

    def adopt(self, rules: RuleSet, formats: Formats, now_us: int, below: int) -> None:
        if self._process is None:
            self._start()
        self._rules = None
        self._asked("adopt", rules, dict(formats), now_us, below)
        self._rules = rules

    def evaluate(self, start: int, end: int, now_us: int, *, has_exceptions: bool) -> Evaluation:
        assert self._rules is not None
        known: dict[str, Rule | Correlation] = {rule.key: rule for rule in self._rules.all_rules}
        findings, matched, failures, spent_s, dropped = self._asked("evaluate", start, end, now_us, has_exceptions)
        return Evaluation(
            [Finding(known[key], *values) for key, values in findings], matched, failures, spent_s, dropped
        )

    def close(self) -> None:
        """End the process, whatever it does."""
        process, connection = self._process, self._connection
        self._process = self._connection = self._rules = None
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "muniment.detect.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._connection = connection = Connection(ours.detach())
        try:
            if not connection.poll(DETECT_WORKER_START_S) or connection.recv() != _READY:
                raise EOFError
            connection.send(self._around.domains)
        except (EOFError, OSError) as error:
            self.close()
            raise BusyError(_LOST, retry_after_ms=1_000) from error

    def _asked(self, what: str, *given: object) -> Any:
        """The worker's answer; its questions are answered meanwhile. BusyError: it was lost."""
        connection = self._connection
        problem: AuditError | None = None
        try:
            if connection is None:
                raise EOFError
            connection.send((what, given))
            while True:
                if not connection.poll(DETECT_WORKER_ANSWER_S):
                    raise EOFError
                kind, found = connection.recv()
                if kind == _DONE:
                    return found
                if kind == _FAILED:
                    break
                try:
                    connection.send((True, self._answers[kind](*found)))
                except AuditError as error:
                    problem = error
                    connection.send((False, str(error)))
        except (EOFError, OSError) as error:
            self.close()
            raise BusyError(_LOST, retry_after_ms=1_000) from error
        self.close()
        raise problem or RuntimeError(f"rules failed:\n{found}")


if __name__ == "__main__":
    main()
