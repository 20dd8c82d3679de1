"""Syslog over UDP (RFC 5426): one datagram, one message; what the kernel dropped is counted and told.

UDP has no way to slow a sender. When the pipeline is busy the socket is not read; its buffer fills, the kernel drops
and counts, and the count becomes a loss event of the listener's source. Datagrams lost before this host are beyond
anyone's knowledge; each record carries its transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

from muniment import limits
from muniment.errors import StorageError
from muniment.ingest.syslog_batch import Batch, Doorway
from muniment.ingest.syslog_origin import ListenerSettings, SourceMap
from muniment.wire.syslog import origin_suffix

__all__ = ["UdpListener"]

# Linux, asm-generic/socket.h; Python has no names for them.
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8  # index into the u32 array, linux/sock_diag.h
_READS_PER_TURN = 500
"""Datagrams read before the loop gets its turn: about 2 ms."""


class UdpListener:
    """A bound UDP socket, its reader and its pump."""

    def __init__(self, settings: ListenerSettings, doorway: Doorway) -> None:
        self.settings = settings
        self._doorway = doorway
        self._sources = SourceMap(settings)
        self._known: dict[str, tuple[str, bytes]] = {}
        self._socket: socket.socket | None = None
        self._pump: asyncio.Task[None] | None = None
        self._pending: list[tuple[bytes, str]] = []
        self._n_bytes = 0
        self._is_reading = False
        self._more = asyncio.Event()
        self._drops = 0
        self._drops_at = 0
        self._is_ended = False

    @property
    def port(self) -> int:
        """The port bound."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    @property
    def receive_buffer_bytes(self) -> int:
        """What the kernel granted; below SYSLOG_UDP_RCVBUF_BYTES raise net.core.rmem_max."""
        assert self._socket is not None
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # Linux reports the double

    async def start(self) -> None:
        """Bind and read."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.settings.host, self.settings.port, type=socket.SOCK_DGRAM)
        family, kind, proto, _, address = found[0]
        self._socket = socket.socket(family, kind, proto)
        self._socket.setblocking(False)
        try:  # beyond net.core.rmem_max, where we have the right
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, limits.SYSLOG_UDP_RCVBUF_BYTES)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.SYSLOG_UDP_RCVBUF_BYTES)
        self._socket.bind(address)
        self._drops_at = self._doorway.clock_ns()
        self._resume()
        self._pump = loop.create_task(self._run())

    async def stop(self) -> None:
        """Read what the kernel still holds, hand it over, close."""
        self._pause()
        if self._socket is None:
            return
        if self._pump is None:
            self._socket.close()
            return
        self._is_ended = True
        while self._read_some():
            pass
        self._more.set()
        await asyncio.wait([self._pump])
        self._count_drops()
        self._socket.close()

    def abandon(self) -> None:
        """Give up what `stop` still waits for; the loss is reported."""
        if self._pump is not None:
            self._pump.cancel()

    # --- reading ---

    def _resume(self) -> None:
        if not self._is_reading and not self._is_ended and self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
            self._is_reading = True

    def _pause(self) -> None:
        if self._is_reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._is_reading = False

    def _readable(self) -> None:
        self._read_some()
        self._more.set()
        if self._n_bytes > limits.SYSLOG_UDP_READ_BYTES_MAX:
            self._pause()

    def _read_some(self) -> bool:
        """Read up to a turn's worth; False when the socket is empty."""
        assert self._socket is not None
        receive = self._socket.recvfrom
        try:
            for _ in range(_READS_PER_TURN):
                data, address = receive(65_535)
                self._pending.append((data, address[0]))
                self._n_bytes += len(data)
        except OSError:  # empty; or an ICMP error of an answer we never sent
            return False
        return True

    # --- handing over ---

    async def _run(self) -> None:
        while True:
            # Once a second even in silence: drops are noticed without waiting for the next datagram.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), 1.0)
            if not self._is_ended:
                await asyncio.sleep(limits.SYSLOG_GATHER_MS / 1000)
            is_last = self._is_ended
            self._more.clear()
            pending, self._pending = self._pending, []
            try:
                await self._deliver(pending)
            except StorageError as error:
                self._doorway.refuse("", f"udp not read: {error}")
                self._pause()
                if not is_last:
                    await asyncio.sleep(limits.SYSLOG_STORAGE_WAIT_S)
            self._n_bytes = sum(len(data) for data, _ in self._pending)
            if self._pending:
                self._more.set()
            self._count_drops()
            self._resume()
            if is_last and not self._pending:
                return

    async def _deliver(self, pending: list[tuple[bytes, str]]) -> None:
        received_at = self._doorway.clock_ns()
        step = limits.SYSLOG_BATCH_MESSAGES_MAX
        done = 0
        try:
            for start in range(0, len(pending), step):
                batches: dict[str, Batch] = {}
                for data, address in pending[start : start + step]:
                    source, suffix = self._known.get(address) or self._learn(address)
                    batch = batches.get(source)
                    if batch is None:
                        batch = batches[source] = Batch()
                    batch.add_message(data, suffix)
                for source, batch in batches.items():
                    done += len(batch.records)
                    peer = pending[0][1] if len(self._known) == 1 else ""
                    await self._doorway.deliver(
                        batch.arrival("syslog-udp", source, received_at, peer, self._doorway.counters)
                    )
        except BaseException:
            if len(pending) > done:
                self._doorway.lose(self.settings.source, len(pending) - done, received_at)
            raise

    def _learn(self, address: str) -> tuple[str, bytes]:
        if len(self._known) >= limits.SYSLOG_UDP_PEERS_CACHED_MAX:
            self._known.clear()
        found = (self._sources.source_of(address), origin_suffix(transport="udp", peer=address))
        self._known[address] = found
        return found

    def _count_drops(self) -> None:
        drops = self._kernel_drops()
        now = self._doorway.clock_ns()
        if drops != self._drops:
            # The kernel's counter has 32 bits.
            self._doorway.lose(self.settings.source, (drops - self._drops) & 0xFFFF_FFFF, self._drops_at)
            self._drops = drops
        self._drops_at = now

    def _kernel_drops(self) -> int:
        assert self._socket is not None
        if sys.platform != "linux":
            return 0
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return int(struct.unpack_from("=I", info, 4 * _MEMINFO_DROPS)[0])
