"""The server as the command line sees it: where it is, with which key, and its errors as our own.

Where: `--server`, MUNIMENT_URL, or the file `cli.json` that a running server keeps in its data folder (0600), so that
an administrator on the same machine needs no key at hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from muniment.errors import (
    AuditError,
    BusyError,
    ConfigError,
    DeniedError,
    RejectedError,
    StorageError,
    VerificationError,
)

__all__ = ["Client", "connect"]


@dataclass(frozen=True, slots=True)
class Client:
    """An HTTP client bound to one server."""

    http: httpx.Client

    def get(self, path: str, **params: object) -> Any:
        """The JSON answer of a GET; parameters that are None or empty are left out."""
        return self._json("GET", path, params=_given(params))

    def post(self, path: str, body: object | None = None) -> Any:
        """The JSON answer of a POST."""
        return self._json("POST", path, json=body)

    def delete(self, path: str) -> Any:
        """The JSON answer of a DELETE."""
        return self._json("DELETE", path)

    def raw(self, path: str, **params: object) -> bytes:
        """The bytes of a GET."""
        with self._reaching():
            response = self.http.get(path, params=_given(params))
        _raise_for(response)
        return response.content

    @contextmanager
    def stream(self, path: str, **params: object) -> Iterator[httpx.Response]:
        """A GET whose body is read as it comes."""
        with self._reaching(), self.http.stream("GET", path, params=_given(params), timeout=None) as response:
            if response.is_error:
                response.read()
            _raise_for(response)
            yield response

    def _json(self, method: str, path: str, **given: Any) -> Any:
        with self._reaching():
            response = self.http.request(method, path, **given)
        _raise_for(response)
        try:
            return response.json()
        except ValueError:
            raise ConfigError(f"{self._url} answers, but is no Muniment server", setting="server") from None

    @property
    def _url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What goes wrong on the way to the server, in words that name the fix."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            why = str(error).partition("] ")[2] if str(error).startswith("[Errno") else str(error)
            raise ConfigError(
                f"cannot reach {self._url or 'an empty address'} ({why}); is it running? "
                "'muniment serve' starts a server, --server http://host:port names another",
                setting="server",
            ) from None
        except httpx.TimeoutException:
            raise BusyError(f"{self._url} did not answer in time; try again, or ask for less") from None
        except httpx.TransportError as error:
            raise BusyError(f"{self._url} broke off ({error}); try again") from None


def connect(server: str = "", key: str = "", data: str = "") -> Client:
    """A client for the server that was named, or for the one whose data folder is at hand.

    Raises:
        ConfigError: no server was named and none runs here.
    """
    server = server or os.environ.get("MUNIMENT_URL", "")
    key = key or os.environ.get("MUNIMENT_KEY", "")
    if not server or not key:
        file = Path(data or os.environ.get("MUNIMENT_DATA", "var")) / "cli.json"
        try:
            found = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            if not server:
                demo = Path("var/demo")
                here = (
                    f"a demo runs here: add --data {demo}"
                    if (demo / "cli.json").exists()
                    else "start one with 'muniment serve', or give --server and MUNIMENT_KEY"
                )
                raise ConfigError(f"no server found: {file} is not there; {here}", setting="server") from None
            found = {}
        server, key = server or found.get("url", ""), key or found.get("key", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.HTTPTransport(retries=2)
    try:
        http = httpx.Client(base_url=server, headers=headers, timeout=60, transport=transport, trust_env=False)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError(f"{server!r} is no address ({error}); write http://host:port", setting="server") from None
    return Client(http)


def _given(params: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value not in (None, "", [])}


def _raise_for(response: httpx.Response) -> None:
    if not response.is_error:
        return
    try:
        problem = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        words = f"the server answered {response.status_code}; is it a Muniment server?"
        raise RejectedError(words, status=response.status_code) from None
    raise _error(response, problem)


def _error(response: httpx.Response, problem: dict[str, Any]) -> AuditError:
    reason, kind = problem["reason"], problem["type"]
    if kind == "DeniedError" and response.status_code == 401 and "authorization" not in response.request.headers:
        return DeniedError("no key is given: set MUNIMENT_KEY, or give --data on the server's own machine")
    if kind == "DeniedError":
        return DeniedError(reason, permission=problem.get("permission", ""))
    if kind == "BusyError":
        return BusyError(reason, retry_after_ms=int(response.headers.get("retry-after", "1")) * 1000)
    if kind == "StorageError":
        return StorageError(reason)
    if kind == "VerificationError":
        return VerificationError(reason)
    return RejectedError(reason, field=problem.get("field", ""), column=problem.get("column"))
