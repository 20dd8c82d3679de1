"""Secrets of incoming webhooks: one a source, and how its sender signs. In the database, because a signature needs the secret
itself; it is shown once, when it is made. What each delivered and what was refused is counted since the secret was made: who
sets up a sender sees there why nothing comes. Counts are in memory and kept by `keep`, every few seconds: a flood of refusals
costs the database nothing, and a crash forgets those seconds.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from muniment.access.database import METADATA
from muniment.errors import RejectedError

__all__ = [
    "KINDS",
    "NO_SIGNATURE",
    "TOO_OLD",
    "UNREADABLE",
    "UNTAKEN",
    "WRONG_SIGNATURE",
    "Deliveries",
    "IncomingWebhook",
    "Refusal",
    "Webhooks",
]

KINDS: Final = ("auth0", "github", "okta", "slack", "standard")
"""Who signs how: see `ingest.door_webhook`."""

NO_SIGNATURE: Final = "no signature"
WRONG_SIGNATURE: Final = "wrong signature"
TOO_OLD: Final = "too old"
"""Signed with the right secret, at another time than now."""
UNREADABLE: Final = "unreadable"
UNTAKEN: Final = "not taken"
"""The server was busy, or its disk refused."""

_TABLE = sa.Table(
    "incoming_webhooks",
    METADATA,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("secret", sa.String(256), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

_COUNTS = sa.Table(
    "incoming_webhook_counts",
    METADATA,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """How the sender of a source proves itself."""

    source: str
    kind: str
    secret: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many deliveries were refused for a reason, and when the last was."""

    count: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What came by one webhook since `since`; `refused` by reason. Times in nanoseconds, 0 for never."""

    since: int
    accepted: int = 0
    last_at: int = 0
    refused: Mapping[str, Refusal] = field(default_factory=dict)


class Webhooks:
    """All incoming webhooks; in memory whole. Thread-safe."""

    def __init__(self, engine: sa.Engine, now_ns: int) -> None:
        """`now_ns`: when the server started, since which deliveries are counted of webhooks that nobody has counted."""
        self._engine = engine
        self._started_at = now_ns
        # A lock of its own: a door counts on the event loop and must not wait for the database.
        self._counting = threading.Lock()
        self._lock = threading.Lock()
        METADATA.create_all(engine, tables=[_TABLE, _COUNTS])
        with engine.connect() as connection:
            rows = connection.execute(sa.select(_TABLE)).mappings().all()
            counts = connection.execute(sa.select(_COUNTS)).all()
        self._all = {str(row["source"]): IncomingWebhook(**row) for row in rows}
        self._deliveries = {source: Deliveries(now_ns) for source in self._all}
        self._deliveries |= {
            source: Deliveries(since, accepted, last_at, {why: Refusal(*of) for why, of in json.loads(refused).items()})
            for source, since, accepted, last_at, refused in counts
        }
        self._kept: dict[str, Deliveries] = {}

    def get(self, source: str) -> IncomingWebhook | None:
        """The webhook of a source."""
        return self._all.get(source)

    def all(self) -> list[IncomingWebhook]:
        """Every webhook, by source."""
        return [self._all[source] for source in sorted(self._all)]

    def deliveries(self, source: str) -> Deliveries:
        """What came by the webhook of a source."""
        return self._deliveries.get(source) or Deliveries(self._started_at)

    def told(self, source: str, now_ns: int, refusal: str = "") -> None:
        """A delivery was taken, or refused for one of the reasons above."""
        with self._counting:
            if source not in self._all:
                return
            old = self.deliveries(source)
            if not refusal:
                self._deliveries[source] = replace(old, accepted=old.accepted + 1, last_at=now_ns)
                return
            before = old.refused.get(refusal)
            new = Refusal(before.count + 1 if before else 1, now_ns)
            self._deliveries[source] = replace(old, refused={**old.refused, refusal: new})

    def keep(self) -> None:
        """Write down what was counted since the last time."""
        with self._lock:
            with self._counting:
                counted = {source: each for source, each in self._deliveries.items() if self._kept.get(source) != each}
                gone = [source for source in self._kept if source not in self._deliveries]
            if not counted and not gone:
                return
            with self._engine.begin() as connection:
                connection.execute(sa.delete(_COUNTS).where(_COUNTS.c.source.in_([*counted, *gone])))
                for source, each in counted.items():
                    refused = json.dumps({why: [of.count, of.last_at] for why, of in each.refused.items()})
                    values = {
                        "since": each.since,
                        "accepted": each.accepted,
                        "last_at": each.last_at,
                        "refused": refused,
                    }
                    connection.execute(sa.insert(_COUNTS).values(source=source, **values))
            self._kept = {source: each for source, each in self._kept.items() if source not in gone} | counted

    def set(self, source: str, kind: str, secret: str, now_ns: int) -> IncomingWebhook:
        """Let a source's events come in by webhook; an empty secret is made up. An older secret ends.

        Raises:
            RejectedError: no such kind, a secret too short to be one, or none where the sender makes it.
        """
        if kind not in KINDS:
            raise RejectedError(f"must be one of {', '.join(KINDS)}, got {kind!r}", field="kind")
        if not secret and kind == "slack":
            raise RejectedError("Slack makes the secret: give the app's Signing Secret", field="secret")
        if not secret:
            made = secrets.token_bytes(32)
            secret = "whsec_" + base64.b64encode(made).decode() if kind == "standard" else made.hex()
        if not 16 <= len(secret) <= 256 or not secret.isascii() or not secret.isprintable():
            raise RejectedError("must have 16 to 256 printable ASCII characters", field="secret")
        webhook = IncomingWebhook(source, kind, secret, now_ns)
        with self._lock, self._engine.begin() as connection:
            for table in (_TABLE, _COUNTS):
                connection.execute(sa.delete(table).where(table.c.source == source))
            values = {"source": source, "kind": kind, "secret": secret, "created_at": now_ns}
            connection.execute(sa.insert(_TABLE).values(**values))
            with self._counting:
                self._all[source] = webhook
                self._deliveries[source] = Deliveries(now_ns)
        return webhook

    def remove(self, source: str) -> IncomingWebhook:
        """End it: what is delivered from now on is refused. RejectedError: the source has none."""
        with self._lock:
            webhook = self._all.get(source)
            if webhook is None:
                raise RejectedError("this source has no webhook", field="id", status=404)
            with self._engine.begin() as connection:
                connection.execute(sa.delete(_TABLE).where(_TABLE.c.source == source))
                connection.execute(sa.delete(_COUNTS).where(_COUNTS.c.source == source))
            with self._counting:
                del self._all[source]
                self._deliveries.pop(source, None)
        return webhook
