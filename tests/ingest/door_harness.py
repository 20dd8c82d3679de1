"""A real server with the real doors and pipeline on a loopback port, over a ledger kept in memory that protests."""

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
import uvicorn

from muniment.errors import DeniedError
from muniment.event.ids import event_uuid, uuid7
from muniment.event.model import Arrival
from muniment.ingest.admission import Admission, Quota, TrustedProxies
from muniment.ingest.http_doors import Doors
from muniment.ingest.http_request import DoorContext
from muniment.ingest.pipeline import Pipeline

TOKEN = "mk_test_0123456789abcdef"


@dataclass(slots=True)
class Entries:
    sources: list[str]
    ids: list[str]
    sqs: list[int | None]
    received_at: list[int]
    records: list[bytes]
    doors: list[str]
    quarantined: list[str | None]


@dataclass(slots=True)
class Protected:
    entries: Entries
    clear: list[bytes]


@dataclass(slots=True)
class Appended:
    indexes: list[int]
    is_duplicate: list[bool]
    leaf_hashes: list[bytes]
    size: int
    checkpoint: bytes


@dataclass
class MemoryLog:
    """Protector, ledger and projector in memory. Protests when used by two threads at once or out of order."""

    records: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sqs: list[int | None] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    doors: list[str] = field(default_factory=list)
    quarantined: list[str | None] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    offered: int = 0
    fail_append: Exception | None = None
    fail_appends: dict[int, Exception] = field(default_factory=dict)  # by their number, from 1
    appends: int = 0
    failed: int = 0
    fail_protect: Callable[[Sequence[Arrival]], None] = lambda arrivals: None
    append_s: float = 0.0
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    _protecting: threading.Lock = field(default_factory=threading.Lock)
    _appending: threading.Lock = field(default_factory=threading.Lock)
    overlapped: int = 0

    def protect(self, arrivals: Sequence[Arrival]) -> Protected:
        assert self._protecting.acquire(blocking=False), "two threads in protect"
        try:
            self.overlapped += self._appending.locked()
            self.fail_protect(arrivals)
            entries = Entries([], [], [], [], [], [], [])
            for one in arrivals:
                n = len(one.records)
                entries.records += one.records
                entries.sources += [one.source] * n
                entries.doors += [one.door] * n
                entries.received_at += [one.received_at] * n
                entries.sqs += one.sqs or [None] * n
                entries.quarantined += one.quarantined or [None] * n
                entries.ids += [
                    uuid7(one.received_at, os.urandom(10)) if own is None else event_uuid(one.source, own, b"k")
                    for own in one.ids or [None] * n
                ]
            return Protected(entries, entries.records)
        finally:
            self._protecting.release()

    def append(self, entries: Entries) -> Appended:
        assert self._appending.acquire(blocking=False), "two threads in append"
        try:
            if self.append_s:
                time.sleep(self.append_s)  # stands for the fsync
            self.appends += 1
            if error := self.fail_appends.get(self.appends, self.fail_append):
                self.failed += 1
                raise error
            indexes, duplicate = [], []
            for place, key in enumerate(zip(entries.sources, entries.ids, strict=True)):
                first = self.known.get(key)
                duplicate.append(first is not None)
                if first is None:
                    first = self.known[key] = len(self.records)
                    self.records.append(entries.records[place])
                    self.ids.append(entries.ids[place])
                    self.sqs.append(entries.sqs[place])
                    self.sources.append(entries.sources[place])
                    self.doors.append(entries.doors[place])
                    self.quarantined.append(entries.quarantined[place])
                indexes.append(first)
            self.batches.append(len(entries.records))
            hashes = [hashlib.sha256(record).digest() for record in entries.records]
            size = len(self.records)
            return Appended(indexes, duplicate, hashes, size, b"test/log\n%d\n" % size)
        finally:
            self._appending.release()

    def offer(self, protected: Protected, appended: Appended) -> None:
        assert len(protected.clear) == len(appended.indexes)
        self.offered += len(protected.clear)

    def documents(self) -> list[dict[str, object]]:
        return [orjson.loads(record) for record in self.records]


class OneKey:
    """Knows TOKEN (source `app`) and TOKEN + `2` (source `other`)."""

    def __init__(self) -> None:
        self.lookups = 0

    def authenticate(self, token: str, *, peer: str) -> str:
        self.lookups += 1
        for known, source in ((TOKEN, "app"), (TOKEN + "2", "other")):
            if token == known:
                return source
        raise DeniedError("unknown key", permission="ingest")


@dataclass
class Harness:
    log: MemoryLog
    pipeline: Pipeline
    admission: Admission
    ctx: DoorContext
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()


def make_harness(quota: Quota | None = None, proxies: Sequence[str] = (), **options: object) -> Harness:
    log = MemoryLog()
    pipeline = Pipeline(log, log, log)
    admission = Admission(OneKey(), quota_of=lambda source: quota or Quota(), proxies=TrustedProxies(proxies))
    ctx = DoorContext(
        pipeline,
        admission,
        time.time_ns,
        trouble=lambda: pipeline.status().trouble,
        **options,  # type: ignore[arg-type]
    )
    return Harness(log, pipeline, admission, ctx)


@contextmanager
def served(harness: Harness, **options: object) -> Iterator[Harness]:
    """The doors on a real uvicorn server, in a thread of its own."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", harness.port))
    harness.port = bound.getsockname()[1]
    config = uvicorn.Config(Doors(harness.ctx), lifespan="off", log_level="warning", access_log=False, **options)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    harness.pipeline.start()
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield harness
    finally:
        server.should_exit = True
        thread.join(10)
        harness.pipeline.close()
        bound.close()


def until(fact: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until `fact()` holds."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
