"""`muniment alerts`, `blocks` and `orders`: what rules found, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, key_values, notes, print_json, print_table, short_time
from muniment.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment.cli.client import Client

__all__ = ["alerts_app", "blocks_app", "orders_app"]

alerts_app = typer.Typer(help="What rules found: list, show, take up, be done with.", no_args_is_help=True)
blocks_app = typer.Typer(help="Addresses, accounts and keys that are blocked.", no_args_is_help=True)
orders_app = typer.Typer(help="What other systems are asked to do: end an account's sessions.", no_args_is_help=True)
_LEVELS = {"critical": "red bold", "high": "red", "medium": "yellow"}


# --- alerts -----------------------------------------------------------------------------------------------------------


@alerts_app.command("list")
def alerts_list(
    state: Annotated[str, typer.Option(help="open, new, in_progress, suppressed or resolved; empty: all.")] = "open",
    level: Annotated[str, typer.Option(help="informational, low, medium, high or critical.")] = "",
    entity: Annotated[str, typer.Option(help="About this account, address or host.")] = "",
    rule: Annotated[str, typer.Option(help="Of this rule: its id, or its name or title where it has none.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Alerts, the newest first."""
    asked = {"state": state, "level": level, "entity": entity, "rule": rule, "limit": limit}
    answer = connect(server, data).get("/api/v1/alerts", **asked)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("when", "level", "events", "alert", "about", "let in", "state", "rule by", "id"),
        [
            (
                short_time(a["last_us"] * 1_000)[5:16], Text(a["level"], style=_LEVELS.get(a["level"], "")),
                f"{a['count']:,}", inert(a["title"]), inert(", ".join(a["group"].values())), _let_in(a),
                a["state"], inert(a["author"]), a["uid"][:8],
            )
            for a in answer["alerts"]
        ],
        below=("about", "events", "let in", "state", "rule by"),
    )  # fmt: skip
    seen, shown = answer["evaluated"], len(answer["alerts"])
    cut = f"{shown:,} of {answer['total']:,} alerts (more: --limit)" if shown < answer["total"] else f"{shown:,} alerts"
    words = (
        f"{cut}; evaluated to {short_time(seen['to_time']) if seen['to_time'] else 'nothing yet'} "
        f"for {seen['n_fresh']} of {seen['n_sources']} sources{' that feed the rule' if rule else ''}"
    )
    notes.print(Text(words + (f"; {seen['problem']}" if seen["problem"] else ""), style="dim"), soft_wrap=True)


def _let_in(alert: dict[str, Any]) -> Text:
    """Did any succeed? Who was, `-` for nobody, nothing where that is no question."""
    found = alert["admitted"]
    if found is None:
        return Text()
    return Text(inert(", ".join(found["who"][:3])) or str(found["count"]), style="red") if found["count"] else Text("-")


def _counted(a: Mapping[str, Any], name: str, values: Sequence[str]) -> list[str]:
    """What an alert names; of several addresses with how many events came from each."""
    counts = a["address_counts"] if name == "addresses" and len(values) > 1 else {}
    return [f"{each} ({counts[each]:,})" if each in counts else each for each in values]


@alerts_app.command("show")
def alerts_show(uid: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One alert: what it is about, why, what to do, its events."""
    a = connect(server, data).get(f"/api/v1/alerts/{uid}")
    if as_json:
        print_json(a)
        return
    console.print(Text.assemble((f"{a['level']}  ", _LEVELS.get(a["level"], "")), (inert(a["title"]), "bold")))
    found = [
        ("about", inert(", ".join(f"{name} {value}" for name, value in a["group"].items()))),
        ("events", f"{a['count']:,}, {short_time(a['first_us'] * 1_000)} to {short_time(a['last_us'] * 1_000)}"),
        ("why", inert(a["why"])),
        ("state", inert(" ".join((a["state"], a["state_by"], a["state_reason"])))),
        ("whose", inert(a["assignee"])),
        ("rule by", inert(a["author"])),
        ("let in", _let_in(a).plain),
        ("ATT&CK", inert(", ".join(f"{each['id']} {each['name']}" for each in a["techniques"]))),
        ("tags", inert(" ".join(tag for tag in a["tags"] if not tag.startswith("attack.t")))),
        *((name, inert(", ".join(_counted(a, name, values)))) for name, values in a["values"].items() if values),
    ]
    console.print(key_values([(name, value) for name, value in found if value]))
    for line in a["description"].splitlines():
        console.print(Text(inert(line)), soft_wrap=True)
    for step in a["steps"]:
        said = f": {step['text']}" if step["text"] else ""
        notes.print(Text(f"{short_time(step['at_ns'])} {inert(step['by'])} {step['what']}{inert(said)}", style="dim"))
    if a["evidence"]:
        shown = " OR ".join(f"index:{index}" for index in a["evidence"][-10:])
        notes.print(Text(f"its events: muniment search '{shown}'", style="dim"), soft_wrap=True)


@alerts_app.command("set")
def alerts_set(
    uid: str,
    state: Annotated[str, typer.Argument(help="new, in_progress, suppressed or resolved.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Take an alert up, or be done with it."""
    a = connect(server, data).post(f"/api/v1/alerts/{uid}/state", {"state": state, "reason": reason})
    if as_json:
        print_json(a)
    else:
        console.print(Text(f"{inert(a['title'])}: {a['state']}"), soft_wrap=True)


@alerts_app.command("comment")
def alerts_comment(uid: str, text: str, server: Server = "", data: Data = "") -> None:
    """Write something to an alert."""
    a = connect(server, data).post(f"/api/v1/alerts/{uid}/comment", {"text": text})
    console.print(Text(f"{inert(a['title'])}: written"), soft_wrap=True)


@alerts_app.command("assign")
def alerts_assign(
    uid: str,
    to: Annotated[str, typer.Option(help="Who has it now; empty: nobody.")] = "",
    server: Server = "",
    data: Data = "",
) -> None:
    """Give an alert to somebody, or to nobody."""
    a = connect(server, data).post(f"/api/v1/alerts/{uid}/assign", {"assignee": to})
    console.print(Text(f"{inert(a['title'])}: {inert(a['assignee']) or 'nobody'}"), soft_wrap=True)


# --- blocks -----------------------------------------------------------------------------------------------------------


_BLOCK_KINDS = ("address", "range", "account", "key")
_ID_CHARS = 36
_ID_CHARS_MIN = 4  # fewer are no name of one block, and empty ones would be that of the only one
BlockKind = Annotated[
    str, typer.Argument(metavar="KIND", help=f"{', '.join(_BLOCK_KINDS[:-1])} or {_BLOCK_KINDS[-1]}.")
]
BlockValue = Annotated[str, typer.Argument(metavar="VALUE", help="Such as 203.0.113.7, 203.0.113.0/24 or an account.")]
BlockId = Annotated[str, typer.Argument(metavar="ID", help="From `blocks list`, or its beginning.")]


@blocks_app.command("list")
def blocks_list(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Every block, the newest first."""
    answer = connect(server, data).get("/api/v1/blocks")
    if as_json:
        print_json(answer)
        return
    if not answer["blocks"]:
        notes.print(Text("nothing is blocked; what a block would hit: muniment blocks preview KIND VALUE", style="dim"))
        return
    print_table(
        ("kind", "value", "state", "until", "by", "reason", "id"),
        [
            (
                b["kind"], inert(b["value"]), b["state"], short_time(b["expires_at"])[:16] if b["expires_at"] else "",
                inert(b["asked_by"]), inert(b["reason"]), b["id"][:8],
            )
            for b in answer["blocks"]
        ],
        below=("by", "reason"),
    )  # fmt: skip


@blocks_app.command("show")
def blocks_show(id: BlockId, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One block, and what has come from there since."""
    client = connect(server, data)
    b = client.get(f"/api/v1/blocks/{_whole_id(client, id)}")
    if as_json:
        print_json(b)
        return
    tries = f"{b['attempts_since']:,}" + (f", the last {short_time(b['last_us'] * 1_000)}" if b["last_us"] else "")
    found = [
        (b["kind"], inert(b["value"])),
        ("state", b["state"]),
        ("asked by", inert(_asker(b))),
        ("agreed by", inert(b["approved_by"])),
        ("since", short_time(b["active_at"]) if b["active_at"] else ""),
        ("ended" if b["ended_at"] else "until", short_time(b["ended_at"] or b["expires_at"])),
        ("reason", inert(b["reason"])),
        ("tries since", f"{tries}; seen to {short_time(b['seen_to'])}" if b["active_at"] else ""),
        ("fetched", (short_time(b["taken_at"]) if b["taken_at"] else "by nobody yet") if b["active_at"] else ""),
    ]
    console.print(key_values([(name, value) for name, value in found if value]))


def _asker(block: dict[str, Any]) -> str:
    """A key is nobody, so it says whose request it is: two people are two people."""
    by, person = str(block["asked_by"]), str(block["asked_person"])
    return by if person and by.startswith(person) else f"{by} for {person or 'nobody in particular'}"


@blocks_app.command("preview")
def blocks_preview(
    kind: BlockKind, value: BlockValue, server: Server = "", data: Data = "", as_json: AsJson = False
) -> None:
    """What a block would have hit in thirty days."""
    _check_kind(kind)
    answer = connect(server, data).post("/api/v1/blocks/preview", {"kind": kind, "value": value})
    if as_json:
        print_json(answer)
    else:
        _show_preview(answer)


@blocks_app.command("add")
def blocks_add(
    kind: BlockKind,
    value: BlockValue,
    reason: Annotated[str, typer.Option(help="Why.")],
    hours: Annotated[int, typer.Option(min=1, max=2160)] = 24,
    alert: Annotated[str, typer.Option(help="The alert it is for.")] = "",
    accounts: Annotated[int, typer.Option(help="How many accounts it shuts out, where many share it.")] = 0,
    end_sessions: Annotated[bool, typer.Option("--end-sessions", help="End the account's sessions, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after the preview.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Block an address, range, account or key after a preview."""
    _check_kind(kind)
    client = connect(server, data)
    preview = client.post("/api/v1/blocks/preview", {"kind": kind, "value": value})
    if not as_json:
        _show_preview(preview)
    if preview["offices"] and not yes:  # nobody is asked what cannot be done
        office = preview["offices"][0]
        raise RejectedError(
            f"{office['network']} ({inert(office['title'])}) must not be blocked", field="value", status=409
        )
    if preview["refusal"]:
        raise RejectedError(preview["refusal"], field="value", status=409)
    if not yes and not typer.confirm(f"block {inert(value)} for {hours} hours?", err=True):
        raise typer.Exit(1)
    body = {
        "kind": kind,
        "value": value,
        "preview": preview["preview"],
        "reason": reason,
        "hours": hours,
        "alert": alert,
        "accounts": accounts or _accounts(preview, yes),
        "end_sessions": end_sessions,
    }
    done = client.post("/api/v1/blocks", body)
    if as_json:
        print_json(done)
    elif done["state"] == "asked":
        console.print(Text(f"asked: a second person agrees with: muniment blocks approve {done['id']}"), soft_wrap=True)
    else:
        console.print(Text(f"{done['state']}; undone with: muniment blocks undo {done['id']}"), soft_wrap=True)


@blocks_app.command("approve")
def blocks_approve(
    id: BlockId,
    accounts: Annotated[int, typer.Option(help="How many accounts it shuts out, where many share it.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after the preview.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Agree to a block that somebody else asked for.

    What it hits is shown before.
    """
    client = connect(server, data)
    id = _whole_id(client, id)
    hits = client.get(f"/api/v1/blocks/{id}/hits")
    if not as_json:
        _show_preview(hits)
    if not yes and not typer.confirm(f"agree to block {inert(hits['value'])}?", err=True):
        raise typer.Exit(1)
    body = {"accounts": accounts or _accounts(hits, yes)}
    block = client.post(f"/api/v1/blocks/{id}/approve", body)
    if block["state"] == "asked":
        notes.print("asked with a key of nobody's, so it is your request now: another person agrees to it")
    _changed(block, as_json)


@blocks_app.command("undo")
def blocks_undo(id: BlockId, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """End a block now."""
    client = connect(server, data)
    _changed(client.post(f"/api/v1/blocks/{_whole_id(client, id)}/undo"), as_json)


def _check_kind(kind: str) -> None:
    if kind not in _BLOCK_KINDS:
        raise RejectedError(f"must be one of {', '.join(_BLOCK_KINDS)}, got {kind!r}", field="kind")


def _whole_id(client: Client, id: str) -> str:
    """The id of the block that begins so, as the list shows them."""
    if len(id) >= _ID_CHARS:
        return id
    if len(id) < _ID_CHARS_MIN:
        raise RejectedError(f"write at least {_ID_CHARS_MIN} characters of it", field="id")
    found = [block["id"] for block in client.get("/api/v1/blocks")["blocks"] if block["id"].startswith(id)]
    if len(found) > 1:
        raise RejectedError(f"{len(found)} blocks begin with {id!r}; write more of it", field="id")
    return str(found[0]) if found else id


def _accounts(preview: dict[str, Any], is_silent: bool) -> int:
    """Where many share an address, whoever blocks it types how many they are."""
    if is_silent or not preview["is_shared"]:
        return 0
    words = f"{preview['n_people']} accounts work from there and will be shut out; type their number to go on"
    return int(typer.prompt(words, type=int, err=True))


def _changed(block: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(block)
    else:
        console.print(Text(f"{block['kind']} {inert(block['value'])}: {block['state']}"), soft_wrap=True)


def _show_preview(p: dict[str, Any]) -> None:
    console.print(Text(inert(p["verdict"]), style="bold"), soft_wrap=True)
    found = [
        ("in 30 days", f"{_events(p['events'])}: {p['successes']:,} succeeded, {p['failures']:,} failed"),
        ("people let in", inert(", ".join(f"{each['value']} ({each['count']})" for each in p["people"]))),
        ("offices", inert(", ".join(f"{each['title']} {each['network']}" for each in p["offices"]))),
        ("stays open", inert(p["refusal"])),
        (
            "not to be taken for",
            inert("; ".join(map(_near, p["near"]))),
        ),
        ("second person", "needed" if p["needs_second_person"] else "not needed"),
    ]
    console.print(key_values([(name, value) for name, value in found if value]))


def _near(n: Mapping[str, Any]) -> str:
    return f"{n['value']} ({_events(n['count'])}, {n['why']})"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


# --- orders -----------------------------------------------------------------------------------------------------------


@orders_app.command("list")
def orders_list(
    account: Annotated[str, typer.Option(help="About this account; empty: all.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """What was asked, and what was answered, the newest first."""
    answer = connect(server, data).get("/api/v1/orders", **({"account": account} if account else {}))
    if as_json:
        print_json(answer)
        return
    print_table(
        ("asked", "account", "state", "answers", "by", "reason", "id"),
        [
            (
                short_time(o["asked_at"]), inert(o["account"]), o["state"], inert(_said(o)), inert(o["asked_by"]),
                inert(o["reason"]), o["id"],
            )
            for o in answer["orders"]
        ],
        below=("account", "answers", "by", "reason"),
    )  # fmt: skip
    if not answer["is_possible"]:
        notes.print(Text("nobody is configured who ends sessions (docs/how-to/detect.md)", style="dim"), soft_wrap=True)


@orders_app.command("end-sessions")
def orders_end_sessions(
    account: str,
    reason: Annotated[str, typer.Option(help="Why, without the account in it.")],
    alert: Annotated[str, typer.Option(help="The alert it is for.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """End every session of an account.

    By the webhook that the operator configured for it.
    """
    if not yes and not typer.confirm(f"end {inert(account)}'s sessions?", err=True):
        raise typer.Exit(1)
    body = {"type": "sessions.end", "account": account, "reason": reason, "alert": alert}
    made = connect(server, data).post("/api/v1/orders", body)
    if as_json:
        print_json(made)
    else:
        console.print(Text(f"asked; what is answered: muniment orders show {made['id']}"), soft_wrap=True)


@orders_app.command("show")
def orders_show(id: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One order and its answers."""
    o = connect(server, data).get(f"/api/v1/orders/{id}")
    if as_json:
        print_json(o)
        return
    found = [
        ("account", inert(o["account"])), ("asked", f"{short_time(o['asked_at'])} by {inert(o['asked_by'])}"),
        ("why", inert(o["reason"])), ("state", o["state"]), ("answers", inert(_said(o))), ("block", o["block"]),
    ]  # fmt: skip
    console.print(key_values([(name, value) for name, value in found if value]))


def _said(order: dict[str, Any]) -> str:
    return "; ".join(f"{a['action']}: {a['remark'] or a['state']}" for a in order["answers"])
