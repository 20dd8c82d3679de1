"""What the pages need from the rest of Muniment, as one promise. `app.py` fills it; tests fill it from memory.

Every method that reads is recorded by the backend itself (ARCHITECTURE rule 4): a page cannot forget to.
Every method applies the viewer's row scope: a page never filters. Times are UTC nanoseconds; ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from starlette.requests import Request

__all__ = [
    "Backend",
    "Door",
    "EventRecord",
    "Horizon",
    "Ledger",
    "Page",
    "Proof",
    "SavedSearch",
    "Series",
    "Signature",
    "SourceStatus",
    "Status",
    "Viewer",
    "Wanted",
]


@dataclass(frozen=True, slots=True)
class Viewer:
    """A signed-in person. `csrf` must come back with every form."""

    id: str
    name: str
    role: str
    csrf: str
    permissions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a result has seen: complete for indexes below `complete_to_index`, received before `complete_to_time`."""

    complete_to_index: int
    complete_to_time: int
    ledger_size: int
    pending: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search: the query text and a half-open range of event time; None is open."""

    q: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, each a mapping from column name to value, in order; `cursor` leads to the next."""

    rows: Sequence[Mapping[str, object]]
    cursor: str | None
    horizon: Horizon
    took_ms: float
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """Counts over time: bucket k covers [start + k*step_ns, start + (k+1)*step_ns)."""

    start: int
    end: int
    step_ns: int
    series: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event: typed columns, the original JSON text (placeholders where values are sealed), the OCSF object."""

    index: int
    columns: Mapping[str, object]
    record: str
    ocsf: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a checkpoint. `is_valid` None: the key is not known, so the line says nothing."""

    name: str
    algorithm: str
    is_valid: bool | None


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything needed to check one record. `record` are the bytes that commitment 0 covers, with its salt.

    `index` is the record's number in the ledger, `leaf_index` the one in the tree of the log `origin`.
    """

    index: int
    leaf_index: int
    size: int
    origin: str
    leaf: bytes
    leaf_hash: bytes
    inclusion_proof: Sequence[bytes]
    root_hash: bytes
    checkpoint: str
    record: bytes
    record_salt: bytes
    signatures: Sequence[Signature]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source. `rhythm_s`: the longest silence that is normal; 0 when it has no rhythm. `format_title`: what its records
    are, `docs`: where the vendor describes them; empty when no catalogue entry reads all of them.
    """

    id: str
    title: str
    format: str
    privacy: Literal["clear", "sealed"]
    owner: str
    rhythm_s: int
    received: int
    quarantined: int
    last_heard: int | None
    format_title: str = ""
    docs: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """A way in: its protocol (http, otlp-grpc, syslog-tcp, ...), address as a sender must write it, and whether it is open (with the reason if not)."""

    kind: str
    address: str
    is_open: bool
    note: str = ""
    accepted: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger as the status page shows it."""

    origin: str
    size: int
    checkpoint: str
    checkpoint_time: int
    vkeys: Sequence[str]
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of every part; `problems` are sentences an operator can act on, empty when all is well."""

    problems: Sequence[str]
    ledger: Ledger
    horizon: Horizon
    store: str
    doors: Sequence[Door]
    version: str
    started_at: int
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A saved search. `start` and `end` are texts the API accepts (`-24h`, RFC 3339, empty)."""

    id: str
    name: str
    owner: str
    q: str
    start: str
    end: str
    columns: Sequence[str]
    is_shared: bool


class Backend(Protocol):
    """The rest of Muniment. Methods may run concurrently; errors are those of `muniment.errors`."""

    def now_ns(self) -> int:
        """The clock."""
        ...

    def viewer(self, request: Request) -> Viewer | None:
        """Who is signed in, or None. Cheap: called once a request."""
        ...

    async def enter(self, link_token: str, request: Request) -> tuple[str, str, int]:
        """Spend a login link: cookie name, cookie value, lifetime in seconds. DeniedError: used, expired or unknown."""
        ...

    async def leave(self, request: Request) -> str:
        """End the session of this request; the cookie name to delete."""
        ...

    async def search(
        self, viewer: Viewer, wanted: Wanted, *, limit: int, cursor: str | None, order: str, columns: Sequence[str]
    ) -> Page:
        """One page. `columns` are always filled in the rows. RejectedError with `.column`: the query is wrong there."""
        ...

    async def histogram(self, viewer: Viewer, wanted: Wanted, *, buckets: int, by: str) -> Series:
        """Counts over time by the values of `by`; both ends are given."""
        ...

    async def facets(
        self, viewer: Viewer, wanted: Wanted, fields: Sequence[str], *, limit: int
    ) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The most frequent values of each field, largest first."""
        ...

    async def after(self, viewer: Viewer, q: str, index: int, *, limit: int, columns: Sequence[str]) -> Page:
        """Matching events with an index above `index`, oldest first: what a live tail adds."""
        ...

    async def event(self, viewer: Viewer, index: int) -> EventRecord | None:
        """One event, None when it is not visible to this viewer or does not exist."""
        ...

    async def proof(self, viewer: Viewer, index: int) -> Proof:
        """The proof of one record against the newest checkpoint."""
        ...

    async def sources(self, viewer: Viewer) -> Sequence[SourceStatus]:
        """Every source, in any order."""
        ...

    async def status(self, viewer: Viewer) -> Status:
        """The state of every part."""
        ...

    async def saved(self, viewer: Viewer) -> Sequence[SavedSearch]:
        """One's own and shared saved searches."""
        ...

    async def save(
        self, viewer: Viewer, *, name: str, q: str, start: str, end: str, columns: Sequence[str], is_shared: bool
    ) -> SavedSearch:
        """Save a search; durable on return."""
        ...

    async def delete_saved(self, viewer: Viewer, saved_id: str) -> None:
        """Delete a saved search of one's own."""
        ...
