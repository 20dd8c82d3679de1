"""Is somebody blocked? Asked at a login, answered from memory.

    from muniment.sdk.blocklist import Blocklist

    blocklist = Blocklist("https://audit.example.com", "mk_...", when_unknown="allow")
    if blocklist.is_blocked(address=request.client.host, account=name):
        return forbidden()

The whole list is kept here and fetched again when it is `refresh_s` old: unchanged, that is a question with an ETag and an
answer of no bytes. One thread fetches while the others go on with what is known, so the server being away costs nobody
time. A list that is older than `max_age_s`, or was never had, is not known: then the caller's choice holds, to let
everybody in (`when_unknown="allow"`) or nobody (`"refuse"`). There is no default; it is a decision.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import ssl
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from muniment.sdk.limits import (
    BLOCKLIST_BYTES_MAX,
    BLOCKLIST_MAX_AGE_S,
    BLOCKLIST_REFRESH_S,
    BLOCKLIST_RETRY_S,
    BLOCKLIST_TIMEOUT_S,
)

__all__ = ["Blocklist", "Verdict"]

_log = logging.getLogger("muniment.sdk")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to refuse, and why: `block` is the id of the block, `until` its end (seconds since 1970).

    `is_known` False: the list is not known, and `is_blocked` is what the caller chose for that.
    """

    is_blocked: bool
    is_known: bool = True
    block: str = ""
    until: int = 0

    def __bool__(self) -> bool:
        return self.is_blocked


@dataclass(frozen=True, slots=True)
class _Known:
    """The list as it was at `at` (monotonic seconds)."""

    at: float
    etag: str
    exact: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    ranges: dict[tuple[int, int, int], tuple[str, int]] = field(default_factory=dict)
    widths: frozenset[tuple[int, int]] = frozenset()


class Blocklist:
    """The blocks of one Muniment. Thread-safe; make one for the application. `key` has the role `enforcer`."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        when_unknown: Literal["allow", "refuse"],
        refresh_s: float = BLOCKLIST_REFRESH_S,
        max_age_s: float = BLOCKLIST_MAX_AGE_S,
        timeout_s: float = BLOCKLIST_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Fetches nothing yet. `tls` replaces the default verification."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"expected http://host or https://host, got {url!r}")
        if not key or not key.isascii() or any(not 32 < ord(character) < 127 for character in key):
            raise ValueError("the key is empty or holds characters no key has")
        if when_unknown not in {"allow", "refuse"}:
            raise ValueError(f"when_unknown is 'allow' or 'refuse', got {when_unknown!r}")
        if not 0 < refresh_s <= max_age_s:
            raise ValueError("refresh_s is more than 0 and at most max_age_s")
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/feeds/blocks.json"
        self._key = key
        self._refuses = when_unknown == "refuse"
        self._refresh_s, self._max_age_s, self._timeout_s = refresh_s, max_age_s, timeout_s
        self._tls = tls
        self._clock, self._wall = clock, wall
        self._known: _Known | None = None
        self._not_before = 0.0
        self._fetching = threading.Lock()
        self._problem = ""

    def __repr__(self) -> str:
        return f"Blocklist({self._host!r}, key=...)"

    @property
    def problem(self) -> str:
        """Why the last fetch failed; "" when it did not."""
        return self._problem

    @property
    def age_s(self) -> float | None:
        """How old what is known is; None: nothing is."""
        known = self._known
        return None if known is None else self._clock() - known.at

    def is_blocked(self, *, address: str = "", account: str = "", key: str = "") -> bool:
        """Should any of these be refused now?"""
        return self.look(address=address, account=account, key=key).is_blocked

    def look(self, *, address: str = "", account: str = "", key: str = "") -> Verdict:
        """The same with the reason. Never raises for what a network or server does.

        An address that is none (a proxy's "unknown") matches no block.
        """
        known = self._known
        if known is None or self._clock() - known.at >= self._refresh_s:
            # Whoever has nothing to go by waits for the one that fetches; all others do not.
            self._refresh(must_wait=known is None or self._clock() - known.at >= self._max_age_s)
            known = self._known
        if known is None or self._clock() - known.at >= self._max_age_s:
            return Verdict(self._refuses, is_known=False)
        now = self._wall()
        for block, until in _matches(known, address, account, key):
            if now < until:
                return Verdict(True, block=block, until=until)
        return Verdict(False)

    def refresh(self) -> bool:
        """Fetch now; whether the list is as the server has it. For a start that wants to know at once."""
        self._not_before = 0.0
        return self._refresh(must_wait=True)

    def _refresh(self, *, must_wait: bool) -> bool:
        before = self._known
        if not self._fetching.acquire(blocking=must_wait, timeout=self._timeout_s if must_wait else -1):
            return False
        try:
            if self._known is not before:  # while we waited, somebody else fetched it
                return True
            if self._clock() < self._not_before:
                return False
            self._not_before = self._clock() + BLOCKLIST_RETRY_S
            self._known = self._fetch(before)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            words = f"{type(error).__name__}: {error}"
            if words != self._problem:
                _log.warning("the blocklist cannot be fetched: %s", words)
            self._problem = words
            return False
        else:
            self._problem, self._not_before = "", 0.0
            return True
        finally:
            self._fetching.release()

    def _fetch(self, before: _Known | None) -> _Known:
        at = self._clock()
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "muniment-sdk", "Accept": "application/json"}
        if before is not None:
            headers["If-None-Match"] = before.etag
        connection = self._connection()
        try:
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            data = self._body(response, at + self._timeout_s)
        finally:
            connection.close()
        if response.status == 304 and before is not None:
            return _Known(at, before.etag, before.exact, before.ranges, before.widths)
        if response.status != 200:
            raise ValueError(f"the server answered {response.status} {response.reason}")
        return _read(json.loads(data), at, response.getheader("ETag", ""))

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        """All of it by the deadline: a server that drips must not hold a login up."""
        data = b""
        while more := response.read1(65_536):
            data += more
            if len(data) > BLOCKLIST_BYTES_MAX:
                raise ValueError(f"the list is larger than {BLOCKLIST_BYTES_MAX} bytes")
            if self._clock() > deadline:
                raise TimeoutError(f"not there within {self._timeout_s:g} s")
        return data

    def _connection(self) -> http.client.HTTPConnection:
        if self._https:
            tls = self._tls or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)


def _read(answer: Any, at: float, etag: str) -> _Known:
    exact: dict[tuple[str, str], tuple[str, int]] = {}
    ranges: dict[tuple[int, int, int], tuple[str, int]] = {}
    for each in answer["blocks"]:
        kind, value, found = str(each["kind"]), str(each["value"]), (str(each["block"]), int(each["until"]))
        if kind == "range":
            network = ipaddress.ip_network(value)
            first = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            ranges[network.version, network.prefixlen, first] = found
        else:
            exact[kind, _spelt(kind, value)] = found
    return _Known(at, etag, exact, ranges, frozenset((version, bits) for version, bits, _ in ranges))


def _matches(known: _Known, address: str, account: str, key: str) -> list[tuple[str, int]]:
    asked = [("account", account), ("key", key)]
    found = [known.exact.get((kind, _spelt(kind, value))) for kind, value in asked if value]
    parsed = _address(address) if address else None
    if parsed is not None:
        found.append(known.exact.get(("address", str(parsed))))
        number, bits_max = int(parsed), parsed.max_prefixlen
        found += [
            known.ranges.get((version, bits, number >> (bits_max - bits)))
            for version, bits in known.widths
            if version == parsed.version
        ]
    return [each for each in found if each is not None]


def _address(text: str) -> _Address | None:
    """An address as the server writes it; None when it is none.

    >>> str(_address("::ffff:203.0.113.7")), _address("unknown")
    ('203.0.113.7', None)
    """
    try:
        found = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _spelt(kind: str, value: str) -> str:
    """Accounts are one account in any case, as the server compares them."""
    return unicodedata.normalize("NFKC", value).strip().lower() if kind == "account" else value.strip()
