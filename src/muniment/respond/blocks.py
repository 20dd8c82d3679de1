"""All blocks of one Muniment, and the networks that are never blocked; in the database of people and settings.

Rules: a block ends by itself; one that would hit people who succeeded from there waits for a second person; an allowed
network cannot be hit, also not by a range around it; an active value is not blocked twice, its end is moved. Every change
is durable when the method returns; who made it stands in the ledger (the caller records it).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import sqlalchemy as sa

from muniment.errors import DeniedError, RejectedError
from muniment.limits import BLOCK_HOURS_MAX, BLOCKS_ACTIVE_MAX
from muniment.respond.block import Allowed, Block, Kind, network_of, overlapping

__all__ = ["Blocks"]

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
)
_ALLOWED = sa.Table(
    "allowed_networks",
    _METADATA,
    sa.Column("network", sa.String(64), primary_key=True),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


class Blocks:
    """The blocks and the allow-list. Thread-safe; all are in memory, the database keeps them."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._lock = threading.RLock()
        _METADATA.create_all(database)
        with database.connect() as connection:
            self._blocks = {row["id"]: Block(**row) for row in connection.execute(sa.select(_BLOCKS)).mappings()}
            self._allowed = {
                row["network"]: Allowed(**row) for row in connection.execute(sa.select(_ALLOWED)).mappings()
            }
        self._fetches: dict[tuple[str, str], int] = {}

    # --- the allow-list -------------------------------------------------------------------------------------------

    def allowed(self) -> list[Allowed]:
        """Networks that are never blocked, by name."""
        with self._lock:
            return sorted(self._allowed.values(), key=lambda each: (each.title, each.network))

    def allow(self, network: str, title: str, by: str, now_ns: int) -> Allowed:
        """Never block this network. Raises RejectedError when one of its addresses is blocked now."""
        try:
            canonical = str(ip_network(network.strip(), strict=False))
        except ValueError:
            raise RejectedError(f"{network[:64]!r} is not a network like 198.51.100.0/24", field="network") from None
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

    # --- blocks ---------------------------------------------------------------------------------------------------

    def all(self) -> list[Block]:
        """Every block ever asked for, newest first."""
        with self._lock:
            return sorted(self._blocks.values(), key=lambda each: (-each.asked_at, each.id))

    def active(self, now_ns: int) -> list[Block]:
        """What others should refuse now, in the order of the values."""
        with self._lock:
            return sorted(
                (each for each in self._blocks.values() if each.is_active(now_ns)), key=lambda b: (b.kind, b.value)
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
        now_ns: int,
        needs_second: bool,
        alert: str = "",
    ) -> Block:
        """Block a value in its canonical form; it waits for a second person where `needs_second`.

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
            open_ = [b for b in self._blocks.values() if b.is_active(now_ns) or b.state == "asked"]
            if any((b.kind, b.value) == (kind, value) for b in open_):
                raise RejectedError("it is blocked, or asked for, already", field="value", status=409)
            if len(open_) >= BLOCKS_ACTIVE_MAX:
                raise RejectedError(f"more than {BLOCKS_ACTIVE_MAX} blocks; block ranges", field="value", status=409)
            block = Block(
                id=str(uuid.uuid4()), kind=kind, value=value, reason=reason.strip(),
                state="asked" if needs_second else "active", asked_by=by, asked_at=now_ns, approved_by="",
                active_at=0 if needs_second else now_ns, expires_at=now_ns + hours * 3_600 * 10**9, alert=alert,
            )  # fmt: skip
            self._store(block, is_new=True)
            return block

    def approve(self, id: str, by: str, now_ns: int) -> Block:
        """A second person agrees. DeniedError when it is the first; RejectedError when it does not wait."""
        with self._lock:
            block = self.get(id)
            if block.state != "asked":
                raise RejectedError(f"it does not wait for anybody: it is {block.state}", field="id", status=409)
            if by == block.asked_by:
                raise DeniedError("who asks for a block that hits people cannot also approve it", permission="block")
            if offices := self.offices(block.kind, block.value):
                raise RejectedError(
                    f"{offices[0].network} ({offices[0].title}) must not be blocked", field="id", status=409
                )
            whole = block.expires_at - block.asked_at
            return self._store(
                replace(block, state="active", approved_by=by, active_at=now_ns, expires_at=now_ns + whole)
            )

    def undo(self, id: str, by: str, now_ns: int) -> Block:
        """End a block, or take a request back, now."""
        with self._lock:
            block = self.get(id)
            if block.state not in {"asked", "active"} or (block.state == "active" and not block.is_active(now_ns)):
                raise RejectedError(f"it has ended: it is {block.state}", field="id", status=409)
            return self._store(replace(block, state="undone", ended_by=by, ended_at=now_ns))

    def expire(self, now_ns: int) -> list[Block]:
        """Blocks whose time is over, each told once. A request nobody answered ends the same way."""
        with self._lock:
            over = [b for b in self._blocks.values() if b.state in {"active", "asked"} and b.expires_at <= now_ns]
            return [self._store(replace(each, state="expired", ended_at=each.expires_at)) for each in over]

    def _store(self, block: Block, *, is_new: bool = False) -> Block:
        values = {name: getattr(block, name) for name in Block.__dataclass_fields__}
        with self._database.begin() as connection:
            if is_new:
                connection.execute(sa.insert(_BLOCKS).values(**values))
            else:
                connection.execute(sa.update(_BLOCKS).where(_BLOCKS.c.id == block.id).values(**values))
        self._blocks[block.id] = block
        return block

    # --- consumers ------------------------------------------------------------------------------------------------

    def note_fetch(self, feed: str, by: str, now_ns: int) -> None:
        """Somebody fetched a feed, or heard that nothing has changed."""
        with self._lock:
            self._fetches[feed, by] = now_ns

    def fetches(self) -> dict[tuple[str, str], int]:
        """When each consumer last asked for each feed, since the server started."""
        with self._lock:
            return dict(self._fetches)
