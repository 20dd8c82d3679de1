"""What is done to a batch's records, wherever it runs: secrets out, personal values taken out, encrypted by person.

For each record, in order: (1) secrets are replaced; (2) what is not one JSON object becomes a quarantine record;
(3) under a plan the personal values are taken out, grouped by person; (4) `subjects` is asked once for all keys;
(5) the parts are encrypted. Of a quarantined record or undecodable bytes under a plan nothing is known, so the text is
sealed whole as the source's own (`source:<id>`). Never fails on content. Stops at: where keys come from.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from muniment.errors import RejectedError
from muniment.ledger.types import SealedPart
from muniment.privacy.parts import make_part
from muniment.privacy.places import is_object
from muniment.privacy.plan import SealPlan, Step
from muniment.privacy.scan import Scrubber
from muniment.privacy.seal import Groups, Sealer, seal_places

__all__ = ["BatchSealer", "Job", "Name", "Sealed", "Subject"]

Name = tuple[str, str]
"""(source, identifier)"""
Subject = tuple[bytes, bytes]
"""(public id of a person, 16 bytes; their key, 32 bytes)"""

_RAW_PLACES: tuple[tuple[Step, ...], ...] = (("$raw",), ("$raw_b64",), ("raw",), ("raw_b64",))
_UNREADABLE = b"raw_b64"


class Job(msgspec.Struct, frozen=True, array_like=True):
    """The records of one arrival. `plan` 0: they stay clear; `quarantined`: the reasons given at the door."""

    source: str
    door: str
    plan: int
    records: Sequence[bytes]
    quarantined: Sequence[str | None] | None = None


class Sealed(msgspec.Struct, array_like=True):
    """A batch when it is done, as parallel lists; `secrets` as (record number, kind, times)."""

    stored: list[bytes]
    clear: list[bytes]
    parts: list[tuple[SealedPart, ...]]
    secrets: list[tuple[int, str, int]]


class BatchSealer:
    """Knows plans by number. Not thread-safe but for `scrubber`."""

    def __init__(
        self,
        origin: bytes,
        subjects: Callable[[set[Name]], Mapping[Name, Subject]],
        scrubber: Scrubber | None = None,
    ) -> None:
        self._origin = origin
        self._subjects = subjects
        self._scrubber = scrubber or Scrubber()
        self._sealers: dict[int, Sealer] = {}

    def learn(self, number: int, plan: SealPlan) -> None:
        """From now on jobs may name the plan by `number`, which is not 0."""
        self._sealers[number] = Sealer(plan)

    def run(self, jobs: Sequence[Job]) -> Sealed:
        """The whole batch.

        Raises:
            StorageError: from `subjects`: keys cannot be made durable; nothing of the batch may be appended.
        """
        scrubbed = self._scrubber.scrub([record for job in jobs for record in job.records])
        clear = scrubbed.records
        stored = clear.copy()
        groups: dict[int, Groups] = {}
        sources: dict[int, str] = {}
        at = 0
        for job in jobs:
            self._take_out(job, at, clear, stored, groups)
            sources.update(dict.fromkeys((n for n in range(at, at + len(job.records)) if n in groups), job.source))
            at += len(job.records)
        secrets = [(number, kind, times) for (number, kind), times in scrubbed.found.items()]
        return Sealed(stored, clear, self._encrypted(len(clear), sources, groups), secrets)

    def _take_out(self, job: Job, at: int, clear: list[bytes], stored: list[bytes], groups: dict[int, Groups]) -> None:
        """Steps 2 and 3. `clear` is changed in place where a record had to be quarantined."""
        sealer = self._sealers[job.plan] if job.plan else None
        marks = job.quarantined
        for number in range(at, at + len(job.records)):
            record = clear[number]
            if sealer is None:
                if not is_object(record):
                    stored[number] = clear[number] = _quarantine(record, job.door)
                continue
            if marks is not None and marks[number - at] is not None:
                record, taken = _seal_raw(record, job.source) if is_object(record) else (record, {})
                is_read = is_object(record)
            else:
                record, taken, is_read = _sealed(record, sealer, job.source)
            if not is_read:
                clear[number] = _quarantine(record, job.door)
                record, taken = _seal_raw(clear[number], job.source)
            stored[number] = record
            if taken:
                groups[number] = taken

    def _encrypted(
        self, count: int, sources: Mapping[int, str], groups: Mapping[int, Groups]
    ) -> list[tuple[SealedPart, ...]]:
        parts: list[tuple[SealedPart, ...]] = [()] * count
        if not groups:
            return parts
        keys = self._subjects({(sources[number], owner) for number, group in groups.items() for owner in group})
        random, at, origin = os.urandom(16 * sum(map(len, groups.values()))), 0, self._origin
        for number, group in groups.items():
            if len(group) == 1:  # nearly every record
                ((owner, values),) = group.items()
                subject, key = keys[sources[number], owner]
                parts[number] = (make_part(subject, key, origin, random[at : at + 16], values),)
                at += 16
                continue
            # Two spellings of one person share a key: their values must be one part, or the verdicts would differ.
            merged: dict[Subject, dict[int, bytes]] = {}
            for owner, values in group.items():
                merged.setdefault(keys[sources[number], owner], {}).update(values)
            made = []
            for (subject, key), values in merged.items():
                made.append(make_part(subject, key, origin, random[at : at + 16], values))
                at += 16
            parts[number] = tuple(made)
        return parts


def _sealed(record: bytes, sealer: Sealer, source: str) -> tuple[bytes, Groups, bool]:
    try:
        sealed, groups = sealer.seal(record)
    except (RejectedError, msgspec.DecodeError, UnicodeError, RecursionError):
        return record, {}, False
    if _UNREADABLE in sealed:  # bytes no pattern can read: sealed whole, beside what was found
        rest, more = seal_places(sealed, (("raw_b64",), ("$raw_b64",)), f"source:{source}")
        if more:
            groups.update(more)
            sealed = rest
    return sealed, groups, True


def _seal_raw(record: bytes, source: str) -> tuple[bytes, Groups]:
    return seal_places(record, _RAW_PLACES, f"source:{source}")


def _quarantine(record: bytes, door: str) -> bytes:
    """A quarantine record around bytes that are not a JSON object."""
    marked: dict[str, object] = {"$quarantine": {"reason": "not a JSON object", "door": door}}
    try:
        marked["$raw"] = record.decode()
    except UnicodeDecodeError:
        marked["$raw_b64"] = base64.b64encode(record).decode()
    return msgspec.json.encode(marked)
