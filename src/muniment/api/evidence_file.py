"""Evidence files out of the running ledger: leaves, proofs, and the parts that keys still open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from muniment.api.services import Services
from muniment.api.times import rfc3339
from muniment.evidence.bundle import EvidenceItem, write_evidence

__all__ = ["evidence_bytes"]


def evidence_bytes(services: Services, indexes: Sequence[int], about: Mapping[str, object] | None = None) -> bytes:
    """The zip for these entries; every part that can be opened is disclosed. `about`: what its summary says beside."""
    items, rows = [], []
    for index in indexes:
        entry = services.ledger.entry(index)
        parts = {0: (entry.salt, entry.record)}
        for number, part in enumerate(entry.parts, 1):
            opened = services.open_part(part)
            if opened is not None:
                plaintext, salt = opened
                parts[number] = (salt, plaintext)
        items.append(EvidenceItem(entry.leaf, services.ledger.tlog_proof(index), parts))
        rows.append(
            {
                "index": index,
                "log": services.ledger.origin_of(index),
                "source": entry.source,
                "received_at": rfc3339(entry.received_at),
            }
        )
    summary = {"made_at": rfc3339(services.clock()), "records": rows, **(about or {})}
    return write_evidence(items, services.ledger.vkeys, summary)
