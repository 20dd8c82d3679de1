"""The projector follows the ledger by index and keeps the store complete: in order, idempotent, never in the way.

Rules: `offer` never blocks and never fails; what does not fit its memory bound is dropped and read again from the
ledger, with the seals opened by what keys still allow. Everything below `watermark` is in the store; what is above
is the pending range that every result tells. Listeners hear each new range once, after it is readable.

One thread: (1) wait for blocks or for the clock, (2) close the gap to the ledger if there is one, (3) write to every
node, (4) move the watermark, (5) tell listeners. A crash between any two steps repeats the step: see `replica`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniment.errors import BusyError, StorageError, VerificationError
from muniment.limits import (
    PROJECTOR_BLOCK_BYTES_MAX,
    PROJECTOR_BLOCK_EVENTS_MAX,
    PROJECTOR_EASE_BYTES,
    PROJECTOR_QUEUE_BYTES_MAX,
    PROJECTOR_START_FILL_MAX,
    PROJECTOR_WAIT_MAX_MS,
    PROJECTOR_WAIT_MS,
    PROJECTOR_WAIT_WRITES,
)
from muniment.search.blocks import Block, LedgerReader, Unsealer, join, ledger_blocks
from muniment.search.engine import Engine, Node
from muniment.search.replica import Locate, Replica
from muniment.search.schema import MappingSet
from muniment.search.together import Recall

__all__ = ["Horizon", "Projector"]

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Horizon:
    """Up to where the store is complete: the last index (-1: none), when that was received, and what is pending."""

    complete_to_index: int
    complete_to_time: int
    ledger_size: int
    pending: int


class _Entries(Protocol):
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def received_at(self) -> Sequence[int]: ...


class _Protected(Protocol):
    @property
    def entries(self) -> _Entries: ...
    @property
    def clear(self) -> Sequence[bytes]: ...


class _Appended(Protocol):
    @property
    def indexes(self) -> Sequence[int]: ...
    @property
    def is_duplicate(self) -> Sequence[bool]: ...


class Projector:
    """Keeps `engine` in step with `ledger`. `start` it, `offer` to it, `close` it."""

    def __init__(
        self,
        engine: Engine,
        ledger: LedgerReader,
        unsealer: Unsealer | None,
        mappings: MappingSet,
        source_format: Callable[[str], str] = str,
        locate: Locate | None = None,
    ) -> None:
        """`source_format` gives the format of a source id: a mapping's name, or one recognised by content; `locate` where
        an address is, for events that do not say it themselves.
        """
        self.engine = engine
        self.mappings = mappings
        self._source_format = source_format
        self.ledger = ledger
        self.unsealer = unsealer
        self._locate = locate
        self._replicas = [self.replica(node, engine.local_table, "landing") for node in engine.nodes]
        self._recall = self.recall()
        self._queue: deque[Block] = deque()
        self._queue_bytes = 0
        self._queued_at = 0.0  # since when something waits in it
        self._wake = threading.Condition()
        self._writing = threading.RLock()
        self._listeners: list[Callable[[int, int], None]] = []
        self._next = 0
        self._holes: dict[Replica, tuple[int, int]] = {}  # (index, time) from where one lacks rows that it once had
        self._complete_to_time = 0
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._last_problem = ""
        self._wait_s = PROJECTOR_WAIT_MS / 1_000

    @property
    def watermark(self) -> int:
        """Every index below it is in the store."""
        return min([self._next, *(index for index, _ in self._seen_holes())])

    @property
    def last_problem(self) -> str:
        """What keeps the store behind the ledger, in words; empty when nothing does."""
        return self._last_problem

    @property
    def is_behind(self) -> bool:
        """Is more queued than one block takes? Not said of a store that is away."""
        return self._queue_bytes > PROJECTOR_EASE_BYTES and not self._last_problem

    def horizon(self) -> Horizon:
        """Up to where results are complete, now."""
        size = self.ledger.size
        done, time_ns = min([(self._next, self._complete_to_time), *self._seen_holes()])
        return Horizon(done - 1, time_ns, max(size, done), max(0, size - done))

    def _seen_holes(self) -> list[tuple[int, int]]:
        """Where rows are missing that a search would need: not on a node that is away while another has them."""
        up = {each.node.shard for each in self._replicas if each.is_up}
        holes = self._holes.copy().items()
        return [hole for replica, hole in holes if replica.is_up or replica.node.shard not in up]

    def subscribe(self, listener: Callable[[int, int], None]) -> None:
        """Call `listener(start, end)` after each new range is readable, in order, from the projector's thread."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Find out what the store has, and follow the ledger in a thread of its own.

        What little a crash left out is filled in before this returns; a store that was lost fills up behind it, and
        until then results say how far they are complete.
        """
        self.recover(PROJECTOR_START_FILL_MAX)
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the block in hand. What was offered and not written is read from the ledger next time."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread:
            self._thread.join()

    def offer(self, protected: _Protected, appended: _Appended) -> None:
        """Take a batch the writer has just acknowledged; duplicates in it are already in the ledger and left out."""
        entries, clear = protected.entries, protected.clear
        if not any(appended.is_duplicate):
            indexes = appended.indexes
            if indexes:
                self.offer_block(Block(indexes[0], entries.ids, entries.sources, entries.received_at, clear))
            return
        kept = [k for k, is_duplicate in enumerate(appended.is_duplicate) if not is_duplicate]
        if kept:
            self.offer_block(
                Block(
                    appended.indexes[kept[0]],
                    [entries.ids[k] for k in kept],
                    [entries.sources[k] for k in kept],
                    [entries.received_at[k] for k in kept],
                    [clear[k] for k in kept],
                )
            )

    def offer_block(self, block: Block) -> None:
        """Take consecutive new entries. Never blocks: past the memory bound the queue is dropped, not the sender."""
        n_bytes = block.n_bytes
        with self._wake:
            if self._queue_bytes + n_bytes > PROJECTOR_QUEUE_BYTES_MAX:
                self._queue.clear()
                self._queue_bytes = 0
            if not self._queue:
                self._queued_at = time.monotonic()
            self._queue.append(block)
            self._queue_bytes += n_bytes
            self._wake.notify()

    def recover(self, fill_max: int | None = None) -> None:
        """Ask every node what it has and bring it to the ledger's size; when more than `fill_max` entries are missing,
        only up to the first of them. Raises nothing for a node that is away.
        """
        size = self.ledger.size
        for replica in self._replicas:
            self._bring_up(replica, size, fill_max)
        self._move(self._complete(), tell=False)

    def catch_up(self) -> None:
        """Read from the ledger what the store lacks, until both have the same size."""
        while (size := self.ledger.size) > self._next and not self._stopping:
            for block in self._from_ledger(self._next, size):
                self._write(block)
                if self._stopping:
                    return

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
                self._last_problem = ""
            except (StorageError, BusyError) as error:
                if self._last_problem != str(error):
                    _log.error("search store is behind: %s", error)
                self._last_problem = str(error)
                with self._wake:
                    self._wake.wait_for(lambda: self._stopping, _RETRY_S)

    def _step(self) -> None:
        for replica in self._replicas:
            if not replica.is_up:
                with self._writing:
                    self._bring_up(replica, self._next)
        block = self._take()
        if block is None:
            self.catch_up()  # nothing offered for a while: is there something we were not told?
            return
        if block.first > self._next:
            for older in self._from_ledger(self._next, block.first):
                self._write(older)
        if block.end > self._next:
            self._write(block.slice(self._next, block.end))

    def _take(self) -> Block | None:
        """Blocks that follow each other, joined to one good insert; None when nothing came for a second."""
        with self._wake:
            if not self._wake.wait_for(lambda: self._queue or self._stopping, _RETRY_S):
                return None
            due = self._queued_at + self._wait_s
            while not self._stopping and not self._is_full() and (left := due - time.monotonic()) > 0:
                self._wake.wait(left)
            taken: list[Block] = []
            n_events = n_bytes = 0
            while self._queue and n_events < PROJECTOR_BLOCK_EVENTS_MAX and n_bytes < PROJECTOR_BLOCK_BYTES_MAX:
                if taken and self._queue[0].first != taken[-1].end:
                    break
                block = self._queue.popleft()
                self._queue_bytes -= block.n_bytes
                taken.append(block)
                n_events += len(block.records)
                n_bytes += block.n_bytes
            self._queued_at = time.monotonic()  # what is left came while this block was waited for
            return join(taken) if taken else None

    def _is_full(self) -> bool:
        return (
            self._queue_bytes >= PROJECTOR_BLOCK_BYTES_MAX // 2
            or sum(len(block.records) for block in self._queue) >= PROJECTOR_BLOCK_EVENTS_MAX // 2
        )

    def _from_ledger(self, start: int, end: int) -> Iterator[Block]:
        return ledger_blocks(self.ledger, self.unsealer, start, end)

    def _write(self, block: Block) -> None:
        """Steps (3) to (5) for one block that starts at the watermark."""
        with self._writing:
            began = time.monotonic()
            block = self._recall.block(block)
            problem: StorageError | BusyError | None = None
            for replica in self._replicas:
                if not replica.is_up or replica.next >= block.end:
                    continue
                try:
                    replica.write(block)
                    replica.next = block.end
                except (StorageError, BusyError) as error:
                    replica.is_up = False
                    problem = error
            done = self._complete()
            if done < block.end:
                raise problem or StorageError("no node of a shard of the search store answers")
            self._complete_to_time = block.received_at[-1]
            wanted_ms = PROJECTOR_WAIT_WRITES * (time.monotonic() - began) * 1_000
            self._wait_s = min(max(wanted_ms, PROJECTOR_WAIT_MS), PROJECTOR_WAIT_MAX_MS) / 1_000
            self._move(done, tell=True)

    def _complete(self) -> int:
        """What every shard has on each of its nodes that is up; 0 when a shard has none."""
        by_shard: dict[int, list[int]] = {shard: [] for shard in range(self.engine.shards)}
        for replica in self._replicas:
            if replica.is_up:
                by_shard[replica.node.shard].append(replica.next)
        return min((min(have, default=0) for have in by_shard.values()), default=0)

    def _move(self, done: int, *, tell: bool) -> None:
        start, self._next = self._next, max(done, self._next)
        if tell and self._next > start:
            for listener in self._listeners:
                try:
                    listener(start, self._next)
                except Exception:  # a listener's mistake must not stop the store
                    _log.exception("a listener failed on [%d, %d)", start, self._next)

    def _bring_up(self, replica: Replica, size: int, fill_max: int | None = None) -> None:
        """Ask a node what it lacks below `size` and send that, if it is no more than `fill_max`; leaves it down when it
        is away.
        """
        try:
            replica.prepare()
            if replica.unsure_below > max(size, self.ledger.size):
                raise VerificationError(
                    f"the search store has {replica.unsure_below} entries, the ledger {size}: it belongs to another "
                    "ledger, or the ledger went back",
                    expected=size,
                    computed=replica.unsure_below,
                )
            missing = replica.missing(size)
            if fill_max is not None and sum(end - start for start, end in missing) > fill_max:
                replica.next = missing[0][0]
            else:
                self._open_hole(replica, missing)
                for start, end in missing:
                    for block in self.recall().blocks(self._from_ledger(start, end)):
                        replica.fill(block)
                replica.next = size
            self._holes.pop(replica, None)  # only now: until then results say what they lack
            if self._complete_to_time == 0 and replica.next:
                rows = self.engine.query(
                    f"SELECT toUnixTimestamp64Nano(CAST(max(received_at), 'DateTime64(9)')) FROM {replica.table} "
                    "WHERE `index` < {end:UInt64}",
                    {"end": replica.next},
                    node=replica.node,
                ).rows
                self._complete_to_time = int(rows[0][0])
        except (StorageError, BusyError) as error:
            replica.is_up = False
            self._last_problem = str(error)

    def mend(self, progress: Callable[[int, int], None] = lambda done, size: None) -> list[tuple[str, str, str]]:
        """Check every file of the store; parts that are broken are dropped and their rows read from the ledger again.

        Until they are back, results say that they are complete only up to the first of them. Returns (node, part,
        what was wrong) for each. Raises StorageError when a node is away; what is missing then is filled at its return.
        """
        found: list[tuple[str, str, str]] = []
        for replica in self._replicas:
            replica.node.is_suspect = False
            for table in ("migrations", replica.table):  # without the first, tables are made anew and filled again
                broken = self.engine.broken_parts(replica.node, table)
                if broken:
                    _log.error("search store: %s: broken parts: %s", table, broken)
                    found += [(replica.node.name, part, why) for part, why in broken]
                    self._replace(replica, table, [part for part, _ in broken], progress)
        return found

    def _replace(
        self, replica: Replica, table: str, parts: Sequence[str], progress: Callable[[int, int], None]
    ) -> None:
        try:
            with self._writing:
                if table == replica.table:
                    self._holes[replica] = (0, 0)  # which rows a broken part held is known when it is gone
                for part in parts:
                    self.engine.drop_part(replica.node, table, part)
                if table != replica.table:
                    replica.is_up = False  # looked at again by the projector's thread
                    return
                missing = replica.missing(replica.next)
                self._open_hole(replica, missing)
            total, done = sum(end - start for start, end in missing), 0
            for start, end in missing:
                for block in self.recall().blocks(self._from_ledger(start, end)):
                    with self._writing:
                        replica.complete(block)
                    done += len(block.records)
                    progress(done, total)
            self._holes.pop(replica, None)
        except BaseException:
            replica.is_up = False  # what is missing is filled by the projector's thread; the hole is open until then
            replica.node.is_suspect = True  # and the parts are looked at again
            raise

    def _open_hole(self, replica: Replica, missing: Sequence[tuple[int, int]]) -> None:
        """Results are complete up to the first missing row only, until it is back."""
        if missing and missing[0][0] < self._next:
            first = missing[0][0]
            block = next(iter(self._from_ledger(max(0, first - 1), first + 1)))
            self._holes[replica] = (first, block.received_at[0] if first else 0)
        else:
            self._holes.pop(replica, None)

    def rebuild(self, progress: Callable[[int, int], None] = lambda done, size: None) -> int:
        """Make the store anew from the ledger; see `rebuild`."""
        from muniment.search.rebuild import rebuild  # it builds on this module

        return rebuild(self, progress)

    def adopt(self, mappings: MappingSet) -> None:
        """Read what comes with other mappings; what is there stays as it was read."""
        with self._writing:
            self.mappings = mappings
            for replica in self._replicas:
                replica.mappings = mappings

    def pause(self) -> threading.RLock:
        """The lock under which rows are written; whoever holds it sees a store that stands still."""
        return self._writing

    def replica(self, node: Node, table: str, prefix: str) -> Replica:
        """Another table on a node, filled with the same mappings; for `rebuild`."""
        return Replica(self.engine, node, self.mappings, self._source_format, table, prefix, self._locate)

    def recall(self) -> Recall:
        """What earlier records say, for blocks of one run of indexes; for `rebuild` and for filling up."""
        return Recall(self.ledger, self.unsealer, lambda: self.mappings, self._source_format)

    def jump(self, done: int) -> None:
        """A table with everything below `done` has taken the place of the old one; call with writing paused.

        What was remembered of records is forgotten with it: somebody may have been erased.
        """
        self._recall.forget()
        for replica in self._replicas:
            replica.next = max(replica.next, done)
            replica.unsure_below = max(replica.unsure_below, done)
        self._move(done, tell=True)
