"""The syslog door: UDP, TCP and TLS listeners as one thing that starts and stops.

`app.py` gives it the pipeline's `submit` and the listeners' settings; everything else (framing, parsing, sources,
back-pressure, loss) happens below. Plain syslog is lossy by nature: what is certain to be lost is reported by
`on_loss`, what cannot be known is said in the documentation, and `transport` stands in every record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from muniment.errors import ConfigError
from muniment.event.model import Arrival
from muniment.ingest.syslog_batch import Counters, Doorway
from muniment.ingest.syslog_origin import ListenerSettings
from muniment.ingest.syslog_stream import StreamListener
from muniment.ingest.syslog_udp import UdpListener

__all__ = ["Counters", "ListenerSettings", "SyslogServer"]


class SyslogServer:
    """All syslog listeners of one server.

    `submit(arrival)` returns when the arrival is durable; it may raise BusyError or StorageError.
    `on_loss(source, count, since_ns)` is called for messages that were sent to us and are not in the ledger;
    `on_refused(peer, reason)` for connections turned away or closed. Both run on the event loop and must not block.
    """

    def __init__(
        self,
        listeners: Sequence[ListenerSettings],
        submit: Callable[[Arrival], Awaitable[object]],
        *,
        clock_ns: Callable[[], int],
        on_loss: Callable[[str, int, int], None],
        on_refused: Callable[[str, str], None],
    ) -> None:
        self.counters = Counters()
        doorway = Doorway(submit, clock_ns, on_loss, on_refused, self.counters)
        self.listeners: list[StreamListener | UdpListener] = [
            UdpListener(settings, doorway) if settings.transport == "udp" else StreamListener(settings, doorway)
            for settings in listeners
        ]

    async def start(self) -> None:
        """Bind every listener; when one cannot bind, none is left open.

        Raises:
            ConfigError: a port cannot be had.
        """
        try:
            for listener in self.listeners:
                try:
                    await listener.start()
                except OSError as error:
                    s = listener.settings
                    name = f"syslog_{s.transport}_port"
                    raise ConfigError(
                        f"{s.host}:{s.port} cannot be had ({error.strerror}); MUNIMENT_{name.upper()} names another "
                        "port, -1 none",
                        setting=name,
                    ) from error
        except BaseException:
            await self.stop(deadline_s=0)
            raise

    async def stop(self, *, deadline_s: float = 10.0) -> None:
        """Stop reading, hand over what was read; after `deadline_s` the rest is given up and reported as lost."""
        stopping = [asyncio.ensure_future(listener.stop()) for listener in self.listeners]
        if not stopping:
            return
        _, late = await asyncio.wait(stopping, timeout=deadline_s)
        if late:
            for listener in self.listeners:
                listener.abandon()
        await asyncio.gather(*stopping)

    def ports(self) -> dict[str, int]:
        """The port of each transport, for the start-up message."""
        return {listener.settings.transport: listener.port for listener in self.listeners}
