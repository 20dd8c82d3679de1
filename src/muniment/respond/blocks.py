"""All blocks of one Muniment, and the networks that are never blocked; in the database of people and settings.

Rules: a block ends by itself; one that would hit people who succeeded from there waits for a second person (`four_eyes`); an allowed
network cannot be hit, also not by a range around it; an active value is not blocked twice, its end is moved. Every change
is durable when the method returns; who made it stands in the ledger (the caller records it). An ended block is forgotten
after BLOCK_ENDED_DAYS, and an erased person's at once: its value is in the clear here.

A block is over at its time by the clock, or once its length has passed by a clock that nobody sets, whichever comes first:
when the clock is put back an hour, what is in force stays so and lasts no hour longer. Where it stops: a start knows the
clock only, and a block made while the clock was wrong ends by the clock when that is put right. Who asks what has
changed since (TAXII) misses nothing either: each change is later than the one before.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.four_eyes import check_second, is_enough
from muniment.limits import (
    ALLOWED_V4_BITS_MIN,
    ALLOWED_V6_BITS_MIN,
    BLOCK_ENDED_DAYS,
    BLOCK_FETCH_KEPT_S,
    BLOCK_HOURS_MAX,
    BLOCKS_ACTIVE_MAX,
)
from muniment.respond.block import Allowed, Block, Kind, key_of, network_of, overlapping, read_network
from muniment.respond.stix import changed_at
from muniment.search.persons import ERASED, Person
from muniment.tables import make_tables

__all__ = ["Blocks"]

_ENDED_NS: Final = BLOCK_ENDED_DAYS * 86_400 * 10**9
_MS: Final = 1_000_000
_log = logging.getLogger("muniment")
_METADATA = sa.MetaData()
_BLOCKS = sa.Table(
    "blocks",
    _METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("value", sa.String(320), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("asked_by", sa.String(128), nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("approved_by", sa.String(128), nullable=False),
    sa.Column("active_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("ended_by", sa.String(128), nullable=False),
    sa.Column("ended_at", sa.BigInteger, nullable=False),
    sa.Column("alert", sa.String(64), nullable=False),
    sa.Column("asked_person", sa.String(64), nullable=False, server_default=""),
    sa.Column("changed_at", sa.BigInteger, nullable=False, server_default="0"),
)
_ALLOWED = sa.Table(
    "allowed_networks",
    _METADATA,
    sa.Column("network", sa.String(64), primary_key=True),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_FETCHES = sa.Table(
    "feed_fetches",
    _METADATA,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Who fetched which feed last: `id` is of their key or session, `by` its name."""


class Blocks:
    """The blocks and the allow-list. Thread-safe; all are in memory, the database keeps them."""

    def __init__(self, database: sa.Engine, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._database = database
        self._steady = steady
        self._deadlines: dict[str, tuple[int, int]] = {}
        self._lock = threading.RLock()
        if "blocks.asked_person" in make_tables(database, [_BLOCKS, _ALLOWED, _FETCHES]):
            # A session is called by its account; whose the keys were is not known.
            by_session = ~_BLOCKS.c.asked_by.startswith("key:")
            with database.begin() as connection:
                connection.execute(sa.update(_BLOCKS).where(by_session).values(asked_person=_BLOCKS.c.asked_by))
        with database.connect() as connection:
            self._blocks = {row["id"]: Block(**row) for row in connection.execute(sa.select(_BLOCKS)).mappings()}
            self._allowed = {
                row["network"]: Allowed(**row) for row in connection.execute(sa.select(_ALLOWED)).mappings()
            }
            known = connection.execute(sa.select(_FETCHES).order_by(_FETCHES.c.at)).all()
        self._last_change = max(map(changed_at, self.ever_active()), default=0)
        self._fetches: dict[tuple[str, str], int] = {(each.feed, each.by): each.at for each in known}
        self._fetchers: dict[str, str] = {each.id: each.address for each in known}
        self._kept_fetches = {(each.feed, each.id): (each.at, each.address) for each in known}
        self._in_force: dict[tuple[str, str], Block] = {}
        self._ranges: dict[tuple[int, int, int], Block] = {}
        self._widths: set[tuple[int, int]] = set()
        self._arrange()

    # --- the allow-list -------------------------------------------------------------------------------------------

    def allowed(self) -> list[Allowed]:
        """Networks that are never blocked, by name."""
        with self._lock:
            return sorted(self._allowed.values(), key=lambda each: (each.title, each.network))

    def allow(self, network: str, title: str, by: str, now_ns: int) -> Allowed:
        """Never block this network. Raises RejectedError when one of its addresses is blocked now."""
        found = read_network(network, "network")
        least = ALLOWED_V4_BITS_MIN if found.version == 4 else ALLOWED_V6_BITS_MIN
        if found.prefixlen < least:
            raise RejectedError(f"wider than /{least}: name the networks that are yours", field="network")
        canonical = str(found)
        if not title.strip():
            raise RejectedError("say whose it is", field="title")
        made = Allowed(canonical, title.strip()[:200], by, now_ns)
        with self._lock:
            hit = [b for b in self.active(now_ns) if (n := network_of(b.kind, b.value)) and overlapping(n, [made])]
            if hit:
                raise RejectedError(f"{hit[0].value} in it is blocked; undo that first", field="network", status=409)
            with self._database.begin() as connection:
                connection.execute(sa.delete(_ALLOWED).where(_ALLOWED.c.network == canonical))
                connection.execute(sa.insert(_ALLOWED).values(network=canonical, title=made.title, by=by, at=now_ns))
            self._allowed[canonical] = made
        return made

    def disallow(self, network: str) -> Allowed:
        """The network may be blocked again."""
        with self._lock:
            network = str(read_network(network, "network"))
            found = self._allowed.pop(network, None)
            if found is None:
                raise RejectedError("it is not on the allow-list", field="network", status=404)
            with self._database.begin() as connection:
                connection.execute(sa.delete(_ALLOWED).where(_ALLOWED.c.network == network))
            return found

    def offices(self, kind: Kind, value: str) -> Sequence[Allowed]:
        """Allowed networks that a block would hit."""
        network = network_of(kind, value)
        return overlapping(network, self.allowed()) if network is not None else []

    # --- asking ---------------------------------------------------------------------------------------------------

    def find(self, kind: str, value: str, now_ns: int) -> Block | None:
        """The block in force that covers a canonical value. It is asked at every login: one look for each width of range."""
        with self._lock:
            found = [self._in_force.get(key_of(kind, value))]
            if kind == "address" and (network := network_of(kind, value)) is not None:
                address, bits_max = int(network.network_address), network.max_prefixlen
                found += [
                    self._ranges.get((network.version, bits, address >> (bits_max - bits)))
                    for version, bits in self._widths
                    if version == network.version
                ]
            return next((block for block in found if block is not None and self._is_active(block, now_ns)), None)

    def about(self, kind: str, value: str) -> list[Block]:
        """Every block of a canonical value that is or was, newest first; for networks also those around it and in it."""
        network = network_of(kind, value)

        def is_about(block: Block) -> bool:
            other = network_of(block.kind, block.value) if network is not None else None
            if network is None or other is None:
                return key_of(block.kind, block.value) == key_of(kind, value)
            return other.version == network.version and other.overlaps(network)

        return [block for block in self.all() if is_about(block)]

    def open(self, now_ns: int) -> list[Block]:
        """Blocks in force, or asked for, in the order of the values."""
        with self._lock:
            found = [b for b in self._blocks.values() if self._is_active(b, now_ns) or self._is_asked(b, now_ns)]
        return sorted(found, key=lambda b: (b.kind, b.value))

    def _is_active(self, block: Block, now_ns: int) -> bool:
        return block.is_active(now_ns) and not self._is_over(block, now_ns)

    def _is_asked(self, block: Block, now_ns: int) -> bool:
        return block.is_asked(now_ns) and not self._is_over(block, now_ns)

    def _is_over(self, block: Block, now_ns: int) -> bool:
        """Has its time come, by either clock? The steady one counts from the first look at this end of the block."""
        ends_at, deadline = self._deadlines.get(block.id, (0, 0))
        if ends_at != block.expires_at:
            deadline = self._steady() + block.expires_at - now_ns
            self._deadlines[block.id] = block.expires_at, deadline
        return now_ns >= block.expires_at or self._steady() >= deadline

    def _arrange(self) -> None:
        """After each change: blocks in force by what they cover."""
        active = [each for each in self._blocks.values() if each.state == "active"]
        self._in_force = {key_of(each.kind, each.value): each for each in active}
        self._ranges = {}
        for each in active:
            if each.kind == "range" and (net := network_of(each.kind, each.value)) is not None:
                shifted = int(net.network_address) >> (net.max_prefixlen - net.prefixlen)
                self._ranges[net.version, net.prefixlen, shifted] = each
        self._widths = {(version, bits) for version, bits, _ in self._ranges}

    # --- blocks ---------------------------------------------------------------------------------------------------

    def all(self) -> list[Block]:
        """Every block ever asked for, newest first."""
        with self._lock:
            return sorted(self._blocks.values(), key=lambda each: (-each.asked_at, each.id))

    def active(self, now_ns: int) -> list[Block]:
        """What others should refuse now, in the order of the values."""
        with self._lock:
            return sorted(
                (each for each in self._blocks.values() if self._is_active(each, now_ns)),
                key=lambda b: (b.kind, b.value),
            )

    def get(self, id: str) -> Block:
        """One block; RejectedError with status 404 when there is none."""
        with self._lock:
            found = self._blocks.get(id)
        if found is None:
            raise RejectedError("there is no such block", field="id", status=404)
        return found

    def ask(
        self,
        kind: Kind,
        value: str,
        *,
        hours: int,
        reason: str,
        by: str,
        person: str,
        now_ns: int,
        needs_second: bool,
        alert: str = "",
    ) -> Block:
        """Block a value in its canonical form; it waits for a second person where `needs_second`.

        `by` is the session or key that asks, `person` whose it is.

        Raises:
            RejectedError: an allowed network, no reason, too long, blocked already, or too many.
        """
        if offices := self.offices(kind, value):
            raise RejectedError(
                f"{offices[0].network} ({offices[0].title}) must not be blocked", field="value", status=409
            )
        if not reason.strip():
            raise RejectedError("say why: the next reader will ask", field="reason")
        if not 1 <= hours <= BLOCK_HOURS_MAX:
            raise RejectedError(f"must be 1 to {BLOCK_HOURS_MAX} hours: every block ends", field="hours")
        with self._lock:
            open_ = self.open(now_ns)
            if any(key_of(b.kind, b.value) == key_of(kind, value) for b in open_):
                raise RejectedError("it is blocked, or asked for, already", field="value", status=409)
            if len(open_) >= BLOCKS_ACTIVE_MAX:
                raise RejectedError(f"more than {BLOCKS_ACTIVE_MAX} blocks; block ranges", field="value", status=409)
            block = Block(
                id=str(uuid.uuid4()), kind=kind, value=value, reason=reason.strip(),
                state="asked" if needs_second else "active", asked_by=by, asked_at=now_ns, approved_by="",
                active_at=0 if needs_second else now_ns, expires_at=now_ns + hours * 3_600 * 10**9, alert=alert,
                asked_person=person,
            )  # fmt: skip
            block = self._store(block if needs_second else self._changed(block, now_ns), is_new=True)
            self._is_over(block, now_ns)  # its length begins
            return block

    def approve(self, id: str, by: str, now_ns: int, *, person: str) -> Block:
        """A second person agrees, and it is in force. Where nobody in particular had asked it still waits: it is
        `person`'s request now, and somebody else agrees.

        Raises:
            DeniedError: it is the first person, or a key of nobody's.
            RejectedError: it does not wait.
        """
        with self._lock:
            block = self.get(id)
            if not self._is_asked(block, now_ns):
                state = "expired" if block.state == "asked" else block.state
                raise RejectedError(f"it does not wait for anybody: it is {state}", field="id", status=409)
            check_second(block.asked_person, person, "block")
            if offices := self.offices(block.kind, block.value):
                raise RejectedError(
                    f"{offices[0].network} ({offices[0].title}) must not be blocked", field="id", status=409
                )
            if not is_enough(block.asked_person):
                return self._store(replace(block, asked_person=person, approved_by=by))
            whole = block.expires_at - block.asked_at
            made = replace(block, state="active", approved_by=by, active_at=now_ns, expires_at=now_ns + whole)
            made = self._store(self._changed(made, now_ns))
            self._is_over(made, now_ns)  # its length begins
            return made

    def undo(self, id: str, by: str, now_ns: int) -> Block:
        """End a block, or take a request back, now."""
        with self._lock:
            block = self.get(id)
            if not self._is_active(block, now_ns) and not self._is_asked(block, now_ns):
                state = "expired" if block.state in {"asked", "active"} else block.state
                raise RejectedError(f"it has ended: it is {state}", field="id", status=409)
            undone = replace(block, state="undone", ended_by=by, ended_at=now_ns)
            return self._store(self._changed(undone, now_ns) if block.active_at else undone)

    def expire(self, now_ns: int) -> list[Block]:
        """Blocks whose time is over, each told once. A request nobody answered ends the same way."""
        with self._lock:
            over = [b for b in self._blocks.values() if b.state in {"active", "asked"} and self._is_over(b, now_ns)]
            return [self._store(replace(each, state="expired", ended_at=each.expires_at)) for each in over]

    def ever_active(self) -> list[Block]:
        """What is or was in force and is not forgotten."""
        with self._lock:
            return [b for b in self._blocks.values() if b.active_at and (b.state != "asked")]

    def repeated(
        self, kind: str, value: str, *, hours: int, reason: str, by: str, since_ns: int, alert: str
    ) -> Block | None:
        """The open block that the same request made already, since then: a form that was sent twice asks for one block."""
        with self._lock:
            same = (key_of(kind, value), by, reason.strip(), alert, hours * 3_600 * 10**9)
            for b in self._blocks.values():
                is_open = b.state in {"active", "asked"} and b.asked_at >= since_ns
                length = b.expires_at - (b.active_at or b.asked_at)
                if is_open and (key_of(b.kind, b.value), b.asked_by, b.reason, b.alert, length) == same:
                    return b
        return None

    def ended_since(self, kind: str, value: str, since_ns: int) -> bool:
        """Has a block of exactly this ended since then?"""
        with self._lock:
            same = key_of(kind, value)
            return any(b.ended_at >= since_ns for b in self._blocks.values() if key_of(b.kind, b.value) == same)

    def since_undone(self, now_ns: int) -> list[Block]:
        """Blocks that were in force, are undone, and would be in force still: what others may have to take back."""
        with self._lock:
            return [b for b in self._blocks.values() if b.state == "undone" and b.active_at and now_ns < b.expires_at]

    def _changed(self, block: Block, now_ns: int) -> Block:
        """Told to whoever follows blocks after all that was told before; STIX tells versions apart by milliseconds."""
        self._last_change = max(now_ns, self._last_change + 1_000, changed_at(block) + _MS if block.changed_at else 0)
        return replace(block, changed_at=self._last_change)

    def _store(self, block: Block, *, is_new: bool = False) -> Block:
        values = {name: getattr(block, name) for name in Block.__dataclass_fields__}
        with self._database.begin() as connection:
            if is_new:
                connection.execute(sa.insert(_BLOCKS).values(**values))
            else:
                connection.execute(sa.update(_BLOCKS).where(_BLOCKS.c.id == block.id).values(**values))
        self._blocks[block.id] = block
        self._arrange()
        return block

    # --- forgetting -----------------------------------------------------------------------------------------------

    def forget_ended(self, now_ns: int) -> int:
        """Delete blocks that ended long ago; how many. That they were is in the ledger."""
        with self._lock:
            old = [b.id for b in self._blocks.values() if b.ended_at and b.ended_at < now_ns - _ENDED_NS]
            self._delete(old)
            return len(old)

    def forget_person(self, person: Person, now_ns: int) -> list[Block]:
        """Nobody called that is blocked any more, and no reason names them; the blocks that were in force or asked for."""
        with self._lock:
            about = [b for b in self._blocks.values() if b.kind != "range" and person.is_called(b.value)]
            self._delete([each.id for each in about])
            for each in list(self._blocks.values()):
                reason = person.out_of(each.reason)
                if reason != each.reason:
                    self._store(replace(each, reason=reason))
            ended = [each for each in about if self._is_active(each, now_ns) or self._is_asked(each, now_ns)]
            return [replace(each, value=ERASED, reason="", state="undone", ended_at=now_ns) for each in ended]

    def _delete(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        with self._database.begin() as connection:
            connection.execute(sa.delete(_BLOCKS).where(_BLOCKS.c.id.in_(list(ids))))
        for id in ids:
            del self._blocks[id]
            self._deadlines.pop(id, None)
        self._arrange()

    # --- consumers ------------------------------------------------------------------------------------------------

    def note_fetch(self, feed: str, by: str, now_ns: int, *, id: str, address: str) -> None:
        """Somebody fetched a feed, or heard that nothing has changed. `id`: of their key or session.

        It is kept over restarts; of one who comes again from the same address only once in BLOCK_FETCH_KEPT_S. A database that
        fails holds up nobody who asks what is blocked: the next fetch writes it.
        """
        with self._lock:
            self._fetches[feed, by] = now_ns
            self._fetchers[id] = address
            at, before = self._kept_fetches.get((feed, id), (0, ""))
            if address == before and abs(now_ns - at) < BLOCK_FETCH_KEPT_S * 10**9:
                return
            this = (_FETCHES.c.feed == feed) & (_FETCHES.c.id == id)
            row = {"feed": feed, "id": id, "by": by[:128], "address": address[:64], "at": now_ns}
            try:
                with self._database.begin() as connection:
                    connection.execute(sa.delete(_FETCHES).where(this | (_FETCHES.c.at < now_ns - _ENDED_NS)))
                    connection.execute(sa.insert(_FETCHES).values(row))
            except sa.exc.SQLAlchemyError as error:
                _log.warning("who fetched %s was not kept: %s", feed, error)
            else:
                self._kept_fetches[feed, id] = now_ns, address

    def fetchers(self) -> dict[str, str]:
        """From which address each key or session last asked for a feed."""
        with self._lock:
            return dict(self._fetchers)

    def fetched_at(self, feeds: Sequence[str]) -> int:
        """When any consumer last asked for one of these feeds; 0: never."""
        with self._lock:
            return max((at for (feed, _), at in self._fetches.items() if feed in feeds), default=0)

    def fetches(self) -> dict[tuple[str, str], int]:
        """When each consumer last asked for each feed."""
        with self._lock:
            return dict(self._fetches)
