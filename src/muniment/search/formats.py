"""The catalogue in force, an operator's own entries over the shipped ones, and the records that no entry knows.

Records that only the entries of last resort have read, and quarantined ones, are grouped by source and kind (`sources.kinds`); a group is
given a draft of an entry made of its newest records, whose samples show their shape and nobody. Accepting one writes it to the operator's folder, durable, and puts it in
force for what comes from then on: what is stored was read with the old mappings until the store is rebuilt. Nothing
that does not run on its samples is accepted, and a file that is broken is left out and named, never a reason to stop.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from muniment.envelope import inside
from muniment.errors import RejectedError, StorageError
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.search.rows import micros_text
from muniment.sources.catalogue import Catalogue, Entry, beside, load_over, read_entry
from muniment.sources.claims import check_claims, claims
from muniment.sources.draft import UNTIMED, draft
from muniment.sources.kinds import Kind, Shape, kinds
from muniment.sources.narrowing import Narrowing
from muniment.sources.ocsf import to_ocsf
from muniment.sources.ocsf_schema import problems as ocsf_problems
from muniment.sources.registry import OWN_SOURCES, SourceRegistry
from muniment.sources.telling import Others
from muniment.sources.testing import map_records

__all__ = ["Formats", "Group", "Own", "Read", "Sample", "Suggestion"]

_LAST_RESORT: Final = ("json", "text", "syslog", "unmapped")
_ITS_OWN: Final = frozenset({"muniment", "alert"})
_LOOK_BACK_DAYS: Final = 30
_LOOKED_AT: Final = 50_000
_GROUPS_MAX: Final = 100
_SHAPES_MAX: Final = 1_000
"""Sets of keys that are looked at, the commonest: a source that writes new keys each time has no end of them."""
_SAMPLES: Final = 10
_DRAFTED: Final = 3
_TEXT_MAX: Final = 200_000
_UNNAMED: Final = re.compile(r"[^a-z0-9]+")
_SHOWN: Final = ("time", "action", "outcome", "severity", "class_name", "activity_name", "actor_id", "actor_name",
                 "actor_email", "src_ip", "user_agent", "dst_host", "app", "target_type", "target_id", "target_name",
                 "status_detail", "session_id", "request_id", "message")  # fmt: skip
_EXPECTED: Final = ("action", "outcome", "actor_id", "actor_name", "src_ip", "target_id")

_SYSTEM_PLACES: Final = ("vendor", "product", "app", "application", "service")
_SYSTEM: Final = f"JSONExtract(record, 'Tuple({', '.join(f'{name} String' for name in _SYSTEM_PLACES)})')"
_SHAPED: Final = f"""
SELECT lower(hex(sipHash64(source, format, reason, keys, program, system))) AS id, source, format, reason, keys, program, system,
    `index`, received_at, record
FROM (
    SELECT source, format, splitByChar(':', quarantine)[1] AS reason, if(format = 'syslog' OR startsWith(record, '{{"syslog"'), app, '') AS program,
        arraySort(JSONExtractKeys(record)) AS keys,
        substring(arrayStringConcat(arrayFilter(x -> x != '' AND NOT match(x, '^[{{\\[]'), [{", ".join(f"s.{n + 1}" for n in range(len(_SYSTEM_PLACES)))}]), ' '), 1, 64) AS system,
        `index`, received_at, record
    FROM (
        SELECT source, format, quarantine, app, `index`, received_at, record, {_SYSTEM} AS s FROM events
        WHERE received_at > now() - INTERVAL {_LOOK_BACK_DAYS} DAY AND source NOT IN {tuple(sorted(OWN_SOURCES))!r}
            AND (quarantine != '' OR (format IN {_LAST_RESORT!r} AND (format != 'syslog' OR class_uid = 0)))
        ORDER BY `index` DESC LIMIT {_LOOKED_AT}
    )
)"""


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one source and kind that no entry knows: read by `format` of last resort, or quarantined for `reason`.

    `keys` are the names that all of them have at the top, `program` that of syslog lines, `system` the name of a system that
    all of them say; `count` is of the newest 50,000 such records of 30 days; times UTC ns.
    """

    id: str
    source: str
    format: str
    reason: str
    keys: str
    program: str
    system: str
    count: int
    newest_index: int
    newest_time: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A record of a group, and when it came (RFC 3339)."""

    index: int
    record: bytes
    received_at: str


@dataclass(frozen=True, slots=True)
class Read:
    """What a record becomes with an entry: the columns that are filled, and what its OCSF object violates."""

    index: int
    record: str
    columns: Mapping[str, str | int]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A group's draft. `problem` says why there is none."""

    group: Group
    text: str
    problem: str
    preview: tuple[Read, ...]


@dataclass(frozen=True, slots=True)
class Own:
    """An operator's own entry in force."""

    name: str
    title: str
    owner: str
    text: str
    changed_at: int


class Formats:
    """All methods may be called from any thread; they block."""

    def __init__(
        self,
        engine: Engine,
        projector: Projector,
        registry: SourceRegistry,
        shipped: Catalogue,
        folder: Path,
        changed: Callable[[Catalogue], None],
    ) -> None:
        """`changed` is told the catalogue whenever another is in force."""
        self._engine = engine
        self._projector = projector
        self._registry = registry
        self._shipped = shipped
        self._folder = folder
        self._changed = changed
        self._lock = threading.Lock()
        self._catalogue = shipped
        self._others = Others.of(shipped)
        self._narrow: dict[str, Narrowing] = {}
        self.problems: tuple[str, ...] = ()

    # --- what no entry knows ----------------------------------------------------------------------------------------

    def groups(self) -> list[Group]:
        """The largest first. Raises StorageError, BusyError."""
        return [_group(kind) for kind in self._kinds()]

    def _kinds(self) -> list[Kind]:
        rows = self._engine.query(
            f"SELECT id, any(source), any(format), any(reason), any(program), any(system), any(keys), count() AS n, max(`index`), "
            f"toUnixTimestamp64Nano(CAST(max(received_at), 'DateTime64(9)')) FROM ({_SHAPED}) GROUP BY id "
            f"ORDER BY n DESC, id LIMIT {_SHAPES_MAX}"
        ).rows
        shapes = [
            Shape(
                str(row[0]), str(row[1]), str(row[2]), str(row[3]), str(row[4]), str(row[5]), frozenset(map(str, row[6])),
                int(row[7]), int(row[8]), int(row[9]),
            )
            for row in rows
        ]  # fmt: skip
        return kinds(shapes, self._others.keys)[:_GROUPS_MAX]

    def _kind(self, group: str) -> Kind:
        """The one that a shape of this id is of: also when another shape has become its commonest since. RejectedError: none."""
        found = next((kind for kind in self._kinds() if any(shape.id == group for shape in kind.shapes)), None)
        if found is None:
            raise RejectedError("there is no such group of records; they may be known by now", field="id", status=404)
        return found

    def suggestion(self, group: str, owner: str) -> Suggestion:
        """A draft from the group's newest records, and what they become with it. RejectedError: no such group."""
        kind = self._kind(group)
        found, samples = _group(kind), self._samples(kind)
        name = self._free_name(found)
        try:
            text, read = self._drafted(name, found.format, owner, samples)
            return Suggestion(found, text, "", tuple(read))
        except RejectedError as error:
            return Suggestion(found, "", f"no entry can be drafted: {error.reason}", ())

    def samples(self, group: str) -> list[Sample]:
        """The newest records of a group. RejectedError: none."""
        return self._samples(self._kind(group))

    def _samples(self, kind: Kind) -> list[Sample]:
        """The newest of each of its shapes before the next newest of any: what a draft recognises must stand in all of them."""
        rows = self._engine.query(
            f"SELECT `index`, record, toUnixTimestamp64Micro(received_at) FROM ({_SHAPED}) WHERE id IN {{ids:Array(String)}} "
            f"ORDER BY row_number() OVER (PARTITION BY id ORDER BY `index` DESC), `index` DESC LIMIT {_SAMPLES}",
            {"ids": [shape.id for shape in kind.shapes]},
        ).rows
        found = sorted(rows, key=lambda row: -int(row[0]))
        return [Sample(int(index), inside(str(record).encode()), micros_text(came)) for index, record, came in found]

    def _free_name(self, group: Group) -> str:
        wanted = _UNNAMED.sub("_", (group.program or group.system or group.source).lower()).strip("_")[:48] or "source"
        wanted = wanted if wanted[0].isalnum() else f"x{wanted}"
        taken = set(self._registry.formats())
        return next(
            name for k in range(1, len(taken) + 3) if (name := wanted if k == 1 else f"{wanted}_{k}") not in taken
        )

    def _drafted(self, name: str, format: str, owner: str, samples: Sequence[Sample]) -> tuple[str, list[Read]]:
        """An entry, and what the samples become with it."""
        like, records = self._shipped.get(format, self._shipped["json"]), [each.record for each in samples]
        columns = self._mapped(like, records, [UNTIMED] * len(records)) if records else []
        text = draft(name, records, like=like, columns=columns, others=self._others, masks=_DRAFTED)
        for line, said in (("vendor: TODO", "vendor: unknown"), ("docs: TODO", "docs: none"),
                           ("    origin: TODO", "    origin: the shape of a record of this log"),
                           ("    licence: TODO", "    licence: ours")):  # fmt: skip
            text = text.replace(line, said)
        text = text.replace("owner: TODO", f"owner: {orjson.dumps(owner).decode()}")
        entry = self._entry(text)
        shown = [Sample(0, each.record, UNTIMED) for each in entry.samples]
        read = self._read(entry, [*shown, *samples])  # at once: a mapping is planned anew each time
        for each in read[: len(shown)]:
            expected = {name: each.columns[name] for name in _EXPECTED if name in each.columns}
            text = text.replace("    expect: {outcome: TODO}", f"    expect: {orjson.dumps(expected).decode()}", 1)
        return text, read[len(shown) :]

    def entries(self) -> list[tuple[str, str]]:
        """Name and title of what a source may be read with, by title; not those of what Muniment itself writes."""
        found = ((name, entry.title) for name, entry in self._catalogue.items() if name not in _ITS_OWN)
        return sorted(found, key=lambda each: each[1].lower())

    # --- trying and accepting ---------------------------------------------------------------------------------------

    def try_out(self, text: str, samples: Sequence[Sample]) -> list[Read]:
        """What records become with the entry that `text` is. RejectedError names file and line of what is wrong."""
        return self._read(self._entry(text), samples)

    def try_entry(self, name: str, samples: Sequence[Sample]) -> list[Read]:
        """What records become with an entry that is in force. RejectedError: there is none of that name."""
        entry = self._catalogue.get(name)
        if entry is None:
            raise RejectedError(f"there is no entry {name!r} in the catalogue", field="entry")
        return self._read(entry, samples)

    def _read(self, entry: Entry, samples: Sequence[Sample]) -> list[Read]:
        found = self._mapped(entry, [each.record for each in samples], [each.received_at for each in samples])
        return [
            Read(
                each.index,
                each.record.decode("utf-8", "replace"),
                {name: columns[name] for name in _SHOWN if columns.get(name) not in ("", 0, None)},
                tuple(ocsf_problems(to_ocsf({**columns, "source": "", "format": entry.name, "vendor": entry.vendor,
                                             "record": each.record.decode("utf-8", "replace")}))),
            )
            for each, columns in zip(samples, found, strict=True)
        ]  # fmt: skip

    def accept(self, text: str, source: str = "") -> Entry:
        """Write the entry down and put it in force; with `source`, for all that this source sends.

        Raises RejectedError for a text that is no entry, does not run on its own samples, has a shipped entry's name, or would
        take what a shipped entry reads.
        """
        entry = self._entry(text)
        if entry.name in self._shipped:
            raise RejectedError(
                f"{entry.name!r} is an entry that comes with Muniment; give yours another name", field="name"
            )
        if source:
            self._registry.sender(source)
        self._mapped(entry, [sample.record for sample in entry.samples])
        with self._engine.nodes[0].reader() as client:
            check_claims(self._shipped, entry, client)
        with self._lock:
            path = self._folder / f"{entry.name}.yaml"
            before = path.read_bytes() if path.exists() else None
            _write(path, text.encode())
            try:
                self._apply()
            except BaseException:
                _write(path, before) if before is not None else path.unlink()
                with suppress(StorageError):
                    self._apply()
                raise
        if source:
            self._registry.change(source, format=entry.name)
        return entry

    def read_as(self, source: str, name: str) -> tuple[str, str]:
        """From now on all that a source sends is read with an entry, or `auto`: by content. Returns the one before and this.

        Raises RejectedError: no such source or entry.
        """
        before = self._registry.sender(source).format
        return before, self._registry.change(source, format=name).format

    def remove(self, name: str) -> Own:
        """Take an own entry out of force; sources that were read with it are recognised by content again."""
        with self._lock:
            own = next((each for each in self.own() if each.name == name), None)
            if own is None:
                raise RejectedError("there is no entry of your own with this name", field="name", status=404)
            for source in self._registry.all():
                if source.format == name:
                    self._registry.change(source.id, format="auto")
            (self._folder / f"{name}.yaml").unlink()
            self._apply()
            return own

    def own(self) -> list[Own]:
        """The operator's entries that are in force, by name."""
        found = []
        for path in filter(Path.is_file, sorted(self._folder.glob("*.yaml"))):
            try:
                text = path.read_text("utf-8")
                entry = read_entry(text, path.name)
            except (RejectedError, OSError, UnicodeDecodeError):
                continue  # named in `problems`
            found.append(Own(entry.name, entry.title, entry.owner, text, path.stat().st_mtime_ns))
        return found

    def restart(self) -> None:
        """Put in force what the folder holds; files that do not load or do not run are left out and named."""
        with self._lock:
            self._apply()

    def _apply(self) -> None:
        catalogue, problems = load_over(self._shipped, self._folder)
        broken, own = {}, [entry for name, entry in catalogue.items() if entry is not self._shipped.get(name)]
        for entry in own:
            try:
                self._mapped(entry, [sample.record for sample in entry.samples])
            except RejectedError as error:
                broken[entry.name] = str(error)
        with self._engine.nodes[0].reader() as client:
            running = [entry for entry in own if entry.name not in broken]
            broken |= {name: str(error) for name, error in claims(self._shipped, running, client).items()}
        if broken:
            kept = {name: entry for name, entry in catalogue.items() if name not in broken}
            catalogue = Catalogue(kept | {name: self._shipped[name] for name in broken if name in self._shipped})
        if [*map(id, catalogue.values())] != [*map(id, self._catalogue.values())]:
            self._projector.adopt(mapping_set(catalogue))
            self._registry.adopt(catalogue)
            self._catalogue = catalogue
        self._changed(self._catalogue)
        self.problems = (*problems, *broken.values())

    def _entry(self, text: str) -> Entry:
        if len(text) > _TEXT_MAX:
            raise RejectedError(f"longer than {_TEXT_MAX} characters", field="text")
        entry = read_entry(text, "entry.yaml")
        if entry.inside and entry.inside not in self._shipped:
            raise RejectedError(f"inside names no entry that comes with Muniment: {entry.inside!r}", field="entry.yaml")
        return beside(self._shipped, entry)[entry.name]

    def _narrowing(self, entry: Entry) -> Narrowing:
        """Of few records a short mapping: the whole one of the entry for unknown JSON takes seconds to plan."""
        if entry.like:
            return Narrowing(entry, self._narrowing(self._shipped[entry.like]))
        if entry is not self._shipped.get(entry.name):
            return Narrowing(entry)
        if entry.name not in self._narrow:
            self._narrow[entry.name] = Narrowing(entry)
        return self._narrow[entry.name]

    def _mapped(self, entry: Entry, records: list[bytes], received_at: Sequence[str] = ()) -> list[dict[str, Any]]:
        node = self._engine.nodes[0]
        try:
            with node.reader() as client:
                mapping = self._narrowing(entry).mapping(pa.array(records, pa.binary()))
                if received_at:
                    return map_records(entry, records, client, received_at=received_at, mapping=mapping)
                return map_records(entry, records, client, mapping=mapping)
        except ClickHouseError as error:
            raise RejectedError(f"it does not run on these records: {str(error)[:400]}", field=entry.file) from error


def _group(kind: Kind) -> Group:
    first = kind.first
    return Group(
        first.id, first.source, first.format, first.reason, " ".join(sorted(kind.keys)), first.program, kind.system, kind.count,
        max(shape.newest_index for shape in kind.shapes), max(shape.newest_time for shape in kind.shapes),
    )  # fmt: skip


def _write(path: Path, data: bytes) -> None:
    """Whole and durable, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{hashlib.sha256(data).hexdigest()[:8]}")
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        new.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StorageError(f"cannot keep the entry: {error}", path=str(path)) from error
