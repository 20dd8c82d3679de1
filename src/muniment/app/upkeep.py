"""What a server does by itself: heartbeats, losses and refusals written down, the nightly checks, verify and rebuild."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from muniment.api.case_records import record_acts
from muniment.api.jobs import Job, JobState
from muniment.api.recorder import OWN_SOURCE, own_event
from muniment.api.times import parse_time
from muniment.errors import AuditError, VerificationError
from muniment.ledger.check import check_ledger
from muniment.limits import QUIET_EVENTS_PER_S
from muniment.search.rebuild import compare, rebuild
from muniment.sources.registry import Counters

if TYPE_CHECKING:
    from muniment.app.server import Server

__all__ = ["Upkeep", "Verified"]

_log = logging.getLogger("muniment.upkeep")
_EVERY_S: Final = 5.0
_REJECTIONS_EVERY_S: Final = 60.0
_MEND_EVERY_S: Final = 60.0
_FIRST_CHECK_S: Final = 3_600.0
_NIGHTLY_S: Final = 86_400.0
_ACTOR: Final[Mapping[str, str]] = {"type": "system", "id": "muniment", "name": "Muniment"}


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of a verification of the whole ledger; `at` in UTC nanoseconds."""

    at: int
    holds: bool
    entries: int
    error: str = ""


class Upkeep:
    """A task on the event loop; whatever it notices becomes a record."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._noticed: deque[tuple[str, dict[str, object]]] = deque()
        self.last_verified: Verified | None = None
        self._bytes = (0.0, 0)
        self._size = 0

    def syslog_loss(self, source: str, count: int, since_ns: int) -> None:
        """UDP lost datagrams, or a stopping server gave some up: the loss itself is an event."""
        self._noticed.append(("source.loss", {"source": source, "count": count, "since": since_ns}))

    def syslog_refused(self, peer: str, reason: str) -> None:
        """A connection was turned away or closed by us."""
        self._server.admission.reject("", "syslog", reason)

    def notice(self, action: str, found: dict[str, object]) -> None:
        """Something to write down, from any thread."""
        self._noticed.append((action, found))

    async def run(self) -> None:
        """Until cancelled."""
        next_rejections = next_nightly = next_mend = 0.0
        await asyncio.to_thread(self._note_damage)
        loop = asyncio.get_running_loop()
        next_nightly = loop.time() + _FIRST_CHECK_S  # also a server that is started anew every day is checked
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                if loop.time() >= next_rejections:
                    next_rejections = loop.time() + _REJECTIONS_EVERY_S
                    self._collect_rejections()
                await self._write_down()
                await self._keep_counts()
                await record_acts(self._server.cases, self._server.recorder)
                if self._server.ledger.heartbeat_due(self._server.clock()):
                    await self._record("ledger.heartbeat", {"size": self._server.ledger.size})
                await self._end_blocks()
                await self._tighten()
                if loop.time() >= next_mend and self._is_store_suspect():
                    next_mend = loop.time() + _MEND_EVERY_S
                    self._server.jobs.start("store-mend", self._mend_job())
                if loop.time() >= next_nightly:
                    next_nightly = loop.time() + _NIGHTLY_S
                    self._server.jobs.start("index-check", self._index_check_job())
            except AuditError as error:
                _log.error("upkeep: %s", error)
            except Exception:  # a mistake in one of these must not end them all
                _log.exception("upkeep")

    def _note_damage(self) -> None:
        """What was wrong with the store when it was opened."""
        if self._server.store_problem:
            self._noticed.append(("store.damage", {"what": self._server.store_problem}))
        try:
            for node in self._server.engine.nodes:
                for part, why in self._server.engine.take_detached(node):
                    what = f"{node.name}: part {part} could not be read at the start ({why}) and was made anew"
                    self._noticed.append(("store.damage", {"what": what}))
        except AuditError as error:  # the projector says the same, and goes on trying
            _log.warning("what the store set aside is not known: %s", error)

    def _collect_rejections(self) -> None:
        for r in self._server.admission.take_rejections():
            found = {"door": r.door, "reason": r.reason, "count": r.count}
            if r.door == "api":
                self._noticed.append(("access.deny", found | {"reader": r.source} if r.source else found))
            else:
                self._noticed.append(("ingest.reject", found | {"source": r.source}))

    async def write_rest(self) -> None:
        """Before a stop: what was noticed since the last time becomes records, too."""
        try:
            while self._noticed:
                await self._write_down()
        except AuditError as error:
            _log.error("%d things that were noticed are not recorded: %s", len(self._noticed), error)
        await self._keep_counts()

    async def _keep_counts(self) -> None:
        """Of webhooks; where the database does not take them, nothing else waits, and the next try writes them."""
        try:
            await asyncio.to_thread(self._server.webhooks.keep)
        except sa.exc.SQLAlchemyError as error:
            _log.error("what webhooks delivered and were refused is not kept: %s", error)

    async def _write_down(self) -> None:
        # One by one: other threads add to it meanwhile. What could not be written stands first the next time.
        noticed = [self._noticed.popleft() for _ in range(min(500, len(self._noticed)))]
        if not noticed:
            return
        now = self._server.clock()
        try:
            await self._server.recorder.record_raw(
                [
                    own_event(action, now, actor=_actor(found), outcome=_outcome(action, found), metadata=found)
                    for action, found in noticed
                ]
            )
        except AuditError:
            self._noticed.extendleft(reversed(noticed))
            raise

    async def _end_blocks(self) -> None:
        """Blocks whose time is over; feeds left them out at the moment itself. What ended long ago is forgotten."""
        now = self._server.clock()
        for block in self._server.blocks.expire(now):
            target = [{"type": f"blocked_{block.kind}", "id": block.value}]
            event = own_event("block.expire", now, actor=_ACTOR, targets=target, metadata={"block": block.id})
            await self._server.recorder.record_raw([event])
            if block.active_at:
                await asyncio.to_thread(self._server.notifier.tell_of_block, block, "block.expired")
            for dropped in await asyncio.to_thread(self._server.orders.release, block.id, False):
                self._noticed.append(("order.drop", {"order": dropped.id, "block": block.id}))
        self._server.blocks.forget_ended(now)
        await asyncio.to_thread(self._server.orders.forget, now)

    async def _tighten(self) -> None:
        """In quiet moments, packs of busy times are compressed as they could not be then."""
        grown, self._size = self._server.ledger.size - self._size, self._server.ledger.size
        if grown > QUIET_EVENTS_PER_S * _EVERY_S:
            return
        try:
            await asyncio.to_thread(self._server.ledger.tighten, _EVERY_S / 2)
        except VerificationError as error:
            self._noticed.append(("ledger.damage", {"what": str(error)}))
            _log.error("upkeep: %s", error)

    async def _record(self, action: str, metadata: Mapping[str, object]) -> None:
        await self._server.recorder.record_raw(
            [own_event(action, self._server.clock(), actor=_ACTOR, metadata=metadata)]
        )

    def verify_job(self, since: bytes) -> Job:
        """Re-derive the whole ledger, which must have grown out of the checkpoint `since` if one is given."""

        def job(progress: Callable[[int, int], None]) -> dict[str, object]:
            self._server.ledger.wait_until_published()  # all that was acknowledged is looked at
            report = check_ledger(self._server.settings.data_path / "ledger", progress=progress, since=since)
            return report.summary() | {"subject_keys": self._server.subject_keys.check()}

        return job

    def note_verify(self, state: JobState) -> None:
        """Keep the verdict for the status page and write it down."""
        entries = int(str(state.result.get("entries", 0)))
        at = state.ended_at or self._server.clock()
        self.last_verified = Verified(at, state.state == "done", entries, state.error)
        outcome = "success" if state.state == "done" else "failure"
        event = own_event(
            "ledger.verified", self._server.clock(), actor=_ACTOR, outcome=outcome,
            metadata={"result": state.result, "error": state.error},
        )  # fmt: skip
        if self._server.loop is not None:
            asyncio.run_coroutine_threadsafe(self._server.recorder.record_raw([event]), self._server.loop)

    def remember(self) -> None:
        """After a start: what each source had sent, and the last verification, from the store.

        The store is complete up to its horizon; what is pending is counted again when it was heard in this run only,
        so a counter may lag behind by the few entries that were not yet searchable when the server stopped.
        """
        s = self._server
        sql = (
            "SELECT source, count(), countIf(quarantine != ''), toUnixTimestamp64Micro(max(received_at)) "
            "FROM events GROUP BY source"
        )
        for source, received, quarantined, heard_us in s.engine.query(sql).rows:
            s.registry.seed(
                str(source),
                Counters(received=int(received), quarantined=int(quarantined), last_heard=int(heard_us) * 1_000),
            )
        found = s.search.search(f"source:{OWN_SOURCE} action:ledger.verified", None, None, limit=1)
        for row in found.rows:
            event = s.search.event(int(str(row["index"])))
            if event is not None:
                self.last_verified = _from_record(str(event["record"]))

    def rebuild_job(self) -> Job:
        """The store anew from the ledger."""

        def job(progress: Callable[[int, int], None]) -> dict[str, object]:
            return {"entries": rebuild(self._server.projector, progress)}

        return job

    def _is_store_suspect(self) -> bool:
        """A read met damage, and nobody is at work on the store."""
        is_busy = any(self._server.jobs.is_running(name) for name in ("store-mend", "index-check", "rebuild"))
        return not is_busy and any(node.is_suspect for node in self._server.engine.nodes)

    def _mend_job(self) -> Job:
        """Check the files of the store, and read from the ledger again what was lost with a broken one."""

        def job(progress: Callable[[int, int], None]) -> dict[str, object]:
            broken = self._server.projector.mend(progress)
            for node, part, why in broken:
                self._noticed.append(("store.damage", {"what": f"{node}: part {part} was made anew: {why}"[:1_000]}))
            return {"broken_parts": len(broken)}

        return job

    def _index_check_job(self) -> Job:
        mend = self._mend_job()

        def job(progress: Callable[[int, int], None]) -> dict[str, object]:
            s = self._server
            mended = mend(progress)
            end = s.projector.horizon().complete_to_index + 1
            differing = list(compare(s.engine, s.ledger, s.protector, end, progress))
            if differing:
                ranges = [[each.start, each.end, each.in_ledger, each.in_store] for each in differing[:100]]
                self._noticed.append(("store.differs", {"ranges": ranges}))
            return mended | {"differing_ranges": len(differing)}

        return job

    def ledger_bytes(self) -> int:
        """Bytes of the ledger folder, looked at once a minute at most."""
        now = self._server.clock() / 1e9
        if now - self._bytes[0] > 60:
            folder = self._server.settings.data_path / "ledger"
            self._bytes = (now, sum(_size(path) for path in folder.rglob("*")))
        return self._bytes[1]


def _actor(found: Mapping[str, object]) -> Mapping[str, str]:
    """Who did what was noticed: the reader who was refused, else nobody but us."""
    return {"type": "user", "id": str(found["reader"])} if found.get("reader") else _ACTOR


def _outcome(action: str, found: Mapping[str, object]) -> str:
    """What is noticed is mostly trouble; what was delivered is not."""
    if action == "notify.deliver":
        return "failure" if {"failed", "dead"} & set(found) else "success"
    return "success" if action in {"order.answer", "order.drop", "notify.gather", "notify.resume"} else "failure"


def _from_record(text: str) -> Verified:
    """The verdict as `note_verify` wrote it down."""
    record = json.loads(text)
    metadata = record.get("metadata", {})
    return Verified(
        parse_time(record["occurred_at"], 0),
        record["outcome"] == "success",
        int(metadata.get("result", {}).get("entries", 0)),
        metadata.get("error", ""),
    )


def _size(path: Any) -> int:
    try:
        return int(path.stat().st_size)
    except OSError:  # a staging file that was dropped while we looked
        return 0
