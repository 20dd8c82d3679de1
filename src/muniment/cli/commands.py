"""The commands for readers: search, show, prove, verify, export, status. All others join `app` from modules of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from muniment import __version__
from muniment.cli.options import AsJson, Data, Server, connect
from muniment.cli.output import (
    bytes_text,
    console,
    event_cells,
    inert,
    key_values,
    notes,
    print_events,
    print_json,
    progress_bar,
    short_time,
    span_text,
)
from muniment.errors import AuditError, RejectedError, VerificationError

if TYPE_CHECKING:
    from muniment.cli.client import Client

__all__ = ["app", "follow_job", "report"]

app = typer.Typer(
    help="The internal audit log: who did what, to what, when, from where, with what outcome - and the proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class ExportFormat(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    OCSF = "ocsf"


Start = Annotated[str, typer.Option("--from", help="Start: RFC 3339, a date, or -24h.")]
End = Annotated[str, typer.Option("--to", help="End, not included: RFC 3339, a date, now, or -1h.")]


def report(error: AuditError) -> None:
    """An error on standard error, as a person wants to read it."""
    notes.print(Text.assemble(("error ", "bold red"), inert(str(error))))
    if isinstance(error, RejectedError) and error.column is not None:
        notes.print(Text(f"  at column {error.column + 1}", style="dim"))


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"muniment {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Muniment."""


@app.command()
def search(
    query: Annotated[
        list[str] | None, typer.Argument(help="For example: actor:anna action:user.* -outcome:success")
    ] = None,
    start: Start = "-24h",
    end: End = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Find events, newest first."""
    q = " ".join(query or [])
    try:
        answer = connect(server, data).get("/api/v1/search", q=q, start=start, end=end, limit=limit)
    except RejectedError as error:
        if error.column is not None and not as_json:
            notes.print(Text(f"  {inert(q)}\n  {' ' * error.column}^", style="yellow"))
        raise
    if as_json:
        print_json(answer)
        return
    for warning in answer["warnings"]:
        notes.print(Text.assemble(("note ", "yellow"), inert(warning)))
    if answer["rows"]:
        print_events(answer["rows"])
    elif start or end:
        _tell_outside(connect(server, data), q, start)
    _horizon(answer, len(answer["rows"]))


def _tell_outside(client: Client, q: str, start: str) -> None:
    """Nothing in the time that was asked for: when is the newest of all that the query finds?"""
    newest = client.get("/api/v1/search", q=q, limit=1)["rows"]
    if newest:
        since = f"since {start}" if start else "in this time"
        notes.print(
            Text(
                f"nothing {since}; the newest is of {short_time(newest[0]['time'])}: --from '' shows all",
                style="yellow",
            )
        )


def _horizon(answer: dict[str, Any], count: int) -> None:
    horizon = answer["horizon"]
    more = ", more with --limit" if answer["cursor"] else ""
    pending = f", {horizon['pending']:,} pending" if horizon["pending"] else ""
    notes.print(
        Text(
            f"{count} shown{more}; complete up to index {horizon['complete_to_index']}{pending}; {answer['took_ms']:.0f} ms",
            style="dim",
        )
    )


@app.command()
def tail(
    query: Annotated[list[str] | None, typer.Argument(help="Only events that match.")] = None,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Follow new events as they come. Ends with Ctrl+C."""
    client = connect(server, data)
    after: int | None = None
    while True:
        with client.stream("/api/v1/tail", q=" ".join(query or []), after=after) as response:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind == "row":
                    row = json.loads(line[6:])
                    after = max(after or 0, int(row["index"]))
                    print_json(row) if as_json else console.print(_line(row), soft_wrap=True)
                    sys.stdout.flush()
        time.sleep(1)  # the server ended the stream: come back after the last row seen


def _line(row: dict[str, Any]) -> Text:
    """A line of the tail; on a terminal never longer than it is wide: the target gives way, then the person."""
    cells = event_cells(row)
    names = ["time", "who", "action", "target", "outcome", "source", "index"]
    too_long = sum(cells[name].cell_len for name in names) + len(names) - 1 - console.width
    for name, least in (("target", 6), ("who", 8), ("action", 8), ("source", 4)):
        cell = cells[name]
        if too_long > 0 and cell.cell_len > least:
            wanted = max(least, cell.cell_len - too_long)
            too_long -= cell.cell_len - wanted
            cell.truncate(wanted, overflow="ellipsis")
    return Text(" ").join(cells[name] for name in names)


@app.command()
def show(index: int, server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """One record: its fields and the original."""
    answer = connect(server, data).get(f"/api/v1/events/{index}")
    if as_json:
        print_json(answer)
        return
    columns = answer["columns"]
    console.print(
        key_values([(k, v) for k, v in columns.items() if v not in ("", 0, None, False, [], "::") and k != "record"])
    )
    console.print("\n[bold]original[/bold]")
    try:
        console.print_json(answer["record"])
    except ValueError:
        console.print(Text(inert(answer["record"])))


@app.command()
def proof(
    index: int,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the .tlog-proof here.")] = None,
    evidence: Annotated[Path | None, typer.Option(help="Write an evidence file (zip) here instead.")] = None,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """A record's proof, shown or as a file that verifies offline."""
    client = connect(server, data)
    if evidence is not None:
        content = client.raw("/api/v1/evidence", indexes=str(index))
        evidence.write_bytes(content)
        vkeys = client.get("/api/v1/log-keys")["vkeys"]
        if as_json:
            print_json({"written": str(evidence), "bytes": len(content), "vkeys": vkeys})
            return
        pinned = " ".join(f"--vkey '{vkey}'" for vkey in vkeys)
        notes.print(f"written {evidence}; it verifies anywhere, with the log's public key:")
        notes.print(f"  muniment verify {evidence} {pinned}")
    elif as_json:
        print_json(client.get(f"/api/v1/events/{index}/proof", format="json"))
    else:
        text = client.raw(f"/api/v1/events/{index}/proof")
        if out is None:
            sys.stdout.write(text.decode())
        else:
            out.write_bytes(text)
            notes.print(
                f"written {out}: the path from the record's leaf to the checkpoint, for a c2sp.org/tlog-proof reader"
            )
            notes.print(f"with the record itself, to be verified here: muniment proof {index} --evidence FILE.zip")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An evidence file; verified here, offline.")] = None,
    vkey: Annotated[list[str] | None, typer.Option(help="A pinned public key (repeatable).")] = None,
    folder: Annotated[Path | None, typer.Option(help="A ledger folder; verified here, without a server.")] = None,
    server: Server = "",
    data: Data = "",
    as_json: AsJson = False,
) -> None:
    """Verify an evidence file, a ledger folder or the server's ledger.

    Without either of the first two, the whole ledger of the running server.
    """
    if file is not None:
        from muniment.cli.offline import verify_evidence_file

        verify_evidence_file(file, vkey or [], as_json)
    elif folder is not None:
        from muniment.cli.offline import verify_folder

        verify_folder(folder, as_json)
    else:
        _job(connect(server, data), "verify", as_json)


@app.command()
def rebuild(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """Throw the search store away and make it anew from the ledger."""
    _job(connect(server, data), "rebuild", as_json)


def _job(client: Client, name: str, as_json: bool) -> None:
    follow_job(client, name, client.post(f"/api/v1/{name}", {} if name == "verify" else None), as_json, name)


def follow_job(client: Client, name: str, state: dict[str, Any], as_json: bool, title: str) -> None:
    """Watch a job of the server to its end, and say what came of it."""
    with progress_bar(not as_json) as progress:
        task = progress.add_task(title, total=None)
        while state["state"] == "running":
            time.sleep(0.3)
            state = client.get(f"/api/v1/{name}")
            progress.update(task, completed=state["done"], total=state["total"] or None)
    if as_json:
        print_json(state)
    if state["state"] == "failed":
        raise VerificationError(state["error"])
    if not as_json:
        console.print(Text(f"{title}: done", style="green"))
        console.print(key_values([(name.replace("_", " "), _said(value)) for name, value in state["result"].items()]))


@app.command()
def export(
    query: Annotated[list[str] | None, typer.Argument(help="Only events that match; none: all.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default standard output.")] = None,
    format: Annotated[ExportFormat, typer.Option(help="What to write.")] = ExportFormat.JSONL,
    start: Start = "",
    end: End = "",
    server: Server = "",
    data: Data = "",
    as_json: Annotated[bool, typer.Option("--json", help="With --out: say what was written as JSON.")] = False,
) -> None:
    """Write all matching events to a file, whole or not at all."""
    if as_json and out is None:
        raise RejectedError("says what was written to a file; name one with --out", field="--json")
    with connect(server, data).stream(
        "/api/v1/export", q=" ".join(query or []), start=start, end=end, format=format.value
    ) as response:
        if out is None:
            for chunk in response.iter_bytes():
                sys.stdout.buffer.write(chunk)
            return
        written = _write_whole(out, response.iter_bytes(), is_shown=not as_json)
    if as_json:
        print_json({"written": str(out), "bytes": written, "format": format.value})
    else:
        notes.print(f"written {out}, {written:,} bytes")


def _write_whole(out: Path, chunks: Iterator[bytes], *, is_shown: bool) -> int:
    """Into a file beside it first: a half export is never mistaken for a whole one. What is no file is written into."""
    is_plain = out.is_file() or not out.exists()
    part = out.with_name(f".{out.name}.part") if is_plain else out
    written = 0
    try:
        with part.open("wb") as sink, progress_bar(is_shown, is_bytes=True) as progress:
            task = progress.add_task("export", total=None)
            for chunk in chunks:
                sink.write(chunk)
                written += len(chunk)
                progress.update(task, completed=written)
        if is_plain:
            part.replace(out)
    except BaseException as error:
        if is_plain:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(out)
        raise
    return written


@app.command()
def status(server: Server = "", data: Data = "", as_json: AsJson = False) -> None:
    """How every part is doing. Exit code 1 when something is wrong."""
    answer = connect(server, data).get("/api/v1/status")
    if as_json:
        print_json(answer)
    else:
        healthy = answer["is_healthy"]
        console.print(Text("healthy", style="bold green") if healthy else Text("not healthy", style="bold red"))
        for problem in answer["problems"]:
            console.print(Text.assemble(("  ! ", "red"), inert(problem)))
        for part, pairs in _status_parts(answer):
            console.print(Text(f"\n{part}", style="bold"))
            console.print(key_values(pairs))
        notes.print(Text("\nwhat to paste into a sender: muniment sources connect", style="dim"))
    if not answer["is_healthy"]:
        raise typer.Exit(1)


def _status_parts(answer: dict[str, Any]) -> list[tuple[str, list[tuple[str, object]]]]:
    """The parts of the status with numbers as people say them."""
    said: dict[str, Callable[[Any], str]] = {
        "checkpoint_time": short_time, "disk_bytes": bytes_text, "uptime_s": span_text,
        "resident_mib": lambda mib: f"{mib} MiB", "last_verified": _verified, "pid": str,
    }  # fmt: skip
    named = {"checkpoint_time": "checkpoint", "disk_bytes": "disk", "uptime_s": "up for", "resident_mib": "memory"}

    def pairs(part: dict[str, Any]) -> list[tuple[str, object]]:
        return [
            (named.get(name, name.replace("_", " ")), said[name](value) if name in said else _said(value))
            for name, value in part.items()
        ]

    doors: list[tuple[str, object]] = []
    for name, (address, is_open, *taken) in answer["doors"].items():
        count = f"  {taken[0]:,} events" if taken and taken[0] else ""
        doors.append((name, f"{address}{_PATHS.get(name, '')}{'' if is_open else '  closed'}{count}"))
    return [
        ("ledger", pairs(answer["ledger"])), ("store", pairs(answer["store"])), ("doors", doors),
        ("rules and notices", pairs(answer["response"])),
        ("process", pairs(answer["process"])),
    ]  # fmt: skip


_PATHS = {
    "http": "/v1/events", "otlp-http": "/v1/logs", "elastic": "/_bulk", "hec": "/services/collector",
    "loki": "/loki/api/v1/push", "journal": "/upload", "cloudevents": "/v1/cloudevents",
}  # fmt: skip
"""Where below the server's address an HTTP door is."""


def _verified(last: dict[str, Any] | None) -> str:
    if last is None:
        return "never; muniment verify does it"
    return f"{short_time(last['at'])}, " + (f"{last['entries']:,} entries hold" if last["holds"] else "FAILED")


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else inert(value)


from muniment.cli import allowing as _allowing  # noqa: E402  (these join `app`, which must exist first)
from muniment.cli import casing as _casing  # noqa: E402
from muniment.cli import erasing as _erasing  # noqa: E402
from muniment.cli import noticing as _noticing  # noqa: E402
from muniment.cli import people as _people  # noqa: E402
from muniment.cli import responding as _responding  # noqa: E402
from muniment.cli import ruling as _ruling  # noqa: E402
from muniment.cli import serving as _serving  # noqa: E402
from muniment.cli import sources as _sources  # noqa: E402

_people.join(app)
app.add_typer(_sources.sources_app, name="sources")
app.add_typer(_people.keys_app, name="keys")
app.add_typer(_people.people_app, name="people")
app.add_typer(_ruling.rules_app, name="rules")
app.add_typer(_responding.alerts_app, name="alerts")
app.add_typer(_casing.cases_app, name="cases")
app.add_typer(_allowing.blocks_app, name="blocks")
app.add_typer(_responding.orders_app, name="orders")
app.add_typer(_noticing.notices_app, name="notices")
app.add_typer(_erasing.erase_app, name="erase")
_serving.join(app)
