"""Requests to erase a person: one administrator asks, another one approves (four eyes), and only then keys are destroyed.

The person's identifier stands here, and only here, until the erasure is done; then it is overwritten. The ledger gets the
random subject ids and the reason. Sessions and keys of one person are one administrator (`four_eyes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from muniment.access.database import METADATA, forget_deleted
from muniment.errors import RejectedError
from muniment.four_eyes import check_second, is_enough
from muniment.tables import make_tables

__all__ = ["Erasure", "Erasures"]

_TABLE = sa.Table(
    "erasures",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("identifier", sa.String(256), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("asked_by", sa.String(128), nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("approved_by", sa.String(128), nullable=False),
    sa.Column("done_at", sa.BigInteger, nullable=False),
    sa.Column("asked_person", sa.String(64), nullable=False, server_default=""),
)


@dataclass(frozen=True, slots=True)
class Erasure:
    """One request. `source` empty: wherever the identifier is known; `done_at` 0: not yet; times in UTC nanoseconds.

    `asked_person`: whose request it is, "" when a key of nobody's asked and nobody has agreed yet.
    """

    number: int
    identifier: str
    source: str
    reason: str
    asked_by: str
    asked_at: int
    approved_by: str = ""
    done_at: int = 0
    asked_person: str = ""


class Erasures:
    """All requests. Changes are durable when the method returns."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        if "erasures.asked_person" in make_tables(engine, [_TABLE]):
            # A session is called by its account; whose the keys were is not known.
            by_session = ~_TABLE.c.asked_by.startswith("key:")
            with engine.begin() as connection:
                connection.execute(_TABLE.update().where(by_session).values(asked_person=_TABLE.c.asked_by))

    def ask(self, identifier: str, source: str, reason: str, asked_by: str, now_ns: int, *, person: str) -> Erasure:
        """Keep a request of `person`, who asked in a session or with a key (`asked_by`).

        Raises:
            RejectedError: the reason names the person, and reasons stay in the ledger for ever.
        """
        if identifier.casefold() in reason.casefold():
            raise RejectedError("leave the person out of it: the reason stays in the ledger for ever", field="reason")
        values = {
            "identifier": identifier, "source": source, "reason": reason, "asked_by": asked_by, "asked_at": now_ns,
            "approved_by": "", "done_at": 0, "asked_person": person,
        }  # fmt: skip
        with self._engine.begin() as connection:
            made = connection.execute(_TABLE.insert().values(**values))
        key = made.inserted_primary_key
        assert key is not None
        return self.get(int(key[0]))

    def get(self, number: int) -> Erasure:
        """One request; RejectedError with status 404 when there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_TABLE).where(_TABLE.c.number == number)).first()
        if row is None:
            raise RejectedError("there is no such erasure", field="number", status=404)
        return Erasure(**row._mapping)

    def all(self) -> list[Erasure]:
        """Every request, oldest first."""
        with self._engine.connect() as connection:
            return [Erasure(**row._mapping) for row in connection.execute(sa.select(_TABLE).order_by(_TABLE.c.number))]

    def approve(self, number: int, by: str, *, person: str) -> Erasure:
        """Let a second person approve; may be repeated until the erasure is done, should it have been interrupted.

        It is approved when `approved_by` is set. Where nobody in particular had asked it is not yet: the request is
        `person`'s now, and somebody else approves.

        Raises:
            DeniedError: the one who asked cannot approve, nor can a key of nobody's.
            RejectedError: it is done already, or there is no such request.
        """
        found = self.get(number)
        if found.done_at:
            raise RejectedError("this erasure is done", field="number", status=409)
        check_second(found.asked_person, person, "admin")
        changed = {"approved_by": by} if is_enough(found.asked_person) else {"asked_person": person}
        # Still whose it was when looked at: of two who agree at once to what nobody asked, one is the first.
        same = (_TABLE.c.number == number) & (_TABLE.c.asked_person == found.asked_person)
        with self._engine.begin() as connection:
            is_changed = connection.execute(_TABLE.update().where(same).values(**changed)).rowcount == 1
        return self.get(number) if is_changed else self.approve(number, by, person=person)

    def finish(self, number: int, now_ns: int) -> None:
        """The person is erased: the identifier goes, too, and whatever was deleted before leaves the files."""
        with self._engine.begin() as connection:
            connection.execute(_TABLE.update().where(_TABLE.c.number == number).values(identifier="", done_at=now_ns))
        forget_deleted(self._engine)
