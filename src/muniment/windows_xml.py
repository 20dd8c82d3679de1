"""An event of the Windows event log as XML, which forwarders send as text, as the object that EVTX tools make of it.

Pure. The form is that of `evtx_dump`: attributes below `#attributes`, an element's text beside them as `#text`, the named
`Data` of `EventData` by name. Stops at the values: all stay texts. A text with a document type or entities of its own is refused, so
nothing in it grows when it is read.
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree

__all__ = ["as_object"]

_OTHERS: Final = "Linux-Sysmon"
"""Writes the same form, and is another system's log with an entry of its own."""


def as_object(text: str) -> dict[str, Any] | None:
    """`{"Event": {...}}`; None for what is no such event, or not well-formed.

    >>> as_object('<Event><System><EventID>1</EventID></System><EventData><Data Name="a">b</Data></EventData></Event>')
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
