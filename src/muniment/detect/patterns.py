"""What texts a regular expression cannot do without: of some of them one stands in whatever it matches. Pure.

`^(role|group)\\.(grant|add)$` cannot match without `role.grant`, `role.add`, `group.grant` or `group.add`. Only what is
certain is said: anything that may be empty, repeated or of many kinds ends a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

__all__ = ["texts_of"]

constants: Any = import_module("re._constants")
parser: Any = import_module("re._parser")
"""How Python reads patterns; it has no public name for it."""

_RE2_ONLY: Final = ("[[:", "\\Q", "\\E", "\\z", "\\C")
"""Forms that RE2 reads in another way; nothing is said of a pattern with one."""

_TEXTS_MAX: Final = 256
_CHARS_MIN: Final = 3
Texts = frozenset[str]


@lru_cache(maxsize=4_096)  # each pattern is asked about some four times when rules are made ready
def texts_of(pattern: str) -> Texts | None:
    """Texts in lower case of which one must stand in a match; None when nothing is certain.

    >>> sorted(texts_of(r"^(role|group)\\.grant(ed)?$") or ())
    ['group.grant', 'role.grant']
    """
    if any(form in pattern for form in _RE2_ONLY):
        return None
    try:
        tree = parser.parse(pattern)
    except Exception:  # RE2 reads some forms that this parser does not
        return None
    return _best(_runs(tree))


def _runs(tree: Iterable[Any]) -> list[Texts]:
    """Sets of texts, each of which is there whole in every match."""
    runs: list[Texts] = []
    open_: Texts = frozenset({""})
    for kind, argument in tree:
        if kind is constants.AT:
            continue
        exact = _exact(kind, argument)
        if exact is None or len(open_) * len(exact) > _TEXTS_MAX:
            runs.append(open_)
            runs += _inside(kind, argument) if exact is None else []
            open_ = exact if exact is not None else frozenset({""})
        else:
            open_ = frozenset(head + tail for head in open_ for tail in exact)
    return [*runs, open_]


def _exact(kind: Any, argument: Any) -> Texts | None:
    """All texts that one part of a pattern can match, if they are few."""
    if kind is constants.LITERAL:
        return frozenset({chr(argument).lower()})
    if kind is constants.SUBPATTERN:
        return _sequence(argument[3])
    if kind is constants.BRANCH:
        every = [_sequence(branch) for branch in argument[1]]
        known = [each for each in every if each is not None]
        return frozenset[str]().union(*known) if len(known) == len(every) else None
    if kind is constants.IN and all(each[0] is constants.LITERAL for each in argument):
        return frozenset(chr(each[1]).lower() for each in argument)
    return None


def _sequence(tree: Iterable[Any]) -> Texts | None:
    found: Texts = frozenset({""})
    for kind, argument in tree:
        if kind is constants.AT:
            continue
        exact = _exact(kind, argument)
        if exact is None or len(found) * len(exact) > _TEXTS_MAX:
            return None
        found = frozenset(head + tail for head in found for tail in exact)
    return found


def _inside(kind: Any, argument: Any) -> list[Texts]:
    """What is certain inside a part that is not exact as a whole."""
    if kind is constants.SUBPATTERN:
        return _runs(argument[3])
    if kind in {constants.MAX_REPEAT, constants.MIN_REPEAT} and argument[0] >= 1:
        return _runs(argument[2])
    if kind is constants.BRANCH:
        best = [_best(_runs(branch)) for branch in argument[1]]
        known = [each for each in best if each is not None]
        return [frozenset[str]().union(*known)] if len(known) == len(best) else []
    return []


def _best(runs: Iterable[Texts]) -> Texts | None:
    good = [each for each in runs if each and min(map(len, each)) >= _CHARS_MIN and len(each) <= _TEXTS_MAX]
    return max(good, key=lambda each: (min(map(len, each)), -len(each)), default=None)
