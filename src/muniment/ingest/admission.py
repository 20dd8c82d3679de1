"""Who may come in, how much, and from where: credentials, quotas, client addresses, and what was turned away.

The source of every event comes from the credential, never from the payload. A verdict about a credential is cached
for AUTH_CACHE_SECONDS, so the event loop does no lookup for a known one; the cache is keyed by the credential's hash,
so timing tells nothing about its characters. Every rejection is counted by source, door and reason, and
`take_rejections` hands the counts over to be recorded as events: what was turned away is not silent either.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniment.errors import BusyError, ConfigError, DeniedError
from muniment.limits import (
    AUTH_CACHE_ENTRIES_MAX,
    AUTH_CACHE_SECONDS,
    FORWARDED_HOPS_MAX,
    REJECTION_KEYS_MAX,
    TOKEN_CHARS_MAX,
)

__all__ = [
    "Admission",
    "Authenticator",
    "Quota",
    "Rejection",
    "TrustedProxies",
    "credential_of",
    "peer_text",
]


class Authenticator(Protocol):
    """Says which source a credential belongs to.

    May block (it is called on a worker thread), compares secrets in constant time, and raises DeniedError for any
    credential that may not write events, without saying why.
    """

    def authenticate(self, token: str, *, peer: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Quota:
    """What one source may send. 0 means no bound. Bursts of up to `burst_s` seconds' worth pass."""

    events_per_s: float = 0.0
    bytes_per_s: float = 0.0
    burst_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """`count` requests or datagrams of `source` turned away at `door` for `reason` since the last report."""

    source: str
    door: str
    reason: str
    count: int


@dataclass(slots=True)
class _Bucket:
    events: float
    n_bytes: float
    at: float


class Admission:
    """Decides on each request. Used on event loops; `take_rejections` and `forget` from any thread."""

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        quota_of: Callable[[str], Quota] = lambda source: Quota(),
        proxies: TrustedProxies | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticator = authenticator
        self._quota_of = quota_of
        self.proxies = proxies or TrustedProxies(())
        self._clock = clock
        self._forgotten = 0
        self._verdicts: OrderedDict[bytes, tuple[float, str | None]] = OrderedDict()
        self._buckets: dict[str, _Bucket] = {}
        self._rejections: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    async def authenticate(self, token: str | None, *, peer: str) -> str:
        """The source of `token`.

        Raises:
            DeniedError: no credential (`.is_authenticated` is False), or one that may not write events.
        """
        if not token:
            raise DeniedError("a credential is needed to send events", permission="ingest", is_authenticated=False)
        if len(token) > TOKEN_CHARS_MAX:
            raise DeniedError("this credential may not send events", permission="ingest")
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verdicts.get(key)
        if known is None or known[0] < self._clock():
            forgotten = self._forgotten
            try:
                source: str | None = await asyncio.get_running_loop().run_in_executor(
                    None, lambda: self._authenticator.authenticate(token, peer=peer)
                )
            except DeniedError:
                source = None
            known = (self._clock() + AUTH_CACHE_SECONDS, source)
            with self._lock:
                if forgotten == self._forgotten:  # else a key was revoked while we looked, perhaps this one
                    self._verdicts[key] = known
                while len(self._verdicts) > AUTH_CACHE_ENTRIES_MAX:
                    self._verdicts.popitem(last=False)
        if known[1] is None:
            raise DeniedError("this credential may not send events", permission="ingest")
        return known[1]

    def forget(self) -> None:
        """Drop every cached verdict; called when a key is made or revoked."""
        with self._lock:
            self._forgotten += 1
            self._verdicts.clear()

    def spend(self, source: str, n_events: int, n_bytes: int) -> None:
        """Take `n_events` and `n_bytes` from the source's allowance.

        A request larger than the whole allowance passes when the allowance is full, and is paid back afterwards:
        otherwise it could never pass, and waiting would be a lie.

        Raises:
            BusyError: over the quota; `.is_quota`, and `.retry_after_ms` says when it would pass.
        """
        quota = self._quota_of(source)
        if not quota.events_per_s and not quota.bytes_per_s:
            return
        now = self._clock()
        events_max, bytes_max = quota.events_per_s * quota.burst_s, quota.bytes_per_s * quota.burst_s
        with self._lock:
            bucket = self._buckets.setdefault(source, _Bucket(events_max, bytes_max, now))
            passed = max(0.0, now - bucket.at)
            bucket.at = now
            bucket.events = min(events_max, bucket.events + passed * quota.events_per_s)
            bucket.n_bytes = min(bytes_max, bucket.n_bytes + passed * quota.bytes_per_s)
            wait_s = max(
                _wait_s(bucket.events, min(n_events, events_max), quota.events_per_s),
                _wait_s(bucket.n_bytes, min(n_bytes, bytes_max), quota.bytes_per_s),
            )
            if wait_s > 0:
                raise BusyError(
                    f"over the quota of source {source}", retry_after_ms=max(1, round(wait_s * 1000)), is_quota=True
                )
            bucket.events -= n_events
            bucket.n_bytes -= n_bytes

    def reject(self, source: str, door: str, reason: str, count: int = 1) -> None:
        """Count what was turned away. `source` is empty when the credential was not accepted; for readers it is who asked."""
        key = (source, door, reason)
        with self._lock:
            if key not in self._rejections and len(self._rejections) >= REJECTION_KEYS_MAX:
                key = ("", door, "other")
            self._rejections[key] += count

    def take_rejections(self) -> list[Rejection]:
        """The counts since the last call, largest first."""
        with self._lock:
            taken, self._rejections = self._rejections, Counter()
        return [Rejection(*key, count) for key, count in taken.most_common()]


def _wait_s(have: float, need: float, per_s: float) -> float:
    return (need - have) / per_s if per_s and have < need else 0.0


def credential_of(authorization: str) -> str | None:
    """The token inside an Authorization header, in the forms shippers send; None if there is none.

    `Bearer t`, `Splunk t`, `Token t`; `Basic` with the token as password (or as user, with an empty password);
    `ApiKey t`, where Elasticsearch clients send base64 of `id:key`.

    >>> credential_of("Splunk mk_1_s"), credential_of("Basic eDpta18xX3M="), credential_of("ApiKey eDpta18xX3M=")
    ('mk_1_s', 'mk_1_s', 'mk_1_s')
    """
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer" | "splunk" | "token":
            return value or None
        case "basic":
            user, _, password = (_from_base64(value) or "").partition(":")
            return password or user or None
        case "apikey":
            pair = _from_base64(value)
            return (pair.partition(":")[2] or None) if pair and ":" in pair else value or None
    return None


def _from_base64(value: str) -> str | None:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


class TrustedProxies:
    """The networks whose word about a client's address is believed.

    Addresses are read from the nearest hop outward, and the first that is not itself a trusted proxy is the client:
    what stands further out was written by the client and may be anything.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        try:
            self._networks = [ipaddress.ip_network(text.strip(), strict=False) for text in networks if text.strip()]
        except ValueError as error:
            raise ConfigError(str(error), setting="trusted_proxies") from None

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """The client's address, given the connection's peer and lower-case header names."""
        address = peer_text(peer)
        if not self._networks or not self._is_trusted(address):
            return address
        for hop in reversed(_hops(headers)[-FORWARDED_HOPS_MAX:]):
            seen = peer_text(hop)
            if not seen:
                break  # `unknown`, an obfuscated name or rubbish: the last address we know is the nearest truth
            address = seen
            if not self._is_trusted(seen):
                break
        return address

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks if network.version == address.version)


def _hops(headers: Mapping[str, str]) -> Sequence[str]:
    """Addresses as claimed, outermost first. RFC 7239 when present, else X-Forwarded-For."""
    forwarded = headers.get("forwarded")
    if forwarded is None:
        return [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    hops = []
    for element in forwarded.split(","):
        for pair in element.split(";"):
            name, _, value = pair.strip().partition("=")
            if name.strip().lower() == "for":
                hops.append(value.strip().strip('"'))
    return hops


def peer_text(text: str) -> str:
    """An address without port, brackets, zone; IPv4-mapped IPv6 as IPv4; empty if it is none.

    >>> peer_text("[2001:db8::1]:443"), peer_text("::ffff:10.0.0.1"), peer_text("10.0.0.1:5000"), peer_text("_x")
    ('2001:db8::1', '10.0.0.1', '10.0.0.1', '')
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)
