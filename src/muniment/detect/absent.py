"""Fields that a rule names and its events never hold, where that is certain; where it is not, nothing is said. Pure.

Certain it is for one kind of log source: every format that serves it tells its events apart by a text of the record (`acts`
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

__all__ = ["absent_fields", "remark_on_fields"]

_OF_MONITORS: Final = frozenset(
    {
        "CreationUtcTime", "CurrentDirectory", "FileVersion", "GrandParentImage", "Hashes", "Imphash", "IntegrityLevel", "LogonGuid",
        "OriginalFileName", "ParentCommandLine", "ParentImage", "ParentIntegrityLevel", "ParentProcessGuid", "ParentProcessId",
        "ParentUser", "ProcessGuid", "TerminalSessionId", "imphash",
    }
)  # fmt: skip
"""Of Sysmon's events about processes and files, the names that no shipper uses for its own envelope (`Product` is one it might)."""


def absent_fields(wanted: LogSource, names: frozenset[str], formats: Formats) -> frozenset[str]:
    """Which of these fields no event of the log source can hold."""
    if not wanted.product or not wanted.category:
        return frozenset()
    serving = [found for found in formats.values() if found[0].has(wanted)]
    if not serving or not all(
        any(holds and category == wanted.category for _, holds, category in kind.acts) and not taxonomy.prefixes
        for kind, taxonomy in serving
    ):
        return frozenset()
    return (names & _OF_MONITORS).difference(*(taxonomy.names for _, taxonomy in serving))


def remark_on_fields(rule: Rule, formats: Formats) -> str:
    """What a person should know of it, in a sentence; empty when there is nothing, or nothing certain."""
    absent = absent_fields(rule.logsource, frozenset(_asked_for(rule.condition)), formats)
    if not absent:
        return ""

    def holds(test: Condition) -> bool | None:
        return compiled(test)(_NOTHING) if fields_of(test) & absent else None

    source = f"{rule.logsource.product} {rule.logsource.category}"
    named = f"names {', '.join(sorted(absent))}, which records of {source} never hold"
    if reduced(rule.condition, holds) is False:
        return f"{named}: it can never match"
    return f"{named}: what asks for {'it' if len(absent) == 1 else 'them'} never matches"


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
