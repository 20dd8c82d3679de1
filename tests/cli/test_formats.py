"""An entry of one's own by the command line: seen, suggested, tried, accepted, withdrawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.live import LiveServer, within


def _run(server: LiveServer, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MUNIMENT_DATA": str(server.folder)}
    return subprocess.run(
        [sys.executable, "-m", "muniment", *words], env=env, capture_output=True, text=True, check=False
    )


def test_from_unknown_to_in_force(live_server: LiveServer, tmp_path: Path) -> None:
    answer = live_server.client.post("/api/v1/sources", json={"id": "kiosks", "privacy": "clear"})
    records = [{"kioskEvent": "LidOpened", "at": "2026-11-23T09:00:00Z", "verdict": "denied", "n": n} for n in range(3)]
    live_server.send(answer.json()["key"], *records)
    live_server.wait_until_visible()
    listed = within(10, lambda: json.loads(_run(live_server, "sources", "unknown", "--json").stdout)["unknown"], "none")
    group = next(each for each in listed if each["source"] == "kiosks")
    assert "kiosks" in _run(live_server, "sources", "unknown").stdout
    suggested = _run(live_server, "sources", "suggest", group["id"])
    assert "name: kiosks" in suggested.stdout
    file = tmp_path / "kiosks.yaml"
    file.write_text(suggested.stdout)
    lines = tmp_path / "records.jsonl"
    lines.write_text("\n".join(map(json.dumps, records)))
    assert "3 of 3 are known by no entry" in _run(live_server, "sources", "test", str(lines)).stderr
    tried = _run(live_server, "sources", "test", str(lines), "--entry", str(file))
    assert tried.stdout.startswith("kiosks  like json"), tried.stdout + tried.stderr
    assert "known by no entry" not in tried.stderr
    file.write_text(suggested.stdout.replace("recognise:", "recognize:"))
    wrong = _run(live_server, "sources", "accept", str(file))
    assert wrong.returncode != 0
    assert f"{file}:" in wrong.stderr
    assert "entry.yaml" not in wrong.stderr
    file.write_text(suggested.stdout)
    assert "in force" in _run(live_server, "sources", "accept", str(file), "--source", "kiosks").stdout
    assert "kiosks" in _run(live_server, "sources", "unknown").stdout
    assert "out of force" in _run(live_server, "sources", "withdraw", "kiosks").stdout
    assert _run(live_server, "sources", "withdraw", "kiosks").returncode != 0


def test_a_file_that_holds_no_events_gives_no_draft(tmp_path: Path) -> None:
    for name, content, said in (
        ("empty.log", b"\n", "no event is in it"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it is no text"),
        ("people.csv", b'2026-11-28 08:02:40,"Okafor, Ben",HQ,IN,DENIED,No\n', "set the format of that source"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", "muniment", "sources", "new", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr
