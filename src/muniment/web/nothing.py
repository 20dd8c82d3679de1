"""Why a search found nothing: what each part finds, how it could have been meant, what lies outside, who is late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from muniment.web.address import Address
from muniment.web.backend import Backend, Viewer, Wanted
from muniment.web.connect import snippets
from muniment.web.fields import ROW_COLUMNS
from muniment.web.query_text import chips, loosened, replaced
from muniment.web.rows import rows
from muniment.web.search_view import Nothing, Outside
from muniment.web.site import Look
from muniment.web.times import Range, absolute, parse_range

__all__ = ["why_nothing"]

_FAR: Final = 2**62
"""Later than any event says of itself, and a time the store can hold: the year 2116."""


async def why_nothing(backend: Backend, viewer: Viewer, address: Address, covered: Range, look: Look) -> Nothing:
    """Why there are no rows: what each part removes, the nearest match outside, who is late."""
    status, sources = await asyncio.gather(backend.status(viewer), backend.sources(viewer))
    now = backend.now_ns()
    is_ever = any(source.received for source in sources if source.id != "muniment")
    parts = chips(address.q)[:6]
    start, end = covered.start or 0, covered.end
    without_it = [" ".join(other.text for other in parts if other.at != chip.at) for chip in parts]
    looser = [(chip, text) for chip in parts if (text := loosened(chip)) and "*" not in chip.value]
    rewritten = [replaced(address.q, chip.at, text) for chip, text in looser]
    n_alone, n_less, n_looser = await asyncio.gather(
        _counts(backend, viewer, address, covered, [chip.text for chip in parts] if len(parts) > 1 else []),
        _counts(backend, viewer, address, covered, without_it),
        _counts(backend, viewer, address, covered, rewritten),
    )
    alone = n_alone or [0] * len(parts)
    removals = tuple(
        (chip.text, n, less, address.without(chip.at)) for chip, n, less in zip(parts, alone, n_less, strict=True)
    )
    finds = tuple(
        (text, n, address.rewritten(chip.at, text)) for (chip, text), n in zip(looser, n_looser, strict=True) if n
    )
    nearest: list[tuple[str, str, str]] = []
    if address.is_received:  # outside of it is another day's delivery, which says nothing about this one
        return Nothing(removals, finds, None, (), (), (), is_ever, snippets(status.doors), tuple(status.doors))
    outside, earlier, later = await asyncio.gather(
        _outside(backend, viewer, address, covered),
        backend.search(viewer, Wanted(address.q, None, start), limit=1, cursor=None, order="desc", columns=list(ROW_COLUMNS)),
        backend.search(viewer, Wanted(address.q, end, None), limit=1, cursor=None, order="asc", columns=list(ROW_COLUMNS)),
    )  # fmt: skip
    for words, page in (("Nearest before", earlier), ("Nearest after", later)):
        for row in rows(page.rows, address, look.zone):
            hour = parse_range(f"{row.time}/now", 2**62, look.zone).start or 0
            around = absolute(max(0, hour - 1_800 * 10**9), hour + 1_800 * 10**9)
            nearest.append((words, f"{row.date} {row.clock}", address.with_when(around)))
    wider = tuple(
        (label, address.with_when(text))
        for text, label in (("7d", "Last 7 days"), ("30d", "Last 30 days"), ("all", "Everything"))
        if text != covered.text
    )
    late = tuple(s for s in sources if s.rhythm_s and s.last_heard and now - s.last_heard > s.rhythm_s * 10**9)
    return Nothing(
        removals, finds, outside, tuple(nearest), wider, late, is_ever, snippets(status.doors), tuple(status.doors)
    )


async def _counts(
    backend: Backend, viewer: Viewer, address: Address, covered: Range, queries: Sequence[str]
) -> list[int]:
    """How many events each query would find in the range of this page."""

    async def count(q: str) -> int:
        text, start, end = address.asked(covered, q)
        return await _count(backend, viewer, Wanted(text, start or 0, covered.end if end is None else end))

    return list(await asyncio.gather(*[count(q) for q in queries]))


async def _outside(backend: Backend, viewer: Viewer, address: Address, covered: Range) -> Outside | None:
    """What the query finds before and after the range, and how much of it came in within the range all the same."""
    if covered.start is None:
        return None
    received = replace(address, is_received=True)
    before, after, arrived = await asyncio.gather(
        _count(backend, viewer, Wanted(address.q, 0, covered.start)),
        _count(backend, viewer, Wanted(address.q, covered.end, _FAR)),
        _count(backend, viewer, Wanted(received.asked(covered)[0], 0, _FAR)),
    )
    if not before and not after:
        return None
    return Outside(before, after, address.with_when("all"), arrived, address.toggled_clock())


async def _count(backend: Backend, viewer: Viewer, wanted: Wanted) -> int:
    found = await backend.histogram(viewer, wanted, buckets=1, by="outcome")
    return sum(sum(counts) for counts in found.series.values())
