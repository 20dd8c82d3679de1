"""A port that another program has is named, with the setting that names another one."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = {"port": socket.SOCK_STREAM, "syslog_udp_port": socket.SOCK_DGRAM, "syslog_tcp_port": socket.SOCK_STREAM, "otlp_grpc_port": socket.SOCK_STREAM}  # fmt: skip


@pytest.mark.parametrize("setting", KINDS)
def test_a_port_that_is_taken_is_named_with_the_setting_for_another(setting: str, tmp_path: Path) -> None:
    ports = {"port": 0, "syslog_udp_port": -1, "syslog_tcp_port": -1, "otlp_grpc_port": -1}
    with contextlib.closing(socket.socket(socket.AF_INET, KINDS[setting])) as taken:
        taken.bind(("127.0.0.1", 0))
        if KINDS[setting] == socket.SOCK_STREAM:
            taken.listen()
        ports[setting] = taken.getsockname()[1]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("MUNIMENT_")}
        environ |= {f"MUNIMENT_{name.upper()}": str(port) for name, port in ports.items()}
        done = subprocess.run(
            [sys.executable, "-m", "muniment", "serve"], env=environ | {"MUNIMENT_DATA": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert f"error {setting}: 127.0.0.1:{ports[setting]} cannot be had" in done.stderr
    assert f"MUNIMENT_{setting.upper()} names another port" in done.stderr
    assert "Traceback" not in done.stderr
