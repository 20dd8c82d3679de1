"""API keys: `mk_<id>_<secret>`, stored as a hash, scoped to one source (ingest) or one role (reading).

All keys are held in memory, so checking one never touches the disk (INTEGRITY.md L15, S12). The secret has 256
random bits, which is why one SHA-256 is enough; comparison takes constant time.

A key belongs to the person who made it, and what it does is that person's doing: two keys of one person are one person
wherever two have to agree. A key made before keys had owners belongs to nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace

import sqlalchemy as sa

from muniment.access.database import METADATA
from muniment.access.policy import MACHINE, Identity
from muniment.errors import DeniedError, RejectedError
from muniment.tables import make_tables

__all__ = ["ApiKey", "KeyRing"]

_TABLE = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("source", sa.String(64), nullable=False, default=""),
    sa.Column("scope", sa.Text, nullable=False, default=""),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger, nullable=True),
    sa.Column("owner", sa.String(64), nullable=False, server_default=""),
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key without its secret; times in UTC nanoseconds. `owner`: whose it is, "" when nobody knows."""

    id: str
    secret_hash: str
    name: str
    role: str
    source: str
    scope: str
    created_at: int
    revoked_at: int | None = None
    owner: str = ""

    def identity(self) -> Identity:
        """Whom this key stands for."""
        return Identity(f"key:{self.id}", self.name, self.role, self.source, self.scope, "api-key", self.owner)


class KeyRing:
    """All API keys, in memory and in the database. Changes are durable when the method returns."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        make_tables(engine, [_TABLE])
        with engine.connect() as connection:
            self._keys = {row.id: ApiKey(**row._mapping) for row in connection.execute(sa.select(_TABLE))}

    def create(
        self, name: str, role: str, now_ns: int, *, source: str = "", scope: str = "", owner: str = ""
    ) -> tuple[ApiKey, str]:
        """A new key of `owner`'s and its text, which is shown this once."""
        if role == "source" and not source:
            raise RejectedError("an ingest key belongs to one source", field="source")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = ApiKey(key_id, _hash(secret), name, role, source, scope, now_ns, owner=owner)
        with self._engine.begin() as connection:
            connection.execute(_TABLE.insert().values({c.name: getattr(key, c.name) for c in _TABLE.columns}))
        self._keys[key_id] = key
        return key, f"mk_{key_id}_{secret}"

    def revoke(self, key_id: str, now_ns: int) -> ApiKey:
        """End a key at once."""
        key = self._keys.get(key_id)
        if key is None:
            raise RejectedError("there is no such key", field="key", status=404)
        with self._engine.begin() as connection:
            connection.execute(_TABLE.update().where(_TABLE.c.id == key_id).values(revoked_at=now_ns))
        self._keys[key_id] = replace(key, revoked_at=now_ns)
        return self._keys[key_id]

    def revoke_those_of(self, owner: str, now_ns: int) -> tuple[list[ApiKey], list[ApiKey]]:
        """The owner has left: what reads or decides ends at once; what sends goes on, and is told.

        A source that falls silent because somebody left would lose records, and leaving would be a way to silence it.
        """
        own = [key for key in self.all() if owner and key.owner == owner and key.revoked_at is None]
        return [self.revoke(key.id, now_ns) for key in own if not key.source], [key for key in own if key.source]

    def identify(self, text: str) -> Identity:
        """Whom the key `text` stands for.

        Raises:
            DeniedError: unknown, malformed or revoked; the message does not tell which.
        """
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        expected = key.secret_hash if key else "0" * 64
        is_right = hmac.compare_digest(expected, _hash(secret))
        if prefix != "mk" or key is None or not is_right or key.revoked_at is not None:
            raise DeniedError("this API key is not valid", is_authenticated=False)
        return key.identity()

    def called(self, by: str) -> str:
        """Who did something, as people know them: of a key (`key:<id>`) its owner's name and its own; anybody else as they are."""
        key = self._keys.get(by.removeprefix("key:")) if by.startswith("key:") else None
        if key is None:
            return by
        if key.owner == MACHINE:
            return key.name
        return f"{key.owner} (key {key.name})" if key.owner else f"key {key.name}"

    def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        return sorted(self._keys.values(), key=lambda key: key.created_at)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
