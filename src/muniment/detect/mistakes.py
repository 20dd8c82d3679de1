"""Where a rule that cannot be run is wrong, and how to mend it: line, column, and one sentence. Pure.

The parsers of Sigma say what is wrong but not where. What they quote (`'selektion'`) is looked for in the text of the
document, which is found by its title; where nothing is quoted that stands there, the document's first line is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final

import yaml
from sigma.modifiers import modifier_mapping

from muniment.search.columns import COLUMNS

__all__ = ["YAML_FIX", "document_of", "fix_of", "place_of"]

YAML_FIX: Final = "indent this line as its neighbours are, with spaces; quote texts that hold : # { [ * or %"
_SEPARATOR: Final = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_QUOTED: Final = re.compile(r"'([^'\n]{1,200})'|\"([^\"\n]{1,200})\"|\b([a-z][a-z_-]*\.[a-z][a-z_-]*)(?=:)")
_FIXES: Final = (
    (
        "regular expression",
        "patterns are RE2's: without look-around and back-references; use a filter for what must not be there",
    ),
    (
        "expected end of text",
        "a condition has and, or, not, 1 of, all of in lower case between the names of selections",
    ),
    ("no text: quote it", "write quotes around it; YAML reads yes, no, on, off, true and null without them as values"),
    ("stands twice", "put both tests into one key, as a list, or into two selections"),
    (
        "exactly one condition item",
        "write gt, gte, lt, lte, eq or neq and a number, or two of them for a range",
    ),
    ("must have a log source", "add a line such as: logsource: {product: muniment}"),
    ("timespan", "write a number and s, m, h, d, w, M or y, such as 5m"),
    ("must have at least one detection", "give detection a selection and a condition"),
    ("condition", "a condition names the selections of its rule with and, or, not, 1 of, all of"),
    ("rule it is about cannot be run", "mend or switch on that rule first"),
    ("larger than", "split the file"),
    ("its id", "give one of the two another id, or take its folder out"),
    ("cannot read it", "let the server's user read the file, and save it as UTF-8"),
    ("no such folder", "make the folder, or correct the setting rules"),
    ("placeholder", "write the values where the placeholder stands"),
)


def _documents(text: str) -> list[tuple[str, int]]:
    """The documents of a file, each with its first line (from 1)."""
    found, start = [], 0
    for end in [*(match.start() for match in _SEPARATOR.finditer(text)), len(text)]:
        part = text[start:end]
        if part.strip("-# \t\n"):
            begun = start + len(part) - len(part.lstrip("\n"))
            found.append((text[begun:end].rstrip() + "\n", text.count("\n", 0, begun) + 1))
        start = text.find("\n", end) + 1 or len(text)
    return found


def document_of(text: str, named: Mapping[str, str]) -> tuple[str, int]:
    """The document of a file that has one of these values (`id`, `name`, `title`), and its first line.

    >>> document_of("title: A\\nid: 1\\n---\\ntitle: B\\nid: 2\\n", {"id": "2"})
    ('title: B\\nid: 2\\n', 4)
    """
    documents = _documents(text)
    for key, value in named.items():
        pattern = re.compile(rf"^{key}:[ \t]*[\"']?{re.escape(value)}[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
        for each, line in documents:
            if value and pattern.search(each):
                return each, line
    return documents[0] if len(documents) == 1 else (text, 1)


def place_of(text: str, title: str, reason: str) -> tuple[int, int]:
    """Line and column of a mistake, from 1; (0, 0) when there is no text.

    >>> place_of("title: A\\ndetection:\\n  s: {a: b}\\n  condition: t\\n", "A", "'t' is not defined")
    (4, 14)
    """
    if not text:
        return 0, 0
    document, first = document_of(text, {"title": title})
    for match in _QUOTED.finditer(reason):
        wanted = match.group(1) or match.group(2) or match.group(3).rpartition(".")[2] + ":"
        found = [each.start() for each in re.finditer(rf"(?<!\w){re.escape(wanted)}(?![\w-])", document)]
        found = found or ([document.index(wanted)] if wanted in document else [])
        if found:
            place = found[-1] if "not defined" in reason else found[0]  # a condition stands after what it names
            start = document.rfind("\n", 0, place) + 1
            return first + document.count("\n", 0, place), place - start + 1
    return first, 1


def fix_of(text: str, title: str, reason: str, names: Collection[str]) -> str:
    """How to mend it, in a sentence; empty where nobody can say. `names`: rules that a correlation may be about."""
    quoted = next((a or b for a, b, _ in _QUOTED.findall(reason) if a or b), "")
    low = reason.lower()
    if "no column" in low:
        near = _near(
            quoted.lower().replace("_", ""), {name.replace("_", ""): name for name in (*COLUMNS, "actor", "device")}
        )
        return f"{near}fields that only the record has begin with record., such as record.metadata.city"
    if "not defined in detections" in low:
        known = _selections(document_of(text, {"title": title})[0])
        return f"{_near(quoted, dict.fromkeys(known))}this rule has {', '.join(known) or 'no selection'}"
    if "unknown modifier" in low:
        return f"{_near(quoted, dict.fromkeys(modifier_mapping))}Sigma's modifiers are contains, startswith, endswith, re, cidr, ..."
    if "no rule with the id or name" in low or "not found in rule collection" in low:
        return f"{_near(quoted, dict.fromkeys(names))}a correlation names its rules by id or name, in whatever file they stand"
    if "must be one of" in low:
        return _near(
            quoted, dict.fromkeys(re.findall(r"[a-z_]+", low.partition("one of")[2].rpartition("got")[0]))
        ).rstrip("; ")
    return next((fix for words, fix in _FIXES if words in low), "")


def _near(wrong: str, known: Mapping[str, str | None]) -> str:
    found = get_close_matches(wrong, list(known), 1, 0.7)
    return f"did you mean {known[found[0]] or found[0]}? " if found else ""


def _selections(document: str) -> list[str]:
    try:
        parsed: Any = yaml.safe_load(document)
        return [name for name in parsed["detection"] if name not in {"condition", "timeframe"}]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
