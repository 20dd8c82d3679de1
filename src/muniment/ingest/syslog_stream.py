"""Syslog over TCP (RFC 6587, both framings) and TLS (RFC 5425): one accept loop a listener, one pump a connection.

Rules: a connection is counted against its peer before the handshake; what is read and not yet taken by the pipeline
is bounded, past the bound the socket is not read; a storage error closes the connection, so that the sender keeps
what it has not sent yet.

Where it stops: plain syslog has no acknowledgement. What the sender's kernel has taken and we have not read when a
connection breaks is gone unless the sender resends; S20 says so to the user, and each record carries its transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from muniment import limits
from muniment.errors import AuditError
from muniment.ingest.syslog_batch import Batch, Doorway
from muniment.ingest.syslog_origin import ListenerSettings, SourceMap, certificate_names, server_context
from muniment.wire.syslog import origin_suffix
from muniment.wire.syslog_framing import Frame, Framer

__all__ = ["StreamListener"]

_ACCEPTS_PER_TURN = 64
_ACCEPT_PAUSE_S = 0.1
"""After a failed accept: descriptors come free when connections end, not by asking again at once."""


class StreamListener:
    """A listening TCP or TLS socket and its connections."""

    def __init__(self, settings: ListenerSettings, doorway: Doorway) -> None:
        self.settings = settings
        self._doorway = doorway
        self._sources = SourceMap(settings)
        self._tls = server_context(settings) if settings.transport == "tls" else None
        self._socket: socket.socket | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._by_peer: dict[str, int] = {}

    @property
    def port(self) -> int:
        """The port bound; the settings may have asked for any."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Bind and accept."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.settings.host, self.settings.port, type=socket.SOCK_STREAM)
        family, kind, proto, _, address = found[0]
        self._socket = socket.socket(family, kind, proto)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setblocking(False)
        self._socket.bind(address)
        self._socket.listen(512)
        loop.add_reader(self._socket, self._acceptable)

    async def stop(self) -> None:
        """Accept no more, hand over what was sent, close.

        (1) Take the connections the kernel has already accepted for us: their senders may have written. (2) Let
        handshakes end. (3) Tell every sender and read on until it has heard.
        """
        if self._socket is not None and self._socket.fileno() >= 0:
            self._pause_accepting()
            while self._accept():
                pass
            self._socket.close()
        if self._handshakes:
            _, late = await asyncio.wait(self._handshakes, timeout=limits.SYSLOG_DRAIN_S)
            for handshake in late:
                handshake.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        pumps = [connection.pump for connection in self._connections if connection.pump is not None]
        for connection in list(self._connections):
            connection.drain()
        if pumps:
            await asyncio.wait(pumps)

    def abandon(self) -> None:
        """Give up what `stop` still waits for; each connection reports its loss."""
        for connection in self._connections:
            if connection.pump is not None:
                connection.pump.cancel()

    def _acceptable(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Take one waiting connection; False when there is none."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            accepted, address = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:  # the peer has gone again, or we are out of file descriptors
            self._doorway.refuse("", f"accept: {error.strerror}")
            self._pause_accepting()
            loop.call_later(_ACCEPT_PAUSE_S, self._resume_accepting)
            return False
        peer = str(address[0])
        if (reason := self._full(peer)) is not None:
            accepted.close()
            self._doorway.refuse(peer, reason)
            return True
        self._by_peer[peer] = self._by_peer.get(peer, 0) + 1
        task = loop.create_task(self._welcome(accepted, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _pause_accepting(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)

    def _resume_accepting(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._socket, self._acceptable)

    def _full(self, peer: str) -> str | None:
        if self._by_peer.get(peer, 0) >= limits.SYSLOG_CONNECTIONS_PER_PEER_MAX:
            return "too many connections from this address"
        if sum(self._by_peer.values()) >= limits.SYSLOG_CONNECTIONS_MAX:
            return "too many connections"
        return None

    async def _welcome(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = _Connection(self._doorway, self._sources, self.settings, peer, self._connections.add, self._gone)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=limits.SYSLOG_HANDSHAKE_S if self._tls else None,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self._doorway.refuse(peer, f"handshake: {getattr(error, 'reason', None) or error}")
        finally:
            if connection.pump is None:  # never made: nobody else will count it off
                accepted.close()
                self._forget(peer)

    def _forget(self, peer: str) -> None:
        left = self._by_peer.get(peer, 1) - 1
        if left:
            self._by_peer[peer] = left
        else:
            self._by_peer.pop(peer, None)

    def _gone(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._forget(connection.peer)
        self._doorway.counters.connections -= 1


class _Connection(asyncio.Protocol):
    """One sender's stream: the protocol fills `_chunks`, the pump empties them into arrivals."""

    def __init__(
        self,
        doorway: Doorway,
        sources: SourceMap,
        settings: ListenerSettings,
        peer: str,
        on_made: Callable[[_Connection], None],
        on_gone: Callable[[_Connection], None],
    ) -> None:
        self.peer = peer
        self.pump: asyncio.Task[None] | None = None
        self._doorway = doorway
        self._sources = sources
        self._settings = settings
        self._on_made = on_made
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._framer = Framer()
        self._chunks: list[bytes] = []
        self._n_bytes = 0
        self._is_paused = False
        self._is_ended = False
        self._is_drained = False  # we are stopping and have said so
        self._has_heard = False  # the sender has ended its side
        self._more = asyncio.Event()
        self._source = settings.source
        self._suffixes: dict[str, bytes] = {}
        self._tls_subject = ""

    # --- the protocol's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name, only by deed
        names: tuple[str, ...] = ()
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            names = certificate_names(der)
            self._tls_subject = names[-1]
        self._source = self._sources.source_of(self.peer, names)
        self._doorway.counters.connections += 1
        self.pump = asyncio.get_running_loop().create_task(self._run())
        self.pump.add_done_callback(self._done)
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._n_bytes += len(data)
        counters = self._doorway.counters
        counters.held_bytes += len(data)
        self._more.set()
        is_full = self._n_bytes > limits.SYSLOG_READ_BYTES_MAX or counters.held_bytes > limits.SYSLOG_HELD_BYTES_MAX
        if is_full and not self._is_paused:
            assert self._transport is not None
            self._transport.pause_reading()
            self._is_paused = True

    def eof_received(self) -> bool:
        self._has_heard = True
        self.finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_heard = True
        self.finish()

    def drain(self) -> None:
        """Tell the sender that we stop, and read on until it has heard: then nothing is lost in between.

        t0 our FIN goes out; t1 rsyslog (before its next write) or syslog-ng (at once, without TLS) sees it and closes;
        t2 we read its end of stream, and with it everything it ever wrote. A sender that never looks (syslog-ng over
        TLS) gets the grace time, then a reset: its next write fails at once, where an orderly close would swallow it.
        """
        self._is_drained = True
        self._on_socket(lambda ours: ours.shutdown(socket.SHUT_WR))
        asyncio.get_running_loop().call_later(limits.SYSLOG_DRAIN_S, self.finish)

    def _on_socket(self, act: Callable[[socket.socket], object]) -> None:
        """Act on a duplicate of the socket, because event loops lend theirs without `shutdown` and `setsockopt`."""
        assert self._transport is not None
        lent = self._transport.get_extra_info("socket")
        if lent is not None:  # None, or closed: the sender was quicker
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(lent.fileno())) as ours:
                act(ours)

    # --- the pump's side ---

    def finish(self) -> None:
        """No more will be read; the pump hands over what was."""
        self._is_ended = True
        self._more.set()

    async def _run(self) -> None:
        while True:
            if not self._chunks and not self._is_ended:
                await self._wait()
            if 0 < self._n_bytes < limits.SYSLOG_READ_BYTES_MAX // 8 and not self._is_ended:
                await asyncio.sleep(limits.SYSLOG_GATHER_MS / 1000)
            is_last = self._is_ended
            chunks, self._chunks = self._chunks, []
            self._more.clear()
            if self._is_ended:
                self._more.set()
            frames = self._framer.feed(b"".join(chunks)) if chunks else []
            if is_last:
                frames += self._framer.close()
            await self._deliver(frames)
            self._recount()
            if self._is_paused and not self._is_ended and self._transport is not None:
                self._transport.resume_reading()
                self._is_paused = False
            if is_last and not self._chunks:
                return

    def _recount(self) -> None:
        left = sum(map(len, self._chunks))
        self._doorway.counters.held_bytes += left - self._n_bytes
        self._n_bytes = left

    async def _wait(self) -> None:
        """Until something is read, or for as long as the state of the stream allows."""
        patience = limits.SYSLOG_PARTIAL_IDLE_S if self._framer.n_bytes else limits.SYSLOG_IDLE_S
        try:
            await asyncio.wait_for(self._more.wait(), patience)
        except TimeoutError:
            self._doorway.refuse(self.peer, "a frame was begun and not ended" if self._framer.n_bytes else "idle")
            self.finish()

    async def _deliver(self, frames: list[Frame]) -> None:
        received_at = self._doorway.clock_ns()
        step = limits.SYSLOG_BATCH_MESSAGES_MAX
        for start in range(0, len(frames), step):
            batch = Batch()
            for frame in frames[start : start + step]:
                batch.add_frame(frame, self._suffix(frame.framing))
            try:
                door = f"syslog-{self._settings.transport}"
                counters = self._doorway.counters
                await self._doorway.deliver(batch.arrival(door, self._source, received_at, self.peer, counters))
            except BaseException:
                if (left := len(frames) - start - step) > 0:
                    self._doorway.lose(self._source, left, received_at)
                raise

    def _suffix(self, framing: str) -> bytes:
        suffix = self._suffixes.get(framing)
        if suffix is None:
            suffix = self._suffixes[framing] = origin_suffix(
                transport=self._settings.transport, framing=framing, peer=self.peer, tls_subject=self._tls_subject
            )
        return suffix

    def _done(self, pump: asyncio.Task[None]) -> None:
        """The one place where a connection ends."""
        assert self._transport is not None
        if pump.cancelled() or pump.exception() is not None:
            left = self._framer.feed(b"".join(self._chunks)) + self._framer.close()
            if left:
                self._doorway.lose(self._source, len(left), self._doorway.clock_ns())
            self._transport.abort()
        elif self._is_drained and not self._has_heard:
            self._on_socket(lambda ours: ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)))
            self._transport.abort()
        else:
            self._transport.close()
        self._chunks = []
        self._recount()
        self._on_gone(self)
        if not pump.cancelled() and (error := pump.exception()) is not None:
            self._doorway.refuse(self.peer, f"closed: {error}")
            if not isinstance(error, AuditError):  # a mistake of ours: let the loop's handler show it
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "syslog connection failed", "exception": error, "task": pump}
                )
