"""Fragments that many entries have in common: `{shared: NAME}` stands for what `_shared.yaml` has under that name. Pure.

A fragment may stand wherever a value may, outside the samples. One that is a list, where an item of a list stands, gives its items.
What is put in has the line where it was asked for, so that a mistake is found in the entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from muniment.errors import RejectedError
from muniment.sources.located import LocatedDict, LocatedList

__all__ = ["filled"]

_KEY: Final = "shared"
_AS_WRITTEN: Final = "samples"


def filled(entry: LocatedDict, file: str, fragments: Mapping[str, Any]) -> LocatedDict:
    """The entry with its fragments put in. Raises RejectedError with `field` = file:line for one that there is not."""
    found = _copy(entry)
    for key, value in entry.items():
        if key != _AS_WRITTEN:
            found[key] = _filled(value, file, fragments)
    return found


def _filled(value: Any, file: str, fragments: Mapping[str, Any]) -> Any:
    if isinstance(value, LocatedDict):
        if _KEY in value and len(value) == 1:
            return _fragment(value, file, fragments)
        found = _copy(value)
        found.update((key, _filled(inner, file, fragments)) for key, inner in value.items())
        return found
    if isinstance(value, LocatedList):
        items = LocatedList()
        for item, line in zip(value, value.lines, strict=True):
            inner = _filled(item, file, fragments)
            is_several = isinstance(inner, LocatedList) and not isinstance(item, LocatedList)
            items.extend(inner if is_several else [inner])
            items.lines.extend([line] * (len(inner) if is_several else 1))
        return items
    return value


def _fragment(asked: LocatedDict, file: str, fragments: Mapping[str, Any]) -> Any:
    name, line = asked[_KEY], asked.lines[_KEY]
    if not isinstance(name, str) or name not in fragments:
        raise RejectedError(f"no fragment {name!r} is shared; there are {', '.join(fragments)}", field=f"{file}:{line}")
    return _at(fragments[name], line)


def _at(value: Any, line: int) -> Any:
    """A copy of `value` that stands in one line."""
    if isinstance(value, LocatedDict):
        found = _copy(value)
        found.line, found.lines = line, dict.fromkeys(value, line)
        found.update((key, _at(inner, line)) for key, inner in value.items())
        return found
    if isinstance(value, LocatedList):
        items = LocatedList(_at(inner, line) for inner in value)
        items.lines = [line] * len(items)
        return items
    return value


def _copy(value: LocatedDict) -> LocatedDict:
    found = LocatedDict()
    found.update(value)
    found.line, found.lines, found.text = value.line, value.lines, value.text
    return found
