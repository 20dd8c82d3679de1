"""Rule files as they lie on a disk: read within bounds, as UTF-8, one rule an id (`names`). What is wrong with one stops no other.

The server and `muniment rules check` read by this, so that what the one refuses the other does, too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Final

import yaml

from muniment.detect.mistakes import fix_of, place_of
from muniment.detect.names import Holders
from muniment.detect.parsing import said
from muniment.detect.rule import Loaded, Refused
from muniment.detect.rules import load_rules
from muniment.errors import RejectedError
from muniment.limits import RULE_FILE_BYTES_MAX, RULES_MAX
from muniment.sources.nesting import check_nesting

__all__ = ["load_rule_files", "path_text"]

_NO_HOLDERS: Final[Holders] = {}
PLACEHOLDERS: Final = ("placeholders.yml", "placeholders.yaml")
"""Files among the rules that say what their placeholders stand for."""
_PLACEHOLDERS_FIX: Final = "write each name with a list of its values, such as admins: [anna, root]"
_TWICE_FIX: Final = "write all of its values in one of the two files"
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def path_text(path: PurePath) -> str:
    """A path as a text that can be written anywhere: what is not UTF-8 in the name of a file stands as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def load_rule_files(files: Iterable[tuple[str, Path]], held: Holders = _NO_HOLDERS) -> tuple[Loaded, Mapping[str, str]]:
    """The rules of files, given as (name, path), and the texts of those that could be read.

    `held`: which file had a rule's id or name before; a newcomer with the same is refused.
    """
    texts: dict[str, str] = {}
    problems: list[Refused] = []
    for name, path in files:
        try:
            with path.open("rb") as file:
                data = file.read(RULE_FILE_BYTES_MAX + 1)
        except OSError as error:
            problems.append(_told(Refused(name, "", f"cannot read it: {error.strerror or error}")))
            continue
        if len(data) > RULE_FILE_BYTES_MAX:
            problems.append(_told(Refused(name, "", f"larger than {RULE_FILE_BYTES_MAX:,} bytes")))
            continue
        try:
            texts[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problems.append(_told(_undecoded(name, data, error.start)))
    if len(texts) > RULES_MAX:
        problems.append(
            _told(Refused("", "", f"{len(texts) - RULES_MAX:,} files more than {RULES_MAX:,} are not read"))
        )
        holding = set(held.values())
        texts = dict(sorted(texts.items(), key=lambda each: each[0] not in holding)[:RULES_MAX])
    lists: dict[str, Mapping[str, Sequence[str]]] = {}
    for name in [each for each in texts if PurePath(each).name in PLACEHOLDERS]:
        try:
            lists[name] = _placeholders(texts.pop(name))
        except (RejectedError, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            why = f"not YAML: {error.problem}" if isinstance(error, yaml.MarkedYAMLError) else said(error)
            problems.append(Refused(name, "", f"no placeholders: {why}", line, column, _PLACEHOLDERS_FIX))
    said_by = _said_by(lists, held, {each.file for each in problems})
    placeholders: dict[str, Sequence[str]] = {}
    for of_file, known in lists.items():
        for name, values in known.items():
            first = said_by[f"%{name}%"]
            if first == of_file:
                placeholders[name] = values
            else:
                problems.append(Refused(of_file, "", f"%{name}% is said by {first}", 1, 1, _TWICE_FIX))
    found = load_rules(texts.items(), placeholders, held, [each.file for each in problems])
    return Loaded(found.rules, [*problems, *found.refused], found.correlations, said_by), texts


def _said_by(
    lists: Mapping[str, Mapping[str, Sequence[str]]], held: Holders, broken: Collection[str]
) -> dict[str, str]:
    """By placeholder the file that says what it stands for: the one that did before, also while it is broken, else the first."""
    found: dict[str, str] = {}
    for file, known in lists.items():
        for called in (f"%{name}%" for name in known):
            holder = held.get(called, "")
            is_held = called.strip("%") in lists.get(holder, ()) or holder in broken
            found.setdefault(called, holder if is_held else file)
    return found


def _placeholders(text: str) -> Mapping[str, Sequence[str]]:
    """What `%name%` stands for in rules with `|expand`, by name."""
    check_nesting(text, "")
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise RejectedError("it holds no names with their values")
    made = {}
    for name, values in found.items():
        listed = values if isinstance(values, list) else [values]
        if not listed or not all(isinstance(each, str | int | float) for each in listed):
            raise RejectedError(f"the values of {name} are no texts or numbers")
        made[str(name)] = tuple(map(str, listed))
    return made


def _undecoded(name: str, data: bytes, start: int) -> Refused:
    """A file that is not UTF-8, with the place of its first byte that is none."""
    if (encoding := _WIDE.get(data[:2])) is not None:
        return Refused(name, "", f"not UTF-8 but {encoding}", 1, 1)
    before = data[:start].decode("utf-8")
    line, column = before.count("\n") + 1, start and len(before) - before.rfind("\n")
    return Refused(name, "", f"not UTF-8: byte 0x{data[start]:02x}", line, column or 1)


def _told(refused: Refused, text: str = "") -> Refused:
    line, column = (refused.line, refused.column) if refused.line else place_of(text, refused.title, refused.reason)
    return replace(refused, line=line, column=column, fix=fix_of(text, refused.title, refused.reason, ()))
