"""A record of MySQL's or Percona's audit log in XML as the object that Percona's JSON has for it. Pure.

Both XML formats: values as attributes (`OLD`) and as elements (`NEW`), on one line or many. The names are the same in both, and in
Percona's JSON but for their case, so that one catalogue entry reads all of them.
"""

from __future__ import annotations

import html
import re
from typing import Final

__all__ = ["of_mysql_xml"]

_WHOLE: Final = re.compile(
    r"<AUDIT_RECORD(?:\s[^<>]*)?(?:/>|>(?:\s*<[A-Z_]+(?:/>|>[^<]*</[A-Z_]+>))*\s*</AUDIT_RECORD>)\s*"
)
_ELEMENT: Final = re.compile(r"<([A-Z_]+)>([^<]*)</")
_ATTRIBUTE: Final = re.compile(r'\s([A-Z_]+)="([^"]*)"')


def of_mysql_xml(text: str) -> dict[str, dict[str, str]] | None:
    """The object, or None where the text is not one whole record.

    >>> of_mysql_xml('<AUDIT_RECORD NAME="Connect" USER="anna" STATUS="0"/>')
    {'audit_record': {'name': 'Connect', 'user': 'anna', 'status': '0'}}
    """
    if _WHOLE.fullmatch(text) is None:
        return None
    found = _ELEMENT.findall(text) or _ATTRIBUTE.findall(text)
    said = {name.lower(): html.unescape(value) for name, value in found if value}
    return {"audit_record": said} if "name" in said else None
