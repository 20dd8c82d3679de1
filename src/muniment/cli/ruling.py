"""`muniment rules` of a server: which run and what feeds them, one of them, back-tests, switches, exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import console, inert, key_values, notes, print_json, print_table, short_time
from muniment.cli.rules import LEVELS, STYLES, rules_app
from muniment.errors import RejectedError

if TYPE_CHECKING:
    from muniment.cli.client import Client

__all__ = ["rules_app"]

Which = Annotated[
    str,
    typer.Argument(
        metavar="RULE", help="Its title or a part of it, its name, or its id or the end of it.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.", show_default=False)]
_END_MIN = 6
_SHOWN_DAYS = 14
_SHOWN_HITS = 20


def _found(client: Client, wanted: str) -> dict[str, Any]:
    """The one rule that is meant. Raises RejectedError: none, or several."""
    listed = client.get("/api/v1/rules")["rules"]
    words = wanted.lower()
    exact = [r for r in listed if words in (r["key"].lower(), r["title"].lower(), r["name"].lower())]
    near = exact or [r for r in listed if _is_like(r, words)]
    if len(near) == 1:
        rule: dict[str, Any] = near[0]
        return rule
    if not near:
        raise RejectedError(f"no rule is called {wanted!r}; `muniment rules list` shows all", field="RULE")
    ends = _ends(listed)
    some = ", ".join(f"{ends[r['key']]} {r['title']}" for r in near[:5])
    more = f" and {len(near) - 5} more" if len(near) > 5 else ""
    raise RejectedError(f"{wanted!r} may be one of {len(near)} rules: {some}{more}", field="RULE")


def _is_like(rule: dict[str, Any], words: str) -> bool:
    key = rule["key"].lower()
    return key.startswith(words) or key.endswith(words) or words in rule["title"].lower()


def _ends(rules: Sequence[dict[str, Any]]) -> dict[str, str]:
    """By id its end, as long as it must be to mean one rule: ids of one author often begin alike."""
    keys = [r["key"] for r in rules]
    for size in range(_END_MIN, max(map(len, keys), default=_END_MIN)):
        if len({key[-size:] for key in keys}) == len(keys):
            return {key: key[-size:] for key in keys}
    return {key: key for key in keys}


def _state(rule: dict[str, Any]) -> str:
    return "runs" if rule["is_on"] else "paused" if rule["by"] == "muniment" else "off"


@rules_app.command("list")
def list_rules(
    show: Annotated[
        str, typer.Option(help="all, running, off, or paper: those that no source feeds.", metavar="WHICH")
    ] = "all",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """The rules of a server, what feeds them, and their matches."""
    if show not in {"all", "running", "off", "paper"}:
        raise RejectedError(f"must be all, running, off or paper, got {show!r}", field="show")
    answer = connect(server, data).get("/api/v1/rules")
    if as_json:
        print_json(answer)
        return
    wanted = [
        r
        for r in answer["rules"]
        if show == "all" or (r["is_on"] == (show != "off") and (show != "paper" or not r["sources"]))
    ]
    ends = _ends(answer["rules"])
    wanted.sort(key=lambda r: (LEVELS.index(r["level"]) if r["level"] in LEVELS else 9, r["title"]))
    print_table(
        ("level", "rule", "state", "fed by", "day", "month", "author", "id"),
        [
            (
                Text(r["level"], STYLES.get(r["level"], "")), inert(r["title"]), _state(r),
                inert(_feeders(r, with_missing=show == "paper")), f"{r['matches_day']:,}", f"{r['matches_month']:,}",
                inert(r["author"]), inert(ends[r["key"]]),
            )
            for r in wanted
        ],
        below=("fed by", "day", "month", "author"),
    )  # fmt: skip
    if not wanted:
        notes.print(Text(f"no rule is {show}" if answer["rules"] else "there are no rules", style="dim"))
    notes.print(Text(f"what feeds them: as of {short_time(answer['fed_at'])}", style="dim"))
    for each in answer["refused"]:
        where = ":".join([each["file"], *(str(n) for n in (each["line"], each["column"]) if n)])
        notes.print(
            Text(
                f"cannot be run: {inert(where)} {inert(each['reason'].rstrip('.'))}. {inert(each['fix'])}", style="red"
            )
        )


def _feeders(rule: dict[str, Any], *, with_missing: bool) -> str:
    missing = f"; missing: {rule['missing']}" if with_missing and rule["missing"] else ""
    return ", ".join(rule["sources"]) or f"no source{missing}"


@rules_app.command("show")
def show(which: Which, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One rule: its state, what feeds it, its matches and text."""
    client = connect(server, data)
    one = client.get("/api/v1/rules/one", rule=_found(client, which)["key"])
    if as_json:
        print_json(one)
        return
    rule, seen = one["rule"], one["evaluated"]
    console.print(Text.assemble((f"{rule['level']}  ", STYLES.get(rule["level"], "")), (inert(rule["title"]), "bold")))
    said = f" by {rule['by']}: {rule['reason']}" if rule["reason"] else ""
    found = [
        ("id", inert(rule["key"])),
        ("state", inert(_state(rule) + said)),
        ("fed by", inert(f"{_feeders(rule, with_missing=True)} (as of {short_time(one['fed_at'])})")),
        ("matches", f"{rule['matches_day']:,} in a day, {rule['matches_month']:,} in 30"),
        ("alerts", f"{rule['alerts']:,}" + (f", last {short_time(one['last_alert_us'] * 1_000)}" if one["last_alert_us"] else "")),
        ("evaluated", f"to {short_time(seen['to_time'])} for {seen['n_fresh']} of {seen['n_sources']} sources that feed it" if seen["to_time"] else ""),
        ("ATT&CK", inert(", ".join(f"{each['id']} {each['name']}" for each in rule["techniques"]))),
        ("rule by", inert(rule["author"])),
        ("file", inert(f"{rule['file']}:{one['line']}" if one["line"] else rule["file"])),
        ("remarks", inert("; ".join(rule["remarks"]))),
    ]  # fmt: skip
    console.print(key_values([(name, value) for name, value in found if value]))
    for line in one["text"].splitlines():
        console.print(Text(inert(line)), soft_wrap=True)


@rules_app.command("backtest")
def back_test(
    which: Which,
    since: Annotated[str, typer.Option(help="From when: -90d, -12h, or a time (RFC 3339).")] = "-90d",
    until: Annotated[str, typer.Option(help="To when.")] = "now",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """What a rule would have found in what is stored.

    Try a rule so before you switch it on.
    """
    client = connect(server, data)
    rule = _found(client, which)
    # As `-90d` looks like an option, a bare `90d` means the same.
    start = f"-{since}" if since[:1].isdigit() and since[-1:] in "smhdw" else since
    answer = client.post("/api/v1/rules/backtest", {"rule": rule["key"], "start": start, "end": until})
    if as_json:
        print_json(answer)
        return
    days = sorted(answer["by_day"].items())
    most = max((count for _, count in days), default=1)
    for day, count in days[-_SHOWN_DAYS:]:
        console.print(f"{day}  {count:>8,}  {'#' * max(1, round(count * 40 / most))}")
    if len(days) > _SHOWN_DAYS:
        notes.print(Text(f"and {len(days) - _SHOWN_DAYS} days before", style="dim"))
    hits, span = answer["hits"], f"in {start[1:]}" if start.startswith("-") else f"since {start}"
    words = f"{rule['title']} (rule by {rule['author'] or 'nobody named'}): {hits:,} {'hit' if hits == 1 else 'hits'} {span}"
    console.print(Text(inert(words)), soft_wrap=True)
    if answer["indexes"]:
        shown = " OR ".join(f"index:{index}" for index in answer["indexes"][-_SHOWN_HITS:])
        notes.print(Text(f"here they are: muniment search '{shown}'", style="dim"), soft_wrap=True)


@rules_app.command("on")
def switch_on(which: Which, reason: Reason, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Let a rule run."""
    _switch(which, reason, server, data, as_json, is_on=True)


@rules_app.command("off")
def switch_off(which: Which, reason: Reason, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Let a rule run no more; what it found stays."""
    _switch(which, reason, server, data, as_json, is_on=False)


def _switch(which: str, reason: str, server: str, data: str, as_json: bool, *, is_on: bool) -> None:
    client = connect(server, data)
    rule = client.post("/api/v1/rules/switch", {"rule": _found(client, which)["key"], "is_on": is_on, "reason": reason})
    if as_json:
        print_json(rule)
    else:
        console.print(Text(f"{inert(rule['title'])}: {_state(rule)}"), soft_wrap=True)


@rules_app.command("exceptions")
def exceptions(
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """What rules overlook, why, until when, and what that hid."""
    client = connect(server, data)
    answer = client.get("/api/v1/rules/exceptions")
    if as_json:
        print_json(answer)
        return
    titles = {r["key"]: r["title"] for r in client.get("/api/v1/rules")["rules"]}
    shown = [each for each in answer["exceptions"] if every or each["is_active"]]
    print_table(
        ("number", "rule", "events", "why", "owner", "ends", "hid"),
        [
            (
                str(x["number"]), inert(titles.get(x["rule"], x["rule"]) or "every rule"), inert(x["query"]), inert(x["reason"]),
                inert(x["owner"]), short_time(x["expires_at"])[:16] + ("" if x["is_active"] else " (over)"), f"{x['hidden']:,}",
            )
            for x in shown
        ],
    )  # fmt: skip
    if not shown:
        notes.print(Text("no rule overlooks anything", style="dim"))


@rules_app.command("except")
def make_exception(
    which: Which,
    query: Annotated[str, typer.Argument(help="The events to overlook, as a search.", show_default=False)],
    reason: Reason,
    days: Annotated[int, typer.Option(min=1, max=365, help="For how long.")] = 30,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Let a rule overlook some events for a while.

    Who does it is the exception's owner.
    """
    client = connect(server, data)
    rule = _found(client, which)
    made = client.post(
        "/api/v1/rules/exceptions", {"rule": rule["key"], "query": query, "reason": reason, "days": days}
    )
    if as_json:
        print_json(made)
    else:
        console.print(
            Text(f"exception {made['number']}: {inert(rule['title'])} overlooks {inert(made['query'])} until {short_time(made['expires_at'])[:16]}"),
            soft_wrap=True,
        )  # fmt: skip


@rules_app.command("end-exception")
def end_exception(
    number: Annotated[int, typer.Argument(help="See `muniment rules exceptions`.", show_default=False)],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Let rules see such events again from now on."""
    ended = connect(server, data).post(f"/api/v1/rules/exceptions/{number}/end", {})
    if as_json:
        print_json(ended)
    else:
        console.print(Text(f"exception {ended['number']}: ended; it hid {ended['hidden']:,}"))
