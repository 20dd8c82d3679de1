"""The API holds what its description says, whatever it is sent (R15). MUNIMENT_CONTRACT_SECONDS makes the run longer."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import LiveServer

SECONDS = os.environ.get("MUNIMENT_CONTRACT_SECONDS", "25")
SEED = os.environ.get("MUNIMENT_CONTRACT_SEED", "1")
SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or "schemathesis"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server of its own: among what is generated are the revocation of every key and rebuilds of the store."""
    running = LiveServer(tmp_path)
    running.start()
    yield running
    running.stop()
    words = running.log.read_text("utf-8", "replace")
    assert "Traceback" not in words, words[-4_000:]


def test_no_answer_breaks_the_contract(server: LiveServer, tmp_path: Path) -> None:
    """Generated requests, right and wrong: no 5xx, no undocumented status, no body that is not as described.

    `positive_data_acceptance` is left out: a query that cannot be read, or a range that ends before it begins, is
    rightly refused, and no schema can say so. The tail is left out because it does not end (`test_tail.py`).
    """
    key = server.key_for("shop", "sealed")
    server.send(key, *({"action": "item.read", "actor": {"id": f"a{n}"}, "outcome": "success"} for n in range(50)))
    browser = server.session()  # not a key: that would revoke itself on the way
    done = subprocess.run(
        [
            SCHEMATHESIS, "run", f"{server.url}/api/v1/openapi.json",
            "--header", f"Cookie: muniment_session={browser.cookies['muniment_session']}",
            "--header", f"X-CSRF-Token: {browser.headers['x-csrf-token']}",
            "--exclude-path", "/api/v1/tail", "--exclude-checks", "positive_data_acceptance",
            "--phases", "examples,coverage,fuzzing,stateful", "--max-time", SECONDS, "--seed", SEED,
            "--continue-on-failure", "--no-shrink",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=float(SECONDS) + 200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8_000:]
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed, done.stdout[-4_000:]
    assert int(passed[1]) == int(passed[2]) > 100  # how many there are in the time depends on the machine
