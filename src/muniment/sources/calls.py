"""Functions of one text that entries may call by name, as SQL over it: what kinds of systems write, made readable. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from muniment.sources import countries, deeds, words
from muniment.sources.sql import quote
from muniment.sources.times import moment_sql

__all__ = ["CALLS"]


def _unhex_sql(sql: str) -> str:
    """The NULs between the arguments of a command line become blanks."""
    clean = f"toValidUTF8(replaceAll(unhex({sql}), char(0), ' '))"
    return f"if(match({sql}, '^(?:[0-9A-Fa-f][0-9A-Fa-f])+$'), {clean}, '')"


def _packed_sql(sql: str) -> str:
    """An address of 8 or 32 hexadecimal digits as text, empty for any others."""
    v4 = f"IPv4NumToString(reinterpretAsUInt32(reverse(unhex({sql}))))"
    v6 = f"replaceOne(IPv6NumToString(toFixedString(substring(unhex({sql}), 1, 16), 16)), '::ffff:', '')"
    return f"multiIf(match({sql}, '^[0-9A-Fa-f]{{8}}$'), {v4}, match({sql}, '^[0-9A-Fa-f]{{32}}$'), {v6}, '')"


def _number_sql(sql: str) -> str:
    """Up to 16 hexadecimal digits as the number they are, empty for anything else."""
    value = f"toString(reinterpretAsUInt64(reverse(unhex({sql}))))"
    return f"if(match({sql}, '^[0-9A-Fa-f]{{1,16}}$'), {value}, '')"


def _argv_sql(sql: str) -> str:
    pairs = f"extractAll({sql}, {quote(_ARGUMENT)})"
    bare = "if(match(x, '^(?:[0-9A-F][0-9A-F])+$'), toValidUTF8(replaceAll(unhex(x), char(0), ' ')), x)"
    one = f"if(startsWith(x, '\"'), substring(x, 2, length(x) - 2), {bare})"
    return f"arrayStringConcat(arrayMap(x -> {one}, {pairs}), ' ')"


def _unescaped_sql(sql: str) -> str:
    """CEF's escapes of what its own syntax has; no other character behind a backslash, as `CORP\\anna` often is not escaped."""
    return f"if(position({sql}, {quote(chr(92))}) = 0, {sql}, replaceRegexpAll({sql}, {quote(_ESCAPED)}, {quote(_CHARACTER)}))"


_ESCAPED, _CHARACTER = r"\\([=|\\])", r"\1"
_ARGUMENT = r' a[0-9]+(?:\[[0-9]+\])?=("[^"]*"|[^ ]+)'

CALLS: Final[Mapping[str, Callable[[str], str]]] = {
    "argv": _argv_sql,
    "unhex": _unhex_sql,
    "packed": _packed_sql,
    "number": _number_sql,
    "unescaped": _unescaped_sql,
    "lower": lambda sql: f"lower({sql})",
    "dotted": words.dotted_sql,
    "camel": words.camel_sql,
    "moment": moment_sql,
    "named": deeds.named_sql,
    "deed": deeds.deed_sql,
    "ending": deeds.ending_sql,
    "country": countries.country_sql,
    "outcome": words.outcome_sql,
    "severity": words.severity_sql,
    "class": words.class_sql,
    "activity": words.activity_sql,
}
