"""Cases by the command line, on a real server: open, look, decide, write, mark, take the evidence along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, within

ADDRESS = "203.0.113.50"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("casing"))
    server.start()
    key = server.key_for("app", "clear")
    failed = {"action": "user.login", "outcome": "failure", "actor": {"id": "anna"}, "context": {"ip": ADDRESS}}
    server.send(key, *(failed for _ in range(12)))
    within(20, lambda: server.get("/api/v1/alerts", entity=ADDRESS)["alerts"], "no alert")
    yield server
    server.stop()


def _run(server: LiveServer, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MUNIMENT_DATA": str(server.folder), "COLUMNS": "200"}
    command = [sys.executable, "-m", "muniment", "cases", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=folder)


def _json(server: LiveServer, *words: str) -> Any:
    done = _run(server, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_case_from_its_opening_to_its_end(server: LiveServer, tmp_path: Path) -> None:
    assert "muniment cases open ALERT" in _run(server, "list").stderr
    uid = server.get("/api/v1/alerts", entity=ADDRESS)["alerts"][0]["uid"]
    assert _run(server, "open", uid[:8]).stdout == "case 1: opened; its timeline: muniment cases show 1\n"
    assert "case 1: there is one already" in _run(server, "open", uid).stdout
    assert _run(server, "open", "a-1").returncode == 2

    assert _run(server, "note", "1", "called anna: \x1b[31mnot her").stdout == "case 1: open, nobody's\n"
    assert _run(server, "assign", "1", "--to", "dana").stdout == "case 1: open, dana's\n"

    def look() -> str:
        text = _run(server, "show", "1").stdout
        return text if "noted: called" in text else ""

    shown = within(10, look, "no note")
    assert "12 failed sign-ins as anna" in shown
    assert ADDRESS in shown
    assert "rule by Muniment" in shown
    assert "by command line on this machine" in shown
    assert "key:" not in shown
    assert "\x1b" not in shown
    assert ADDRESS in _run(server, "list", "--about", ADDRESS).stdout
    assert _json(server, "list", "--about", "203.0.113.51")["cases"] == []
    assert len(_json(server, "list", "--owner", "dana")["cases"]) == 1

    index = next(line["index"] for line in _json(server, "show", "1")["lines"] if line["kind"] == "event")
    assert _run(server, "leave-out", "1", str(index), "--reason", "a test of ours").returncode == 0
    assert "taken out by" in _run(server, "show", "1").stderr
    assert _run(server, "put-back", "1", str(index)).returncode == 0
    assert _run(server, "pin", "1", str(index)).returncode == 0
    assert "pinned: failed sign-in as anna" in _run(server, "show", "1").stdout

    done = _run(server, "evidence", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    hint = done.stderr.splitlines()[-1].strip()
    assert hint.startswith("python -m muniment.evidence muniment-case-1.zip --vkey ")
    checked = subprocess.run(
        ["sh", "-c", hint.replace("python", sys.executable, 1)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("from 'app'") == 12

    assert _run(server, "contain", "1").stdout == "case 1: contained, dana's\n"
    refused = _run(server, "close", "1", "--verdict", "solved", "--reason", "x")
    assert (refused.returncode, "say what it was" in refused.stderr) == (2, True)
    closed = _run(server, "close", "1", "--verdict", "true_positive", "--reason", "reset", "--with-alerts")
    assert closed.stdout == "case 1: closed: true_positive, dana's\n"
    assert {a["state"] for a in server.get("/api/v1/alerts", entity=ADDRESS)["alerts"]} == {"resolved"}
    assert "closed: true_positive" in _run(server, "list", "--state", "").stdout
    assert _run(server, "reopen", "1").stdout == "case 1: open, dana's\n"
    assert _run(server, "show", "7").returncode == 2
