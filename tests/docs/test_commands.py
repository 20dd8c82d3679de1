"""Every `muniment` command that a page shows exists, with the options it shows."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from muniment.cli.commands import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]


def shown(page: Path) -> Iterator[str]:
    """Command lines in blocks and in running text."""
    text = page.read_text("utf-8")
    for block in re.findall(r"^ *```sh[^\n]*\n(.*?)^ *```$", text, re.M | re.S):
        yield from re.findall(r"(?:^|\$\()\s*((?:\.venv/bin/)?muniment [^|>)#\n]+)", block, re.M)
    yield from re.findall(
        r"`((?:\.venv/bin/)?muniment [^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    )


COMMANDS = sorted({(page.name, command.strip()) for page in PAGES for command in shown(page)})


def test_the_pages_show_commands() -> None:
    assert {"README.md", "tutorial.md", "operate.md", "send.md"} <= {page for page, _ in COMMANDS}


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_a_command_on_a_page_exists_with_its_options(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in found.commands, f"{page} shows {name!r}; there are {sorted(found.commands)}"
        found = found.commands[name]
    options = {option for each in found.params for option in (*each.opts, *each.secondary_opts)} | {
        "--help",
        "--install-completion",
    }
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options
