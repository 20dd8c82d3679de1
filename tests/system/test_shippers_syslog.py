"""Real syslog senders, unmodified, against the real doors: nothing numbered is missing.

What plain TCP and TLS syslog cannot promise: there is no acknowledgement, so when our process dies (not: is stopped),
what lies in the two kernels' buffers at that moment is gone unless the sender resends it. A stopped server first ends
its sending side; rsyslog looks for that before each write and syslog-ng at once, and both keep what they have not sent.
Duplicates may happen where a sender resends a batch it had half written. rsyslog 8.2302 with its `ossl`
driver was seen to lose messages over a restart of the server, in one run of fifty; with `gtls` and without TLS it did
not. Its imfile polls here: in inotify mode it now and then slept through a write on a busy machine, until the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import logging.handlers
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.ingest.syslog_harness import Authority, Ledger, serving, until

from muniment import limits
from muniment.ingest.syslog import ListenerSettings

RSYSLOGD = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin")
RSYSLOG_MODULES = Path("/usr/lib/x86_64-linux-gnu/rsyslog")
LOGGER = shutil.which("logger")
SYSLOG_NG = Path(__file__).parents[2] / ".cache" / "syslog-ng" / "root"

needs_rsyslog = pytest.mark.skipif(RSYSLOGD is None, reason="no rsyslogd: apt-get install rsyslog")
needs_logger = pytest.mark.skipif(LOGGER is None, reason="no logger: apt-get install bsdutils")
needs_syslog_ng = pytest.mark.skipif(
    not (SYSLOG_NG / "usr/sbin/syslog-ng").exists(), reason="no syslog-ng: sh tests/system/get_syslog_ng.sh"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def running(folder: Path, *command: str, environment: dict[str, str] | None = None) -> AsyncIterator[None]:
    """A daemon in the foreground; its words are kept in the folder and shown when the test fails."""
    with (folder / "daemon.out").open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=words, stderr=words, cwd=folder, env={**os.environ, **(environment or {})}
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
            print((folder / "daemon.out").read_text("utf-8", "replace")[-4_000:])


def numbered(ledger: Ledger) -> Counter[int]:
    """How often each numbered message has arrived."""
    return Counter(int(message.rpartition("n=")[2]) for message in ledger.messages if "n=" in message)


def write_lines(path: Path, start: int, stop: int) -> None:
    with path.open("a") as file:
        file.writelines(f"user anna deleted document n={k}\n" for k in range(start, stop))


def rsyslog_config(folder: Path, port: int, *, action: str = "", settings: str = "") -> Path:
    (folder / "work").mkdir()
    (folder / "input.log").touch()
    path = folder / "rsyslog.conf"
    path.write_text(f"""
global(workDirectory="{folder}/work" {settings})
module(load="imfile" mode="polling" pollingInterval="1")
input(type="imfile" file="{folder}/input.log" tag="shop:" severity="info" facility="local3")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" name="out"
       queue.type="LinkedList" queue.filename="out" queue.size="2000" queue.highWatermark="1000"
       queue.lowWatermark="200" queue.maxDiskSpace="64m" queue.saveOnShutdown="on"
       action.resumeRetryCount="-1" action.resumeInterval="1" {action})
""")
    return path


def run_rsyslog(folder: Path, config: Path) -> contextlib.AbstractAsyncContextManager[None]:
    assert RSYSLOGD is not None
    return running(folder, RSYSLOGD, "-n", "-f", str(config), "-i", str(folder / "rsyslog.pid"))


@needs_rsyslog
@pytest.mark.parametrize("framing", ["octet-counted", "traditional"])
@pytest.mark.parametrize(
    ("template", "version"),
    [
        ("RSYSLOG_SyslogProtocol23Format", 1),
        ("RSYSLOG_TraditionalForwardFormat", None),
        ("RSYSLOG_ForwardFormat", None),
    ],
)
async def test_rsyslog_over_tcp(tmp_path: Path, framing: str, template: str, version: int | None) -> None:
    ledger = Ledger()
    async with serving(ledger, ListenerSettings("tcp", "shop")) as server:
        config = rsyslog_config(
            tmp_path, server.ports()["tcp"], action=f'TCP_Framing="{framing}" template="{template}"'
        )
        async with run_rsyslog(tmp_path, config):
            write_lines(tmp_path / "input.log", 0, 500)
            await until(lambda: len(numbered(ledger)) == 500, 20)
    assert numbered(ledger) == Counter(range(500))
    record = next(record for record in ledger.records if record["syslog"]["app"] == "shop")
    fields = record["syslog"]
    assert (fields["facility"], fields["severity"], fields["version"]) == ("local3", "info", version)
    assert fields["hostname"]
    assert fields["timestamp"]
    assert "deviations" not in fields
    assert record["framing"] == ("octet" if framing == "octet-counted" else "lf")
    assert not [record for record in ledger.records if "$quarantine" in record]


@needs_rsyslog
async def test_rsyslog_disk_queue_and_a_server_restarted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while messages flow, down while more are written, started again: all there, in the end."""
    monkeypatch.setattr(limits, "SYSLOG_DRAIN_S", 4.0)  # a busy machine's sender hears late that we stop
    ledger = Ledger()
    port = free_port()
    listener = ListenerSettings("tcp", "shop", port=port)
    config = rsyslog_config(tmp_path, port, action='TCP_Framing="octet-counted"')
    async with run_rsyslog(tmp_path, config):
        for turn in range(3):
            async with serving(ledger, listener):
                write_lines(tmp_path / "input.log", turn * 6_000, turn * 6_000 + 4_000)
                await until(lambda turn=turn: len(numbered(ledger)) > turn * 6_000 + 500, 30)  # type: ignore[misc]
            write_lines(tmp_path / "input.log", turn * 6_000 + 4_000, (turn + 1) * 6_000)
        async with serving(ledger, listener):
            await until(lambda: len(numbered(ledger)) == 18_000, 30)
    assert set(numbered(ledger)) == set(range(18_000))
    assert ledger.losses == []


@needs_rsyslog
@pytest.mark.parametrize("driver", ["gtls", "ossl"])
async def test_rsyslog_over_tls_with_a_client_certificate(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SYSLOG_DRAIN_S", 4.0)  # a busy machine's sender hears late that we stop
    if not (RSYSLOG_MODULES / f"lmnsd_{driver}.so").exists():
        pytest.skip(f"no TLS driver {driver}: apt-get install rsyslog-gnutls rsyslog-openssl")
    authority = Authority(tmp_path)
    server_pem, _ = authority.issue("localhost")
    client_pem, _ = authority.issue("shop-host")
    ledger = Ledger()
    port = free_port()
    listener = ListenerSettings(
        "tls", "unknown", port=port, tls_cert=str(server_pem), tls_client_ca=str(authority.path),
        is_certificate_required=True, certificates={"CN=shop-host,O=Acme": "shop"},
    )  # fmt: skip
    config = rsyslog_config(
        tmp_path, port,
        settings=f'DefaultNetstreamDriver="{driver}" DefaultNetstreamDriverCAFile="{authority.path}" '
                 f'DefaultNetstreamDriverCertFile="{client_pem}" DefaultNetstreamDriverKeyFile="{client_pem}"',
        action=f'TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format" StreamDriver="{driver}" '
               'StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost"',
    )  # fmt: skip
    async with run_rsyslog(tmp_path, config):
        async with serving(ledger, listener):
            write_lines(tmp_path / "input.log", 0, 2_000)
            await until(lambda: len(numbered(ledger)) > 200, 60)
            if driver == "ossl":  # see the module's docstring: no restart promise with this driver
                write_lines(tmp_path / "input.log", 2_000, 3_000)
                await until(lambda: len(numbered(ledger)) == 3_000, 60)
        if driver == "gtls":
            write_lines(tmp_path / "input.log", 2_000, 3_000)
            async with serving(ledger, listener):
                await until(lambda: len(numbered(ledger)) == 3_000, 60)
    assert set(numbered(ledger)) == set(range(3_000))
    assert ledger.sources == {"shop"}
    assert {record["tls_subject"] for record in ledger.records} == {"CN=shop-host,O=Acme"}
    assert {record["transport"] for record in ledger.records} == {"tls"}


def run_syslog_ng(folder: Path, destination: str) -> contextlib.AbstractAsyncContextManager[None]:
    (folder / "input.log").touch()
    (folder / "queue").mkdir()
    (folder / "syslog-ng.conf").write_text(f"""@version: 3.38
options {{ use-dns(no); stats-freq(0); time-reopen(1); keep-hostname(yes); }};
source files {{ file("{folder}/input.log" program-override("shop") default-facility(local3) default-priority(info)
                flags(no-parse) follow-freq(0.1)); }};
destination muniment {{ {destination} }};
log {{ source(files); destination(muniment); flags(flow-control); }};
""")
    root = str(SYSLOG_NG)
    return running(
        folder, f"{root}/usr/sbin/syslog-ng", "-F", "--no-caps", "-e", f"--module-path={root}/usr/lib/syslog-ng/3.38",
        "-f", str(folder / "syslog-ng.conf"), "-R", str(folder / "persist"), "-p", str(folder / "pid"),
        "-c", str(folder / "control"),
        environment={
            "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu:{root}/usr/lib/syslog-ng"
        },
    )  # fmt: skip


@needs_syslog_ng
@pytest.mark.parametrize(
    ("destination", "framing", "version"),
    [('syslog("127.0.0.1" port({}) transport("tcp"));', "octet", 1), ('network("127.0.0.1" port({}));', "lf", None)],
)
async def test_syslog_ng_over_tcp(tmp_path: Path, destination: str, framing: str, version: int | None) -> None:
    ledger = Ledger()
    async with (
        serving(ledger, ListenerSettings("tcp", "shop")) as server,
        run_syslog_ng(tmp_path, destination.format(server.ports()["tcp"])),
    ):
        write_lines(tmp_path / "input.log", 0, 500)
        await until(lambda: len(numbered(ledger)) == 500, 20)
    assert numbered(ledger) == Counter(range(500))
    record = ledger.records[0]
    fields = record["syslog"]
    assert (fields["app"], fields["facility"], fields["version"]) == ("shop", "local3", version)
    assert (record["framing"], fields.get("deviations")) == (framing, None)


@needs_syslog_ng
async def test_syslog_ng_over_tls_with_a_disk_buffer_and_a_restarted_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server_pem, _ = authority.issue("localhost")
    client_pem, _ = authority.issue("shop-host")
    ledger = Ledger()
    port = free_port()
    listener = ListenerSettings(
        "tls", "unknown", port=port, tls_cert=str(server_pem), tls_client_ca=str(authority.path),
        certificates={"CN=shop-host,O=Acme": "shop"},
    )  # fmt: skip
    destination = f"""syslog("localhost" ip-protocol(4) port({port}) transport("tls")
        tls(ca-file("{authority.path}") cert-file("{client_pem}") key-file("{client_pem}"))
        disk-buffer(reliable(yes) disk-buf-size(67108864) mem-buf-size(1048576) dir("{tmp_path}/queue")));"""
    async with run_syslog_ng(tmp_path, destination):
        for turn in range(2):
            async with serving(ledger, listener):
                write_lines(tmp_path / "input.log", turn * 3_000, turn * 3_000 + 2_000)
                await until(lambda turn=turn: len(numbered(ledger)) > turn * 3_000 + 300, 30)  # type: ignore[misc]
            write_lines(tmp_path / "input.log", turn * 3_000 + 2_000, (turn + 1) * 3_000)
        async with serving(ledger, listener):
            await until(lambda: len(numbered(ledger)) == 6_000, 30)
    assert set(numbered(ledger)) == set(range(6_000))
    assert ledger.sources == {"shop"}
    assert {record["framing"] for record in ledger.records} == {"octet"}


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


@pytest.mark.parametrize(
    ("transport", "kind"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)], ids=["udp", "tcp"]
)
async def test_python_syslog_handler(transport: str, kind: socket.SocketKind) -> None:
    """Python's own handler ends messages with NUL on TCP, and a traceback stays one message."""
    ledger = Ledger()
    listener = ListenerSettings("udp" if transport == "udp" else "tcp", "app")

    def log(port: int) -> None:
        handler = logging.handlers.SysLogHandler(("127.0.0.1", port), socktype=kind, facility="local1")
        handler.ident = "billing: "
        record = logging.LogRecord("x", logging.WARNING, __file__, 1, "refund n=%d", (0,), None)
        for number in range(50):
            record.args = (number,)
            handler.emit(record)
        record.msg, record.args = "Traceback:\n  line n=50", ()
        handler.emit(record)
        handler.close()

    async with serving(ledger, listener) as server:
        await in_thread(functools.partial(log, server.ports()[transport]))
        await until(lambda: len(ledger.records) == 51)
    assert numbered(ledger) == Counter(range(51))
    fields = ledger.records[50]["syslog"]
    assert (fields["facility"], fields["severity"], fields["app"]) == ("local1", "warning", "billing")
    assert fields["message"] == "Traceback:\n  line n=50"


@needs_logger
@pytest.mark.parametrize("options", [["-d"], ["-T"], ["-T", "--octet-count"]], ids=" ".join)
@pytest.mark.parametrize("form", ["--rfc5424", "--rfc3164"])
async def test_logger_of_util_linux(options: list[str], form: str) -> None:
    ledger = Ledger()
    transport = "udp" if "-d" in options else "tcp"
    async with serving(ledger, ListenerSettings("udp" if transport == "udp" else "tcp", "ops")) as server:
        command = [str(LOGGER), "-n", "127.0.0.1", "-P", str(server.ports()[transport]), *options, form]
        command += ["-p", "auth.notice", "-t", "backup", "-i"]
        if form == "--rfc5424":
            command += ["--msgid", "RESTORE", "--sd-id", "op@32473", "--sd-param", 'by="anna"']
        await in_thread(functools.partial(subprocess.run, [*command, "restored n=7"], check=True))
        await until(lambda: ledger.records)
    fields = ledger.records[0]["syslog"]
    assert (fields["facility"], fields["severity"], fields["app"]) == ("auth", "notice", "backup")
    assert fields["message"] == "restored n=7"
    assert fields["procid"].isdigit()
    assert "deviations" not in fields
    if form == "--rfc5424":
        assert fields["msgid"] == "RESTORE"
        assert fields["sd"]["op@32473"] == {"by": "anna"}
