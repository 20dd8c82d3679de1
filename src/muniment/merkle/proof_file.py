"""C2SP tlog-proof v1: one file with an index, an inclusion proof and the checkpoint verbatim. Pure.

Implements c2sp.org/tlog-proof. `extra` is carried and never believed: nothing authenticates it. Base64 and numbers have
one spelling each, so a file that verifies has no other bytes that mean the same, but for lines of unknown signers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from muniment.errors import VerificationError
from muniment.limits import PROOF_BYTES_MAX
from muniment.merkle.note import Checkpoint, VerifierKey, decode_base64, open_checkpoint
from muniment.merkle.tree import verify_inclusion

__all__ = ["TlogProof", "encode_proof", "parse_proof", "verify_proof"]

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile("index (0|[1-9][0-9]{0,18})")
_HASHES_MAX = 63


@dataclass(frozen=True, slots=True)
class TlogProof:
    """What the file says; nothing of it is checked yet, and `extra` never is."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


def encode_proof(index: int, hashes: Sequence[bytes], checkpoint: bytes, extra: bytes = b"") -> bytes:
    """The file's bytes; no `extra` line without extra data."""
    note = f"extra {base64.b64encode(extra).decode()}\n" if extra else ""
    steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in hashes)
    return f"{_HEADER}\n{note}index {index}\n{steps}\n".encode() + checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read the file strictly.

    Raises:
        VerificationError: any other first line, no index, hashes of another length, no checkpoint, or too long.
    """
    head, separator, checkpoint = data.partition(b"\n\n")
    if len(data) > PROOF_BYTES_MAX or not head.isascii() or not separator or not checkpoint:
        raise VerificationError("malformed tlog-proof", evidence=data)
    lines = head.decode("ascii").split("\n")
    extra: bytes | None = b""
    if len(lines) > 1 and lines[1].startswith("extra "):
        extra = decode_base64(lines.pop(1)[6:]) or None
    match = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    hashes = [step for line in lines[2:] if (step := decode_base64(line)) and len(step) == 32]
    if lines[0] != _HEADER or match is None or extra is None or len(hashes) != len(lines) - 2:
        raise VerificationError("malformed tlog-proof", evidence=data)
    if len(hashes) > _HASHES_MAX:
        raise VerificationError("more hashes than any tree has levels", expected=_HASHES_MAX, computed=len(hashes))
    return TlogProof(int(match[1]), tuple(hashes), checkpoint, extra)


def verify_proof(data: bytes, leaf_hash: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Check a proof file for a leaf hash under pinned keys; the checkpoint it stands under.

    Raises:
        VerificationError: anything that does not hold.
    """
    proof = parse_proof(data)
    checkpoint = open_checkpoint(proof.checkpoint, origin, keys)
    verify_inclusion(leaf_hash, proof.index, checkpoint.size, proof.hashes, checkpoint.root_hash)
    return checkpoint
