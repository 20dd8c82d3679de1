"""The fuzz campaign in short: every parser is there, and mutated bytes meet nothing but our typed errors."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_mutated_bytes_meet_only_typed_errors() -> None:
    command = [sys.executable, str(ROOT / "fuzz/run.py"), "--parser", "all", "--seconds", "5"]
    command += ["--executions", "500", "--seed", "1"]  # the same inputs every time; `make fuzz` looks for new ones
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" executions, slowest ") >= 18
