"""The catalogue of known systems: one YAML file each, read and checked here. See docs in `catalogue/README.md`.

A file says what the system is, how its events are recognised, timed and mapped to typed columns (the language is in
`values`), which of its fields are personal, and holds real samples with the columns they must give. Everything is
checked at loading; a mistake is named file:line:column. Compiling to SQL is the compiler's, running the samples the tests'.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import msgspec

from muniment.errors import RejectedError
from muniment.kept import kept
from muniment.patterns import compiled_pattern
from muniment.privacy.plan import SealPlan
from muniment.sources import located, nesting
from muniment.sources.columns import COLUMNS, DERIVED
from muniment.sources.located import LocatedDict, LocatedList, as_plain, of_plain, read_yaml
from muniment.sources.paths import Segment, parse_name
from muniment.sources.people import captured_people
from muniment.sources.rules import Case, Rules, over
from muniment.sources.shared import filled
from muniment.sources.together import EARLIER, Together
from muniment.sources.values import (
    Capture,
    Condition,
    Const,
    Path,
    Ref,
    Value,
    check_pattern,
    parse_condition,
    parse_value,
    spread,
    walk,
)

__all__ = ["AUTO", "FOLDER", "OWN", "Catalogue", "Entry", "Sample", "beside", "load", "load_over", "read_entry"]

AUTO = "auto"
"""The format of a source whose events are recognised one by one."""
OWN = "muniment"
"""The format of our own, which is nobody's envelope."""
FOLDER = FilePath(__file__).parent / "catalogue"
_SHARED = "_shared.yaml"
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_REQUIRED = ("name", "title", "vendor", "docs", "owner", "rhythm_s", "time", "samples")
_OPTIONAL = (
    "product",
    "like",
    "time_form",
    "unwrap",
    "inside",
    "alone",
    "rank",
    "recognise",
    "personal",
    "secrets",
    "sigma",
    "together",
    "let",
    "fields",
    "cases",
    "notes",
)
_PERSONAL_KEYS = {"path", "text", "pattern", "subject", "kind", "spelling"}
_SIGMA_KEYS = {"product", "category", "service", "acts", "fields", "prefixes", "keyvalue"}
_ACT_KEYS = {"action", "holds", "category"}
_TOGETHER_KEYS = {"marks", "text", "of", "event", "kept", "named"}
_SAMPLE_KEYS = {"name", "origin", "licence", "received_at", "earlier", "record", "expect"}
_RANK = 50
_OWN_RANK = 440
"""Behind all shipped entries that know a product by name, and before those that read what any program may write."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A real event and what it must become; `earlier` came before it from the same sender."""

    name: str
    origin: str
    licence: str
    received_at: str
    record: bytes
    expect: Mapping[str, str | int]
    line: int
    earlier: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One known system. `inside` names the entry whose records it is found in (openssh inside syslog).

    `alone` is how it is recognised outside those (a database's JSON log, beside its lines in syslog). `people` are rows
    like those of `personal`, of what the mapping itself reads people by. `like` names the shipped entry that reads what this
    one does not say: `mapping` and `people` have both (see `rules.over`), `personal` only what is its own, as it is sealed as by content. `is_own`: it comes from
    an operator.
    """

    name: str
    title: str
    vendor: str
    product: str
    docs: str
    owner: str
    rhythm_s: int
    inside: str
    rank: int
    recognise: Condition | None
    alone: Condition | None
    personal: tuple[dict[str, str], ...]
    secrets: tuple[str, ...]
    mapping: Rules
    samples: tuple[Sample, ...]
    file: str
    notes: str = ""
    sigma: Mapping[str, Any] = field(default_factory=dict)
    together: Together | None = None
    people: tuple[dict[str, str], ...] = ()
    like: str = ""
    is_own: bool = False

    @property
    def place(self) -> tuple[int, int, str]:
        """What it stands by among all: `rank`, and of operators' entries none before the products that are known by name."""
        return max(self.rank, _OWN_RANK) if self.is_own else self.rank, self.rank, self.name


class Catalogue(Mapping[str, Entry]):
    """All entries by name, the most particular first (by `Entry.place`)."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(sorted(entries.items(), key=lambda item: item[1].place))
        for entry in self._entries.values():
            if entry.inside and entry.inside not in self._entries:
                raise RejectedError(f"inside names no entry: {entry.inside!r}", field=entry.file)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load(*folders: FilePath) -> Catalogue:
    """The shipped catalogue, with the files of `folders` over it (a same name replaces)."""
    entries = _shipped()
    for folder in folders:
        entries |= _read_files({path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))})
    return Catalogue(entries)


def _shipped() -> dict[str, Entry]:
    """The entries of `FOLDER`; their YAML is read once for each change of it or of what reads it."""
    texts = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.yaml"))}
    readers = [FilePath(located.__file__), FilePath(nesting.__file__)]
    made_from = [*(path.read_bytes() for path in readers), *(name.encode() for name in texts), *texts.values()]

    def make() -> bytes:
        return msgspec.json.encode({file: as_plain(read_yaml(text.decode(), file)) for file, text in texts.items()})

    raw = {
        file: of_plain(plain)
        for file, plain in msgspec.json.decode(kept(__file__, "catalogue", made_from, make)).items()
    }
    fragments = raw.pop(_SHARED)
    read = (_Reader(file).entry(filled(each, file, fragments)) for file, each in raw.items())
    return {entry.name: entry for entry in read}


def _read_files(texts: Mapping[str, bytes]) -> dict[str, Entry]:
    read = (read_entry(text.decode(), file) for file, text in texts.items() if file != _SHARED)
    return {entry.name: entry for entry in read}


def load_over(shipped: Catalogue, folder: FilePath) -> tuple[Catalogue, tuple[str, ...]]:
    """`shipped` with an operator's own entries over it, and what is wrong with those that were left out, file, line and column."""
    entries, problems = dict(shipped), []
    for path in sorted(folder.glob("*.yaml")):
        if path.exists() and not path.is_file():  # a folder; who opens a pipe waits for its writer
            problems.append(f"{path.name}: no regular file")
            continue
        try:
            entry = read_entry(path.read_text("utf-8"), path.name)
            if entry.inside and entry.inside not in entries:
                raise RejectedError(f"there is no entry {entry.inside!r} to be inside of", field=path.name)
        except RejectedError as error:
            problems.append(str(error))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path.name}: {error}")
        else:
            entries[entry.name] = replace(entry, is_own=entry.name not in shipped)
    return Catalogue(entries), tuple(problems)


def beside(shipped: Catalogue, entry: Entry) -> Catalogue:
    """`shipped` with an operator's entry, where it would stand among them."""
    return Catalogue({**shipped, entry.name: replace(entry, is_own=entry.name not in shipped)})


def read_entry(text: str, file: str) -> Entry:
    """One file's entry. Raises RejectedError whose `field` is file:line:column."""
    return _Reader(file).entry(filled(read_yaml(text, file), file, _fragments()))


@functools.cache
def _shipped_one(name: str) -> Entry | None:
    """The shipped entry of that name, which is its file's."""
    path = FOLDER / f"{name}.yaml"
    return read_entry(path.read_text("utf-8"), path.name) if _NAME.fullmatch(name) and path.is_file() else None


@functools.cache
def _fragments() -> LocatedDict:
    """What entries have in common, by name."""
    return read_yaml((FOLDER / _SHARED).read_text("utf-8"), _SHARED)


class _Reader:
    """Reads one file; holds its name for the errors."""

    def __init__(self, file: str) -> None:
        self.file = file

    def error(self, reason: str, line: int) -> RejectedError:
        return RejectedError(reason, field=f"{self.file}:{line}")

    def entry(self, raw: LocatedDict) -> Entry:
        self._keys(raw, {*_REQUIRED, *_OPTIONAL}, "an entry")
        base = self._base(raw)
        for key in _REQUIRED:
            if key not in raw and not (key == "time" and base is not None):
                raise self.error(f"{key} is missing", raw.line)
        name = self._text(raw, "name")
        if not _NAME.fullmatch(name):
            raise self.error(f"name must match {_NAME.pattern}, got {name!r}", raw.lines["name"])
        rhythm, rank = raw["rhythm_s"], raw.get("rank", _RANK)
        if not isinstance(rhythm, int) or not isinstance(rank, int):
            raise self.error(
                "rhythm_s and rank are whole numbers", raw.lines["rhythm_s" if not isinstance(rhythm, int) else "rank"]
            )
        if rhythm < 0:
            raise self.error(f"rhythm_s is a number of seconds, got {rhythm}", raw.lines["rhythm_s"])
        recognise = self._condition(raw["recognise"], raw.lines["recognise"]) if "recognise" in raw else None
        alone = self._condition(raw["alone"], raw.lines["alone"]) if "alone" in raw else None
        if alone is not None and "inside" not in raw:
            raise self.error("alone is for an entry that is inside another one", raw.lines["alone"])
        mapping = self._mapping(raw, base)
        sigma, together = self._sigma(raw), self._together(raw, name)
        secrets = [*raw.get("secrets", ()), *(base.secrets if base is not None else ())]
        if base is not None:
            sigma = sigma or dict(base.sigma)
            together = together or (replace(base.together, entry=name) if base.together is not None else None)
        return Entry(
            name=name,
            title=self._text(raw, "title"),
            vendor=self._text(raw, "vendor"),
            product=self._text(raw, "product") if "product" in raw else self._text(raw, "title"),
            docs=self._text(raw, "docs"),
            owner=self._text(raw, "owner"),
            rhythm_s=rhythm,
            inside=self._text(raw, "inside") if "inside" in raw else "",
            rank=rank,
            recognise=recognise,
            alone=alone,
            personal=tuple(self._personal(raw)),
            secrets=tuple(dict.fromkeys(map(str, secrets))),
            mapping=mapping,
            samples=tuple(self._samples(raw)),
            file=self.file,
            notes=str(raw.get("notes", "")),
            sigma=sigma,
            together=together,
            people=captured_people(mapping),
            like=base.name if base is not None else "",
        )

    def _base(self, raw: LocatedDict) -> Entry | None:
        """The shipped entry that this one is like."""
        if "like" not in raw:
            return None
        found = _shipped_one(name) if isinstance(name := raw["like"], str) else None
        if found is None or found.like or found.name == raw.get("name"):
            raise self.error(f"like names no other entry that comes with Muniment: {name!r}", raw.lines["like"])
        return found

    def _sigma(self, raw: LocatedDict) -> dict[str, Any]:
        """Which of Sigma's log sources the events are, and where the fields of its taxonomy stand."""
        if "sigma" not in raw:
            return {}
        given, line = raw["sigma"], raw.lines["sigma"]
        if not isinstance(given, LocatedDict):
            raise self.error("sigma is a mapping", line)
        self._keys(given, _SIGMA_KEYS, "sigma")
        for act in given.get("acts", ()):
            if not isinstance(act, LocatedDict) or not {"action", "category"} <= act.keys():
                raise self.error("an act of sigma has an action and a category", given.lines["acts"])
            self._keys(act, _ACT_KEYS, "an act of sigma")
        fields = given.get("fields", LocatedDict())
        if not isinstance(fields, LocatedDict):
            raise self.error("sigma's fields are a mapping of name: path", given.lines["fields"])
        for name, paths in fields.items():
            for path in [paths] if isinstance(paths, str) else paths:
                if not isinstance(path, str) or (path.startswith("$") and path[1:] not in {*COLUMNS, *DERIVED}):
                    raise self.error(f"{name}: expected a path or a $column, got {path!r}", fields.lines[name])
        return dict(given)

    def _together(self, raw: LocatedDict, name: str) -> Together | None:
        """Which records are parts of one event."""
        if "together" not in raw:
            return None
        given, line = raw["together"], raw.lines["together"]
        if not isinstance(given, LocatedDict):
            raise self.error("together is a mapping", line)
        self._keys(given, _TOGETHER_KEYS, "together")
        for key in ("marks", "text", "event"):
            if key not in given:
                raise self.error(f"together needs {key}", line)
        return Together(
            name,
            self._marks(given),
            self._keys_to(given, "text"),
            self._keys_to(given, "of"),
            self._pattern(given["event"], given.lines["event"]),
            self._pattern(given["kept"], given.lines["kept"]) if "kept" in given else "",
            given.get("named") is True,
        )

    def _marks(self, given: LocatedDict) -> tuple[tuple[str, ...], ...]:
        """Texts that every such record has; a list among them: it has one of these."""
        marks = given["marks"] if isinstance(given["marks"], list) else [given["marks"]]
        each = [mark if isinstance(mark, list) else [mark] for mark in marks]
        if not each or not all(some and all(isinstance(mark, str) and mark for mark in some) for some in each):
            raise self.error(
                "marks are texts that every such record has, or lists of which it has one", given.lines["marks"]
            )
        return tuple(tuple(map(str, some)) for some in each)

    def _keys_to(self, given: LocatedDict, key: str) -> tuple[tuple[str, ...], ...]:
        """Paths of keys alone, in the order of `given[key]`."""
        found = []
        for item in [given.get(key, [])] if isinstance(given.get(key), str) else given.get(key, []):
            value = self._value(item, given.lines[key])
            if not isinstance(value, Path) or any(step.pick is not None or step.is_name for step in value.segments):
                raise self.error(
                    f"{key} are paths of plain keys without elements of arrays, got {item!r}", given.lines[key]
                )
            found.append(tuple(segment.key for segment in value.segments))
        return tuple(found)

    def _mapping(self, raw: LocatedDict, base: Entry | None) -> Rules:
        times = raw.get("time", [])
        time = tuple(self._value(item, raw.lines["time"]) for item in (times if isinstance(times, list) else [times]))
        let = self._values(raw.get("let"), raw)
        fields = self._values(raw.get("fields"), raw, allowed=COLUMNS)
        cases = raw["cases"] if "cases" in raw else LocatedList()
        if not isinstance(cases, LocatedList):
            raise self.error("cases is a list", raw.lines["cases"])
        unwrap = raw["unwrap"] if "unwrap" in raw else LocatedList()
        if not isinstance(unwrap, LocatedList) or not all(isinstance(key, str) for key in unwrap):
            raise self.error("unwrap is a list of keys", raw.lines["unwrap"])
        built = Rules(
            time=time,
            is_any_time=raw.get("time_form", "standard") == "any",
            let=let,
            fields=fields,
            cases=tuple(self._case(item, line) for item, line in zip(cases, cases.lines, strict=True)),
            unwrap=tuple(self._name(key, raw.lines["unwrap"]) for key in unwrap),
        )
        if base is not None:
            built = over(built, base.mapping)
        self._refs(
            built, is_together="together" in raw or (base is not None and base.together is not None), line=raw.line
        )
        return built

    def _case(self, raw: object, line: int) -> Case:
        if not isinstance(raw, LocatedDict):
            raise self.error("a case is a mapping with when or pattern, and set", line)
        self._keys(raw, {"when", "text", "pattern", "set"}, "a case")
        when = self._condition(raw["when"], raw.lines["when"]) if "when" in raw else None
        sets: dict[str, Value] = dict(self._values(raw.get("set"), raw, allowed=COLUMNS))
        text: Value | None = None
        pattern = ""
        if "pattern" in raw:
            line = raw.lines["pattern"]
            text = self._value(raw.get("text", "$text"), line)
            pattern = self._pattern(raw["pattern"], line)
            found = compiled_pattern(pattern)
            for column, group in found.groupindex.items():
                if column not in COLUMNS:
                    raise self.error(f"the pattern names no column: {column!r}", line)
                sets.setdefault(column, Capture(text, pattern, group, found.groups))
        if when is None and not pattern:
            raise self.error("a case needs when or pattern", raw.line)
        if not sets:
            raise self.error("a case must set something", raw.line)
        if ("class_uid" in sets) != ("activity_id" in sets):
            raise self.error("class_uid and activity_id are set together", raw.line)
        return Case(when, text, pattern, sets)

    def _values(self, raw: object, parent: LocatedDict, allowed: Mapping[str, str] | None = None) -> dict[str, Value]:
        if raw is None:
            return {}
        if not isinstance(raw, LocatedDict):
            raise self.error("expected a mapping of name: value", parent.line)
        values = {}
        for name, item in raw.items():
            line = raw.lines[name]
            if allowed is not None and name not in allowed:
                raise self.error(f"there is no column {name!r}", line)
            value = self._value(item, line)
            if allowed is not None and isinstance(value, Const):
                is_number = isinstance(value.value, int)
                if is_number is not (allowed[name] == "number"):
                    raise self.error(f"{name} is a {allowed[name]} column, got {value.value!r}", line)
            values[name] = value
        return values

    def _refs(self, mapping: Rules, *, is_together: bool, line: int) -> None:
        """Every $name must be a let name or a text column, and none may stand below itself."""
        below: dict[str, set[str]] = {name: _refs_of(value) for name, value in mapping.let.items()}
        if is_together:
            if EARLIER in below:
                raise self.error(f"{EARLIER} is what earlier records say; a let needs another name", line)
            below[EARLIER] = set()
        shared = set().union(*(_refs_of(case.when) | _refs_of(case.text) for case in mapping.cases))
        for column in COLUMNS:
            values = [mapping.fields.get(column), *(case.sets.get(column) for case in mapping.cases)]
            sets_any = any(column in case.sets for case in mapping.cases)
            below[column] = set().union(*map(_refs_of, values), shared if sets_any else set())
        for name, refs in below.items():
            for ref in refs:
                if ref not in below:
                    raise self.error(f"${ref} is neither a let name nor a column", line)
                if ref in COLUMNS and COLUMNS[ref] != "text":
                    raise self.error(f"${ref} is not a text column", line)
            if name in _closure(name, below):
                raise self.error(f"${name} depends on itself", line)

    def _plan(self, row: dict[str, str], line: int) -> None:
        try:
            SealPlan.compile([row])
        except RejectedError as error:
            raise self.error(error.reason, line) from None

    def _personal(self, raw: LocatedDict) -> Iterator[dict[str, str]]:
        for item in raw.get("personal", []):
            if not isinstance(item, LocatedDict):
                raise self.error("a personal field is a mapping", raw.lines["personal"])
            self._keys(item, _PERSONAL_KEYS, "a personal field")
            if ("path" in item) == ("pattern" in item) or ("text" in item) != ("pattern" in item):
                raise self.error("a personal field has a path, or a text and a pattern", item.line)
            if "pattern" in item:
                self._pattern(item["pattern"], item.lines["pattern"])
            row = {str(key): str(value) for key, value in item.items()}
            key = "path" if "path" in row else "text"
            for path in spread(row[key]):  # several that have the rest in common
                if not isinstance(self._value(path, item.lines[key]), Path):
                    raise self.error(f"{key} must be a path", item.lines[key])
                self._plan({**row, key: path}, item.line)
                yield {**row, key: path}

    def _samples(self, raw: LocatedDict) -> Iterator[Sample]:
        samples = raw["samples"]
        if not isinstance(samples, LocatedList) or not samples:
            raise self.error("an entry needs at least one sample", raw.lines["samples"])
        for number, item in enumerate(samples):
            if not isinstance(item, LocatedDict):
                raise self.error("a sample is a mapping", samples.lines[number])
            self._keys(item, _SAMPLE_KEYS, "a sample")
            for key in ("origin", "record", "expect"):
                if key not in item:
                    raise self.error(f"a sample needs {key}", item.line)
            expect = item["expect"]
            if not isinstance(expect, LocatedDict) or not expect:
                raise self.error("expect is a mapping of column: value", item.lines["expect"])
            yield Sample(
                name=str(item.get("name", f"{number + 1}")),
                origin=str(item["origin"]),
                licence=str(item.get("licence", "")),
                received_at=str(item.get("received_at", "2026-11-23T12:00:00Z")),
                record=self._record(item, "record"),
                expect=dict(expect),
                line=item.line,
                earlier=tuple(self._earlier(item)),
            )

    def _earlier(self, item: LocatedDict) -> Iterator[bytes]:
        given = item.get("earlier", LocatedList())
        if not isinstance(given, LocatedList):
            raise self.error("earlier is a list of records", item.lines["earlier"])
        for number in range(len(given)):
            yield self._read_record(given[number], given.lines[number])

    def _record(self, item: LocatedDict, key: str) -> bytes:
        return self._read_record(item[key], item.lines[key])

    def _read_record(self, raw: object, line: int) -> bytes:
        text = raw.text if isinstance(raw, LocatedDict) and raw.text else raw
        record = msgspec.json.encode(raw) if isinstance(text, LocatedDict) else str(text).strip().encode()
        try:
            decoded = msgspec.json.decode(record)
        except msgspec.DecodeError:
            # YAML's flow style reads more than JSON; then the values count, not the text.
            decoded = raw
            record = msgspec.json.encode(raw)
        if not isinstance(decoded, dict):
            raise self.error("a record is one JSON object", line)
        return record

    def _keys(self, raw: LocatedDict, allowed: set[str], what: str) -> None:
        for key in raw:
            if key not in allowed:
                raise self.error(f"{what} has no key {key!r}; it has {', '.join(sorted(allowed))}", raw.lines[key])

    def _text(self, raw: LocatedDict, key: str) -> str:
        if not isinstance(raw[key], str) or not raw[key]:
            raise self.error(f"{key} is a text", raw.lines[key])
        return str(raw[key])

    def _value(self, raw: object, line: int) -> Value:
        try:
            return parse_value(raw)
        except RejectedError as error:
            raise self.error(error.reason, line) from None

    def _name(self, raw: str, line: int) -> Segment:
        try:
            return parse_name(raw)
        except RejectedError as error:
            raise self.error(error.reason, line) from None

    def _condition(self, raw: object, line: int) -> Condition:
        try:
            return parse_condition(raw)
        except RejectedError as error:
            raise self.error(error.reason, line) from None

    def _pattern(self, raw: object, line: int) -> str:
        try:
            return check_pattern(raw)
        except RejectedError as error:
            raise self.error(error.reason, line) from None


def _refs_of(value: Value | Condition | None) -> set[str]:
    return {found.name for found in walk(value) if isinstance(found, Ref)} if value is not None else set()


def _closure(name: str, below: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(below[name])
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo.extend(below[one])
    return seen
