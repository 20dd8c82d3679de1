"""What the JSON text of a record must hold for a condition to be true of it: patterns for one pass over a batch. Pure.

A condition on `syslog.message` that starts with `CEF:0|` cannot hold of a record without `"syslog"`, `"message"` and
`CEF:0\\|`. Only what is certain is said, of the text *as it stands in the JSON*: characters that an encoder may write in
another way end a fragment, and `ESCAPED` finds the texts that spell plain characters as `\\u00..`, of which nothing is
certain. The patterns are RE2's and Hyperscan's common ground.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from muniment.sources.values import Condition, First, Path, Test, Value, walk

__all__ = ["ESCAPED", "alternatives", "is_plain", "marks_of", "pattern_marks"]

_constants: Any = import_module("re._constants")
_parser: Any = import_module("re._parser")
"""How Python reads patterns; it has no public name for it."""

ESCAPED: Final = r"(?i)\\u00(?:2[013-589a-be]|3[0-9abdf]|[46][0-9a-f]|5[0-9abdef]|7[0-9a-e])"
"""A plain character written as an escape where no usual encoder does (they do for < > & ' + and quotes)."""

_RE2_ONLY: Final = ("[[:", "\\Q", "\\E", "\\z", "\\C", "\\p")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.,:;=()[]{}|!?@#$%^*~")
_SIMPLE: Final = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])+")
"""One plain text, as a pattern."""
_SCORE_MIN: Final = 2.0
_CHARS_MAX: Final = 60
_WORDS_MAX: Final = 40
_REPEAT_MAX: Final = 12
_TEXTS_MAX: Final = 80
_COMMON: Final = 8
"""How much more often a letter or a digit stands in a value than another character."""
_ASCII_END: Final = 128
_Run = tuple[float, str]
_NOTHING: Final[_Run] = (0.0, "")


def marks_of(condition: Condition) -> list[frozenset[str]]:
    """For each alternative of a condition the patterns that must all be found in a record's text."""
    return [frozenset(mark for test in tests for mark in _of_test(test)) for tests in condition.any_of]


def is_plain(key: str) -> bool:
    """Does a key stand in every JSON text as it is, unless `ESCAPED` is found?"""
    return set(key) <= _PLAIN


def _of_test(test: Test) -> Iterable[str]:
    if test.negated or test.is_of_nothing or not _is_of_record(test.value):
        return
    if isinstance(test.value, Path):
        *above, last = test.value.segments
        for segment in above:
            yield from _key_mark(segment.keys)
        needed = _needed_by(test.wanted[0]) if test.kind == "matches" and last.pick is None else None
        yield from _key_mark(last.keys, f'\\s*:\\s*(?:[^"\\s]|"[^"{needed}]*[{needed}])' if needed else "")
    else:  # some of the paths is there, and so the last key of some
        yield from _key_mark(
            [key for path in walk(test.value) if isinstance(path, Path) for key in path.segments[-1].keys]
        )
    if test.kind == "matches":
        yield from pattern_marks(test.wanted[0])
    elif test.kind in ("contains", "starts"):
        yield from pattern_marks(re.escape(test.wanted[0]))
    elif test.kind == "in" and len(test.wanted) <= _WORDS_MAX:
        yield from pattern_marks("|".join(map(re.escape, test.wanted)))


def _is_of_record(value: Value) -> bool:
    """Is it a text of the record as it stands there?"""
    return isinstance(value, Path) or (isinstance(value, First) and all(map(_is_of_record, value.values)))


def _key_mark(keys: Sequence[str], value: str = "") -> Iterable[str]:
    """One pattern for a key that is spelled in one of some ways, and what is behind it; none where a text may have it in another."""
    if not all(map(is_plain, keys)) or len(keys) > _TEXTS_MAX:
        return
    texts = [*map(re.escape, dict.fromkeys(keys))]
    yield (f'"(?:{"|".join(texts)})"' if len(texts) > 1 else f'"{texts[0]}"') + value


@lru_cache(maxsize=4_096)
def _needed_by(pattern: str) -> str | None:
    r"""The inside of a class of characters of which one stands in the JSON string of whatever `pattern` matches, where neither a letter
    nor a digit will do and nothing more particular is known; any escape will. It tells a sentence from the name of an event.

    >>> _needed_by(r"^[^{]*[0-9]+:[0-9]+"), _needed_by("[a-z]+[ _-][a-z]+"), _needed_by("[a-z]+")
    ('\\\\:', '\\\\\\ \\-_', None)
    """
    if pattern_marks(pattern) or any(form in pattern for form in _RE2_ONLY):
        return None
    try:
        needed = _needed(_parser.parse(pattern))
    except Exception:  # RE2 reads some forms that this parser does not
        return None
    if needed is None or any(char.isalnum() for char in needed):
        return None
    return "".join(map(re.escape, sorted({"\\", *needed}, key=lambda char: (char != "\\", char))))


def _needed(tree: Iterable[Any]) -> frozenset[str] | None:
    """Characters of which one stands in every match, as few and as rare as it can tell; None: nothing is certain."""
    found = [needed for kind, argument in tree if (needed := _needed_by_part(kind, argument)) is not None]
    return min(found, key=lambda needed: sum(_COMMON if char.isalnum() else 1 for char in needed), default=None)


def _needed_by_part(kind: Any, argument: Any) -> frozenset[str] | None:
    if kind is _constants.LITERAL:
        return _written(chr(argument))
    if kind is _constants.IN:
        each = [_needed_by_class(*part) for part in argument]
    elif kind is _constants.BRANCH:
        each = [_needed(branch) for branch in argument[1]]
    elif kind is _constants.SUBPATTERN:
        return _needed(argument[3])
    elif kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[0] >= 1:
        return _needed(argument[2])
    else:
        return None
    known = [needed for needed in each if needed is not None]
    return frozenset[str]().union(*known) if len(known) == len(each) else None


def _needed_by_class(kind: Any, argument: Any) -> frozenset[str] | None:
    if kind is _constants.LITERAL:
        return _written(chr(argument))
    if kind is _constants.RANGE and argument[1] < _ASCII_END:
        return frozenset[str]().union(*(_written(chr(char)) or () for char in range(argument[0], argument[1] + 1)))
    if kind is _constants.CATEGORY and argument is _constants.CATEGORY_SPACE:
        return frozenset(" \\")
    if kind is _constants.CATEGORY and argument is _constants.CATEGORY_DIGIT:
        return frozenset("0123456789")
    return None


def _written(char: str) -> frozenset[str] | None:
    """How a character may begin in a JSON string; another than ASCII in too many ways."""
    if ord(char) >= _ASCII_END:
        return None
    if char < " " or char in '"\\':
        return frozenset("\\")
    return frozenset((char.lower(), char.upper())) if char in _PLAIN else frozenset((char, "\\"))


def pattern_marks(pattern: str, score_min: float = _SCORE_MIN) -> list[str]:
    """At most one pattern that stands in the JSON text of whatever `pattern` matches; the most particular one.

    `score_min`: how particular it must be; a letter or digit counts 1, a class of them nothing, as each record has a time.

    >>> pattern_marks(r"^CEF: ?[0-9]\\|")
    ['CEF:']
    >>> pattern_marks(r"^\\S+ \\[\\d\\d/[A-Z][a-z]+/\\d{4}:")
    []
    """
    return list(_most_particular(pattern, score_min))


@lru_cache(maxsize=4_096)
def _most_particular(pattern: str, score_min: float) -> tuple[str, ...]:
    if any(form in pattern for form in _RE2_ONLY):
        return ()
    try:
        tree = _parser.parse(pattern)
    except Exception:  # RE2 reads some forms that this parser does not
        return ()
    score, text = max(_runs(tree), default=_NOTHING)
    if score < score_min:
        return ()
    return (f"(?i){text}" if tree.state.flags & re.IGNORECASE else text,)


@lru_cache(maxsize=4_096)
def alternatives(pattern: str) -> tuple[str, ...]:
    """Plain texts, as patterns, of which one stands wherever `pattern` is found; the pattern itself where they are too many.

    A multi-pattern engine looks for a thousand plain texts faster than for one pattern that chooses.

    >>> alternatives("re(?:quest|sponse)=")
    ('request=', 'response=')
    >>> alternatives("[0-9]{4}-")
    ('[0-9]{4}-',)
    """
    if _SIMPLE.fullmatch(pattern):  # nearly all are: there are thousands, and each start of a server waits for them
        return (pattern,)
    try:
        tree = _parser.parse(pattern)
    except Exception:  # RE2 reads some forms that this parser does not
        return (pattern,)
    if tree.state.flags & ~(re.UNICODE | re.IGNORECASE):
        return (pattern,)
    texts = _texts(tree)
    if texts is None or "" in texts:
        return (pattern,)
    shortest = [text for text in dict.fromkeys(texts) if not any(other in text for other in texts if other != text)]
    sign = "(?i)" if tree.state.flags & re.IGNORECASE else ""
    return tuple(sign + re.escape(text) for text in shortest)


def _texts(tree: Iterable[Any]) -> list[str] | None:
    """All texts that a pattern without classes and repetitions matches."""
    texts = [""]
    for kind, argument in tree:
        parts: list[str] | None = None
        if kind is _constants.LITERAL:
            parts = [chr(argument)]
        elif kind is _constants.IN and all(each is _constants.LITERAL for each, _ in argument):
            parts = [chr(char) for _, char in argument]
        elif kind is _constants.SUBPATTERN and not argument[1] and not argument[2]:
            parts = _texts(argument[3])
        elif kind is _constants.BRANCH:
            branches = [_texts(branch) for branch in argument[1]]
            parts = [text for branch in branches for text in branch or ()] if None not in branches else None
        elif kind is _constants.MAX_REPEAT and argument[:2] == (0, 1):
            inner = _texts(argument[2])
            parts = ["", *inner] if inner is not None else None
        if parts is None or len(texts) * len(parts) > _TEXTS_MAX:
            return None
        texts = [text + part for text in texts for part in parts]
    return texts


def _runs(tree: Iterable[Any]) -> list[_Run]:
    """Fragments that stand whole in every match."""
    runs: list[_Run] = []
    score, text = 0.0, ""
    for kind, argument in tree:
        if kind is _constants.AT:
            continue
        part = _atom(kind, argument)
        if part is None or len(text) + len(part[1]) > _CHARS_MAX:
            runs.append((score, text))
            score, text = part or _NOTHING
            if part is None:
                runs += _inside(kind, argument)
        else:
            score, text = score + part[0], text + part[1]
    return [*runs, (score, text)]


def _atom(kind: Any, argument: Any) -> _Run | None:
    """One part of a pattern as a fragment, when its text in JSON is its own text."""
    if kind is _constants.LITERAL:
        return _literal(chr(argument))
    if kind is _constants.IN:
        return _class(argument)
    if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
        low, high, inner = argument
        if low != high or not 1 <= low <= _REPEAT_MAX:
            return None
        part = _sequence(inner)
        return (part[0] * low, f"(?:{part[1]}){{{low}}}") if part else None
    if kind is _constants.SUBPATTERN:
        return _sequence(argument[3]) if not argument[1] and not argument[2] else None
    if kind is _constants.BRANCH:
        parts = [_sequence(branch) for branch in argument[1]]
        known = [part for part in parts if part is not None]
        if len(known) != len(parts) or sum(len(part[1]) for part in known) > 10 * _CHARS_MAX:
            return None
        return min(part[0] for part in known), f"(?:{'|'.join(part[1] for part in known)})"
    return None


def _literal(char: str) -> _Run | None:
    if char == "/":  # some encoders write \/
        return 0.7, r"\\?/"
    if char not in _PLAIN:
        return None
    return (1.0 if char.isalnum() else 0.7 if char not in " .-" else 0.3), re.escape(char)


def _class(parts: Iterable[Any]) -> _Run | None:
    text = ""
    for kind, argument in parts:
        if kind is _constants.LITERAL and chr(argument) in _PLAIN:
            text += re.escape(chr(argument))
        elif kind is _constants.RANGE and all(chr(end) in _PLAIN and chr(end).isalnum() for end in argument):
            text += f"{chr(argument[0])}-{chr(argument[1])}"
        elif kind is _constants.CATEGORY and argument is _constants.CATEGORY_DIGIT:
            text += "0-9"
        else:
            return None
    return 0.0, f"[{text}]"


def _sequence(tree: Iterable[Any]) -> _Run | None:
    score, text = 0.0, ""
    for kind, argument in tree:
        if kind is _constants.AT:
            continue
        part = _atom(kind, argument)
        if part is None:
            return None
        score, text = score + part[0], text + part[1]
    return score, text


def _inside(kind: Any, argument: Any) -> list[_Run]:
    """What is certain inside a part that is no fragment as a whole."""
    if kind is _constants.SUBPATTERN:
        return _runs(argument[3]) if not argument[1] and not argument[2] else []
    if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[0] >= 1:
        return _runs(argument[2])
    if kind is _constants.BRANCH:
        best = [max(_runs(branch), default=_NOTHING) for branch in argument[1]]
        if min(score for score, _ in best) >= _SCORE_MIN:
            return [(min(score for score, _ in best), f"(?:{'|'.join(text for _, text in best)})")]
    return []
