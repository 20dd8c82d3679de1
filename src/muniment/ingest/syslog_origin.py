"""Who a syslog sender is: the source id comes from its certificate, its address or the listener, never from its words.

A client certificate decides first (its SHA-256 fingerprint, then its subject), then the longest network that holds
the peer's address, then the listener's own source. Addresses of UDP senders can be forged: the record says `udp`.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509

from muniment.errors import ConfigError

__all__ = ["ListenerSettings", "SourceMap", "certificate_names", "server_context"]

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One syslog listener. `networks` maps CIDR to source; `certificates` maps `sha256:<hex>` or a subject to source."""

    transport: Transport
    source: str
    host: str = "127.0.0.1"
    port: int = 0
    networks: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    is_certificate_required: bool = False


class SourceMap:
    """The senders one listener knows."""

    __slots__ = ("_certificates", "_default", "_networks")

    def __init__(self, settings: ListenerSettings) -> None:
        if not settings.source:
            raise ConfigError("a syslog listener needs a source for senders it does not know", setting="source")
        try:
            found = [(ipaddress.ip_network(cidr), source) for cidr, source in settings.networks.items()]
        except ValueError as error:
            raise ConfigError(str(error), setting="networks") from error
        self._networks = sorted(found, key=lambda pair: -pair[0].prefixlen)
        self._certificates = {_folded(name): source for name, source in settings.certificates.items()}
        self._default = settings.source

    def source_of(self, address: str, names: tuple[str, ...] = ()) -> str:
        """The source of a peer; `names` are those of its verified certificate, surest first."""
        for name in names:
            source = self._certificates.get(_folded(name))
            if source is not None:
                return source
        if self._networks:
            peer = _plain_address(address)
            for network, source in self._networks:
                if peer.version == network.version and peer in network:
                    return source
        return self._default


def _folded(name: str) -> str:
    head, _, tail = name.partition(":")
    return f"sha256:{tail.replace(':', '').lower()}" if head.lower() == "sha256" else name


def _plain_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    peer = ipaddress.ip_address(address.partition("%")[0])
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return mapped or peer


def certificate_names(der: bytes) -> tuple[str, ...]:
    """Fingerprint and RFC 4514 subject of a certificate the handshake has verified."""
    names = ["sha256:" + hashlib.sha256(der).hexdigest()]
    with contextlib.suppress(ValueError):  # OpenSSL was content with it, the stricter reader is not
        names.append(x509.load_der_x509_certificate(der).subject.rfc4514_string())
    return tuple(names)


def server_context(settings: ListenerSettings) -> ssl.SSLContext:
    """TLS 1.2 or later, with the client certificates of `tls_client_ca` accepted or required (RFC 5425 section 4.2).

    `tls_client_ca` may hold authorities or the very certificates of the senders.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A session ticket would lie unread in a log sender's socket and hide our end of stream from it.
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use {settings.tls_cert!r}: {error}", setting="tls_cert") from error
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot use {settings.tls_client_ca!r}: {error}", setting="tls_client_ca") from error
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_REQUIRED if settings.is_certificate_required else ssl.CERT_OPTIONAL
    elif settings.is_certificate_required:
        raise ConfigError("client certificates cannot be checked without authorities", setting="tls_client_ca")
    return context
