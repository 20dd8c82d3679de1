"""What a web request says about itself, for the middleware: pure, headers in, context values out.

`X-Forwarded-For` is believed only from listed proxies, read from the right; `X-Request-ID` and `traceparent` only if they
look as they should. Whoever sends a request can choose its request id; it links events, it proves nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from muniment.sdk.ids import uuid7
from muniment.sdk.limits import FORWARDED_HOPS_MAX, REQUEST_ID_CHARS_MAX

__all__ = ["Network", "client_ip", "networks", "request_values"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_REQUEST_ID: Final = re.compile(rf"[A-Za-z0-9._:/+=-]{{1,{REQUEST_ID_CHARS_MAX}}}\Z")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")  # W3C Trace Context 3.2
_USER_AGENT_CHARS_MAX: Final = 1024


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Proxies as addresses or networks; raises ValueError for anything else."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def client_ip(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The last address that is not one of our own proxies.

    >>> client_ip("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2", networks(["10.0.0.0/8"]))
    '203.0.113.7'
    >>> client_ip("198.51.100.1", "1.2.3.4", networks(["10.0.0.0/8"]))
    '198.51.100.1'
    """
    found = peer
    hops = [hop.strip() for hop in forwarded.split(",")[-FORWARDED_HOPS_MAX:] if hop.strip()]
    while hops and _is_trusted(found, trusted):
        hop = hops.pop()
        try:
            found = str(ipaddress.ip_address(hop))
        except ValueError:
            break
    return found


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in trusted)


def request_values(header: Callable[[str], str], peer: str, trusted: Sequence[Network]) -> dict[str, object]:
    """`request_id` (a new one if none came), `ip`, `user_agent`, `trace_id`, `span_id`, as far as they are known.

    `header` gives a header by its lower-case name, "" if it is missing.
    """
    request_id = header("x-request-id")
    values: dict[str, object] = {"request_id": request_id if _REQUEST_ID.match(request_id) else uuid7()}
    ip = client_ip(peer, header("x-forwarded-for"), trusted)
    if ip:
        values["ip"] = ip
    user_agent = header("user-agent")
    if user_agent:
        values["user_agent"] = user_agent[:_USER_AGENT_CHARS_MAX]
    trace = _TRACEPARENT.match(header("traceparent"))
    if trace and trace[1] != "0" * 32:
        values["trace_id"], values["span_id"] = trace[1], trace[2]
    return values
