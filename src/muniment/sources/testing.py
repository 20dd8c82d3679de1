"""Tries records on catalogue entries as the store would: the body of `muniment sources test` and of the room's tests.

A client of the embedded engine is opened by the caller (one per process) or by `local_client`. What is compared is
what the store would hold: the typed columns, and the OCSF object made of them, checked against the schema.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from muniment.limits import RECORD_BYTES_MAX
from muniment.sources.catalogue import Catalogue, Entry, Sample
from muniment.sources.compiler import compile_entry
from muniment.sources.ocsf import to_ocsf
from muniment.sources.ocsf_schema import problems
from muniment.sources.recognition import Recogniser
from muniment.sources.sql import quote
from muniment.sources.together import Memory

__all__ = ["Explained", "Recollection", "check_sample", "explain", "local_client", "recognise"]


_SETTINGS = {"max_query_size": 4 * RECORD_BYTES_MAX}
"""The records stand in the query's text here, a record with its escapes at most twice its size."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What a record becomes: the entry that read it, its columns, its OCSF object and what is wrong with that."""

    entry: str
    recognised: str
    columns: Mapping[str, str | int]
    ocsf: Mapping[str, Any]
    problems: tuple[str, ...]


class Recollection:
    """What earlier records of their events say, for records of one sender that come one after the other."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._kinds = tuple(entry.together for entry in catalogue.values() if entry.together is not None)
        self._memory, self._next = Memory(), 0

    def of(self, records: Sequence[bytes]) -> list[str]:
        """For each of the next records."""
        start, self._next = self._next, self._next + len(records)
        marked = [{*kind.having_marks(records, range(len(records)))} for kind in self._kinds]
        kinds = [[kind for kind, has in zip(self._kinds, marked, strict=True) if n in has] for n in range(len(records))]
        return [self._memory.recall(start + n, "", kinds[n], record) for n, record in enumerate(records)]


@contextmanager
def local_client() -> Iterator[Any]:
    """The embedded engine on a folder that goes away. One per process, and never before a fork."""
    import clickhouse_connect

    with tempfile.TemporaryDirectory(prefix="muniment-sources-") as folder:
        client = clickhouse_connect.get_client(dsn=f"chdb:///{folder}/store")
        try:
            yield client
        finally:
            client.close()


def recognise(catalogue: Catalogue, records: list[bytes], client: Any, *, within: str = "") -> list[str]:
    """The entry each record looks like."""
    recogniser, rows = Recogniser(catalogue, within=within), _rows(records, "")
    found = client.query(f"SELECT groupUniqArray({recogniser.marks_sql}) FROM {rows}", settings=_SETTINGS).result_rows
    sql = recogniser.sql(found[0][0])
    return [row[0] for row in client.query(f"SELECT {sql} FROM {rows}", settings=_SETTINGS).result_rows]


def explain(
    catalogue: Catalogue,
    record: bytes,
    client: Any,
    *,
    entry: str = "",
    received_at: str = "2026-11-23T12:00:00Z",
    source: str = "test",
    earlier: str = "",
) -> Explained:
    """One record through recognition (or the named entry) and mapping; `earlier` is what `Recollection` says of it."""
    recognised = recognise(catalogue, [record], client)[0]
    chosen = catalogue[entry or recognised]
    columns = map_records(chosen, [record], client, received_at=received_at, source=source, earlier=[earlier])[0]
    row = {**columns, "source": source, "format": chosen.name, "vendor": chosen.vendor, "record": record.decode()}
    event = to_ocsf(row)
    return Explained(chosen.name, recognised, columns, event, tuple(problems(event)))


def map_records(
    entry: Entry,
    records: list[bytes],
    client: Any,
    *,
    received_at: str = "2026-11-23T12:00:00Z",
    source: str = "test",
    earlier: Sequence[str] = (),
) -> list[dict[str, str | int]]:
    """The typed columns of records that one entry reads; times as RFC 3339 text, addresses as text ('' for none)."""
    sql = compile_entry(entry).select_sql(_rows(records, received_at, source, earlier))
    result = client.query(sql, settings=_SETTINGS)
    return [
        {name: _plain(value) for name, value in zip(result.column_names, row, strict=True)}
        for row in result.result_rows
    ]


def check_sample(catalogue: Catalogue, entry: Entry, sample: Sample, client: Any) -> list[str]:
    """What differs from the sample's expectation, and what its OCSF object violates; empty when all is well."""
    said = Recollection(catalogue).of([*sample.earlier, sample.record])[-1]
    found = explain(catalogue, sample.record, client, entry=entry.name, received_at=sample.received_at, earlier=said)
    wrong = [
        f"{column}: expected {wanted!r}, got {found.columns.get(column)!r}"
        for column, wanted in sample.expect.items()
        if found.columns.get(column) != wanted
    ]
    if found.recognised != entry.name:
        wrong.append(f"recognised as {found.recognised!r}, expected {entry.name!r}")
    return wrong + [f"ocsf {problem}" for problem in found.problems]


def _rows(records: list[bytes], received_at: str, source: str = "test", earlier: Sequence[str] = ()) -> str:
    listed = ", ".join(quote(record.decode("utf-8", "replace")) for record in records)
    said = ", ".join(map(quote, earlier or [""] * len(records)))
    moment = f"parseDateTime64BestEffort({quote(received_at or '1970-01-02T00:00:00Z')}, 6, 'UTC')"
    return (
        f"(SELECT row.1 AS record, row.2 AS earlier, {moment} AS received_at, {quote(source)} AS source "
        f"FROM (SELECT arrayJoin(arrayZip([{listed}], [{said}])) AS row))"
    )


def _plain(value: object) -> str | int:
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, ipaddress.IPv6Address):
        if not int(value):
            return ""
        return str(value.ipv4_mapped or value)
    return value if isinstance(value, int) else str(value)
