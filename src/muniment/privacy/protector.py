"""What happens to a batch between the doors and the ledger: secrets out, personal values sealed, ids given.

`batch` does the work, here or, for large batches of sealed sources, in a worker process beside the server. The keys of
people never seen before are made durable, once for the batch, before anything is encrypted under them; a crash after
that leaves unused keys, no harm.

Rules: `protect` never fails on content, only on storage; a record its plan does not fit stays as it is. The `clear`
records are scrubbed of secrets and nothing else; the caller must not store them in the ledger. A batch during which
somebody was erased is done again, so nothing is sealed under a key that is gone.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from muniment.event.ids import event_uuid
from muniment.event.model import Arrival
from muniment.ledger.types import Entries, SealedPart
from muniment.limits import SEAL_WORKER_RECORDS_MIN
from muniment.privacy.batch import BatchSealer, Job, Name, Sealed, Subject
from muniment.privacy.keys import KeyStore
from muniment.privacy.parts import open_part
from muniment.privacy.plan import SealPlan
from muniment.privacy.scan import Scrubber
from muniment.privacy.seal import parse_part, unseal
from muniment.privacy.worker import SealWorker, WorkerLostError

__all__ = ["PlanRegistry", "Protected", "Protector"]

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
        self,
        registry: PlanRegistry,
        keys: KeyStore,
        origin: str,
        *,
        scrubber: Scrubber | None = None,
        has_worker: bool = False,
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._origin = origin.encode()
        self._sealer = BatchSealer(self._origin, self._subjects, scrubber)
        self._plans: dict[str, tuple[SealPlan, int]] = {}
        self._numbers = 0
        self._secrets: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._worker = SealWorker(self._origin, self._named_subjects) if has_worker else None
        if self._worker:
            self._worker.start()

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker:
            self._worker.close()
            self._worker = None

    @property
    def worker_pid(self) -> int | None:
        """The worker process, if there is one now."""
        return self._worker.pid if self._worker else None

    def protect(self, arrivals: Sequence[Arrival]) -> Protected:
        """Scrub, seal and name a batch. New subject keys are durable on return.

        Raises:
            StorageError: the key table cannot be written; nothing of the batch may be appended.
        """
        sources: list[str] = []
        received_at: list[int] = []
        sqs: list[int | None] = []
        for arrival in arrivals:
            n = len(arrival.records)
            sources += [arrival.source] * n
            received_at += [arrival.received_at] * n
            sqs += arrival.sqs if arrival.sqs is not None else [None] * n
        sealed = self._seal(arrivals)
        if sealed.secrets:
            with self._lock:
                for number, kind, times in sealed.secrets:
                    self._secrets[sources[number], kind] += times
        is_ours = [
            given is None for a in arrivals for given in (a.ids if a.ids is not None else [None] * len(a.records))
        ]
        ids = self._ids(arrivals)
        return Protected(Entries(sources, ids, sqs, received_at, sealed.stored, sealed.parts, is_ours), sealed.clear)

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

    def _seal(self, arrivals: Sequence[Arrival]) -> Sealed:
        plans: dict[int, SealPlan] = {}
        jobs = [Job(a.source, a.door, self._plan(a.source, plans), a.records, a.quarantined) for a in arrivals]
        sealed_records = sum(len(job.records) for job in jobs if job.plan)
        while True:
            generation = self._keys.generation
            done = self._by_worker(jobs, plans, generation) if sealed_records >= SEAL_WORKER_RECORDS_MIN else None
            if done is None:
                done = self._sealer.run(jobs)
            if self._keys.generation == generation:
                return done

    def _by_worker(self, jobs: Sequence[Job], plans: dict[int, SealPlan], generation: int) -> Sealed | None:
        worker = self._worker
        if worker is None or not worker.is_free():
            if worker is not None:
                worker.start()
            return None
        try:
            return worker.run(jobs, plans, generation)
        except WorkerLostError:
            return None

    def _plan(self, source: str, plans: dict[int, SealPlan]) -> int:
        """The number of a source's plan, 0 for none; adds it to `plans`."""
        plan = self._registry.plan_for(source)
        if plan is None:
            return 0
        known = self._plans.get(source)
        if known is None or known[0] is not plan:
            with self._lock:
                known = self._plans[source] = (plan, self._numbers + 1)
                self._numbers += 1
            self._sealer.learn(known[1], plan)
        plans[known[1]] = plan
        return known[1]

    def _subjects(self, names: set[Name]) -> dict[Name, Subject]:
        return {name: (found.subject, found.key) for name, found in self._keys.subjects(names).items()}

    def _named_subjects(self, names: Sequence[Name]) -> list[tuple[Name, Subject]]:
        return list(self._subjects(set(names)).items())

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
