"""`muniment sources`: who sends, another key for one, what to paste into a shipper, and what samples become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, key_values, notes, print_json, print_table, short_time
from muniment.errors import RejectedError
from muniment.sources.connect import KEY_PLACEHOLDER, WAYS, WEBHOOKS, Snippet, snippets

if TYPE_CHECKING:
    from muniment.cli.client import Client

__all__ = ["sources_app"]

sources_app = typer.Typer(help="Systems that send events, and how to connect them.", no_args_is_help=True)
_IDS = ", ".join(way.id for way in WAYS)
SourceId = Annotated[str, typer.Argument(metavar="SOURCE", help="From `sources list`.")]
For = Annotated[str, typer.Option("--for", metavar="SENDER", help=f"Print only what to paste, with the key: {_IDS}.")]


@sources_app.command("list")
def sources_list(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """All sources, how much they sent, when they were last heard."""
    answer = connect(server, data).get("/api/v1/sources")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("source", "last heard", "received", "bad", "format", "privacy", "owner"),
        [
            (s["id"], short_time(s["last_heard"]) if s["last_heard"] else "never", f"{s['received']:,}",
             f"{s['quarantined']:,}", s["format"], s["privacy"], inert(s["owner"]))
            for s in answer["sources"]
        ],
    )  # fmt: skip
    if any(s["quarantined"] for s in answer["sources"]):
        notes.print(Text("bad: quarantined, not understood; see them with: muniment search quarantine:*", style="dim"))


@sources_app.command("add")
def sources_add(
    id: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, . _ -")],
    format: Annotated[str, typer.Option(help="Catalogue entry, or auto.")] = "auto",
    privacy: Annotated[str, typer.Option(help="sealed or clear; empty: the server's default.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    title: Annotated[str, typer.Option(help="Its name for people.")] = "",
    sender: For = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Add a source and print its key, once, with what to paste.

    Where to send stands there, too. Senders without keys (Okta, GitHub, ...) need a webhook: `sources webhook`.
    """
    client = connect(server, data)
    _check_has_key(sender)
    body = {"id": id, "format": format, "privacy": privacy, "owner": owner, "title": title}
    _print_key(client, id, client.post("/api/v1/sources", body), sender, as_json, f"source {id} added")


@sources_app.command("key")
def sources_key(id: SourceId, sender: For = "", server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Another key for a source; the older ones go on working.

    They work until they are revoked: `muniment keys list`, `muniment keys revoke ID`.
    """
    client = connect(server, data)
    _check_has_key(sender)
    _print_key(client, id, client.post(f"/api/v1/sources/{id}/keys"), sender, as_json, f"another key for {id}")


_KINDS = ", ".join(WEBHOOKS)


@sources_app.command("webhook")
def sources_webhook(
    id: Annotated[str, typer.Argument(metavar="SOURCE", help="None: list all webhooks.")] = "",
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"How the sender signs: {_KINDS}. None: say how it does.")
    ] = "",
    secret_file: Annotated[
        Path | None,
        typer.Option(help="A file with the secret, where the sender gives it, as Slack does; else one is made."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="End the webhook: what is posted to it is refused.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Take events by signed webhook; see what came; end it.

    With KIND it prints where the sender posts to and, once, the secret; an older secret ends at once.
    """
    if remove:
        _remove_webhook(connect(server, data), id, yes, as_json)
        return
    if not kind:
        _show_webhooks(connect(server, data), id, as_json)
        return
    if kind not in WEBHOOKS:
        raise RejectedError(f"must be one of {_KINDS}, got {kind!r}", field="kind")
    if kind == "slack" and secret_file is None:
        raise RejectedError(
            "Slack makes the secret: write the app's Signing Secret to a file and name it", field="secret-file"
        )
    try:
        secret = secret_file.read_text("utf-8").strip() if secret_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RejectedError(f"cannot read it: {_why(error)}", field=str(secret_file)) from error
    made = connect(server, data).post(f"/api/v1/sources/{id}/webhook", {"kind": kind, "secret": secret})
    if as_json:
        print_json(made)
        return
    console.print(Text(WEBHOOKS[kind].setup), soft_wrap=True)
    console.print(Text(f"\n  URL     {made['url']}"), soft_wrap=True)
    if not secret:
        console.print(Text(f"  secret  {made['secret']}   (shown this once)"), soft_wrap=True)
    notes.print(Text(f"whether it delivers: muniment sources webhook {id}", style="dim"))


def _show_webhooks(client: Client, id: str, as_json: bool) -> None:
    found = [each for each in client.get("/api/v1/webhooks")["webhooks"] if id in {"", each["source"]}]
    if id and not found:
        raise RejectedError(f"{id!r} has no webhook; muniment sources webhook {id} KIND makes one", field="source")
    if as_json:
        print_json({"webhooks": found})
        return
    print_table(
        ("source", "signed by", "delivered", "last", "refused"),
        [
            (each["source"], WEBHOOKS[each["kind"]].title, f"{each['accepted']:,}", _when(each["last_at"]),
             f"{sum(r['count'] for r in each['refused']):,}")
            for each in found
        ],
    )  # fmt: skip
    for each in found:
        for r in each["refused"]:
            words = f"{each['source']}: {r['count']:,} refused, {r['reason']}; the last {_when(r['last_at'])}"
            console.print(Text(inert(words), style="red"), soft_wrap=True)
    if id:
        console.print(Text(f"posts to {found[0]['url']}"), soft_wrap=True)
    if found:
        notes.print(Text("counted since the secret was made", style="dim"))
    else:
        notes.print(Text("there is none; muniment sources webhook SOURCE KIND makes one", style="dim"))


def _why(error: OSError | UnicodeDecodeError) -> str:
    """Without the file, which is named before."""
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"


def _when(at_ns: int) -> str:
    return short_time(at_ns) if at_ns else "never"


def _remove_webhook(client: Client, id: str, yes: bool, as_json: bool) -> None:
    if not id:
        raise RejectedError("name the source whose webhook ends", field="source")
    if not yes and not typer.confirm(f"refuse from now on what is posted to the webhook of {inert(id)}?", err=True):
        raise typer.Exit(1)
    ended = client.delete(f"/api/v1/sources/{id}/webhook")
    if as_json:
        print_json(ended)
        return
    console.print(Text(f"the webhook of {inert(id)} is removed"), soft_wrap=True)


@sources_app.command("format")
def sources_format(
    id: SourceId,
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="A catalogue entry, or auto: by content.")],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Read all that a source sends with one catalogue entry.

    From now on; what that gives shows `sources test --format FORMAT`, with a file of records.
    """
    done = connect(server, data).post(f"/api/v1/sources/{id}/format", {"format": format})
    if as_json:
        print_json(done)
        return
    console.print(Text(f"{done['source']} is read as {done['format']}, before: {done['before']}"), soft_wrap=True)
    notes.print(Text("what is stored was read before; it is read again by: muniment rebuild", style="dim"))


@sources_app.command("connect")
def sourcesconnect(
    sender: Annotated[str, typer.Argument(metavar="SENDER", help=f"One of {_IDS}; none: list them.")] = "",
    key: Annotated[str, typer.Option(help="The key of the source, to stand in the text.")] = KEY_PLACEHOLDER,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """What to paste into a shipper, with this server's addresses. Nothing is changed."""
    found = _snippets(connect(server, data), key)
    if not sender:
        if as_json:
            print_json({"senders": [_as_dict(each) for each in found]})
        else:
            console.print(key_values([(each.id, each.words) for each in found]))
            notes.print(
                Text(
                    "one of them: muniment sources connect ID; with a key: muniment sources add NAME --for ID",
                    style="dim",
                )
            )
        return
    snippet = _of(found, sender)
    if as_json:
        print_json(_as_dict(snippet))
        return
    _print_snippet(snippet)
    if KEY_PLACEHOLDER in snippet.text:
        notes.print(f"{KEY_PLACEHOLDER} is a source's key: muniment sources add NAME --for {sender}", style="dim")
    elif not _has_key(sender):
        notes.print(Text("what comes is source 'syslog', or what syslog_networks or a certificate names", style="dim"))


@sources_app.command("test")
def sources_test(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Lines of a log, or JSON events.")],
    format: Annotated[str, typer.Option(help="Catalogue entry, or auto.")] = "auto",
    entry: Annotated[
        Path | None, typer.Option(help="A file with an entry of your own, known beside the shipped ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the events in a file become, without sending them."""
    from muniment.cli.offline import explain_file

    explain_file(file, format, as_json, entry)


@sources_app.command("new")
def sources_new(
    file: Annotated[
        Path, typer.Argument(help="Lines of a log, or JSON events: on a line each, over several lines, in an array.")
    ],
    name: Annotated[str, typer.Option("--name", help="Lower-case letters, digits and _.")] = "my_source",
) -> None:
    """Draft a catalogue entry from samples in a file.

    What it prints is to be corrected, tried with `sources test --entry`, and put in force with `sources accept`.
    """
    from muniment.cli.offline import draft_entry

    draft_entry(file, name)


@sources_app.command("unknown")
def sources_unknown(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Records that no catalogue entry knows; entries of your own."""
    answer = connect(server, data).get("/api/v1/formats")
    if as_json:
        print_json(answer)
        return
    if answer["unknown"]:
        print_table(
            ("group", "source", "program", "read as", "why", "seen", "newest"),
            [
                (g["id"], g["source"], inert(g["program"] or g["system"]), g["format"], inert(g["reason"] or "no entry knows it"), f"{g['count']:,}",
                 short_time(g["newest_time"]))
                for g in answer["unknown"]
            ],
        )  # fmt: skip
    for own in answer["own"]:
        console.print(
            Text(f"in force: {own['name']} ({own['title']}), {short_time(own['changed_at'])}"), soft_wrap=True
        )
    for problem in answer["problems"]:
        notes.print(Text(f"left out: {problem}", style="red"), soft_wrap=True)
    if not answer["unknown"]:
        notes.print(Text("every record of the last 30 days is read by an entry that knows it", style="dim"))
    else:
        notes.print(Text("an entry for one: muniment sources suggest GROUP > my.yaml", style="dim"))


@sources_app.command("suggest")
def sources_suggest(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="From `sources unknown`.")],
    server: Server = "",
    data: Data = "",
) -> None:
    """Print an entry for a group of records that none knows.

    It is to be corrected, tried with `sources test --entry`, and put in force with `sources accept`.
    """
    answer = connect(server, data).get(f"/api/v1/formats/{group}")
    if answer["problem"]:
        raise RejectedError(answer["problem"], field="group")
    console.out(answer["text"], end="", highlight=False)


@sources_app.command("accept")
def sources_accept(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A catalogue entry.")],
    source: Annotated[str, typer.Option(help="Read everything that this source sends with it.")] = "",
    server: Server = "",
    data: Data = "",
) -> None:
    """Put an entry of your own in force, for what comes from now on."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RejectedError(f"cannot read it: {_why(error)}", field=str(file)) from error
    try:
        done = connect(server, data).post("/api/v1/formats", {"text": text, "source": source})
    except RejectedError as error:  # the server knows the text alone
        place = error.field.removeprefix("entry.yaml")
        raise RejectedError(error.reason, field=error.field if place == error.field else f"{file}{place}") from error
    console.print(Text(f"{done['name']} ({done['title']}) is in force"), soft_wrap=True)
    notes.print(Text("what is stored was read before; it is read again by: muniment rebuild", style="dim"))


@sources_app.command("withdraw")
def sources_withdraw(
    name: Annotated[str, typer.Argument(metavar="ENTRY", help="Its name, from `sources unknown`.")],
    server: Server = "",
    data: Data = "",
) -> None:
    """Take an entry of your own out of force."""
    done = connect(server, data).delete(f"/api/v1/formats/{name}")
    console.print(Text(f"{done['name']} is out of force"), soft_wrap=True)


def _print_key(client: Client, id: str, answer: dict[str, Any], sender: str, as_json: bool, title: str) -> None:
    if as_json and not sender:
        print_json(answer)
        return
    found = _snippets(client, answer["key"])
    if sender:
        snippet = _of(found, sender)
        if as_json:
            print_json(answer | {"snippet": _as_dict(snippet)})
            return
        notes.print(Text(f"{title}; its key is in the text", style="dim"))
        _print_snippet(snippet)
        return
    doors = _doors(client)
    console.print(f"{title}; its key, shown this once:\n\n  {answer['key']}\n", soft_wrap=True)
    console.print(Text("where to send", style="bold"))
    for name, door in (("HTTP", "http"), ("OTLP over gRPC", "otlp-grpc")):
        if door in doors:
            console.print(f"  {name}: {doors[door]}", soft_wrap=True)
    console.print(Text("\ntry it", style="bold"))
    _print_snippet(_of(found, "curl"))
    others = ", ".join(each.id for each in found if each.id != "curl")
    console.print(Text(f"\nother senders: muniment sources connect SENDER --key KEY\n({others})", style="dim"))


def _check_has_key(sender: str) -> None:
    """Before a source is made: syslog senders show no key, so a source of their own would never be heard."""
    if sender and sender not in {way.id for way in WAYS}:
        raise RejectedError(f"there is no {sender!r}; there are {_IDS}", field="for")
    if sender and not _has_key(sender):
        raise RejectedError(
            f"{sender} shows no key and needs no source of its own: muniment sources connect {sender}", field="for"
        )


def _has_key(sender: str) -> bool:
    return any(way.id == sender and way.has_key for way in WAYS)


def _doors(client: Client) -> dict[str, str]:
    status = client.get("/api/v1/status")
    return {name: address for name, (address, is_open, *_) in status["doors"].items() if is_open}


def _snippets(client: Client, key: str) -> tuple[Snippet, ...]:
    return snippets(_doors(client), key)


def _of(found: tuple[Snippet, ...], sender: str) -> Snippet:
    for each in found:
        if each.id == sender:
            return each
    if any(way.id == sender for way in WAYS):
        raise RejectedError(f"the door that {sender} needs is closed on this server", field="sender")
    raise RejectedError(f"there is no {sender!r}; there are {_IDS}", field="sender")


def _print_snippet(snippet: Snippet) -> None:
    """As it is, to be pasted or redirected into a file: no line is broken, nothing is coloured."""
    console.print(Text(snippet.text), soft_wrap=True)


def _as_dict(snippet: Snippet) -> dict[str, str]:
    return {
        "id": snippet.id,
        "title": snippet.title,
        "words": snippet.words,
        "language": snippet.language,
        "text": snippet.text,
    }
