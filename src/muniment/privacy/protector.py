"""What happens to a batch between the doors and the ledger: secrets out, personal values sealed, ids given.

For each record, in order: (1) secrets are replaced; (2) what is not one JSON object becomes a quarantine record;
(3) under a sealed source the personal values are taken out, grouped by person; (4) the keys of people never seen
before are made durable, once for the batch; (5) the parts are encrypted. A crash after (4) leaves unused keys, no harm.

Rules: `protect` never fails on content, only on storage; a record its plan does not fit stays as it is; of a
quarantined record or undecodable bytes under a sealed source nothing is known, so the text is sealed whole as the
source's own (`source:<id>`). The `clear` records are scrubbed of secrets and nothing else; the caller must not store
them in the ledger.
"""

from __future__ import annotations

import base64
import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from muniment.errors import RejectedError
from muniment.event.ids import event_uuid
from muniment.event.model import Arrival
from muniment.ledger.types import Entries, SealedPart
from muniment.privacy.keys import KeyStore
from muniment.privacy.parts import make_part, open_part
from muniment.privacy.places import is_object
from muniment.privacy.plan import SealPlan, Step
from muniment.privacy.scan import Scrubber
from muniment.privacy.seal import Groups, Sealer, parse_part, seal_places, unseal

__all__ = ["PlanRegistry", "Protected", "Protector"]

_RAW_PLACES: tuple[tuple[Step, ...], ...] = (("$raw",), ("$raw_b64",), ("raw",), ("raw_b64",))
_UNREADABLE = b"raw_b64"
_VARIANT = "89ab"


class PlanRegistry(Protocol):
    """The source registry as seen from here. Called once per source and batch; the answer may change over time."""

    def plan_for(self, source_id: str) -> SealPlan | None:
        """The plan of a sealed source; None when its records stay clear."""


@dataclass(frozen=True, slots=True)
class Protected:
    """`entries` for the ledger; `clear` for the projector, parallel to it."""

    entries: Entries
    clear: list[bytes]


class Protector:
    """One per ledger. `protect` blocks and may be called from several threads."""

    def __init__(
        self, registry: PlanRegistry, keys: KeyStore, origin: str, *, scrubber: Scrubber | None = None
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._origin = origin.encode()
        self._scrubber = scrubber or Scrubber()
        self._sealers: dict[str, tuple[SealPlan, Sealer]] = {}
        self._secrets: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def protect(self, arrivals: Sequence[Arrival]) -> Protected:
        """Scrub, seal and name a batch. New subject keys are durable on return.

        Raises:
            StorageError: the key table cannot be written; nothing of the batch may be appended.
        """
        sources: list[str] = []
        received_at: list[int] = []
        records: list[bytes] = []
        sqs: list[int | None] = []
        for arrival in arrivals:
            n = len(arrival.records)
            sources += [arrival.source] * n
            received_at += [arrival.received_at] * n
            records += arrival.records
            sqs += arrival.sqs if arrival.sqs is not None else [None] * n
        scrubbed = self._scrubber.scrub(records)
        if scrubbed.found:
            with self._lock:
                for (number, kind), times in scrubbed.found.items():
                    self._secrets[sources[number], kind] += times
        clear = scrubbed.records
        stored, groups = self._seal(arrivals, clear)
        parts = self._parts(sources, groups)
        is_ours = [
            given is None for a in arrivals for given in (a.ids if a.ids is not None else [None] * len(a.records))
        ]
        entries = Entries(sources, self._ids(arrivals), sqs, received_at, stored, parts, is_ours)
        return Protected(entries, clear)

    def unseal(self, records: Sequence[bytes], parts: Sequence[tuple[SealedPart, ...]]) -> list[bytes]:
        """Records with the personal values whose keys still exist; of erased people the placeholders stay.

        Raises:
            VerificationError: a part is not what its commitment says.
        """
        return [self._unseal(*item) if item[1] else item[0] for item in zip(records, parts, strict=True)]

    def open_part(self, part: SealedPart) -> tuple[bytes, bytes] | None:
        """(plaintext, salt) for disclosure, or None when the person has been erased."""
        key = self._keys.key_of(part.subject)
        return None if key is None else open_part(part, key, self._origin)

    def erase_subject(self, identifier: str, source: str | None = None) -> list[bytes]:
        """Destroy a person's keys; the subject ids concerned. `source` narrows a bare id to one source."""
        return self._keys.erase(identifier, source)

    def take_secret_counts(self) -> dict[tuple[str, str], int]:
        """Secrets replaced since the last call, by (source, kind)."""
        with self._lock:
            taken = dict(self._secrets)
            self._secrets.clear()
        return taken

    def _seal(self, arrivals: Sequence[Arrival], clear: list[bytes]) -> tuple[list[bytes], dict[int, Groups]]:
        """Step 2 and 3. `clear` is changed in place where a record had to be quarantined."""
        stored = clear.copy()
        groups: dict[int, Groups] = {}
        plans = {arrival.source: self._registry.plan_for(arrival.source) for arrival in arrivals}
        at = 0
        for arrival in arrivals:
            plan = plans[arrival.source]
            sealer = None if plan is None else self._sealer(arrival.source, plan)
            marks = arrival.quarantined
            for number in range(at, at + len(arrival.records)):
                record = clear[number]
                if sealer is None:
                    if not is_object(record):
                        stored[number] = clear[number] = _quarantine(record, arrival.door)
                    continue
                if marks is not None and marks[number - at] is not None:
                    record, taken = _seal_raw(record, arrival) if is_object(record) else (record, {})
                    is_read = is_object(record)
                else:
                    record, taken, is_read = _sealed(record, sealer, arrival.source)
                if not is_read:
                    clear[number] = _quarantine(record, arrival.door)
                    record, taken = _seal_raw(clear[number], arrival)
                stored[number] = record
                if taken:
                    groups[number] = taken
            at += len(arrival.records)
        return stored, groups

    def _sealer(self, source: str, plan: SealPlan) -> Sealer:
        known = self._sealers.get(source)
        if known is None or known[0] is not plan:
            known = self._sealers[source] = (plan, Sealer(plan))
        return known[1]

    def _parts(self, sources: list[str], groups: dict[int, Groups]) -> list[tuple[SealedPart, ...]]:
        parts: list[tuple[SealedPart, ...]] = [()] * len(sources)
        if not groups:
            return parts
        names = {(sources[number], owner) for number, group in groups.items() for owner in group}
        keys = self._keys.subjects(names)
        n_parts = sum(map(len, groups.values()))
        random, at = os.urandom(16 * n_parts), 0
        for number, group in groups.items():
            if len(group) == 1:  # nearly every record
                ((owner, values),) = group.items()
                subject = keys[sources[number], owner]
                parts[number] = (make_part(subject.subject, subject.key, self._origin, random[at : at + 16], values),)
                at += 16
                continue
            # Two spellings of one person share a key: their values must be one part, or the verdicts would differ.
            merged: dict[bytes, dict[int, bytes]] = {}
            by_subject: dict[bytes, bytes] = {}
            for owner, values in group.items():
                subject = keys[sources[number], owner]
                by_subject[subject.subject] = subject.key
                merged.setdefault(subject.subject, {}).update(values)
            made = []
            for subject_id, values in merged.items():
                made.append(make_part(subject_id, by_subject[subject_id], self._origin, random[at : at + 16], values))
                at += 16
            parts[number] = tuple(made)
        return parts

    def _ids(self, arrivals: Sequence[Arrival]) -> list[str]:
        ids: list[str] = []
        for arrival in arrivals:
            n = len(arrival.records)
            given = arrival.ids if arrival.ids is not None else [None] * n
            random, at = os.urandom(10 * n).hex(), 0
            stamp = f"{arrival.received_at // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}"
            prefix = f"{stamp[:8]}-{stamp[8:]}-7"
            for producer_id in given:
                if producer_id is None:
                    digits = random[at : at + 20]
                    ids.append(f"{prefix}{digits[:3]}-{_VARIANT[int(digits[3], 16) & 3]}{digits[4:7]}-{digits[7:19]}")
                else:
                    ids.append(event_uuid(arrival.source, producer_id, self._keys.id_key))
                at += 20
        return ids

    def _unseal(self, record: bytes, parts: tuple[SealedPart, ...]) -> bytes:
        values: dict[bytes, bytes] = {}
        for part in parts:
            opened = self.open_part(part)
            if opened is not None:
                values.update(parse_part(opened[0]))
        return unseal(record, values) if values else record


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


def _seal_raw(record: bytes, arrival: Arrival) -> tuple[bytes, Groups]:
    return seal_places(record, _RAW_PLACES, f"source:{arrival.source}")


def _quarantine(record: bytes, door: str) -> bytes:
    """A quarantine record around bytes that are not a JSON object."""
    marked: dict[str, object] = {"$quarantine": {"reason": "not a JSON object", "door": door}}
    try:
        marked["$raw"] = record.decode()
    except UnicodeDecodeError:
        marked["$raw_b64"] = base64.b64encode(record).decode()
    return msgspec.json.encode(marked)
