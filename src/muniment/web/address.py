"""The state of the search page as its address, and every link made from it. Pure.

`q` the query, `off` parts of it set aside, `when` the range, `by` whose clock it is about, `cols` the columns, `find` the
search inside a facet, `order`, `cursor`, `live`. Nothing else holds state, so a copied
address shows a colleague the same page (over the rows they may see).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from muniment.errors import RejectedError
from muniment.limits import PAGE_COLUMNS_MAX, PAGE_QUERY_CHARS_MAX
from muniment.web.fields import DEFAULT_COLUMNS, FIELDS
from muniment.web.query_text import adding, chips, excluding, has_top_or, including, inverted, replaced, without
from muniment.web.times import Range, utc_text

__all__ = ["Address"]


@dataclass(frozen=True, slots=True)
class Address:
    """One state of the search page."""

    q: str = ""
    when: str = "24h"
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    order: str = "desc"
    cursor: str = ""
    is_live: bool = False
    off: str = ""
    is_received: bool = False
    find: str = ""

    @classmethod
    def of(cls, params: Mapping[str, str]) -> Address:
        """From query parameters. Columns that do not exist are left out.

        Raises:
            RejectedError: the query is too long.
        """
        q = params.get("q", "")
        if len(q) > PAGE_QUERY_CHARS_MAX:
            raise RejectedError(f"the query has {len(q)} characters, {PAGE_QUERY_CHARS_MAX} fit", field="q")
        named = params.get("cols")
        columns = DEFAULT_COLUMNS if named is None else tuple(c for c in dict.fromkeys(named.split(",")) if c in FIELDS)
        return cls(
            q.strip(),
            params.get("when", "24h")[:128],
            columns[:PAGE_COLUMNS_MAX],
            "asc" if params.get("order") == "asc" else "desc",
            params.get("cursor", "")[:256],
            params.get("live") == "1",
            params.get("off", "").strip()[:PAGE_QUERY_CHARS_MAX],
            params.get("by") == "received",
            params.get("find", "").strip()[:128],
        )

    def url(self, path: str = "/") -> str:
        """The address; what is default is left out."""
        pairs: list[tuple[str, str]] = [("q", self.q)] if self.q else []
        pairs += [("when", self.when)] if self.when != "24h" else []
        pairs += [("off", self.off)] if self.off else []
        pairs += [("by", "received")] if self.is_received else []
        pairs += [("find", self.find)] if self.find else []
        pairs += [("cols", ",".join(self.columns))] if self.columns != DEFAULT_COLUMNS else []
        pairs += [("order", self.order)] if self.order != "desc" else []
        pairs += [("cursor", self.cursor)] if self.cursor else []
        pairs += [("live", "1")] if self.is_live else []
        return path + ("?" + urlencode(pairs, quote_via=quote, safe=":/,", errors="replace") if pairs else "")

    def with_q(self, q: str) -> str:
        """The same page with another query, from its start."""
        return replace(self, q=q, cursor="").url()

    def with_when(self, when: str) -> str:
        """The same page over another range."""
        return replace(self, when=when, cursor="", is_live=False).url()

    def zoomed(self, when: str) -> str:
        """The same page over a part of the picture, which always shows when events happened."""
        return replace(self, when=when, cursor="", is_live=False, is_received=False).url()

    def with_columns(self, columns: Sequence[str]) -> str:
        """The same page with other columns."""
        return replace(self, columns=tuple(columns)).url()

    def moved(self, column: str, by: int) -> str:
        """The same page with a column moved left (-1) or right (1)."""
        columns = [c for c in self.columns if c != column]
        columns.insert(max(0, min(len(columns), self.columns.index(column) + by)), column)
        return self.with_columns(columns)

    def without_column(self, column: str) -> str:
        """The same page without a column."""
        return self.with_columns([c for c in self.columns if c != column])

    def including(self, field: str, value: str) -> str:
        """The same page, only this value."""
        return self.with_q(including(self.q, field, value))

    def excluding(self, field: str, value: str) -> str:
        """The same page, all but this value."""
        return self.with_q(excluding(self.q, field, value))

    def inverted(self, at: int) -> str:
        """The same page with chip `at` turned around."""
        return self.with_q(inverted(self.q, at))

    def without(self, at: int) -> str:
        """The same page without chip `at`."""
        return self.with_q(without(self.q, at))

    def rewritten(self, at: int, text: str) -> str:
        """The same page with chip `at` written anew."""
        return self.with_q(replaced(self.q, at, text))

    def set_aside(self, at: int) -> str:
        """The same page without chip `at`, which stays at hand."""
        text = chips(self.q)[at].text
        return replace(self, q=without(self.q, at), off=adding(self.off, text), cursor="").url()

    def taken_back(self, at: int) -> str:
        """The same page with the set-aside chip `at` in force again."""
        text = chips(self.off)[at].text
        return replace(self, q=adding(self.q, text), off=without(self.off, at), cursor="").url()

    def forgotten(self, at: int) -> str:
        """The same page without the set-aside chip `at`."""
        return replace(self, off=without(self.off, at)).url()

    def toggled_clock(self) -> str:
        """The same range by the time events were received, or by the time they happened."""
        return replace(self, is_received=not self.is_received, cursor="", is_live=False).url()

    def finding(self, field: str, text: str) -> str:
        """The same page with a facet searched."""
        return replace(self, find=f"{field}:{text}" if text else "").url()

    def asked(self, covered: Range, q: str | None = None) -> tuple[str, int | None, int | None]:
        """What the store is asked: the query, and the range of event time, an open end as None.

        A range of receipt becomes part of the query, because the range beside it is always about event time.
        """
        q = self.q if q is None else q
        end = None if covered.is_open else covered.end
        if not self.is_received:
            return q, covered.start, end
        parts = [f"({q})" if has_top_or(q) else q] if q else []
        parts += [f"received_at>={utc_text(covered.start)}"] if covered.start is not None else []
        parts += [f"received_at<{utc_text(end)}"] if end is not None else []
        return " ".join(parts), None, None

    def at_cursor(self, cursor: str) -> str:
        """Another page of the same result."""
        return replace(self, cursor=cursor, is_live=False).url()

    def toggled_live(self) -> str:
        """The same page, live or not."""
        return replace(self, is_live=not self.is_live, cursor="").url()

    def toggled_order(self) -> str:
        """The same page the other way round."""
        return replace(self, order="asc" if self.order == "desc" else "desc", cursor="").url()

    def api(self, operation: str, covered: Range, **more: str) -> str:
        """The same search as an API address, with the range it had when the page was made."""
        fixed = replace(covered, is_open=False)
        q, start, end = self.asked(fixed)
        pairs = [("q", q)] if q else []
        pairs += [("start", utc_text(start))] if start is not None else []
        pairs += [("end", utc_text(end))] if end is not None else []
        pairs += more.items()
        return f"/api/v1/{operation}?" + urlencode(pairs, quote_via=quote, safe=":/,", errors="replace")
