"""Real receivers on this machine: HTTP that misbehaves on demand, an SMTP conversation, syslog listeners."""

from __future__ import annotations

import contextlib
import http.server
import queue
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Posted:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hooks:
    """An HTTP receiver. `script` holds raw answers for the coming requests; after them, 204."""

    port: int
    script: list[bytes] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/hook", host: str = "localhost", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


HANG = b"hang"


@contextlib.contextmanager
def hooks(tls: Path | None = None) -> Iterator[Hooks]:
    """A server on 127.0.0.1; with a certificate file, TLS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = state.script.pop(0) if state.script else b"HTTP/1.1 204 No Content\r\n\r\n"
            if answer == HANG:
                state.held.wait(20)
                return
            with contextlib.suppress(OSError):
                self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def get_request(self) -> tuple[socket.socket, object]:
            wire, peer = super().get_request()
            if context is not None:
                # The handshake in the handler's thread: a client that breaks it off must not stop the server.
                wire = context.wrap_socket(wire, server_side=True, do_handshake_on_connect=False)
            return wire, peer

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    with Server(("127.0.0.1", 0), Handler) as server:
        state = Hooks(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield state
        finally:
            state.held.set()
            server.shutdown()
            thread.join()


@dataclass
class Mailbox:
    """What an SMTP server got. `refuse` maps a command's beginning to the answer it gets instead of 250."""

    port: int
    refuse: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    is_tls: list[bool] = field(default_factory=list)


@contextlib.contextmanager
def mailbox(certificate: Path | None = None) -> Iterator[Mailbox]:
    """A small real SMTP server (RFC 5321); STARTTLS (RFC 3207) when it has a certificate, AUTH PLAIN after it."""

    def converse(wire: socket.socket) -> None:
        stream, secure = wire.makefile("rwb", buffering=0), False

        def say(text: str) -> None:
            stream.write(text.encode() + b"\r\n")

        say("220 test ESMTP")
        while line := stream.readline():
            command = line.decode().rstrip("\r\n")
            state.commands.append(command)
            verb = command.split(" ")[0].upper()
            refused = next((answer for start, answer in state.refuse.items() if command.startswith(start)), "")
            if refused:
                say(refused)
            elif verb == "EHLO":
                say("250-test")
                say("250-SMTPUTF8")
                say("250 AUTH PLAIN" if secure else "250 STARTTLS" if certificate else "250 HELP")
            elif verb == "STARTTLS":
                say("220 go on")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                assert certificate is not None
                context.load_cert_chain(certificate)
                wire = context.wrap_socket(wire, server_side=True)
                stream, secure = wire.makefile("rwb", buffering=0), True
            elif verb == "AUTH":
                say("235 welcome")
            elif verb == "DATA":
                say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += stream.readline()
                state.messages.append(text[:-3])
                state.is_tls.append(secure)
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

    with _listener(converse) as port:
        state = Mailbox(port)
        yield state


@contextlib.contextmanager
def stream_sink(
    certificate: Path | None = None, wants_certificate: Path | None = None
) -> Iterator[tuple[int, queue.Queue[bytes]]]:
    """A TCP (or TLS) listener: each connection's bytes, whole, once it ended."""
    got: queue.Queue[bytes] = queue.Queue()

    def take(wire: socket.socket) -> None:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if wants_certificate is not None:
                context.load_verify_locations(wants_certificate)
                context.verify_mode = ssl.CERT_REQUIRED
            wire = context.wrap_socket(wire, server_side=True)
        data = b""
        while more := wire.recv(65_536):
            data += more
        got.put(data)
        if isinstance(wire, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                wire.unwrap()
        wire.close()

    with _listener(take) as port:
        yield port, got


@contextlib.contextmanager
def resetting() -> Iterator[int]:
    """A TCP listener that reads a byte and resets the connection."""

    def reset(wire: socket.socket) -> None:
        wire.recv(1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with _listener(reset) as port:
        yield port


@contextlib.contextmanager
def _listener(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except OSError:
                return
            with wire, contextlib.suppress(OSError):
                wire.settimeout(20)
                serve(wire)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
