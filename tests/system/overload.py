"""R12: three times what a server can take, for as long as asked, and a count of what became of every event.

    python -m tests.system.overload --seconds 1800

Senders hold more in flight than the doors may hold and send again at once after a refusal. Then: every event is either
acknowledged and there, or refused with Retry-After and not there; memory stays bounded; afterwards all is as before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.corpus import Corpus, batches
from bench.running import RunningServer

__all__ = ["Outcome", "overload"]

EVENTS = 1_000
AT_ONCE_S = 0.5
"""A server at rest acknowledges a body of so many events sooner."""


@dataclass(slots=True)
class Outcome:
    """What was sent and became of it; `waits_s` of accepted bodies, `odd` whatever should not have happened."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    waits_s: list[float] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    resident_mib: float = 0.0
    recovered_s: float = 0.0

    @property
    def p99_s(self) -> float:
        """Of the time an accepted body waited for its acknowledgement."""
        return sorted(self.waits_s)[int(len(self.waits_s) * 0.99)] if self.waits_s else 0.0


def _nameless(body: bytes) -> bytes:
    """The events without their ids, so that the same body is new whenever it comes."""
    return re.sub(rb'\{"id":"[0-9a-f-]{36}",', b"{", body)


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, body: bytes) -> tuple[str, bytes]:
    writer.write(
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
    return head, await reader.readexactly(length)


async def _sender(port: int, key: str, bodies: list[bytes], number: int, until: float, outcome: Outcome) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    while time.monotonic() < until:
        number += 1
        began = time.monotonic()
        try:
            head, answer = await _post(reader, writer, key, bodies[number % len(bodies)])
        except (OSError, asyncio.IncompleteReadError):  # refused early, with the body still on its way
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
            outcome.odd.append("a connection ended without an answer")
            continue
        outcome.sent += EVENTS
        status = head.split(" ", 2)[1]
        if status.startswith("20"):
            outcome.accepted += json.loads(answer)["accepted"]
            outcome.waits_s.append(time.monotonic() - began)
        elif status in {"429", "503"} and "retry-after:" in head:
            outcome.refused += EVENTS
            await asyncio.sleep(0.05)
        else:
            outcome.odd.append(head)
        if "connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.close()


async def _run(running: RunningServer, key: str, seconds: float, senders: int, outcome: Outcome) -> None:
    bodies = [_nameless(body) for body in batches(Corpus(20_000, seed=12), EVENTS)]
    until = time.monotonic() + seconds
    sending = [
        asyncio.create_task(_sender(running.port, key, bodies, number, until, outcome)) for number in range(senders)
    ]
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        outcome.resident_mib = max(outcome.resident_mib, running.resident_mib())
    await asyncio.gather(*sending)


def overload(running: RunningServer, seconds: float, senders: int = 256) -> Outcome:
    """Overload a running server and count."""
    key = running.key_for("flood", "clear")
    outcome = Outcome()
    asyncio.run(_run(running, key, seconds, senders, outcome))
    began = time.monotonic()
    body = _nameless(next(batches(Corpus(EVENTS, seed=13), EVENTS)))
    while True:  # as before: a batch is taken at once
        started = time.monotonic()
        answer = running.client.post("/v1/events", content=body, headers={"Authorization": f"Bearer {key}"})
        outcome.sent += EVENTS
        if answer.status_code == 200:  # there, however long it took
            outcome.accepted += answer.json()["accepted"]
            if time.monotonic() - started < AT_ONCE_S:
                break
        elif answer.status_code in {429, 503} and "retry-after" in answer.headers:
            outcome.refused += EVENTS
        else:
            outcome.odd.append(f"{answer.status_code} after the load")
        assert time.monotonic() - began < 60, "it does not recover"
        time.sleep(0.1)
    outcome.recovered_s = time.monotonic() - began
    return outcome


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        running = RunningServer(Path(folder) / "data")
        running.start()
        try:
            found = overload(running, options.seconds)
            running.wait_until_visible()
            there = running.get("/api/v1/facets", q="source:flood", fields="source")["facets"]["source"][0]["count"]
        finally:
            running.stop()
    print(
        f"R12: sent {found.sent:,}, acknowledged {found.accepted:,} (there: {there:,}), refused {found.refused:,}, "
        f"odd {len(found.odd)}; p99 of accepted {found.p99_s:.2f} s, {found.resident_mib:,.0f} MiB, recovered in "
        f"{found.recovered_s:.1f} s"
    )
    assert there == found.accepted


if __name__ == "__main__":
    main()
