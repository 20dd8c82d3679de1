"""What the search page shows, as classes its template reads. No behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.web.address import Address
from muniment.web.backend import Door, Horizon, SourceStatus
from muniment.web.chart import Chart
from muniment.web.connect import Snippet
from muniment.web.fields import Field
from muniment.web.query_text import Chip
from muniment.web.rows import Row
from muniment.web.times import Range

__all__ = ["ChipView", "Choice", "ColumnView", "Facet", "FacetValue", "Nothing", "QueryError", "SearchView"]


@dataclass(frozen=True, slots=True)
class ChipView:
    """A part of the query with what a click can do to it. One that is set aside has `enable`, and asks nothing."""

    chip: Chip
    remove: str
    invert: str = ""
    disable: str = ""
    enable: str = ""


@dataclass(frozen=True, slots=True)
class QueryError:
    """Where the query is wrong. `fix_url` is empty when no correction suggests itself."""

    before: str
    wrong: str
    after: str
    column: int | None
    reason: str
    fix: str
    fix_url: str


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a facet. `share` in per cent of the facet's largest."""

    text: str
    count: int
    share: float
    include: str
    exclude: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A field with its most frequent values, or with those that hold `sought`."""

    field: Field
    name: str
    values: tuple[FacetValue, ...]
    is_pinned: bool
    is_full: bool
    sought: str
    everything: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A link with words; `is_now`: it is the state of this page."""

    text: str
    label: str
    url: str
    is_now: bool


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column of the table and what can be done with it."""

    field: Field
    left: str
    right: str
    remove: str


@dataclass(frozen=True, slots=True)
class Outside:
    """What the query finds outside of the range. `arrived` of it came in within the range, though it happened elsewhen."""

    before: int
    after: int
    url: str
    arrived: int
    arrived_url: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """No rows: why, and ways out.

    `removals`: each part, what it finds alone, what the rest finds without it, and that address. `looser`: a part
    written so that it finds something.
    """

    removals: tuple[tuple[str, int, int, str], ...]
    looser: tuple[tuple[str, int, str], ...]
    outside: Outside | None
    nearest: tuple[tuple[str, str, str], ...]
    wider: tuple[tuple[str, str], ...]
    late: tuple[SourceStatus, ...]
    is_ever: bool
    snippets: tuple[Snippet, ...]
    doors: tuple[Door, ...]


@dataclass(frozen=True, slots=True)
class SearchView:
    """Everything the search page shows."""

    address: Address
    covered: Range
    chips: tuple[ChipView, ...]
    error: QueryError | None
    time_error: str
    warnings: tuple[tuple[str, str, str], ...]
    presets: tuple[Choice, ...]
    window: tuple[Choice, ...]
    absolute_url: str
    absolute_words: str
    clock_url: str
    command: str
    open_url: str
    set_aside: tuple[ChipView, ...]
    unpinned: tuple[Field, ...]
    from_value: str
    to_value: str
    zone_name: str
    chart: Chart | None
    facets: tuple[Facet, ...]
    columns: tuple[ColumnView, ...]
    all_columns: tuple[tuple[Field, bool], ...]
    rows: tuple[Row, ...]
    next_url: str
    first_url: str
    live_url: str
    order_url: str
    exports: tuple[tuple[str, str, str], ...]
    took_ms: float
    horizon: Horizon | None
    last_index: int
    hidden: tuple[tuple[str, str], ...]
    nothing: Nothing | None
    fields: tuple[str, ...]
