"""What tells samples from the records of all others: keys, programs or words of their own. Pure.

What everybody has tells nothing: keys that the readers for unknown JSON, text and syslog or the envelopes of shippers know,
and words that stand in some sample of the catalogue. Words count only where several lines that differ have them, and not
where they may be somebody's name. Nothing of the kind is a RejectedError: an entry that recognises by what everybody has would
take everybody's records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muniment.envelope import CARRIERS_KEYS
from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue
from muniment.sources.compiler import paths_of
from muniment.sources.paths import parse_path

__all__ = ["Others", "Telling", "telling"]

_GENERAL: Final = ("json", "text", "syslog", "keyvalue")
_LINES: Final = ("syslog.message", "message", "loki.line", "log", "msg", "event", "line", "raw")
_TESTS: Final = 3
_KEY_CHARS_MIN: Final = 3
_WORD_CHARS_MIN: Final = 5
_CHARS_MIN: Final = 6
"""Letters and digits of all words together."""
_LINES_MIN: Final = 3
"""In one line every word is constant."""
_SYSTEM: Final = re.compile(
    r"(?:.*\.)?(?:app|application|service|product|program|logger|component|vendor|system|module)(?:[_.]?name)?", re.I
)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORD_OF_LINE: Final = re.compile(r"(?<![\w=.@/-])(?P<word>[A-Za-z][A-Za-z0-9_]*)(?:(?P<key>=)|(?![\w=@/]))")
_RUNTIMES: Final = frozenset(
    "python python3 java node nodejs ruby perl php php-fpm bash sh root app main server service logger syslog tag daemon docker "
    "dockerd containerd container systemd kernel uwsgi gunicorn tomcat dotnet unknown".split()
)
"""Names under which anybody's program writes to syslog."""
_ADVICE: Final = (
    "nothing in these records tells them from those of others, so an entry that recognises them would take others' records too; "
    "if their source sends nothing else, set the format of that source: an entry of yours without `recognise:` is for such sources alone"
)


@dataclass(frozen=True, slots=True)
class Others:
    """The keys and words, in small letters, that records of others have."""

    keys: frozenset[str]
    words: frozenset[str]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Others:
        """Those that a catalogue of shipped entries knows."""
        segments = {segment for name in _GENERAL for path in paths_of(catalogue[name]) for segment in path}
        keys = {key.lower() for segment in segments for key in segment.keys} | {key.lower() for key in CARRIERS_KEYS}
        samples = (sample.record.decode("utf-8", "replace") for entry in catalogue.values() for sample in entry.samples)
        words = {word.lower() for text in samples for word in _WORD.findall(text)}
        return cls(frozenset(keys), frozenset(words | keys | _RUNTIMES))


@dataclass(frozen=True, slots=True)
class Telling:
    """Tests as they stand in a line of `recognise:`, and the texts that a masked sample must keep to be recognised."""

    tests: Mapping[str, Any]
    kept: frozenset[str] = frozenset()


def telling(
    documents: Sequence[Mapping[str, Any]], leaves: Sequence[Mapping[str, Any]], people: Sequence[str], others: Others
) -> Telling:
    """What holds of all documents and hardly of anybody else's.

    `leaves` are their values by path; `people` are values that name somebody or a machine, which recognise nothing.
    RejectedError: there is nothing.
    """
    common = sorted(set.intersection(*(set(each) for each in leaves)), key=lambda path: (path.count("."), path))
    if is_syslog := all(isinstance(each.get("syslog"), Mapping) for each in documents):
        programs = sorted({str(each["syslog"].get("app") or "") for each in documents})
        if all(len(program) >= _KEY_CHARS_MIN and program.lower() not in others.words for program in programs):
            return Telling({"syslog.app": programs})
    usable = [path for path in common if "[" not in path and not path.startswith("syslog.")]
    own = [path for path in usable if _is_own(path, others)]
    if own and not is_syslog:
        rest = [path for path in usable if path not in own and path not in _LINES]
        return Telling({path: {"present": True} for path in [*own, *rest][:_TESTS]})
    named = {path: value for path in usable if (value := _system(path, leaves, people, others))}
    if named and not is_syslog:
        path, value = next(iter(named.items()))
        return Telling({path: value}, frozenset((value,)))
    line = next((path for path in _LINES if all(isinstance(each.get(path), str) for each in leaves)), "")
    words = _words([str(each[line]) for each in leaves], people, others) if line else []
    if not words:
        raise RejectedError(_ADVICE, field="recognise")
    pattern = "(?s)" + ".*".join(rf"\b{word}" + ("" if word.endswith("=") else r"\b") for word in words)
    is_few = is_syslog and "" not in programs and len(programs) <= _TESTS
    tests: dict[str, Any] = {"syslog.app": programs} if is_few else {}
    return Telling(tests | {line: {"matches": pattern}}, frozenset(word.rstrip("=") for word in words))


def _is_own(path: str, others: Others) -> bool:
    """Is a key on it somebody's own?"""
    keys = [segment.key for segment in parse_path(path)]
    return any(len(key) >= _KEY_CHARS_MIN and key.lower() not in others.keys for key in keys)


def _system(path: str, leaves: Sequence[Mapping[str, Any]], people: Sequence[str], others: Others) -> str:
    """The name of a system that all say at a place for such names."""
    values = {json.dumps(each[path]) for each in leaves}
    value = leaves[0][path]
    if len(values) > 1 or not isinstance(value, str) or not _SYSTEM.fullmatch(path) or value in people:
        return ""
    is_own = any(len(word) >= _WORD_CHARS_MIN and word not in others.words for word in _WORD.findall(value.lower()))
    return value if is_own else ""


def _words(texts: Sequence[str], people: Sequence[str], others: Others) -> list[str]:
    """Words that stand in all texts, in one order; names of values (`badge=`) with their sign."""
    if len(set(texts)) < _LINES_MIN:
        return []
    names = {word.lower() for value in people for word in _WORD.findall(value)}
    at, found = [0] * len(texts), []
    for each in _WORD_OF_LINE.finditer(texts[0]):
        word, is_key = each["word"], bool(each["key"])
        is_short = len(word) < (_KEY_CHARS_MIN if is_key else _WORD_CHARS_MIN)
        is_name = not is_key and (word.istitle() or word.lower() in names)
        if is_short or is_name or word.lower() in others.words:
            continue
        pattern = re.compile(rf"\b{word}" + ("=" if is_key else r"\b"))
        places = [pattern.search(text, start) for text, start in zip(texts, at, strict=True)]
        if all(places):
            found.append(word + "=" * is_key)
            at = [place.end() for place in places if place is not None]
    chosen = found[:_TESTS]
    return chosen if sum(len(word.rstrip("=")) for word in chosen) >= _CHARS_MIN else []
