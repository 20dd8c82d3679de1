r"""Mail addresses in the text of a JSON record, at whatever place: a person is named by one in every system. Pure.

An address is found as it is spelled there: also percent-encoded in a URL, behind an escape, in a text inside a text. Left alone is
what looks like one and names nobody: the id of a message, a unit of systemd (`user@1000.service`), an image
(`icon@2x.png`). Stops at: addresses with quotes, comments or a literal host, which hardly anybody has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["addresses"]

_LOCAL_BYTES_MAX: Final = 128  # a guest of a directory has an address inside of another's
_IN_LOCAL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+'#-" + bytes(range(128, 256))
_AT: Final = re.compile(rb"@|%40")
_DOMAIN: Final = re.compile(
    rb"(?:[A-Za-z0-9\x80-\xff][A-Za-z0-9\x80-\xff-]{0,62}\.){1,9}(xn--[A-Za-z0-9-]{2,59}|[A-Za-z\x80-\xff]{2,24})(?![A-Za-z0-9_\x80-\xff])"
)
_ESCAPED: Final = {0x5C: re.compile(rb"u[0-9a-fA-F]{4}|[bfnrt]"), 0x25: re.compile(rb"[0-9A-Fa-f]{2}")}
"""What belongs to a backslash or a percent sign before it."""
_MESSAGE_ID: Final = re.compile(rb"(?i)(?:message|msg|content)[_. -]?id\\*\"?\s*[:=]\s*\[?\\*\"?(?:\\+u003c)?<?\Z")
_BEYOND_ASCII: Final = re.compile(r"[\w+][\w.+'#-]*(?:@|%40)(?:[\w-]+\.)+\w+")
_NOT_PEOPLE: Final = frozenset(
    b"service socket device mount automount swap target path timer slice scope png jpg jpeg gif svg webp".split()
)
"""What ends like a domain: units of systemd, and pictures for fine screens."""


def addresses(record: bytes) -> Iterator[tuple[bytes, str]]:
    """(spelling in the record, the address itself) of each, in order, repeated where it is repeated.

    >>> list(addresses(b'{"url":"/u?mail=anna%40example.com","unit":"user@1000.service"}'))
    [(b'anna%40example.com', 'anna@example.com')]
    """
    for at, end in _ats(record):
        domain = _DOMAIN.match(record, end)
        if domain is None or domain.group(1).lower() in _NOT_PEOPLE:
            continue
        start = _start(record, at)
        if start == at or _MESSAGE_ID.search(record, max(0, start - 40), start):
            continue
        spelled = record[start : domain.end()].decode(errors="replace")  # it begins and ends with a whole letter
        if not spelled.isascii() and (exact := _BEYOND_ASCII.search(spelled)) is not None:
            spelled = exact.group()  # without quotation marks and the like
        yield spelled.encode(), spelled.replace("%40", "@")


def _ats(record: bytes) -> Iterator[tuple[int, int]]:
    """Where each `@` begins and ends: a search for a byte, unless some are percent-encoded."""
    if b"%40" in record:
        yield from (at.span() for at in _AT.finditer(record))
        return
    at = record.find(b"@")
    while at >= 0:
        yield at, at + 1
        at = record.find(b"@", at + 1)


def _start(record: bytes, at: int) -> int:
    """Where the local part begins; `at` when there is none."""
    before = record[max(0, at - _LOCAL_BYTES_MAX - 1) : at]
    n_local = len(before) - len(before.rstrip(_IN_LOCAL))
    if not n_local or n_local > _LOCAL_BYTES_MAX:
        return at
    start = at - n_local
    if start and (escaped := _ESCAPED.get(record[start - 1])) and (found := escaped.match(record, start, at)):
        start = found.end()
    return at - len(record[start:at].lstrip(b".'+#-"))
