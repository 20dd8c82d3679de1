"""The embedded engine in a process of its own: one process may open one path, and other rooms' tests open theirs.

Questions and answers are pickles over stdin and stdout, between a test run and the child it started.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """What the engine's client would return, as far as `muniment.sources.testing` reads it."""

    column_names: tuple[str, ...]
    result_rows: list[tuple[Any, ...]]


class EngineProcess:
    """Stands in for the client: `query` only."""

    def __init__(self) -> None:
        self._child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def query(self, sql: str, settings: dict[str, Any] | None = None) -> Answer:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        pickle.dump((sql, settings), self._child.stdin)
        self._child.stdin.flush()
        names, rows, error = pickle.load(self._child.stdout)  # noqa: S301  our own child
        if error:
            raise RuntimeError(error)
        return Answer(names, rows)

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(timeout=30)


def _serve() -> None:
    from muniment.sources.testing import local_client

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the engine prints must not stand among the answers
    with local_client() as client:
        while True:
            try:
                sql, settings = pickle.load(sys.stdin.buffer)  # noqa: S301  our own parent
            except EOFError:
                return
            try:
                found = client.query(sql, settings=settings)
                answer = (tuple(found.column_names), list(found.result_rows), "")
            except Exception as error:
                answer = ((), [], str(error))
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    _serve()
