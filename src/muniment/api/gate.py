"""Who asks: the session cookie or the API key of a request, and the client address behind trusted proxies."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable

from starlette.requests import Request

from muniment.access.keys import KeyRing
from muniment.access.policy import Identity
from muniment.access.sessions import Doorkeeper, Session
from muniment.errors import DeniedError

__all__ = ["COOKIE", "SessionGate"]

COOKIE = "muniment_session"


class SessionGate:
    """Identity from `Authorization: Bearer mk_...` or from the session cookie; never from anything else.

    What only reads may also send the key as the password of HTTP Basic: TAXII demands it, and simple fetchers know nothing
    else. A browser could keep that and send it on its own, so it changes nothing.
    """

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        keys: KeyRing,
        clock: Callable[[], int],
        client_ip: Callable[[Request], str],
    ) -> None:
        self._doorkeeper = doorkeeper
        self._keys = keys
        self._clock = clock
        self._client_ip = client_ip

    def identify(self, request: Request) -> Identity | None:
        """The identity, None when no credential came along.

        Raises:
            DeniedError: a credential came along and is not valid; it never falls back to another one.
        """
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            if scheme.lower() == "basic" and request.method in {"GET", "HEAD"}:
                return self._keys.identify(_password(token.strip()))
            if scheme.lower() != "bearer":
                raise DeniedError("send 'Authorization: Bearer mk_...'", is_authenticated=False)
            return self._keys.identify(token.strip())
        session = self.session(request)
        return session.identity if session else None

    def session(self, request: Request) -> Session | None:
        """The browser session of a request, if it has one that lasts."""
        cookie = request.cookies.get(COOKIE, "")
        return self._doorkeeper.session(cookie, self._clock()) if cookie else None

    def check_csrf(self, request: Request) -> None:
        """A change made with a cookie must bring the session's token; keys are not sent by browsers on their own.

        Raises:
            DeniedError: the token is missing or wrong.
        """
        if "authorization" in request.headers:
            return
        session = self.session(request)
        given = request.headers.get("x-csrf-token", "")
        if session is None or not hmac.compare_digest(session.csrf.encode(), given.encode()):
            raise DeniedError("the form's token is missing or stale; load the page again")

    def client_ip(self, request: Request) -> str:
        """The client's address, through trusted proxies only."""
        return self._client_ip(request)


def _password(token: str) -> str:
    """The password of RFC 7617's `user:password` in base64; "" when it is none, which no key is."""
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
