"""`muniment notices`: who is told of alerts, what could not be delivered, and what is kept quiet."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, print_json, print_table, short_time
from muniment.errors import RejectedError

__all__ = ["notices_app"]

notices_app = typer.Typer(help="Who is told of alerts: deliveries, dead letters, silences.", no_args_is_help=True)
_STATES = ("pending", "held", "dead", "delivered", "gathered", "discarded")


@notices_app.command("list")
def notices_list(
    state: Annotated[str, typer.Option(help="pending, held, dead, delivered, gathered or discarded; empty: all.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """What was sent to whom, what waits, what was not taken."""
    if state and state not in _STATES:
        raise RejectedError(f"{state!r} is none of {', '.join(_STATES)}", field="state")
    answer = connect(server, data).get("/api/v1/notifications")
    if as_json:
        print_json(answer)
        return
    if not answer["channels"] and not answer["notifications"]:
        raise RejectedError("names no channels; nobody is told outside of the pages", field="notify")
    print_table(
        ("put", "channel", "state", "tries", "said", "about", "rule by", "notice"),
        [
            (short_time(n["put_at"]), inert(n["channel"]), n["state"], str(n["attempts"]), inert(n["remark"]), inert(n["title"]), inert(n["author"]), inert(n["notice_id"]))
            for n in answer["notifications"]
            if state in ("", n["state"])
        ],
        below=("channel", "about", "said", "rule by"),
    )  # fmt: skip


@notices_app.command("again")
def notices_again(notice: str, channel: str, server: Server = "", data: Data = "") -> None:
    """Try a dead letter again."""
    connect(server, data).post("/api/v1/notifications/revive", {"notice_id": notice, "channel": channel})
    console.print("it is on its way again")


@notices_app.command("discard")
def notices_discard(notice: str, channel: str, server: Server = "", data: Data = "") -> None:
    """Discard a dead letter: nobody wants it any more."""
    connect(server, data).post("/api/v1/notifications/discard", {"notice_id": notice, "channel": channel})
    console.print("it is discarded")


@notices_app.command("test")
def notices_test(channel: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Send a test to one channel and wait for its answer. Exit code 1 when it did not take it."""
    answer = connect(server, data).post("/api/v1/notifications/test", {"channel": channel})
    is_taken = answer["state"] == "delivered"
    if as_json:
        print_json(answer)
    else:
        words = f"{channel} {'took the test' if is_taken else 'did not take the test'}"
        console.print(Text(f"{words}: {inert(answer['remark'])}" if answer["remark"] else words), soft_wrap=True)
    if not is_taken:
        raise typer.Exit(1)


@notices_app.command("silences")
def notices_silences(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """What nobody is told of, why and until when."""
    answer = connect(server, data).get("/api/v1/silences")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("number", "alerts of", "up to", "until", "hid", "by", "reason"),
        [
            (str(s["number"]), inert(s["source"]), s["severity_max"], short_time(s["until_ns"]), str(s["hidden"]), inert(s["by"]), inert(s["reason"]))
            for s in answer["silences"]
        ],
    )  # fmt: skip


@notices_app.command("silence")
def notices_silence(
    source: Annotated[str, typer.Argument(help="A rule's title; * stands for anything.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    hours: Annotated[int, typer.Option(min=1, max=720)] = 8,
    severity_max: Annotated[str, typer.Option(help="Up to this level.")] = "high",
    server: Server = "",
    data: Data = "",
) -> None:
    """Tell nobody of some alerts for a time.

    They are made all the same.
    """
    body = {"source": source, "reason": reason, "hours": hours, "severity_max": severity_max}
    made = connect(server, data).post("/api/v1/silences", body)
    console.print(
        Text(f"silent until {short_time(made['until_ns'])}; ended with: muniment notices end {made['number']}"),
        soft_wrap=True,
    )


@notices_app.command("end")
def notices_end(number: int, server: Server = "", data: Data = "") -> None:
    """End a silence now."""
    connect(server, data).post(f"/api/v1/silences/{number}/end")
    console.print("it has ended")
