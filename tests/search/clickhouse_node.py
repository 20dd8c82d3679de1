"""A real ClickHouse node for tests, from the npm package `@chdb/lib-linux-x64-gnu` (26.7.3-stable.1); harness only.

The package's library runs clickhouse-local, which can open HTTP and TCP listeners. It runs in a child process of its
own and ends with a query that sleeps, so that it bounds itself. `MUNIMENT_TEST_CLICKHOUSE_LIB` names `libchdb.so`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

_LIFE_S = 120
_CHILD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
arguments = [argument.encode() for argument in ["clickhouse", *sys.argv[2:]]]
array = (ctypes.c_char_p * len(arguments))(*arguments)
library.chdb_query_cmdline(len(arguments), array)
"""


def library() -> Path | None:
    """The library, when there is one."""
    default = Path(__file__).parents[2] / ".cache/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
    path = Path(os.environ.get("MUNIMENT_TEST_CLICKHOUSE_LIB") or default)
    return path if path.is_file() else None


def free_ports(n: int) -> list[int]:
    """Ports nobody listens on now."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass(slots=True)
class ClickHouseNode:
    """One node: its folder, ports, and the process while it runs."""

    folder: Path
    http_port: int
    tcp_port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, shards: list[list[int]]) -> None:
        """Start and wait until it answers; `shards` lists the TCP ports of each shard's replicas."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.xml"
        config.write_text(_config(self.folder, cluster, shards), "utf-8")
        sleep = f"SELECT sleepEachRow(1) FROM numbers({_LIFE_S}) SETTINGS max_block_size = 1, "
        query = (
            "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
            f"{sleep}function_sleep_max_microseconds_per_block = 100000000000 FORMAT Null"
        )
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", _CHILD, str(library()), f"--config-file={config}", f"--path={self.folder}/data",
                "--listen_host=127.0.0.1", f"--http_port={self.http_port}", f"--tcp_port={self.tcp_port}",
                "--query", query,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/ping", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "stderr").read_text("utf-8", "replace")[-2_000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def _config(folder: Path, cluster: str, shards: list[list[int]]) -> str:
    replicas = "".join(
        "<shard><internal_replication>true</internal_replication>"
        + "".join(
            f"<replica><host>127.0.0.1</host><port>{port}</port><user>store</user><password>s3cret</password></replica>"
            for port in ports
        )
        + "</shard>"
        for ports in shards
    )
    (folder / "users.xml").write_text(
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users>"
        + "".join(
            f"<{name}><password>{password}</password><networks><ip>127.0.0.1</ip><ip>::1</ip></networks>"
            f"<profile>default</profile><quota>default</quota></{name}>"
            for name, password in (("default", ""), ("store", "s3cret"))
        )
        + "</users></clickhouse>",
        "utf-8",
    )
    return (
        f"<clickhouse><users_config>{folder}/users.xml</users_config><max_server_memory_usage>700000000"
        f"</max_server_memory_usage><remote_servers><{cluster}>{replicas}</{cluster}></remote_servers></clickhouse>"
    )
