"""The moment an event happened, from whatever text the source wrote, as one SQL expression. Pure.

Read are RFC 3339 with any fraction and offset (also with a blank for the T, a comma before the fraction, lower case),
Unix time in seconds, milliseconds, microseconds or nanoseconds (number or text, with a fraction), RFC 2822, the Common
Log Format, and RFC 3164 stamps, which carry no year: the year is that of `received_at`, or the one before when the
moment would then lie more than two days ahead. A stamp without an offset is UTC. What cannot be read, and what lies
outside 1970-2262, is `received_at`. Microseconds are kept; finer digits are cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from muniment.sources.sql import first_filled, quote

__all__ = ["time_sql"]

_BARE_NUMBER = r"^[0-9]{1,8}([.][0-9]*)?$"  # the parser would take it for a year, a month or a day
_RFC3164 = r"^[A-Za-z]{3} +[0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
_CLF = r"^([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):"
_AHEAD_DAYS = 2


def time_sql(values: Sequence[str], received_at: str = "received_at") -> str:
    """A DateTime64(6, 'UTC') expression over String expressions, the first non-empty one deciding."""
    received = f"toDateTime64({received_at}, 6, 'UTC')"
    if not values:
        return received
    text = first_filled(values)
    parsed = _parsed(text, received)
    # A zero time (0001-01-01) and an overflow (9999) are "not set", not a claim.
    return f"if(ifNull(toYear({parsed}), 0) BETWEEN 1970 AND 2261, assumeNotNull({parsed}), {received})"


def _parsed(text: str, received: str) -> str:
    dotted, spaced = quote(r"\1.\2"), quote(r"\1 \2 \3 ")
    comma = f"replaceRegexpOne(trimBoth({text}), '([0-9]),([0-9])', {dotted})"
    clf = f"replaceRegexpOne({text}, {quote(_CLF)}, {spaced})"
    best = _best(text)
    upper = _best(f"upper({comma})")
    return (
        f"multiIf(match({text}, {quote(_RFC3164)}), {_yearless(text, received)}, "
        f"match({text}, {quote(_BARE_NUMBER)}), NULL, "
        f"isNotNull({best}), {best}, "
        f"match({text}, {quote(_CLF)}), {_best(clf)}, "
        f"{upper})"
    )


def _best(text: str) -> str:
    return f"parseDateTime64BestEffortOrNull({text}, 6, 'UTC')"


def _yearless(text: str, received: str) -> str:
    """RFC 3164's stamp in the year that puts it nearest before `received`."""
    month = f"substring({text}, 1, 3)"
    day = f"extract({text}, '^[A-Za-z]{{3}} +([0-9]{{1,2}})')"
    clock = f"extract({text}, '([0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:[.][0-9]+)?)')"

    def in_year(offset: int) -> str:
        return _best(f"concat({day}, ' ', {month}, ' ', toString(toYear({received}) + {offset}), ' ', {clock})")

    # Sent on 31 December, received on 1 January: the year of receipt would put it a year ahead. The other way round,
    # a clock that is ahead over midnight of 31 December belongs to the next year. 29 February may not exist this year.
    return (
        f"multiIf(isNull({in_year(0)}), {in_year(-1)}, "
        f"{in_year(0)} > {received} + INTERVAL {_AHEAD_DAYS} DAY, {in_year(-1)}, "
        f"{in_year(0)} < {received} - INTERVAL 363 DAY, {in_year(1)}, {in_year(0)})"
    )
