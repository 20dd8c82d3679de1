"""`muniment demo`: a server on this machine with a simulated company sending live through the real doors."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from muniment.app.running import run
from muniment.app.server import Server
from muniment.cli.client import connect
from muniment.config import SETTINGS, Settings
from muniment.drills.company import SYSTEMS
from muniment.errors import AuditError

__all__ = ["FORMATS", "run_demo"]

_log = logging.getLogger("muniment")
_LOOK_S: Final = 2.0
_SETTLE_S: Final = 6.0
_GRAVE: Final = 4

FORMATS = {"okta": "okta", "github": "github", "cloudtrail": "aws_cloudtrail", "sdk": "muniment", "otlp": "json"}
"""Of the sources of the company, by the shape of what they send."""


def run_demo(settings: Settings, seconds: float | None = None, pace: float = 5.0) -> None:
    """Serve, start the simulation as a process of its own, print the login link; stop both together.

    A usual port that another program on this machine has is no reason to end: the demo then takes one 10,000 higher,
    and says so.
    """
    settings, moved = _on_free_ports(replace(settings, origin="larkfield.example/audit/demo"))
    children: list[subprocess.Popen[bytes]] = []
    stopping = threading.Event()

    def when_ready(server: Server) -> None:
        plan = _write_plan(server, pace)
        children.append(subprocess.Popen([sys.executable, "-m", "muniment", "simulate", str(plan)]))
        threading.Thread(target=_open_a_case, args=(server, stopping), name="demo case", daemon=True).start()
        _greet(server, moved)
        if seconds is not None:
            timer = threading.Timer(seconds, os.kill, (os.getpid(), 2))
            timer.daemon = True
            timer.start()

    try:
        run(settings, when_ready)
    finally:
        stopping.set()
        for child in children:
            child.terminate()
            child.wait(10)


def _on_free_ports(settings: Settings) -> tuple[Settings, list[str]]:
    """The same settings with usual ports that are taken moved up, and a sentence for each; named ports stay."""
    moved = []
    for name in ("port", "otlp_grpc_port", "syslog_udp_port", "syslog_tcp_port"):
        usual = port = getattr(settings, name)
        if usual != SETTINGS[name].default:
            continue
        while not _is_free(settings.host, port, is_udp=name == "syslog_udp_port") and port + 10_000 < 65_536:
            port += 10_000
        if port != usual:
            settings = replace(settings, **{name: port})
            moved.append(f"{usual} is taken by another program: {name} is {port} here")
    return settings, moved


def _is_free(host: str, port: int, *, is_udp: bool) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM) as probe:
        if not is_udp:  # a port whose last connections are still fading is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _write_plan(server: Server, pace: float) -> Path:
    """Sources with fresh keys for this run, and where to send; readable by this user only."""
    keys = {}
    for system in SYSTEMS:
        if system.door == "syslog":
            continue
        if server.registry.get(system.id) is None:
            server.registry.add(
                system.id,
                title=system.title,
                format=FORMATS[system.shape],
                privacy="sealed",
                owner="demo",
                now_ns=server.clock(),
            )
        for old in server.keys.all():
            if old.source == system.id and old.revoked_at is None:
                server.keys.revoke(old.id, server.clock())
        keys[system.id] = server.keys.create("demo", "source", server.clock(), source=system.id)[1]
    plan = {
        "url": server.settings.base_url,
        "syslog_host": server.settings.host,
        "syslog_tcp_port": server.syslog.ports()["tcp"],
        "keys": keys,
        "since_ns": _last_of_others(server),
        "per_second": pace,
        "parent": os.getpid(),
    }
    path = server.settings.data_path / "demo-plan.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(plan, file)
    return path


def _open_a_case(server: Server, stopping: threading.Event) -> None:
    """The gravest alert that is there once the first grave one is, as a case: so that there is one to look at."""
    client = connect(data=server.settings.data)
    while not stopping.wait(_LOOK_S):
        try:
            if client.get("/api/v1/cases")["cases"]:
                return
            if any(alert.severity_id >= _GRAVE for alert in server.alerts.all()):
                if stopping.wait(_SETTLE_S):  # what else is found about it is one card with it
                    return
                found = client.get("/api/v1/alerts", state="open", sort="gravest", limit=1)["alerts"]
                client.post("/api/v1/cases", {"alert": found[0]["uid"]})
        except AuditError as error:  # the demo goes on without a case
            _log.warning("no case was opened: %s", error)


def _last_of_others(server: Server) -> int:
    """When the newest event of an earlier run happened, in nanoseconds; 0 when there is none."""
    rows = server.search.search("-source:muniment", limit=1, columns=["time"]).rows
    return int(datetime.fromisoformat(str(rows[0]["time"])).timestamp() * 1e9) if rows else 0


def _greet(server: Server, moved: list[str]) -> None:
    data = server.settings.data
    lines = [
        "",
        "  Muniment is running, and a simulated company of 300 people is at work in it.",
        "",
        f"  open:     {server.login_url()}",
        f"            (works once; for another: .venv/bin/muniment login --data {data})",
        f"  search:   .venv/bin/muniment search --data {data} 'action:user.* outcome:failure'",
        f"  send:     .venv/bin/muniment sources add my-app --data {data}",
        f"  connect:  .venv/bin/muniment sources connect rsyslog --data {data}",
        f"  stop:     Ctrl+C; pull the plug: kill -9 {os.getpid()}",
        "",
        *(f"  note: {each}" for each in moved),
        *([""] if moved else []),
    ]
    print("\n".join(lines), flush=True)
