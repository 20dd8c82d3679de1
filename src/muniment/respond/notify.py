"""The outbox: every notification is kept in the database first and then delivered, again and again, until it is taken.

- One row per (notice id, channel): putting the same notice in twice sends it once.
- An attempt is counted and its successor scheduled *before* the receiver is called. Killed in between, we try again
  later: a receiver may see a notice twice, with the same id, and never none.
- After the last attempt, or when trying again cannot help, the row is a dead letter with the last error, until somebody
  revives or discards it. Nothing is dropped in silence.
- What waits for a channel that is no longer configured is dead from the start on that finds it so; it goes on by itself when
  the channel is there again.
- No transaction is open while a receiver is called.
- What was delivered keeps its row and loses its words: an order names a person, and nobody needs it any more.
- A channel for people hears of so many notices in a while at once; what is more is held, and goes out as one summary when
  the while is over. So is, for longer, what belongs to something the channel was told of. Held rows and their summary change
  places in one transaction: nothing is told twice, nothing is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import sqlalchemy as sa

from muniment.errors import BusyError, RejectedError
from muniment.limits import (
    OUTBOX_BATCH_MAX,
    OUTBOX_ERROR_CHARS_MAX,
    OUTBOX_FOLDED_S,
    OUTBOX_PAUSE_S,
    OUTBOX_PENDING_MAX,
    OUTBOX_RETRY_AFTER_S_MAX,
    OUTBOX_STORM_CRITICAL,
    OUTBOX_STORM_S,
)
from muniment.respond.block import one_line
from muniment.respond.notice import Channel, DeliveryError, Notice, read_notice
from muniment.respond.order import Performer, read_order
from muniment.search.persons import Person

__all__ = ["FOLDED", "METADATA", "RETRY_SECONDS", "Deliveries", "Entry", "Letter", "Outbox", "Outcome", "retry_at"]

METADATA = sa.MetaData()
"""The tables of the respond room."""

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits between attempts: about three days in all, the schedule Standard Webhooks gives as its example."""

_Row = sa.Row[tuple[str, str, str, int]]
_SECOND_NS: Final = 1_000_000_000
_STORM_NS: Final = OUTBOX_STORM_S * _SECOND_NS
_PENDING: Final = "pending"
_DELIVERED: Final = "delivered"
_DEAD: Final = "dead"
_HELD: Final = "held"
_GATHERED: Final = "gathered"
_DISCARDED: Final = "discarded"
_GONE: Final = "the channel is no longer configured"
FOLDED: Final = "as it belongs to what was told of before"
"""The remark of a notice that is held because of that, and not because there are many."""

_TABLE = sa.Table(
    "outbox",
    METADATA,
    sa.Column("notice_id", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("notice", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("put_at", sa.BigInteger, nullable=False),
    sa.Column("next_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger, nullable=False),
    sa.Column("remark", sa.Text, nullable=False),
    sa.Index("outbox_due", "state", "next_at"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One notification to one channel. `state` pending, delivered or dead; held until it is told with others, gathered when it
    was; discarded: nobody wants it any more. `ended_at` 0 while pending or held; `remark` is the last error, or what the receiver said beside taking it.
    """

    notice_id: str
    channel: str
    state: str
    attempts: int
    put_at: int
    next_at: int
    ended_at: int
    remark: str


class Letter(Protocol):
    """What the outbox keeps: a notice or an order."""

    @property
    def id(self) -> str: ...
    def to_json(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to. `state`: delivered, failed (it is tried again) or dead."""

    notice_id: str
    channel: str
    state: str
    attempts: int
    remark: str


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What one call did. `postponed`: put off, with no attempt counted, because their channel had just failed."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    postponed: int = 0


def retry_at(notice_id: str, channel: str, attempts: int, now_ns: int, retry_after_ms: int = 0) -> int | None:
    """When to try again after `attempts` that failed; None: no more. Up to a tenth later, so that crowds disperse.

    The part added is a hash of the row, not chance: the same outbox always does the same.
    """
    if attempts > len(RETRY_SECONDS):
        return None
    wait_ns = RETRY_SECONDS[attempts - 1] * _SECOND_NS
    spread = hashlib.sha256(f"{notice_id}\n{channel}\n{attempts}".encode()).digest()[0]
    asked_ns = min(retry_after_ms * 1_000_000, OUTBOX_RETRY_AFTER_S_MAX * _SECOND_NS)
    return now_ns + max(wait_ns + wait_ns * spread // 2_560, asked_ns)


class Outbox:
    """All notifications on their way. Changes are durable when the method returns; any thread may call any method.

    On SQLite the engine must be the outbox's own, a file of its own: an engine of `open_database` has one connection, and
    transactions of two threads on it run into each other (measured: acknowledged rows were lost, refused ones kept).
    """

    def __init__(
        self,
        engine: sa.Engine,
        channels: Mapping[str, Channel],
        performers: Mapping[str, Performer] | None = None,
        at_most: Mapping[str, int] | None = None,
    ) -> None:
        """`at_most`: notices a channel is told of in OUTBOX_STORM_S one by one; those not in it are told of all."""
        self._engine = engine
        self._channels = dict(channels)
        self._performers = dict(performers or {})
        self._at_most = dict(at_most or {})
        self.names = (*self._channels, *self._performers)
        self._lock = threading.Lock()
        METADATA.create_all(engine, tables=[_TABLE])

    def put(
        self,
        notice: Letter,
        channels: Iterable[str],
        now_ns: int,
        *,
        is_next: bool = False,
        folded: Collection[str] = (),
    ) -> int:
        """Keep a notice or order for each channel, due at once; how many were new. `is_next`: before all that waits. `folded`:
        channels that were told of what it belongs to, for which it waits for a summary.

        Raises:
            RejectedError: there is no such channel.
            BusyError: the outbox is full.
        """
        wanted = list(dict.fromkeys(channels))
        for channel in wanted:
            if channel not in self.names:
                raise RejectedError(f"there is no channel {channel!r}", field="channel", status=404)
        with self._transaction() as connection:
            held = connection.execute(sa.select(_TABLE.c.channel).where(_TABLE.c.notice_id == notice.id)).scalars()
            known = set(held)
            missing = [channel for channel in wanted if channel not in known]
            if not missing:
                return 0
            waiting = connection.execute(
                sa.select(sa.func.count()).select_from(_TABLE).where(_TABLE.c.state.in_((_PENDING, _HELD)))
            ).scalar_one()
            if waiting + len(missing) > OUTBOX_PENDING_MAX:
                raise BusyError(f"{waiting} notifications wait to be delivered", retry_after_ms=60_000)
            for channel in missing:
                if is_folded := channel in folded:
                    until = self._folded_until(connection, channel, now_ns)
                else:
                    until = 0 if is_next else self._held_until(connection, channel, notice, now_ns)
                values = {
                    "notice_id": notice.id, "channel": channel, "notice": notice.to_json(), "attempts": 0, "put_at": now_ns,
                    "state": _HELD if until else _PENDING, "next_at": until or (0 if is_next else now_ns), "ended_at": 0,
                    "remark": FOLDED if is_folded else "",
                }  # fmt: skip
                connection.execute(_TABLE.insert().values(**values))
        return len(missing)

    def _held_until(self, connection: sa.Connection, channel: str, notice: Letter, now_ns: int) -> int:
        """When the summary is due that a notice waits for; 0: it goes at once. Critical ones wait in the worst storms only."""
        if channel not in self._at_most or not isinstance(notice, Notice):
            return 0
        most = self._at_most[channel] * (OUTBOX_STORM_CRITICAL if notice.severity == "critical" else 1)
        own = _TABLE.c.channel == channel
        many = own & (_TABLE.c.state == _HELD) & (_TABLE.c.remark != FOLDED)
        waits = connection.execute(sa.select(sa.func.min(_TABLE.c.next_at)).where(many)).scalar_one()
        alone = own & _TABLE.c.state.in_((_PENDING, _DELIVERED, _DEAD)) & (_TABLE.c.put_at > now_ns - _STORM_NS)
        lately = connection.execute(sa.select(sa.func.count()).select_from(_TABLE).where(alone)).scalar_one()
        if lately < most and (waits is None or notice.severity == "critical"):
            return 0
        return int(waits) if waits is not None else now_ns + _STORM_NS

    def _folded_until(self, connection: sa.Connection, channel: str, now_ns: int) -> int:
        """When the summary is due of what belongs to things the channel was told of: with the first that waits for it."""
        waiting = (_TABLE.c.channel == channel) & (_TABLE.c.state == _HELD) & (_TABLE.c.remark == FOLDED)
        due = connection.execute(sa.select(sa.func.min(_TABLE.c.next_at)).where(waiting)).scalar_one()
        return int(due) if due is not None else now_ns + OUTBOX_FOLDED_S * _SECOND_NS

    def gather(self, channel: str, now_ns: int, summary: Callable[[Sequence[Notice]], Notice]) -> int:
        """Put what is held for a channel, and due, into one notice; how many it stands for."""
        own = (_TABLE.c.channel == channel) & (_TABLE.c.state == _HELD) & (_TABLE.c.next_at <= now_ns)
        with self._transaction() as connection:
            held = connection.execute(sa.select(_TABLE.c.notice).where(own).order_by(_TABLE.c.put_at)).scalars().all()
            if not held:
                return 0
            made = summary([read_notice(text) for text in held])
            connection.execute(
                _TABLE.update()
                .where(own)
                .values(state=_GATHERED, ended_at=now_ns, notice="", remark=f"told in {made.id}")
            )
            connection.execute(
                _TABLE.insert().values(
                    notice_id=made.id, channel=channel, notice=made.to_json(), state=_PENDING, attempts=0, put_at=now_ns,
                    next_at=now_ns, ended_at=0, remark="",
                )
            )  # fmt: skip
        return len(held)

    def deliver_due(
        self, now_ns: int, only: str = "", tell: Callable[[Outcome], None] = lambda outcome: None
    ) -> Deliveries:
        """Try what is due, oldest first, at most OUTBOX_BATCH_MAX a channel; `only` one channel, or all.

        A channel that fails is left alone for OUTBOX_PAUSE_S, so that one dead receiver holds nobody else up. A receiver's
        failure is kept in the row, not raised; a mistake in a channel's own code is raised, with the attempt counted.
        `tell` hears of each attempt.
        """
        counts = dict.fromkeys(Deliveries.__slots__, 0)
        for channel in self._due_channels(now_ns):
            if only and channel != only:
                continue
            for row in self._due(channel, now_ns):
                if not self._claim(row, now_ns):
                    continue
                try:
                    remark = self._deliver(row, now_ns)
                except DeliveryError as error:
                    state = "dead" if self._failed(row, error, now_ns) else "failed"
                    counts[state] += 1
                    tell(Outcome(row.notice_id, channel, state, row.attempts + 1, str(error)))
                    if not error.is_permanent:
                        counts["postponed"] += self._pause(channel, now_ns)
                        break
                else:
                    remark = one_line(remark, OUTBOX_ERROR_CHARS_MAX)
                    self._set(row, state=_DELIVERED, ended_at=now_ns, remark=remark, notice="")
                    counts["delivered"] += 1
                    tell(Outcome(row.notice_id, channel, _DELIVERED, row.attempts + 1, remark))
        return Deliveries(**counts)

    def next_due(self, channel: str = "") -> int | None:
        """When the earliest pending notification of a channel, or of any, is due; None when none waits."""
        waiting = sa.select(sa.func.min(_TABLE.c.next_at)).where(_TABLE.c.state == _PENDING)
        with self._transaction() as connection:
            found = connection.execute(waiting.where(_TABLE.c.channel == channel) if channel else waiting).scalar_one()
        return None if found is None else int(found)

    def settle(self, now_ns: int) -> tuple[list[Outcome], dict[str, int]]:
        """What waits for channels that are gone becomes dead letters, and those of channels that came back go on.

        Returns the letters that died, and how many go on by channel. Once at a start: channels do not change while we run.
        """
        with self._transaction() as connection:
            waiting = _TABLE.c.state.in_((_PENDING, _HELD)) & _TABLE.c.channel.not_in(self.names)
            columns = (_TABLE.c.notice_id, _TABLE.c.channel, _TABLE.c.attempts)
            died = connection.execute(sa.select(*columns).where(waiting)).all()
            connection.execute(_TABLE.update().where(waiting).values(state=_DEAD, ended_at=now_ns, remark=_GONE))
            back = (
                (_TABLE.c.state == _DEAD) & (_TABLE.c.remark == _GONE) & (_TABLE.c.notice != "")
                & _TABLE.c.channel.in_(self.names)
            )  # fmt: skip
            counted = sa.select(_TABLE.c.channel, sa.func.count()).where(back).group_by(_TABLE.c.channel)
            found = {str(channel): int(n) for channel, n in connection.execute(counted)}
            going = {"state": _PENDING, "attempts": 0, "next_at": now_ns, "ended_at": 0, "remark": ""}
            connection.execute(_TABLE.update().where(back).values(**going))
        return [Outcome(row.notice_id, row.channel, _DEAD, row.attempts, _GONE) for row in died], found

    def counts(self) -> dict[str, int]:
        """How many entries there are of each state."""
        counted = sa.select(_TABLE.c.state, sa.func.count()).group_by(_TABLE.c.state)
        with self._transaction() as connection:
            return {str(state): int(n) for state, n in connection.execute(counted)}

    def entries(self, state: str = "", limit: int = 1_000, ids: Iterable[str] | None = None) -> list[Entry]:
        """The newest entries, of one state or of all, of some notices or of all."""
        query = sa.select(*(_TABLE.c[name] for name in Entry.__slots__))
        if state:
            query = query.where(_TABLE.c.state == state)
        if ids is not None:
            query = query.where(_TABLE.c.notice_id.in_(list(ids)))
        with self._transaction() as connection:
            rows = connection.execute(
                query.order_by(_TABLE.c.put_at.desc(), _TABLE.c.notice_id, _TABLE.c.channel).limit(limit)
            )
            return [Entry(*row) for row in rows]

    def revive(self, notice_id: str, channel: str, now_ns: int) -> None:
        """Try a dead letter again from the start.

        Raises:
            RejectedError: there is no such dead letter, or nobody delivers to its channel.
        """
        if channel not in self.names and self._is_dead(notice_id, channel):
            reason = (
                f"{channel!r} is no longer configured: put it back into the file of `notify`, or discard the letter"
            )
            raise RejectedError(reason, field="channel", status=409)
        with self._transaction() as connection:
            changed = connection.execute(
                _TABLE.update()
                .where(
                    _TABLE.c.notice_id == notice_id, _TABLE.c.channel == channel, _TABLE.c.state == _DEAD,
                    _TABLE.c.notice != "",
                )
                .values(state=_PENDING, attempts=0, next_at=now_ns, ended_at=0)
            )  # fmt: skip
        if changed.rowcount != 1:
            raise RejectedError("there is no such dead letter", field="notice_id", status=404)

    def discard(self, notice_id: str, channel: str, now_ns: int) -> None:
        """Nobody wants a dead letter any more: its words are deleted. Raises RejectedError when there is no such one."""
        this = (_TABLE.c.notice_id == notice_id) & (_TABLE.c.channel == channel) & (_TABLE.c.state == _DEAD)
        with self._transaction() as connection:
            ended = connection.execute(_TABLE.update().where(this).values(state=_DISCARDED, ended_at=now_ns, notice=""))
        if ended.rowcount != 1:
            raise RejectedError("there is no such dead letter", field="notice_id", status=404)

    def _is_dead(self, notice_id: str, channel: str) -> bool:
        return any(each.channel == channel and each.state == _DEAD for each in self.entries(ids=[notice_id]))

    def give_up(self, notice_id: str, channel: str, now_ns: int) -> None:
        """What still waits is dead: nobody needs it any more. What was delivered meanwhile stays so."""
        with self._transaction() as connection:
            connection.execute(
                _TABLE.update()
                .where(_TABLE.c.notice_id == notice_id, _TABLE.c.channel == channel, _TABLE.c.state == _PENDING)
                .values(state=_DEAD, ended_at=now_ns)
            )

    def forget_ended(self, before_ns: int) -> int:
        """Delete what was delivered or died before a time; how many. A notice forgotten could be put again."""
        with self._transaction() as connection:
            return connection.execute(
                _TABLE.delete().where(_TABLE.c.state.not_in((_PENDING, _HELD)), _TABLE.c.ended_at < before_ns)
            ).rowcount

    def forget_person(self, person: Person, now_ns: int) -> int:
        """Whatever waits or is dead and names the person is given up, its words deleted; how many."""
        n = 0
        with self._transaction() as connection:
            kept = connection.execute(
                sa.select(_TABLE.c.notice_id, _TABLE.c.channel, _TABLE.c.notice, _TABLE.c.remark, _TABLE.c.state)
            ).all()
            for row in kept:
                remark = person.out_of(row.remark)
                is_about = any(person.out_of(text) != text for text in _texts(row.notice))
                if not is_about and remark == row.remark:
                    continue
                values: dict[str, object] = {"remark": remark}
                if is_about:
                    n += 1
                    values = {"notice": "", "state": _DEAD, "ended_at": now_ns, "remark": "its person was erased"}
                this = (_TABLE.c.notice_id == row.notice_id) & (_TABLE.c.channel == row.channel)
                connection.execute(_TABLE.update().where(this).values(**values))
        return n

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """One transaction at a time; never open while a receiver is called."""
        with self._lock, self._engine.begin() as connection:
            yield connection

    def _due_channels(self, now_ns: int) -> list[str]:
        with self._transaction() as connection:
            return list(
                connection.execute(
                    sa.select(_TABLE.c.channel)
                    .where(_TABLE.c.state == _PENDING, _TABLE.c.next_at <= now_ns)
                    .distinct()
                    .order_by(_TABLE.c.channel)
                ).scalars()
            )

    def _due(self, channel: str, now_ns: int) -> list[_Row]:
        with self._transaction() as connection:
            return list(
                connection.execute(
                    sa.select(_TABLE.c.notice_id, _TABLE.c.channel, _TABLE.c.notice, _TABLE.c.attempts)
                    .where(_TABLE.c.channel == channel, _TABLE.c.state == _PENDING, _TABLE.c.next_at <= now_ns)
                    .order_by(_TABLE.c.next_at, _TABLE.c.put_at, _TABLE.c.notice_id)
                    .limit(OUTBOX_BATCH_MAX)
                )
            )

    def _pause(self, channel: str, now_ns: int) -> int:
        until = now_ns + OUTBOX_PAUSE_S * _SECOND_NS
        with self._transaction() as connection:
            return connection.execute(
                _TABLE.update()
                .where(_TABLE.c.channel == channel, _TABLE.c.state == _PENDING, _TABLE.c.next_at <= now_ns)
                .values(next_at=until)
            ).rowcount

    def _claim(self, row: _Row, now_ns: int) -> bool:
        """Count the attempt before it is made; False when another process took it first."""
        retry = retry_at(row.notice_id, row.channel, row.attempts + 1, now_ns)
        # The last attempt stays pending as well, a day ahead: if we are killed in it, one more is better than none.
        following = retry if retry is not None else now_ns + RETRY_SECONDS[-1] * _SECOND_NS
        with self._transaction() as connection:
            claimed = connection.execute(
                _TABLE.update()
                .where(
                    _TABLE.c.notice_id == row.notice_id, _TABLE.c.channel == row.channel,
                    _TABLE.c.state == _PENDING, _TABLE.c.attempts == row.attempts,
                )
                .values(attempts=row.attempts + 1, next_at=following)
            )  # fmt: skip
        return claimed.rowcount == 1

    def _deliver(self, row: _Row, now_ns: int) -> str:
        channel, performer = self._channels.get(row.channel), self._performers.get(row.channel)
        if channel is None and performer is None:
            raise DeliveryError(_GONE, is_permanent=True)
        try:
            order = read_order(json.loads(row.notice)) if performer is not None else None
            notice = read_notice(row.notice) if channel is not None else None
        except (RejectedError, ValueError, KeyError, TypeError) as error:
            raise DeliveryError(f"the kept notice cannot be read: {error}", is_permanent=True) from error
        if performer is not None and order is not None:
            return performer.perform(order, now_ns)
        assert channel is not None and notice is not None  # noqa: PT018  (said for the type checker)
        return channel.deliver(notice, now_ns)

    def _failed(self, row: _Row, error: DeliveryError, now_ns: int) -> bool:
        """Schedule the next attempt; True when there is none."""
        remark = one_line(str(error), OUTBOX_ERROR_CHARS_MAX)
        retry = retry_at(row.notice_id, row.channel, row.attempts + 1, now_ns, error.retry_after_ms)
        if error.is_permanent or retry is None:
            self._set(row, state=_DEAD, ended_at=now_ns, remark=remark)
            return True
        self._set(row, next_at=retry, remark=remark)
        return False

    def _set(self, row: _Row, **values: object) -> None:
        with self._transaction() as connection:
            connection.execute(
                _TABLE.update()
                .where(_TABLE.c.notice_id == row.notice_id, _TABLE.c.channel == row.channel)
                .values(**values)
            )


def _texts(kept: str) -> list[str]:
    """Every text in a kept notice or order."""
    found: list[str] = []
    waiting: list[object] = [json.loads(kept)] if kept else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
    return found
