"""The way of a record over HTTP: taken in, found, proven, checked, started again; and the same questions to the peers."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench.corpus import RARE_WORD, START_NS, Corpus, batches
from bench.peers import Peer, postgres, sqlite
from bench.running import RunningServer, post_all
from bench.table import note, p

__all__ = ["ingest", "queries"]

DAY_NS = 86_400 * 10**9


@contextmanager
def server() -> Iterator[RunningServer]:
    """A server on a temporary folder of this disk."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=".") as folder:
        running = RunningServer(Path(folder) / "data")
        running.start()
        try:
            yield running
        finally:
            running.stop()


def ingest(events: int) -> None:
    """NDJSON in batches, both policies; then single events."""
    goals = {("clear", 1000): 40_000, ("clear", 10_000): 60_000, ("sealed", 1000): 30_000, ("sealed", 10_000): 40_000}
    for (privacy, size), goal in goals.items():
        bodies = list(batches(Corpus(events, seed=size + len(privacy)), size))
        with server() as running:
            key = running.key_for("app", privacy)
            lags: list[float] = []
            began = time.perf_counter()
            asyncio.run(_loaded(running, key, bodies, lags))
            took = time.perf_counter() - began
            note(f"HTTP NDJSON, batches of {size:,}, {privacy}", f"{events / took:,.0f} events/s", f">= {goal:,}")
            if lags:
                note(
                    "  visible after ack at that load, p50 / p99",
                    f"{p(lags, 0.5):.2f} / {p(lags, 0.99):.2f} s",
                    "p99 <= 2 s",
                )
    singles = [e for body in batches(Corpus(12_000, seed=3), 1000) for e in body.split(b"\n")]
    with server() as running:
        key = running.key_for("app", "clear")
        began = time.perf_counter()
        took_each = asyncio.run(post_all(running.port, key, singles[:8_000], 64))
        rate = 8_000 / (time.perf_counter() - began)
        note("single-event POST, 64 connections", f"{rate:,.0f} /s", ">= 1,500")
        took_each = asyncio.run(post_all(running.port, key, singles[8_000:], 64, 750))
        note("  ack p99 at 750/s", f"{p(took_each, 0.99) * 1000:.1f} ms", "<= 150 ms")


async def _loaded(running: RunningServer, key: str, bodies: list[bytes], lags: list[float]) -> None:
    """Load, and beside it measure how far search is behind the ledger, in seconds of growth."""
    grown: list[tuple[float, int]] = []

    def look() -> bool:
        status = running.get("/api/v1/status")
        now = time.perf_counter()
        grown.append((now, status["ledger"]["size"]))
        seen = status["store"]["complete_to_index"]
        older = [moment for moment, size in grown if size - 1 <= seen]
        if older:
            lags.append(now - older[-1])
        return bool(status["store"]["pending"])

    load = asyncio.create_task(post_all(running.port, key, bodies))
    while not load.done():
        await asyncio.to_thread(look)
        await asyncio.sleep(0.1)
    await load


def questions(corpus: Corpus) -> dict[str, tuple[dict[str, object], Callable[[RunningServer], object]]]:
    """The six, each as values for the peers and as a call of our API."""
    middle = corpus.size // 2
    request_id, day = corpus.request_id_of(middle), corpus.time_of(middle)
    day -= (day - START_NS) % DAY_NS
    first, last = (datetime.fromtimestamp(t / 1e9, UTC).isoformat() for t in (day, day + DAY_NS))

    def search(q: str, **more: object) -> Callable[[RunningServer], object]:
        return lambda s: s.get("/api/v1/search", q=q, limit=100, **more)

    return {
        "needle": ({"request_id": request_id}, search(f"request_id:{request_id}")),
        "user's day": ({"user": "a.adler", "day": day // 10**9}, search("actor_id:a.adler", start=first, end=last)),
        "top-10 failed": (
            {},
            lambda s: s.get("/api/v1/facets", q="action:user.login outcome:failure", fields="src_ip", limit=10),
        ),
        "word": ({"word": RARE_WORD}, search(f"message:{RARE_WORD}")),
        "hour x action": (
            {},
            lambda s: s.get("/api/v1/histogram", q="", start="2026-11-01", end="2026-12-01", buckets=500, by="action"),
        ),
        "substring": ({"part": "follow-up call"}, search('"follow-up call"')),
    }


def queries(events: int, with_peers: bool) -> None:
    """Load a whole corpus, wait until merges and packs are done, ask, prove, verify, restart; then the peers."""
    corpus = Corpus(events)
    goals = {"needle": 10, "user's day": 51, "top-10 failed": 8, "word": 285, "hour x action": 65, "substring": 300}
    asked = questions(corpus)
    with server() as running:
        key = running.key_for("app", "clear")
        asyncio.run(post_all(running.port, key, list(batches(corpus, 10_000))))
        running.wait_until_visible()
        note("resident memory after the load", f"{running.resident_mib():,.0f} MiB", "<= 1,536 MiB")
        rest_s = _at_rest(running)
        for name, (_, ask) in asked.items():
            note(
                f"{name}, p50 warm at {events:,}",
                f"{_p50(partial(ask, running)) * 1000:.1f} ms",
                f"<= {goals[name]} ms",
            )
        size = running.get("/api/v1/status")["ledger"]["size"]
        took = []
        for _ in range(300):
            began = time.perf_counter()
            running.get(f"/api/v1/events/{random.randrange(size)}/proof", format="json")
            took.append(time.perf_counter() - began)
        note(
            "inclusion proof over HTTP, p50 / p99",
            f"{p(took, 0.5) * 1000:.1f} / {p(took, 0.99) * 1000:.1f} ms",
            "p99 <= 20 ms",
        )
        note("resident memory after the queries", f"{running.resident_mib():,.0f} MiB", "<= 1,536 MiB")
        running.stop()
        disk = running.disk_bytes()
        note(
            f"bytes an event after {rest_s:.0f} s at rest: ledger + store",
            f"{disk['ledger'] / size:.0f} + {disk['store'] / size:.0f}",
            "<= 260",
        )
        _verify(running.folder / "ledger", size)
        note("cold start to the first answer", f"{running.start():.1f} s", "<= 10 s")
    if with_peers:
        for open_peer in (postgres, sqlite):
            with open_peer() as peer:
                _ask_peer(peer, corpus, asked)


def _at_rest(running: RunningServer, longest_s: float = 900.0) -> float:
    """Wait until merges and packs are done: nothing on disk has become less for longer than outdated parts are kept. Seconds it took."""
    began = time.monotonic()
    least, since = sum(running.disk_bytes().values()), began
    while time.monotonic() - since < 75 and time.monotonic() - began < longest_s:
        time.sleep(5)
        now = sum(running.disk_bytes().values())
        if now < least * 0.999:
            least, since = now, time.monotonic()
    return time.monotonic() - began


def _verify(folder: Path, size: int) -> None:
    from muniment.ledger.check import check_ledger

    began = time.perf_counter()
    check_ledger(folder)
    note("verify, one core", f"{size / (time.perf_counter() - began):,.0f} events/s", ">= 200,000")


def _ask_peer(
    peer: Peer, corpus: Corpus, asked: dict[str, tuple[dict[str, object], Callable[[RunningServer], object]]]
) -> None:
    rate = peer.load(batches(corpus, 10_000))
    note(f"{peer.name}: load, batches of 10,000", f"{rate:,.0f} events/s")
    for name, (values, _) in asked.items():
        note(
            f"{peer.name}: {name}",
            f"{_p50(partial(peer.query, name, values), 5) * 1000:.1f} ms",
        )
    note(f"{peer.name}: bytes an event", f"{peer.n_bytes() / corpus.size:.0f}")


def _p50(ask: Callable[[], object], times: int = 15) -> float:
    took = []
    for _ in range(times + 2):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return statistics.median(took[2:])
