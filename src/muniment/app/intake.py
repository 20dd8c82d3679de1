"""What doors stand on: the pipeline with its counts, whose key it is, and where syslog listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from muniment.access.keys import KeyRing
from muniment.config import Settings
from muniment.errors import DeniedError
from muniment.event.model import Arrival
from muniment.ingest.pipeline import Ack, Pipeline
from muniment.ingest.syslog import ListenerSettings
from muniment.sources.registry import SourceRegistry

__all__ = ["SYSLOG_SOURCE", "Intake", "KeyAuthenticator", "syslog_listeners"]

SYSLOG_SOURCE: Final = "syslog"
"""Where syslog from senders that no certificate or network names goes."""


class Intake:
    """The pipeline as doors see it, which also keeps count of what each source sends."""

    def __init__(self, pipeline: Pipeline, registry: SourceRegistry) -> None:
        self._pipeline = pipeline
        self._registry = registry
        self.by_door: Counter[str] = Counter()

    async def submit(self, arrival: Arrival) -> Ack:
        """As Pipeline.submit; counts only what was acknowledged."""
        ack = await self._pipeline.submit(arrival)
        self._registry.heard(arrival)
        self.by_door[arrival.door] += len(arrival.records)
        return ack


class KeyAuthenticator:
    """Doors ask: which source is this key? All keys are in memory, so this never waits."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def authenticate(self, token: str, *, peer: str) -> str:
        identity = self._keys.identify(token)
        if not identity.source:
            raise DeniedError("this key may read, not send", permission="ingest")
        return identity.source


def syslog_listeners(settings: Settings, registry: SourceRegistry, clock: Callable[[], int]) -> list[ListenerSettings]:
    """Where syslog is heard, as the settings say it."""
    s, networks = settings, _syslog_networks(settings, registry, clock)
    found = []
    if s.syslog_udp_port >= 0:
        found.append(ListenerSettings("udp", SYSLOG_SOURCE, s.host, s.syslog_udp_port, networks))
    if s.syslog_tcp_port >= 0:
        found.append(ListenerSettings("tcp", SYSLOG_SOURCE, s.host, s.syslog_tcp_port, networks))
    if s.syslog_tls_port >= 0 and s.tls_cert:
        found.append(
            ListenerSettings(
                "tls", SYSLOG_SOURCE, s.host, s.syslog_tls_port, networks,
                tls_cert=s.tls_cert, tls_key=s.tls_key, tls_client_ca=s.tls_client_ca,
            )
        )  # fmt: skip
    return found


def _syslog_networks(settings: Settings, registry: SourceRegistry, clock: Callable[[], int]) -> dict[str, str]:
    """`10.1.0.0/16=web,10.2.0.0/16=db` as a mapping; a source that does not exist yet is added."""
    found = {}
    for pair in filter(None, settings.syslog_networks.split(",")):
        network, _, source = pair.strip().partition("=")
        if registry.get(source) is None:
            policy = settings.privacy_default
            registry.add(source, title=source, format="auto", privacy=policy, owner="operations", now_ns=clock())
        found[network] = source
    return found
