"""The syslog doors with real sockets: sources, back-pressure, limits, loss, and the end of a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from tests.ingest.syslog_harness import Authority, Ledger, serving, until

from muniment import limits
from muniment.errors import ConfigError, StorageError
from muniment.ingest.syslog import ListenerSettings, SyslogServer
from muniment.ingest.syslog_origin import SourceMap, certificate_names


async def connect(port: int, tls: ssl.SSLContext | None = None) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None)
    return writer


def counted(text: str) -> bytes:
    return b"%d %s" % (len(text.encode()), text.encode())


TCP = ListenerSettings("tcp", "net")
UDP = ListenerSettings("udp", "net")


async def test_both_framings_arrive_with_what_the_connection_knows() -> None:
    ledger = Ledger()
    async with serving(ledger, TCP) as server:
        writer = await connect(server.ports()["tcp"])
        writer.write(counted("<13>one") + b"<13>two\n")
        await until(lambda: len(ledger.messages) == 2)
        writer.close()
    assert ledger.messages == ["one", "two"]
    assert [record["framing"] for record in ledger.records] == ["octet", "lf"]
    assert {(r["transport"], r["peer"]) for r in ledger.records} == {("tcp", "127.0.0.1")}
    assert ledger.arrivals[0].peer == "127.0.0.1"
    assert server.counters.messages == 2
    assert server.counters.held_bytes == server.counters.connections == 0


async def test_a_busy_pipeline_gets_everything_later_and_nothing_twice() -> None:
    ledger = Ledger()
    ledger.busy_times = 3
    async with serving(ledger, TCP, UDP) as server:
        writer = await connect(server.ports()["tcp"])
        writer.write(b"".join(counted(f"<13>{k}") for k in range(5_000)))
        await until(lambda: len(ledger.messages) == 5_000)
        writer.close()
    assert ledger.messages == [str(k) for k in range(5_000)]
    assert ledger.losses == []
    assert server.counters.busy == 3


async def test_a_pipeline_that_stands_still_slows_the_sender() -> None:
    """What is read stays bounded; the sender's write blocks; when the pipeline moves, all arrives."""
    ledger = Ledger()
    ledger.is_open.clear()
    line = "<13>" + "x" * 1_000
    async with serving(ledger, TCP) as server:
        writer = await connect(server.ports()["tcp"])
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(40_000):
                writer.write(line.encode() + b"\n")
                await writer.drain()
                sent += 1

        sending = asyncio.create_task(send())
        await until(lambda: server.counters.held_bytes > limits.SYSLOG_READ_BYTES_MAX)
        last = -1
        while sent != last:
            last = sent
            await asyncio.sleep(0.1)
        assert sent < 40_000
        assert server.counters.held_bytes < 2 * limits.SYSLOG_READ_BYTES_MAX
        ledger.is_open.set()
        await sending
        await until(lambda: sum(len(arrival.records) for arrival in ledger.arrivals) == 40_000, 30)
        writer.close()
    assert ledger.losses == []


async def test_a_storage_error_closes_the_connection_and_tells_the_loss() -> None:
    ledger = Ledger()
    ledger.error = StorageError("no space", is_full=True)
    async with serving(ledger, TCP) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports()["tcp"])
        writer.write(b"<13>a\n<13>b\n")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await until(lambda: ledger.losses)
    assert ledger.losses == [("net", 2)]
    assert "no space" in ledger.refusals[0][1]


async def test_a_frame_above_the_limit_is_kept_in_pieces() -> None:
    ledger = Ledger()
    message = "<13>" + "y" * (2 * limits.SYSLOG_MESSAGE_BYTES_MAX)
    async with serving(ledger, TCP) as server:
        writer = await connect(server.ports()["tcp"])
        writer.write(counted(message) + counted("<13>after"))
        await until(lambda: "after" in ledger.messages)
        writer.close()
    pieces = [record for record in ledger.records if "$quarantine" in record]
    assert "".join(piece["$raw"] for piece in pieces) == message
    assert {piece["$quarantine"]["reason"] for piece in pieces} == {"frame_too_large"}
    assert server.counters.quarantined == len(pieces) == 3


async def test_a_frame_begun_and_never_ended_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYSLOG_PARTIAL_IDLE_S", 0.05)
    ledger = Ledger()
    async with serving(ledger, TCP) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports()["tcp"])
        writer.write(b"50 <13>half")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert ledger.records[0]["$quarantine"]["reason"] == "frame_incomplete"
    assert ledger.refusals == [("127.0.0.1", "a frame was begun and not ended")]


async def test_one_address_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYSLOG_CONNECTIONS_PER_PEER_MAX", 2)
    ledger = Ledger()
    async with serving(ledger, TCP) as server:
        port = server.ports()["tcp"]
        first, second = await connect(port), await connect(port)
        await until(lambda: server.counters.connections == 2)
        reader, third = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        assert ledger.refusals == [("127.0.0.1", "too many connections from this address")]
        first.close()
        await until(lambda: server.counters.connections == 1)
        fourth = await connect(port)
        await until(lambda: server.counters.connections == 2)
        for writer in (second, third, fourth):
            writer.close()


async def test_stopping_hands_over_what_senders_wrote_before_they_noticed() -> None:
    ledger = Ledger()
    async with serving(ledger, TCP) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports()["tcp"])
        writer.write(b"".join(counted(f"<13>{k}") for k in range(20_000)))
        stopping = asyncio.create_task(server.stop(deadline_s=5))
        assert await reader.read() == b""  # our end of stream: a sender stops here
        await writer.drain()
        writer.close()
        await stopping
    assert ledger.messages == [str(k) for k in range(20_000)]
    assert ledger.losses == []


async def test_what_the_end_of_the_server_gives_up_is_told() -> None:
    ledger = Ledger()
    ledger.is_open.clear()
    async with serving(ledger, TCP) as server:
        writer = await connect(server.ports()["tcp"])
        writer.write(b"<13>a\n<13>b\n")
        await until(lambda: server.counters.messages == 2)
        await server.stop(deadline_s=0.1)
        writer.close()
    assert ledger.losses == [("net", 2)]


# --- UDP ---


async def test_each_datagram_is_one_message() -> None:
    ledger = Ledger()
    async with serving(ledger, UDP) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for text in (b"<13>one", b"<13>two\n", b"5 <13>x", b"\x00\xff"):
                sender.sendto(text, ("127.0.0.1", server.ports()["udp"]))
        await until(lambda: len(ledger.records) == 4)
    assert ledger.messages[:2] == ["one", "two"]
    assert {record["transport"] for record in ledger.records} == {"udp"}
    assert "framing" not in ledger.records[0]
    assert ledger.records[3]["$quarantine"]["reason"] == "not_text"


async def test_datagrams_the_kernel_dropped_are_told_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYSLOG_UDP_RCVBUF_BYTES", 4_096)
    monkeypatch.setattr(limits, "SYSLOG_UDP_READ_BYTES_MAX", 10_000)
    ledger = Ledger()
    ledger.is_open.clear()
    async with serving(ledger, UDP) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for k in range(2_000):
                sender.sendto(b"<13>%d " % k + b"x" * 500, ("127.0.0.1", server.ports()["udp"]))
                if k % 10 == 0:
                    await asyncio.sleep(0)
        ledger.is_open.set()
        await until(lambda: len(ledger.records) + sum(n for _, n in ledger.losses) >= 2_000)
    lost = sum(count for _, count in ledger.losses)
    assert lost > 0
    assert len(ledger.records) + lost == 2_000
    assert {source for source, _ in ledger.losses} == {"net"}
    assert server.counters.lost == lost


async def test_udp_goes_on_after_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYSLOG_STORAGE_WAIT_S", 0.05)
    ledger = Ledger()
    ledger.error = StorageError("no space")
    async with serving(ledger, UDP) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"<13>lost", ("127.0.0.1", server.ports()["udp"]))
            await until(lambda: ledger.losses)
            ledger.error = None
            sender.sendto(b"<13>kept", ("127.0.0.1", server.ports()["udp"]))
            await until(lambda: ledger.messages)
    assert ledger.losses == [("net", 1)]
    assert ledger.messages == ["kept"]


# --- sources and certificates ---


def test_the_source_comes_from_the_narrowest_network_else_the_listener() -> None:
    sources = SourceMap(
        ListenerSettings("udp", "other", networks={"10.0.0.0/8": "corp", "10.1.0.0/16": "lab", "fe80::/10": "link"})
    )
    assert [sources.source_of(a) for a in ("10.1.2.3", "10.2.0.1", "::ffff:10.1.0.9", "fe80::1%eth0", "192.0.2.1")] == [
        "lab", "corp", "lab", "link", "other",
    ]  # fmt: skip


def test_a_listener_without_a_source_or_with_a_bad_network_does_not_start() -> None:
    with pytest.raises(ConfigError, match="needs a source"):
        SourceMap(ListenerSettings("udp", ""))
    with pytest.raises(ConfigError, match="networks"):
        SourceMap(ListenerSettings("udp", "x", networks={"10.0.0.0/99": "y"}))


async def test_the_client_certificate_decides_the_source(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server_pem, _ = authority.issue("localhost")
    anna_pem, anna_der = authority.issue("anna")
    bert_pem, bert_der = authority.issue("bert")
    carl_pem, _ = authority.issue("carl")
    listener = ListenerSettings(
        "tls", "unknown", tls_cert=str(server_pem), tls_client_ca=str(authority.path),
        certificates={certificate_names(anna_der)[0].upper().replace("SHA256", "sha256"): "anna-host",
                      certificate_names(bert_der)[1]: "bert-host"},
    )  # fmt: skip
    ledger = Ledger()
    async with serving(ledger, listener) as server:
        for count, pem in enumerate((anna_pem, bert_pem, carl_pem, None), 1):
            tls = ssl.create_default_context(cafile=str(authority.path))
            if pem is not None:
                tls.load_cert_chain(pem)
            writer = await connect(server.ports()["tls"], tls)
            writer.write(counted(f"<13>{pem.stem if pem else 'nobody'}"))
            await writer.drain()
            await until(lambda count=count: len(ledger.arrivals) == count)  # type: ignore[misc]
            writer.close()
    by_message = {json.loads(a.records[0])["syslog"]["message"]: a.source for a in ledger.arrivals}
    assert by_message == {"anna": "anna-host", "bert": "bert-host", "carl": "unknown", "nobody": "unknown"}
    subjects = [record.get("tls_subject") for record in ledger.records]
    assert subjects == ["CN=anna,O=Acme", "CN=bert,O=Acme", "CN=carl,O=Acme", None]


async def test_a_required_certificate_is_required_and_old_tls_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server_pem, _ = authority.issue("localhost")
    listener = ListenerSettings(
        "tls", "x", tls_cert=str(server_pem), tls_client_ca=str(authority.path), is_certificate_required=True
    )
    ledger = Ledger()
    async with serving(ledger, listener) as server:
        for version in (None, ssl.TLSVersion.TLSv1_1):
            tls = ssl.create_default_context(cafile=str(authority.path))
            if version is not None:
                tls.set_ciphers("DEFAULT:@SECLEVEL=0")
                tls.minimum_version = tls.maximum_version = version
            with contextlib.suppress(OSError, ssl.SSLError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", server.ports()["tls"], ssl=tls, server_hostname="localhost"
                )
                writer.write(counted("<13>secret"))
                await asyncio.wait_for(reader.read(), 5)
                writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports()["tls"])
        writer.write(b"<13>plain text on a TLS port\n")
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await until(lambda: len(ledger.refusals) == 3)
    assert ledger.arrivals == []
    assert all(reason.startswith("handshake: ") for _, reason in ledger.refusals)


def test_tls_without_a_usable_certificate_does_not_start() -> None:
    with pytest.raises(ConfigError, match="tls_cert"):
        SyslogServer(
            [ListenerSettings("tls", "x", tls_cert="/nonexistent.pem")], Ledger.submit,  # type: ignore[arg-type]
            clock_ns=time.time_ns, on_loss=print, on_refused=print,
        )  # fmt: skip
