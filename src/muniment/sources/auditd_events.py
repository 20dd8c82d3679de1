"""Records of the Linux audit system put together as the events they are of. Pure; derived, never stored.

The kernel and its daemons write one event as several records that share `audit(time:number)`: SYSCALL says who did what
with which outcome, CWD, PATH, EXECVE, SOCKADDR and PROCTITLE say to what, EOE that it is complete. They arrive between
those of other events, over syslog, files or the journal, and each is kept as it came. Here the typed columns of any
number of records become one row an event: the host and `trace_id` name it, since numbers begin anew at a boot also
the second. The record that says most leads; what it leaves empty is filled from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["join_events"]

Row = Mapping[str, str | int]

_ABOUT: Final = frozenset(
    "file.name process.arguments process.title audit.cwd audit.eoe audit.sockaddr audit.netfilter_pkt audit.fd_pair "
    "audit.mmap audit.ipc audit.obj_pid audit.bprm_fcaps audit.capset audit.proctitle".split()
)
"""Actions of records that only say something about another record of the same event."""


def join_events(rows: Iterable[Row]) -> list[dict[str, str | int]]:
    """One row for each event, in the order in which their first records stand; a record of no event is its own.

    `message` is the messages of all, a line each; `time` the earliest. Rows are typed columns as `sources` maps them.
    """
    events: dict[tuple[str, str, str], list[Row]] = {}
    for number, row in enumerate(rows):
        trace = str(row.get("trace_id", ""))
        key = (str(row.get("dst_host", "")), str(row.get("time", "")), trace) if trace else ("", "", f"#{number}")
        events.setdefault(key, []).append(row)
    return [_joined(records) for records in events.values()]


def _joined(records: list[Row]) -> dict[str, str | int]:
    leader, *others = sorted(records, key=_weight)
    event = dict(leader)
    for row in others:
        for column in ("actor_id", "actor_name", "session_id", "src_ip", "device_name", "status_detail", "target_id"):
            event[column] = event.get(column) or row.get(column, "")
        if event.get("outcome", "unknown") == "unknown":
            event["outcome"] = row.get("outcome", "unknown")
    event["target_name"] = _object(leader, records)
    event["message"] = "\n".join(str(row.get("message", "")) for row in records)
    event["severity_id"] = max(int(row.get("severity_id", 0)) for row in records)
    return event


def _weight(row: Row) -> tuple[int, int]:
    """What leads: first what says more than a system call does (TIME_ADJNTPVAL, AVC), then the call, then the rest."""
    action = str(row.get("action", ""))
    if action in _ABOUT:
        return 2, 0
    return (0 if "type=SYSCALL" not in str(row.get("message", "")) else 1), -int(row.get("severity_id", 0))


def _object(leader: Row, records: list[Row]) -> str | int:
    """A command line for a process, the path of the item that is no folder for a file."""
    wanted = {"process": ("process.title", "process.arguments"), "file": ("file.name",)}
    actions = wanted.get(str(leader.get("target_type", "")), ())
    for action in actions:
        names = [row for row in records if row.get("action") == action and row.get("target_name")]
        names.sort(key=lambda row: row.get("status_detail") == "PARENT")
        if names:
            return names[0]["target_name"]
    return leader.get("target_name", "")
