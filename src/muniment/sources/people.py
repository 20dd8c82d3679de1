"""Where an entry's own mapping reads people from texts: `captured_people`, rows as those under `personal:`. Pure.

An entry says under `personal:` what of its records names people. What its patterns put into the columns about people
names them too, so a pattern there is a row as well. But a row has no conditions, and where the system is known by
content it is tried on the records of every vendor. So only patterns count that are particular: a text stands in every
match that hardly stands in another vendor's lines. A general one (`^(\\S+) `, `user (\\S+)`) would take whatever
follows such a word; what those read is named under `personal:`. Of an address only an address counts, and of a name no
text of any length: which case holds first would decide how far it goes. A place is a row where its key says that it
holds an address; whose a name is at other places is for `personal:` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from muniment.sources.marks import pattern_marks
from muniment.sources.paths import Segment, parse_path
from muniment.sources.values import Call, Capture, First, Fitting, Other, Path, Ref, Value

if TYPE_CHECKING:
    from muniment.sources.rules import Rules

__all__ = ["PEOPLE", "captured_people", "without_covered"]

PEOPLE: Final[Mapping[str, str]] = {
    "actor_name": "name",
    "actor_email": "email",
    "actor_id": "user_id",
    "on_behalf_of": "name",
    "src_ip": "ip",
}
"""The columns that say who it was, and the kind of personal value in each."""

_PARTICULAR: Final = 6.0
"""Letters and digits that stand in every match: more than `user `, `from ` or `src=` have."""

_ADDRESS: Final = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:]*:[0-9a-fA-F.]*"
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\[:[^\]]*:\]|\\.|[^\]\\])*\]|\((?:\?P<(?P<name>[a-z_]+)>|\?)?|\)", re.DOTALL)
_ADDRESS_KEY = re.compile(r"(?:^|[a-z0-9_.-])(?:ip|IP|Ip)(?:[vV]?[46])?$|^(?:ip|IP)|addr|Addr|forwarded|Forwarded")
_PLAIN_KEY = re.compile(r"[^.\[\]`]+")


def captured_people(rules: Rules) -> tuple[dict[str, str], ...]:
    """A row for each place, or text and pattern, that a column about people is read by, in the order of the entry."""
    rows = [{"path": path, "kind": "ip"} for path in _addresses(rules)]
    rows += [
        {"text": _written(path), "pattern": pattern, "kind": kind}
        for column, kind in PEOPLE.items()
        for sets in (rules.fields, *(case.sets for case in rules.cases))
        if column in sets
        for capture in _captures(sets[column], rules)
        if pattern_marks(capture.pattern, _PARTICULAR)
        for path, is_lower in _places(capture.value, rules)
        for pattern in (_with_value(capture, kind, is_lower),)
        if pattern
    ]
    return tuple({tuple(row.values())[:2]: row for row in reversed(rows)}.values())[::-1]


def _addresses(rules: Rules) -> Iterator[str]:
    """The places of addresses, also below the keys that are read through."""
    if "src_ip" not in rules.fields:
        return
    value = rules.fields["src_ip"]
    values = [value, *(capture.value for capture in _captures(value, rules))]
    paths = dict.fromkeys(path for each in values for path, _ in _texts(each, rules))
    for path in paths:
        if _ADDRESS_KEY.search(path[-1].key):
            yield _written(path)
            yield from (_written((above, *path)) for above in rules.unwrap)


def without_covered(rows: Iterable[dict[str, str]], named: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of places that `named` does not seal whole already, nor an object around them."""
    places = {row.get("path") or row["text"] for row in named}
    inner = {above for place in places for above in _above(place)}
    whole = {row["path"] for row in named if "path" in row}
    return [
        row
        for row in rows
        if ("path" in row or row["text"] not in whole)
        and not any(above in whole and above not in inner for above in _above(row.get("path") or row["text"]))
    ]


@lru_cache(maxsize=16_384)
def _above(place: str) -> tuple[str, ...]:
    """The objects around a place; of names also the plain keys that they are written by."""
    path = parse_path(place)
    plain = tuple(Segment(segment.key, segment.pick) for segment in path)
    return tuple({_written(each[:end]): None for each in (path, plain) for end in range(1, len(path))})


def _captures(value: Value, rules: Rules) -> Iterator[Capture]:
    """The captures whose text may be the column's."""
    if isinstance(value, Capture):
        yield value
    for inner in _same(value, rules):
        yield from _captures(inner, rules)


def _texts(value: Value, rules: Rules, is_lower: bool = False) -> Iterator[tuple[tuple[Segment, ...], bool]]:
    """The places whose text the value may be, and whether in small letters."""
    if isinstance(value, Path):
        yield value.segments, is_lower
    is_lower = is_lower or (isinstance(value, Call) and value.name == "lower")
    for inner in _same(value, rules):
        yield from _texts(inner, rules, is_lower)


def _places(value: Value, rules: Rules) -> list[tuple[tuple[Segment, ...], bool]]:
    """The places without the whole line beside its text: what is found in one is hidden in the other."""
    places = list(dict.fromkeys(_texts(value, rules)))
    paths = [_written(path) for path, _ in places]
    return [place for place, path in zip(places, paths, strict=True) if path != "raw" or "syslog.message" not in paths]


def _same(value: Value, rules: Rules) -> tuple[Value, ...]:
    """The values inside this one that it may be, whole."""
    if isinstance(value, First | Fitting):
        return value.values
    if isinstance(value, Other):
        return (value.value,)
    if isinstance(value, Call) and value.name == "lower":
        return (value.value,)
    if isinstance(value, Ref):
        found = rules.let.get(value.name) or rules.fields.get(value.name)
        return (found,) if found is not None else ()
    return ()


def _with_value(capture: Capture, kind: str, is_lower: bool) -> str:
    """The pattern with no other named group than the one that holds the value; empty when that may be any text."""
    flags, before, at, n_open = "(?i)" if is_lower else "", "", 0, 0
    number, start = 0, -1
    for found in _TOKEN.finditer(capture.pattern):
        token = found.group()
        if token.startswith("("):
            n_open += 1
            is_counted = token == "(" or found["name"] is not None
            number += is_counted
            before += capture.pattern[at : found.start()] + ("(" if found["name"] is not None else token)
            at = found.end()
            if is_counted and number == capture.group and start < 0:
                flags, before, start, depth = flags + before[:-1], "", at, n_open
        elif token == ")":
            if start >= 0 and n_open == depth:
                body = before + capture.pattern[at : found.start()]
                if kind == "ip":
                    body = _ADDRESS
                elif body.startswith("."):
                    return ""
                return f"{flags}(?P<value>{body}){_unnamed(capture.pattern[found.end() :])}"
            n_open -= 1
    return ""


def _unnamed(pattern: str) -> str:
    return re.sub(r"\(\?P<[a-z_]+>", "(", pattern)


def _written(path: tuple[Segment, ...]) -> str:
    """A path as the catalogue writes it."""
    has_names = any(segment.is_name for segment in path)
    return "~" * has_names + ".".join(
        (segment.key if segment.is_name or _is_plain(segment.key, has_names) else f"`{segment.key}`")
        + _picked(segment.pick)
        for segment in path
    )


def _is_plain(key: str, has_names: bool) -> bool:
    """May a key stand without backquotes?"""
    return not has_names and not key.startswith("~") and _PLAIN_KEY.fullmatch(key) is not None


def _picked(pick: int | str | tuple[str, str] | None) -> str:
    if pick is None:
        return ""
    return f"[{pick[0]}={pick[1]}]" if isinstance(pick, tuple) else f"[{pick}]"
