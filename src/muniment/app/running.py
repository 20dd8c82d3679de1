"""From settings to a process that serves until it is told to end: the address taken, the server opened, signals heard."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop

from muniment.app.arrow import spare_pandas
from muniment.app.server import Server
from muniment.config import Settings
from muniment.errors import ConfigError

__all__ = ["run"]


def run(settings: Settings, when_ready: Callable[[Server], None] | None = None) -> None:
    """Open, serve until SIGINT or SIGTERM, close."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request
    signal.signal(signal.SIGTERM, _end)  # the web server stops first, then raises the signal again
    spare_pandas()
    server = Server(settings)
    listening = _listening(settings.host, settings.port)
    server.open()
    try:
        server.write_cli_file()
        config = uvicorn.Config(
            server.application(), host=settings.host, port=settings.port, loop="uvloop", http="httptools",
            log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5,
            ssl_certfile=settings.tls_cert or None, ssl_keyfile=settings.tls_key or None, ws="none", backlog=1024,
        )  # fmt: skip
        web_server = uvicorn.Server(config)
        _keep_all()
        uvloop.run(_serve(web_server, server, listening, when_ready))
    except SystemExit:  # how the web server says that it could not start
        if server.start_problem is not None:
            raise server.start_problem from None
        raise
    finally:
        server.close()
        listening.close()


def _keep_all() -> None:
    """What is here now stays, and no collection looks at it again. How seldom they come was set by the command."""
    gc.collect()
    gc.freeze()


def _end(number: int, _: object) -> None:
    """Leave through every `finally`, as Ctrl+C does: a default SIGTERM would leave the ledger's last words unpublished."""
    sys.exit(128 + number)


def _listening(host: str, port: int) -> socket.socket:
    """The address of HTTP, taken; nobody can connect before somebody listens on it.

    Raises:
        ConfigError: another program has it, or this machine does not.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise ConfigError(
            f"{host}:{port} cannot be had ({error.strerror}); MUNIMENT_PORT names another port", setting="port"
        ) from error
    return taken


async def _serve(
    web_server: Any, server: Server, listening: socket.socket, when_ready: Callable[[Server], None] | None
) -> None:
    async def announce() -> None:
        while not web_server.started:  # noqa: ASYNC110  (the server offers no event to wait for)
            await asyncio.sleep(0.02)
        if when_ready is not None:
            await asyncio.to_thread(when_ready, server)
        else:
            print(f"muniment is ready at {server.settings.base_url}", flush=True)
            if not server.doorkeeper.has_people():
                print(f"first login (works once): {server.login_url()}", flush=True)

    announcing = asyncio.create_task(announce())
    await web_server.serve(sockets=[listening])
    announcing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await announcing
    signal.signal(signal.SIGINT, signal.SIG_DFL)
