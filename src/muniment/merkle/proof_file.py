"""C2SP tlog-proof v1: one file with an index, an inclusion proof and the checkpoint verbatim. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from muniment.errors import VerificationError
from muniment.merkle.note import Checkpoint, VerifierKey, open_checkpoint
from muniment.merkle.tree import verify_inclusion

__all__ = ["TlogProof", "encode_proof", "parse_proof", "verify_proof"]

_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """What the file says; nothing of it is checked yet."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


def encode_proof(index: int, hashes: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The file's bytes."""
    steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in hashes)
    return f"{_HEADER}\nindex {index}\n{steps}\n".encode() + checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read the file strictly.

    Raises:
        VerificationError: any other first line, no index, hashes of another length, no checkpoint.
    """
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
        match = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[1])
        hashes = tuple(base64.b64decode(line, validate=True) for line in lines[2:])
    except (UnicodeDecodeError, IndexError, binascii.Error):
        raise VerificationError("malformed tlog-proof", evidence=data) from None
    is_canonical = all(
        len(h) == 32 and base64.b64encode(h).decode() == line for h, line in zip(hashes, lines[2:], strict=True)
    )
    if lines[0] != _HEADER or match is None or not separator or not checkpoint or not is_canonical or len(hashes) > 64:
        raise VerificationError("malformed tlog-proof", evidence=data)
    return TlogProof(int(match[1]), hashes, checkpoint)


def verify_proof(data: bytes, leaf_hash: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Check a proof file for a leaf hash under pinned keys; the checkpoint it stands under.

    Raises:
        VerificationError: anything that does not hold.
    """
    proof = parse_proof(data)
    checkpoint = open_checkpoint(proof.checkpoint, origin, keys)
    verify_inclusion(leaf_hash, proof.index, checkpoint.size, proof.hashes, checkpoint.root_hash)
    return checkpoint
