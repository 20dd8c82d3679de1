"""What is personal in a source's records, and whose it is: `SealPlan`, compiled from the catalogue's `personal:` rows.

A row names a place (`path`) or a pattern over a text (`text`, `pattern`), the kind of value, and the `subject`: the
path, or the pattern's group, whose value says which person it belongs to. Without a subject, or when the record has
none, a value is its own subject. Pure. The path language is the catalogue's:

    path     = segment *( "." segment )
    segment  = key [ "[" index / "*" / key "=" value "]" ]     ; backquotes around keys that hold dots

Behind a `~` a key without backquotes is said by its words, in any spelling (see `muniment.spelling`).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern
from muniment.spelling import is_name

__all__ = ["KINDS", "PersonalField", "PersonalText", "SealPlan", "Step", "normalise", "parse_path"]

KINDS: Final = ("user_id", "name", "email", "ip", "device", "phone", "text")
Step = str | int | tuple[str, ...]
"""An object's key, an array's element (-1: every one), the element whose key has that value, or (name,): a key by its words."""

_SEGMENT = re.compile(r"(?:`([^`]+)`|([^.\[\]`]+))(?:\[(?:(\d+)|(\*)|([^\]=]+)=([^\]]*))\])?(?:\.|$)")


def _of_hex(value: str) -> str:
    try:
        return bytes.fromhex(value).decode()
    except ValueError:
        return ""


def _of_sockaddr(value: str) -> str:
    """The address in a socket address as Linux packs it, family first; empty for other families."""
    digits = {"02": value[8:16], "0a": value[16:48]}.get(value[:4].lower().strip("0").zfill(2), "")
    try:
        return str(ipaddress.ip_address(bytes.fromhex(digits)))
    except ValueError:
        return ""


SPELLINGS: Final[Mapping[str, Callable[[str], str]]] = {"hex": _of_hex, "sockaddr": _of_sockaddr}
"""What an encoded value says, or '' when it is none."""


@dataclass(frozen=True, slots=True)
class PersonalField:
    """The value at `path` is personal and belongs to the person that the value at `subject` names."""

    path: tuple[Step, ...]
    kind: str = "text"
    subject: tuple[Step, ...] | None = None


@dataclass(frozen=True, slots=True)
class PersonalText:
    """What `pattern` finds in the text at `path` is personal.

    The value is group `value`, else the first group, else all; `subject` names the group that says whose it is. A value that
    a program encodes names its person by what it spells (`spelling`), so that both spellings are one person.
    """

    path: tuple[Step, ...]
    pattern: Any  # a compiled RE2 pattern
    kind: str = "text"
    value: int | str = 0
    subject: int | str | None = None
    spelling: str = ""

    def owner(self, value: str) -> str:
        """Who a value names: itself, or what it spells."""
        return SPELLINGS[self.spelling](value) or value if self.spelling else value


@dataclass(frozen=True, slots=True)
class SealPlan:
    """All personal places of one source. `opens`: they are looked for inside of envelopes, too (see `muniment.envelope`).
    `has_addresses`: mail addresses are personal wherever they stand (see `addresses`).
    """

    fields: tuple[PersonalField, ...] = ()
    texts: tuple[PersonalText, ...] = ()
    opens: bool = False
    has_addresses: bool = False

    @classmethod
    def compile(
        cls, rows: Iterable[Mapping[str, str]], *, opens: bool = False, has_addresses: bool = False
    ) -> SealPlan:
        """From rows of the catalogue: {path, kind, subject} or {text, pattern, kind, subject}."""
        fields: list[PersonalField] = []
        texts: list[PersonalText] = []
        for row in rows:
            kind = row.get("kind", "text")
            if kind not in KINDS:
                raise RejectedError(f"a personal kind is one of {', '.join(KINDS)}, got {kind!r}")
            if "path" in row:
                subject = parse_path(row["subject"]) if row.get("subject") else None
                fields.append(PersonalField(parse_path(row["path"]), kind, subject))
            elif "text" in row and "pattern" in row:
                if row.get("spelling", "") not in ("", *SPELLINGS):
                    raise RejectedError(f"a spelling is one of {', '.join(SPELLINGS)}, got {row['spelling']!r}")
                texts.append(_text(row, kind))
            else:
                raise RejectedError("a personal field has a path, or a text and a pattern")
        return cls(tuple(fields), tuple(texts), opens, has_addresses)

    def to_bytes(self) -> bytes:
        """For another process; `from_bytes` reads it."""
        texts = [(t.path, t.pattern.pattern, t.kind, t.value, t.subject, t.spelling) for t in self.texts]
        fields = [(f.path, f.kind, f.subject) for f in self.fields]
        return msgspec.msgpack.encode((fields, texts, self.opens, self.has_addresses))

    @classmethod
    def from_bytes(cls, data: bytes) -> SealPlan:
        """The plan another process has."""
        fields, texts, opens, has_addresses = msgspec.msgpack.decode(data, type=_Wire)
        return cls(
            tuple(PersonalField(path, kind, subject) for path, kind, subject in fields),
            tuple(PersonalText(path, compiled_pattern(text), kind, *rest) for path, text, kind, *rest in texts),
            opens,
            has_addresses,
        )


_Path = tuple[Step, ...]
_Wire = tuple[
    list[tuple[_Path, str, _Path | None]], list[tuple[_Path, str, str, int | str, int | str | None, str]], bool, bool
]


def _text(row: Mapping[str, str], kind: str) -> PersonalText:
    try:
        pattern = compiled_pattern(row["pattern"])
    except PatternError as error:
        raise RejectedError(f"cannot read the pattern {row['pattern']!r}: {error}") from None
    groups = dict(pattern.groupindex)
    subject = row.get("subject")
    if subject and subject not in groups:
        raise RejectedError(f"the pattern has no group {subject!r}")
    own = [name for name in groups if name != subject]
    value: int | str = "value" if "value" in groups else own[0] if own else subject or min(pattern.groups, 1)
    return PersonalText(parse_path(row["text"]), pattern, kind, value, subject, row.get("spelling", ""))


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path.

    >>> parse_path("targets[0].`user.id`"), parse_path("parameters[name=user].value")
    (('targets', 0, 'user.id'), ('parameters', ('name', 'user'), 'value'))
    >>> parse_path("~actor.user_id")
    (('actor',), ('user_id',))
    """
    steps: list[Step] = []
    at = start = int(text.startswith("~"))
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if not found or (found.end() == len(text) and text.endswith(".")):
            raise RejectedError(f"{text!r} is not a path: cannot read {text[at:]!r}")
        quoted, plain, index, star, key, value = found.groups()
        if start and plain and not is_name(plain):
            raise RejectedError(f"{plain!r} behind a ~ is not words in small letters with _ between them")
        steps.append((plain,) if start and plain else quoted or plain)
        if index is not None:
            steps.append(int(index))
        elif star:
            steps.append(-1)
        elif key is not None:
            steps.append((key, value))
        at = found.end()
    if not steps:
        raise RejectedError("a path needs at least one key")
    return tuple(steps)


def normalise(identifier: str) -> str:
    """One spelling of an identifier, so that `Anna@X.de ` and `anna@x.de` are one person."""
    return unicodedata.normalize("NFKC", identifier).strip().casefold()
