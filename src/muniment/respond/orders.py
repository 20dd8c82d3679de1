"""Sessions that were asked to be ended: for whom, why, by whom; what was answered stands in the outbox under the same id.

An order may wait for a block that waits for a second person; it leaves with the block or not at all. Rows name accounts in
the clear: they are deleted BLOCK_ENDED_DAYS after they were asked, an erased person's at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.limits import BLOCK_ENDED_DAYS
from muniment.respond.block import canonical, key_of, written
from muniment.respond.order import SESSIONS_END, Order
from muniment.search.persons import Person

__all__ = ["Orders", "SessionsEnd"]

_KEPT_NS: Final = BLOCK_ENDED_DAYS * 86_400 * 10**9
_METADATA = sa.MetaData()
_TABLE = sa.Table(
    "orders",
    _METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("account", sa.String(320), nullable=False),
    sa.Column("spelt", sa.String(320), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("alert", sa.String(64), nullable=False),
    sa.Column("block", sa.String(36), nullable=False, index=True),
    sa.Column("asked_by", sa.String(128), nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
)


@dataclass(frozen=True, slots=True)
class SessionsEnd:
    """One request. `state`: held (waits for its block), sent (it is in the outbox), dropped. Times in UTC nanoseconds."""

    id: str
    account: str
    reason: str
    alert: str
    block: str
    asked_by: str
    asked_at: int
    state: str

    def order(self) -> Order:
        """What its receivers read."""
        data = {
            "account": self.account, "reason": self.reason, "asked_by": self.asked_by, "alert": self.alert,
            "block": self.block,
        }  # fmt: skip
        return Order(self.id, SESSIONS_END, self.asked_at, tuple(data.items()))


class Orders:
    """All requests to end sessions. Changes are durable when the method returns."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        _METADATA.create_all(database)

    def ask(
        self,
        account: str,
        reason: str,
        by: str,
        now_ns: int,
        *,
        alert: str = "",
        block: str = "",
        is_held: bool = False,
    ) -> SessionsEnd:
        """Keep a request. Raises RejectedError: no such account can be, or no reason."""
        _, value = canonical("account", account)
        if not reason.strip():
            raise RejectedError("say why: the next reader will ask", field="reason")
        made = SessionsEnd(
            str(uuid.uuid4()), value, reason.strip(), alert, block, by, now_ns, "held" if is_held else "sent"
        )
        values = {name: getattr(made, name) for name in SessionsEnd.__slots__}
        with self._database.begin() as connection:
            connection.execute(sa.insert(_TABLE).values(**values, spelt=key_of("account", value)[1]))
        return made

    def get(self, id: str) -> SessionsEnd:
        """One request; RejectedError with status 404 when there is none."""
        found = self._select(_TABLE.c.id == id)
        if not found:
            raise RejectedError("there is no such order", field="id", status=404)
        return found[0]

    def of(self, accounts: Sequence[str]) -> list[SessionsEnd]:
        """Requests about any of these accounts, in any spelling, the newest first; about all when none is given."""
        if not accounts:
            return self._select(sa.true())
        spelt = [key_of("account", written("account", each)[1])[1] for each in accounts if each.strip()]
        return self._select(_TABLE.c.spelt.in_(spelt))

    def release(self, block: str, is_made: bool) -> list[SessionsEnd]:
        """What waited for a block: to be sent now that it is made, or dropped with it."""
        held = (_TABLE.c.block == block) & (_TABLE.c.state == "held")
        with self._database.begin() as connection:
            ids = [str(id) for id in connection.execute(sa.select(_TABLE.c.id).where(held)).scalars()]
            connection.execute(sa.update(_TABLE).where(held).values(state="sent" if is_made else "dropped"))
        return self._select(_TABLE.c.id.in_(ids)) if ids else []

    def forget(self, now_ns: int) -> int:
        """Delete what was asked long ago; how many. The records are in the ledger."""
        with self._database.begin() as connection:
            return connection.execute(sa.delete(_TABLE).where(_TABLE.c.asked_at < now_ns - _KEPT_NS)).rowcount

    def forget_person(self, person: Person) -> int:
        """Delete what is about a person, and take them out of reasons; how many were about them."""
        n = 0
        for each in self._select(sa.true()):
            this, reason = _TABLE.c.id == each.id, person.out_of(each.reason)
            with self._database.begin() as connection:
                if person.is_called(each.account):
                    n += connection.execute(sa.delete(_TABLE).where(this)).rowcount
                elif reason != each.reason:
                    connection.execute(sa.update(_TABLE).where(this).values(reason=reason))
        return n

    def _select(self, where: sa.ColumnElement[bool]) -> list[SessionsEnd]:
        columns = [_TABLE.c[name] for name in SessionsEnd.__slots__]
        query = sa.select(*columns).where(where).order_by(_TABLE.c.asked_at.desc(), _TABLE.c.id)
        with self._database.connect() as connection:
            return [SessionsEnd(*row) for row in connection.execute(query)]
