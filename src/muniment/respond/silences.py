"""Silences in the database: who wanted one, why, until when, and how many alerts they hid. They end by themselves and stay."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.respond.notice import Severity
from muniment.respond.routes import Silence
from muniment.search.persons import Person

__all__ = ["Hidden", "Silences"]

_METADATA = sa.MetaData()
_TABLE = sa.Table(
    "silences",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("from_ns", sa.BigInteger, nullable=False),
    sa.Column("until_ns", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("severity_max", sa.String(16), nullable=False),
)
_HIDDEN = sa.Table(
    "silenced",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("hidden", sa.Integer, nullable=False),
    sa.Column("last_ns", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Hidden:
    """How many alerts a silence kept from being told, and when the last, in UTC nanoseconds; 0: none."""

    count: int = 0
    last_ns: int = 0


class Silences:
    """All silences of one Muniment."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        _METADATA.create_all(database)

    def add(self, source: str, until_ns: int, by: str, reason: str, severity_max: Severity, now_ns: int) -> Silence:
        """Keep quiet about `source` (a rule's title, with `*`) from now on. Raises RejectedError."""
        source, reason = source.strip(), reason.strip()
        made = Silence("0", (source,), now_ns, until_ns, by, reason, severity_max)
        values = {
            "source": source, "from_ns": now_ns, "until_ns": until_ns, "by": by, "reason": reason,
            "severity_max": severity_max,
        }  # fmt: skip
        with self._database.begin() as connection:
            key = connection.execute(sa.insert(_TABLE).values(**values)).inserted_primary_key
        assert key is not None
        return Silence(str(key[0]), made.sources, now_ns, until_ns, by, reason, severity_max)

    def all(self) -> list[Silence]:
        """Every silence, ended ones too, newest first."""
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.number.desc())).mappings().all()
        return [
            Silence(
                str(r["number"]), (r["source"],), r["from_ns"], r["until_ns"], r["by"], r["reason"], r["severity_max"]
            )
            for r in rows
        ]

    def note_hidden(self, silence: str, now_ns: int) -> None:
        """One alert more that nobody was told of."""
        this = _HIDDEN.c.number == int(silence)
        with self._database.begin() as connection:
            counted = sa.update(_HIDDEN).where(this).values(hidden=_HIDDEN.c.hidden + 1, last_ns=now_ns)
            if not connection.execute(counted).rowcount:
                connection.execute(sa.insert(_HIDDEN).values(number=int(silence), hidden=1, last_ns=now_ns))

    def hidden(self) -> dict[str, Hidden]:
        """What each silence hid, by its id; those that hid nothing are left out."""
        with self._database.connect() as connection:
            return {str(number): Hidden(n, last) for number, n, last in connection.execute(sa.select(_HIDDEN))}

    def end(self, number: int, now_ns: int) -> None:
        """A silence ends now. Raises RejectedError with status 404 when there is none that goes on."""
        goes_on = (_TABLE.c.number == number) & (_TABLE.c.until_ns > now_ns) & (_TABLE.c.from_ns < now_ns)
        with self._database.begin() as connection:
            if not connection.execute(sa.update(_TABLE).where(goes_on).values(until_ns=now_ns)).rowcount:
                raise RejectedError("there is no such silence that goes on", field="number", status=404)

    def forget_person(self, person: Person) -> int:
        """No silence names the person any more; how many did. Those in force go on."""
        n = 0
        for each in self.all():
            values = {"source": person.out_of(each.sources[0]), "reason": person.out_of(each.reason)}
            if (values["source"], values["reason"]) != (each.sources[0], each.reason):
                with self._database.begin() as connection:
                    connection.execute(sa.update(_TABLE).where(_TABLE.c.number == int(each.id)).values(**values))
                n += 1
        return n
