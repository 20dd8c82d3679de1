"""`muniment cases`: what is worked on together, its timeline, what is decided about it, its evidence file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import bytes_text, console, inert, key_values, notes, print_json, print_table, short_time

__all__ = ["cases_app"]

cases_app = typer.Typer(help="Cases: open, look at, decide about, take the evidence of.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="From `cases list`.")]


@cases_app.command("list")
def cases_list(
    state: Annotated[str, typer.Option(help="active (not closed), open, contained or closed; empty: all.")] = "active",
    owner: Annotated[str, typer.Option(help="Whose; - for nobody's.")] = "",
    about: Annotated[str, typer.Option(help="About this address, range or account.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Cases, the newest change first."""
    answer = connect(server, data).get("/api/v1/cases", state=state, owner=owner, value=about)
    if as_json:
        print_json(answer)
        return
    if not answer["cases"]:
        notes.print(Text("no such case; one is opened from an alert: muniment cases open ALERT", style="dim"))
        return
    print_table(
        ("id", "when", "level", "state", "whose", "what", "about", "alerts", "rule by"),
        [
            (
                str(c["number"]), short_time(c["changed_at"])[5:16], c["level"], _state(c), inert(c["owner"]),
                inert(c["title"]), inert(", ".join(each["value"] for each in c["about"])), str(len(c["alerts"])),
                inert(_authors(c)),
            )
            for c in answer["cases"]
        ],
        below=("about", "whose", "alerts", "rule by"),
    )  # fmt: skip


@cases_app.command("show")
def cases_show(number: Number, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One case: its timeline, gaps and notes."""
    found = connect(server, data).get(f"/api/v1/cases/{number}")
    if as_json:
        print_json(found)
        return
    c = found["case"]
    console.print(Text.assemble((f"case {number}  {c['level']}  ", ""), (inert(c["title"]), "bold")), soft_wrap=True)
    console.print(Text(inert(c["sentence"])), soft_wrap=True)
    facts = [
        ("state", _state(c)), ("why", inert(c["reason"])), ("whose", inert(c["owner"]) or "nobody's"),
        ("about", inert(", ".join(f"{each['kind']} {each['value']}" for each in c["about"]))),
        ("alerts", inert("; ".join(f"{a['title']} ({a['state']}, rule by {a['author']})" for a in c["alerts"]))),
        ("sources", inert(", ".join(found["sources"]))), ("opened", f"{short_time(c['opened_at'])} by {inert(c['opened_by'])}"),
    ]  # fmt: skip
    console.print(key_values([(name, value) for name, value in facts if value]))
    rows = [
        *((each["at_us"], _line(each)) for each in found["lines"]),
        *((g["from_us"], _gap(g)) for g in found["gaps"]),
    ]
    print_table(
        ("when", "who", "what", "from", "source", "phase", "index"),
        [row for _, row in sorted(rows, key=lambda each: each[0])],
        below=("who", "from", "source", "phase"),
    )
    if found["n_untold"]:
        notes.print(
            Text(
                f"{found['n_untold']:,} less telling lines of {found['n_untold_events']:,} records had no room",
                style="dim",
            )
        )
    for line in found["left_out"]:
        said = f"taken out by {line['mark_by']} ({line['mark_reason']}): {line['text']}"
        notes.print(Text(inert(said), style="dim"), soft_wrap=True)
    for note in found["notes"]:
        console.print(Text(f"{short_time(note['at'])} {inert(note['by'])}: {inert(note['text'])}"), soft_wrap=True)


@cases_app.command("open")
def cases_open(alert: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Open a case from an alert.

    What is open about the same comes with it. Where the alert is in a case already, that one is named.
    """
    answer = connect(server, data).post("/api/v1/cases", {"alert": alert})
    if as_json:
        print_json(answer)
        return
    c = answer["case"]
    words = "opened" if answer["is_new"] else "there is one already"
    console.print(Text(f"case {c['number']}: {words}; its timeline: muniment cases show {c['number']}"), soft_wrap=True)


@cases_app.command("add")
def cases_add(number: Number, alert: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Put another alert into a case."""
    _changed(connect(server, data).post(f"/api/v1/cases/{number}/alerts", {"alert": alert}), as_json)


@cases_app.command("contain")
def cases_contain(number: Number, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Say that it does not spread any more."""
    _set_state(number, {"state": "contained"}, server, data, as_json)


@cases_app.command("close")
def cases_close(
    number: Number,
    verdict: Annotated[str, typer.Option(help="true_positive, false_positive, benign, test, duplicate, ...")],
    reason: Annotated[str, typer.Option(help="Why.")],
    with_alerts: Annotated[bool, typer.Option("--with-alerts", help="Its open alerts, too.")] = False,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Close a case: what it was, and why."""
    body = {"state": "closed", "verdict": verdict, "reason": reason, "with_alerts": with_alerts}
    _set_state(number, body, server, data, as_json)


@cases_app.command("reopen")
def cases_reopen(number: Number, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Open a closed case again."""
    _set_state(number, {"state": "open"}, server, data, as_json)


@cases_app.command("assign")
def cases_assign(
    number: Number,
    to: Annotated[str, typer.Option(help="Who has it now; empty: nobody.")] = "",
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Give a case to somebody, or to nobody."""
    client = connect(server, data)
    version = client.get(f"/api/v1/cases/{number}")["case"]["version"]
    _changed(client.post(f"/api/v1/cases/{number}/owner", {"owner": to, "version": version}), as_json)


@cases_app.command("note")
def cases_note(number: Number, text: str, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Write something to a case."""
    _changed(connect(server, data).post(f"/api/v1/cases/{number}/notes", {"text": text}), as_json)


@cases_app.command("pin")
def cases_pin(
    number: Number,
    record: Annotated[int, typer.Argument(min=0, help="The number of a record.")],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Put a record into the timeline.

    Whatever the draft says.
    """
    _mark(number, record, "pinned", "", server, data, as_json)


@cases_app.command("leave-out")
def cases_leave_out(
    number: Number,
    record: Annotated[int, typer.Argument(min=0, help="The record of the line, from `cases show`.")],
    reason: Annotated[str, typer.Option(help="Why it does not belong there.")],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Take a line out of the timeline.

    It stays listed as taken out.
    """
    _mark(number, record, "left_out", reason, server, data, as_json)


@cases_app.command("put-back")
def cases_put_back(
    number: Number,
    record: Annotated[int, typer.Argument(min=0, help="The record that was pinned or left out.")],
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Leave a record to the draft again."""
    _mark(number, record, "drafted", "", server, data, as_json)


@cases_app.command("evidence")
def cases_evidence(
    number: Number,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = Path(),
    server: Server = "",
    data: Data = "",
) -> None:
    """Write the evidence file of a case.

    Every record of its timeline, with its proof.
    """
    path = out if out != Path() else Path(f"muniment-case-{number}.zip")
    client = connect(server, data)
    content = client.raw(f"/api/v1/cases/{number}/evidence")
    path.write_bytes(content)
    pinned = " ".join(f"--vkey '{key}'" for key in client.get("/api/v1/log-keys")["vkeys"])
    notes.print(f"written {path}, {bytes_text(len(content))}; it verifies anywhere, with the log's public key:")
    notes.print(Text(f"  python -m muniment.evidence {path} {pinned}"))


def _set_state(number: int, body: dict[str, Any], server: str, data: str, as_json: bool) -> None:
    client = connect(server, data)
    version = client.get(f"/api/v1/cases/{number}")["case"]["version"]
    _changed(client.post(f"/api/v1/cases/{number}/state", body | {"version": version}), as_json)


def _mark(number: int, record: int, mark: str, reason: str, server: str, data: str, as_json: bool) -> None:
    body = {"index": record, "mark": mark, "reason": reason}
    _changed(connect(server, data).post(f"/api/v1/cases/{number}/marks", body), as_json)


def _changed(case: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(case)
    else:
        whose = f"{case['owner']}'s" if case["owner"] else "nobody's"
        console.print(Text(f"case {case['number']}: {_state(case)}, {inert(whose)}"), soft_wrap=True)


def _state(case: dict[str, Any]) -> str:
    return f"closed: {case['verdict']}" if case["verdict"] else str(case["state"])


def _authors(case: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(each["author"] for each in case["alerts"] if each["author"]))


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    who = ", ".join(line["who"]) if line["n_who"] <= 1 else f"{line['n_who']} accounts"
    pinned = "pinned: " if line["mark"] == "pinned" else ""
    said = line["text"].removeprefix(f"{who}: ")  # who stands beside it
    record = str(line["index"]) if line["index"] >= 0 else ""
    return (
        short_time(line["at_us"] * 1_000), inert(who), inert(pinned + said), inert(line["address"]),
        inert(line["source"]), line["phase"], record,
    )  # fmt: skip


def _gap(gap: dict[str, Any]) -> tuple[str, ...]:
    until = "now" if gap["is_open"] else short_time(gap["to_us"] * 1_000)
    what = f"not heard until {until}; expected every {gap['rhythm_s']} s"
    return short_time(gap["from_us"] * 1_000), "", what, "", inert(gap["source"]), "gap", ""
