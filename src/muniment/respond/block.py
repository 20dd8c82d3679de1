"""What a block is: an address, a range, an account or an API key that others are asked to refuse, until a time. Pure."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, cast

from muniment.errors import RejectedError
from muniment.limits import BLOCK_RANGE_V4_BITS_MIN, BLOCK_RANGE_V6_BITS_MIN, BLOCK_VALUE_CHARS_MAX
from muniment.respond.slips import address_slip, host_bits, no_host, range_slip, too_wide

__all__ = [
    "KINDS", "Allowed", "Block", "Kind", "Network", "Seen", "among", "canonical", "is_address", "is_in", "key_of", "network_of",
    "one_line", "overlapping", "read_network", "written",
]  # fmt: skip

Kind = Literal["address", "range", "account", "key"]
KINDS: Final = ("address", "range", "account", "key")
Network = IPv4Network | IPv6Network
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_HOSTS: Final = (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"))
"""This network, and what is reserved with the broadcast address (RFC 6890)."""
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a NAT64 gateway writes them (RFC 6052, the well-known prefix)."""
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
"""Networks behind an IPv4 address (RFC 3056)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block. Times are UTC nanoseconds; `state`: asked (waits for a second person), active, undone, expired.

    `asked_by` is the session or key that asked, `asked_person` whose it is; "" where a key of nobody's asked and nobody has
    agreed yet. `changed_at`: when it came into force or was undone, in an order that no clock disturbs; 0: it never was.
    """

    id: str
    kind: Kind
    value: str
    reason: str
    state: str
    asked_by: str
    asked_at: int
    approved_by: str
    active_at: int
    expires_at: int
    ended_by: str = ""
    ended_at: int = 0
    alert: str = ""
    asked_person: str = ""
    changed_at: int = 0

    def is_active(self, now_ns: int) -> bool:
        """Should others refuse it now?"""
        return self.state == "active" and now_ns < self.expires_at

    def is_asked(self, now_ns: int) -> bool:
        """Does it still wait for a second person? A request ends after the time it asked for."""
        return self.state == "asked" and now_ns < self.expires_at


@dataclass(frozen=True, slots=True)
class Allowed:
    """A network that must never be blocked: an office, a VPN, a monitor, a partner."""

    network: str
    title: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What something was seen with: addresses, accounts by any of their names (as `key_of` writes them), and API keys."""

    addresses: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


def canonical(kind: str, value: str) -> tuple[Kind, str]:
    """The one way to write a value that is to be blocked; what `Block.value` holds.

    >>> canonical("address", "::FFFF:203.0.113.7")
    ('address', '203.0.113.7')
    >>> canonical("range", "203.0.113.0/24"), canonical("range", "::ffff:203.0.113.0/120")
    (('range', '203.0.113.0/24'), ('range', '203.0.113.0/24'))

    Raises:
        RejectedError: it is none, could mean two things, or is so wide that it would hit a part of the world.
    """
    known, text = written(kind, value)
    if known == "range" and (unsure := host_bits(value, ip_network(text))):
        raise RejectedError(unsure, field="value")
    if known in {"account", "key"} and any(unicodedata.category(c) in _UNSAFE for c in text):
        raise RejectedError(
            "holds characters that cannot be seen; those who refuse it could not read it", field="value"
        )
    return known, text


def written(kind: str, value: str) -> tuple[Kind, str]:
    """The one way to write what somebody asks about. Who signed in may have called themselves anything, and is looked at all the same.

    >>> written("account", " M.Ruiz "), written("range", "203.0.113.77/24")
    (('account', 'M.Ruiz'), ('range', '203.0.113.0/24'))

    Raises:
        RejectedError: as `canonical`, but for what cannot be seen or could mean two things.
    """
    text = value.strip()
    if kind not in KINDS:
        raise RejectedError(f"must be one of {', '.join(KINDS)}, got {kind!r}", field="kind")
    if kind == "address":
        return "address", str(_address(text))
    if kind == "range":
        return _range(text)
    text = unicodedata.normalize("NFKC", text).strip() if kind == "account" else text
    if not text:
        raise RejectedError("fill it in", field="value")
    if len(text) > BLOCK_VALUE_CHARS_MAX:
        raise RejectedError(f"longer than {BLOCK_VALUE_CHARS_MAX} characters", field="value")
    return cast(Kind, kind), text


def key_of(kind: str, value: str) -> tuple[str, str]:
    """What two blocks of the same have in common: `Anna@X.de` and `anna@x.de` are one account, as a login takes them.

    `value` is canonical. API keys are compared as they are.

    >>> key_of(*canonical("account", " M.Ruiz ")) == key_of(*canonical("account", "m.ruiz"))
    True
    """
    return kind, value.lower() if kind == "account" else value


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        raise RejectedError(address_slip(text), field="value") from None
    mapped = getattr(address, "ipv4_mapped", None)
    found: IPv4Address | IPv6Address = mapped if mapped is not None else address
    is_none = found.is_unspecified or found.is_multicast or found.is_loopback or found.is_link_local
    if is_none or any(found in network for network in _NO_HOSTS):
        raise RejectedError(no_host(found), field="value")
    return found


def _range(text: str) -> tuple[Kind, str]:
    network = read_network(text, "value")
    if network.num_addresses == 1:
        return "address", str(_address(str(network.network_address)))
    least = BLOCK_RANGE_V4_BITS_MIN if network.version == 4 else BLOCK_RANGE_V6_BITS_MIN
    if network.prefixlen < least:
        raise RejectedError(too_wide(network, least), field="value")
    # Behind NAT64 each IPv4 address has one of its own: what is wide there is as wide.
    if network.version == 6 and network.overlaps(_NAT64) and network.prefixlen < 96 + BLOCK_RANGE_V4_BITS_MIN:
        raise RejectedError("holds the IPv4 addresses behind NAT64; name IPv4 ranges as such", field="value")
    _address(str(network.network_address + 1))
    return "range", str(network)


def read_network(text: str, field: str) -> Network:
    """A network as people write it; IPv4 ones within IPv6 as what they are, so that no spelling passes by a list.

    Raises:
        RejectedError: it is none, or holds all IPv4 addresses and IPv6 ones as well.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise RejectedError(range_slip(text), field=field) from None
    if network.version == 4 or not network.overlaps(_MAPPED):
        return network
    if network.prefixlen == 0:
        raise RejectedError("::/0 is every address there is; name the networks that are meant", field=field)
    if network.prefixlen < _MAPPED.prefixlen:
        raise RejectedError("holds every IPv4 address; name IPv4 ranges as such", field=field)
    first = IPv4Address(int(network.network_address) & 0xFFFF_FFFF)
    return IPv4Network((first, network.prefixlen - _MAPPED.prefixlen))


def network_of(kind: str, value: str) -> Network | None:
    """The network of an address or range; None for the other kinds."""
    return ip_network(value) if kind in {"address", "range"} else None


def is_in(address: str, network: Network) -> bool:
    """Is an address, in any spelling, one of a network? What is no address is in none."""
    try:
        return network.overlaps(read_network(address, "address"))
    except RejectedError:
        return False


def is_address(value: str) -> bool:
    """Is it an address or a range, whatever it is called?"""
    try:
        return bool(ip_network(value.strip().strip("[]"), strict=False))
    except ValueError:
        return False


def overlapping(network: Network, allowed: Sequence[Allowed]) -> list[Allowed]:
    """Networks on the allow-list that a block of `network` would hit, also by how IPv6 spells IPv4 addresses."""
    return [
        each
        for each in allowed
        if any(other.version == network.version and other.overlaps(network) for other in _spellings(each.network))
    ]


def _spellings(text: str) -> Iterator[Network]:
    """A network; for one of IPv4 also what it is behind NAT64 and in 6to4. The IPv4-mapped spelling is IPv4 to us already.

    >>> [str(each) for each in _spellings("198.51.100.0/24")]
    ['198.51.100.0/24', '64:ff9b::c633:6400/120', '2002:c633:6400::/40']
    """
    network = ip_network(text)
    yield network
    if network.version == 4:
        for prefix in (_NAT64, _SIX_TO_FOUR):
            # The 32 bits of IPv4 follow the prefix.
            shift = 128 - prefix.prefixlen - 32
            first = int(prefix.network_address) | int(network.network_address) << shift
            yield IPv6Network((first, prefix.prefixlen + network.prefixlen))


def among(blocks: Sequence[Block], seen: Seen) -> list[Block]:
    """Those of `blocks` that are about something of `seen`: an address in a blocked range, an account under another name."""
    numbers: dict[int, list[int]] = {4: [], 6: []}
    for address in map(ip_address, seen.addresses):
        numbers[address.version].append(int(address))
    for each in numbers.values():
        each.sort()

    def is_seen(block: Block) -> bool:
        network = network_of(block.kind, block.value)
        if network is None:
            return key_of(block.kind, block.value)[1] in (seen.accounts if block.kind == "account" else seen.keys)
        known = numbers[network.version]
        at = bisect_left(known, int(network.network_address))
        return at < len(known) and known[at] <= int(network.broadcast_address)

    return [block for block in blocks if is_seen(block)]


def one_line(text: str, chars_max: int = 0) -> str:
    """`text` on one line: each control, format, separator or surrogate character becomes a space, runs of spaces one.

    What somebody typed can then neither end a comment nor reorder how a line is shown (U+202E). `chars_max` 0: all.

    >>> one_line("a\\n\\n  deny all;\\u202e\\x00 b")
    'a deny all; b'
    """
    clean = "".join(" " if unicodedata.category(char) in _UNSAFE else char for char in text)
    line = " ".join(clean.split())
    return line if not chars_max or len(line) <= chars_max else line[: chars_max - 1].rstrip() + "…"
