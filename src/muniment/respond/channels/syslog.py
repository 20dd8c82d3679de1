r"""Notices as syslog (RFC 5424), for a SIEM or a log server; the message is structured data, or CEF.

- UDP: one datagram, cut at SYSLOG_OUT_UDP_BYTES_MAX on a character and ended with "…" (RFC 5426).
- TCP: octet counting (RFC 6587, section 3.4.1); TLS: the same with a checked certificate (RFC 5425).

Where it stops: syslog has no acknowledgement. Over TCP and TLS we close our side and wait for the receiver to close its
own, so a receiver that resets is seen; one that dies after taking the bytes is not. Over UDP nothing is seen.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

from muniment.errors import ConfigError
from muniment.limits import SYSLOG_OUT_END_S, SYSLOG_OUT_TIMEOUT_S, SYSLOG_OUT_UDP_BYTES_MAX
from muniment.respond.block import one_line
from muniment.respond.notice import DeliveryError, Notice, Severity, told_of, went_wrong

__all__ = ["Syslog", "cef", "rfc5424"]

_Done = TypeVar("_Done")
_FACILITY: Final = 13
"""Log audit (RFC 5424, table 1)."""

_UNHEARD: Final = "sent; over UDP nobody says whether it arrived"
_LEVEL: Final[dict[Severity, int]] = {"informational": 6, "low": 5, "medium": 4, "high": 3, "critical": 2}
_CEF_LEVEL: Final[dict[Severity, int]] = {"informational": 1, "low": 3, "medium": 5, "high": 8, "critical": 10}
_CEF_KEYS: Final = {
    "actor": "suser",
    "action": "act",
    "outcome": "outcome",
    "reason": "reason",
    "request_id": "deviceExternalId",
}
_CEF_CUSTOM_MAX: Final = 6
_SD_ID: Final = "muniment@32473"
"""32473 is the number RFC 5612 keeps for documentation; Muniment has no number of its own."""


class Syslog:
    """One syslog receiver. `format` says what stands in the message."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        transport: Literal["udp", "tcp", "tls"],
        hostname: str,
        format: Literal["rfc5424", "cef"] = "rfc5424",
        tls: ssl.SSLContext | None = None,
        timeout_s: float = SYSLOG_OUT_TIMEOUT_S,
    ) -> None:
        if transport not in ("udp", "tcp", "tls"):
            raise ConfigError("expected udp, tcp or tls", setting="transport")
        if format not in ("rfc5424", "cef"):
            raise ConfigError("expected rfc5424 or cef", setting="format")
        self._host, self._port = host, port
        self._transport, self._format = transport, format
        self._hostname = hostname
        self._tls = tls or (ssl.create_default_context() if transport == "tls" else None)
        self._timeout_s = timeout_s

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Send it once."""
        message = rfc5424(notice, self._hostname, now_ns, is_cef=self._format == "cef")
        try:
            if self._transport == "udp":
                self._send_datagram(message)
                return _UNHEARD
            self._send_stream(message)
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{self._host}: the certificate is refused: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            raise DeliveryError(f"{self._host}: {went_wrong(error)}") from error
        return ""

    def _send_datagram(self, message: bytes) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as wire:
            wire.settimeout(self._timeout_s)
            wire.sendto(_cut(message, SYSLOG_OUT_UDP_BYTES_MAX), address)

    def _send_stream(self, message: bytes) -> None:
        with socket.create_connection((self._host, self._port), timeout=self._timeout_s) as bare:
            if self._tls is None:
                bare.sendall(b"%d %s" % (len(message), message))
                bare.shutdown(socket.SHUT_WR)
                _await_end(bare)
                return
            _send_tls(bare, self._tls, self._host, b"%d %s" % (len(message), message))


def _send_tls(bare: socket.socket, context: ssl.SSLContext, host: str, data: bytes) -> None:
    """Handshake, data, close_notify, and then read until the receiver ends.

    A TLS 1.3 receiver that wants a certificate of ours says so only after our handshake is done, when the data is
    already on its way. `SSLSocket.unwrap` swallows that alert, so the reading after our close_notify is done by hand.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=host)

    def until_done(step: Callable[[], _Done]) -> _Done:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                bare.sendall(outgoing.read())
                if more := bare.recv(16_384):
                    incoming.write(more)
                else:
                    incoming.write_eof()
                continue
            bare.sendall(outgoing.read())
            return done

    until_done(tls.do_handshake)
    tls.write(data)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    bare.sendall(outgoing.read())
    deadline = time.monotonic() + SYSLOG_OUT_END_S
    bare.settimeout(SYSLOG_OUT_END_S)
    with contextlib.suppress(TimeoutError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        while time.monotonic() < deadline and until_done(lambda: tls.read(1_024)):
            pass


def _await_end(wire: socket.socket) -> None:
    """Wait for the receiver to close; a reset is raised. Silence is no refusal: some keep connections open."""
    deadline = time.monotonic() + SYSLOG_OUT_END_S
    wire.settimeout(SYSLOG_OUT_END_S)
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline and wire.recv(1_024):
            pass


def rfc5424(notice: Notice, hostname: str, now_ns: int, *, is_cef: bool = False) -> bytes:
    """One message of RFC 5424, UTF-8. With CEF as the message there is no structured data and no byte order mark."""
    header = " ".join(
        (
            f"<{_FACILITY * 8 + _LEVEL[notice.severity]}>1", _time(now_ns), _printable(hostname, 255), "muniment", "-",
            _printable(notice.severity, 32),
        )
    )  # fmt: skip
    if is_cef:
        return f"{header} - {cef(notice)}".encode()
    pairs = [("id", notice.id), ("severity", notice.severity), ("rule", notice.source), *told_of(notice)]
    pairs += [("occurred", _time(notice.occurred_at))]
    pairs += [("link", notice.link)] if notice.link else []
    pairs += [(_sd_name(name), value) for name, value in notice.fields]
    data = " ".join(f'{name}="{_sd_value(value)}"' for name, value in pairs)
    text = " ".join((notice.title, *notice.lines))
    return f"{header} [{_SD_ID} {data}] \ufeff{text}".encode()


def cef(notice: Notice) -> str:
    """The notice in ArcSight's Common Event Format, version 0; one line.

    Six custom strings take what CEF has no key for; what is beyond stands in `msg`, by name.
    """
    header = (
        "CEF:0",
        "Muniment",
        "Muniment",
        "1",
        notice.source or "notice",
        notice.title,
        str(_CEF_LEVEL[notice.severity]),
    )
    pairs = [("externalId", notice.id), ("rt", str(notice.occurred_at // 1_000_000)), ("cat", notice.source)]
    custom: list[tuple[str, str]] = []
    for name, value in (*told_of(notice), *notice.fields):
        pairs += [(_CEF_KEYS[name], value)] if name in _CEF_KEYS else _cef_address(name, value)
        if name not in _CEF_KEYS and not _cef_address(name, value):
            custom.append((name, value))
    for n, (name, value) in enumerate(custom[:_CEF_CUSTOM_MAX], 1):
        pairs += [(f"cs{n}", value), (f"cs{n}Label", name)]
    said = [*notice.lines, *(f"{name}: {value}" for name, value in custom[_CEF_CUSTOM_MAX:])]
    pairs += [("msg", "\n".join(said))] if said else []
    pairs += [("request", notice.link)] if notice.link else []
    extension = " ".join(f"{key}={_cef_value(value)}" for key, value in pairs)
    return "|".join([header[0], *(_cef_header(part) for part in header[1:]), extension])


def _cef_address(name: str, value: str) -> list[tuple[str, str]]:
    if name != "address":
        return []
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return []
    if address.version == 4:
        return [("src", str(address))]
    return [("c6a2", str(address)), ("c6a2Label", "Source IPv6 Address")]


def _cef_header(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")


def _sd_value(text: str) -> str:
    """PARAM-VALUE: `"`, `\\` and `]` are escaped (RFC 5424, section 6.3.3)."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _sd_name(text: str) -> str:
    """SD-NAME: 1*32PRINTUSASCII except `=`, space, `]`, `"` (section 6.3.2)."""
    return re.sub(r'[^!-~]|[=\]"]', "_", text)[:32] or "_"


def _printable(text: str, chars_max: int) -> str:
    return re.sub(r"[^!-~]", "_", text)[:chars_max] or "-"


def _time(ns: int) -> str:
    """RFC 5424 takes at most six digits of a second."""
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000 // 1_000:06}Z"


def _cut(message: bytes, bytes_max: int) -> bytes:
    if len(message) <= bytes_max:
        return message
    mark = "…".encode()
    return message[: bytes_max - len(mark)].decode("utf-8", "ignore").encode() + mark
