"""Domains made to be taken for one's own: other letters of the same shape, a typing mistake, another ending, words added; and
accounts whose names are taken for another's.

Shapes follow the idea of Unicode's UTS 39 skeletons, for the letters that domains can hold and people are fooled by.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

__all__ = ["look_alike", "names_like"]

_SHAPES: Final = str.maketrans(
    {
        **dict(zip("авекмнорстухѕіјԁӏԛԝһցոսʏɡᴏαβεικνορτυχγ", "abekmhopctyxsijdlqwhgnuygoabeikvoptuxy", strict=True)),
        **dict(zip("0135|!ı", "olesiii", strict=True)),
    }
)
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("nn", "m"), ("ii", "u"))
_HOST: Final = re.compile(r"(?:[^\s@/:<>()\[\]\"',;=?#]+\.)+[^\W\d_][\w-]{1,62}", re.UNICODE)
_CHARS_MIN: Final = 5
"""A name shorter than this has too many honest neighbours one letter away."""


@lru_cache(maxsize=16_384)
def look_alike(text: str, own: tuple[str, ...]) -> str:
    """Says which domain in a text (an address, a link) looks like one of `own`; empty when none does.

    >>> look_alike("ceo@examp1e.com", ("example.com",))
    'examp1e.com looks like example.com: the same shape of letters'
    """
    domains = [each.lower().rstrip(".") for each in own]
    for host in dict.fromkeys(found.lower().rstrip(".") for found in _HOST.findall(text)):
        for domain in domains:
            if why := _compared(host, domain):
                return f"{host} looks like {domain}: {why}"
    return ""


def names_like(name: str, others: Iterable[str]) -> list[tuple[str, str]]:
    """Those of `others` that a reader takes for `name`, with how they differ; the same shape of letters first.

    >>> names_like("m.ruiz", ["m.rulz", "M.RUIZ", "m.ru\u0456z", "anna"])
    [('m.ruіz', 'the same shape of letters'), ('m.rulz', 'one letter is different')]
    """
    plain, shape = _folded(name), _shape(name)
    found: list[tuple[int, str, str]] = []
    for other in others:
        theirs = _folded(other)
        if theirs == plain:
            continue
        if _shape(other) == shape:
            found.append((0, other, "the same shape of letters"))
        elif min(len(plain), len(theirs)) >= _CHARS_MIN and _is_one_apart(plain, theirs):
            found.append((1, other, "one letter is different"))
    return [(other, why) for _, other, why in sorted(found)]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


@lru_cache(maxsize=65_536)
def _shape(name: str) -> str:
    return _skeleton(_folded(name))


@lru_cache(maxsize=16_384)
def _compared(host: str, domain: str) -> str:
    if host == domain or host.endswith("." + domain):
        return ""
    shown = _shown(host)
    if f".{domain}." in f".{shown}." or domain.replace(".", "-") in shown:
        return "our name in front of another's"
    depth = domain.count(".") + 1
    labels = shown.split(".")
    theirs, ours = ".".join(labels[-depth:]).partition("."), domain.partition(".")
    name, mine = theirs[0], ours[0]
    if name == mine:
        return "" if theirs[2] == ours[2] else "the same name with another ending"
    if _skeleton(name) == _skeleton(mine):
        return "the same shape of letters"
    if mine in name.split("-"):
        return "our name with words added"
    if len(mine) >= _CHARS_MIN and _is_one_apart(name, mine):
        return "one letter is different"
    return ""


def _shown(host: str) -> str:
    """As people see it: punycode labels as their letters."""
    labels = []
    for label in host.split("."):
        try:
            labels.append(label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else label)
        except (UnicodeError, ValueError):
            labels.append(label)
    return ".".join(labels)


def _skeleton(name: str) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    shape = plain.lower().translate(_SHAPES).replace("-", "")
    for pair, one in _PAIRS:
        shape = shape.replace(pair, one)
    return shape


def _is_one_apart(a: str, b: str) -> bool:
    """One letter more, less, other, or two neighbours swapped."""
    if abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    x, y = a[start:], b[start:]
    return (
        x[1:] == y
        or x == y[1:]
        or x[1:] == y[1:]
        or (len(x) > 1 and len(y) > 1 and x[:2] == y[1::-1] and x[2:] == y[2:])
    )
