"""The moment an event happened, from whatever text the source wrote, as one SQL expression. Pure.

Read are RFC 3339 with any fraction and offset (also with a blank for the T, a comma before the fraction, lower case),
Unix time in seconds, milliseconds, microseconds or nanoseconds (number or text, with a fraction), RFC 2822, the Common
Log Format and what appliances make of it (`2026:11:23-06:36:01`, `11/23/2026:06:36:01`), a clock with AM or PM,
.NET's `/Date(1700000000000)/`, the steps of 100 ns since 1601 in which Windows counts, and RFC 3164 stamps, which carry no year: the year is that of `received_at`, or the one before when the moment would then
lie more than two days ahead (or the next, over new year's midnight). A zone's abbreviation counts where it names one
offset to most people (`_ZONES`). A stamp without an offset is UTC. What cannot be read, and what lies outside
1900-2299, is `received_at`. Microseconds are kept; finer digits are cut.

`moment_sql` finds the first moment that stands in a line of text, in the many ways in which programs write one.
"""

from __future__ import annotations

from muniment.sources.sql import EMPTY, array, quote

__all__ = ["moment_sql", "time_sql"]

_NO_TIME = r"^(?:[0-9]{1,8}(?:[.][0-9]*)?$|(?:0|1[0-8]|2[3-9]|[3-9])[0-9]{2,3}-)"
# A short number (the parser would take it for a year or a day); the years of "not set": 0001, 1601, 9999.
_RFC3164 = r"^(?:[A-Za-z]{3},? +)?[A-Za-z]{3} +[0-9]{1,2} [0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?: [A-Za-z]{2,5}| ?[+-][0-9:]+)?$"
_STAMP = r"^(?:...,? +)?(...) +([0-9]+) ([0-9:]+)[,.]?([0-9]*) ?([+-][0-9:]+)?.*$"
_SLASHED = r"^([0-9]{2,4})[:/]([A-Za-z]{3}|[0-9]{2})[:/]([0-9]{2,4})[:-]"
_DATE = r"^/Date[(]([0-9]{9,16})(?:[+-][0-9]{4})?[)]/$"  # as .NET wrote JSON; the offset is the writer's and changes no moment
_TICKS = r"^1[23][0-9]{16}$"
_FILETIME_US = 11_644_473_600_000_000
"""Microseconds from 1601, from where Windows counts steps of 100 ns, to 1970."""
_ZONE = r" ([A-Z]{3,5})$"
_ZONES = {
    "CET": "+01:00", "CEST": "+02:00", "MET": "+01:00", "MEST": "+02:00", "EET": "+02:00", "EEST": "+03:00",
    "WET": "+00:00", "WEST": "+01:00", "BST": "+01:00", "MSK": "+03:00", "EST": "-05:00", "EDT": "-04:00",
    "CST": "-06:00", "CDT": "-05:00", "MST": "-07:00", "MDT": "-06:00", "PST": "-08:00", "PDT": "-07:00",
    "AKST": "-09:00", "AKDT": "-08:00", "HST": "-10:00", "BRT": "-03:00", "SAST": "+02:00", "IST": "+05:30",
    "SGT": "+08:00", "HKT": "+08:00", "JST": "+09:00", "KST": "+09:00", "AWST": "+08:00", "ACST": "+09:30",
    "AEST": "+10:00", "AEDT": "+11:00", "NZST": "+12:00", "NZDT": "+13:00",
}  # fmt: skip
_COMMA = r"([0-9]),([0-9]+)"
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"


def time_sql(standard: str = EMPTY, any_form: str = EMPTY, received_at: str = "received_at") -> str:
    """A DateTime64(6, 'UTC') expression over two String expressions, of which one is filled.

    Of `standard` only what current systems write is read (RFC 3339, Unix time), of `any_form` all that is named above.
    """
    received = f"toDateTime64({received_at}, 6, 'UTC')"
    if any_form == EMPTY:
        plain = _guarded(standard)
    elif standard == EMPTY:
        plain = _rewritten(any_form, received)
    else:
        plain = f"if({any_form} = '', {_guarded(standard)}, {_rewritten(any_form, received)})"
    return received if plain == EMPTY else f"ifNull(parseDateTime64BestEffortOrNull({plain}, 6, 'UTC'), {received})"


def _guarded(text: str) -> str:
    return EMPTY if text == EMPTY else f"if(match({text}, {quote(_NO_TIME)}), '', {text})"


def _rewritten(text: str, received: str) -> str:
    """The text in a form that the engine's one parser reads."""
    dotted, slashed, none = quote(r"\1.\2"), quote(r"\1/\2/\3 "), quote("")
    zone = f"extract(upper({text}), {quote(_ZONE)})"
    offset = f"transform({zone}, {array(list(_ZONES))}, {array(list(_ZONES.values()))}, '')"
    ticks = f"toString(intDiv(toInt64OrZero({text}), 10) - {_FILETIME_US})"
    plain = (
        f"multiIf(startsWith({text}, '/Date('), extract({text}, {quote(_DATE)}), "
        f"length({text}) = 18 AND match({text}, {quote(_TICKS)}), {ticks}, "
        f"match({text}, {quote(_RFC3164)}), {_with_year(text, received)}, "
        f"match({text}, {quote(_NO_TIME)}), '', "
        f"match({text}, {quote(_SLASHED)}), replaceRegexpOne({text}, {quote(_SLASHED)}, {slashed}), "
        f"replaceRegexpOne({text}, {quote(_COMMA)}, {dotted}))"
    )
    return f"upper(if({offset} = '', {plain}, concat(replaceRegexpOne({plain}, '(?i){_ZONE}', {none}), {offset})))"


def _with_year(text: str, received: str) -> str:
    """RFC 3164's stamp with the year that puts it nearest before `received`.

    Sent on 31 December and received on 1 January, it belongs to the year before; from a clock that is ahead over
    midnight of 31 December, to the next. Days are counted as 31 a month, which orders them and is enough here.
    """
    month = f"intDiv(position('{_MONTHS}', lower(extract({text}, '(...) +[0-9]'))) + 2, 3)"
    day = f"toInt32OrZero(extract({text}, '... +([0-9]+)'))"
    here = f"toMonth({received}) * 31 + toDayOfMonth({received})"
    ahead = f"({month} * 31 + {day} - ({here}))"
    year = f"toYear({received}) + multiIf({ahead} > {_AHEAD_DAYS}, -1, {ahead} < -369, 1, 0)"
    return f"replaceRegexpOne({text}, {quote(_STAMP)}, concat({_JOIN[0]}, toString({year}), {_JOIN[1]}))"


_AHEAD_DAYS = 2
_JOIN = (quote(r"\2 \1 "), quote(r" \3.\4\5"))

_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
# A comma before four digits and more, or one or two, and another comma is between columns; three digits are what loggers write.
_FRACTION = "(?:,[0-9]{4,9},|,[0-9]{1,2},|[.,:]([0-9]{1,9}))?"
_MOMENT = (
    "(?i)(?:^|[^0-9A-Za-z.:/-]|[0-9]m)(?:(?:"  # the m ends a colour of a terminal
    rf"([12][0-9]{{3}})[-/.:]([0-9]{{1,2}}|{_MONTH})[-/.:]([0-9]{{1,2}})"  # 2026-11-23, 2026/Nov/23: 1, 2, 3
    rf"|([0-9]{{1,2}})([-/. ])([0-9]{{1,2}}|{_MONTH})[-/. ,]{{1,2}}([12][0-9]{{3}}|[0-9]{{2}})"  # 23/Nov/2026, 11/23/26: 4..7
    rf"|({_MONTH})[.]? {{1,2}}([0-9]{{1,2}}),? ([12][0-9]{{3}})"  # Nov 23, 2026: 8, 9, 10
    r"|(20[0-9]{2})(0[1-9]|1[0-2])([0-3][0-9])"  # 20261123: 11, 12, 13
    rf")(?:[ T_:,\t-]{{1,3}}| at )([0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}}){_FRACTION}"  # 14, 15
    r"(?: ?([AP]M)\b)?(?: ?(Z|[+-][0-9]{2}:?[0-9]{2}|[A-Z]{3,4})\b)?"  # 16, 17
    rf"|({_MONTH}) {{1,2}}([0-9]{{1,2}}) ([0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}){_FRACTION}"  # Nov 23 06:36:01 2026: 18..21
    r" (?:([A-Z]{3,4}|[+-][0-9]{2}:?[0-9]{2}) )?([12][0-9]{3})\b)"  # 22, 23
)
_WORLD = {"Z": "Z", "UTC": "Z", "GMT": "Z", **_ZONES}


def moment_sql(text: str) -> str:
    """The first moment with day, year and clock that stands in a text, as RFC 3339 would write it; '' for none.

    11/23/2026 is a day of November, and so is 23/11/2026; 8/9/2026 is one of August, 8.9.2026 and 8-9-2026 of September.
    """

    def part(*groups: int) -> str:
        return f"concat({', '.join(f'arrayElement(g, {group})' for group in groups)})"

    a, sep, b = (f"arrayElement(g, {group})" for group in (4, 5, 6))
    is_month_first = (
        f"(toUInt8OrZero({b}) > 12 OR (toUInt8OrZero({b}) > 0 AND {sep} = '/' AND toUInt8OrZero({a}) <= 12))"
    )
    month = f"if({is_month_first}, {a}, {part(2, 6, 8, 12, 18)})"
    named = f"intDiv(position('{_MONTHS}', lower(substring({month}, 1, 3))) + 2, 3)"
    number = f"leftPad(toString(if(match({month}, '^[0-9]+$'), toUInt8OrZero({month}), {named})), 2, '0')"
    day = f"leftPad(if({is_month_first}, {b}, {part(3, 4, 9, 13, 19)}), 2, '0')"
    year = f"concat(if(length(arrayElement(g, 7)) = 2, '20', ''), {part(1, 7, 10, 11, 23)})"
    clock, half = part(14, 20), "lower(arrayElement(g, 16))"
    hour = f"toUInt8OrZero(extract({clock}, '^[0-9]+'))"
    hour = f"multiIf({half} = 'pm' AND {hour} < 12, {hour} + 12, {half} = 'am' AND {hour} = 12, 0, {hour})"
    fraction = f"if({part(15, 21)} = '', '', concat('.', {part(15, 21)}))"
    zone = part(17, 22)
    zones = f"transform({zone}, {array(list(_WORLD))}, {array(list(_WORLD.values()))}, '')"
    offset = f"if(match({zone}, '^[+-]'), {zone}, {zones})"
    rest = f"substring({clock}, length({clock}) - 5)"
    whole = f"concat({year}, '-', {number}, '-', {day}, ' ', leftPad(toString({hour}), 2, '0'), {rest}, {fraction}, {offset})"
    return f"arrayElement(arrayMap(g -> if(empty(g), '', {whole}), [extractGroups({text}, {quote(_MOMENT)})]), 1)"
