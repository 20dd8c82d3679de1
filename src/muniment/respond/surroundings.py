"""What the machine this server runs on needs to be reached and to reach others: its own addresses, its gateways, its name servers.

Who blocks one of them by accident cuts the server off from those it should tell that the block is undone. Read from what Linux
says about itself; elsewhere, and where it cannot be read, nothing is known.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

__all__ = ["surroundings"]

_OWN: Final = "an address of this server"
_GATEWAY: Final = "the gateway of this server"
_NAMES: Final = "a name server of this server"
_LOCAL: Final = re.compile(r"\|-- ([0-9.]+)\s+/32 host LOCAL")
_NAME_SERVER: Final = re.compile(r"^\s*nameserver\s+([0-9A-Fa-f.:]+)", re.MULTILINE)


def surroundings(root: Path = Path("/")) -> dict[str, str]:
    """Each address with what it is; those no other machine can have (loopback, link-local) are left out."""
    found: dict[str, str] = {}
    for text, what in _told(root):
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            found.setdefault(str(address), what)
    return found


def _told(root: Path) -> Iterator[tuple[str, str]]:
    net = root / "proc" / "net"
    for text in _LOCAL.findall(_read(net / "fib_trie")):
        yield text, _OWN
    for words in _rows(net / "if_inet6"):
        yield _v6(words[0]), _OWN
    for words in _rows(net / "route"):
        if len(words) > 2:
            yield _v4(words[2]), _GATEWAY
    for words in _rows(net / "ipv6_route"):
        if len(words) > 4:
            yield _v6(words[4]), _GATEWAY
    for text in _NAME_SERVER.findall(_read(root / "etc" / "resolv.conf")):
        yield text, _NAMES


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("ascii", "replace")
    return ""


def _rows(path: Path) -> list[list[str]]:
    return [words for line in _read(path).splitlines() if (words := line.split())]


def _v4(digits: str) -> str:
    """Eight hexadecimal digits, the last byte first; "" for a heading."""
    with contextlib.suppress(ValueError):
        return str(IPv4Address(bytes.fromhex(digits)[::-1]))
    return ""


def _v6(digits: str) -> str:
    with contextlib.suppress(ValueError):
        return str(IPv6Address(bytes.fromhex(digits)))
    return ""
