"""Which sources there are: ids, formats, privacy, owners, and what was heard of each.

Sources are rows of the administration database (any SQLAlchemy URL) and are kept in memory whole; a source is never
deleted, it is retired, because its records stay. Counters live in memory only: they are derivable from the ledger and
the store, and `seed` puts derived values back after a start. All methods may be called from any thread.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final, Literal, cast

import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.event.model import Arrival
from muniment.privacy.plan import SealPlan
from muniment.sources.catalogue import AUTO, OWN, Catalogue
from muniment.sources.people import without_covered

__all__ = ["OWN_SOURCES", "SOURCE_ID", "Counters", "Privacy", "SourceInfo", "SourceRegistry"]

SOURCE_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
OWN_SOURCES: Final = frozenset({"muniment", "muniment.alerts"})
"""What Muniment does and finds: records of these are its word, so no key and no webhook writes them."""
Privacy = Literal["clear", "sealed"]
_TITLE_CHARS_MAX = 200

_METADATA = sa.MetaData()
_TABLE = sa.Table(
    "sources",
    _METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("title", sa.String(_TITLE_CHARS_MAX), nullable=False),
    sa.Column("format", sa.String(64), nullable=False),
    sa.Column("privacy", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(_TITLE_CHARS_MAX), nullable=False),
    sa.Column("rhythm_s", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("retired_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One source. `rhythm_s`: it should speak at least this often; times are UTC nanoseconds, 0 for never."""

    id: str
    title: str
    format: str
    privacy: Privacy
    owner: str
    rhythm_s: int
    created_at: int
    retired_at: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """What was heard of a source. `gaps` counts producer numbers that were skipped and have not come since."""

    received: int = 0
    quarantined: int = 0
    last_heard: int = 0
    last_sq: int | None = None
    gaps: int = 0


class SourceRegistry:
    """All sources of one Muniment."""

    def __init__(
        self, database: sa.Engine, catalogue: Catalogue, even_if_clear: Mapping[str, SealPlan] | None = None
    ) -> None:
        """`even_if_clear`: what is sealed in the records of a source though it is kept clear otherwise."""
        self._even_if_clear = dict(even_if_clear or {})
        self._database = database
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._plans: dict[str, SealPlan] = {}
        self._counters: dict[str, Counters] = {}
        _METADATA.create_all(database, tables=[_TABLE])
        with database.connect() as connection:
            rows = connection.execute(sa.select(_TABLE)).mappings().all()
        self._sources = {str(row["id"]): SourceInfo(**row) for row in rows}

    def adopt(self, catalogue: Catalogue) -> None:
        """From now on these are the entries."""
        with self._lock:
            self._catalogue = catalogue
            self._plans = {}

    # --- who there is ---------------------------------------------------------------------------------------------

    def get(self, source_id: str) -> SourceInfo | None:
        """The source of that id, retired or not."""
        return self._sources.get(source_id)

    def sender(self, source_id: str) -> SourceInfo:
        """A source that somebody outside sends as. Raises RejectedError: there is none, or it is Muniment's own."""
        info = self._sources.get(source_id)
        if info is None:
            raise RejectedError("there is no such source", field="id", status=404)
        if source_id in OWN_SOURCES:
            raise RejectedError("Muniment itself writes it, and nobody else may", field="id")
        return info

    def all(self) -> list[SourceInfo]:
        """Every source, by id."""
        return [self._sources[source_id] for source_id in sorted(self._sources)]

    def formats(self) -> list[str]:
        """What a source's format may be."""
        return [AUTO, *sorted(self._catalogue)]

    def format_of(self, source_id: str) -> str:
        """The format a source's records are read with; of an unknown source, by their content."""
        info = self._sources.get(source_id)
        return info.format if info else AUTO

    def add(
        self,
        source_id: str,
        *,
        now_ns: int,
        title: str = "",
        format: str = AUTO,  # the word of the contract, the API and the table
        privacy: str = "sealed",
        owner: str = "",
        rhythm_s: int = 0,
    ) -> SourceInfo:
        """Register a source; its owner and rhythm are the catalogue's where not given. Raises RejectedError."""
        if not SOURCE_ID.fullmatch(source_id):
            raise RejectedError(f"must match {SOURCE_ID.pattern}, got {source_id!r}", field="id")
        self._check(format, privacy, title, owner, rhythm_s)
        entry = self._catalogue.get(format)
        info = SourceInfo(
            id=source_id,
            title=title or source_id,
            format=format,
            privacy=cast(Privacy, privacy),
            owner=owner or (entry.owner if entry else ""),
            rhythm_s=rhythm_s or (entry.rhythm_s if entry else 0),
            created_at=now_ns,
        )
        with self._lock:
            if source_id in self._sources:
                raise RejectedError(f"there is already a source {source_id!r}", field="id", status=409)
            with self._database.begin() as connection:
                connection.execute(_TABLE.insert().values(**_row(info)))
            self._sources[source_id] = info
        return info

    def change(
        self,
        source_id: str,
        *,
        title: str | None = None,
        format: str | None = None,
        privacy: str | None = None,
        owner: str | None = None,
        rhythm_s: int | None = None,
    ) -> SourceInfo:
        """Change what is given. Raises RejectedError."""
        with self._lock:
            old = self._known(source_id)
            new = replace(
                old,
                title=old.title if title is None else title,
                format=old.format if format is None else format,
                privacy=old.privacy if privacy is None else cast(Privacy, privacy),
                owner=old.owner if owner is None else owner,
                rhythm_s=old.rhythm_s if rhythm_s is None else rhythm_s,
            )
            self._check(new.format, new.privacy, new.title, new.owner, new.rhythm_s)
            return self._store(new)

    def retire(self, source_id: str, now_ns: int) -> SourceInfo:
        """The source will send no more; its records and its row stay. Raises RejectedError."""
        with self._lock:
            return self._store(replace(self._known(source_id), retired_at=now_ns))

    def _known(self, source_id: str) -> SourceInfo:
        info = self._sources.get(source_id)
        if info is None:
            raise RejectedError(f"there is no source {source_id!r}", field="id", status=404)
        return info

    def _store(self, info: SourceInfo) -> SourceInfo:
        with self._database.begin() as connection:
            connection.execute(_TABLE.update().where(_TABLE.c.id == info.id).values(**_row(info)))
        self._sources[info.id] = info
        return info

    def _check(self, format: str, privacy: str, title: str, owner: str, rhythm_s: int) -> None:
        if format != AUTO and format not in self._catalogue:
            near = get_close_matches(format, self.formats(), 3)
            known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self.formats())}"
            raise RejectedError(f"there is no format {format!r}; {known}", field="format")
        if privacy not in ("clear", "sealed"):
            raise RejectedError(f"must be clear or sealed, got {privacy!r}", field="privacy")
        for field, text in (("title", title), ("owner", owner)):
            if len(text) > _TITLE_CHARS_MAX:
                raise RejectedError(f"longer than {_TITLE_CHARS_MAX} characters", field=field)
        if rhythm_s < 0:
            raise RejectedError("must not be negative", field="rhythm_s")

    # --- what is personal -----------------------------------------------------------------------------------------

    def plan_for(self, source_id: str) -> SealPlan | None:
        """What is to be sealed in a source's records; None when they stay clear. An unknown source is sealed."""
        info = self._sources.get(source_id)
        if info is not None and info.privacy == "clear":
            return self._even_if_clear.get(source_id)
        format = info.format if info else AUTO
        plan = self._plans.get(format)
        if plan is None:
            whole = AUTO if self._is_by_content(format) else format
            plan = self._plans.get(whole) or SealPlan.compile(
                self.personal(whole), opens=whole != OWN, has_addresses=True
            )
            self._plans |= {whole: plan, format: plan}
        return plan

    def _is_by_content(self, format: str) -> bool:
        """Any system's records may be inside of those of the format; and what an entry does not say itself is sealed as before."""
        entry = self._catalogue.get(format)
        is_like = entry is not None and bool(entry.like)
        return format == AUTO or is_like or any(each.inside == format for each in self._catalogue.values())

    def personal(self, format: str) -> list[dict[str, str]]:
        """The personal rows of a format, and of all that may be found by content under it.

        Of several entries that name a place the one that is recognised first says whose it is: the reader for everything
        comes last. What mappings read people by comes after all that is named.
        """
        is_by_content = self._is_by_content(format)
        entries = [entry for name, entry in self._catalogue.items() if name == format or is_by_content]
        rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        named = [row for entry in entries for row in entry.personal]
        read = without_covered([row for entry in entries for row in entry.people], named)
        for row in (*named, *read):
            place = tuple(sorted((key, value) for key, value in row.items() if key in ("path", "text", "pattern")))
            rows.setdefault(place, row)
        return list(rows.values())

    def about(self, format: str) -> tuple[str, str]:
        """What the records of a catalogue entry are, and where its vendor describes them; empty for none of its own."""
        entry = self._catalogue.get(format)
        return (entry.title, entry.docs) if entry is not None else ("", "")

    # --- what was heard -------------------------------------------------------------------------------------------

    def counters(self, source_id: str) -> Counters:
        """A consistent look at one source's counters."""
        return self._counters.get(source_id, Counters())

    def heard(self, arrival: Arrival) -> None:
        """Count a batch that was acknowledged."""
        with self._lock:
            old = self._counters.get(arrival.source, Counters())
            quarantined = sum(1 for reason in arrival.quarantined or () if reason is not None)
            last_sq, gaps = _gaps(old.last_sq, old.gaps, arrival.sqs or ())
            self._counters[arrival.source] = Counters(
                received=old.received + len(arrival.records),
                quarantined=old.quarantined + quarantined,
                last_heard=max(old.last_heard, arrival.received_at),
                last_sq=last_sq,
                gaps=gaps,
            )

    def seed(self, source_id: str, counters: Counters) -> None:
        """Put derived counters back after a start; what was heard meanwhile is added."""
        with self._lock:
            now = self._counters.get(source_id, Counters())
            self._counters[source_id] = Counters(
                received=counters.received + now.received,
                quarantined=counters.quarantined + now.quarantined,
                last_heard=max(counters.last_heard, now.last_heard),
                last_sq=counters.last_sq if now.last_sq is None else now.last_sq,
                gaps=counters.gaps + now.gaps,
            )


def _gaps(last: int | None, gaps: int, numbers: Sequence[int | None]) -> tuple[int | None, int]:
    """The highest number, and how many below it are missing: a late or repeated one fills a gap if there is one."""
    for number in numbers:
        if number is None:
            continue
        if last is None:
            last = number
        elif number > last:
            gaps += number - last - 1
            last = number
        elif gaps and number < last:
            gaps -= 1
    return last, gaps


def _row(info: SourceInfo) -> dict[str, object]:
    return {column.name: getattr(info, column.name) for column in _TABLE.columns}
