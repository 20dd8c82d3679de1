"""What a server does by itself goes on where one part of it cannot."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.access.webhooks import Webhooks
from muniment.app.upkeep import Upkeep


def test_counts_of_webhooks_that_cannot_be_written_wait_and_hold_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'meta.db'}")
    webhooks = Webhooks(database, 1)
    webhooks.set("git", "github", "s" * 16, 2)
    webhooks.told("git", 3, "bad signature")
    upkeep = Upkeep(cast("Any", SimpleNamespace(webhooks=webhooks)))
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE incoming_webhook_counts RENAME TO away"))
    with caplog.at_level(logging.ERROR, "muniment.upkeep"):
        asyncio.run(upkeep.write_rest())
    assert "is not kept" in caplog.text
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO incoming_webhook_counts"))
    asyncio.run(upkeep.write_rest())
    again = Webhooks(database, 9).deliveries("git")
    assert (again.since, again.refused["bad signature"].count) == (2, 1)
