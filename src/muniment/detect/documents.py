"""The YAML documents of a rule file, spelled as Sigma's parser takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import yaml

from muniment.errors import RejectedError
from muniment.sources.nesting import FAST_LOADER, check_nesting

__all__ = ["RANGE", "TWICE", "documents", "lines_of", "spelled"]

RANGE: Final = "muniment_range"
"""The attribute that holds what a correlation asks for beside the one operator that the parser takes."""

TWICE: Final = "stands twice"
"""How the reason ends where a key does."""

_OF_TEXT: Final = frozenset(
    {
        "contains",
        "startswith",
        "endswith",
        "re",
        "cased",
        "base64",
        "base64offset",
        "wide",
        "utf16",
        "utf16be",
        "windash",
    }
)
"""Modifiers of texts; the parser refuses a number behind them."""

_OPERATORS: Final = ("gte", "gt", "lte", "lt", "eq", "neq")
_OF_NUMBERS: Final = frozenset({"lt", "lte", "gt", "gte"})
_NO_SELECTIONS: Final = frozenset({"condition", "rules", "timeframe"})
_EXACT_MAX: Final = 2**53
"""Up to here the parser keeps a number as it is; behind it the nearest one that a double can hold."""

_LISTS: Final = frozenset({"tags", "references", "falsepositives", "fields"})
"""Of what only describes a rule: one text may stand for a list of one."""

_ALIASES: Final = {"utf16le": "wide"}
"""The specification's names that the parser does not know."""


def documents(text: str) -> list[Any]:
    """All documents. Raises yaml.YAMLError with the place, or what else PyYAML's own reader raises.

    A key that stands twice is an error, as to Sigma's own reader: the first of two tests would be lost in silence.

    libyaml reads the 2,400 public rules in a tenth of the time, and alike (measured). What it does not take is read again by
    PyYAML's own reader, which says in other words what is wrong: those that people are told how to mend.
    """
    try:
        check_nesting(text, "")
        return list(yaml.load_all(text, Loader=_Strict))
    except (yaml.YAMLError, RejectedError):
        return list(yaml.load_all(text, Loader=_Plain))


def lines_of(text: str, given: Sequence[Any]) -> list[int]:
    """The line at which each of the documents of a text begins; 0 where that is not certain."""
    lines = [node.start_mark.line + 1 if node else 0 for node in yaml.compose_all(text, Loader=FAST_LOADER)]
    return lines if len(lines) == len(given) else [0] * len(given)


def spelled(document: Any) -> Any:
    """A document with what the parser stumbles over written as it takes it: numbers among texts (`Port|endswith: 443`),
    numbers as names of fields, dates, numbers beyond what a double holds, one text for a list, and `utf16le`.

    Raises:
        RejectedError: it is of another kind than the specification has it.
    """
    if document is None:
        return None
    if not isinstance(document, dict):
        raise RejectedError(f"a rule has title, logsource and detection; this is {_shown(document)}")
    made = {key: _part(key, value) for key, value in document.items() if key != RANGE}
    more = _operators(document)[1:]
    if more:
        made["correlation"] = {**made["correlation"], "condition": _without(made["correlation"]["condition"], more)}
        made[RANGE] = {each: _bound(document["correlation"]["condition"][each]) for each in more}
    return made


def _operators(document: Mapping[Any, Any]) -> list[str]:
    """The operators in the condition of a correlation, lower bounds first; two of them are a range."""
    correlation = document.get("correlation")
    condition = correlation.get("condition") if isinstance(correlation, dict) else None
    return [each for each in _OPERATORS if each in condition] if isinstance(condition, dict) else []


def _without(condition: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in condition.items() if name not in names}


def _bound(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RejectedError(f"correlation.condition: {_shown(value)} is no number")
    return value


def _part(key: Any, value: Any) -> Any:
    if key in _LISTS and isinstance(value, str | int | float):
        return [str(value)]
    if key not in {"detection", "filter"} or not isinstance(value, dict):
        return value
    condition = value.get("condition", "")
    if not all(isinstance(each, str) for each in (condition if isinstance(condition, list) else [condition])):
        raise RejectedError(f"detection.condition: expected a text or a list of texts, got {_shown(condition)}")
    return {name: each if name in _NO_SELECTIONS else _selection(name, each) for name, each in value.items()}


def _selection(name: Any, value: Any) -> Any:
    if value is None or value in ([], {}):
        raise RejectedError(f"the selection {str(name)!r} is empty")
    return _tests(value)


def _shown(value: Any) -> str:
    """What stands there, in words that fit into a sentence."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)[:80]


def _tests(value: Any) -> Any:
    if isinstance(value, list):
        return [_tests(each) for each in value]
    if not isinstance(value, dict):
        return _value(value, ())
    return {_name(key): _values(str(key), inner) for key, inner in value.items()}


def _values(key: str, value: Any) -> Any:
    modifiers: Sequence[str] = key.split("|")[1:]
    if isinstance(value, list):
        if not value:  # to the parser it is null: the rule would find what has no such field
            raise RejectedError(f"the list of values of {key!r} is empty")
        return [_tests(each) if isinstance(each, dict | list) else _value(each, modifiers) for each in value]
    if isinstance(value, dict):
        raise RejectedError(
            f"the value of {key!r} is a mapping: fields below it are named with a dot, such as {_below(key, value)}"
        )
    return _value(value, modifiers)


def _below(key: str, value: Mapping[Any, Any]) -> str:
    return f"{key.partition('|')[0]}.{next(iter(value), 'name')}"


def _name(key: Any) -> Any:
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str):
        raise RejectedError(f"the name of a field, {_shown(key)}, is no text: quote it")
    if "|" not in key:
        return key
    field, *modifiers = key.split("|")
    return "|".join([field, *(_ALIASES.get(each, each) for each in modifiers)])


def _value(value: Any, modifiers: Sequence[str]) -> Any:
    is_text = bool(_OF_TEXT.intersection(modifiers))
    if isinstance(value, bool):
        return str(value).lower() if is_text else value
    if isinstance(value, int | float):
        is_long = isinstance(value, int) and abs(value) > _EXACT_MAX
        return str(value) if (is_text or is_long) and not _OF_NUMBERS.intersection(modifiers) else value
    if value is None and is_text:
        raise RejectedError(f"null has no {modifiers[0]}: make it a selection of its own")
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, datetime | bytes):
        raise RejectedError(f"YAML reads a {type(value).__name__} here, no text: quote it")
    return value


class _NoTwins:
    """Of a loader: a key that stands twice in one mapping is a mistake."""

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            told = (key.tag, str(key.value))
            if told in seen and isinstance(key, yaml.ScalarNode) and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' {TWICE}", key.start_mark)
            seen.add(told)
        return super().construct_mapping(node, deep)  # type: ignore[misc]  # of the loader beside it


class _Strict(_NoTwins, FAST_LOADER): ...  # type: ignore[misc]  # libyaml's where it is there


class _Plain(_NoTwins, yaml.SafeLoader): ...
