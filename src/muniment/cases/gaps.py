"""Where the timeline knows nothing: stretches in which a source concerned was not heard though it should have been.

A source that has a rhythm and is not heard for twice as long is silent; that is what the page of sources says now, and
this says it of the case's time. A source without a rhythm is never known to be silent, and is named as such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.search.engine import Engine

__all__ = ["Gap", "gaps", "silences"]

_SLICES_MAX: Final = 20_000
"""So fine a time is looked at: of thirty days two minutes, and no silence is missed that is longer."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing was received from `source` between these times (microseconds). `is_open`: nothing has come since."""

    source: str
    from_us: int
    to_us: int
    rhythm_s: int
    is_open: bool


def gaps(engine: Engine, rhythms: Mapping[str, tuple[int, int]], start_us: int, end_us: int) -> list[Gap]:
    """The gaps of these sources within a time. `rhythms`: of each its rhythm in seconds and since when it is there (us).

    One query: the first and last receipt in each slice of time tell every silence that is longer than a slice.
    """
    wanted = {source: rhythm for source, rhythm in rhythms.items() if rhythm[0] > 0}
    if not wanted or end_us <= start_us:
        return []
    slice_us = max(min(rhythm for rhythm, _ in wanted.values()) * 1_000_000, (end_us - start_us) // _SLICES_MAX, 1)
    us = "toUnixTimestamp64Micro(received_at)"
    rows = engine.query(
        f"SELECT toString(source), min({us}), max({us}) FROM events WHERE source IN {{sources:Array(String)}} "
        "AND received_at >= fromUnixTimestamp64Micro({from:Int64}, 'UTC') "
        "AND received_at <= fromUnixTimestamp64Micro({to:Int64}, 'UTC') "
        f"GROUP BY source, intDiv({us}, {{slice:Int64}})",
        {"sources": sorted(wanted), "from": start_us, "to": end_us, "slice": slice_us},
    ).rows
    heard: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for source, first, last in rows:
        heard[str(source)].append((int(first), int(last)))
    found = [
        gap
        for source, (rhythm, since) in wanted.items()
        for gap in silences(source, rhythm, sorted(heard[source]), max(start_us, since), end_us)
    ]
    return sorted(found, key=lambda gap: (gap.from_us, gap.source))


def silences(source: str, rhythm_s: int, heard: Sequence[tuple[int, int]], start_us: int, end_us: int) -> list[Gap]:
    """The gaps between spans in which a source was heard, and before and after them.

    >>> [(gap.from_us, gap.to_us, gap.is_open) for gap in silences("a", 1, [(0, 5), (9_000_000, 9_000_001)], 0, 20_000_000)]
    [(5, 9000000, False), (9000001, 20000000, True)]
    """
    most, at, found = 2 * rhythm_s * 1_000_000, start_us, []
    for first, last in heard:
        if first - at > most:
            found.append(Gap(source, at, first, rhythm_s, False))
        at = max(at, last)
    if end_us - at > most:
        found.append(Gap(source, at, end_us, rhythm_s, True))
    return found
