"""All cases in the database: what people decided about them, and the records of it that are not in the ledger yet.

A change and its record are written in one transaction; then the record goes to the ledger and its row is taken away. So
whatever stops the server in between, no act is without a record: what is left is recorded with the next act, or at the
next start, under the same id, which the ledger takes once. An alert is in one case at most; that is the key of a table, so two
who open the same at once get the same case.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from muniment.cases.case import MARKS, Case, Mark, Note, Subject, check_change
from muniment.errors import RejectedError
from muniment.limits import CASE_ALERTS_MAX, CASE_MARKS_MAX, CASE_NOTE_CHARS_MAX, CASE_NOTES_MAX, CASE_TWICE_S
from muniment.search.persons import Person
from muniment.together import gravity

__all__ = ["Cases", "Told"]

Told = Callable[[Case], bytes]
"""The record of an act, made of the case as it is after it."""

_METADATA = sa.MetaData()
_CASES = sa.Table(
    "cases",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("drill", sa.String(128), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("verdict", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("opened_by", sa.String(128), nullable=False),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.String(128), nullable=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False),
    sa.Column("closed_at", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
_ALERTS = sa.Table(
    "case_alerts",
    _METADATA,
    sa.Column("alert", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, sa.ForeignKey("cases.number"), nullable=False, index=True),
    sa.Column("added_at", sa.BigInteger, nullable=False),
)
_NOTES = sa.Table(
    "case_notes",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("number", sa.Integer, sa.ForeignKey("cases.number"), nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
_MARKS = sa.Table(
    "case_marks",
    _METADATA,
    sa.Column("number", sa.Integer, sa.ForeignKey("cases.number"), primary_key=True),
    sa.Column("index", sa.BigInteger, primary_key=True),
    sa.Column("mark", sa.String(16), nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
_ACTS = sa.Table(
    "case_acts",
    _METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)
_COLUMNS: Final = tuple(column.name for column in _CASES.columns)


class Cases:
    """All cases. Changes are durable when a method returns, and with them the record that is still to go to the ledger."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        _METADATA.create_all(database)

    # --- reading --------------------------------------------------------------------------------------------------

    def all(self) -> list[Case]:
        """Every case, the newest change first."""
        return self._select(sa.true())

    def get(self, number: int) -> Case:
        """One case; RejectedError with status 404 when there is none."""
        found = self._select(_CASES.c.number == number)
        if not found:
            raise RejectedError("there is no such case", field="number", status=404)
        return found[0]

    def of_alert(self, uid: str) -> Case | None:
        """The case an alert is in."""
        inside = sa.select(_ALERTS.c.number).where(_ALERTS.c.alert == uid).scalar_subquery()
        found = self._select(_CASES.c.number == inside)
        return found[0] if found else None

    def notes(self, number: int) -> list[Note]:
        """What was written to a case, the oldest first."""
        columns = (_NOTES.c["at"], _NOTES.c["by"], _NOTES.c["text"])
        query = sa.select(*columns).where(_NOTES.c.number == number).order_by(_NOTES.c.id)
        with self._database.connect() as connection:
            return [Note(*row) for row in connection.execute(query)]

    def marks(self, number: int) -> list[Mark]:
        """What was pinned to a case or left out of it, the oldest first."""
        columns = [_MARKS.c[name] for name in Mark.__slots__]
        query = sa.select(*columns).where(_MARKS.c.number == number).order_by(_MARKS.c["at"], _MARKS.c["index"])
        with self._database.connect() as connection:
            return [Mark(*row) for row in connection.execute(query)]

    # --- deciding -------------------------------------------------------------------------------------------------

    def open(
        self, alert: Subject, also: Sequence[Subject], owner: str, by: str, now_ns: int, told: Told
    ) -> tuple[Case, bool]:
        """A new case out of an alert and those about the same (`also`), and True; the one the alert is in already, and False.

        It is called by the gravest of them. Those that are in another case stay there.
        """
        there = self.of_alert(alert.uid)
        if there is not None:
            return there, False
        free = [each for each in also if each.uid != alert.uid and self.of_alert(each.uid) is None]
        taken = [alert, *free][:CASE_ALERTS_MAX]
        gravest = max(taken, key=lambda each: gravity(each.level))
        values: dict[str, Any] = {
            "title": gravest.title, "level": gravest.level, "drill": alert.drill, "state": "open", "verdict": "", "reason": "",
            "owner": owner, "opened_by": by, "opened_at": now_ns, "changed_by": by, "changed_at": now_ns, "closed_at": 0,
            "version": 1,
        }  # fmt: skip
        try:
            with self._database.begin() as connection:
                key = connection.execute(sa.insert(_CASES).values(**values)).inserted_primary_key
                assert key is not None
                made = Case(number=int(key[0]), **values, alerts=tuple(each.uid for each in taken))
                rows = [
                    {"alert": each.uid, "number": made.number, "added_at": now_ns + k} for k, each in enumerate(taken)
                ]
                connection.execute(sa.insert(_ALERTS), rows)
                self._tell(connection, told(made), now_ns)
        except sa.exc.IntegrityError:  # somebody else was faster: theirs it is
            there = self.of_alert(alert.uid)
            if there is None:
                raise
            return there, False
        return made, True

    def add(self, number: int, alert: Subject, by: str, now_ns: int, told: Told) -> Case:
        """Another alert in a case. RejectedError: it is in another one, the case is closed, or full."""
        case, there = self.get(number), self.of_alert(alert.uid)
        if there is not None:
            if there.number == number:
                return case
            raise RejectedError(f"it is in case {there.number} already", field="alert", status=409)
        self._check_open(case)
        if case.drill != alert.drill:
            raise RejectedError("drills and what is real never mix: open a case of its own", field="alert", status=409)
        if len(case.alerts) >= CASE_ALERTS_MAX:
            raise RejectedError(f"a case takes at most {CASE_ALERTS_MAX} alerts", field="alert", status=409)
        level = max(case.level, alert.level, key=gravity)
        changed = replace(
            case, level=level, changed_by=by, changed_at=now_ns, version=case.version + 1,
            alerts=(*case.alerts, alert.uid),
        )  # fmt: skip
        try:
            with self._database.begin() as connection:
                connection.execute(sa.insert(_ALERTS).values(alert=alert.uid, number=number, added_at=now_ns))
                self._put(connection, case, changed)
                self._tell(connection, told(changed), now_ns)
        except sa.exc.IntegrityError:
            there = self.of_alert(alert.uid)
            if there is not None and there.number == number:
                return there
            raise RejectedError("it was put into another case just now", field="alert", status=409) from None
        return changed

    def set_state(
        self, number: int, state: str, verdict: str, reason: str, version: int, by: str, now_ns: int, told: Told
    ) -> Case:
        """Contain, close or open again. RejectedError: see `check_change`; 409 when it was changed since `version` was seen."""
        check_change(state, verdict, reason)
        case, reason = self.get(number), reason.strip()
        if (case.state, case.verdict, case.reason) == (state, verdict, reason):
            return case
        closed_at = now_ns if state == "closed" else 0
        changed = replace(case, state=state, verdict=verdict, reason=reason, closed_at=closed_at)
        return self._change(case, changed, version, by, now_ns, told)

    def assign(self, number: int, owner: str, version: int, by: str, now_ns: int, told: Told) -> Case:
        """Somebody has the case now; empty: nobody."""
        case = self.get(number)
        if case.owner == owner:
            return case
        return self._change(case, replace(case, owner=owner), version, by, now_ns, told)

    def _change(self, case: Case, changed: Case, version: int, by: str, now_ns: int, told: Told) -> Case:
        if version != case.version:
            raise RejectedError(
                f"{case.changed_by} changed it meanwhile: it is {case.state} now; look again",
                field="version",
                status=409,
            )
        changed = replace(changed, changed_by=by, changed_at=now_ns, version=case.version + 1)
        with self._database.begin() as connection:
            self._put(connection, case, changed)
            self._tell(connection, told(changed), now_ns)
        return changed

    def note(self, number: int, text: str, by: str, now_ns: int, told: Told) -> Case:
        """Write something to a case; the same words of the same person at once are written once."""
        case, text = self.get(number), text.strip()
        if not text:
            raise RejectedError("there is nothing in it", field="text")
        if len(text) > CASE_NOTE_CHARS_MAX:
            raise RejectedError(f"longer than {CASE_NOTE_CHARS_MAX:,} characters", field="text")
        before = self.notes(number)
        if len(before) >= CASE_NOTES_MAX:
            raise RejectedError(f"a case takes at most {CASE_NOTES_MAX} notes", field="text", status=409)
        if before and (before[-1].by, before[-1].text) == (by, text) and now_ns - before[-1].at < CASE_TWICE_S * 10**9:
            return case
        with self._database.begin() as connection:
            connection.execute(sa.insert(_NOTES).values({"number": number, "at": now_ns, "by": by, "text": text}))
            self._tell(connection, told(case), now_ns)
        return case

    def mark(self, number: int, index: int, mark: str, reason: str, by: str, now_ns: int, told: Told) -> Case:
        """Pin an event to a case, leave it out, or leave it to the draft again. Who leaves something out says why."""
        if mark not in MARKS:
            raise RejectedError(f"must be one of {', '.join(MARKS)}, got {mark!r}", field="mark")
        if mark == "left_out" and not reason.strip():
            raise RejectedError("say why: it would have been there", field="reason")
        case = self.get(number)
        self._check_open(case)
        marks = {each.index: each.mark for each in self.marks(number)}
        if marks.get(index, "drafted") == mark:
            return case
        if index not in marks and len(marks) >= CASE_MARKS_MAX:
            raise RejectedError(f"a case takes at most {CASE_MARKS_MAX} marks", field="index", status=409)
        this = (_MARKS.c.number == number) & (_MARKS.c["index"] == index)
        row = {"number": number, "index": index, "mark": mark, "by": by, "at": now_ns, "reason": reason.strip()}
        with self._database.begin() as connection:
            connection.execute(sa.delete(_MARKS).where(this))
            if mark != "drafted":
                connection.execute(sa.insert(_MARKS).values(row))
            self._tell(connection, told(case), now_ns)
        return case

    # --- records on their way ---------------------------------------------------------------------------------------

    def unrecorded(self) -> list[tuple[str, bytes]]:
        """Ids and records of acts that are not known to be in the ledger, the oldest first."""
        query = sa.select(_ACTS.c.id, _ACTS.c.record).order_by(_ACTS.c["at"], _ACTS.c.id)
        with self._database.connect() as connection:
            return [(str(id), bytes(record)) for id, record in connection.execute(query)]

    def recorded(self, ids: Sequence[str]) -> None:
        """These are in the ledger."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_ACTS).where(_ACTS.c.id.in_(ids)))

    def forget_person(self, person: Person) -> list[str]:
        """Take a person out of notes and reasons; what named them. Who and what a case is about stands in its alerts."""
        named: list[str] = []
        for table, keys, name in (
            (_NOTES, ("id",), "text"), (_MARKS, ("number", "index"), "reason"), (_CASES, ("number",), "reason"),
        ):  # fmt: skip
            with self._database.begin() as connection:
                for *key, text in connection.execute(sa.select(*(table.c[each] for each in keys), table.c[name])).all():
                    if (without := person.out_of(text)) != text:
                        this = sa.and_(*(table.c[each] == value for each, value in zip(keys, key, strict=True)))
                        connection.execute(sa.update(table).where(this).values({name: without}))
                        named.append(text)
        return named

    # --- inside -----------------------------------------------------------------------------------------------------

    def _check_open(self, case: Case) -> None:
        if case.state == "closed":
            raise RejectedError("the case is closed: open it again first", field="number", status=409)

    def _put(self, connection: sa.Connection, before: Case, after: Case) -> None:
        """Compare and set: another process that was faster is not overwritten."""
        values = {name: getattr(after, name) for name in _COLUMNS if name != "number"}
        this = (_CASES.c.number == before.number) & (_CASES.c.version == before.version)
        if not connection.execute(sa.update(_CASES).where(this).values(**values)).rowcount:
            raise RejectedError("somebody changed it meanwhile; look again", field="version", status=409)

    def _tell(self, connection: sa.Connection, record: bytes, now_ns: int) -> None:
        connection.execute(sa.insert(_ACTS).values({"id": str(uuid.uuid4()), "at": now_ns, "record": record}))

    def _select(self, where: sa.ColumnElement[bool]) -> list[Case]:
        columns = [_CASES.c[name] for name in _COLUMNS]
        query = sa.select(*columns).where(where).order_by(_CASES.c.changed_at.desc(), _CASES.c.number.desc())
        with self._database.connect() as connection:
            rows = connection.execute(query).all()
            inside = sa.select(_ALERTS.c.number, _ALERTS.c.alert).where(_ALERTS.c.number.in_([row[0] for row in rows]))
            alerts: dict[int, list[str]] = defaultdict(list)
            if rows:
                for number, alert in connection.execute(inside.order_by(_ALERTS.c.added_at, _ALERTS.c.alert)):
                    alerts[int(number)].append(str(alert))
        return [Case(**row._mapping, alerts=tuple(alerts[row[0]])) for row in rows]
