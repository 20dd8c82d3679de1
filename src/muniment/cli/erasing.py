"""`muniment erase`: ask to erase a person, approve somebody else's request, list the requests."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, notes, print_json, print_table, short_time

__all__ = ["erase_app"]

erase_app = typer.Typer(help="Erase a person: one administrator asks, another approves.", no_args_is_help=True)


@erase_app.command("ask")
def erase_ask(
    identifier: Annotated[str, typer.Argument(help="E-mail address, or an id within a source.")],
    reason: Annotated[str, typer.Option(help="Why; stays in the ledger, so without naming the person.")],
    source: Annotated[str, typer.Option(help="Only as this source knows the identifier.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Ask to erase a person. Nothing is erased until another administrator approves."""
    body = {"identifier": identifier, "reason": reason, "source": source}
    answer = connect(server, data).post("/api/v1/erasures", body)
    if as_json:
        print_json(answer)
        return
    console.print(f"request {answer['number']}: {answer['subjects']} keys would be destroyed")
    notes.print(f"another administrator approves with: muniment erase approve {answer['number']}")


@erase_app.command("approve")
def erase_approve(number: int, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Approve a request and carry it out. Cannot be undone; every proof stays valid."""
    from muniment.cli.client import connect
    from muniment.cli.commands import follow_job

    client = connect(server, data)
    state = client.post(f"/api/v1/erasures/{number}/approval")
    if state["state"] == "waiting":
        notes.print("asked with a key of nobody's, so it is your request now: another administrator approves it")
        if as_json:
            print_json(state)
        return
    follow_job(client, "rebuild", state, as_json, f"erasure {number}")


@erase_app.command("list")
def erase_list(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """All requests."""
    answer = connect(server, data).get("/api/v1/erasures")
    if as_json:
        print_json(answer)
        return
    rows = []
    for each in answer["erasures"]:
        state = "erased" if each["done_at"] else "under way" if each["approved_by"] else "waits for a second person"
        who = inert(each["identifier"]) or "-"
        rows.append(
            (
                str(each["number"]),
                short_time(each["asked_at"]),
                state,
                who,
                inert(each["asked_by"]),
                inert(each["reason"]),
            )
        )
    print_table(("no", "made", "state", "person", "asked by", "reason"), rows)
