"""The analyst's path, whole and real: sshd is attacked, rsyslog ships, an alert appears, a browser walks from it to a
block in four clicks and to a case in a fifth, and nginx and nftables refuse the address. The attack happens in a network namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within
from tests.system.browser import signed_in
from tests.system.network import ATTACKER, BYSTANDER, PATH, SERVER, Namespace, daemon, network

pytest.importorskip("playwright.sync_api")
TOOLS = {name: shutil.which(name, path=PATH) for name in ("sshd", "ssh", "nginx", "nft", "rsyslogd", "ip")}

missing = [name for name, path in TOOLS.items() if path is None]
pytestmark = pytest.mark.skipif(bool(missing) or os.getuid() != 0, reason=f"needs root and {missing or 'nothing else'}")


@contextlib.contextmanager
def sshd(network: Namespace, folder: Path) -> Iterator[Path]:
    """A real sshd that logs into a file."""
    log = folder / "sshd.log"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    options = (f"ListenAddress={SERVER}:2222", f"HostKey={folder}/host", "UsePAM=no", "PasswordAuthentication=yes",
               "PermitRootLogin=yes", "MaxStartups=50", "PidFile=none", "UseDNS=no", "PerSourceMaxStartups=none")  # fmt: skip
    command = [str(TOOLS["sshd"]), "-D", "-E", str(log), "-f", "/dev/null"]
    for option in options:
        command += ["-o", option]
    with daemon(network.start(*command)):
        within(10, lambda: log.exists() and "listening" in log.read_text(), "sshd does not listen")
        yield log


@contextlib.contextmanager
def rsyslog(folder: Path, log: Path, door: str) -> Iterator[None]:
    """A real rsyslog that ships the file."""
    host, _, port = door.rpartition("//")[2].rpartition(":")
    (folder / "work").mkdir()
    config = folder / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{folder}/work")\nmodule(load="imfile" mode="polling" pollingInterval="1")\n'
        f'input(type="imfile" File="{log}" Tag="sshd" Facility="auth")\n'
        f'action(type="omfwd" target="{host or "127.0.0.1"}" port="{port}" protocol="tcp" TCP_Framing="octet-counted" '
        'template="RSYSLOG_SyslogProtocol23Format")\n'
    )
    with daemon(subprocess.Popen([str(TOOLS["rsyslogd"]), "-n", "-f", str(config), "-i", str(folder / "pid")])):
        yield


def attack(network: Namespace, folder: Path, address: str, rounds: int) -> None:
    """Passwords tried by a real ssh, three a connection."""
    asks = folder / "wrong.sh"
    asks.write_text("#!/bin/sh\necho wrong-password\n")
    asks.chmod(0o755)
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BindAddress=" + address,
               "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=3", "-o", "ConnectTimeout=3")  # fmt: skip
    for number in range(rounds):
        network.run(
            "ssh", *options, "-p", "2222", f"user{number}@{SERVER}", "true", check=False, stdin=subprocess.DEVNULL,
            env={"SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
        )  # fmt: skip


__all__ = ["network"]


@pytest.fixture
def enforcer(live_server: LiveServer) -> Iterator[httpx.Client]:
    client = live_server.reader(role="enforcer")
    yield client
    client.close()


def nginx_config(folder: Path, blocked: Path) -> Path:
    config = folder / "nginx.conf"
    (folder / "www").mkdir(exist_ok=True)
    (folder / "www" / "index.html").write_text("hello")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}} http {{ access_log off; "
        f"{temporary} include {blocked}; server {{ listen {SERVER}:8099; root {folder}/www; }} }}\n"
    )
    return config


def test_from_a_real_brute_force_to_a_refusal_in_four_clicks(
    live_server: LiveServer, network: Namespace, enforcer: httpx.Client, tmp_path: Path
) -> None:
    live_server.client.post("/api/v1/allowed", json={"network": "203.0.113.9/32", "title": "Monitoring"})
    blocked = tmp_path / "blocked.conf"
    blocked.write_bytes(enforcer.get("/feeds/nginx.conf").content)
    with sshd(network, tmp_path) as log, rsyslog(tmp_path, log, live_server.door("syslog-tcp")):
        attack(network, tmp_path, ATTACKER, 5)

        def alert() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = live_server.get("/api/v1/alerts", entity=ATTACKER)["alerts"]
            return found

        uid = within(20, alert, "no alert")[0]["uid"]
        with daemon(network.start(str(TOOLS["nginx"]), "-c", str(nginx_config(tmp_path, blocked)))):
            within(10, lambda: network.get(ATTACKER) == "200", "nginx does not answer")
            walk(live_server, uid)
            block = next(each for each in live_server.get("/api/v1/blocks")["blocks"] if each["value"] == ATTACKER)
            answer = enforcer.get("/feeds/nginx.conf")
            ana = live_server.session("ana", "analyst")
            within(15, lambda: "effect verified" in ana.get(f"/blocks/{block['id']}").text, "no effect is seen")
            assert f"deny {ATTACKER};" in answer.text
            blocked.write_bytes(answer.content)
            network.run(str(TOOLS["nginx"]), "-c", str(tmp_path / "nginx.conf"), "-s", "reload")
            within(10, lambda: network.get(ATTACKER) == "403", "nginx lets the attacker in")
            assert network.get(BYSTANDER) == "200"
        for held in (f'"other", {answer.headers["etag"]}', "*"):
            assert enforcer.get("/feeds/nginx.conf", headers={"If-None-Match": held}).status_code == 304
        case = live_server.get("/api/v1/cases", value=ATTACKER)["cases"][0]

        def told() -> bool:
            lines = live_server.get(f"/api/v1/cases/{case['number']}")["lines"]
            texts = [line["text"] for line in lines]
            return any("failed sign-in" in text for text in texts) and any(
                text.startswith(f"blocked {ATTACKER} for 24 hours") for text in texts
            )

        within(10, told, "the timeline lacks the attack or the block")
        unchanged = enforcer.get("/feeds/nginx.conf", headers={"If-None-Match": answer.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")

        nftables(network, enforcer)
        before = log.read_text().count("Failed password")
        attack(network, tmp_path, ATTACKER, 1)
        assert log.read_text().count("Failed password") == before, "nftables lets the attacker through"
    assert live_server.get(f"/api/v1/blocks/{block['id']}")["attempts_since"] == 0
    wanted = {"block.preview", "block.create", "block.view"}

    def written() -> bool:
        return wanted <= {row["action"] for row in live_server.rows("source:muniment action:block.*", limit=50)}

    within(5, written, "not everything was written down")


def nftables(network: Namespace, enforcer: httpx.Client) -> None:
    """The set of the feed, and a rule of the operator's that uses it."""
    network.run("nft", "-f", "-", input=enforcer.get("/feeds/nftables.nft").text)
    network.run(
        "nft", "-f", "-",
        input="add chain inet muniment input { type filter hook input priority 0; }\n"
        "add rule inet muniment input ip saddr @blocked4 drop\n",
    )  # fmt: skip
    again = network.run("nft", "-f", "-", input=enforcer.get("/feeds/nftables.nft").text)
    assert again.returncode == 0
    assert ATTACKER in network.run("nft", "list", "set", "inet", "muniment", "blocked4").stdout


def walk(server: LiveServer, uid: str) -> None:
    """Alerts, four clicks to a block and one to its case, in a real browser."""
    clicks = 0
    with signed_in(server, "ana", "analyst") as page:
        page.goto(f"{server.url}/alerts")

        def click(what: str) -> None:
            nonlocal clicks
            clicks += 1
            page.click(what)
            page.wait_for_load_state()

        click(f'.alert-card a[href="/alerts/{uid}"]')  # on a card of its own, or among what is "also" open about it
        assert "What it means, what to do" in page.inner_text("main")
        click(f'.lede a:has-text("{ATTACKER}")')
        assert "Not on the allow-list" in page.inner_text("main")
        click("text=Preview block")
        assert "It would have hit nobody" in page.inner_text("main")
        click('button:has-text("Block 24 h")')
        words = page.inner_text("main")
        assert "0 attempts since" in words, words
        assert "nobody who refuses has heard of it yet" in words, "said before anybody could have refused"
        click('button:has-text("Open a case")')
        words = page.inner_text("main")
        assert "Timeline" in words
    assert clicks <= 6


def test_an_allowed_network_cannot_be_blocked_by_accident(live_server: LiveServer) -> None:
    live_server.client.post("/api/v1/allowed", json={"network": "198.51.100.0/24", "title": "Office Berlin"})
    client = live_server.client
    for kind, value in (("address", "198.51.100.7"), ("range", "198.51.0.0/16"), ("address", "::ffff:198.51.100.7")):
        preview = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
        assert preview["offices"][0]["title"] == "Office Berlin"
        body = {"kind": kind, "value": value, "preview": preview["preview"], "reason": "x"}
        answer = client.post("/api/v1/blocks", json=body)
        assert answer.status_code == 409
        assert "Office Berlin" in answer.json()["error"]["reason"]
