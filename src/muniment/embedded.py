"""A connection to the search engine inside this process (chDB) that may be used again after an error.

The engine keeps what a failed statement had put out until then, and puts it before the answer of the next one on the
same connection: one reader's rows before another's (chDB 4.4). So whatever fails takes its connection with it.

A leaf: everything that reads or writes through that engine connects here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import clickhouse_connect

__all__ = ["Embedded"]


class Embedded:
    """Statements on one connection at a time, another after every error. Used by one thread at a time."""

    def __init__(
        self,
        path: str,
        settings: Mapping[str, int | str] | None = None,
        options: Mapping[str, int] | None = None,
        begin: Callable[[Any], None] = lambda client: None,
    ) -> None:
        """`path`: the engine's folder. `settings`: of each statement; `options`: the engine's own, which the first
        connection of the process decides. `begin` is given each new connection first.
        """
        self._path = path
        self._settings = dict(settings or {})
        self._options = dict(options or {})
        self._begin = begin
        self._client: Any = self._connect()

    def query(self, *args: Any, **named: Any) -> Any:
        """As the client's own."""
        return self._ask("query", args, named)

    def query_arrow(self, *args: Any, **named: Any) -> Any:
        """As the client's own."""
        return self._ask("query_arrow", args, named)

    def command(self, *args: Any, **named: Any) -> Any:
        """As the client's own."""
        return self._ask("command", args, named)

    def close(self) -> None:
        """End the connection; the next statement would begin another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._client is None:
            self._client = self._connect()
        try:
            return getattr(self._client, name)(*args, **named)
        except BaseException:
            self._begin_anew()
            raise

    def _begin_anew(self) -> None:
        before, self._client = self._client, None
        with contextlib.suppress(Exception):  # what failed before is what to tell; the next statement tries this again
            self._client = self._connect()  # before the other ends: without any connection the engine is shut down
        before.close()

    def _connect(self) -> Any:
        client = clickhouse_connect.get_client(
            dsn=f"chdb://{self._path}", chdb_options=self._options, settings=self._settings
        )
        try:
            self._begin(client)
        except BaseException:
            client.close()
            raise
        return client
