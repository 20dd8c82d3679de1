"""For all tests: what takes longest begins first, so that no worker is left with it at the end."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

import pytest

_SLOW_ROOMS: Final = ("system", "faults", "web", "docs")
_TESTS: Final = Path(__file__).parent

gc.set_threshold(50_000, 20, 50)  # as the server does


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow rooms before the others; within them the order stays."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    room = item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""
    return _SLOW_ROOMS.index(room) if room in _SLOW_ROOMS else len(_SLOW_ROOMS)
