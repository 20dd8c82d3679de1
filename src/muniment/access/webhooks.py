"""Secrets of incoming webhooks: one a source, and how its sender signs. In the database, because a signature needs the secret
itself; it is shown once, when it is made.
"""

from __future__ import annotations

import base64
import secrets
import threading
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from muniment.access.database import METADATA
from muniment.errors import RejectedError

__all__ = ["KINDS", "IncomingWebhook", "Webhooks"]

KINDS: Final = ("auth0", "github", "okta", "slack", "standard")
"""Who signs how: see `ingest.door_webhook`."""

_TABLE = sa.Table(
    "incoming_webhooks",
    METADATA,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("secret", sa.String(256), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """How the sender of a source proves itself."""

    source: str
    kind: str
    secret: str
    created_at: int


class Webhooks:
    """All incoming webhooks; in memory whole. Thread-safe."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        METADATA.create_all(engine, tables=[_TABLE])
        with engine.connect() as connection:
            rows = connection.execute(sa.select(_TABLE)).mappings().all()
        self._all = {str(row["source"]): IncomingWebhook(**row) for row in rows}

    def get(self, source: str) -> IncomingWebhook | None:
        """The webhook of a source."""
        return self._all.get(source)

    def set(self, source: str, kind: str, secret: str, now_ns: int) -> IncomingWebhook:
        """Let a source's events come in by webhook; an empty secret is made up. An older secret ends.

        Raises:
            RejectedError: no such kind, or a secret too short to be one.
        """
        if kind not in KINDS:
            raise RejectedError(f"must be one of {', '.join(KINDS)}, got {kind!r}", field="kind")
        if not secret:
            made = secrets.token_bytes(32)
            secret = "whsec_" + base64.b64encode(made).decode() if kind == "standard" else made.hex()
        if not 16 <= len(secret) <= 256 or not secret.isascii() or not secret.isprintable():
            raise RejectedError("must have 16 to 256 printable ASCII characters", field="secret")
        webhook = IncomingWebhook(source, kind, secret, now_ns)
        with self._lock, self._engine.begin() as connection:
            connection.execute(sa.delete(_TABLE).where(_TABLE.c.source == source))
            values = {"source": source, "kind": kind, "secret": secret, "created_at": now_ns}
            connection.execute(sa.insert(_TABLE).values(**values))
        self._all[source] = webhook
        return webhook
