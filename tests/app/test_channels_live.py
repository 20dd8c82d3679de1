"""`muniment notices test` against every kind of receiver there is, with the server's own settings: what arrives, what refuses."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import queue
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.ingest.syslog_harness import Authority
from tests.live import LiveServer
from tests.respond.servers import Hooks, Mailbox, hooks, mailbox, stream_sink


@dataclass
class Receivers:
    """Everybody who is told."""

    mail: Mailbox
    people: Hooks
    safe: Hooks
    tcp: queue.Queue[bytes]
    tls: queue.Queue[bytes]
    udp: socket.socket


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("channels")


@pytest.fixture(scope="module")
def receivers(folder: Path) -> Iterator[tuple[Receivers, str, Path]]:
    authority = Authority(folder)
    certificate, _ = authority.issue("receiver")
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(mailbox(certificate))
        people, safe = stack.enter_context(hooks()), stack.enter_context(hooks(certificate))
        tcp_port, tcp = stack.enter_context(stream_sink())
        tls_port, tls = stack.enter_context(stream_sink(certificate))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(10)
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        (folder / "password").write_text("pa ss\n")
        (folder / "people.url").write_text(people.url("/services/T0/SECRETPATH", host="127.0.0.1"))
        (folder / "teams.url").write_text(safe.url("/workflows/SECRETPATH", scheme="https"))
        text = f"""
            allow = ["127.0.0.0/8", "::1"]
            [channels.duty]
            kind = "mail"
            host = "localhost"
            port = {box.port}
            sender = "muniment@example.com"
            recipients = ["duty@example.com"]
            user = "muniment"
            password_file = "{folder}/password"
            [channels.soc]
            kind = "slack"
            url_file = "{folder}/people.url"
            [channels.team]
            kind = "teams"
            url_file = "{folder}/teams.url"
        """
        for name, port, transport, format in (
            ("datagrams", udp.getsockname()[1], "udp", "cef"), ("stream", tcp_port, "tcp", "cef"),
            ("siem", tls_port, "tls", "cef"), ("plain", tls_port, "tls", "rfc5424"),
            ("nobody", closed.getsockname()[1], "tcp", "cef"), ("no_tls", tcp_port, "tls", "cef"),
        ):  # fmt: skip
            text += f"""
            [channels.{name}]
            kind = "syslog"
            host = "localhost"
            port = {port}
            transport = "{transport}"
            format = "{format}"
            hostname = "log1"
            """
        yield Receivers(box, people, safe, tcp, tls, udp), text, authority.path


@pytest.fixture(scope="module")
def server(folder: Path, receivers: tuple[Receivers, str, Path]) -> Iterator[LiveServer]:
    _, text, authority = receivers
    (folder / "notify.toml").write_text(text)
    found = LiveServer(folder)
    found._settings = {**found._settings, "notify": str(folder / "notify.toml")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        found.start()
    yield found
    found.stop()
    words = found.log.read_text("utf-8", "replace")
    assert "Traceback" not in words
    assert "SECRETPATH" not in words


def _tested(server: LiveServer, channel: str) -> tuple[bool, str]:
    env = os.environ | {"MUNIMENT_DATA": str(server.folder), "COLUMNS": "200"}
    command = [sys.executable, "-m", "muniment", "notices", "test", channel, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode == 0) == (answer["state"] == "delivered"), done
    return done.returncode == 0, answer["remark"]


def test_mail_goes_by_a_real_relay_with_starttls_and_login(
    server: LiveServer, receivers: tuple[Receivers, str, Path]
) -> None:
    box = receivers[0].mail
    assert _tested(server, "duty") == (True, "")
    message = email.message_from_bytes(box.messages[-1], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert (message["Subject"], message["To"]) == ("[critical] Test of this channel", "duty@example.com")
    assert "There is no alert. Nothing has to be done." in message.get_content()
    assert box.is_tls[-1]
    box.refuse = {"rcpt": "550 5.1.1 no such person"}
    is_taken, remark = _tested(server, "duty")
    assert not is_taken
    assert "550 5.1.1 no such person" in remark
    box.refuse = {"AUTH": "535 5.7.8 wrong password"}
    is_taken, remark = _tested(server, "duty")
    assert not is_taken
    assert "535" in remark
    box.refuse = {}


def test_slack_and_teams_get_their_formats(server: LiveServer, receivers: tuple[Receivers, str, Path]) -> None:
    people, safe = receivers[0].people, receivers[0].safe
    people.script.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert _tested(server, "soc") == (True, "")
    slack = json.loads(people.posted[-1].body)
    assert people.posted[-1].headers["content-type"].startswith("application/json")
    assert "Test of this channel" in slack["text"]
    assert {block["type"] for block in slack["blocks"]} <= {"header", "section", "context", "actions", "divider"}
    safe.script.append(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert _tested(server, "team") == (True, "")
    card = json.loads(safe.posted[-1].body)["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert "Test of this channel" in json.dumps(card)
    for channel, receiver, answer in (
        ("soc", people, b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service"),
        ("team", safe, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"),
    ):
        receiver.script.append(answer)
        is_taken, remark = _tested(server, channel)
        assert not is_taken
        assert answer[9:12].decode() in remark
        assert "SECRETPATH" not in remark


def test_cef_arrives_by_each_transport(server: LiveServer, receivers: tuple[Receivers, str, Path]) -> None:
    found = receivers[0]
    is_taken, remark = _tested(server, "datagrams")
    assert (is_taken, remark) == (True, "sent; over UDP nobody says whether it arrived")
    messages = [found.udp.recv(65_536)]
    for name, got in (("stream", found.tcp), ("siem", found.tls)):
        assert _tested(server, name) == (True, "")
        length, _, message = got.get(timeout=10).partition(b" ")
        assert int(length) == len(message)
        messages.append(message)
    for message in messages:
        assert b" CEF:0|Muniment|" in message
        assert re.search(rb"\|Test of this channel\|10\|", message)
        assert message.split(b" ")[2] == b"log1"
    assert _tested(server, "plain") == (True, "")
    assert b"[muniment@" in found.tls.get(timeout=10)


def test_a_receiver_that_is_not_there_or_speaks_no_tls_is_told_at_once(server: LiveServer) -> None:
    is_taken, remark = _tested(server, "nobody")
    assert (is_taken, "refused" in remark.lower()) == (False, True)
    is_taken, remark = _tested(server, "no_tls")
    assert not is_taken
    assert remark.startswith("localhost: ")
