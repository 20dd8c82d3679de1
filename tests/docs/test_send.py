"""What `docs/how-to/send.md` tells people to type works: run against a live server, or checked by the shipper itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.live import LiveServer, live_server, within

__all__ = ["live_server"]

ROOT = Path(__file__).parents[2]
SNIPPETS: dict[str, str] = dict(
    re.findall(r"^```([a-z-]+)\n(.*?)^```$", (ROOT / "docs/how-to/send.md").read_text("utf-8"), re.M | re.S)
)
RSYSLOGD = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin")
SYSLOG_NG = ROOT / ".cache" / "syslog-ng" / "root"


def addressed(language: str, server: LiveServer, key: str) -> str:
    return SNIPPETS[language].replace("HOST:8480", server.url.removeprefix("http://")).replace("KEY", key)


def test_the_page_has_one_snippet_per_way() -> None:
    assert set(SNIPPETS) == {"sh", "rsyslog", "rsyslog-bulk", "syslog-ng", "python"}


def test_the_curl_line_is_acknowledged_and_found(live_server: LiveServer) -> None:
    key = live_server.key_for("docs-curl", "clear")
    script = addressed("sh", live_server, key)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"accepted":1' in done.stdout
    assert live_server.one("source:docs-curl")["action"] == "document.delete"


def test_the_python_program_is_found(live_server: LiveServer, tmp_path: Path) -> None:
    key = live_server.key_for("docs-otel", "clear")
    program = tmp_path / "program.py"
    program.write_text(addressed("python", live_server, key))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert within(2.0, lambda: live_server.rows("source:docs-otel"), "no record of the program")


@pytest.mark.skipif(RSYSLOGD is None, reason="no rsyslogd: apt-get install rsyslog")
@pytest.mark.parametrize("language", ["rsyslog", "rsyslog-bulk"])
def test_rsyslog_accepts_its_lines(tmp_path: Path, language: str) -> None:
    config = tmp_path / "rsyslog.conf"
    config.write_text(SNIPPETS[language].replace("/var/spool/rsyslog", str(tmp_path)).replace("HOST", "127.0.0.1"))
    done = subprocess.run(
        [str(RSYSLOGD), "-N1", "-f", str(config)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.replace("errors: 0", "").lower(), done.stderr


@pytest.mark.skipif(
    not (SYSLOG_NG / "usr/sbin/syslog-ng").exists(), reason="no syslog-ng: sh tests/system/get_syslog_ng.sh"
)
def test_syslog_ng_accepts_its_lines(tmp_path: Path) -> None:
    config = tmp_path / "syslog-ng.conf"
    config.write_text(SNIPPETS["syslog-ng"].replace("HOST", "127.0.0.1"))
    root = str(SYSLOG_NG)
    libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu:{root}/usr/lib/syslog-ng"
    done = subprocess.run(
        [f"{root}/usr/sbin/syslog-ng", "-s", "--no-caps", f"--module-path={root}/usr/lib/syslog-ng/3.38",
         "-f", str(config), "-R", str(tmp_path / "persist"), "-c", str(tmp_path / "control")],
        env={**os.environ, "LD_LIBRARY_PATH": libraries}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
