"""Check a receipt offline: the entry is in the tree of a checkpoint that the ledger's key has signed.

A receipt alone is the server's word: entry n has this leaf hash, and a signed checkpoint covers it. `verify_receipt`
checks what it says of itself with the pinned key; with the entry's proof (`GET /api/v1/events/<index>/proof`, a
C2SP tlog-proof file; a reader's key fetches it) also that the leaf is in the tree. RFC 9162 section 2.1.3, C2SP
signed-note and tlog-checkpoint. The signature needs `cryptography`, imported when used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from muniment.sdk.errors import ProofError
from muniment.sdk.receipts import Receipt
from muniment.sdk.witness import Checkpoint

__all__ = ["verify_checkpoint", "verify_consistency", "verify_inclusion", "verify_receipt"]

_MAGIC = "c2sp.org/tlog-proof@v1"
_ED25519 = 1


def verify_receipt(receipt: Receipt, origin: str, vkey: str, proof: bytes | None = None) -> Checkpoint:
    """Check `receipt` against the pinned `origin` and `vkey`; with `proof`, that the tree holds its leaf.

    Returns the checkpoint that covers the entry: the proof's, if there is one, else the receipt's.

    Raises:
        ProofError: anything does not fit.
    """
    own = verify_checkpoint(receipt.checkpoint, origin, vkey)
    if not receipt.index < own.size:
        raise ProofError(f"expected entry {receipt.index} below the checkpoint's size, got {own.size}")
    if proof is None:
        return own
    try:
        head, _, note = proof.decode().partition("\n\n")
        magic, *lines = head.split("\n")
        if lines and lines[0].startswith("extra "):
            del lines[0]
        if magic != _MAGIC or not lines[0].startswith("index "):
            raise ValueError("no tlog-proof")
        index, hashes = int(lines[0][6:]), [base64.b64decode(line, validate=True) for line in lines[1:]]
    except (ValueError, IndexError) as error:
        raise ProofError(f"not a proof: {error}") from None
    if index != receipt.index:
        raise ProofError(f"expected a proof of entry {receipt.index}, got one of {index}")
    checkpoint = verify_checkpoint(note, origin, vkey)
    verify_inclusion(receipt.leaf_hash, index, checkpoint.size, hashes, checkpoint.root_hash)
    return checkpoint


def verify_checkpoint(note: str, origin: str, vkey: str) -> Checkpoint:
    """Check that `note` is a checkpoint of `origin` signed by `vkey` (`name+hash+key`, from `/api/v1/log-keys`)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        name, _, rest = vkey.partition("+")
        hash_hex, _, key_text = rest.partition("+")
        key = base64.b64decode(key_text, validate=True)
        key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
        if len(key) != 33 or key[0] != _ED25519 or key_id.hex() != hash_hex:
            raise ValueError
    except ValueError:
        raise ProofError(f"not an Ed25519 verifier key: {vkey!r}") from None
    body, separator, signatures = note.rpartition("\n\n")
    try:
        checkpoint = Checkpoint.parse(note)
    except ValueError as error:
        raise ProofError(str(error)) from None
    if not separator or checkpoint.origin != origin:
        raise ProofError(f"expected a checkpoint of {origin!r}, got {checkpoint.origin!r}")
    for line in signatures.splitlines():
        words = line.split(" ")
        if len(words) != 3 or words[:2] != ["—", name]:
            continue
        try:
            data = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        if data[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(data[4:], body.encode() + b"\n")
                return checkpoint
            except InvalidSignature:
                break
    raise ProofError(f"no valid signature of {name!r}")


def verify_inclusion(leaf_hash: bytes, index: int, size: int, hashes: Sequence[bytes], root_hash: bytes) -> None:
    """Check that the tree of `size` leaves with `root_hash` holds `leaf_hash` at `index`. RFC 9162, 2.1.3.2."""
    if not 0 <= index < size or any(len(one) != 32 for one in (leaf_hash, *hashes)):
        raise ProofError(f"no proof of entry {index} in {size}")
    at, last, found = index, size - 1, leaf_hash
    for one in hashes:
        if last == 0:
            raise ProofError("more hashes than the tree has levels")
        if at & 1 or at == last:
            found = _node(one, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = _node(found, one)
        at, last = at >> 1, last >> 1
    if last != 0 or found != root_hash:
        raise ProofError(f"expected root {root_hash.hex()}, computed {found.hex()}")


def verify_consistency(old: Checkpoint, new: Checkpoint, hashes: Sequence[bytes]) -> None:
    """Check that the tree of `new` begins with that of `old`: nothing was changed or removed. RFC 9162, 2.1.4.2."""
    if old.origin != new.origin or not 0 <= old.size <= new.size or any(len(one) != 32 for one in hashes):
        raise ProofError(f"no consistency from {old.origin} {old.size} to {new.origin} {new.size}")
    if old.size == new.size or old.size == 0:
        if hashes or (old.size and old.root_hash != new.root_hash):
            raise ProofError(f"two different trees of size {old.size}" if old.size else "hashes for an empty tree")
        return
    path = [old.root_hash, *hashes] if old.size & (old.size - 1) == 0 else list(hashes)
    if not path:
        raise ProofError("no hashes")
    at, last = old.size - 1, new.size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    from_old = from_new = path[0]
    for one in path[1:]:
        if last == 0:
            raise ProofError("more hashes than the tree has levels")
        if at & 1 or at == last:
            from_old, from_new = _node(one, from_old), _node(one, from_new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            from_new = _node(from_new, one)
        at, last = at >> 1, last >> 1
    if last != 0 or from_old != old.root_hash or from_new != new.root_hash:
        raise ProofError(f"the tree of {new.size} does not begin with that of {old.size}")


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
