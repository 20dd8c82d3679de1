"""What the checker of types says of a body or parameter, in words for whoever wrote it. Pure."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from muniment.errors import RejectedError
from muniment.sources.registry import SOURCE_ID

__all__ = ["misfit"]


def misfit(error: msgspec.ValidationError, where: str, kind: type[Any]) -> RejectedError:
    """What does not fit, under the name of the field it is about; `kind` is what it should have been."""
    text, _, place = str(error).partition(" - at ")
    match = re.search(r"`\$\.?([a-z_]*)", place)
    field = match[1] if match else ""
    return RejectedError(_words(text, _choices(kind, field) if field else ()), field=field or where)


def _words(text: str, choices: tuple[str, ...]) -> str:
    """
    >>> _words("Expected `str` of length >= 1", ()), _words("Expected `int` <= 720", ())
    ('fill it in', 'a number of 720 or less')
    >>> _words("Invalid enum value 'hi'", ("low", "high")), _words("Invalid enum value 'hi'", ())
    ("'hi' is none of low, high", "'hi' is none of those to choose from")
    """
    if "matching regex" in text and SOURCE_ID.pattern in text:
        return "write lower-case letters, digits, '.', '_' and '-', first a letter or digit, 64 at most"
    if re.search(r"`str` of length >= ", text):
        return "fill it in"
    if found := re.search(r"`str` of length <= (\d+)", text):
        return f"longer than {found[1]} characters"
    if found := re.search(r"`int` ([<>])= (-?\d+)", text):
        return f"a number of {found[2]} or {'more' if found[1] == '>' else 'less'}"
    if found := re.search(r"Invalid enum value '(.*)'", text, re.DOTALL):
        return f"{found[1]!r} is none of {', '.join(choices) or 'those to choose from'}"
    return text


def _choices(kind: type[Any], field: str) -> tuple[str, ...]:
    """The values that a field may have, where they can be counted."""
    return tuple(filter(None, _literals(get_type_hints(kind, include_extras=True).get(field))))


def _literals(hint: Any) -> tuple[str, ...]:
    origin = get_origin(hint)
    if origin is Literal:
        return tuple(map(str, get_args(hint)))
    if origin is Annotated:
        return _literals(get_args(hint)[0])
    if origin in {Union, UnionType, list, tuple}:
        return tuple(value for each in get_args(hint) for value in _literals(each))
    return ()
