"""One request to `POST /v1/events`, over a kept connection of the standard library's HTTP client.

`send` never raises for what a network or server does: the answer says it. A connection that was kept and turns out to
be dead is tried once more on a new one; the server recognises a resend by the events' ids.
"""

from __future__ import annotations

import email.utils
import gzip
import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from muniment.sdk.limits import HTTP_TIMEOUT_S

__all__ = ["Answer", "HttpTransport", "Transport"]

_GZIP_FROM = 512
_GZIP_TO = 1024 * 1024  # beyond it a repetitive body would look like a bomb to the server
_ANSWER_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: no answer at all, `words` says why. `receipt` is the JSON of a 200."""

    status: int
    words: str = ""
    retry_after_s: float | None = None
    receipt: dict[str, Any] = field(default_factory=dict)


class Transport(Protocol):
    """How a batch leaves. One thread at a time. `body` is NDJSON; with `is_full`, the answer names every event."""

    def send(self, body: bytes, *, is_full: bool) -> Answer: ...

    def close(self) -> None: ...


class HttpTransport:
    """HTTP or HTTPS to a Muniment server; `tls` replaces the default verification (a private CA, client certificates)."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = HTTP_TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"expected http://host or https://host, got {url!r}")
        if not key or not key.isascii() or any(not 32 < ord(character) < 127 for character in key):
            raise ValueError("the key is empty or holds characters no key has")
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/v1/events"
        self._key = key
        self._timeout_s = timeout_s
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        return f"HttpTransport({self._host!r}, key=...)"

    def send(self, body: bytes, *, is_full: bool) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/x-ndjson",
            "User-Agent": "muniment-sdk",
        }
        if _GZIP_FROM < len(body) <= _GZIP_TO:
            body = gzip.compress(body, 3, mtime=0)
            headers["Content-Encoding"] = "gzip"
        path = self._path + ("?receipt=full" if is_full else "")
        for is_fresh in (self._connection is None, True):
            try:
                return self._exchange(path, body, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                if is_fresh or isinstance(error, TimeoutError):
                    return Answer(0, f"{type(error).__name__}: {error}")
        raise AssertionError("unreachable")

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        data = response.read(_ANSWER_BYTES_MAX)
        if response.will_close or not response.isclosed():
            self.close()
        if response.status != 200:
            words = f"{response.status} {response.reason}: {data[:300].decode('utf-8', 'replace')}"
            return Answer(response.status, words, _retry_after(response.getheader("Retry-After")))
        receipt = json.loads(data)
        if not isinstance(receipt, dict):
            raise ValueError("the answer is no receipt")
        return Answer(200, receipt=receipt)

    def _connect(self) -> http.client.HTTPConnection:
        if self._https:
            tls = self._tls or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or an HTTP date.

    >>> _retry_after("7"), _retry_after("soon"), _retry_after("Thu, 01 Jan 1970 00:00:00 GMT")
    (7.0, None, 0.0)
    """
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
