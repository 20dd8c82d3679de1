"""Who acts, and in which request: set once, carried by `contextvars`, added to every event below.

Values nest: an inner `context` adds to the outer one and gives way to what `log` is told directly. Threads started by
the application begin without it (as with every context variable); tasks of asyncio inherit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

__all__ = ["EVENT_FIELDS", "bind", "context", "current_context"]

EVENT_FIELDS = frozenset({"actor", "on_behalf_of", "reason", "tenant"})
"""What stands in the event itself; every other name goes into its `context` object."""

_EMPTY: Mapping[str, object] = MappingProxyType({})
_current: ContextVar[Mapping[str, object]] = ContextVar("muniment_audit_context", default=_EMPTY)


@contextmanager
def context(**values: object) -> Iterator[None]:
    """Add `values` to every event logged inside; None takes a value of an outer context away.

    `actor`, `on_behalf_of`, `reason` and `tenant` stand in the event itself; anything else (`request_id`, `ip`,
    `user_agent`, `session_id`, `trace_id`, ...) in its `context`.
    """
    merged = {name: value for name, value in {**_current.get(), **values}.items() if value is not None}
    token = _current.set(MappingProxyType(merged))
    try:
        yield
    finally:
        _current.reset(token)


def bind(**values: object) -> None:
    """Add `values` until the surrounding `context` (or the request of a middleware) ends: the actor, once known."""
    merged = {name: value for name, value in {**_current.get(), **values}.items() if value is not None}
    _current.set(MappingProxyType(merged))


def current_context() -> Mapping[str, object]:
    """What is set here and now; read-only."""
    return _current.get()
