"""Our notices in the hands of an unmodified rsyslog: every part of the message arrives as what it is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal

import pytest

from muniment.respond.channels.syslog import Syslog
from muniment.respond.notice import DeliveryError, Notice, new_notice

RSYSLOGD = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin")
NOW = 1_700_000_000_123_456_789

pytestmark = pytest.mark.skipif(RSYSLOGD is None, reason="no rsyslogd: apt-get install rsyslog")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def notice(id: str) -> Notice:
    return new_notice(
        id, 'Zoë said "x]y\\z"', "critical", "okta", NOW, lines=["<13>1 - - - - - forged"], fields={"actor": 'a"]b\\'}
    )


def wait_for(folder: Path, n_lines: int) -> list[str]:
    deadline = time.monotonic() + 60
    while True:
        got = (folder / "got").read_text("utf-8").splitlines() if (folder / "got").exists() else []
        if len(got) >= n_lines:
            return got
        assert time.monotonic() < deadline, f"expected {n_lines} lines, got {got}"
        time.sleep(0.05)


def deliver(channel: Syslog, id: str) -> None:
    """Once the daemon listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            channel.deliver(notice(id), NOW)
        except DeliveryError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_rsyslog_reads_every_part(tmp_path: Path) -> None:
    assert RSYSLOGD is not None
    port = free_port()
    config = tmp_path / "rsyslog.conf"
    config.write_text(f"""
global(workDirectory="{tmp_path}" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp") module(load="imudp")
input(type="imtcp" port="{port}" address="127.0.0.1") input(type="imudp" port="{port}" address="127.0.0.1")
template(name="parts" type="string"
  string="%protocol-version%|%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n")
action(type="omfile" file="{tmp_path}/got" template="parts")
""")
    command = [RSYSLOGD, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with (tmp_path / "words").open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words)
        try:
            expected = []
            transports: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
            for transport in transports:
                deliver(Syslog("127.0.0.1", port, transport=transport, hostname="h"), transport)
                expected.append(
                    "1|106|2023-11-14T22:13:20.123456Z|h|muniment|critical"
                    f'|[muniment@32473 id="{transport}" severity="critical" rule="okta"'
                    ' occurred="2023-11-14T22:13:20.123456Z" actor="a\\"\\]b\\\\"]'
                    '|\ufeffZoë said "x]y\\z" <13>1 - - - - - forged'
                )
                assert wait_for(tmp_path, len(expected)) == expected
        finally:
            process.terminate()
            process.wait(20)
