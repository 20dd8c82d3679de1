"""Fields that a rule names and its events never hold, where that is certain; where it is not, nothing is said. Pure.

Certain it is for one kind of format that serves a log source: it tells its events apart by a text of the record (`acts`
with `holds`: auditd's EXECVE for process_creation), so that the record is what a kernel wrote and not what a monitor of
processes wrote, and the field is one that only such a monitor writes (Sysmon's names, which Sigma's rules use). An entry may
still say where it stands (`fields`). JSON of vendors may hold any field, and so may what an entry of last resort reads.
"""

from __future__ import annotations

from typing import Final

from muniment.detect.condition import All, AnyOf, Condition, Exists, IsNull, No, fields_of, reduced
from muniment.detect.match import Event, compiled
from muniment.detect.reading import Formats
from muniment.detect.rule import LogSource, Rule

__all__ = ["remark_on_fields"]

_OF_MONITORS: Final = frozenset(
    {
        "CreationUtcTime", "CurrentDirectory", "FileVersion", "GrandParentImage", "Hashes", "Imphash", "IntegrityLevel", "LogonGuid",
        "OriginalFileName", "ParentCommandLine", "ParentImage", "ParentIntegrityLevel", "ParentProcessGuid", "ParentProcessId",
        "ParentUser", "ProcessGuid", "TerminalSessionId", "imphash",
    }
)  # fmt: skip
"""Of Sysmon's events about processes and files, the names that no shipper uses for its own envelope (`Product` is one it might)."""


def _absent_fields(wanted: LogSource, names: frozenset[str], formats: Formats) -> dict[str, frozenset[str]]:
    """By each format that serves the log source, which of these fields its events cannot hold; empty where that is not certain."""
    if not wanted.product or not wanted.category:
        return {}
    found = {}
    for name, (kind, taxonomy) in formats.items():
        if kind.has(wanted):
            is_certain = any(holds and category == wanted.category for _, holds, category in kind.acts)
            known = is_certain and not taxonomy.prefixes
            found[name] = (names & _OF_MONITORS) - frozenset(taxonomy.names) if known else frozenset[str]()
    return found


def remark_on_fields(rule: Rule, formats: Formats) -> str:
    """What a person should know of it, in a sentence; empty when there is nothing, or nothing certain."""
    by_format = _absent_fields(rule.logsource, frozenset(_asked_for(rule.condition)), formats)
    lacking = {name: fields for name, fields in by_format.items() if fields}
    if not lacking:
        return ""
    absent = frozenset[str]().union(*lacking.values())

    def holds(test: Condition) -> bool | None:
        is_single = not isinstance(test, All | AnyOf | No)
        return compiled(test)(_NOTHING) if is_single and fields_of(test) & absent else None

    source = f"{rule.logsource.product} {rule.logsource.category}"
    others = sorted(by_format.keys() - lacking)
    whose = f"{', '.join(sorted(lacking))} of {source}" if others else source
    named = f"names {', '.join(sorted(absent))}, which records of {whose} never hold"
    asks = f"what asks for {'it' if len(absent) == 1 else 'them'}"
    if reduced(rule.condition, holds) is False:
        return (
            f"{named}: it can match records of {', '.join(others)} only" if others else f"{named}: it can never match"
        )
    return f"{named}: {asks} matches in {', '.join(others)} only" if others else f"{named}: {asks} never matches"


_NOTHING: Final = Event({})


def _asked_for(condition: Condition) -> set[str]:
    """Fields that must be there for some test to hold; a test for a field that is not there does not ask for it."""
    match condition:
        case All(parts) | AnyOf(parts):
            return set[str]().union(*map(_asked_for, parts))
        case No(part):
            return _asked_for(part)
        case IsNull() | Exists(_, False):
            return set()
    return fields_of(condition)
