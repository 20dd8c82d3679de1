"""A real server as a process of its own, with its folder, memory and restart; and a raw HTTP client that costs little."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

__all__ = ["RunningServer", "post_all"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningServer:
    """`muniment serve` on a folder; `start` returns when it answers.

    `settings` are MUNIMENT_* by their lower-case names; `log` is where its words go (else to our standard error).
    """

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None, log: Path | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self._settings = settings or {}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.client: httpx.Client = httpx.Client()

    def start(self) -> float:
        """Start, and how many seconds it took until the first answer."""
        environ = os.environ | {
            "MUNIMENT_DATA": str(self.folder), "MUNIMENT_PORT": str(self.port), "MUNIMENT_OTLP_GRPC_PORT": "-1",
            "MUNIMENT_SYSLOG_UDP_PORT": "-1", "MUNIMENT_SYSLOG_TCP_PORT": "-1",
        }  # fmt: skip
        environ |= {f"MUNIMENT_{name.upper()}": str(value) for name, value in self._settings.items()}
        began = time.perf_counter()
        with open(self._log or os.devnull, "ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "muniment", "serve"],
                env=environ,
                stdout=words,
                stderr=words if self._log else None,
            )
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}")
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.02)
        took = time.perf_counter() - began
        deadline = time.monotonic() + 10
        while not (self.folder / "cli.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        found = json.loads((self.folder / "cli.json").read_text())
        self.client = httpx.Client(
            base_url=found["url"], headers={"Authorization": f"Bearer {found['key']}"}, timeout=600, trust_env=False
        )
        return took

    def stop(self) -> None:
        """SIGTERM, and wait; nothing when it was stopped already."""
        assert self._process is not None
        self.client.close()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(120)

    def kill(self) -> None:
        """SIGKILL: what a power cut looks like to the process."""
        assert self._process is not None
        self.client.close()
        self._process.kill()
        self._process.wait(30)

    def key_for(self, source: str, privacy: str) -> str:
        """A new source and its key."""
        body = {"id": source, "format": "muniment", "privacy": privacy}
        response = self.client.post("/api/v1/sources", json=body)
        response.raise_for_status()
        return str(response.json()["key"])

    def get(self, path: str, **params: object) -> Any:
        """The JSON of an API read."""
        response = self.client.get(path, params={k: str(v) for k, v in params.items()})
        response.raise_for_status()
        return response.json()

    def wait_until_visible(self) -> None:
        """Until the store has caught up with the ledger."""
        while self.get("/api/v1/status")["store"]["pending"]:
            time.sleep(0.05)

    def children_of(self, module: str = "") -> list[int]:
        """Processes the server started; only those that run `module`."""
        assert self._process is not None
        pid = self._process.pid
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(each) for path in tasks for each in path.read_text().split()]
        return [each for each in children if module in Path(f"/proc/{each}/cmdline").read_text()]

    def resident_mib(self) -> float:
        """Resident memory of the server process and its workers."""
        assert self._process is not None
        pids = (self._process.pid, *self.children_of())
        pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def disk_bytes(self) -> dict[str, int]:
        """Bytes allocated on disk by ledger and store."""
        found = {}
        for part in ("ledger", "store", "head", "keys"):
            files = (self.folder / part).rglob("*")
            found[part] = sum(path.stat().st_blocks * 512 for path in files if path.is_file())
        return found

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


async def post_all(
    port: int, key: str, bodies: Sequence[bytes], connections: int = 4, per_second: float | None = None
) -> list[float]:
    """POST every body to /v1/events over a few kept connections, at `per_second` bodies in all or as fast as answers come.

    Seconds each took to be acknowledged. Nobody waits for another one's answer, so a slow one does not lower the rate
    as long as a connection is free.
    """
    queue = iter(enumerate(bodies))
    took: list[float] = []
    start = time.perf_counter()

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        for number, body in queue:
            if per_second is not None:
                await asyncio.sleep(max(0.0, start + number / per_second - time.perf_counter()))
            began = time.perf_counter()
            await _post(reader, writer, key, body)
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    return took


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, body: bytes) -> bytes:
    writer.write(
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\n"
        b"Content-Length: %d\r\n\r\n" % (key.encode(), len(body))
    )
    writer.write(body)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    answer = await reader.readexactly(length)
    status = int(head.split(b" ", 2)[1])
    if status in {429, 503}:
        await asyncio.sleep(0.2)
        return await _post(reader, writer, key, body)
    if status not in {200, 202}:
        raise RuntimeError(f"{status}: {answer[:300]!r}")
    return answer
