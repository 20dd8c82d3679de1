"""What another system is asked to do, or told that we did: end an account's sessions; a block made, undone or over. Pure.

An order names the person it is about, because its receiver has to act: it goes only to actions the operator configured for
its type, never to a chat or a mailbox. It is sent as a signed webhook, the same bytes at every attempt, its id the same.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from muniment.errors import RejectedError
from muniment.limits import NOTICE_ID_CHARS_MAX
from muniment.respond.block import Block

__all__ = ["ORDER_TYPES", "SESSIONS_END", "Order", "Performer", "is_for", "order_about_block", "read_order"]

SESSIONS_END: Final = "sessions.end"
ORDER_TYPES: Final[Mapping[str, str]] = {
    SESSIONS_END: "end every session of an account",
    "block.made": "a block is in force",
    "block.undone": "a block was ended by hand",
    "block.expired": "the time of a block is over",
}
"""Each type and what it says; an action may also name them with `*`."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `at` in UTC nanoseconds; `data` is what the receiver reads.

    Raises:
        RejectedError: no such type, or an id that cannot stand in a header.
    """

    id: str
    type: str
    at: int
    data: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if self.type not in ORDER_TYPES:
            raise RejectedError(f"there are {', '.join(ORDER_TYPES)}, got {self.type!r}", field="type")
        is_plain = self.id.isascii() and all(c.isalnum() or c in "-_" for c in self.id)
        if not 0 < len(self.id) <= NOTICE_ID_CHARS_MAX or not is_plain:
            raise RejectedError(f"1 to {NOTICE_ID_CHARS_MAX} letters, digits, - and _", field="id")

    def to_json(self) -> str:
        """The order as the outbox keeps it."""
        kept = {"id": self.id, "type": self.type, "at": self.at, "data": self.data}
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    def body(self) -> bytes:
        """The payload in the form Standard Webhooks proposes."""
        data = {"id": self.id, **dict(self.data)}
        body = {"type": self.type, "timestamp": _time(self.at), "data": data}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


class Performer(Protocol):
    """Somebody who carries orders out."""

    def perform(self, order: Order, now_ns: int) -> str:
        """Hand it over within a bounded time; what was answered.

        Raises:
            DeliveryError: it was not taken.
        """
        ...


def read_order(kept: Mapping[str, Any]) -> Order:
    """The order that `to_json` wrote."""
    return Order(kept["id"], kept["type"], kept["at"], tuple((name, value) for name, value in kept["data"]))


def is_for(type: str, patterns: Iterable[str]) -> bool:
    """Does an action with these patterns take orders of the type?

    >>> is_for("block.made", ["block.*"]), is_for("sessions.end", ["block.*"])
    (True, False)
    """
    return any(fnmatch.fnmatchcase(type, pattern) for pattern in patterns)


def order_about_block(block: Block, type: str) -> Order:
    """A block made, undone or over. Its id is the block's and the type's: told once, however often it is put."""
    at = block.active_at if type == "block.made" else block.ended_at
    data = {
        "block": block.id, "kind": block.kind, "value": block.value, "reason": block.reason, "asked_by": block.asked_by,
        "approved_by": block.approved_by, "active_at": _time(block.active_at), "expires_at": _time(block.expires_at),
        "ended_by": block.ended_by, "ended_at": _time(block.ended_at) if block.ended_at else "", "alert": block.alert,
    }  # fmt: skip
    return Order(f"block_{block.id}_{type.rpartition('.')[2]}", type, at, tuple(data.items()))


def _time(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
