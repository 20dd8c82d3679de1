"""Fixtures of the pages' tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))

from memory import MemoryBackend, application


@pytest.fixture(scope="session")
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def client(backend: MemoryBackend) -> Iterator[TestClient]:
    with TestClient(
        application(backend), cookies={"muniment_session": backend.session}, follow_redirects=False
    ) as found:
        yield found
