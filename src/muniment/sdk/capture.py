"""Events caught in tests instead of being kept and sent. `capture` is global to the process, as tests need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

__all__ = ["CapturedEvents", "capture", "captured", "is_capturing"]

_open: list[CapturedEvents] = []


class CapturedEvents:
    """What would have been sent, in order, each as the dict of its JSON."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._n_asked: set[int] = set()

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.events)

    def matching(self, action: str, **expected: object) -> list[dict[str, Any]]:
        """Events of `action` whose fields are as `expected`; a str for actor or target means its id."""
        found = [
            (n, event)
            for n, event in enumerate(self.events)
            if event["action"] == action and all(_fits(event, name, value) for name, value in expected.items())
        ]
        self._n_asked |= {n for n, _ in found}
        return [event for _, event in found]

    def assert_logged(self, action: str, *, times: int | None = None, **expected: object) -> dict[str, Any]:
        """That such an event was logged (`times` often, if given); returns the first."""
        found = self.matching(action, **expected)
        if not found or (times is not None and len(found) != times):
            said = ", ".join(f"{event['action']} {_brief(event)}" for event in self.events) or "nothing"
            often = "once or more" if times is None else f"{times} times"
            raise AssertionError(f"expected {action} {expected or ''} {often}, got {len(found)}; logged: {said}")
        return found[0]

    def assert_not_logged(self, action: str, **expected: object) -> None:
        """That no such event was logged."""
        found = self.matching(action, **expected)
        if found:
            raise AssertionError(f"expected no {action}, got {len(found)}: {found[0]}")

    def assert_nothing_else(self) -> None:
        """That every event was asked for by one of the assertions above."""
        rest = [event["action"] for n, event in enumerate(self.events) if n not in self._n_asked]
        if rest:
            raise AssertionError(f"expected nothing else, got {', '.join(rest)}")


def _brief(event: Mapping[str, Any]) -> str:
    return str({name: value for name, value in event.items() if name not in {"id", "action", "occurred_at", "context"}})


def _fits(event: Mapping[str, Any], name: str, value: object) -> bool:
    if name == "target":
        return any(_is(target, value) for target in event.get("targets", ()))
    found = event.get(name, event.get("context", {}).get(name))
    return _is(found, value)


def _is(found: Any, value: object) -> bool:
    if isinstance(found, Mapping):
        if isinstance(value, Mapping):
            return all(name in found and found[name] == one for name, one in value.items())
        return cast(bool, found.get("id") == value)
    return cast(bool, found == value)


@contextmanager
def capture() -> Iterator[CapturedEvents]:
    """Catch what any `Audit` of this process logs inside; nothing is spooled or sent."""
    caught = CapturedEvents()
    _open.append(caught)
    try:
        yield caught
    finally:
        _open.remove(caught)


def is_capturing() -> bool:
    """Whether events are caught now."""
    return bool(_open)


def captured(event: dict[str, object]) -> bool:
    """Whether a capture took the event."""
    if not _open:
        return False
    _open[-1].events.append(event)
    return True
