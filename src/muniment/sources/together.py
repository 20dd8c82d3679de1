"""Records that are parts of one event: which belong together, and what those that came before say. Pure.

A catalogue entry's `together:` names them. Linux audit writes one act as several records with one number: who did it is
in the first, on what in the others. Here nothing is merged: each record keeps its row, and a row's mapping may read, as
`$earlier`, the texts of the same event's records that came before, oldest first, one a line.

Rules: what a record sees depends on nothing but the records at the indexes before it, at most
TOGETHER_ENTRIES_MAX of them and TOGETHER_BYTES_MAX of kept text, counted back from it. So it is the same however batches are
cut, and reading back that many entries is enough to go on after a restart. A record that comes before the one it should
learn from learns nothing from it. The event's name holds its time, so a counter that starts again is another event; the
source and the named places (a host) are part of it, so hosts do not mix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from muniment.limits import (
    TOGETHER_BYTES_MAX,
    TOGETHER_EARLIER_CHARS_MAX,
    TOGETHER_ENTRIES_MAX,
    TOGETHER_TEXT_CHARS_MAX,
)
from muniment.patterns import compiled_pattern

__all__ = ["EARLIER", "Memory", "Together"]

EARLIER: Final = "earlier"
"""The name of that text in a mapping: `$earlier`, a column of the rows that are mapped."""

Key = tuple[str, ...]
_SYSLOG: Final = b'{"syslog":'


@dataclass(frozen=True, slots=True)
class Together:
    """How one entry's records belong together.

    A record has one text of each of the `marks`; the first of the `text` places that holds a text is what it says; the groups of
    `event` and the values at `of` name the event; a text that matches `kept` is what later ones may read. `is_named`: looked for in
    sources only that have the entry as their format, where its marks are many people's.
    """

    entry: str
    marks: tuple[tuple[str, ...], ...]
    text: tuple[tuple[str, ...], ...]
    of: tuple[tuple[str, ...], ...]
    event: str
    kept: str
    is_named: bool = False
    _event: Any = field(init=False, repr=False, compare=False)
    _kept: Any = field(init=False, repr=False, compare=False)
    _bytes: tuple[tuple[bytes, ...], ...] = field(init=False, repr=False, compare=False)
    _rare: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _begins: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_event", compiled_pattern(self.event))
        object.__setattr__(self, "_kept", compiled_pattern(self.kept) if self.kept else None)
        object.__setattr__(self, "_bytes", tuple(tuple(mark.encode() for mark in marks) for marks in self.marks))
        # Looking for one byte is ten times as fast as looking for a word, and few records have these.
        only = [marks[0] for marks in self._bytes if len(marks) == 1]
        rare = {byte for mark in only for byte in mark if not chr(byte).isalnum() and chr(byte) not in ' ":,{}'}
        object.__setattr__(self, "_rare", tuple(sorted(rare)))
        # Our door of syslog writes what a line says first; to look through a whole record takes a microsecond for each KB.
        object.__setattr__(self, "_begins", _SYSLOG if all(path[0] == "syslog" for path in self.text) else b"")

    def having_marks(self, records: Sequence[bytes], among: Sequence[int]) -> Sequence[int]:
        """Which of the records `among` may be of these; quick, as it is nearly always none."""
        if self._begins:
            among = [number for number in among if records[number].startswith(self._begins)]
        for byte in self._rare:
            among = [number for number in among if byte in records[number]]
        for mark, *others in self._bytes:
            if others:
                among = [number for number in among if any(one in records[number] for one in (mark, *others))]
            else:
                among = [number for number in among if mark in records[number]]
        return among

    def read(self, source: str, record: bytes) -> tuple[Key, str] | None:
        """The event that a record is part of, and its text; None for any other record."""
        try:
            document = msgspec.json.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        text = next((found for path in self.text if (found := _at(document, path))), "")
        match = self._event.search(text) if text else None
        if match is None:
            return None
        groups = [group or "" for group in match.groups()]
        return (self.entry, source, *(_at(document, path) for path in self.of), *groups), text

    def keeps(self, text: str) -> bool:
        """Whether later records may read this one."""
        return self._kept is None or self._kept.search(text) is not None


def _at(document: object, path: Sequence[str]) -> str:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else ""


def _within(texts: Iterable[str], n_chars_max: int) -> list[str]:
    """The first of some texts, with the ends of their lines no longer than that."""
    said, n_chars = [], 0
    for text in texts:
        n_chars += len(text) + 1
        if n_chars > n_chars_max:
            break
        said.append(text)
    return said


class Memory:
    """What the last records said. Asked once for each record that may be one of these, in the order of their indexes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Key, int]] = deque()  # index, event, bytes
        self._texts: dict[Key, deque[str]] = {}
        self._bytes = 0

    def recall(self, index: int, source: str, kinds: Sequence[Together], record: bytes) -> str:
        """What earlier records of the same event say; the record itself is kept for later ones. `kinds`: whose marks it has."""
        for kind in kinds:
            if (found := kind.read(source, record)) is not None:
                key, text = found
                self._forget(index - TOGETHER_ENTRIES_MAX)
                earlier = self._earlier(key)
                if kind.keeps(text):
                    self._keep(index, key, text)
                return earlier
        return ""

    def _earlier(self, key: Key) -> str:
        texts = self._texts.get(key, deque())
        said = _within(texts, TOGETHER_EARLIER_CHARS_MAX)
        if len(said) < len(texts):
            oldest = _within(texts, TOGETHER_EARLIER_CHARS_MAX // 2)
            newest = _within(reversed(texts), TOGETHER_EARLIER_CHARS_MAX // 2)
            said = [*oldest, *reversed(newest)]
        return "\n".join(said)

    def _keep(self, index: int, key: Key, text: str) -> None:
        text = text[:TOGETHER_TEXT_CHARS_MAX].replace("\n", " ")
        size = len(text.encode())
        self._kept.append((index, key, size))
        self._texts.setdefault(key, deque()).append(text)
        self._bytes += size
        while self._bytes > TOGETHER_BYTES_MAX:
            self._drop()

    def _forget(self, before: int) -> None:
        while self._kept and self._kept[0][0] < before:
            self._drop()

    def _drop(self) -> None:
        _, key, size = self._kept.popleft()
        texts = self._texts[key]
        texts.popleft()
        if not texts:
            del self._texts[key]
        self._bytes -= size
