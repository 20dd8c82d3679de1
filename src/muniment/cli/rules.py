"""`muniment rules` without a server: read Sigma rules as it will, run them over their trials or events in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from muniment.cli.options import AsJson
from muniment.cli.output import console, inert, notes, print_json, print_table
from muniment.errors import RejectedError

if TYPE_CHECKING:
    from muniment.detect.correlation import Correlation
    from muniment.detect.logsources import Kind
    from muniment.detect.reading import Formats
    from muniment.detect.rule import Loaded, Refused, Rule

__all__ = ["LEVELS", "STYLES", "rules_app"]

rules_app = typer.Typer(help="Sigma rules: check them, try them, see how a server runs them.", no_args_is_help=True)
Paths = Annotated[list[Path], typer.Argument(help="Rule files, or folders of *.yml.", show_default=False)]
STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}
LEVELS = ("critical", "high", "medium", "low", "informational")


@rules_app.command("check")
def check(paths: Paths, as_json: AsJson = False) -> None:
    """Read rules and say which cannot be run, and why. Exit code 2 when there are any."""
    loaded = _load(paths)
    if as_json:
        refused = [
            {"file": r.file, "line": r.line, "column": r.column, "title": r.title, "reason": r.reason, "fix": r.fix}
            for r in loaded.refused
        ]
        remarks = [{"file": rule.file, "remark": text} for rule, text in _remarks(loaded)]
        print_json(
            {
                "rules": len(loaded.rules),
                "correlations": len(loaded.correlations),
                "refused": refused,
                "remarks": remarks,
                "without_source": [{"logsource": name, "rules": count} for name, count in _without_source(loaded)],
            }
        )
    else:
        for each in loaded.refused:
            console.print(_refusal(each), soft_wrap=True)
        for rule, text in _remarks(loaded):
            notes.print(Text(f"{inert(rule.file)}: {inert(text)} (it runs all the same)", style="dim"))
        for name, count in _without_source(loaded):
            words = f"{count:,} {'rule is' if count == 1 else 'rules are'} about {name}, which no entry of the catalogue says it is"
            notes.print(Text(inert(f"{words}: they cannot match until one does"), style="dim"))
        by_level = Counter(rule.level.lower() for rule in loaded.rules)
        by_level.update(each.level.lower() for each in loaded.correlations)
        levels = ", ".join(f"{by_level[level]:,} {level}" for level in LEVELS if by_level[level])
        console.print(
            f"{len(loaded.rules) + len(loaded.correlations):,} can be run{f' ({levels})' if levels else ''}, {len(loaded.refused):,} cannot"
        )
    if loaded.refused:
        raise typer.Exit(2)


def _remarks(loaded: Loaded) -> Iterator[tuple[Rule | Correlation, str]]:
    """What is odd about rules that run: in their own words, or a field that no record of their log source holds."""
    from muniment.detect.absent import remark_on_fields

    formats = _formats()
    for rule in loaded.rules:
        for text in (*rule.remarks, remark_on_fields(rule, formats)):
            if text:
                yield rule, text
    for each in loaded.correlations:
        for text in each.remarks:
            yield each, text


def _formats() -> Formats:
    """The entries of the catalogue, as rules about their records see them."""
    from muniment.detect.logsources import kind_of_entry, taxonomy_of
    from muniment.sources.catalogue import load

    return {
        name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)) for name, entry in load().items() if entry.sigma
    }


def _without_source(loaded: Loaded) -> list[tuple[str, int]]:
    """Log sources of rules that no shipped entry serves, with how many rules each has; the most first."""
    from muniment.detect.logsources import PRODUCT, kind_of_entry
    from muniment.sources.catalogue import load

    kinds = [kind_of_entry(entry.sigma) for entry in load().values() if entry.sigma]
    found: Counter[str] = Counter()
    for rule in loaded.rules:
        asked = rule.logsource
        # Which channel a Windows event is of shows in the event, not in the entry.
        if asked.product not in {PRODUCT, "windows"} and not any(kind.has(asked) for kind in kinds):
            parts = {"product": asked.product, "category": asked.category, "service": asked.service}
            found[", ".join(f"{name} {value}" for name, value in parts.items() if value)] += 1
    return found.most_common()


def _refusal(each: Refused) -> Text:
    """file:line:column and title, what is wrong, and how to mend it."""
    found = Text.assemble((inert(each.where), "bold"), "  ", inert(each.title), "\n  ", (inert(each.reason), "red"))
    return found.append(f"\n  {inert(each.fix)}") if each.fix else found


@rules_app.command("test")
def try_out(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Rule files or folders; none: those of Muniment.", show_default=False)
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            "--events",
            help="JSON events, one on a line; else the trials (*.events.yml) beside the rules.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try rules on the trials beside them, or on a file's events.

    Exit code 10 when a trial differs. Of a file's events, those of Windows meet the rules of their channel, others meet all; one event at a
    time, so no correlation.
    """
    from muniment.detect.match import Matcher
    from muniment.detect.rulebook import PACK

    paths = paths or [PACK]
    loaded = _load(paths)
    if events is None:
        _run_trials(paths, loaded, as_json)
        return
    matcher = Matcher(loaded.rules)
    found, n = _matches(matcher, events)
    if as_json:
        rows = [{"line": line, "rule": rule.id, "title": rule.title, "level": rule.level, "author": rule.author, "file": rule.file}
                for line, rule in found]  # fmt: skip
        print_json({"events": n, "rules": len(loaded.rules), "refused": len(loaded.refused),
                    "not_tried": len(loaded.correlations), "matches": rows})  # fmt: skip
        return
    if found:
        print_table(
            ("line", "level", "rule", "author"),
            [
                (
                    str(line),
                    Text(rule.level.lower(), STYLES.get(rule.level.lower(), "")),
                    inert(rule.title),
                    inert(rule.author),
                )
                for line, rule in found
            ],
        )
    console.print(f"matches: {len(found):,}, events: {n:,}, rules: {len(loaded.rules):,}")
    if loaded.correlations:
        words = "is not tried on a file's events: trials beside it, or a back-test, do"
        notes.print(f"correlations: {len(loaded.correlations):,}; what needs several events {words}", style="yellow")
    if loaded.refused:
        notes.print(f"cannot be run: {len(loaded.refused):,}; muniment rules check says why", style="yellow")


def _run_trials(paths: Sequence[Path], loaded: Loaded, as_json: bool) -> None:
    """Compare what the rules find in each trial with what it says they must."""
    from muniment.detect.evaluate import ENRICHING
    from muniment.detect.logsources import PRODUCT
    from muniment.detect.trial import found_by, meets_none, read_trials, ready_for_trials

    formats = _formats() if any(rule.logsource.product != PRODUCT for rule in loaded.rules) else {}
    ready = ready_for_trials(loaded, formats)
    files = [
        f
        for path in paths
        for f in (sorted(path.rglob("*.events.yml")) if path.is_dir() else [path.with_suffix(".events.yml")])
    ]
    rows: list[dict[str, Any]] = []
    broken: list[dict[str, str]] = []
    both: list[Rule | Correlation] = [*loaded.rules, *loaded.correlations]
    names = {each.name or each.title for each in both}
    silent = {each.name or each.title for each in both if each.is_silent or each.level.lower() == ENRICHING}
    for file in filter(Path.exists, files):
        try:
            trials = read_trials(_read(file).decode("utf-8", "replace"), str(file))
        except RejectedError as error:  # the trials of other files run all the same
            broken.append({"where": error.field, "reason": error.reason})
            continue
        for trial in trials:
            found = found_by(ready, trial)
            unmet = [(rule.name or rule.title, meets_none(trial, rule, formats)) for rule in loaded.rules
                     if (rule.name or rule.title) in trial.finds - found]  # fmt: skip
            rows.append({"file": file.name, "line": trial.line, "trial": trial.name, "is_right": found == trial.finds,
                         "missed": sorted(trial.finds - found), "too_much": sorted(found - trial.finds),
                         "unknown": sorted(trial.finds - names), "silent": sorted((trial.finds - found) & silent),
                         "unmet": {name: list(wanted) for name, wanted in unmet if wanted}})  # fmt: skip
    if not rows and not broken:
        raise RejectedError(
            "no trial (*.events.yml) stands beside the rules; to try them on events of yours: --events FILE",
            field=", ".join(map(str, paths)),
        )
    wrong = [row for row in rows if not row["is_right"]]
    remarks = list(_remarks(loaded))
    if as_json:
        n_rules = len(loaded.rules) + len(loaded.correlations)
        print_json({"trials": rows, "wrong": len(wrong), "rules": n_rules, "broken": broken,
                    "remarks": [{"file": rule.file, "rule": rule.title, "remark": text} for rule, text in remarks]})  # fmt: skip
    else:
        for each in broken:
            words = Text.assemble((inert(each["where"]), "bold"), "\n  ", (inert(each["reason"]), "red"))
            console.print(words, soft_wrap=True)
        for row in wrong:
            console.print(_difference(row), soft_wrap=True)
        for rule, text in remarks:
            notes.print(Text(f"{inert(rule.file)}: {inert(rule.title)}: {inert(text)}", style="yellow"), soft_wrap=True)
        console.print(
            f"trials: {len(rows):,}, wrong: {len(wrong):,}, rules: {len(loaded.rules) + len(loaded.correlations):,}"
        )
    if broken:
        raise typer.Exit(2)
    if wrong:
        raise typer.Exit(10)


def _difference(row: dict[str, Any]) -> Text:
    """What a trial found otherwise than it says."""
    parts = {name: inert(", ".join(row[name])) for name in ("missed", "too_much", "unknown")}
    said = [
        parts["missed"] and f"missed {parts['missed']}",
        parts["too_much"] and f"found also {parts['too_much']}",
        parts["unknown"] and f"no rule that runs is called {parts['unknown']}",
        *(
            f"{inert(name)} alerts nobody itself: it is informational, or a correlation is about it without generate: true"
            for name in row["silent"]
        ),
        *(
            f"no event here is one that {inert(name)} is about: give it format: {' or '.join(wanted[:3])}, and under record what stands in it"
            for name, wanted in row["unmet"].items()
        ),
    ]
    where = f"{row['file']}:{row['line']}  {inert(str(row['trial']))}"
    return Text.assemble((where, "bold"), "\n  ", ("; ".join(filter(None, said)), "red"))


def _load(paths: Sequence[Path]) -> Loaded:
    from muniment.detect.rule_files import load_rule_files, path_text

    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*.y*ml")) if path.is_dir() else [path])
        if not file.name.endswith(".events.yml")
    ]
    for path in paths:
        if not path.exists():
            raise RejectedError("cannot read it: there is no such file or folder", field=str(path))
    if not files:
        raise RejectedError("no rule file (*.yml) is there", field=", ".join(map(str, paths)))
    return load_rule_files((path_text(file), file) for file in files)[0]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RejectedError(f"cannot read it: {error.strerror}", field=str(file)) from error


def _matches(matcher: Any, events: Path) -> tuple[list[tuple[int, Rule]], int]:
    import orjson

    lines, records, kinds = [], list[bytes](), list["Kind | None"]()
    for number, line in enumerate(_read(events).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise RejectedError(f"line {number} is not JSON: {error}", field=str(events)) from error
        if not isinstance(document, dict):
            raise RejectedError(f"line {number} is not a JSON object", field=str(events))
        lines.append(number)
        records.append(line)
        kinds.append(next(_kinds(document), None))
    found = matcher.match(records, kinds)
    return [(lines[position], matcher.rules[rule]) for position, rule in found], len(records)


def _kinds(document: dict[str, Any]) -> Iterator[Kind]:
    from muniment.detect.logsources import windows_kind

    channel, event_id = document.get("Channel"), document.get("EventID")
    if isinstance(channel, str) and isinstance(event_id, int | str):
        yield windows_kind(channel, str(event_id))
