"""The command as a person at a terminal runs it: a pseudo-terminal of a given width, what it showed, how it ended."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import selectors
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MUNIMENT", "Shown", "at_terminal"]

MUNIMENT = [sys.executable, "-m", "muniment"]
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Shown:
    """What stood on the screen, line by line without colours; `raw` with them; and the exit code."""

    code: int
    lines: list[str]
    raw: str


def at_terminal(
    words: Sequence[str], columns: int, environ: dict[str, str], *, interrupt_at: str = "", seconds: float = 30
) -> Shown:
    """Run to the end; when `interrupt_at` has been shown, Ctrl+C is pressed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MUNIMENT_") and k != "COLUMNS"}
    env |= {"TERM": "xterm-256color", **environ}
    ready, go = os.pipe()
    pid, screen = pty.fork()
    if pid == 0:
        os.read(ready, 1)  # the size is set first
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started us may ignore it, as a shell's background job
        os.execvpe(MUNIMENT[0], [*MUNIMENT, *words], env)
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    os.write(go, b"x")
    out, deadline, is_pressed = b"", time.monotonic() + seconds, False
    shown = selectors.DefaultSelector()  # select() takes no descriptor above 1,023
    shown.register(screen, selectors.EVENT_READ)
    while time.monotonic() < deadline:
        if shown.select(0.2):
            try:
                piece = os.read(screen, 65_536)
            except OSError:  # Linux says so when the last writer is gone
                break
            if not piece:
                break
            out += piece
        if interrupt_at and not is_pressed and interrupt_at.encode() in out:
            os.write(screen, b"\x03")
            is_pressed = True
    else:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    shown.close()
    for each in (screen, ready, go):
        os.close(each)
    raw = out.decode("utf-8")
    lines = [_CONTROLS.sub("", line).split("\r")[-1] for line in raw.replace("\r\n", "\n").split("\n")]
    return Shown(code, lines[: -1 if lines[-1] == "" else None], raw)
