"""The pytest fixture `audit_events`: what a test's code logs is caught instead of sent.

    # the top conftest.py
    pytest_plugins = ["muniment.sdk.pytest_plugin"]

    def test_approving_is_recorded(audit_events, client):
        client.post("/invoices/9/approve")
        audit_events.assert_logged("invoice.approve", actor="u-17", target="9")
        audit_events.assert_nothing_else()

Loading it changes nothing for tests that do not ask for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from muniment.sdk.capture import CapturedEvents, capture

__all__ = ["audit_events"]


@pytest.fixture
def audit_events() -> Iterator[CapturedEvents]:
    """Events logged by this test, through any `Audit` and any thread of this process."""
    with capture() as caught:
        yield caught
