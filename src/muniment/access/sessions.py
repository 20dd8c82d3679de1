"""People, one-time login links and browser sessions, all kept on the server so that ending one ends it everywhere.

A login link and a session cookie hold 256 random bits; the database keeps only their hashes. The first
administrator comes in through a link printed at start; it works once, and not after it expires. Who has left keeps the
account, for what is written of it, and has no way in; a new link lets them in again.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from muniment.access.database import METADATA
from muniment.access.policy import Identity
from muniment.errors import DeniedError, RejectedError
from muniment.tables import make_tables

__all__ = ["LINK_LIFETIME_NS", "Doorkeeper", "Person", "Session"]

LINK_LIFETIME_NS: Final = 24 * 3_600 * 1_000_000_000
"""A login link is for now, not for a drawer; a new one is a command away."""

_PEOPLE = sa.Table(
    "people",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("left_at", sa.BigInteger, nullable=False, server_default="0"),
)
_LINKS = sa.Table(
    "login_links",
    METADATA,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=True),
)
_SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person. `csrf` must come back with every form."""

    identity: Identity
    csrf: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Person:
    """An account. `left_at` 0: still here; times in UTC nanoseconds."""

    id: str
    name: str
    role: str
    created_at: int
    left_at: int


class Doorkeeper:
    """Login links in, sessions out. Changes are durable when the method returns."""

    def __init__(self, engine: sa.Engine, session_ns: int) -> None:
        self._engine = engine
        self._session_ns = session_ns
        make_tables(engine, [_PEOPLE, _LINKS, _SESSIONS])
        self._sessions: dict[str, Session] = {}
        with engine.connect() as connection:
            rows = connection.execute(
                sa.select(_SESSIONS, _PEOPLE.c.name, _PEOPLE.c.role).join(_PEOPLE, _PEOPLE.c.id == _SESSIONS.c.person)
            )
            for row in rows:
                self._sessions[row.token_hash] = Session(
                    Identity(row.person, row.name, row.role), row.csrf, row.expires_at
                )

    def new_link(self, person: str, name: str, role: str, now_ns: int) -> str:
        """A one-time login token for a person, who is made if new, and is here again if they had left.

        Raises:
            RejectedError: the person exists with another role; a link never changes what somebody may do.
        """
        token = secrets.token_urlsafe(32)
        with self._engine.begin() as connection:
            known = connection.execute(sa.select(_PEOPLE.c.role).where(_PEOPLE.c.id == person)).first()
            if known is None:
                connection.execute(_PEOPLE.insert().values(id=person, name=name, role=role, created_at=now_ns))
            elif known.role != role:
                raise RejectedError(f"{person!r} exists with the role {known.role}", field="role", status=409)
            else:
                connection.execute(_PEOPLE.update().where(_PEOPLE.c.id == person).values(left_at=0))
            connection.execute(
                _LINKS.insert().values(token_hash=_hash(token), person=person, expires_at=now_ns + LINK_LIFETIME_NS)
            )
        return token

    def has_people(self) -> bool:
        """Has anybody ever been given a login link?"""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(_PEOPLE.c.id)).first() is not None

    def people(self) -> list[Person]:
        """Every account there ever was, by its name."""
        with self._engine.connect() as connection:
            return [Person(**row._mapping) for row in connection.execute(sa.select(_PEOPLE).order_by(_PEOPLE.c.id))]

    def let_go(self, person: str, now_ns: int) -> Person:
        """Somebody has left: their sessions end at once, and links they have not used lead nowhere.

        Raises:
            RejectedError: there is no such account, or they have left already.
        """
        found = next((each for each in self.people() if each.id == person), None)
        if found is None:
            raise RejectedError("there is no such account", field="person", status=404)
        if found.left_at:
            raise RejectedError(f"{person!r} has left already", field="person", status=409)
        with self._engine.begin() as connection:
            connection.execute(_PEOPLE.update().where(_PEOPLE.c.id == person).values(left_at=now_ns))
            connection.execute(_LINKS.delete().where(_LINKS.c.person == person, _LINKS.c.used_at.is_(None)))
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.person == person))
        for cookie in [key for key, session in self._sessions.items() if session.identity.id == person]:
            self._sessions.pop(cookie, None)
        return Person(found.id, found.name, found.role, found.created_at, now_ns)

    def enter(self, link_token: str, now_ns: int) -> tuple[Session, str]:
        """Spend a login link: the new session and its cookie value.

        Raises:
            DeniedError: the link was used, has expired, or never was.
        """
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        with self._engine.begin() as connection:
            # One statement decides, so that two browsers cannot both spend the same link.
            spent = connection.execute(
                _LINKS.update()
                .where(
                    _LINKS.c.token_hash == _hash(link_token), _LINKS.c.used_at.is_(None), _LINKS.c.expires_at > now_ns
                )
                .values(used_at=now_ns)
            )
            if spent.rowcount != 1:
                raise DeniedError("this login link was used or has expired", is_authenticated=False)
            link = connection.execute(
                sa.select(_PEOPLE)
                .join(_LINKS, _LINKS.c.person == _PEOPLE.c.id)
                .where(_LINKS.c.token_hash == _hash(link_token))
            ).one()
            expires_at = now_ns + self._session_ns
            connection.execute(
                _SESSIONS.insert().values(token_hash=_hash(cookie), person=link.id, csrf=csrf, expires_at=expires_at)
            )
        session = Session(Identity(link.id, link.name, link.role), csrf, expires_at)
        self._sessions[_hash(cookie)] = session
        return session, cookie

    def session(self, cookie: str, now_ns: int) -> Session | None:
        """The session of a cookie value, or None when it ended."""
        session = self._sessions.get(_hash(cookie))
        return session if session and session.expires_at > now_ns else None

    def leave(self, cookie: str) -> None:
        """End a session, here and in the database."""
        self._sessions.pop(_hash(cookie), None)
        with self._engine.begin() as connection:
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.token_hash == _hash(cookie)))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
