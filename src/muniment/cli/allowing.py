"""`muniment blocks allowed`, `allow` and `disallow`: networks that are never blocked."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, notes, print_json, print_table, short_time
from muniment.cli.responding import blocks_app

__all__ = ["blocks_app"]

Network = Annotated[str, typer.Argument(metavar="NETWORK", help="Such as 198.51.100.0/24, or one address.")]


@blocks_app.command("allowed")
def allowed(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Networks that are never blocked."""
    answer = connect(server, data).get("/api/v1/allowed")
    if as_json:
        print_json(answer)
        return
    if not answer["allowed"]:
        words = "no network is protected; your offices and monitors: muniment blocks allow NETWORK --title OFFICE"
        notes.print(Text(words, style="dim"), soft_wrap=True)
        return
    print_table(
        ("network", "whose", "by", "since"),
        [(inert(a["network"]), inert(a["title"]), inert(a["by"]), short_time(a["at"])[:16]) for a in answer["allowed"]],
    )


@blocks_app.command("allow")
def allow(
    network: Network,
    title: Annotated[str, typer.Option(help="Whose it is, such as Office Berlin.", show_default=False)],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Never block a network: an office, a VPN, a monitor, a partner."""
    made = connect(server, data).post("/api/v1/allowed", {"network": network, "title": title})
    if as_json:
        print_json(made)
    else:
        console.print(Text(f"{made['network']} ({inert(made['title'])}): never blocked"), soft_wrap=True)


@blocks_app.command("disallow")
def disallow(network: Network, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Let a network be blocked again."""
    gone = connect(server, data).post("/api/v1/allowed/remove", {"network": network})
    if as_json:
        print_json(gone)
    else:
        console.print(Text(f"{gone['network']} ({inert(gone['title'])}): may be blocked"), soft_wrap=True)
