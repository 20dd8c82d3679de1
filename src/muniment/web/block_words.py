"""Blocks in words, the same on every page: whether it is in force, who made it, until when. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from ipaddress import ip_address, ip_network

from muniment.web.security import Block
from muniment.web.times import clock_text, span_text

__all__ = ["BlockLine", "asked_by", "block_lines", "covering", "state_of", "state_words"]

_MINUTE_NS = 60 * 10**9
_ORDER = {"active": 0, "asked": 1}


@dataclass(frozen=True, slots=True)
class BlockLine:
    """One block on the page of something else. `is_open`: in force, or asked for; `is_own`: of exactly what the page is about."""

    block: Block
    url: str
    state: str
    words: str
    is_open: bool
    is_own: bool


def state_of(block: Block, now_ns: int) -> str:
    """Its state now: one whose time is over is expired, whether or not anybody wrote that down."""
    return "expired" if block.state in _ORDER and block.expires_at <= now_ns else block.state


def state_words(block: Block, now_ns: int) -> str:
    """Its state in a few words."""
    match state_of(block, now_ns):
        case "active":
            return f"Blocked, {_left(block, now_ns)} left"
        case "asked":
            return "Waits for a second person" if block.asked_person else "Waits for two people"
        case "undone":
            return f"Undone by {block.ended_by}"
    return "Over"


def block_lines(blocks: Sequence[Block], kind: str, value: str, now_ns: int, zone: tzinfo) -> tuple[BlockLine, ...]:
    """Those in force first, then those that wait, then ended ones, each as they come."""
    found = [
        BlockLine(
            each, f"/blocks/{each.id}", state_of(each, now_ns), _who_and_when(each, now_ns, zone),
            state_of(each, now_ns) in _ORDER, (each.kind, each.value.casefold()) == (kind, value.casefold()),
        )
        for each in blocks
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda line: _ORDER.get(line.state, 2)))


def asked_by(block: Block) -> str:
    """Who asked: an account, or a key and whose request it is."""
    if block.asked_person and block.asked_by.startswith(block.asked_person):
        return block.asked_by
    return f"{block.asked_by} for {block.asked_person or 'nobody in particular'}"


def covering(lines: Sequence[BlockLine], kind: str, value: str) -> BlockLine | None:
    """The first of these that covers a value."""
    return next((line for line in lines if _covers(line.block, kind, value)), None)


def _covers(block: Block, kind: str, value: str) -> bool:
    if kind == "address" and block.kind in {"address", "range"}:
        try:
            return ip_address(value) in ip_network(block.value)
        except ValueError:
            return False
    return (block.kind, block.value.casefold()) == (kind, value.casefold())


def _who_and_when(block: Block, now_ns: int, zone: tzinfo) -> str:
    by = f"by {asked_by(block)}" + (f", agreed by {block.approved_by}" if block.approved_by else "")
    match state_of(block, now_ns):
        case "active":
            return f"{by}, until {_clock(block.expires_at, zone)} ({_left(block, now_ns)} left)"
        case "asked":
            return f"asked {by}; it waits for a second person, nothing is refused yet"
        case "undone":
            return f"{by}, undone by {block.ended_by} {_clock(block.ended_at, zone)}"
    was = "was asked for" if not block.active_at else "ended"
    return f"{by}, {was} {'until ' if not block.active_at else ''}{_clock(block.ended_at or block.expires_at, zone)}"


def _left(block: Block, now_ns: int) -> str:
    """Up to the next minute: a block of 24 hours has 24 hours left when it was just made."""
    return span_text(-(-(block.expires_at - now_ns) // _MINUTE_NS) * _MINUTE_NS)


def _clock(at_ns: int, zone: tzinfo) -> str:
    return clock_text(at_ns, zone, "minute")
