"""Events of the Windows event log in the forms that collectors make of them, as the object that EVTX tools make.

Pure. The form is that of `evtx_dump`: attributes below `#attributes`, an element's text beside them as `#text`, the named
`Data` of `EventData` by name. Two others become it: XML as Windows renders it (`of_xml`), and the body of OpenTelemetry's
receiver (`of_receiver`). Stops at the values: they stay as they are. XML with a document type or entities of its own is
refused, so nothing in it grows when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree

__all__ = ["of_receiver", "of_xml"]

_SYSTEM: Final = {
    "computer": "Computer", "record_id": "EventRecordID", "level": "Level", "task": "Task", "opcode": "Opcode",
    "keywords": "Keywords",
}  # fmt: skip
_OTHERS: Final = "Linux-Sysmon"
"""Writes the same form, and is another system's log with an entry of its own."""


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
