"""Texts of key=value pairs as fields: what Sigma's rules for auditd and firewalls name. Pure.

    pair  = key "=" ( DQUOTE *any DQUOTE / "'" *pair "'" / *VCHAR )
    event = "<Event>" *( "<Data Name=" DQUOTE key DQUOTE ">" value "</Data>" / "<" key ">" value "</" key ">" ) "</Event>"

An event in the XML of Windows, which Sysmon for Linux writes too, has its data and the elements of its head as fields. auditd writes texts from outside in hexadecimal when they hold blanks or quotes; such values of the fields it does so for
are decoded. The first of several equal keys counts.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any, Final

import orjson

__all__ = ["with_fields"]

_PAIR: Final = re.compile(r"""([A-Za-z0-9_.-]+)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"']*))""")
_XML: Final = re.compile(r"""<(?:Data Name=["']([A-Za-z0-9_.-]+)["']|([A-Za-z]+)(?: [^<>]*)?)>([^<]*)</""")
_HEX: Final = re.compile(r"(?:[0-9A-F]{2}){2,}")
_ENCODED: Final = re.compile(r"a\d+|exe|comm|name|cmd|proctitle|cwd|acct|key|vm|old-disk|new-disk")


def with_fields(record: bytes, paths: tuple[str, ...]) -> bytes:
    """The record with the pairs of the first text that is there as fields of its own; itself when there is none."""
    document = orjson.loads(record)
    for path in paths:
        text = _at(document, path)
        if isinstance(text, str):
            return orjson.dumps({**_fields(text), **document})
    return record


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if text.lstrip().startswith("<Event"):
        for data, element, value in _XML.findall(text):
            found.setdefault(data or element, unescape(value))
        return found
    for key, quoted, inner, bare in _PAIR.findall(text):
        if inner:
            for name, value in _fields(inner).items():
                found.setdefault(name, value)
        value = quoted or bare
        if bare and _HEX.fullmatch(bare) and _ENCODED.fullmatch(key):
            value = bytes.fromhex(bare).decode("utf-8", "replace").replace("\0", " ")
        found.setdefault(key, value)
    return found
