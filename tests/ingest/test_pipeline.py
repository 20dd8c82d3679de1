"""The pipeline: batches, order, bounds, failures, end."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from door_harness import MemoryLog, until

from muniment.errors import BusyError, StorageError
from muniment.event.model import INTERNAL, Arrival
from muniment.ingest.pipeline import Ack, Pipeline
from muniment.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EASE_S


def _arrival(n: int, name: str = "a", size: int = 20, ids: Sequence[str] | None = None, door: str = "test") -> Arrival:
    records = [b'{"n":"%s%d"%s}' % (name.encode(), k, b" " * size) for k in range(n)]
    return Arrival(source="app", door=door, received_at=1, records=records, ids=ids)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def pipeline(log: MemoryLog):
    made = Pipeline(log, log, log)
    made.start()
    yield made
    made.close(5)


async def test_an_arrival_is_acknowledged_with_its_places(pipeline: Pipeline, log: MemoryLog) -> None:
    ack = await pipeline.submit(_arrival(3))
    assert list(ack.indexes) == [0, 1, 2]
    assert ack.ids == log.ids
    assert (ack.size, ack.duplicates) == (3, 0)
    until(lambda: log.offered == 3)


async def test_a_large_arrival_is_cut_over_batches_and_stays_in_order(pipeline: Pipeline, log: MemoryLog) -> None:
    arrival = _arrival(BATCH_EVENTS_MAX * 2 + 17)
    ack = await pipeline.submit(arrival)
    assert log.records == list(arrival.records)
    assert list(ack.indexes) == list(range(len(arrival.records)))
    assert max(log.batches) <= BATCH_EVENTS_MAX
    assert len(log.batches) == 3


async def test_batches_are_bounded_in_bytes(pipeline: Pipeline, log: MemoryLog) -> None:
    arrival = _arrival(30, size=BATCH_BYTES_MAX // 10)
    await pipeline.submit(arrival)
    assert log.records == list(arrival.records)
    assert max(log.batches) < 10


async def test_while_the_writer_works_the_next_batch_is_protected(pipeline: Pipeline, log: MemoryLog) -> None:
    log.append_s = 0.02
    acks = await asyncio.gather(*(pipeline.submit(_arrival(2000, f"{n}-")) for n in range(8)))
    assert log.overlapped > 0
    assert [ack.indexes[0] for ack in acks] == sorted(ack.indexes[0] for ack in acks), "order of arrival"


async def test_single_events_share_batches_only_while_the_writer_is_busy(pipeline: Pipeline, log: MemoryLog) -> None:
    await pipeline.submit(_arrival(1))
    log.append_s = 0.02
    await asyncio.gather(*(pipeline.submit(_arrival(1, str(n))) for n in range(64)))
    assert sum(log.batches) == 65
    assert len(log.batches) < 8


async def test_more_than_the_bound_is_refused_at_once() -> None:
    log = MemoryLog(append_s=0.05)
    pipeline = Pipeline(log, log, pending_bytes_max=10_000)
    pipeline.start()
    outcomes = await asyncio.gather(*(pipeline.submit(_arrival(5, str(n))) for n in range(50)), return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, BusyError)]
    taken = [one for one in outcomes if isinstance(one, Ack)]
    assert len(refused) + len(taken) == 50
    assert refused
    assert taken
    assert len(log.records) == 5 * len(taken)
    assert pipeline.status().pending_bytes == 0
    pipeline.close(5)


async def test_a_storage_error_fails_everything_that_waits_and_heals(pipeline: Pipeline, log: MemoryLog) -> None:
    log.append_s = 0.02
    log.fail_append = StorageError("no space left", is_full=True)
    outcomes = await asyncio.gather(
        *(pipeline.submit(_arrival(3000, str(n))) for n in range(6)), return_exceptions=True
    )
    assert all(isinstance(one, StorageError) for one in outcomes), outcomes
    assert "no space left" in pipeline.status().trouble
    assert pipeline.status().pending_bytes == pipeline.status().pending_events == 0
    log.fail_append = None
    assert (await pipeline.submit(_arrival(1))).size == 1
    assert pipeline.status().trouble == ""


async def test_of_a_refused_arrival_no_later_piece_is_sealed(pipeline: Pipeline, log: MemoryLog) -> None:
    """Its next piece is protected already while the writer fails with the one before."""
    log.append_s = 0.1
    log.fail_appends = {1: BusyError("the clock went back")}
    sent = [_arrival(BATCH_EVENTS_MAX + 2_000, "large"), _arrival(5, "beside")]
    outcomes = await asyncio.gather(*map(pipeline.submit, sent), return_exceptions=True)
    assert [type(each) for each in outcomes] == [BusyError, Ack]
    assert not [record for record in log.records if b"large" in record]
    assert pipeline.status().pending_events == pipeline.status().pending_bytes == 0


async def test_what_fits_in_one_batch_is_there_as_a_whole_or_not_at_all(pipeline: Pipeline, log: MemoryLog) -> None:
    log.append_s = 0.1
    log.fail_appends = {3: BusyError("the clock went back")}
    names = "uvwxyz"
    sent = [pipeline.submit(_arrival(3_000, name)) for name in names]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    refused = [name for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, BusyError)]
    assert refused
    there = {name: sum(record.startswith(b'{"n":"%s' % name.encode()) for record in log.records) for name in names}
    assert there == {name: 0 if name in refused else 3_000 for name in names}


async def test_a_mistake_while_appending_stops_the_log_for_good(pipeline: Pipeline, log: MemoryLog) -> None:
    log.fail_append = ZeroDivisionError("a mistake of ours")
    with pytest.raises(StorageError, match="sequencing stopped"):
        await pipeline.submit(_arrival(1))
    log.fail_append = None
    with pytest.raises(StorageError, match="sequencing stopped"):
        await pipeline.submit(_arrival(1))
    assert log.records == []
    assert pipeline.status().is_stopped


async def test_records_that_trip_the_protector_fail_alone(pipeline: Pipeline, log: MemoryLog) -> None:
    def trip(arrivals: Sequence[Arrival]) -> None:
        if any(b"poison" in record for one in arrivals for record in one.records):
            raise ValueError("unexpected")

    log.fail_protect = trip
    log.append_s = 0.01
    names = ["x", "poison", "y", "z"]
    outcomes = await asyncio.gather(*(pipeline.submit(_arrival(2, name)) for name in names), return_exceptions=True)
    assert [isinstance(one, StorageError) for one in outcomes] == [False, True, False, False]
    assert len(log.records) == 6


async def test_a_sender_that_goes_away_does_not_disturb_the_others(pipeline: Pipeline, log: MemoryLog) -> None:
    log.append_s = 0.02
    gone = asyncio.ensure_future(pipeline.submit(_arrival(1, "gone")))
    await asyncio.sleep(0)
    gone.cancel()
    await pipeline.submit(_arrival(1, "stays"))
    assert len(log.records) == 2, "what was taken is sealed all the same"
    assert pipeline.status().pending_events == 0


async def test_closing_finishes_what_waits_and_takes_nothing_more() -> None:
    log = MemoryLog(append_s=0.02)
    pipeline = Pipeline(log, log)
    pipeline.start()
    waiting = [asyncio.ensure_future(pipeline.submit(_arrival(100, str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, pipeline.close)
    assert sum(len(ack.indexes) for ack in await asyncio.gather(*waiting)) == 2000
    with pytest.raises(BusyError, match="stopping"):
        await pipeline.submit(_arrival(1))


async def test_our_own_records_pass_while_doors_are_refused() -> None:
    log = MemoryLog(append_s=0.2)
    pipeline = Pipeline(log, log, pending_bytes_max=3_000)
    pipeline.start()
    first = asyncio.ensure_future(pipeline.submit(_arrival(10)))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await pipeline.submit(_arrival(10, "late"))
    own = pipeline.submit_nowait_threadsafe(_arrival(10, "own"))
    await first
    assert (await asyncio.wrap_future(own)).size == 20
    pipeline.close(5)


async def test_while_the_store_or_rules_are_behind_batches_wait_a_little_and_grow() -> None:
    log, is_behind = MemoryLog(), threading.Event()
    is_behind.set()
    pipeline = Pipeline(log, log, is_behind=is_behind.is_set)
    pipeline.start()
    began = time.monotonic()
    await asyncio.gather(*(pipeline.submit(_arrival(1, f"{n}-")) for n in range(30)))
    assert time.monotonic() - began > EASE_S * 0.8, "it did not wait"
    assert len(log.batches) < 8, "each waited for itself"
    late = asyncio.ensure_future(pipeline.submit(_arrival(1, "late")))
    await asyncio.sleep(0.02)
    began = time.monotonic()
    is_behind.clear()
    await late
    assert time.monotonic() - began < EASE_S * 0.8, "it waited on although there was no need"
    pipeline.close(5)


async def test_our_own_records_do_not_wait_for_what_may_wait_for_them() -> None:
    log = MemoryLog()
    pipeline = Pipeline(log, log, is_behind=lambda: True)
    pipeline.start()
    began = time.monotonic()
    for n in range(10):
        await asyncio.wrap_future(pipeline.submit_nowait_threadsafe(_arrival(1, f"own{n}-", door=INTERNAL)))
    assert time.monotonic() - began < 10 * EASE_S * 0.5
    pipeline.close(5)


async def test_closing_does_not_wait_for_who_is_behind() -> None:
    log = MemoryLog()
    pipeline = Pipeline(log, log, is_behind=lambda: True)
    pipeline.start()
    waiting = [asyncio.ensure_future(pipeline.submit(_arrival(BATCH_EVENTS_MAX, str(n)))) for n in range(8)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await asyncio.get_running_loop().run_in_executor(None, pipeline.close)
    assert time.monotonic() - began < 8 * EASE_S * 0.5
    assert sum(len(ack.indexes) for ack in await asyncio.gather(*waiting)) == 8 * BATCH_EVENTS_MAX


def test_two_event_loops_share_one_pipeline(pipeline: Pipeline, log: MemoryLog) -> None:
    sizes: list[int] = []

    async def send(name: str) -> None:
        for n in range(50):
            sizes.append((await pipeline.submit(_arrival(1, f"{name}{n}"))).size)

    threads = [threading.Thread(target=asyncio.run, args=(send(name),)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(log.records) == 100
    assert max(sizes) == 100
