"""Active blocks as the files that others read: lists, nginx, HAProxy, nftables, fail2ban, STIX 2.1. Pure.

A feed says the whole truth each time: what is not in it is not blocked. Its ETag depends on the blocks alone, so that a
consumer that asks every ten seconds gets bytes only when something has changed. Texts of people stand in comments only,
on one line, in printable ASCII: no reason can become a directive.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Final

from muniment.respond.block import KINDS, Block, network_of
from muniment.respond.stix import bundle

__all__ = ["FEEDS", "Feed", "etag", "rendered"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Feed:
    """One form. `kinds`: which blocks it carries; `has_undone`: also those that were undone, marked as such."""

    name: str
    media_type: str
    words: str
    kinds: tuple[str, ...]
    render: Callable[[Sequence[Block], int], str]
    has_undone: bool = False


def etag(name: str, blocks: Sequence[Block]) -> str:
    """The tag of a feed of these blocks. Weak: times that run down (nftables) may differ between equal feeds."""
    text = "\n".join(f"{b.id} {b.kind} {b.value} {b.state} {b.expires_at}" for b in blocks)
    return f'W/"{hashlib.sha256(f"{name} {text}".encode()).hexdigest()[:32]}"'


def rendered(name: str, blocks: Sequence[Block], now_ns: int) -> bytes:
    """The bytes of a feed. KeyError when there is none of that name."""
    feed = FEEDS[name]
    return feed.render([block for block in blocks if block.kind in feed.kinds], now_ns).encode()


def _comment(text: str) -> str:
    """One line of printable ASCII without the characters that end a comment anywhere."""
    return re.sub(r"[^ -~]|[;{}\"'\\#]", "?", text)[:120]


def _until(block: Block) -> str:
    return (_EPOCH + timedelta(microseconds=block.expires_at // 1_000)).isoformat(timespec="seconds")[:-6] + "Z"


def _plain(blocks: Sequence[Block], now_ns: int) -> str:
    return "".join(f"{block.value}\n" for block in blocks)


def _widest(blocks: Sequence[Block], now_ns: int) -> str:
    """Without what lies in a range that is listed: sets of intervals refuse what overlaps."""
    networks = {net: b.value for b in blocks if (net := network_of(b.kind, b.value)) is not None}
    widths = {(net.version, net.prefixlen) for net in networks}
    kept = (
        value
        for net, value in networks.items()
        if not any(
            version == net.version and bits < net.prefixlen and net.supernet(new_prefix=bits) in networks
            for version, bits in widths
        )
    )
    return "".join(f"{value}\n" for value in kept)


def _nginx(blocks: Sequence[Block], now_ns: int) -> str:
    lines = [f"deny {b.value}; # until {_until(b)}: {_comment(b.reason)}\n" for b in blocks]
    return "# Include this in http, server or location; reload nginx when it changes.\n" + "".join(lines)


def _haproxy(blocks: Sequence[Block], now_ns: int) -> str:
    return "".join(f"{block.value} {block.id}\n" for block in blocks)


def _nftables(blocks: Sequence[Block], now_ns: int) -> str:
    """Taken whole or not at all by `nft -f`; elements time out by themselves should nobody fetch the next one.

    A set with intervals keeps one time for what overlaps, so overlapping blocks are cut into disjoint ones, each living
    as long as the longest block that covers it.
    """
    lines = ["add table inet muniment\n"]
    for version in (4, 6):
        name = f"inet muniment blocked{version}"
        lines.append(f"add set {name} {{ type ipv{version}_addr; flags interval, timeout; }}\n")
        lines.append(f"flush set {name}\n")
        lines += [f"add element {name} {{ {_element(span, now_ns)} }}\n" for span in _disjoint(blocks, version, now_ns)]
    return "".join(lines)


@dataclass(frozen=True, slots=True)
class _Span:
    """Addresses `first` to `last` of one family, refused until `until_ns`."""

    first: int
    last: int
    until_ns: int
    version: int


def _disjoint(blocks: Sequence[Block], version: int, now_ns: int) -> Iterator[_Span]:
    """Spans in order that do not touch unless they end at different times. One sweep, n log n.

    A clock that was put back makes no block longer than it was made.
    """
    covers = sorted(
        (
            int(network.network_address),
            int(network.broadcast_address),
            min(block.expires_at, now_ns + block.expires_at - block.active_at),
        )
        for block in blocks
        if (network := network_of(block.kind, block.value)) is not None and network.version == version
    )
    edges = sorted({first for first, _, _ in covers} | {last + 1 for _, last, _ in covers})
    active: list[tuple[int, int]] = []  # (-until, last): the longest-lived first
    position = 0
    open_span: _Span | None = None
    for edge, following in pairwise(edges):
        while position < len(covers) and covers[position][0] == edge:
            heapq.heappush(active, (-covers[position][2], covers[position][1]))
            position += 1
        while active and active[0][1] < edge:
            heapq.heappop(active)
        until = -active[0][0] if active else None
        if open_span and until == open_span.until_ns:
            open_span = _Span(open_span.first, following - 1, open_span.until_ns, version)
            continue
        if open_span:
            yield open_span
        open_span = _Span(edge, following - 1, until, version) if until is not None else None
    if open_span:
        yield open_span


def _element(span: _Span, now_ns: int) -> str:
    make = IPv4Address if span.version == 4 else IPv6Address
    first, last = make(span.first), make(span.last)
    text = str(first) if first == last else f"{first}-{last}"
    return f"{text} timeout {max(1, -((now_ns - span.until_ns) // 10**9))}s"


def _stix(blocks: Sequence[Block], now_ns: int) -> str:
    return bundle(blocks)


def _json(blocks: Sequence[Block], now_ns: int) -> str:
    kept = [{"kind": b.kind, "value": b.value, "until": b.expires_at // 10**9, "block": b.id} for b in blocks]
    return json.dumps({"blocks": kept}, separators=(",", ":")) + "\n"


_NETWORKS: Final = ("address", "range")
FEEDS: Final[Mapping[str, Feed]] = {
    feed.name: feed
    for feed in (
        Feed("addresses.txt", "text/plain", "addresses and ranges, one a line", _NETWORKS, _plain),
        Feed("accounts.txt", "text/plain", "accounts, one a line", ("account",), _plain),
        Feed("keys.txt", "text/plain", "API keys by id, one a line", ("key",), _plain),
        Feed("nginx.conf", "text/plain", "deny lines for nginx", _NETWORKS, _nginx),
        Feed("haproxy.map", "text/plain", "a map for HAProxy: address and id of the block", _NETWORKS, _haproxy),
        Feed("nftables.nft", "text/plain", "two sets for nft -f, with times", _NETWORKS, _nftables),
        Feed("fail2ban.txt", "text/plain", "addresses for fail2ban-client set JAIL banip, none within another", _NETWORKS, _widest),
        Feed("blocks.json", "application/json", "everything, as the SDK reads it", KINDS, _json),
        Feed("stix.json", "application/stix+json;version=2.1", "a STIX 2.1 bundle of indicators; undone ones are revoked",
             KINDS, _stix, has_undone=True),
    )
}  # fmt: skip
