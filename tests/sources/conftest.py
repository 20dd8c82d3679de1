"""One embedded engine for the whole session: a process may hold one, and it does not survive a fork."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from muniment.sources.catalogue import Catalogue, load
from muniment.sources.testing import local_client


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    with local_client() as opened:
        yield opened


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load()
