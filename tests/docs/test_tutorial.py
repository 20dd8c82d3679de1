"""The tutorial as a newcomer walks it: its commands, in its order, on a machine that has only this repository.

A block marked `terminal` runs until the end in a terminal of its own; all others are typed into one shell, the second
terminal. `make demo` is what the Makefile says it is, without the installing and for a smaller company; the OpenTelemetry SDK is
the tests' own.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")

SLOW_S = 120.0
"""How long a machine half as fast, on which others work too, may take for anything here."""
STALL_S = 60.0
"""A store that is behind has one block of a fresh company's records in by then."""
BEHIND = 200
"""Pending records from which on the store is behind: the company goes on sending, so a few always are."""

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text("utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```sh( terminal)?\n(.*?)^```$", TEXT, re.M | re.S)
QUERIES = re.findall(r"^\| `(.+?)` \|", TEXT, re.M)
RSYSLOGD = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin")
LOGGER = shutil.which("logger")

pytestmark = pytest.mark.skipif(RSYSLOGD is None or LOGGER is None, reason="apt-get install rsyslog bsdutils")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Newcomer:
    """Somebody in a fresh folder with one shell, and as many other terminals as the page asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / ".venv").symlink_to(sys.prefix)
        make = folder / "bin/make"
        make.write_text('#!/bin/sh\n[ "$1" = demo ] && exec .venv/bin/python -m muniment demo --pace 0.2\n', "ascii")
        make.chmod(0o755)
        ports = ("PORT", "OTLP_GRPC_PORT", "SYSLOG_UDP_PORT", "SYSLOG_TCP_PORT")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
        self.environ |= {f"MUNIMENT_{name}": str(_free_port()) for name in ports}
        self.environ["PATH"] = f"{folder}/bin:{self.environ['PATH']}:/usr/sbin"
        self._said = folder / "typed.out"
        self._shell = subprocess.Popen(
            ["bash"], cwd=folder, env=self.environ, stdin=subprocess.PIPE, stdout=self._said.open("wb"),
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.terminals: list[subprocess.Popen[bytes]] = []
        self._count = 0
        self.took_s = 0.0

    def types(self, command: str, seconds: float = SLOW_S) -> tuple[int, str]:
        """Into the shell: the exit code, and what it said. `took_s` is how long that was."""
        assert self._shell.stdin is not None
        began = time.monotonic()
        start = self._said.stat().st_size
        self._count += 1
        self._shell.stdin.write(f'{command.rstrip()}\necho "[$?]{self._count}"\n')
        self._shell.stdin.flush()
        end = re.compile(rf"\[(\d+)\]{self._count}\n\Z")

        def said() -> str:
            return self._said.read_bytes()[start:].decode()

        found = self.waits(lambda: end.search(said()), f"{command!r} did not end", seconds)
        self.took_s = time.monotonic() - began
        return int(found[1]), said().rpartition("[")[0]

    def opens_terminal(self, command: str) -> Path:
        """Another terminal in which `command` goes on running; where its words are."""
        words = self.folder / f"terminal-{len(self.terminals)}.out"
        with words.open("wb") as out:
            self.terminals.append(
                subprocess.Popen(
                    ["bash", "-c", command], cwd=self.folder, env=self.environ, stdout=out, stderr=out,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )
            )  # fmt: skip
        return words

    def pid(self) -> str:
        """Of the server, when it runs."""
        file = self.folder / "var/demo/pid"
        return file.read_text("ascii").strip() if file.exists() else "none"

    def waits(self, look: Callable[[], T | None], complaint: str, seconds: float) -> T:
        """For something to be there."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                self.complains(f"{complaint} within {seconds} s")
            time.sleep(0.05)
        return found

    def complains(self, complaint: str) -> NoReturn:
        """And shows what was said in all terminals."""
        pytest.fail(f"{complaint}\n{self.all_said()[-6_000:]}")

    def finds(self, command: str, text: str, seconds: float) -> str:
        """What a search says as soon as it finds `text`: at the latest one typed `seconds` after the store has caught up.

        How long that takes depends on the machine; until then a newcomer sees at the end of the result that it goes on.
        """
        began = moved = caught_up = time.monotonic()
        reached = -1
        while text not in (said := self.types(command)[1]):
            now = time.monotonic()
            index, pending = _horizon(said)
            if index > reached:
                reached, moved = index, now
            if pending >= BEHIND:
                caught_up = now
            if now - self.took_s - caught_up > seconds:
                self.complains(f"{command!r} does not find {text!r} within {seconds} s after the store has caught up")
            if pending >= BEHIND and now - moved > STALL_S:
                self.complains(f"the store stands still at index {reached}, {pending} pending")
            if now - began > SLOW_S:
                self.complains(f"{command!r} does not find {text!r}, and the store is behind by {pending}")
        return said

    def all_said(self) -> str:
        return "\n".join(f"--- {each.name}\n{each.read_text('utf-8')}" for each in sorted(self.folder.glob("*.out")))

    def leaves(self) -> None:
        """All terminals are closed."""
        self._shell.kill()
        self._shell.wait()
        for each in self.terminals:
            try:
                os.killpg(each.pid, signal.SIGTERM)
                each.wait(20)
            except ProcessLookupError:
                continue
            except subprocess.TimeoutExpired:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait()


def _horizon(said: str) -> tuple[int, int]:
    """Up to which index a search was complete, and how many records are on their way; nothing of a server that is away."""
    found = re.search(r"complete up to index (\S+?)(?:, ([\d,]+) pending)?; ", said)
    if found is None or not found[1].isdecimal():
        return -1, 0
    return int(found[1]), int((found[2] or "0").replace(",", ""))


@pytest.fixture
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    somebody = Newcomer(tmp_path_factory.mktemp("t"))
    yield somebody
    somebody.leaves()


def test_make_demo_is_what_is_run_here() -> None:
    assert re.search(r"^demo: setup .*\n\t\$\(BIN\)/muniment demo$", (ROOT / "Makefile").read_text("utf-8"), re.M)


@pytest.mark.timeout(900)
def test_the_tutorial_works_as_typed(newcomer: Newcomer) -> None:
    for mark, block in BLOCKS:
        if mark:
            words = newcomer.opens_terminal(block)
            if "make demo" in block:
                newcomer.waits(lambda at=words: "open:" in at.read_text("utf-8"), "no login link", SLOW_S)
            else:
                newcomer.waits(lambda: (newcomer.folder / "var/rsyslog/log").exists() or None, "no socket", SLOW_S)
            continue
        for line in block.splitlines():
            _type_line(newcomer, line)
    assert "Traceback" not in newcomer.all_said()


def _type_line(newcomer: Newcomer, line: str) -> None:
    if line.startswith("muniment tail"):
        a_while = 2 + 3 * newcomer.took_s  # longer than a command takes to start
        code, said = newcomer.types(f"timeout -s INT {a_while:.1f} {line}")
        assert code in {124, 130}, said
    elif "pip install" in line:
        python = newcomer.folder / "var/otel/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    elif line.startswith("muniment search"):
        _find(newcomer, line)
    elif line == "muniment sources add my-app":
        newcomer.waits(lambda: _is_yesterday_in(newcomer), "the day so far is not in", SLOW_S)
        code, said = newcomer.types(line)
        assert code == 0, said
        pasted = said.partition("try it\n")[2].partition("\n\n")[0]
        code, said = newcomer.types(pasted)
        assert '"accepted":1' in said
    else:
        pid = newcomer.pid()
        code, said = newcomer.types(line)
        assert code == 0, said
        if line.startswith("kill -9"):
            newcomer.waits(lambda: _is_dead(pid) or None, "the server does not die", SLOW_S)
        if line.startswith("python -m muniment.evidence"):
            assert "record 0: valid" in said
            _change_one_byte(newcomer, line)
        if line == "muniment verify":
            assert "verify: done" in said


def _is_dead(pid: str) -> bool:
    """Gone, or a zombie: its connections are closed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _is_yesterday_in(newcomer: Newcomer) -> bool:
    """Has the simulation sent the day so far? By the time somebody has read this far, it has."""
    status = json.loads(newcomer.types("muniment status --json")[1])
    return bool(status["process"]["uptime_s"] > 5 and status["store"]["pending"] < 200)


def _find(newcomer: Newcomer, line: str) -> None:
    """What was sent is found at once; what a shipper kept while the server was away, a little later."""
    wanted = {
        "muniment search source:my-app": "document.delete",
        "muniment search source:my-otel": "document deleted by anna",
        "muniment search source:syslog app:shop": "document nine deleted by anna",
    }
    is_after = "sent while" in (newcomer.folder / "typed.out").read_text("utf-8") or len(newcomer.terminals) > 2
    text = "sent while the server was away" if is_after else wanted.get(line, "failure")
    limit = 30.0 if is_after or "outcome" in line else 6.0  # two seconds, and a command's start on busy cores

    said = newcomer.finds(line, text, limit)
    if is_after:
        assert said.count("document nine deleted by anna") == 1


def _change_one_byte(newcomer: Newcomer, line: str) -> None:
    evidence = newcomer.folder / "evidence.zip"
    whole = bytearray(evidence.read_bytes())
    whole[len(whole) // 2] ^= 1
    evidence.write_bytes(whole)
    code, said = newcomer.types(line)
    assert code == 10, said
    assert said.startswith("NOT VALID: "), said


def test_the_queries_of_the_page_are_understood() -> None:
    from muniment.search.query.parse import parse_query

    assert len(QUERIES) >= 5
    for query in QUERIES:
        parse_query(query, 0)
