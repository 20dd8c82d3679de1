"""The outbox: every notification is kept in the database first and then delivered, again and again, until it is taken.

- One row per (notice id, channel): putting the same notice in twice sends it once.
- An attempt is counted and its successor scheduled *before* the receiver is called. Killed in between, we try again
  later: a receiver may see a notice twice, with the same id, and never none.
- After the last attempt, or when trying again cannot help, the row is a dead letter with the last error, kept until
  somebody revives or forgets it. Nothing is dropped in silence.
- No transaction is open while a receiver is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from muniment.errors import BusyError, RejectedError
from muniment.limits import (
    OUTBOX_BATCH_MAX,
    OUTBOX_ERROR_CHARS_MAX,
    OUTBOX_PAUSE_S,
    OUTBOX_PENDING_MAX,
    OUTBOX_RETRY_AFTER_S_MAX,
)
from muniment.respond.block import one_line
from muniment.respond.notice import Channel, DeliveryError, Notice, read_notice

__all__ = ["METADATA", "RETRY_SECONDS", "Deliveries", "Entry", "Outbox", "retry_at"]

METADATA = sa.MetaData()
"""The tables of the respond room."""

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits between attempts: about three days in all, the schedule Standard Webhooks gives as its example."""

_Row = sa.Row[tuple[str, str, str, int]]
_SECOND_NS: Final = 1_000_000_000
_PENDING: Final = "pending"
_DELIVERED: Final = "delivered"
_DEAD: Final = "dead"

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
    """One notification to one channel. `state` pending, delivered or dead; `ended_at` 0 while pending.

    `remark` is the last error, or what the receiver said beside taking it.
    """

    notice_id: str
    channel: str
    state: str
    attempts: int
    put_at: int
    next_at: int
    ended_at: int
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
    """All notifications on their way. Changes are durable when the method returns; one thread calls `deliver_due`."""

    def __init__(self, engine: sa.Engine, channels: Mapping[str, Channel]) -> None:
        self._engine = engine
        self._channels = dict(channels)
        METADATA.create_all(engine, tables=[_TABLE])

    def put(self, notice: Notice, channels: Iterable[str], now_ns: int) -> int:
        """Keep a notice for each channel, due at once; how many were new.

        Raises:
            RejectedError: there is no such channel.
            BusyError: the outbox is full.
        """
        wanted = list(dict.fromkeys(channels))
        for channel in wanted:
            if channel not in self._channels:
                raise RejectedError(f"there is no channel {channel!r}", field="channel", status=404)
        with self._engine.begin() as connection:
            held = connection.execute(sa.select(_TABLE.c.channel).where(_TABLE.c.notice_id == notice.id)).scalars()
            known = set(held)
            missing = [channel for channel in wanted if channel not in known]
            if not missing:
                return 0
            waiting = connection.execute(
                sa.select(sa.func.count()).select_from(_TABLE).where(_TABLE.c.state == _PENDING)
            ).scalar_one()
            if waiting + len(missing) > OUTBOX_PENDING_MAX:
                raise BusyError(f"{waiting} notifications wait to be delivered", retry_after_ms=60_000)
            connection.execute(
                _TABLE.insert(),
                [
                    {
                        "notice_id": notice.id, "channel": channel, "notice": notice.to_json(), "state": _PENDING,
                        "attempts": 0, "put_at": now_ns, "next_at": now_ns, "ended_at": 0, "remark": "",
                    }
                    for channel in missing
                ],
            )  # fmt: skip
        return len(missing)

    def deliver_due(self, now_ns: int) -> Deliveries:
        """Try what is due, oldest first, at most OUTBOX_BATCH_MAX a channel.

        A channel that fails is left alone for OUTBOX_PAUSE_S, so that one dead receiver holds nobody else up. A receiver's
        failure is kept in the row, not raised; a mistake in a channel's own code is raised, with the attempt counted.
        """
        counts = dict.fromkeys(Deliveries.__slots__, 0)
        for channel in self._due_channels(now_ns):
            for row in self._due(channel, now_ns):
                if not self._claim(row, now_ns):
                    continue
                try:
                    remark = self._deliver(row, now_ns)
                except DeliveryError as error:
                    counts["dead" if self._failed(row, error, now_ns) else "failed"] += 1
                    if not error.is_permanent:
                        counts["postponed"] += self._pause(channel, now_ns)
                        break
                else:
                    self._set(row, state=_DELIVERED, ended_at=now_ns, remark=one_line(remark, OUTBOX_ERROR_CHARS_MAX))
                    counts["delivered"] += 1
        return Deliveries(**counts)

    def next_due(self) -> int | None:
        """When the earliest pending notification is due; None when none waits."""
        with self._engine.connect() as connection:
            found = connection.execute(
                sa.select(sa.func.min(_TABLE.c.next_at)).where(_TABLE.c.state == _PENDING)
            ).scalar_one()
        return None if found is None else int(found)

    def entries(self, state: str = "", limit: int = 1_000) -> list[Entry]:
        """The newest entries, of one state or of all."""
        query = sa.select(*(_TABLE.c[name] for name in Entry.__slots__))
        if state:
            query = query.where(_TABLE.c.state == state)
        with self._engine.connect() as connection:
            rows = connection.execute(
                query.order_by(_TABLE.c.put_at.desc(), _TABLE.c.notice_id, _TABLE.c.channel).limit(limit)
            )
            return [Entry(*row) for row in rows]

    def revive(self, notice_id: str, channel: str, now_ns: int) -> None:
        """Try a dead letter again from the start.

        Raises:
            RejectedError: there is no such dead letter.
        """
        with self._engine.begin() as connection:
            changed = connection.execute(
                _TABLE.update()
                .where(_TABLE.c.notice_id == notice_id, _TABLE.c.channel == channel, _TABLE.c.state == _DEAD)
                .values(state=_PENDING, attempts=0, next_at=now_ns, ended_at=0)
            )
        if changed.rowcount != 1:
            raise RejectedError("there is no such dead letter", field="notice_id", status=404)

    def forget_ended(self, before_ns: int) -> int:
        """Delete what was delivered or died before a time; how many. A notice forgotten could be put again."""
        with self._engine.begin() as connection:
            return connection.execute(
                _TABLE.delete().where(_TABLE.c.state != _PENDING, _TABLE.c.ended_at < before_ns)
            ).rowcount

    def _due_channels(self, now_ns: int) -> list[str]:
        with self._engine.connect() as connection:
            return list(
                connection.execute(
                    sa.select(_TABLE.c.channel)
                    .where(_TABLE.c.state == _PENDING, _TABLE.c.next_at <= now_ns)
                    .distinct()
                    .order_by(_TABLE.c.channel)
                ).scalars()
            )

    def _due(self, channel: str, now_ns: int) -> list[_Row]:
        with self._engine.connect() as connection:
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
        with self._engine.begin() as connection:
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
        with self._engine.begin() as connection:
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
        channel = self._channels.get(row.channel)
        if channel is None:
            raise DeliveryError("the channel is no longer configured", is_permanent=True)
        try:
            notice = read_notice(row.notice)
        except (RejectedError, ValueError, KeyError, TypeError) as error:
            raise DeliveryError(f"the kept notice cannot be read: {error}", is_permanent=True) from error
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
        with self._engine.begin() as connection:
            connection.execute(
                _TABLE.update()
                .where(_TABLE.c.notice_id == row.notice_id, _TABLE.c.channel == row.channel)
                .values(**values)
            )
