"""`muniment login`, `people` and `keys`: who may come in, and with which key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, notes, print_json, print_table, short_time

__all__ = ["join", "keys_app", "people_app"]

keys_app = typer.Typer(help="API keys: list, make, revoke.", no_args_is_help=True)
people_app = typer.Typer(help="Accounts: list, and who has left.", no_args_is_help=True)


class Role(StrEnum):
    """What a person may do."""

    READER = "reader"
    ANALYST = "analyst"
    ADMINISTRATOR = "administrator"


class KeyRole(StrEnum):
    """What a key may do."""

    READER = "reader"
    ANALYST = "analyst"
    ENFORCER = "enforcer"
    ADMINISTRATOR = "administrator"


def join(app: typer.Typer) -> None:
    """Add `login`, which stands on its own, to `app`."""
    app.command()(login)


@keys_app.command("list")
def keys_list(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """All API keys, without their secrets."""
    answer = connect(server, data).get("/api/v1/keys")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("id", "made", "role", "owner", "sees or sends", "state", "name"), [_key_cells(key) for key in answer["keys"]]
    )


def _key_cells(key: dict[str, Any]) -> list[Text | str]:
    state = f"revoked {short_time(key['revoked_at'])[:10]}" if key["revoked_at"] else "works"
    return [
        key["id"], short_time(key["created_at"]), key["role"], inert(key["owner"]) or Text("nobody", style="dim"), inert(key["source"] or key["scope"] or "everything"),
        Text(state, style="dim" if key["revoked_at"] else "green"), inert(key["name"]),
    ]  # fmt: skip


@keys_app.command("new")
def keys_new(
    name: str,
    role: Annotated[KeyRole, typer.Option(help="What it may do.")] = KeyRole.READER,
    scope: Annotated[str, typer.Option(help="A query ANDed into every search of this key.")] = "",
    owner: Annotated[
        str,
        typer.Option(help="Whose it is, on the server's machine; else it is yours. A key of nobody's never agrees."),
    ] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """A reading key; printed once."""
    body = {"name": name, "role": role.value, "scope": scope, "owner": owner}
    answer = connect(server, data).post("/api/v1/keys", body)
    print_json(answer) if as_json else console.print(answer["key"])


@keys_app.command("revoke")
def keys_revoke(id: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """End a key at once."""
    answer = connect(server, data).delete(f"/api/v1/keys/{id}")
    print_json(answer) if as_json else console.print(f"revoked {id}")


@keys_app.command("log")
def keys_log(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """The ledger's origin and public keys, to pin on another machine."""
    answer = connect(server, data).get("/api/v1/log-keys")
    print_json(answer) if as_json else console.print("\n".join([answer["origin"], *answer["vkeys"]]), soft_wrap=True)


@people_app.command("list")
def people_list(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Every account, and how many of its keys work."""
    answer = connect(server, data).get("/api/v1/people")
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            inert(each["id"]), inert(each["name"]), each["role"], short_time(each["created_at"]),
            Text(f"left {short_time(each['left_at'])[:10]}", style="dim") if each["left_at"] else "here", str(len(each["keys"])),
        )
        for each in answer["people"]
    ]  # fmt: skip
    print_table(("account", "name", "role", "since", "state", "keys"), rows)


@people_app.command("leave")
def people_leave(person: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Somebody has left: end what they come in with.

    Sessions, login links and reading keys end at once; keys of sources go on and are listed.
    """
    answer = connect(server, data).post(f"/api/v1/people/{person}/leave")
    if as_json:
        print_json(answer)
        return
    console.print(Text(f"{inert(person)} has left; {len(answer['revoked'])} keys revoked"))
    for key in answer["sending"]:
        notes.print(
            Text(
                f"goes on, replace it: key {key['id']} of the source {inert(key['source'])} "
                f"(muniment sources key {inert(key['source'])}, then muniment keys revoke {key['id']})"
            ),
            soft_wrap=True,
        )


def login(
    person: Annotated[str, typer.Argument(help="Who the link is for.")] = "admin",
    name: Annotated[str, typer.Option(help="Their name, for people.")] = "Administrator",
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.ADMINISTRATOR,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """A one-time login link for a person."""
    answer = connect(server, data).post("/api/v1/links", {"person": person, "name": name, "role": role.value})
    print_json(answer) if as_json else console.print(answer["url"], soft_wrap=True)
