"""What the operations work with, as promises. `app.py` fills them with the real rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from muniment.access.erasures import Erasures
from muniment.access.keys import KeyRing
from muniment.access.sessions import Doorkeeper
from muniment.access.webhooks import Webhooks
from muniment.api.jobs import Job, Jobs, JobState
from muniment.api.recorder import Recorder
from muniment.cases.cases import Cases
from muniment.config import Settings
from muniment.detect.alerts import AlertBook
from muniment.detect.detector import Detector
from muniment.detect.feeding import Feeding
from muniment.detect.rulebook import RuleBook
from muniment.ledger.ledger import Ledger
from muniment.respond.block import Block, Network, read_network
from muniment.respond.blocks import Blocks
from muniment.respond.notify import Outbox
from muniment.respond.order import Order
from muniment.respond.orders import Orders
from muniment.respond.preview import Tickets
from muniment.respond.routes import Route
from muniment.respond.silences import Silences
from muniment.search.engine import Engine
from muniment.search.formats import Formats
from muniment.search.projector import Horizon
from muniment.search.saved import SavedSearches
from muniment.search.service import SearchService
from muniment.sources.registry import SourceRegistry

__all__ = ["Services"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an operation may touch. Blocking calls run on `readers`: `await services.blocking(work)`."""

    settings: Settings
    ledger: Ledger
    search: SearchService
    saved: SavedSearches
    sources: SourceRegistry
    keys: KeyRing
    doorkeeper: Doorkeeper
    recorder: Recorder
    jobs: Jobs
    readers: Executor
    clock: Callable[[], int]
    status: Callable[[], dict[str, Any]]
    verify: Callable[[bytes], Job]
    note_verify: Callable[[JobState], None]
    rebuild: Callable[[], Job]
    forget_credentials: Callable[[], None]
    open_part: Callable[[Any], tuple[bytes, bytes] | None]
    horizon: Callable[[], Horizon]
    signatures: Callable[[bytes], list[tuple[str, str, bool | None]]]
    wait_for_change: Callable[[float], Any]
    keys_changed: Callable[[], None]
    erasures: Erasures
    subjects_of: Callable[[str, str | None], list[bytes]]
    erase_subject: Callable[[str, str | None], list[bytes]]
    rules: RuleBook
    alerts: AlertBook
    detector: Detector
    feeding: Feeding
    blocks: Blocks
    tickets: Tickets
    engine: Engine
    webhooks: Webhooks
    outbox: Outbox
    silences: Silences
    channels: tuple[str, ...]
    notice_routes: tuple[Route, ...]
    actions: Mapping[str, Sequence[str]]
    orders: Orders
    cases: Cases
    send_order: Callable[[Order], list[str]]
    tell_of_block: Callable[[Block, str], None]
    forget_person: Callable[[str, str], dict[str, int]]
    formats: Formats

    def trusted_networks(self) -> list[Network]:
        """The proxies that everybody comes through."""
        texts = (part.strip() for part in self.settings.trusted_proxies.split(","))
        return [read_network(text, "trusted_proxies") for text in texts if text]

    async def blocking(self, work: Callable[[], T]) -> T:
        """What `work` returns, run where it keeps nobody waiting."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)
