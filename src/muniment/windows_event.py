"""Events of the Windows event log in the forms that collectors make of them, as the object that EVTX tools make.

Pure. The form is that of `evtx_dump`: attributes below `#attributes`, an element's text beside them as `#text`, the named
`Data` of `EventData` by name. Others become it: XML as Windows renders it (`of_xml`), the body of OpenTelemetry's
receiver (`of_receiver`), and the three forms whose fields stand in the English sentences of the event: Snare's line and the
text of Splunk's forwarder (`of_text`), and what PowerShell's `Get-WinEvent` has (`of_powershell`). Stops at the values: they stay as they are. XML with a document type or entities of its own is
refused, so nothing in it grows when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree import ElementTree

__all__ = ["POWERSHELL_KEYS", "of_powershell", "of_receiver", "of_text", "of_xml"]

_SYSTEM: Final = {
    "computer": "Computer", "record_id": "EventRecordID", "level": "Level", "task": "Task", "opcode": "Opcode",
    "keywords": "Keywords",
}  # fmt: skip
_OF_POWERSHELL: Final = {
    "MachineName": "Computer", "RecordId": "EventRecordID", "Level": "Level", "TaskDisplayName": "Task",
    "KeywordsDisplayNames": "Keywords",
}  # fmt: skip
POWERSHELL_KEYS: Final = frozenset(("Id", "LogName", "ProviderName", "TimeCreated", "Message", *_OF_POWERSHELL))
"""What `of_powershell` looks at."""
_DATE: Final = re.compile(r"/Date\((\d+)")
"""Milliseconds, as .NET wrote JSON."""
_OTHERS: Final = "Linux-Sysmon"
"""Writes the same form, and is another system's log with an entry of its own."""


_SNARE: Final = re.compile(r"(?:^|\s)MSWinEventLog(?:\t|#011)[0-9](?:\t|#011)")
_SNARE_PARTS: Final = (
    "LogName", "_", "_", "EventCode", "SourceName", "_", "_", "Keywords", "ComputerName", "TaskCategory",
)  # fmt: skip
_FORWARDER: Final = re.compile(r"(?:^|\n)LogName=[^\n]+\n(?:[A-Za-z]+=[^\n]*\n)*?EventCode=[0-9]+\n")
_OTHER: Final = (
    "Account For Which Logon Failed", "New Logon", "Account Whose Credentials Were Used", "New Account", "Account Information",
    "Account That Was Locked Out", "Target Account", "User Account", "Computer Account That Was Changed",
)  # fmt: skip
_SECTIONS: Final = frozenset(
    (
        "Subject", *_OTHER, "Member", "Group", "New Group", "Deleted Group", "Failure Information", "Process Information", "Network Information",
        "Logon Information", "Service Information", "Additional Information", "Detailed Authentication Information",
        "Object", "Changed Attributes", "Attributes", "Target Server", "Access Request Information", "Creator Subject",
        "Target Subject", "Task Information", "Share Information", "Privileges", "Certificate Information",
    )
)  # fmt: skip
_NAMES: Final[Mapping[tuple[str, str], str]] = {
    **{
        (who, label): f"{prefix}{name}"
        for prefix, whose in (("Subject", ("Subject", "Creator Subject")), ("Target", (*_OTHER, "Target Subject")))
        for who in whose
        for label, name in (
            ("Security ID", "UserSid"),
            ("Account Name", "UserName"),
            ("Account Domain", "DomainName"),
            ("Logon ID", "LogonId"),
            ("Supplied Realm Name", "DomainName"),
            ("User ID", "Sid"),
        )
    },
    **{
        (group, label): name
        for group in ("Group", "New Group", "Deleted Group")
        for label, name in (
            ("Security ID", "TargetSid"),
            ("Group Name", "TargetUserName"),
            ("Account Name", "TargetUserName"),
            ("Group Domain", "TargetDomainName"),
            ("Account Domain", "TargetDomainName"),
        )
    },
    ("Target Account", "Security ID"): "TargetSid",
    ("New Account", "Security ID"): "TargetSid",
    ("Member", "Security ID"): "MemberSid",
    ("Member", "Account Name"): "MemberName",
    ("", "Logon Type"): "LogonType",
    ("", "Failure Reason"): "FailureReason",
    ("", "Status"): "Status",
    ("", "Sub Status"): "SubStatus",
    ("", "Failure Code"): "Status",
    ("", "Result Code"): "Status",
    ("", "Error Code"): "Status",
    ("", "Workstation Name"): "WorkstationName",
    ("", "Source Workstation"): "Workstation",
    ("", "Caller Computer Name"): "TargetDomainName",
    ("", "Logon Account"): "TargetUserName",
    ("", "Source Network Address"): "IpAddress",
    ("", "Client Address"): "IpAddress",
    ("", "Network Address"): "IpAddress",
    ("", "Source Address"): "IpAddress",
    ("", "Source Port"): "IpPort",
    ("", "Client Port"): "IpPort",
    ("", "Caller Process Name"): "ProcessName",
    ("", "Process Name"): "ProcessName",
    ("", "Process ID"): "ProcessId",
    ("", "Caller Process ID"): "ProcessId",
    ("", "New Process Name"): "NewProcessName",
    ("", "New Process ID"): "NewProcessId",
    ("", "Creator Process Name"): "ParentProcessName",
    ("", "Creator Process ID"): "ProcessId",
    ("", "Process Command Line"): "CommandLine",
    ("", "Token Elevation Type"): "TokenElevationType",
    ("", "Logon Process"): "LogonProcessName",
    ("", "Authentication Package"): "AuthenticationPackageName",
    ("", "Service Name"): "ServiceName",
    ("", "Service File Name"): "ImagePath",
    ("", "Service Type"): "ServiceType",
    ("", "Service Start Type"): "StartType",
    ("", "Service Account"): "AccountName",
    ("", "Ticket Options"): "TicketOptions",
    ("", "Ticket Encryption Type"): "TicketEncryptionType",
    ("", "Pre-Authentication Type"): "PreAuthType",
    ("", "Object Name"): "ObjectName",
    ("", "Object Type"): "ObjectType",
    ("", "Object Server"): "ObjectServer",
    ("", "Accesses"): "AccessList",
    ("", "Share Name"): "ShareName",
    ("", "Relative Target Name"): "RelativeTargetName",
    ("", "Task Name"): "TaskName",
    ("", "Task Content"): "TaskContent",
    ("", "Target Server Name"): "TargetServerName",
    ("", "Privileges"): "PrivilegeList",
    ("", "SAM Account Name"): "SamAccountName",
}
_LABELS: Final = _SECTIONS | {label for _, label in _NAMES}
_LABEL: Final = re.compile(r"([A-Z][\w/-]*(?: [\w/-]+)*):(?=[ \t]*([^\t\r\n]*?)(?:\s\s|[\t\r\n]|$))")
"""What may be a label and its value; one is where a line, a column or a wide space begins (`_begins`)."""


_NAMED: Final = re.compile(r"\A[^\n]*:\s*\n(?:RuleName: [^\n]*\n)?UtcTime: ")
_LINE_END: Final = re.compile(r"[\r\n]+")
_LINE: Final = re.compile(r"^([A-Za-z]+): ([^\r\n]*)", re.MULTILINE)


def of_receiver(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """`{"Event": {...}}` of a body of OpenTelemetry's `windowseventlog`; None for what is none.

    >>> of_receiver({"channel": "Security", "event_id": {"id": 1}, "event_data": {"data": [{"a": "b"}]}, "provider": {"name": "p"}})
    {'Event': {'System': {'EventID': 1, 'Channel': 'Security', 'Provider': {'#attributes': {'Name': 'p'}}}, 'EventData': {'a': 'b'}}}
    """
    number, provider = body.get("event_id"), body.get("provider")
    if not isinstance(number, dict) or not isinstance(provider, dict) or "channel" not in body:
        return None
    system: dict[str, Any] = {"EventID": number.get("id"), "Channel": body["channel"]}
    system["Provider"] = {"#attributes": {"Name": provider.get("name")}}
    system |= {name: body[key] for key, name in _SYSTEM.items() if key in body}
    if "system_time" in body:
        system["TimeCreated"] = {"#attributes": {"SystemTime": body["system_time"]}}
    data = body.get("event_data")
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = {name: value for one in data["data"] if isinstance(one, dict) for name, value in one.items()}
    event: dict[str, Any] = {"System": system, "EventData": data}
    if isinstance(said := body.get("message"), str):
        event["RenderingInfo"] = {"Message": said}
    return {"Event": {name: value for name, value in event.items() if value}}


def of_powershell(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """`{"Event": {...}}` of an event of `Get-WinEvent | ConvertTo-Json`; None for what is none.

    >>> of_powershell({"Id": 1, "LogName": "Security", "ProviderName": "p", "Message": "A user account was created."})["Event"]["System"]
    {'EventID': 1, 'Channel': 'Security', 'Provider': {'#attributes': {'Name': 'p'}}}
    """
    message, moment = record.get("Message") or "", record.get("TimeCreated")
    if not isinstance(message, str) or not isinstance(record.get("Id"), int):
        return None
    system: dict[str, Any] = {"EventID": record["Id"], "Channel": record.get("LogName")}
    system["Provider"] = {"#attributes": {"Name": record.get("ProviderName")}}
    system |= {name: record[key] for key, name in _OF_POWERSHELL.items() if record.get(key) is not None}
    moment = moment.get("value") if isinstance(moment, dict) else moment
    if isinstance(moment, str) and moment:
        of_dotnet = _DATE.match(moment)
        system["TimeCreated"] = {"#attributes": {"SystemTime": of_dotnet[1] if of_dotnet else moment}}
    said = {"Message": message.splitlines()[0].strip() if message.strip() else ""}
    return {"Event": {"System": system, "EventData": _fields(message), "RenderingInfo": said}}


def of_text(text: str) -> dict[str, Any] | None:
    """`{"Event": {...}}` of a line of Snare, or of the lines of Splunk's forwarder; None for what is neither.

    >>> line = "MSWinEventLog\\t1\\tSecurity\\t7\\tMon Nov 23 06:36:01 2026\\t4625\\tp\\tanna\\tUser\\tFailure Audit\\tpc\\tLogon\\t\\tx"
    >>> of_text(line)["Event"]["System"]["EventID"]
    '4625'
    """
    if at := _SNARE.search(text):
        parts = text[at.end() :].replace("#011", "\t").split("\t")
        if len(parts) < 11 or not parts[3].isdigit():
            return None
        said = dict(zip(_SNARE_PARTS, parts, strict=False))
        message = "\t".join(parts[10:])
    elif _FORWARDER.search(text):
        head, _, message = text.partition("\nMessage=")
        said = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    else:
        return None
    system: dict[str, Any] = {
        "Channel": said.get("LogName"), "EventID": said.get("EventCode"), "Computer": said.get("ComputerName"),
        "Provider": {"#attributes": {"Name": said.get("SourceName")}}, "Keywords": said.get("Keywords"),
        "Task": said.get("TaskCategory"),
    }  # fmt: skip
    return {
        "Event": {
            "System": system,
            "EventData": _fields(message),
            "RenderingInfo": {"Message": message.split("  ")[0].strip()},
        }
    }


def _fields(message: str) -> dict[str, str]:
    """What stands behind the labels of an event's sentences, by the names that the event itself has for it."""
    if _NAMED.match(message):  # Sysmon's: each line has the name and the value
        return dict(_LINE.findall(message))
    found: dict[str, str] = {}
    section = ""
    for label, value in _labelled(message):
        if label in _SECTIONS:
            section = label
        if not value or value.partition(":")[0] in _LABELS:
            continue
        name = _NAMES.get((section, label)) or _NAMES.get(("", label))
        if name and value != "-":
            found.setdefault(name, value)
    return found


def _labelled(message: str) -> Iterator[tuple[str, str]]:
    """Labels with what stands behind each, stripped: one a line, or several with wide spaces between them."""
    for line in _LINE_END.split(message):
        label, colon, value = line.partition(":")
        if not colon:
            continue
        label, value = label.strip(), value.strip()
        if "  " not in value and "\t" not in value and "  " not in label and "\t" not in label:
            if label in _LABELS:
                yield label, value
            continue
        for match in _LABEL.finditer(line):
            if match[1] in _LABELS and _begins(line, match.start()):
                yield match[1], match[2].strip()


def _begins(line: str, at: int) -> bool:
    """Does a cell begin there? Behind nothing, a tab or two spaces, and perhaps a space more."""
    before = line[max(0, at - 3) : at]
    return before in ("", " ") or before.endswith(("\t", "\t ", "  "))


def of_xml(text: str) -> dict[str, Any] | None:
    """`{"Event": {...}}`; None for what is no such event, or not well-formed.

    >>> of_xml('<Event><System><EventID>1</EventID></System><EventData><Data Name="a">b</Data></EventData></Event>')
    {'Event': {'System': {'EventID': '1'}, 'EventData': {'a': 'b'}}}
    """
    if "<!" in text or _OTHERS in text:
        return None
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return None
    event = _element(root)
    return {"Event": event} if _name(root) == "Event" and isinstance(event, dict) and "System" in event else None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _element(element: ElementTree.Element) -> Any:
    if _name(element) == "EventData":
        return _data(element)
    found: dict[str, Any] = {}
    if element.attrib:
        found["#attributes"] = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for child in element:
        name, value = _name(child), _element(child)
        known = found.get(name)
        found[name] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    text = (element.text or "").strip()
    if not found:
        return text or None
    return {**found, "#text": text} if text else found


def _data(element: ElementTree.Element) -> dict[str, Any]:
    """By name; what has none is a list of texts under `Data`, what is no `Data` an element as others are."""
    found: dict[str, Any] = {}
    unnamed: list[str] = []
    for child in element:
        if _name(child) != "Data":
            found[_name(child)] = _element(child)
        elif name := child.get("Name"):
            found[name] = child.text or ""
        else:
            unnamed.append(child.text or "")
    return {**found, "Data": {"#text": unnamed}} if unnamed else found
