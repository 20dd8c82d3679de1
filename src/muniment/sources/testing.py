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
from typing import Any, Final

import pyarrow as pa

from muniment.envelope import OUTSIDE, opened
from muniment.limits import RECORD_BYTES_MAX
from muniment.sources.catalogue import Catalogue, Entry, Sample
from muniment.sources.columns import COLUMNS, DERIVED
from muniment.sources.compiler import CompiledMapping
from muniment.sources.finishing import OUTSIDE_COLUMNS, finishing, with_outside
from muniment.sources.narrowing import whole_mapping
from muniment.sources.ocsf import to_ocsf
from muniment.sources.ocsf_schema import problems
from muniment.sources.recognition import Recogniser
from muniment.sources.sql import quote
from muniment.sources.together import Memory

__all__ = ["Explained", "Recollection", "check_samples", "explain", "local_client", "map_records", "recognise"]


_SETTINGS: Final = {
    "max_query_size": 4
    * RECORD_BYTES_MAX,  # the records stand in the text here, each with its escapes at most twice its size
    "query_plan_enable_optimizations": 0,  # a long text for few rows, as in the store: planning is what costs
    "compile_expressions": 0,
    "optimize_and_compare_chain": 0,
}


_RECORDS_MAX = 400

_EMPTY: Final[Mapping[str, str | int]] = dict.fromkeys((*COLUMNS, *DERIVED), "")
"""What stands in the columns that a mapping never fills."""


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

    def __init__(self, catalogue: Catalogue, format: str = "") -> None:
        rules = [(name, entry.together) for name, entry in catalogue.items() if entry.together is not None]
        self._kinds = tuple(rule for name, rule in rules if not rule.is_named or name == format)
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
    from muniment.embedded import Embedded  # the engine takes 0.3 s to load

    with tempfile.TemporaryDirectory(prefix="muniment-sources-") as folder:
        client = Embedded(f"{folder}/store")
        try:
            yield client
        finally:
            client.close()


def recognise(catalogue: Catalogue, records: list[bytes], client: Any, *, within: str = "") -> list[str]:
    """The entry each record looks like."""
    recogniser, rows = Recogniser(catalogue, within=within), _rows(records, "")
    sql = recogniser.sql(recogniser.possible(pa.array(records, pa.binary())))
    return [row[0] for row in client.query(f"SELECT {sql} FROM {rows}", settings=_SETTINGS).result_rows]


def explain(
    catalogue: Catalogue,
    records: Sequence[bytes],
    client: Any,
    *,
    entry: str = "",
    received_at: str = "2026-11-23T12:00:00Z",
    source: str = "test",
    earlier: Sequence[str] = (),
) -> Iterator[Explained]:
    """Records through recognition (or the named entry) and mapping, in their order; `earlier` is what `Recollection` says
    of each. Many at once: a mapping is planned once for all records it reads.
    """
    came, records = records, [opened(record)[0] for record in records]
    said = earlier or [""] * len(records)
    for start, end in _chunks(records):
        part = list(records[start:end])
        recognised = recognise(catalogue, part, client)
        chosen = [entry or name for name in recognised]
        columns: dict[int, dict[str, str | int]] = {}
        for name in dict.fromkeys(chosen):
            places = [k for k, each in enumerate(chosen) if each == name]
            found = map_records(
                catalogue[name], [part[k] for k in places], client,
                received_at=received_at, source=source, earlier=[said[start + k] for k in places],
            )  # fmt: skip
            columns |= zip(places, found, strict=True)
        for k, record in enumerate(came[start:end]):
            read = catalogue[chosen[k]]
            known = {
                "source": source,
                "format": read.name,
                "vendor": read.vendor,
                "record": record.decode("utf-8", "replace"),
            }
            event = to_ocsf({**columns[k], **known})
            yield Explained(read.name, recognised[k], columns[k], event, tuple(problems(event)))


def _chunks(records: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Ranges that one query's text can hold."""
    start, n_bytes = 0, 0
    for place, record in enumerate(records):
        if place > start and (place - start >= _RECORDS_MAX or n_bytes + len(record) > RECORD_BYTES_MAX):
            yield start, place
            start, n_bytes = place, 0
        n_bytes += len(record)
    if start < len(records):
        yield start, len(records)


def map_records(
    entry: Entry,
    records: list[bytes],
    client: Any,
    *,
    received_at: str | Sequence[str] = "2026-11-23T12:00:00Z",
    source: str = "test",
    earlier: Sequence[str] = (),
    mapping: CompiledMapping | None = None,
) -> list[dict[str, str | int]]:
    """The typed columns of records that one entry reads; times as RFC 3339 text, addresses as text ('' for none).

    `received_at`: when they came, all at once or each. `mapping`: one that does for these records, instead of the whole.
    """
    whole = mapping or whole_mapping(entry, records)
    rows = f"({whole.select_sql(_rows(records, received_at, source, earlier), ['received_at', 'record'])})"
    filled = {*whole.columns}
    if any(f'"{OUTSIDE}":'.encode() in record for record in records):
        rows = with_outside(rows, filled, f"position(record, '\"{OUTSIDE}\":') > 0")
        filled |= OUTSIDE_COLUMNS.keys()
    made = finishing(filled)
    named = ", ".join(f"{sql} AS made_{name}" for name, sql in made.items())
    result = client.query(f"SELECT *, {named} FROM {rows}", settings=_SETTINGS)
    found = [dict(zip(result.column_names, map(_plain, row), strict=True)) for row in result.result_rows]
    return [
        {name: row.get(f"made_{name}" if name in made else name, empty) for name, empty in _EMPTY.items()}
        for row in found
    ]


def check_samples(catalogue: Catalogue, entry: Entry, client: Any) -> dict[int, list[str]]:
    """For each sample of an entry, by its line, what differs from its expectation and what its OCSF object violates."""
    found: dict[int, list[str]] = {}
    for moment in dict.fromkeys(sample.received_at for sample in entry.samples):
        samples = [sample for sample in entry.samples if sample.received_at == moment]
        said = [Recollection(catalogue, entry.name).of([*sample.earlier, sample.record])[-1] for sample in samples]
        records = [sample.record for sample in samples]
        told = explain(catalogue, records, client, entry=entry.name, received_at=moment, earlier=said)
        found |= {sample.line: _wrong(entry, sample, one) for sample, one in zip(samples, told, strict=True)}
    return found


def _wrong(entry: Entry, sample: Sample, found: Explained) -> list[str]:
    wrong = [
        f"{column}: expected {wanted!r}, got {found.columns.get(column)!r}"
        for column, wanted in sample.expect.items()
        if found.columns.get(column) != wanted
    ]
    if found.recognised != entry.name:
        wrong.append(f"recognised as {found.recognised!r}, expected {entry.name!r}")
    return wrong + [f"ocsf {problem}" for problem in found.problems]


def _rows(
    records: list[bytes], received_at: str | Sequence[str], source: str = "test", earlier: Sequence[str] = ()
) -> str:
    listed = ", ".join(quote(record.decode("utf-8", "replace")) for record in records)
    said = ", ".join(map(quote, earlier or [""] * len(records)))
    moments = [received_at] * len(records) if isinstance(received_at, str) else received_at
    came = ", ".join(quote(moment or "1970-01-02T00:00:00Z") for moment in moments)
    moment = "parseDateTime64BestEffort(row.3, 6, 'UTC')"
    return (
        f"(SELECT row.1 AS record, row.2 AS earlier, {moment} AS received_at, {quote(source)} AS source "
        f"FROM (SELECT arrayJoin(arrayZip([{listed}], [{said}], [{came}])) AS row))"
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
