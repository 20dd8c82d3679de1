"""One person's part of one record: committed to in the leaf, encrypted under the person's key.

    okm        = HKDF-Expand(K, "muniment/part/v1" || L(origin) || L(nz), 48)      L(x) = u16-BE length || x
    salt, enc  = okm[0:16], okm[16:48]                K is uniform, so Expand alone suffices (RFC 5869, section 3.3)
    commitment = SHA-256(salt || plaintext)
    ciphertext = AES-256-GCM(enc, nonce = 12 zero bytes, plaintext, aad = commitment)

The nonce may be fixed because `nz` is fresh for every part, so every `enc` seals once. GCM alone does not bind to one
key, the commitment does; the salt is derived, so that without K a low-entropy value cannot be guessed from the leaf.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from muniment.errors import VerificationError
from muniment.ledger.types import SealedPart

__all__ = ["make_part", "open_part", "plaintext_of"]

_NONCE = bytes(12)
_INFO = b"muniment/part/v1"


def plaintext_of(subject: bytes, values: Mapping[int, bytes]) -> bytes:
    """The bytes the leaf commits to: `{"s":"<subject hex>","v":{"1":<raw JSON>,...}}`."""
    body = b",".join([b'"%d":%b' % item for item in values.items()])
    return b'{"s":"%b","v":{%b}}' % (subject.hex().encode(), body)


def make_part(subject: bytes, key: bytes, origin: bytes, nz: bytes, values: Mapping[int, bytes]) -> SealedPart:
    """Commit to the values and encrypt them."""
    plaintext = plaintext_of(subject, values)
    salt, sealing_key = _derive(key, origin, nz)
    commitment = hashlib.sha256(salt + plaintext).digest()
    return SealedPart(subject, nz, commitment, AESGCM(sealing_key).encrypt(_NONCE, plaintext, commitment))


def open_part(part: SealedPart, key: bytes, origin: bytes) -> tuple[bytes, bytes]:
    """(plaintext, salt) of a part, what a disclosure consists of.

    Raises:
        VerificationError: the ciphertext is not what the commitment says.
    """
    salt, sealing_key = _derive(key, origin, part.nz)
    try:
        plaintext = AESGCM(sealing_key).decrypt(_NONCE, part.ciphertext, part.commitment)
    except InvalidTag:
        raise VerificationError("a personal part does not open under its subject's key", evidence=part) from None
    computed = hashlib.sha256(salt + plaintext).digest()
    if computed != part.commitment:
        raise VerificationError(
            f"expected the commitment {part.commitment.hex()}, got {computed.hex()}",
            expected=part.commitment,
            computed=computed,
            evidence=part,
        )
    return plaintext, salt


@lru_cache(maxsize=64)
def _prefix(origin: bytes, nz_bytes: int) -> bytes:
    return b"".join((_INFO, len(origin).to_bytes(2, "big"), origin, nz_bytes.to_bytes(2, "big")))


def _derive(key: bytes, origin: bytes, nz: bytes) -> tuple[bytes, bytes]:
    info = _prefix(origin, len(nz)) + nz
    first = hmac.digest(key, info + b"\x01", "sha256")
    second = hmac.digest(key, first + info + b"\x02", "sha256")
    return first[:16], first[16:] + second[:16]
