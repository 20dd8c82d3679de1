"""One record's proof checked step by step, each step with both values. Pure.

The fold is RFC 9162, section 2.1.3.2. The page shows every intermediate hash, so this module keeps them; the
strict verifier of evidence files is another one (`merkle/`). The same steps run in the reader's browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from muniment.web.backend import Proof

__all__ = ["Fold", "Step", "Verdict", "folds", "verdict"]


@dataclass(frozen=True, slots=True)
class Step:
    """One check. `is_right` None: it could not be made here, and the words say why."""

    name: str
    words: str
    is_right: bool | None
    expected: str = ""
    computed: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """One level of the path: the sibling stands on the `side`, together they hash to `result`."""

    level: int
    side: str
    sibling: str
    result: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All steps. `is_valid` is True only when every step was made and is right."""

    steps: tuple[Step, ...]
    folds: tuple[Fold, ...]
    is_valid: bool


def folds(proof: Proof) -> Iterator[Fold]:
    """The way from the leaf to the root, level by level."""
    node = hashlib.sha256(b"\x00" + proof.leaf).digest()
    fn, sn = proof.leaf_index, proof.size - 1
    for level, sibling in enumerate(proof.inclusion_proof):
        if fn & 1 or fn == sn:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            side = "left"
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
            side = "right"
        fn, sn = fn >> 1, sn >> 1
        yield Fold(level, side, sibling.hex(), node.hex())


def verdict(proof: Proof, event_id: str) -> Verdict:
    """Every check of one record, from its bytes to the signature."""
    path = tuple(folds(proof))
    leaf_hash = hashlib.sha256(b"\x00" + proof.leaf).digest()
    root = path[-1].result if path else leaf_hash.hex()
    head = _Leaf.of(proof.leaf)
    note = proof.checkpoint.split("\n")
    stated_size, stated_root = (note[1], _b64_hex(note[2])) if len(note) > 3 else ("", "")
    commitment = hashlib.sha256(proof.record_salt + proof.record).hexdigest()
    steps = (
        Step("Record", "The stored record and its salt hash to the first commitment in the leaf", commitment == head.commitment, head.commitment, commitment),
        Step("Leaf", "The leaf names this index and this event id", head.index == proof.leaf_index and (not event_id or head.event_id == event_id), f"{proof.leaf_index} {event_id}", f"{head.index} {head.event_id}"),
        Step("Leaf hash", "SHA-256 of a zero byte and the leaf is the hash the ledger stores", leaf_hash == proof.leaf_hash, proof.leaf_hash.hex(), leaf_hash.hex()),
        Step("Path", f"{len(path)} sibling hashes lead from the leaf to the root the checkpoint states", _is_length_right(proof) and root == stated_root, stated_root, root),
        Step("Size", "The checkpoint covers exactly the tree the path was made for", stated_size == str(proof.size) and note[0] == proof.origin, f"{proof.origin} {proof.size}", f"{note[0]} {stated_size}"),
        *[
            Step("Signature", f"{s.algorithm} signature by {s.name}" + ("" if s.is_valid is not None else "; the key is not known here, so it counts for nothing"), s.is_valid)
            for s in proof.signatures
        ],
    )  # fmt: skip
    is_valid = all(step.is_right is not False for step in steps) and any(s.is_valid for s in proof.signatures)
    return Verdict(steps, path, is_valid)


def _is_length_right(proof: Proof) -> bool:
    """A path has exactly one length for an index and a size; surplus or missing hashes are an error."""
    if not 0 <= proof.leaf_index < proof.size:
        return False
    n_inner = (proof.leaf_index ^ (proof.size - 1)).bit_length()
    return len(proof.inclusion_proof) == n_inner + (proof.leaf_index >> n_inner).bit_count()


@dataclass(frozen=True, slots=True)
class _Leaf:
    index: int
    event_id: str
    commitment: str

    @classmethod
    def of(cls, leaf: bytes) -> _Leaf:
        try:
            head = json.loads(leaf)
            return cls(int(head["i"]), str(head["id"]), _b64_hex(str(head["c"][0])))
        except (ValueError, KeyError, IndexError, TypeError):
            return cls(-1, "", "")


def _b64_hex(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return ""
