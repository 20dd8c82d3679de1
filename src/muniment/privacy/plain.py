"""Sealing in the common case: personal values that are plain strings at fixed places, each only a whole value. Pure.

One typed decode fetches all places at once; each value's token is then replaced in the text. `seal` gives None
whenever anything is less plain than that (a value that is no simple string, that also stands inside a text or as a
key, an object with the same key twice, a number of ours already in the record): the careful way decides then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from muniment.limits import SEAL_MENTION_CHARS_MIN
from muniment.privacy.plan import SealPlan

__all__ = ["Groups", "PlainSealer"]

Groups = dict[str, dict[int, bytes]]
"""Per person (identifier): the raw JSON values that were taken out, by number."""

_PLAIN = re.compile(rb'"[A-Za-z0-9][^"\\]*"').fullmatch
_BECAME_KEY = re.compile(rb"\}\s*:")
_MARKS = tuple(b'{"$sealed":%d}' % number for number in range(64))
_MENTION = SEAL_MENTION_CHARS_MIN + 2


class PlainSealer:
    """Compiled once per plan; no state between records."""

    def __init__(self, plan: SealPlan) -> None:
        """A plan with patterns, array elements or places inside places is never plain: `seal` is None for all."""
        paths = list(dict.fromkeys(p for f in plan.fields for p in (f.path, f.subject) if p is not None))
        is_plain = bool(paths) and not plan.texts
        is_plain = is_plain and all(isinstance(step, str) for path in paths for step in path)
        is_plain = is_plain and not any(a != b and a[: len(b)] == b for a in paths for b in paths)
        self._get: Callable[[Any], Sequence[msgspec.Raw]] | None = None
        if not is_plain:
            return
        tree: dict[str, Any] = {}
        names = [_attribute(tree, [str(step) for step in path]) for path in paths]
        self._decode = msgspec.json.Decoder(_struct(tree)).decode
        self._get = attrgetter(*names) if len(names) > 1 else _one(attrgetter(names[0]))
        self._fields = [(paths.index(f.path), -1 if f.subject is None else paths.index(f.subject)) for f in plan.fields]
        self._tops = [(b'"%b"' % key.encode(), _leaves(below)) for key, below in tree.items()]

    def seal(self, record: bytes) -> tuple[bytes, Groups] | None:
        """The record with placeholders and what was taken out; None when only the careful way can tell."""
        if self._get is None or b"$sealed" in record:
            return None
        has_escapes = b"\\" in record
        if not self._is_simple(record, has_escapes):
            return None
        try:
            found = self._get(self._decode(record))
        except (msgspec.DecodeError, AttributeError, UnicodeDecodeError, RecursionError):
            return None
        out, number = record, 0
        groups: Groups = {}
        values: list[bytes] = []
        owners: dict[int, dict[int, bytes]] = {}
        for place, subject in self._fields:
            if not (raw := bytes(found[place])) or raw == b"null" or raw == b'""' or raw in values:
                continue
            if _PLAIN(raw) is None or (has_escapes and _is_spelled_otherwise(raw, record)):
                return None
            named = owners.get(subject)
            if named is None:
                owner = _identifier(bytes(found[subject]), raw) if subject >= 0 else raw[1:-1].decode()
                if owner is None:
                    return None
                named = groups.setdefault(owner, {})
                if subject >= 0 and found[subject]:
                    owners[subject] = named
            number += 1
            named[number] = raw
            values.append(raw)
            out = out.replace(raw, _MARKS[number])
        for raw in values:
            if len(raw) >= _MENTION and raw[1:-1] in out:
                return None
        if _BECAME_KEY.search(out):
            return None
        return out, groups

    def _is_simple(self, record: bytes, has_escapes: bool) -> bool:
        """UTF-8, and no wanted key twice in its object, as far as looking at names can tell."""
        if not record.isascii():
            try:
                record.decode()
            except UnicodeDecodeError:
                return False
        if has_escapes and b"\\u" in record:  # a key may be spelled so
            return False
        for key, below in self._tops:
            if (times := record.count(key)) > 1:
                return False
            if times and below:
                at = record.find(key)
                inner = record[at : record.find(b"}", at)]
                if inner.count(b"{") > 1:
                    inner = record[at:]
                for name in below:
                    if inner.count(name) > 1:
                        return False
        return True


def _is_spelled_otherwise(raw: bytes, record: bytes) -> bool:
    """Could the value stand in the record in another spelling, or inside an escaped text?"""
    return b"\\" + raw in record or b"/" in raw


def _identifier(raw: bytes, value: bytes) -> str | None:
    """Whose the value is: the subject's text, else the value's own; None for what is no plain string."""
    if not raw or raw == b"null":
        raw = value
    if raw[0] != 0x22 or b"\\" in raw:
        return None
    return raw[1:-1].decode()


def _attribute(tree: dict[str, Any], path: Sequence[str]) -> str:
    names = []
    for key in path:
        names.append(f"f{list(tree).index(key) if key in tree else len(tree)}")
        tree = tree.setdefault(key, {})
    return ".".join(names)


def _struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct whose absent parts are there and empty, so that one attribute getter reads them all."""
    fields: list[Any] = []
    for number, (key, below) in enumerate(tree.items()):
        if below:
            kind = _struct(below)
            fields.append((f"f{number}", kind, msgspec.field(default=kind(), name=key)))
        else:
            fields.append((f"f{number}", msgspec.Raw, msgspec.field(default=msgspec.Raw(), name=key)))
    return msgspec.defstruct("Place", fields, gc=False, frozen=True)


def _leaves(tree: dict[str, Any]) -> list[bytes]:
    """All keys below a key, in quotes."""
    return [name for key, below in tree.items() for name in (b'"%b"' % key.encode(), *_leaves(below))]


def _one(get: Callable[[Any], msgspec.Raw]) -> Callable[[Any], Sequence[msgspec.Raw]]:
    return lambda root: (get(root),)
