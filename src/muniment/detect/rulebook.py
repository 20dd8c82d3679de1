"""Which rules there are and which of them run: folders that are looked at again and again, and what people decided.

A folder is read whole when any of its files has changed; a file that cannot be read or run is refused with its reason and
never stops the others, nor the rules that ran before. Switching a rule off and hiding some of its matches (an exception)
are decisions of a person, with a reason; they stand in the database and, as records, in the ledger.
"""

from __future__ import annotations

import stat
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from muniment.detect.correlation import Correlation
from muniment.detect.mistakes import document_of, fix_of
from muniment.detect.names import named
from muniment.detect.rule import Exemption, Loaded, Refused, Rule, RuleSet
from muniment.detect.rule_files import load_rule_files, path_text
from muniment.detect.tally import Tally
from muniment.errors import RejectedError
from muniment.search.persons import ERASED, Person
from muniment.search.query.ast import And, Everything, Node, Or
from muniment.search.query.parse import parse_query

__all__ = ["PACK", "RuleBook", "Switch"]

PACK: Final = Path(__file__).parent / "pack"
"""The rules that come with Muniment."""

_Stamps = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each file."""
_RETIRED: Final = {"deprecated", "unsupported"}
_METADATA = sa.MetaData()
_SWITCHES = sa.Table(
    "rule_switches",
    _METADATA,
    sa.Column("rule", sa.String(200), primary_key=True),
    sa.Column("is_on", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_EXEMPTIONS = sa.Table(
    "rule_exceptions",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("rule", sa.String(200), nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("hidden", sa.BigInteger, nullable=False),
)
_HOLDERS = sa.Table(
    "rule_holders",
    _METADATA,
    sa.Column("claim", sa.String(400), primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
)
"""Which file has a rule's id or name: a newcomer with the same does not take its place."""
_STATE = sa.Table(
    "detection_state",
    _METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Switch:
    """A rule was switched on or off, by whom, when (ns) and why."""

    rule: str
    is_on: bool
    reason: str
    by: str
    at: int


class RuleBook:
    """The rules of one Muniment. Thread-safe; `current` is a snapshot."""

    def __init__(self, folders: Sequence[Path], database: sa.Engine, now_ns: Callable[[], int]) -> None:
        self.folders = (PACK, *folders)
        self._names = _names(self.folders)
        self._database = database
        self._now_ns = now_ns
        self._lock = threading.RLock()
        self._seen: tuple[_Stamps, tuple[Refused, ...]] | None = None
        self._loaded = Loaded((), ())
        self._version = 0
        self.paused: dict[str, str] = {}
        self.tally = Tally(database)
        self._texts: dict[str, str] = {}
        _METADATA.create_all(database)
        self.current = RuleSet(0, (), (), (), (), ())
        self.look()

    # --- files ----------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Read the folders again if something in them has changed; whether it has."""
        files, problems = self._files()
        seen = (tuple((path_text(path), mtime, size) for path, mtime, size in files), tuple(problems))
        if seen == self._seen:
            return False
        paths = {self._name(path): path_text(path) for path, _, _ in files}
        there = set(paths.values())
        before = {claim: path for claim, path in self._holders().items() if path in there}
        names = {path: name for name, path in paths.items()}
        held = {claim: names[path] for claim, path in before.items()}
        found, texts = load_rule_files(((self._name(path), path) for path, _, _ in files), held)
        with self._lock:
            changed = _changed(self._seen[0] if self._seen else (), seen[0])
            self._texts = dict(texts)
            self._loaded = replace(found, refused=[*problems, *found.refused])
            there_are: list[Rule | Correlation] = [*found.rules, *found.correlations]
            for each in there_are:
                if paths[each.file] in changed:
                    self.paused.pop(each.key, None)
            self._hold(before, paths)
            self._renew()
            self._seen = seen
        return True

    def _holders(self) -> dict[str, str]:
        """By id or name the path of the file that has it."""
        with self._database.connect() as connection:
            return {row.claim: row.path for row in connection.execute(sa.select(_HOLDERS))}

    def _hold(self, before: Mapping[str, str], paths: Mapping[str, str]) -> None:
        """Remember whose each id and name is. What is refused now, in a file that is there, keeps what it had."""
        now = dict(before)
        broken = {paths.get(each.file, "") for each in self._loaded.refused}
        loaded: list[Rule | Correlation] = [*self._loaded.rules, *self._loaded.correlations]
        there: dict[str, set[str]] = defaultdict(set)
        for each in loaded:
            for claim in named(each).claims:
                there[claim].add(paths[each.file])
        for claim, file in self._loaded.placeholders.items():
            there[claim].add(paths[file])
        for claim, files in there.items():
            if now.get(claim) not in files:
                now[claim] = next(iter(files)) if len(files) == 1 else min(files, key=list(paths.values()).index)
        now = {claim: path for claim, path in now.items() if path in there.get(claim, ()) or path in broken}
        known = self._holders()
        if now == known:
            return
        with self._database.begin() as connection:
            gone = [claim for claim, path in known.items() if now.get(claim) != path]
            new = [{"claim": claim, "path": path} for claim, path in now.items() if known.get(claim) != path]
            for claim in gone:
                connection.execute(sa.delete(_HOLDERS).where(_HOLDERS.c.claim == claim))
            if new:
                connection.execute(sa.insert(_HOLDERS), new)

    def _files(self) -> tuple[list[tuple[Path, int, int]], list[Refused]]:
        files: list[tuple[Path, int, int]] = []
        problems: list[Refused] = []
        for folder in self.folders:
            if not folder.is_dir():
                problems.append(_unread(str(folder), "there is no such folder of rules"))
                continue
            for path in sorted(folder.rglob("*.y*ml")):
                inside = path.relative_to(folder).parts
                if path.name.endswith(".events.yml") or any(part.startswith(".") for part in inside):
                    continue
                try:
                    state = path.stat()
                except OSError:
                    if path.is_symlink():  # to nowhere, or to itself: reading says so
                        files.append((path, 0, 0))
                    continue  # gone while we looked
                if stat.S_ISREG(state.st_mode):
                    files.append((path, state.st_mtime_ns, state.st_size))
                elif not stat.S_ISDIR(state.st_mode):  # who opens a pipe waits for its writer
                    problems.append(_unread(self._name(path), "cannot read it: it is no regular file"))
        return files, problems

    def _name(self, path: Path) -> str:
        for folder in self.folders:
            if path.is_relative_to(folder):
                return f"{self._names[folder]}/{path_text(path.relative_to(folder))}"
        return path_text(path)

    # --- decisions ------------------------------------------------------------------------------------------------

    def switches(self) -> dict[str, Switch]:
        """The newest decision about each rule that has one."""
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_SWITCHES)).mappings().all()
        return {row["rule"]: Switch(**row) for row in rows}

    def switch(self, rule: str, is_on: bool, reason: str, by: str) -> None:
        """Run a rule, or do not. Raises RejectedError: no such rule, or no reason."""
        self.get(rule)
        if not reason.strip():
            raise RejectedError("say why: the next reader will ask", field="reason")
        values = {"is_on": is_on, "reason": reason.strip(), "by": by, "at": self._now_ns()}
        with self._lock, self._database.begin() as connection:
            changed = connection.execute(sa.update(_SWITCHES).where(_SWITCHES.c.rule == rule).values(**values))
            if not changed.rowcount:
                connection.execute(sa.insert(_SWITCHES).values(rule=rule, **values))
        with self._lock:
            self.paused.pop(rule, None)
            self._renew()

    def pause(self, rule: str, why: str) -> None:
        """Do not run a rule until its file changes or somebody switches it on."""
        with self._lock:
            self.paused[rule] = why
            self._renew()

    def exemptions(self) -> list[Exemption]:
        """All, expired ones too."""
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_EXEMPTIONS).order_by(_EXEMPTIONS.c.number)).mappings().all()
        return [Exemption(**row) for row in rows]

    def exempt(self, rule: str, query: str, reason: str, owner: str, expires_at: int) -> Exemption:
        """From now on these events of a rule make no alert. Raises RejectedError."""
        if rule:
            self.get(rule)
        if not query.strip():
            raise RejectedError("an exception needs a query: without one it would hide everything", field="query")
        parsed = parse_query(query, self._now_ns())
        if misspelt := next((each for each in parsed.warnings if "did you mean" in each), ""):
            raise RejectedError(misspelt, field="query")  # it would hide nothing, and nobody would notice
        if _is_everything(parsed.node):
            raise RejectedError("it would hide everything: name what is to be overlooked", field="query")
        if not reason.strip():
            raise RejectedError("say why: the next reader will ask", field="reason")
        if expires_at <= self._now_ns():
            raise RejectedError("must be in the future: every exception ends", field="expires_at")
        values = {
            "rule": rule, "query": query, "reason": reason.strip(), "owner": owner, "created_at": self._now_ns(),
            "expires_at": expires_at, "hidden": 0,
        }  # fmt: skip
        with self._lock, self._database.begin() as connection:
            key = connection.execute(sa.insert(_EXEMPTIONS).values(**values)).inserted_primary_key
        assert key is not None
        with self._lock:
            self._renew()
        return next(each for each in self.exemptions() if each.number == key[0])

    def end_exemption(self, number: int) -> Exemption:
        """An exception ends now; it stays in the list. Raises RejectedError with status 404 when there is none that goes on."""
        now = self._now_ns()
        found = next((each for each in self.exemptions() if each.number == number and each.expires_at > now), None)
        if found is None:
            raise RejectedError("there is no such exception that goes on", field="number", status=404)
        with self._lock, self._database.begin() as connection:
            ended = sa.update(_EXEMPTIONS).where(_EXEMPTIONS.c.number == number)
            connection.execute(ended.values(expires_at=now))
        with self._lock:
            self._renew()
        return found

    def forget_person(self, person: Person) -> int:
        """Exceptions about a person end and lose their query; reasons lose the name. How many changed."""
        n = 0
        for each in self.exemptions():
            values: dict[str, object] = {"reason": person.out_of(each.reason)}
            if person.out_of(each.query) != each.query:
                values |= {"query": ERASED, "expires_at": min(each.expires_at, self._now_ns())}
            elif values["reason"] == each.reason:
                continue
            with self._lock, self._database.begin() as connection:
                connection.execute(sa.update(_EXEMPTIONS).where(_EXEMPTIONS.c.number == each.number).values(**values))
            n += 1
        for rule, switch in self.switches().items():
            reason = person.out_of(switch.reason)
            if reason != switch.reason:
                with self._lock, self._database.begin() as connection:
                    connection.execute(sa.update(_SWITCHES).where(_SWITCHES.c.rule == rule).values(reason=reason))
                n += 1
        with self._lock:
            self._renew()
        return n

    def count_hidden(self, counts: dict[int, int]) -> None:
        """Exceptions hid so many events more."""
        with self._lock, self._database.begin() as connection:
            for number, n in counts.items():
                this = _EXEMPTIONS.c.number == number
                connection.execute(sa.update(_EXEMPTIONS).where(this).values(hidden=_EXEMPTIONS.c.hidden + n))

    # --- how far --------------------------------------------------------------------------------------------------

    def position(self) -> int | None:
        """Every index below it has been evaluated; None before the first time."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(_STATE.c.position).where(_STATE.c.name == "detector")).first()
        return int(row[0]) if row else None

    def set_position(self, position: int) -> None:
        """Everything below `position` is evaluated and what was found is in the ledger."""
        with self._lock, self._database.begin() as connection:
            this = _STATE.c.name == "detector"
            if not connection.execute(sa.update(_STATE).where(this).values(position=position)).rowcount:
                connection.execute(sa.insert(_STATE).values(name="detector", position=position))

    # --- rules ----------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Rule | Correlation:
        """A rule by its key. RejectedError with status 404 when there is none."""
        return self.current.get(key)

    def text(self, rule: Rule | Correlation) -> tuple[str, int]:
        """A rule as its file has it, and the line it begins at."""
        with self._lock:
            text = self._texts.get(rule.file, "")
        return document_of(text, {"id": rule.id, "name": rule.name, "title": rule.title})

    def is_on(self, rule: Rule | Correlation, switches: dict[str, Switch]) -> bool:
        """Does it run?"""
        if rule.key in self.paused:
            return False
        if rule.key in switches:
            return switches[rule.key].is_on
        return rule.status not in _RETIRED

    def off_parts(self, rule: Rule | Correlation, switches: dict[str, Switch]) -> tuple[list[str], bool]:
        """Titles of what a rule is about that does not run, and whether the rule can find nothing without it."""
        if not isinstance(rule, Correlation):
            return [], False
        parts = [self.get(key) for key in rule.rules]
        off = [part.title for part in parts if not self.is_on(part, switches) or self.off_parts(part, switches)[1]]
        needs_all = rule.kind in {"temporal", "temporal_ordered"} and rule.presence is None
        return off, bool(off) and (needs_all or len(off) == len(parts))

    def _renew(self) -> None:
        switches = self.switches()
        loaded = self._loaded
        correlations = [each for each in loaded.correlations if self.is_on(each, switches)]
        needed = {name for each in correlations for name in each.rules}
        rules = [
            rule for rule in loaded.rules if (self.is_on(rule, switches) and (not rule.is_silent or rule.key in needed))
        ]
        now = self._now_ns()
        exemptions = [each for each in self.exemptions() if each.expires_at > now]
        self._version += 1
        self.current = RuleSet(
            self._version, rules, correlations, (*loaded.rules, *loaded.correlations), loaded.refused, exemptions
        )


def _changed(before: _Stamps, now: _Stamps) -> set[str]:
    """Paths of files that are new or others than before."""
    return {path for path, *_ in set(now) - set(before)}


def _unread(name: str, reason: str) -> Refused:
    return Refused(name, "", reason, fix=fix_of("", "", reason, ()))


def _is_everything(node: Node) -> bool:
    match node:
        case And(parts):
            return all(map(_is_everything, parts))
        case Or(parts):
            return any(map(_is_everything, parts))
    return isinstance(node, Everything)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """What files of each folder are called by: its last name, or all of it where two have the same."""
    last = Counter("muniment" if folder == PACK else folder.name for folder in folders)
    return {
        folder: "muniment" if folder == PACK else folder.name if last[folder.name] == 1 else str(folder)
        for folder in folders
    }
