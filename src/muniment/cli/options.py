"""What commands have in common: where the server is, how it is reached, and answers for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from muniment.cli.client import Client

__all__ = ["AsJson", "Data", "Server", "connect"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Server = Annotated[str, typer.Option("--server", help="URL of the server.", envvar="MUNIMENT_URL")]
Data = Annotated[str, typer.Option("--data", help="Data folder of a server on this machine.", envvar="MUNIMENT_DATA")]


def connect(server: str, data: str) -> Client:
    """A client of the server that these options name; what it stands on is loaded only now."""
    from muniment.cli.client import connect as connect_to

    return connect_to(server, data=data)
