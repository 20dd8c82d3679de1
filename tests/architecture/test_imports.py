"""Rooms import in one direction only (STYLE.md section 1); the base install stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "muniment"
LEAVES = {
    "envelope",
    "errors",
    "four_eyes",
    "kept",
    "limits",
    "embedded",
    "patterns",
    "spelling",
    "tables",
    "together",
    "toml_file",
    "mysql_record",
    "windows_event",
}
MAY_IMPORT: dict[str, set[str]] = {
    "event": set(),
    "merkle": set(),
    "wire": {"event"},
    "ledger": {"merkle", "event", "privacy"},
    "privacy": {"event", "ledger"},
    "sources": {"event", "privacy"},
    "search": {"event", "sources"},
    "detect": {"event", "sources", "search"},
    "respond": {"event", "detect", "search"},
    "cases": {"event", "detect", "search", "sources"},
    "access": {"event"},
    "evidence": {"merkle"},
    "drills": {"event"},
    "sdk": set(),
    "ingest": {"event", "wire", "ledger", "privacy", "sources", "search", "access"},
    "api": {
        "event",
        "merkle",
        "ledger",
        "privacy",
        "sources",
        "search",
        "detect",
        "respond",
        "cases",
        "access",
        "evidence",
        "ingest",
        "config",
    },
    "web": {"event", "merkle", "ledger", "sources", "search", "access", "evidence"},
    "cli": {"event", "wire", "merkle", "ledger", "evidence", "sources", "drills", "detect"},
    "config": set(),
}
WIRED_BY_APP = {"app", "__main__"}
HEAVY = {"msgspec", "orjson", "numpy", "pyarrow", "chdb", "starlette", "lark", "yaml", "sqlalchemy"}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.module != "muniment" else [f"muniment.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("muniment.")}
    return {name for name in found if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").exists()}


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_what_stands_below_it(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in WIRED_BY_APP | {"__init__"}:
        return
    allowed = LEAVES | {room} | MAY_IMPORT.get(room, set()) | ({"config", "app"} if room == "cli" else set())
    extra = _imports(path) - allowed
    assert not extra, f"{room} must not import {sorted(extra)}"


@pytest.mark.parametrize("room", ["merkle", "evidence", "event", "sdk"])
def test_the_base_rooms_need_nothing_of_the_server(room: str) -> None:
    """Importing them loads no third-party module but the signature library."""
    code = (
        f"import sys, pkgutil, importlib, muniment.{room} as r\n"
        "for m in pkgutil.iter_modules(r.__path__):\n"
        "    m.name.startswith('__') or importlib.import_module(r.__name__ + '.' + m.name)\n"
        f"heavy = {sorted(HEAVY)}\n"
        "bad = set(heavy) & {n.split('.')[0] for n in sys.modules}\n"
        "sys.exit(f'loads {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
