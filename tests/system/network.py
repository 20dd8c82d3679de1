"""A network of its own for attackers and for whoever refuses them: nothing of it reaches this machine's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["ATTACKER", "BYSTANDER", "PATH", "SERVER", "Namespace", "daemon", "network"]

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
ATTACKER, BYSTANDER, SERVER = "203.0.113.66", "203.0.113.9", "203.0.113.1"


class Namespace:
    """A network of its own with three addresses on its loopback."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "900"])
        time.sleep(0.2)
        self._enter = ["nsenter", "-t", str(self._holder.pid), "-n"]
        self.run("ip", "link", "set", "lo", "up")
        for address in (ATTACKER, BYSTANDER, SERVER):
            self.run("ip", "addr", "add", f"{address}/32", "dev", "lo")

    def run(self, *command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command in it."""
        environment = {**os.environ, "PATH": PATH, **more.pop("env", {})}
        return subprocess.run(
            [*self._enter, *command], check=check, capture_output=True, text=True, timeout=60, env=environment, **more
        )

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A daemon in it."""
        return subprocess.Popen([*self._enter, *command], env={**os.environ, "PATH": PATH})

    def get(self, address: str) -> str:
        """What nginx answers to a client with this address; "000" while nobody listens."""
        url = f"http://{SERVER}:8099/"
        curl = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "--interface", address, url)
        return self.run(*curl, check=False).stdout

    def close(self) -> None:
        self._holder.terminate()
        self._holder.wait(10)


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("network namespaces are not allowed here")
    found = Namespace()
    yield found
    found.close()


@contextlib.contextmanager
def daemon(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
