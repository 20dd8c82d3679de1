"""`muniment serve`, `demo`, `simulate` and `doctor`: what runs on the server's own machine."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from muniment.cli.output import console, inert, key_values, print_json
from muniment.config import SETTINGS, Settings, load_settings, setting_origins, unknown_variables
from muniment.errors import AuditError

__all__ = ["join"]

_M_ARENA_MAX: Final = -8
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", envvar="MUNIMENT_CONFIG")]
DataFolder = Annotated[str | None, typer.Option("--data", help="Data folder; else MUNIMENT_DATA, else var.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of pages, API and HTTP doors.")]


def join(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    app.command()(serve)
    app.command()(demo)
    app.command(hidden=True)(simulate)
    app.command()(doctor)


def _prepare() -> None:
    """Before the server's rooms are imported, as neither works as well later.

    All threads share two of glibc's arenas: a tenth less memory after a load, at the same speed (measured).

    Cycles are few and are looked for seldom. With the thresholds of a script, looking at all that a start makes took a
    fifth of the start, and whole collections over the windows of rules a tenth of the time under load, in pauses of every
    thread (measured).
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    gc.set_threshold(50_000, 20, 50)


def serve(config: ConfigFile = None, data: DataFolder = None, port: Port = None, host: str | None = None) -> None:
    """Start the server: doors, ledger, store, pages, API. Ends with Ctrl+C."""
    _prepare()
    from muniment.app import run

    run(load_settings(config, flags={"data": data, "port": port, "host": host}))


def demo(
    data: Annotated[str, typer.Option("--data", help="Data folder of the demo.")] = "var/demo",
    port: Port = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    pace: Annotated[float, typer.Option(min=0.05, max=200, help="Events per second when everybody is at work.")] = 5.0,
) -> None:
    """A running server with a simulated company, and a login link.

    The company sends live, through the real doors.
    """
    _prepare()
    from muniment.app import run_demo

    run_demo(load_settings(flags={"data": data, "port": port}), seconds, pace)


def simulate(plan: Path) -> None:
    """Send the simulated company's events, as `demo` does. The plan file names doors and keys."""
    from muniment.cli.simulate import SimulationPlan
    from muniment.cli.simulate import simulate as run_simulation

    run_simulation(SimulationPlan(**json.loads(plan.read_text("utf-8"))))


def doctor(
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Check this machine and the settings.

    Before or beside a running server. Exit code 5 when something is wrong.
    """
    settings = load_settings(config, flags={"data": data})
    checks = _checks(settings)
    origins = setting_origins(config, flags={"data": data})
    effective = {
        name: {"value": getattr(settings, name), "from": origins.get(name, (None, "default"))[1]} for name in SETTINGS
    }
    is_fine = all(fine for _, fine, _ in checks)
    if as_json:
        found = [{"check": name, "is_fine": fine, "detail": detail} for name, fine, detail in checks]
        print_json({"is_fine": is_fine, "checks": found, "settings": effective})
    else:
        for name, fine, detail in checks:
            mark = ("ok    ", "green") if fine else ("wrong ", "bold red")
            console.print(Text.assemble(mark, (f"{name}: ", "bold"), inert(detail)), soft_wrap=True)
        console.print(Text("\nsettings", style="bold"))
        console.print(key_values([(name, f"{row['value']}  ({row['from']})") for name, row in effective.items()]))
    if not is_fine:
        raise typer.Exit(5)


def _checks(settings: Settings) -> list[tuple[str, bool, str]]:
    folder = settings.data_path
    own = _own_doors(folder)
    return [
        ("Python", sys.version_info >= (3, 11), sys.version.split()[0]),
        _check_cpu(),
        _check_folder(folder),
        _check_disk(folder),
        _check_sync(folder),
        _check_clock(),
        *_check_variables(),
        *_check_named_files(settings),
        *(
            _check_port(settings.host, getattr(settings, name), name, own)
            for name in ("port", "otlp_grpc_port", "syslog_tcp_port", "syslog_udp_port", "syslog_tls_port")
        ),
    ]


def _check_cpu() -> tuple[str, bool, str]:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "processor", True, "not known on this system"
    has = "avx2" in flags
    return "processor", has, "has AVX2" if has else "the embedded store needs AVX2; use a ClickHouse server (store)"


def _check_folder(folder: Path) -> tuple[str, bool, str]:
    probe = folder if folder.exists() else folder.absolute().parent
    while not probe.exists():
        probe = probe.parent
    return "data folder", os.access(probe, os.W_OK), f"{folder} ({'there' if folder.exists() else 'will be made'})"


def _check_disk(folder: Path) -> tuple[str, bool, str]:
    probe = folder.absolute()
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free
    return "disk", free > 2 * 1024**3, f"{free / 1024**3:.1f} GiB free"


def _check_sync(folder: Path) -> tuple[str, bool, str]:
    """How long one durable write takes; every batch waits for one."""
    probe = folder if folder.exists() else Path.cwd()
    file = probe / f".muniment-doctor-{os.getpid()}"
    try:
        with file.open("wb") as handle:
            started = time.perf_counter()
            for _ in range(10):
                handle.write(b"x" * 4096)
                handle.flush()
                os.fdatasync(handle.fileno())
        took_ms = (time.perf_counter() - started) * 100
    except OSError as error:
        return "durable writes", False, f"{probe}: {error.strerror}"
    finally:
        file.unlink(missing_ok=True)
    return "durable writes", took_ms < 50, f"{took_ms:.2f} ms each"


def _check_clock() -> tuple[str, bool, str]:
    year = time.gmtime().tm_year
    return "clock", 2026 <= year < 2100, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _check_variables() -> list[tuple[str, bool, str]]:
    return [
        (variable, not meant, f"is read by nobody; {meant} may be meant" if meant else "is read by nobody")
        for variable, meant in unknown_variables(os.environ)
    ]


def _check_named_files(settings: Settings) -> list[tuple[str, bool, str]]:
    if not any((settings.notify, settings.pull, settings.geoip, settings.rules)):
        return []
    from muniment.app.files import check_files  # with the whole server behind it

    return check_files(settings)


def _own_doors(folder: Path) -> set[str]:
    """Where the server of this data folder listens, if one runs."""
    if not (folder / "cli.json").exists():
        return set()
    from muniment.cli.client import connect

    try:
        status = connect(data=str(folder)).get("/api/v1/status")
    except AuditError:
        return set()
    return {address.rpartition("//")[2] for address, is_open, *_ in status["doors"].values() if is_open}


def _check_port(host: str, port: int, name: str, own: set[str]) -> tuple[str, bool, str]:
    if port <= 0:
        return name, True, "off" if port < 0 else "any free port"
    if f"{host}:{port}" in own:
        return name, True, f"{host}:{port}, where the server of this folder listens"
    kind = socket.SOCK_DGRAM if name.endswith("udp_port") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:  # as the server does: a port whose last connections are still fading is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return name, False, f"{host}:{port}: {error.strerror}; MUNIMENT_{name.upper()} names another"
    return name, True, f"{host}:{port} is free"
