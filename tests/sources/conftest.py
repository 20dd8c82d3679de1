"""One embedded engine for all tests of the room."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.sources.catalogue import Catalogue, load


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("engine_process", Path(__file__).parent / "engine_process.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    engine = module.EngineProcess()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load()
