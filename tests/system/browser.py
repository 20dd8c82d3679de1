"""A real browser in which somebody is signed in to a live server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.live import LiveServer

__all__ = ["CHROMIUM", "needs_browser", "signed_in"]

CHROMIUM: Final = os.environ.get("MUNIMENT_TEST_CHROMIUM", "/usr/bin/chromium")
needs_browser = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs a Chromium")


@contextmanager
def signed_in(server: LiveServer, person: str, role: str) -> Iterator[Any]:
    """A page in which `person` has followed their login link."""
    sync_api = pytest.importorskip("playwright.sync_api")
    body = {"person": person, "name": person.title(), "role": role}
    link = server.client.post("/api/v1/links", json=body).json()["url"]
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.goto(link)
        page.click("main button")
        page.wait_for_load_state()
        yield page
        browser.close()
