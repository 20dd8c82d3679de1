"""What the command line does without a server: evidence files, ledger folders, samples of events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.text import Text

from muniment.cli.output import console, inert, key_values, notes, print_json, progress_bar
from muniment.errors import RejectedError

__all__ = ["draft_entry", "explain_file", "verify_evidence_file", "verify_folder"]

_LAST_RESORT = ("json", "text", "syslog")
"""The entries that read what no other knows."""


def verify_evidence_file(file: Path, vkeys: list[str], as_json: bool) -> None:
    """Verify under the keys given; exit code 10 when anything does not hold."""
    from muniment.evidence.__main__ import main

    code = main([str(file), *(part for vkey in vkeys for part in ("--vkey", vkey)), *(["--json"] if as_json else [])])
    if code:
        raise typer.Exit(code)


def verify_folder(folder: Path, as_json: bool) -> None:
    """Re-derive a ledger folder; damage is named and ends with exit code 10."""
    from muniment.ledger.check import check_ledger

    with progress_bar(not as_json) as progress:
        task = progress.add_task("verify", total=None)
        report = check_ledger(folder, progress=lambda done, total: progress.update(task, completed=done, total=total))
    if as_json:
        print_json(report.summary())
    else:
        console.print(Text("everything holds", style="green"))
        console.print(key_values(list(report.summary().items())))


def _text(file: Path) -> bytes:
    """What is in a file of samples, which may be packed; that doors would refuse UTF-16 is said."""
    from muniment.wire.lines import text_of_file

    try:
        data = file.read_bytes()
        text = text_of_file(data)
    except OSError as error:
        raise RejectedError(f"cannot read it: {error.strerror}", field=str(file)) from error
    except RejectedError as error:
        raise RejectedError(error.reason, field=str(file)) from error
    if text is not data and data[:2] != b"\x1f\x8b":
        notes.print(Text("it is UTF-16, read here as UTF-8: send UTF-8, which is what doors take", style="yellow"))
    return text


def draft_entry(file: Path, name: str) -> None:
    """Print a draft of a catalogue entry for the events of a file, which has been read back and is valid."""
    from muniment.envelope import inside
    from muniment.sources.catalogue import load, read_entry
    from muniment.sources.draft import UNTIMED, draft
    from muniment.sources.telling import Others
    from muniment.sources.testing import explain, local_client
    from muniment.wire.lines import records_of_file

    text = _text(file)
    came, catalogue = records_of_file(text), load()
    if not came or b"\0" in text:
        raise RejectedError("no event is in it" if not came else "it is no text", field=str(file))
    with local_client() as client:
        read = list(explain(catalogue, came, client, received_at=UNTIMED))
    reader = Counter(each.entry for each in read).most_common(1)[0][0]
    records, columns = [inside(record) for record in came], [each.columns for each in read]
    drafted = draft(name, records, like=catalogue[reader], columns=columns, others=Others.of(catalogue))
    read_entry(drafted, f"{name}.yaml")
    console.out(drafted, end="", highlight=False)


def explain_file(file: Path, format: str, as_json: bool, entry: Path | None = None) -> None:
    """What each line of a file becomes, as if it came in now, with `entry` known too; lines of one event learn from those above."""
    from muniment.sources.catalogue import beside, load, read_entry
    from muniment.sources.testing import Recollection, explain, local_client
    from muniment.wire.lines import records_of_file

    lines = records_of_file(_text(file))
    if not lines:
        raise RejectedError("no event is in it", field=str(file))
    catalogue = load()
    if entry is not None:
        try:
            own = read_entry(entry.read_text("utf-8"), entry.name)
        except (OSError, UnicodeDecodeError) as error:
            raise RejectedError(f"cannot read it: {error}", field=str(entry)) from error
        catalogue = beside(catalogue, own)
    with local_client() as client:
        said = Recollection(catalogue, format).of(lines)
        now = datetime.now(UTC).isoformat()
        n_unknown = 0
        for found in explain(
            catalogue, lines, client, entry="" if format == "auto" else format, received_at=now, earlier=said
        ):
            row = {name: value for name, value in found.columns.items() if value not in ("", 0, "::")}
            if as_json:
                print_json(
                    {
                        "entry": found.entry,
                        "like": catalogue[found.entry].like,
                        "columns": row,
                        "ocsf": found.ocsf,
                        "problems": list(found.problems),
                    }
                )
            else:
                like = catalogue[found.entry].like
                console.print(Text.assemble((found.entry, "bold"), (f"  like {like}" if like else "", "dim")))
                console.print(key_values(list(row.items())))
                for problem in found.problems:
                    console.print(Text.assemble(("  ! ", "red"), inert(problem)))
            n_unknown += found.entry in _LAST_RESORT
    if n_unknown and not as_json:
        words = f"{n_unknown:,} of {len(lines):,} {'is' if n_unknown == 1 else 'are'} known by no entry of the catalogue; to draft one: muniment sources new {file}"
        notes.print(Text(inert(words), style="dim"), soft_wrap=True)
