"""Those who refuse, unmodified from Debian: HAProxy and fail2ban follow the feed and refuse an address for real."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from tests.live import LiveServer, within
from tests.system.network import ATTACKER, BYSTANDER, PATH, SERVER, Namespace, daemon, network

__all__ = ["network"]

TOOLS = {name: shutil.which(name, path=PATH) for name in ("haproxy", "fail2ban-server", "nft", "nginx", "ip", "curl")}
ENFORCE = Path(__file__).parents[2] / "deploy" / "enforce"

missing = [name for name, path in TOOLS.items() if path is None]
pytestmark = pytest.mark.skipif(bool(missing) or os.getuid() != 0, reason=f"needs root and {missing or 'nothing else'}")


@pytest.fixture
def header(live_server: LiveServer, tmp_path: Path) -> Iterator[Path]:
    """What the scripts send: a key of an enforcer, in a file. Nothing is blocked, or never to be, by tests before this one."""
    for each in live_server.get("/api/v1/allowed")["allowed"]:
        body = {"network": each["network"], "title": each["title"]}
        live_server.client.post("/api/v1/allowed/remove", json=body).raise_for_status()
    for block in live_server.get("/api/v1/blocks")["blocks"]:
        if block["state"] in {"active", "asked"}:
            live_server.client.post(f"/api/v1/blocks/{block['id']}/undo").raise_for_status()
    with live_server.reader(role="enforcer") as client:
        path = tmp_path / "header"
        path.write_text(f"Authorization: {client.headers['authorization']}\n")
        yield path


def _block(client: httpx.Client, kind: str, value: str) -> str:
    preview = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    body = {"kind": kind, "value": value, "preview": preview["preview"], "reason": "test", "hours": 1}
    made = client.post("/api/v1/blocks", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["state"] == "active", "others let somebody in from there"
    return str(made.json()["id"])


def _run(*command: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PATH": PATH, **env},
    )  # fmt: skip


def test_haproxy_refuses_what_the_feed_says_and_follows_it(
    live_server: LiveServer, network: Namespace, header: Path, tmp_path: Path
) -> None:
    blocked, control = tmp_path / "blocked.map", tmp_path / "haproxy.sock"
    blocked.write_text("")
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"global\n stats socket {control} level admin\n"
        "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 1s\n"
        f"frontend f\n bind {SERVER}:8099\n http-request deny if {{ src,map_ip({blocked}) -m found }}\n"
        ' http-request return status 200 content-type text/plain string "hello"\n'
    )

    def follow() -> None:
        done = _run(ENFORCE / "muniment-haproxy", live_server.url, header, blocked, control)
        assert done.returncode == 0, done.stderr

    with daemon(network.start(str(TOOLS["haproxy"]), "-db", "-f", str(config))):
        within(10, lambda: network.get(ATTACKER) == "200", "HAProxy does not answer")
        follow()
        assert network.get(ATTACKER) == "200"
        id = _block(live_server.client, "address", ATTACKER)
        follow()
        assert network.get(ATTACKER) == "403"
        assert network.get(BYSTANDER) == "200"
        other = _block(live_server.client, "range", str(ip_network(f"{BYSTANDER}/29", strict=False)))
        follow()
        assert (network.get(ATTACKER), network.get(BYSTANDER)) == ("403", "403")
        for each in (id, other):
            live_server.client.post(f"/api/v1/blocks/{each}/undo")
        done = _run(ENFORCE / "muniment-haproxy", "http://127.0.0.1:1", header, blocked, control)
        assert done.returncode != 0
        assert network.get(ATTACKER) == "403", "a Muniment that is away opens nothing"
        follow()
        assert (network.get(ATTACKER), network.get(BYSTANDER)) == ("200", "200")


@pytest.fixture
def jail(network: Namespace, tmp_path: Path) -> Iterator[str]:
    """A real fail2ban in the network, with the jail and action as they are shipped; the client that speaks to it."""
    folder = tmp_path / "fail2ban"
    for name in ("jail.d", "action.d"):
        shutil.copytree(ENFORCE / name, folder / name)
    shutil.copy("/etc/fail2ban/fail2ban.conf", folder)
    (folder / "fail2ban.local").write_text("[Definition]\ndbfile = :memory:\nlogtarget = STDOUT\n")
    (folder / "jail.conf").write_text("[DEFAULT]\nignoreip =\n")
    options = f"-c {folder} -s {tmp_path}/f2b.sock -p {tmp_path}/f2b.pid"
    client = f"fail2ban-client {options}"
    with daemon(network.start(str(TOOLS["fail2ban-server"]), *options.split(), "-f")):
        within(20, lambda: _run(*client.split(), "ping").returncode == 0, "fail2ban does not answer")
        yield client


def test_fail2ban_bans_and_unbans_what_the_feed_says(
    live_server: LiveServer, network: Namespace, header: Path, jail: str, tmp_path: Path
) -> None:
    def follow(url: str = "") -> int:
        command = (ENFORCE / "muniment-fail2ban", url or live_server.url, header, "muniment", tmp_path / "state")
        return _run(*command, FAIL2BAN_CLIENT=jail).returncode

    def banned() -> set[str]:
        return set(_run(*jail.split(), "get", "muniment", "banip").stdout.split())

    def in_line(wanted: set[str]) -> None:
        """As the timer does: fail2ban acts a moment after it was asked, and what it lacks is asked for again."""
        within(20, lambda: follow() == 0 and banned() == wanted, f"the jail does not hold {wanted} alone")

    def is_refused(address: str) -> bool:
        return network.get(address) == "000"

    www = tmp_path / "www"
    www.mkdir()
    (www / "index.html").write_text("hello")
    with daemon(network.start("python3", "-m", "http.server", "8099", "--bind", SERVER, "--directory", str(www))):
        within(10, lambda: network.get(ATTACKER) == "200", "nobody answers")
        id = _block(live_server.client, "address", ATTACKER)
        assert follow() == 0
        within(10, lambda: is_refused(ATTACKER), "fail2ban lets the attacker in")
        assert network.get(BYSTANDER) == "200"

        # A range around it: the set of the firewall takes no element within another, so the feed names the range only.
        around = _block(live_server.client, "range", str(ip_network(f"{ATTACKER}/26", strict=False)))
        in_line({"203.0.113.64/26"})
        within(10, lambda: "203.0.113.64/26" in network.run("nft", "list", "ruleset").stdout, "no range in the set")
        live_server.client.post(f"/api/v1/blocks/{around}/undo")
        in_line({ATTACKER})
        within(10, lambda: is_refused(ATTACKER), "the end of the range let the attacker in")

        # Somebody unbans by hand, and the list has not changed: the next look bans again.
        _run(*jail.split(), "set", "muniment", "unbanip", ATTACKER)
        in_line({ATTACKER})

        live_server.client.post(f"/api/v1/blocks/{id}/undo")
        assert follow("http://127.0.0.1:1") != 0
        assert banned() == {ATTACKER}, "a Muniment that is away opens nothing"
        assert follow() == 0
        assert banned() == set()
        within(10, lambda: network.get(ATTACKER) == "200", "the attacker is still banned")
