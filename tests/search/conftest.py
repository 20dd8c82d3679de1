"""An embedded store in a folder of its own; one engine path per process, so tests share it and start it empty."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_ledger import empty

from muniment.search.engine import Engine, open_engine


@pytest.fixture(scope="session")
def _engine() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="muniment-store-"))
    engine = open_engine(f"chdb://{folder}")
    yield engine
    engine.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(_engine: Engine) -> Engine:
    """An empty store."""
    empty(_engine)
    return _engine
