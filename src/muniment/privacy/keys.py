"""One key a person: made when first seen, wrapped at rest, destroyed on erasure.

A subject key K (256 random bits) is stored wrapped (AES key wrap, RFC 3394) under a key of its row, which HMAC-SHA256
derives from the tenant key (a file of mode 0600 made at the first start) and the rest of the row: a row that was changed
anywhere opens no more. The table finds a person by HMAC-SHA256 over the normalised identifier, so it holds no names;
e-mail addresses mean the same person in every source, any other identifier only within its source.

Durable: `subjects()` returns after the new keys are committed (WAL, synchronous=FULL, one connection, one lock).
Erasing overwrites the row (secure_delete), rewrites the file (VACUUM) and empties the WAL, so the wrapped key is in no
file of ours afterwards. Stops at: copies others hold, such as a backup of the table and the tenant key together.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from muniment.errors import ConfigError, StorageError
from muniment.limits import SUBJECT_KEYS_CACHED_MAX
from muniment.privacy.plan import normalise

__all__ = ["KeyStore", "SubjectKey", "scope_of"]

_TABLE = """
CREATE TABLE IF NOT EXISTS subject_key (
    lookup BLOB PRIMARY KEY, subject BLOB NOT NULL UNIQUE, scope TEXT NOT NULL, wrapped BLOB NOT NULL
) WITHOUT ROWID;
"""
_KEY_BYTES = 32
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """A person's random public id, and the key under which everything about them is sealed."""

    subject: bytes
    key: bytes


def scope_of(identifier: str, source: str) -> str:
    """Where an identifier means one person: everywhere for an e-mail address, else within its source."""
    return "" if "@" in identifier else source


class KeyStore:
    """The key table of one ledger. Thread-safe."""

    def __init__(self, connection: sqlite3.Connection, tenant_key: bytes, path: Path) -> None:
        self._connection = connection
        self._wrapping = hmac.digest(tenant_key, b"muniment/wrap/v1", "sha256")
        self._index = hmac.digest(tenant_key, b"muniment/subject-index/v1", "sha256")
        self.id_key = hmac.digest(tenant_key, b"muniment/event-id-key/v1", "sha256")
        self.generation = 0  # one more after each erasure: whoever keeps keys elsewhere must forget them
        self._path = path
        self._lock = threading.RLock()
        self._by_name: OrderedDict[tuple[str, str], SubjectKey] = OrderedDict()
        self._by_subject: OrderedDict[bytes, bytes] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> KeyStore:
        """Open or make `subjects.db` and `tenant.key` in `folder`.

        Raises:
            ConfigError: the key file is readable by others or not 32 bytes; or one of the two is missing.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        table, key_file, begun = folder / "subjects.db", folder / "tenant.key", folder / "tenant.key.new"
        if not key_file.exists() and table.exists() and not begun.exists():
            raise ConfigError(
                "the tenant key is missing; without it the subject keys cannot be read, restore it",
                setting=str(key_file),
            )
        if key_file.exists() and not table.exists():
            raise ConfigError(
                "the key table is missing; without it nothing that was sealed can be read, restore it from its own "
                f"backup. (If nothing was ever sealed: remove {key_file.name}.)",
                setting=str(table),
            )
        is_first = not key_file.exists()
        if is_first:  # the key gets its name last, so that a first start that is cut off can begin again
            _make_key(begun)
        tenant_key = _tenant_key(begun if is_first else key_file)
        try:
            connection = sqlite3.connect(table, isolation_level=None, check_same_thread=False)
            os.chmod(table, 0o600)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
                "temp_store=MEMORY",
                "mmap_size=0",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if (
                not is_first
                and not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'subject_key'").fetchone()
            ):
                raise StorageError("the key table is empty; restore it from its own backup", path=str(table))
            connection.executescript(_TABLE)
            if is_first:
                begun.rename(key_file)
                _fsync(folder)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot open the key table: {error}", path=str(table)) from error
        return cls(connection, tenant_key, table)

    def close(self) -> None:
        """Close the table. Keys in memory are forgotten."""
        with self._lock:
            self._by_name.clear()
            self._by_subject.clear()
            self._connection.close()

    def subjects(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], SubjectKey]:
        """The key of every (source, identifier), new ones made and durable before this returns."""
        with self._lock:
            found: dict[tuple[str, str], SubjectKey] = {}
            missing: dict[bytes, list[tuple[str, str]]] = {}
            for name in names:
                if name in found:
                    continue
                known = self._by_name.get(name)
                if known is not None:
                    found[name] = known
                else:
                    missing.setdefault(self._lookup(*name), []).append(name)
            if missing:
                self._load(missing, found)
            return found

    def key_of(self, subject: bytes) -> bytes | None:
        """The key behind a subject id, or None: erased, or not ours."""
        with self._lock:
            key = self._by_subject.get(subject)
            if key is None:
                row = self._one("SELECT lookup, subject, scope, wrapped FROM subject_key WHERE subject = ?", subject)
                if row is None:
                    return None
                key = self._unwrap(*row)
                _remember(self._by_subject, subject, key)
            return key

    def find(self, identifier: str, source: str | None = None) -> list[bytes]:
        """The subject ids of a person: in one source, or in all that have met the identifier."""
        with self._lock:
            return [subject for subject, _ in self._rows(identifier, source)]

    def erase(self, identifier: str, source: str | None = None) -> list[bytes]:
        """Destroy a person's keys; their subject ids, empty when nobody is known by that name. Cannot be undone."""
        with self._lock:
            rows = self._rows(identifier, source)
            if not rows:
                return []
            gone = {subject for subject, _ in rows}
            self.generation += 1
            try:
                self._connection.executemany(
                    "DELETE FROM subject_key WHERE lookup = ?", [(lookup,) for _, lookup in rows]
                )
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"cannot erase a subject key: {error}", path=str(self._path)) from error
            finally:
                # Also when the clean-up failed: the row is gone, so memory must not keep the key alive.
                for name in [name for name, key in self._by_name.items() if key.subject in gone]:
                    del self._by_name[name]
                for subject in gone:
                    self._by_subject.pop(subject, None)
                self.generation += 1  # also what was asked for while the row was going
            return sorted(gone)

    def _rows(self, identifier: str, source: str | None) -> list[tuple[bytes, bytes]]:
        if source is not None or scope_of(identifier, "x") == "":
            scopes = [scope_of(identifier, source or "")]
        else:
            scopes = [row[0] for row in self._connection.execute("SELECT DISTINCT scope FROM subject_key")]
        lookups = [self._lookup(scope, identifier) for scope in scopes]
        rows = []
        for lookup in lookups:
            row = self._connection.execute("SELECT subject FROM subject_key WHERE lookup = ?", (lookup,)).fetchone()
            if row is not None:
                rows.append((row[0], lookup))
        return rows

    def _load(self, missing: dict[bytes, list[tuple[str, str]]], found: dict[tuple[str, str], SubjectKey]) -> None:
        new: list[tuple[bytes, bytes, str, bytes]] = []
        made: dict[bytes, SubjectKey] = {}
        for lookup, names in missing.items():
            row = self._one("SELECT lookup, subject, scope, wrapped FROM subject_key WHERE lookup = ?", lookup)
            if row is not None:
                made[lookup] = SubjectKey(row[1], self._unwrap(*row))
                continue
            made[lookup] = SubjectKey(secrets.token_bytes(16), secrets.token_bytes(_KEY_BYTES))
            subject, scope = made[lookup].subject, scope_of(names[0][1], names[0][0])
            wrapped = aes_key_wrap(self._row_key(lookup, subject, scope), made[lookup].key)
            new.append((lookup, subject, scope, wrapped))
        if new:
            self._insert(new)
        for lookup, names in missing.items():
            _remember(self._by_subject, made[lookup].subject, made[lookup].key)
            for name in names:
                _remember(self._by_name, name, made[lookup])
                found[name] = made[lookup]

    def _insert(self, rows: list[tuple[bytes, bytes, str, bytes]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO subject_key VALUES (?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StorageError(f"cannot store subject keys: {error}", path=str(self._path)) from error

    def _lookup(self, source: str, identifier: str) -> bytes:
        text = f"{scope_of(identifier, source)}\n{normalise(identifier)}"
        return hmac.digest(self._index, text.encode("utf-8", "surrogatepass"), "sha256")

    def _row_key(self, lookup: bytes, subject: bytes, scope: str) -> bytes:
        row = len(lookup).to_bytes(2, "big") + lookup + len(subject).to_bytes(2, "big") + subject + scope.encode()
        return hmac.digest(self._wrapping, row, "sha256")

    def _unwrap(self, lookup: bytes, subject: bytes, scope: str, wrapped: bytes) -> bytes:
        try:
            return aes_key_unwrap(self._row_key(lookup, subject, scope), wrapped)
        except (InvalidUnwrap, TypeError, AttributeError, ValueError) as error:  # a damaged row may be of any type
            raise StorageError(
                "a subject key does not open under the tenant key: its row in the key table, or the tenant key, was "
                "changed; restore both from their own backup",
                path=str(self._path),
            ) from error

    def _one(self, statement: str, value: bytes) -> tuple[bytes, bytes, str, bytes] | None:
        try:
            row: tuple[bytes, bytes, str, bytes] | None = self._connection.execute(statement, (value,)).fetchone()
        except sqlite3.Error as error:
            raise StorageError(f"cannot read the key table: {error}", path=str(self._path)) from error
        return row

    def check(self) -> int:
        """Look at every row; how many there are. Several seconds for a million persons.

        Raises:
            StorageError: the table is damaged, or a row of it was changed.
        """
        with closing(sqlite3.connect(f"file:{quote(str(self._path.absolute()))}?mode=ro", uri=True)) as reader:
            try:
                (found,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
                if found != "ok":
                    raise StorageError(f"the key table is damaged: {found}; restore it", path=str(self._path))
                n = 0
                for row in reader.execute("SELECT lookup, subject, scope, wrapped FROM subject_key"):
                    self._unwrap(*row)
                    n += 1
                return n
            except sqlite3.Error as error:
                raise StorageError(f"the key table is damaged: {error}; restore it", path=str(self._path)) from error


def _remember(cache: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    cache[key] = value
    if len(cache) > SUBJECT_KEYS_CACHED_MAX:
        cache.popitem(last=False)


def _make_key(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        _fsync(path.parent)
    except OSError as error:
        raise StorageError(f"cannot make the tenant key: {error}", path=str(path)) from error


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tenant_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError("others may read the tenant key; set its mode to 0600", setting=str(path))
        key = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read the tenant key: {error}", path=str(path)) from error
    if len(key) != _KEY_BYTES:
        raise ConfigError(f"expected a key of {_KEY_BYTES} bytes, got {len(key)}", setting=str(path))
    return key
