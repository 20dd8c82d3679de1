"""Writes docs/reference/ from the code: settings, commands, permissions, errors, limits, columns, sources, API.

`python tools/reference.py` writes; `--check` fails when a page differs from the code. A row without words is an error.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import typer.main

from muniment import config, errors, limits
from muniment.access.policy import PERMISSIONS, ROLES

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"


def settings_page() -> str:
    """One row per setting."""
    rows = ["| setting | environment | default | what it is |", "|---|---|---|---|"]
    for name, row in config.SETTINGS.items():
        words = row.metadata["words"]
        assert words, name
        default = "(empty)" if row.default == "" else row.default
        rows.append(f"| `{name}` | `MUNIMENT_{name.upper()}` | `{default}` | {words} |")
    return "# Settings\n\nA TOML file (`--config`), then the environment, then flags.\n\n" + "\n".join(rows) + "\n"


def errors_page() -> str:
    """Each error, who must act, and where it meets the outside."""
    rows = ["| error | HTTP | exit | who must act |", "|---|---|---|---|"]
    for kind, status in errors.HTTP_STATUS.items():
        words = (kind.__doc__ or "").split("\n")[0]
        assert words, kind
        rows.append(f"| `{kind.__name__}` | {status} | {errors.EXIT_CODE[kind]} | {words} |")
    return "# Errors\n\n" + "\n".join(rows) + "\n"


def permissions_page() -> str:
    """Permissions and the roles that hold them."""
    rows = ["| permission | allows to | roles |", "|---|---|---|"]
    for name, words in PERMISSIONS.items():
        holders = ", ".join(role for role, held in ROLES.items() if name in held)
        rows.append(f"| `{name}` | {words} | {holders} |")
    return "# Permissions\n\n" + "\n".join(rows) + "\n"


def limits_page() -> str:
    """Each bound with the reason that stands beside it in the code."""
    tree = ast.parse(Path(limits.__file__).read_text("utf-8"))
    rows = ["| limit | value | why |", "|---|---|---|"]
    names: list[str] = []

    def flush(words: str) -> None:
        for name in names:
            rows.append(f"| `{name}` | {getattr(limits, name):,} | {' '.join(words.split())} |")
        names.clear()

    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if node.target.id not in {"KIB", "MIB", "GIB"}:
                names.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and names:
            flush(str(node.value.value))
    assert not names, f"limits without a reason: {names}"
    return "# Limits\n\n" + "\n".join(rows) + "\n"


def commands_page() -> str:
    """Every command with its options."""
    from muniment.cli.commands import app

    root = typer.main.get_command(app)
    parts = ["# Commands\n"]
    _command(root, root.context_class(root, info_name="muniment"), parts)
    return "\n".join(parts)


def _command(command: Any, context: Any, parts: list[str]) -> None:
    if getattr(command, "hidden", False):
        return
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            _command(child, child.context_class(child, info_name=name, parent=context), parts)
        return
    assert command.help, context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    parts.append(f"## `{context.command_path}`\n\n{command.help}\n\n`{context.command_path} {usage}`\n")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record and "--help" not in record[0]:
            parts.append(f"- `{record[0]}` {' '.join(record[1].split())}")
    parts.append("")


def columns_page() -> str:
    """The columns of the search store, which are the fields of the query language."""
    from muniment.search.columns import COLUMNS

    rows = ["| field | type | what it is |", "|---|---|---|"]
    rows += [f"| `{c.name}` | {c.kind} | {c.words} |" for c in COLUMNS.values()]
    return "# Event fields\n\n" + "\n".join(rows) + "\n"


def sources_page() -> str:
    """The catalogue of known systems."""
    from muniment.sources.catalogue import load

    rows = ["| name | system | samples |", "|---|---|---|"]
    catalogue = load()
    rows += [f"| `{e.name}` | {e.title} | {len(e.samples)} |" for e in catalogue.values()]
    return "# Sources\n\n" + "\n".join(rows) + "\n"


def openapi_page() -> str:
    """The API's description."""
    from muniment.app import openapi

    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


GENERATORS = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "permissions.md": permissions_page,
    "limits.md": limits_page,
    "commands.md": commands_page,
    "fields.md": columns_page,
    "sources.md": sources_page,
    "openapi.json": openapi_page,
}


def main() -> None:
    """Write, or check with --check."""
    stale = []
    for name, make in GENERATORS.items():
        page, text = PAGES / name, make()
        if "--check" in sys.argv[1:]:
            if not page.exists() or page.read_text("utf-8") != text:
                stale.append(name)
        else:
            PAGES.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run 'python tools/reference.py'")


if __name__ == "__main__":
    main()
