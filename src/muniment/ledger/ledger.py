"""The ledger: shards one after the other, one writer, receipts, idempotency by (source, id).

Outside, entries have one running index over all shards (`base` of the shard + index in its tree); leaves and proofs
use the index in the shard's tree. A new half-year begins a new shard with a new origin and key: the old one ends with
`shard.close`, which names the successor's key, the new one begins with `shard.open`, which holds the old one's final
checkpoint, so that whoever pinned the old key can follow.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from muniment.errors import AuditError, ConfigError, StorageError, VerificationError
from muniment.event.ids import uuid7
from muniment.ledger.dedup import Dedup, fingerprints, packed_prints
from muniment.ledger.folder import Folder
from muniment.ledger.head import FolderHeadStore, Head, HeadStore
from muniment.ledger.packs import pack_path, tighten_pack
from muniment.ledger.recovery import recover_shard
from muniment.ledger.segment import Frame
from muniment.ledger.shard import Shard
from muniment.ledger.storage import LocalFiles
from muniment.ledger.tree import Tails
from muniment.ledger.types import Appended, Entries, EntryBlock, InclusionProof, StoredEntry
from muniment.limits import HEARTBEAT_S, PACK_ENTRIES
from muniment.merkle.note import ED25519, Signer, VerifierKey, split_note
from muniment.merkle.proof_file import encode_proof
from muniment.merkle.tree import EMPTY_ROOT

__all__ = ["Ledger", "load_signer", "shard_name"]

_log = logging.getLogger("muniment.ledger")
OWN_SOURCE: Final = "muniment"
PUBLISH_EVERY_S: Final = 1.0


def shard_name(now_ns: int) -> str:
    """The half-year of a moment.

    >>> shard_name(1_795_500_000_000_000_000)
    '2026h2'
    """
    moment = datetime.fromtimestamp(now_ns // 10**9, UTC)
    return f"{moment.year}h{1 if moment.month <= 6 else 2}"


class Ledger:
    """Append, read, prove. `append` is called by one thread at a time; everything else from any thread."""

    def __init__(
        self,
        files: Folder,
        head_store: HeadStore,
        origin: str,
        *,
        static_bundles: bool = False,
        is_publishing: bool = True,
    ) -> None:
        self.files = files
        self._head_store = head_store
        self._base_origin = origin
        self._static_bundles = static_bundles
        self._writing = threading.RLock()
        self._dedup = Dedup()
        self._closed: list[tuple[int, Shard]] = []
        self._current: tuple[int, Shard] | None = None  # index of its first entry, and the shard that is written
        self._last_append_ns = files.now_ns()
        shard = self._open_shards()
        self._current = (sum(closed.size for _, closed in self._closed), shard)
        self._load_dedup()
        self._stopping = threading.Event()
        self._publisher = threading.Thread(target=self._publish_loop, name="ledger-publisher", daemon=True)
        self._publish_problem = ""
        self._tightened: dict[str, int] = {}
        if is_publishing:
            self._publisher.start()

    @classmethod
    def open(cls, folder: Path, *, origin: str, head: str, static_bundles: bool = False) -> Ledger:
        """Open or begin the ledger in `folder`, with its head in the folder `head`.

        Raises:
            VerificationError: what is on disk is not what was signed; nothing is changed, nothing is served.
            StorageError: another server has it open, or the disk refuses.
        """
        folder.mkdir(parents=True, exist_ok=True)
        head_folder = Path(head)
        head_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = FolderHeadStore(Folder(LocalFiles(), str(head_folder.absolute())), head_folder / "lock")
        try:
            return cls(Folder(LocalFiles(), str(folder.absolute())), store, origin, static_bundles=static_bundles)
        except BaseException:
            store.close()
            raise

    @property
    def _shard(self) -> Shard:
        return self._now()[1]

    def _now(self) -> tuple[int, Shard]:
        """(base, shard): read once where both are needed, they change together."""
        assert self._current is not None
        return self._current

    def _open_shards(self) -> Shard:
        head = self._head_store.load()
        names = sorted(name for name in self.files.list("") if self.files.exists(f"{name}/segments"))
        if head is None:
            if names and not (len(names) == 1 and _is_empty(self.files, names[0])):
                raise VerificationError(
                    f"there are shards ({', '.join(names)}) but no head: the head store was lost or is the wrong one",
                    expected="a head", computed=None,
                )  # fmt: skip
            return self._begin_shard(shard_name(self.files.now_ns()), None, None)
        base = 0
        for name in names:
            if name < head.shard:
                if _is_empty(self.files, name) and not self.files.exists(f"{name}/final.json"):
                    continue  # a first start that was cut off; below, a shard that was emptied is noticed
                closed = self._open_closed(name)
                self._closed.append((base, closed))
                base += closed.size
            elif name > head.shard and not _is_empty(self.files, name):  # an empty one is a roll-over that was cut off
                raise VerificationError(
                    f"shard {name} is newer than the head's {head.shard}: the head store is an old copy"
                )
        sub = _sub(self.files, head.shard)
        signer = load_signer(sub, f"{self._base_origin}/{head.shard}", is_new=False)
        shard = recover_shard(sub, self._head_store, head, signer, static_bundles=self._static_bundles)
        if shard.size == 0:
            self._append_shard_open(shard, self._closed[-1][1] if self._closed else None)
        previous = ""
        for each in [*(closed for _, closed in self._closed), shard]:
            named = predecessor_of(each.entry(0).record)
            if named != previous:
                raise VerificationError(
                    f"{each.name}: its first entry follows {named or 'nothing'}, the folder has {previous or 'nothing'} "
                    "before it; restore the missing shard from a mirror",
                    expected=named, computed=previous,
                )  # fmt: skip
            previous = each.signer.name
        return shard

    def _open_closed(self, name: str) -> Shard:
        sub = _sub(self.files, name)
        signer = load_signer(sub, f"{self._base_origin}/{name}", is_new=False)
        try:
            final = json.loads(sub.read("final.json"))
            head = Head(name, final["size"], bytes.fromhex(final["root"]), final["time_ns"])
        except (StorageError, ValueError, KeyError) as error:
            raise VerificationError(f"{name}/final.json: missing or damaged, restore it from a mirror") from error
        return recover_shard(sub, self._head_store, head, signer, is_closed=True)

    def _begin_shard(self, name: str, old_head: Head | None, previous: Shard | None) -> Shard:
        sub = _sub(self.files, name)
        for folder in ("segments", "packs", "tile"):
            sub.make_folder(folder)
        signer = load_signer(sub, f"{self._base_origin}/{name}", is_new=True)
        head = Head(name, 0, EMPTY_ROOT, self.files.now_ns())
        self._head_store.swap(old_head, head)
        shard = Shard(sub, self._head_store, head, signer, Tails(), [], 0, [], static_bundles=self._static_bundles)
        self._append_shard_open(shard, previous)
        return shard

    def _append_shard_open(self, shard: Shard, previous: Shard | None) -> None:
        metadata: dict[str, object] = {"origin": shard.signer.name, "vkey": shard.signer.vkey.text}
        if previous is not None:
            metadata |= {"predecessor": previous.signer.name, "predecessor_checkpoint": previous.checkpoint.decode()}
        self._append_own(shard, "shard.open", metadata)

    def _append_own(self, shard: Shard, action: str, metadata: dict[str, object]) -> None:
        """One record of the ledger itself, past dedup: its id is fresh."""
        now = max(self.files.now_ns(), shard.time_ns + 1)
        record = {
            "action": action, "actor": {"type": "system", "id": "muniment", "name": "Muniment"},
            "targets": [{"type": "ledger", "id": shard.signer.name}], "outcome": "success", "metadata": metadata,
        }  # fmt: skip
        event_id = uuid7(now, self.files.random(10))
        data = json.dumps(record, separators=(",", ":")).encode()
        shard.append(Entries([OWN_SOURCE], [event_id], [None], [now], [data], [()]), now)

    def _roll_shard(self, name: str) -> None:
        """`shard.close` in the old shard, a new key and shard, `shard.open` in it.

        It may fail anywhere: until the new shard is open the old one stays the current one, takes nothing more, and
        the next append goes on from where this one stopped.
        """
        base, old = self._now()
        successor = f"{self._base_origin}/{name}"
        sub = _sub(self.files, name)
        sub.make_folder("")
        signer = load_signer(sub, successor, is_new=True)
        metadata: dict[str, object] = {"successor": successor, "successor_vkey": signer.vkey.text}
        if not _is_closed(old, metadata):
            self._append_own(old, "shard.close", metadata)
        old.seal()
        head = self._head_store.load()
        assert head is not None
        final = {"size": head.size, "root": head.root.hex(), "time_ns": head.time_ns}
        old.files.write_atomic("final.json", json.dumps(final).encode(), is_durable=True)
        new = self._begin_shard(name, head, old)
        self._closed.append((base, old))
        self._current = (base + old.size, new)
        old.close()

    def _load_dedup(self) -> None:
        """Fingerprints of everything there, from the id and source columns of packs and from frames."""
        for base, shard in [*self._closed, self._now()]:
            found = list(packed_prints(shard.files))
            if found:
                prints = np.concatenate(found)
                self._dedup.add_run(prints, np.arange(base, base + len(prints), dtype=np.uint64))
            for frame in shard.frames(PACK_ENTRIES * len(found), shard.size):
                self._dedup.add(fingerprints(_id_bytes(frame.ids), frame.sources), base + frame.first)

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, entries: Entries) -> Appended:
        """Append a batch; what is in the ledger already by (source, id) is not appended again.

        On return every entry is durable, in the tree, and under the signed checkpoint that comes back.
        """
        with self._writing:
            now = self.files.now_ns()
            name = shard_name(now)
            if name > self._shard.name:
                self._roll_shard(name)
                now = self.files.now_ns()
            prints = fingerprints(_id_bytes(entries.ids), entries.sources)
            known = self._duplicates(entries, prints)
            base, shard = self._now()
            if not known:
                first, hashes = shard.append(entries, now)
                self._dedup.add(prints, base + first)
                indexes = list(range(base + first, base + first + len(hashes)))
                appended = Appended(indexes, [False] * len(hashes), hashes, self.size, shard.checkpoint)
            else:
                appended = self._append_new(entries, prints, known, now)
            shard.roll_segment()
            self._last_append_ns = now
            return appended

    def _append_new(
        self, entries: Entries, prints: np.ndarray[tuple[int], np.dtype[np.uint64]], known: dict[int, int], now: int
    ) -> Appended:
        kept = [k for k in range(len(entries)) if k not in known]
        base, shard = self._now()
        fresh: dict[int, tuple[int, bytes]] = {}
        if kept:
            part = Entries(*([column[k] for k in kept] for column in (
                entries.sources, entries.ids, entries.sqs, entries.received_at, entries.records, entries.parts,
            )))  # type: ignore[arg-type]  # fmt: skip
            first, hashes = shard.append(part, now)
            self._dedup.add(prints[kept], base + first)
            fresh = {k: (base + first + n, hashes[n]) for n, k in enumerate(kept)}
        indexes, hashes_all = [], []
        for k in range(len(entries)):
            twin = known.get(k)
            # A negative twin stands earlier in this very batch.
            index, leaf_hash = (
                fresh[k] if twin is None else fresh[-twin - 1] if twin < 0 else (twin, self.leaf_hash(twin))
            )
            indexes.append(index)
            hashes_all.append(leaf_hash)
        return Appended(indexes, [k in known for k in range(len(entries))], hashes_all, self.size, shard.checkpoint)

    def _duplicates(self, entries: Entries, prints: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> dict[int, int]:
        """Position -> index of the same event in the ledger, or -(position + 1) of it earlier in this batch."""
        found: dict[int, int] = {}
        for k, indexes in self._dedup.candidates(prints).items():
            for index in indexes:
                entry = self.entry(index)
                if entry.id == entries.ids[k] and entry.source == entries.sources[k]:
                    found[k] = index
        if len(np.unique(prints)) < len(prints):
            seen: dict[tuple[str, str], int] = {}
            for k, pair in enumerate(zip(entries.sources, entries.ids, strict=True)):
                first = seen.setdefault(pair, k)
                if first != k and k not in found:
                    found[k] = found.get(first, -first - 1)
        return found

    def heartbeat_due(self, now_ns: int) -> bool:
        """Has nothing been appended for so long that a heartbeat belongs into the ledger?"""
        return now_ns - self._last_append_ns >= HEARTBEAT_S * 10**9

    # --- publishing -------------------------------------------------------------------------------------------------

    def _publish_loop(self) -> None:
        while not self._stopping.is_set():
            shard = self._shard
            if shard.wait_for_work(0.5):
                try:
                    shard.publish()
                    self._publish_problem = ""
                except (AuditError, OSError) as error:
                    # All of it can be made again from what is durable; the writer notices when it falls far behind.
                    if self._publish_problem != str(error):
                        _log.error("publishing: %s", error)
                    self._publish_problem = str(error)
                self._stopping.wait(0.05 if shard.size - shard.published >= PACK_ENTRIES else PUBLISH_EVERY_S / 2)

    def publish(self) -> None:
        """Write tiles, packs and the checkpoint file now."""
        self._shard.publish()

    def wait_until_published(self, timeout_s: float = 5 * PUBLISH_EVERY_S) -> bool:
        """Wait until tiles and checkpoint file cover what is acknowledged now; False when they do not in time."""
        size, deadline = self.size, time.monotonic() + timeout_s
        while (current := self._now())[0] + current[1].published < size:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def tighten(self, seconds: float) -> int:
        """Write packs that were made in a hurry again, smaller, for about `seconds`; bytes saved. One caller at a time.

        Raises:
            VerificationError: a pack is damaged. It is left alone; the next call goes on behind it.
        """
        saved, deadline = 0, time.monotonic() + seconds
        for shard in [*(shard for _, shard in self._closed), self._shard]:
            while time.monotonic() < deadline:
                number = self._tightened.get(shard.name, 0)
                if not shard.files.exists(f"{pack_path(number)}.sha256"):
                    break
                self._tightened[shard.name] = number + 1
                saved += tighten_pack(shard.files, number)
        return saved

    def close(self) -> None:
        """Publish what is left; let go of files and of the head's lock."""
        self._stopping.set()
        if self._publisher.is_alive():
            self._publisher.join(30)
        try:
            self._shard.close()
        finally:
            self._head_store.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Entries in all shards."""
        base, shard = self._now()
        return base + shard.size

    @property
    def origin(self) -> str:
        """The origin line of the current shard."""
        return self._shard.signer.name

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint."""
        return self._shard.checkpoint

    @property
    def checkpoint_time(self) -> int:
        """When it was signed, UTC nanoseconds."""
        return self._shard.time_ns

    @property
    def vkeys(self) -> list[str]:
        """Public keys of all shards, newest first."""
        return [shard.signer.vkey.text for _, shard in [(0, self._shard), *reversed(self._closed)]]

    def _locate(self, index: int) -> tuple[Shard, int, int]:
        """(shard, index in its tree, base)."""
        base, shard = self._now()
        if index >= base:
            return shard, index - base, base
        base, shard = next((b, s) for b, s in reversed(self._closed) if b <= index)
        return shard, index - base, base

    def entry(self, index: int) -> StoredEntry:
        """One entry. IndexError beyond the end is our caller's mistake."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        shard, local, _ = self._locate(index)
        return replace(shard.entry(local), index=index)

    def leaf(self, index: int) -> bytes:
        """The leaf of one entry."""
        return self.entry(index).leaf

    def leaf_hash(self, index: int) -> bytes:
        """The leaf hash of one entry."""
        shard, local, _ = self._locate(index)
        return shard.leaf_hash(local)

    def find(self, source: str, event_id: str) -> int | None:
        """The index of an event by its source and id."""
        entries = Entries([source], [event_id], [None], [0], [b""], [()])
        with self._writing:
            return self._duplicates(entries, fingerprints(_id_bytes([event_id]), [source])).get(0)

    def blocks(self, start: int, end: int) -> Iterator[EntryBlock]:
        """Entries [start, end) in runs, for catching up and rebuilding."""
        at, end = start, min(end, self.size)
        while at < end:
            shard, local, base = self._locate(at)
            for frame in shard.frames(local, min(end - base, shard.size)):
                yield _block(frame, base)
                at = base + frame.end

    def proof(self, index: int) -> InclusionProof:
        """The inclusion proof of one entry against its shard's newest checkpoint."""
        shard, local, _ = self._locate(index)
        return shard.inclusion_proof(local)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The hashes alone; `size` is a size of the entry's shard, default the newest."""
        shard, local, _ = self._locate(index)
        return shard.inclusion_hashes(local, shard.size if size is None else size)

    def origin_of(self, index: int) -> str:
        """The log an entry is in: a shard's origin line."""
        return self._locate(index)[0].signer.name

    def consistency_proof(self, size1: int, size2: int) -> list[bytes]:
        """Between two sizes of the current shard."""
        return self._shard.consistency_hashes(size1, size2)

    def tlog_proof(self, index: int) -> bytes:
        """A C2SP tlog-proof v1 file."""
        proof = self.proof(index)
        return encode_proof(proof.index, proof.hashes, proof.checkpoint)

    def tile_file(self, path: str, shard: str = "") -> bytes | None:
        """A file of the C2SP layout of a shard (default: the current one)."""
        for _, each in [(0, self._shard), *self._closed]:
            if not shard or each.name == shard:
                return each.tile_file(path)
        return None

    def signatures(self, note: bytes) -> list[tuple[str, str, bool | None]]:
        """(name, algorithm, does it hold) of each signature line; None for keys that are not ours."""
        body, lines = split_note(note)
        keys = {(s.signer.name, s.signer.vkey.id): s.signer.vkey for _, s in [(0, self._shard), *self._closed]}
        found: list[tuple[str, str, bool | None]] = []
        for line in lines:
            key = keys.get((line.name, line.key_id))
            if key is None:
                found.append((line.name, "unknown", None))
                continue
            try:
                key.verify(body, line.signature)
                found.append((line.name, "Ed25519" if key.kind == ED25519 else "cosignature", True))
            except VerificationError:
                found.append((line.name, "Ed25519", False))
        return found

    @property
    def trouble(self) -> str:
        """Why nothing can be appended; empty when it can."""
        return self._shard.trouble

    @property
    def publish_problem(self) -> str:
        """What keeps tiles and packs from being written; empty when nothing does."""
        return self._publish_problem

    def shard_folders(self) -> Sequence[str]:
        """Names of the shards, oldest first."""
        return [shard.name for _, shard in self._closed] + [self._shard.name]


def _is_empty(files: Folder, name: str) -> bool:
    """Was the power cut while the shard was being made? Then it holds no entry that could be lost."""
    shard = files.below(name)
    return not shard.list("packs") and not any(shard.read(f"segments/{each}") for each in shard.list("segments"))


def _is_closed(shard: Shard, metadata: Mapping[str, object]) -> bool:
    """Is the shard's last entry the `shard.close` with this metadata?"""
    record = shard.entry(shard.size - 1).record
    try:
        last = json.loads(record or b"")
    except ValueError:
        return False
    return isinstance(last, dict) and last.get("action") == "shard.close" and last.get("metadata") == metadata


def predecessor_of(record: bytes | None) -> str:
    """The origin of the shard before, as the record of a `shard.open` names it; empty for the first shard."""
    try:
        metadata = json.loads(record or b"")["metadata"]
        return str(metadata.get("predecessor", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _sub(files: Folder, name: str) -> Folder:
    return files.below(name)


def load_signer(files: Folder, origin: str, *, is_new: bool) -> Signer:
    """The shard's key: `log.key` (0600, 64 hex digits); made when `is_new` and not there.

    Raises:
        ConfigError: others may read the key, it is no key, or the ledger was begun under another origin.
        VerificationError: it is not the one that was published.
        StorageError: it is missing.
    """
    if files.exists("log.key"):
        if files.mode("log.key") & 0o077:
            raise ConfigError(
                f"{files.local_path('log.key')} may be read by others; chmod 600 it, better: rotate it",
                setting="log.key",
            )
        text = files.read("log.key").removesuffix(b"\n")
        if not re.fullmatch(rb"[0-9a-f]{64}", text):
            raise ConfigError("log.key holds no Ed25519 key: 64 hex digits, lower case", setting="log.key")
        signer = Signer(origin, bytes.fromhex(text.decode()))
        published = files.read("log.vkey").removesuffix(b"\n") if files.exists("log.vkey") else b""
        if not published:  # the power went between the two files
            files.write_atomic("log.vkey", signer.vkey.text.encode() + b"\n", is_durable=True)
        elif published != signer.vkey.text.encode():
            _check_origin(files, published, signer.vkey)
            raise VerificationError(
                f"{files.local_path('log.key')} is not the key that log.vkey names: one of the two was changed; nothing "
                "is signed with it. Restore both from a backup",
                expected=published, computed=signer.vkey.text,
            )  # fmt: skip
        return signer
    if not is_new:
        raise StorageError("the shard's key is missing; without it nothing can be signed", path="log.key")
    files.make_folder("")
    signer = Signer(origin, files.random(32))
    files.write_atomic("log.key", signer.private.hex().encode() + b"\n", is_durable=True, mode=0o600)
    files.write_atomic("log.vkey", signer.vkey.text.encode() + b"\n", is_durable=True)
    return signer


def _id_bytes(ids: Sequence[str]) -> bytes:
    return bytes.fromhex("".join(ids).replace("-", ""))


def _block(frame: Frame, base: int) -> EntryBlock:
    return EntryBlock(
        first=base + frame.first,
        sources=frame.sources,
        ids=frame.ids,
        sqs=frame.sqs,
        received_at=[us * 1000 for us in frame.received_us],
        salts=frame.salts,
        records=frame.records,
        parts=frame.parts,
    )


def _check_origin(files: Folder, published: bytes, ours: VerifierKey) -> None:
    """Raise ConfigError when the shard's key is the published one and only its name, the origin, is another."""
    try:
        theirs = VerifierKey.parse(published.decode("utf-8", "replace"))
    except ConfigError:
        return
    if theirs.public != ours.public or theirs.name == ours.name:
        return
    begun = theirs.name.rpartition("/")[0]
    raise ConfigError(
        f"the ledger in {files.local_path('log.key').parents[1]} was begun as {begun}, the setting says "
        f"{ours.name.rpartition('/')[0]}; every checkpoint and proof names the origin, so it stays: set it back to {begun}, or "
        "begin another ledger in another folder (settings data and head)",
        setting="origin",
    )
