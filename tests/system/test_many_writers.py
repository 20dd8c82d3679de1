"""R9: 256 writers at once on a real server, whose connections break and who send again what they are not sure of."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.running import RunningServer

from muniment.ledger.check import check_ledger

WRITERS = 256
BATCHES = 6
EVENTS = 4
TROUBLES = ("none", "cut", "unread", "twice")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def request(key: str, ids: list[str]) -> bytes:
    body = b"\n".join(
        json.dumps({"id": event_id, "action": "invoice.read", "actor": {"id": "anna"}}).encode() for event_id in ids
    )
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def send(port: int, whole: bytes, trouble: str, chance: random.Random) -> dict[str, int] | None:
    """One try on a connection of its own; the receipt, or None where the sender cannot know."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if trouble == "cut":
            writer.write(whole[: chance.randrange(1, len(whole))])
            await writer.drain()
            return None
        writer.write(whole)
        await writer.drain()
        if trouble == "unread":
            await asyncio.sleep(chance.random() / 50)
            return None
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        assert head.startswith(b"http/1.1 20"), (head, answer)
        receipt: dict[str, int] = json.loads(answer)
        return receipt
    finally:
        writer.transport.abort()


def test_256_writers_with_broken_connections_and_resends_leave_each_event_once(server: RunningServer) -> None:
    key = server.key_for("crowd", "clear")
    sent: list[str] = []
    duplicates = 0
    troubles: Counter[str] = Counter()

    async def write(number: int) -> None:
        nonlocal duplicates
        chance = random.Random(number)
        for _ in range(BATCHES):
            ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(EVENTS)]
            sent.extend(ids)
            whole = request(key, ids)
            trouble = chance.choice(TROUBLES)
            troubles[trouble] += 1
            receipt = await send(server.port, whole, trouble, chance)
            if receipt is None or trouble == "twice":
                receipt = await send(server.port, whole, "none", chance)
            assert receipt is not None
            assert receipt["accepted"] + receipt["duplicates"] >= EVENTS
            duplicates += receipt["duplicates"]

    async def crowd() -> None:
        await asyncio.gather(*(write(number) for number in range(WRITERS)))

    asyncio.run(crowd())
    assert len(set(sent)) == WRITERS * BATCHES * EVENTS
    assert duplicates >= troubles["twice"] * EVENTS
    server.wait_until_visible()
    exported = server.client.get("/api/v1/export", params={"q": "source:crowd", "format": "jsonl"})
    exported.raise_for_status()
    found = Counter(json.loads(line)["id"] for line in exported.text.splitlines())
    assert found == Counter(sent)
    server.stop()
    assert check_ledger(server.folder / "ledger").entries >= len(sent)
