"""JSON laid out for reading, as pieces of text: keys, values, and marks for what is sealed or was a secret. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.limits import PAGE_JSON_CHARS_MAX

__all__ = ["Change", "Run", "changes", "json_runs", "parsed"]

_MARK: Final = re.compile(r"\{\$sealed:(\d+)\}|\[secret:([a-z0-9_-]{1,64})\]")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of text. `kind`: key, string, number, word, mark, sealed or secret."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path of a before/after comparison. `kind`: added, removed, changed or same."""

    path: str
    kind: str
    before: str
    after: str


def parsed(text: str) -> object | None:
    """The value of a JSON text, None when it is no JSON."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def json_runs(value: object) -> list[Run]:
    """A value as indented runs; long ones end with a mark that says so.

    >>> [run.kind for run in json_runs({"a": {"$sealed": 2}})]
    ['mark', 'key', 'mark', 'sealed', 'mark']
    """
    runs: list[Run] = []
    n_chars = 0
    for run in _runs(value, 0):
        n_chars += len(run.text)
        if n_chars > PAGE_JSON_CHARS_MAX:
            return [*runs, Run("mark", "\n… shortened here; the download has all of it")]
        if runs and runs[-1].kind == run.kind == "mark":
            runs[-1] = Run("mark", runs[-1].text + run.text)
        else:
            runs.append(run)
    return runs


def changes(before: object, after: object) -> list[Change]:
    """Every path of two values with how it differs, in order of path as they stand.

    >>> [(c.path, c.kind) for c in changes({"a": 1, "b": {"x": 1}}, {"b": {"x": 2}, "c": 3})]
    [('a', 'removed'), ('b.x', 'changed'), ('c', 'added')]
    """
    old, new = dict(_flat(before, "")), dict(_flat(after, ""))
    found = []
    for path in dict.fromkeys([*old, *new]):
        if path not in new:
            found.append(Change(path, "removed", old[path], ""))
        elif path not in old:
            found.append(Change(path, "added", "", new[path]))
        else:
            found.append(Change(path, "same" if old[path] == new[path] else "changed", old[path], new[path]))
    return found


def _flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and not _sealed(value):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for at, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{at}]")
    elif value is not None or path:
        sealed = _sealed(value)
        yield (
            path or "value",
            f"sealed #{sealed}"
            if sealed
            else value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False),
        )


def _sealed(value: object) -> str:
    return str(value["$sealed"]) if isinstance(value, Mapping) and set(value) == {"$sealed"} else ""


def _runs(value: object, depth: int) -> Iterator[Run]:
    pad, end = "  " * (depth + 1), "  " * depth
    if _sealed(value):
        yield Run("sealed", f"sealed #{_sealed(value)}")
    elif isinstance(value, Mapping) and value:
        yield Run("mark", "{\n")
        for at, (key, inner) in enumerate(value.items()):
            yield Run("mark", pad)
            yield Run("key", json.dumps(str(key), ensure_ascii=False))
            yield Run("mark", ": ")
            yield from _runs(inner, depth + 1)
            yield Run("mark", ",\n" if at < len(value) - 1 else "\n")
        yield Run("mark", f"{end}}}")
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield Run("mark", "[\n")
        for at, inner in enumerate(value):
            yield Run("mark", pad)
            yield from _runs(inner, depth + 1)
            yield Run("mark", ",\n" if at < len(value) - 1 else "\n")
        yield Run("mark", f"{end}]")
    elif isinstance(value, str):
        yield from _string(value)
    elif isinstance(value, bool) or value is None or not isinstance(value, int | float):
        yield Run("word", json.dumps(value, ensure_ascii=False, default=str))
    else:
        yield Run("number", json.dumps(value))


def _string(value: str) -> Iterator[Run]:
    at = 0
    yield Run("mark", '"')
    for match in _MARK.finditer(value):
        if match.start() > at:
            yield Run("string", value[at : match.start()])
        yield Run("sealed", f"sealed #{match[1]}") if match[1] else Run("secret", f"secret: {match[2]}")
        at = match.end()
    if value[at:]:
        yield Run("string", value[at:])
    yield Run("mark", '"')
