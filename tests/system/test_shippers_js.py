"""JavaScript clients, unmodified, against the real doors: three lines each, all there, none in quarantine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.ingest.door_harness import TOKEN, make_harness, served, until

NODE = shutil.which("node")
MODULES = Path(__file__).parents[2] / ".cache" / "js" / "node_modules"

pytestmark = pytest.mark.skipif(NODE is None or not MODULES.exists(), reason="no clients: sh deploy/test-system.sh")


def _node_version() -> int:
    said = subprocess.run([str(NODE), "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


@pytest.mark.parametrize(
    ("client", "door"),
    [
        ("elasticsearch", "elastic"),
        ("winston-elasticsearch", "elastic"),
        ("winston-splunk-httplogger", "hec"),
        ("winston-loki", "loki"),
        ("otlp-json", "otlp"),
        ("otlp-proto", "otlp"),
    ],
)
def test_a_javascript_client_sends_its_lines(client: str, door: str) -> None:
    assert NODE is not None
    if client == "elasticsearch" and _node_version() < 20:
        pytest.skip("@elastic/elasticsearch 9 wants Node 20, Debian 12 has 18")
    script = Path(__file__).with_name("js") / "send.cjs"
    with served(make_harness()) as harness:
        done = subprocess.run(
            [NODE, str(script), client, harness.url, TOKEN], env={**os.environ, "NODE_PATH": str(MODULES)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: len(harness.log.records) >= 3)
    text = json.dumps(harness.log.documents())
    assert [text.count(f"order {n} cancelled") >= 1 for n in range(3)] == [True] * 3
    assert len(harness.log.records) == 3
    assert not any(harness.log.quarantined)
    assert {name.split("-")[0] for name in harness.log.doors} == {door}
