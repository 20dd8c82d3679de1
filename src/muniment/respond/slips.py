"""What is wrong with a text that should be an address or a range, and what to write instead, for who is tired. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["address_slip", "host_bits", "no_host", "range_slip", "too_wide"]

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network
_SHOWN: Final = 64


def address_slip(text: str) -> str:
    """Why `text` is no address.

    >>> address_slip("203.0.113.7:443")
    "'203.0.113.7:443' is not an IP address: leave out the port, write 203.0.113.7"
    >>> address_slip("203.0.113.077").partition(": ")[2]
    'write its numbers without leading zeros, which some read as other numbers'
    """
    return _said(text, "not an IP address", _advice(text))


def range_slip(text: str) -> str:
    """Why `text` is no range.

    >>> range_slip("203.0.113.0/33")
    "'203.0.113.0/33' is not a range like 203.0.113.0/24: behind the / stands a number from 0 to 32"
    """
    start, _, length = text.partition("/")
    first = _parsed(start)
    if first is not None and length:
        return _said(
            text, "not a range like 203.0.113.0/24", f"behind the / stands a number from 0 to {first.max_prefixlen}"
        )
    return _said(text, "not a range like 203.0.113.0/24", _advice(text))


def _said(text: str, what: str, advice: str) -> str:
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
    return f"{shown} is {what}{': ' if advice else ''}{advice}"


def _advice(text: str) -> str:
    parts = [part for part in re.split(r"[\s,;]+", text[:1_000]) if part]
    if len(parts) > 1:
        several = sum(1 for part in parts if _parsed(part) is not None)
        return "name one at a time, each has its own preview" if several > 1 else "leave out the spaces"
    if _host(text) is not None:
        return f"leave out what stands around it, write {_host(text)}"
    if "/" in text and _network(text) is not None:
        return f"it is a range, say so: {_network(text)}"
    host, _, port = text.rpartition(":")
    if port.isdecimal() and (found := _parsed(host.strip("[]"))) is not None and (found.version == 4 or "[" in host):
        return f"leave out the port, write {found}"
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", text):
        if any(len(part) > 1 and part[0] == "0" for part in text.split(".")):
            return "write its numbers without leading zeros, which some read as other numbers"
        return "each of its numbers is at most 255"
    if re.fullmatch(r"[^\W_]([\w-]*\.)+\w[\w-]*", text) and not text.replace(".", "").isdecimal():
        return "a name can move and be shared, take the address that the events show"
    return ""


def _host(text: str) -> _Address | None:
    """The address in `https://203.0.113.7/login`."""
    found = re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*://\[?([0-9a-fA-F.:]+?)\]?(:[0-9]+)?(/.*)?", text[:1_000])
    return _parsed(found[1]) if found else None


def _parsed(text: str) -> _Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> _Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def no_host(found: _Address) -> str:
    """Why nobody comes from there.

    >>> no_host(ip_address("127.0.0.1"))
    '127.0.0.1 is no host on a network: each machine calls itself so'
    """
    why = "it is kept for special uses"
    if found.is_loopback:
        why = "each machine calls itself so"
    elif found.is_unspecified:
        why = 'it stands for "no address"'
    elif found.is_multicast:
        why = "it is a group that is sent to, and sends nothing"
    elif found.is_link_local:
        why = "it means another machine on each cable"
    return f"{found} is no host on a network: {why}"


def too_wide(network: _Network, least: int) -> str:
    """Why a range is not blocked in one.

    >>> too_wide(ip_network("0.0.0.0/0"), 16)
    '0.0.0.0/0 is the whole internet: nobody could come in any more. Name the addresses that the events show'
    >>> too_wide(ip_network("10.0.0.0/8"), 16)
    '10.0.0.0/8 has 16,777,216 addresses and is wider than /16: block it in parts, each with its own preview'
    """
    if network.prefixlen == 0:
        return (
            f"{network} is the whole internet: nobody could come in any more. Name the addresses that the events show"
        )
    n = f"has {network.num_addresses:,} addresses and " if network.version == 4 else ""
    return f"{network} {n}is wider than /{least}: block it in parts, each with its own preview"


def host_bits(text: str, network: _Network) -> str:
    """What a range whose address is not its first one may mean; "" where that is plain.

    >>> host_bits("203.0.113.77/24", ip_network("203.0.113.0/24"))
    '203.0.113.77/24 is one address or 256? For all of them write 203.0.113.0/24, for the one 203.0.113.77'
    >>> host_bits("203.0.113.0/24", ip_network("203.0.113.0/24"))
    ''
    """
    one = _parsed(text.strip().partition("/")[0])
    if one is None or network.num_addresses == 1 or one == network.network_address:
        return ""
    mapped = getattr(one, "ipv4_mapped", None)
    if mapped is not None:
        if mapped == network.network_address:
            return ""
        one = mapped
    n = f"{network.num_addresses:,}" if network.version == 4 else "all that begin like it"
    return f"{text.strip()} is one address or {n}? For all of them write {network}, for the one {one}"
