"""Posting to an address that somebody configured, without becoming their way into our own network (SSRF).

What holds for every post:

1. The URL is https, or http to a network the operator allows; no user, no password, no fragment.
2. The name is resolved once; when any of its addresses is inside (private, loopback, link-local, multicast, reserved,
   a cloud's metadata service) and not in the operator's allow list, nothing is sent.
3. The connection goes to an address that was checked. No second resolution that could answer differently (DNS rebinding);
   the certificate is checked against the name.
4. No redirect is followed. One deadline covers all steps; at most WEBHOOK_RESPONSE_BYTES_MAX are read.

Where it stops: proxies in the environment are not used. The system's resolver keeps its own time limit. Errors name the host only; paths of webhooks are secrets.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from muniment.errors import ConfigError
from muniment.limits import WEBHOOK_ADDRESSES_MAX, WEBHOOK_DEADLINE_S, WEBHOOK_RESPONSE_BYTES_MAX
from muniment.respond.block import Network
from muniment.respond.notice import DeliveryError, went_wrong

__all__ = ["Answer", "Egress", "Target", "is_inside", "resolve"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_INSIDE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # shared address space; one cloud's metadata is at 100.100.100.200
        "168.63.129.16/32",  # another cloud's host services, on a public address
        "192.0.0.0/24",  # IETF protocol assignments; a third cloud's metadata is at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays, no longer in use
        "fec0::/10",  # site-local, the forerunner of fc00::/7
    )
)


def is_inside(address: Address) -> bool:
    """Is this no address of the public internet? IPv4 addresses wrapped into IPv6 ones are judged as what they are.

    >>> [is_inside(ipaddress.ip_address(a)) for a in ("10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "8.8.8.8")]
    [True, True, True, False]
    """
    bare = _unwrapped(address)
    return not bare.is_global or bare.is_multicast or bare.is_reserved or any(bare in network for network in _INSIDE)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name as the system resolves it, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed webhook address. `path` may hold a secret and is never shown.

    >>> Target.of("https://hooks.example.com/services/T0/B0/secret")
    Target(host='hooks.example.com', port=443)
    """

    host: str
    port: int
    path: str = field(repr=False)
    is_tls: bool = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Target:
        """Raises ConfigError when the URL is none that may be posted to; the message does not repeat it."""
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ConfigError("not a URL of printable ASCII characters", setting="url")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError("not a URL", setting="url") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError("expected an https URL with a host", setting="url")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ConfigError("a webhook URL has no user, password or fragment", setting="url")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host, port or (443 if parts.scheme == "https" else 80), path, parts.scheme == "https")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `retry_after_ms` 0: nothing said."""

    status: int
    retry_after_ms: int


class Egress:
    """The one way out to configured URLs. `allow` names the inside networks that may be reached all the same."""

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        tls: ssl.SSLContext | None = None,
        resolver: Callable[[str, int], Sequence[str]] = resolve,
        clock: Callable[[], float] = time.monotonic,
        deadline_s: float = WEBHOOK_DEADLINE_S,
    ) -> None:
        self._allow = tuple(allow)
        self._tls = tls or ssl.create_default_context()
        self._resolver = resolver
        self._clock = clock
        self._deadline_s = deadline_s

    def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post once and read the status.

        Raises:
            DeliveryError: not sent, no answer in time, or an answer that is no HTTP.
        """
        deadline = self._clock() + self._deadline_s
        addresses = self._checked(target)
        request = _request(target, headers, body)
        try:
            with self._connected(target, addresses, deadline) as wire:
                self._send(wire, request, deadline)
                return _answer(self._read_head(wire, deadline))
        except TimeoutError as error:
            raise DeliveryError(f"{target.host}: no answer within {self._deadline_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{target.host}: the certificate is refused: {error.verify_message}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeliveryError(f"{target.host}: {went_wrong(error)}") from error

    def _checked(self, target: Target) -> list[Address]:
        try:
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in self._resolver(target.host, target.port)]
        except (OSError, ValueError) as error:  # UnicodeError, of an impossible name, is a ValueError
            raise DeliveryError(f"{target.host}: the name has no address: {went_wrong(error)}") from error
        if not found:
            raise DeliveryError(f"{target.host}: the name has no address")
        for address in found:
            is_allowed = any(_unwrapped(address) in network or address in network for network in self._allow)
            if is_inside(address) and not is_allowed:
                raise DeliveryError(
                    f"{target.host}: {address} is inside; the operator's allow list does not name it", is_permanent=True
                )
            if not target.is_tls and not is_allowed:
                raise DeliveryError(f"{target.host}: http only to a network of the allow list", is_permanent=True)
        return found[:WEBHOOK_ADDRESSES_MAX]

    def _connected(self, target: Target, addresses: Sequence[Address], deadline: float) -> socket.socket:
        for n, address in enumerate(addresses, 1):
            wire = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
            try:
                wire.settimeout(self._left(deadline) / (len(addresses) - n + 1))
                wire.connect((str(address), target.port))
                if not target.is_tls:
                    return wire
                wire.settimeout(self._left(deadline))
                return self._tls.wrap_socket(wire, server_hostname=target.host)
            except ssl.SSLError:
                wire.close()
                raise
            except OSError:
                wire.close()
                if n == len(addresses):
                    raise
        raise AssertionError("there is at least one address")

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _send(self, wire: socket.socket, request: bytes, deadline: float) -> None:
        wire.settimeout(self._left(deadline))
        wire.sendall(request)

    def _read_head(self, wire: socket.socket, deadline: float) -> bytes:
        """The bytes up to the end of the final answer's headers. Each read gets only what is left of the deadline."""
        head = b""
        while True:
            end = head.find(b"\r\n\r\n")
            if end >= 0 and head[9:10] == b"1":  # 100 Continue, 103 Early Hints: the answer is still to come
                head = head[end + 4 :]
                continue
            if end >= 0:
                return head[: end + 4]
            if len(head) >= WEBHOOK_RESPONSE_BYTES_MAX:
                raise _NoAnswer(f"more than {WEBHOOK_RESPONSE_BYTES_MAX} bytes of headers")
            wire.settimeout(self._left(deadline))
            more = wire.recv(4_096)
            if not more:
                raise _NoAnswer("the connection ended before an answer")
            head += more


class _NoAnswer(http.client.HTTPException):
    """The answer's head is none."""


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != (443 if target.is_tls else 80):
        host = f"{host}:{target.port}"
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {host}", "User-Agent: muniment", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    assert all(line.isascii() and line.isprintable() for line in lines), "a header would end early"
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _answer(head: bytes) -> Answer:
    status_line, _, rest = head.partition(b"\r\n")
    version, _, said = status_line.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not said[:3].isdigit() or said[3:4] not in (b"", b" "):
        raise _NoAnswer("the answer is no HTTP/1")
    waits = http.client.parse_headers(io.BytesIO(rest)).get("Retry-After", "").strip()
    # The other form of Retry-After, a date, is read as nothing said: it would need a clock both agree on.
    wait_ms = int(waits) * 1_000 if waits.isascii() and waits.isdigit() and len(waits) < 10 else 0
    return Answer(int(said[:3]), wait_ms)
