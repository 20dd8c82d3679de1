"""C2SP signed notes and checkpoints, and the keys that sign them. Pure.

A note is UTF-8 text ending in a newline, an empty line, and signature lines `— name base64(id || signature)`. Unknown
keys are ignored, a known key with a bad signature rejects the whole note, and no known signature rejects it too.
Types: 0x01 Ed25519 over the text; 0x04 Ed25519 cosignature/v1 and 0x06 ML-DSA-44, both over time and text.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muniment.errors import ConfigError, VerificationError

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # cryptography without ML-DSA: such lines are unknown, and none is made
    mldsa = None  # type: ignore[assignment]

__all__ = [
    "COSIGNATURE_V1", "ED25519", "HAS_ML_DSA", "ML_DSA_44", "Checkpoint", "NoteSignature", "Signer", "VerifierKey", "check_ed25519_public",
    "checkpoint_body", "cosigned_message", "open_checkpoint", "open_note", "parse_checkpoint_body", "split_note",
]  # fmt: skip

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
ML_DSA_44: Final = 0x06
HAS_ML_DSA: Final = mldsa is not None and hasattr(mldsa, "MLDSA44PublicKey")
SIGNATURES_MAX: Final = 64
_P = 2**255 - 19
_KEY_LENGTH = {ED25519: 32, COSIGNATURE_V1: 32, ML_DSA_44: 1312}
_SIGNATURE_LENGTH = {ED25519: 64, COSIGNATURE_V1: 72, ML_DSA_44: 8 + 2420}


def check_ed25519_public(public: bytes) -> None:
    """Refuse keys under which one signature can fit many messages: small order, or not canonical.

    Raises:
        ConfigError: the key is refused; says why.
    """
    if len(public) != 32:
        raise ConfigError(f"an Ed25519 public key has 32 bytes, this one {len(public)}", setting="key")
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    if y >= _P:
        raise ConfigError("the Ed25519 public key is not in canonical form", setting="key")
    if _has_small_order(y) or (y in {1, _P - 1} and public[31] >> 7):
        raise ConfigError("the Ed25519 public key is a point of small order", setting="key")


def _has_small_order(y: int) -> bool:
    """Are the points with this y of order 1, 2, 4 or 8? y^2 decides for order 8: see RFC 8032 section 5.1 constants."""
    d = -121665 * pow(121666, -1, _P) % _P
    # Doubling three times in projective terms is overkill: the eight torsion points have only these y.
    if y in {0, 1, _P - 1}:
        return True
    # Order 8: doubling gives y' = 0, that is y^2 + x^2 = 0 with x^2 = (y^2 - 1) / (d y^2 + 1).
    yy = y * y % _P
    return (yy * (d * yy + 1) + yy - 1) % _P == 0


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that was configured: vkey text `name+hex id+base64(type || key)`."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a vkey.

        Raises:
            ConfigError: malformed, an unknown type, a wrong id, or a key that is refused.
        """
        match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", text)
        try:
            data = base64.b64decode(match[3], validate=True) if match else b""
        except binascii.Error:
            data = b""
        if match is None or not data or len(data) - 1 != _KEY_LENGTH.get(data[0]):
            raise ConfigError(f"{text[:80]!r} is no vkey (name+id+key)", setting="vkey")
        key = cls(match[1], data[0], data[1:])
        if key.kind != ML_DSA_44:
            check_ed25519_public(key.public)
        if key.id.hex() != match[2]:
            raise ConfigError(f"the key id {match[2]} does not belong to the key", setting="vkey")
        return key

    @property
    def id(self) -> bytes:
        """The four bytes that name the key in signature lines."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """The vkey text."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verify(self, body: bytes, signature: bytes) -> None:
        """Check one signature over a note text.

        Raises:
            VerificationError: it does not hold.
        """
        if len(signature) != _SIGNATURE_LENGTH[self.kind]:
            raise VerificationError(f"the signature of {self.name} has the wrong length", computed=len(signature))
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, body)
            elif self.kind == COSIGNATURE_V1:
                message = cosigned_message(body, int.from_bytes(signature[:8], "big"))
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
            elif HAS_ML_DSA:
                time_s = int.from_bytes(signature[:8], "big")
                key = mldsa.MLDSA44PublicKey.from_public_bytes(self.public)
                key.verify(signature[8:], subtree_message(body, time_s, self.name))
            else:
                raise VerificationError(f"the signature of {self.name} is ML-DSA-44, which this cryptography lacks")
        except InvalidSignature:
            raise VerificationError(f"the signature of {self.name} does not hold", evidence=body) from None


def cosigned_message(body: bytes, time_s: int) -> bytes:
    """What an Ed25519 cosigner signs: cosignature/v1."""
    return b"cosignature/v1\ntime %d\n" % time_s + body


def subtree_message(body: bytes, time_s: int, name: str) -> bytes:
    """What an ML-DSA-44 cosigner signs: C2SP tlog-cosignature, `subtree/v1`, for the whole tree [0, size)."""
    origin, size, root = parse_checkpoint_body(body)
    cosigner, log = name.encode(), origin.encode()
    return (
        b"subtree/v1\n\0" + bytes([len(cosigner)]) + cosigner + time_s.to_bytes(8, "big") + bytes([len(log)]) + log
        + (0).to_bytes(8, "big") + size.to_bytes(8, "big") + root
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signer:
    """A log's Ed25519 key."""

    name: str
    private: bytes

    @property
    def vkey(self) -> VerifierKey:
        """Its public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()
        return VerifierKey(self.name, ED25519, public)

    def sign(self, body: bytes) -> bytes:
        """The signed note of `body`, which ends in a newline."""
        signature = Ed25519PrivateKey.from_private_bytes(self.private).sign(body)
        blob = base64.b64encode(self.vkey.id + signature)
        return body + b"\n\xe2\x80\x94 " + self.name.encode() + b" " + blob + b"\n"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_id: bytes
    signature: bytes


def split_note(note: bytes) -> tuple[bytes, list[NoteSignature]]:
    """The text and the signature lines of a note.

    Raises:
        VerificationError: not a note: not UTF-8, control characters, no signature block, malformed lines.
    """
    try:
        text = note.decode("utf-8")
    except UnicodeDecodeError:
        raise VerificationError("the note is not UTF-8", evidence=note) from None
    if any(unicodedata.category(char) == "Cc" and char != "\n" for char in text):
        raise VerificationError("the note holds control characters", evidence=note)
    body, separator, block = note.rpartition(b"\n\n")
    if not separator or not block.endswith(b"\n"):
        raise VerificationError("the note has no signatures", evidence=note)
    lines = block[:-1].decode().split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise VerificationError(f"more than {SIGNATURES_MAX} signatures", evidence=note)
    return body + b"\n", [_signature_line(line, note) for line in lines]


def _signature_line(line: str, note: bytes) -> NoteSignature:
    match = re.fullmatch("\u2014 ([^\\s+]+) ([A-Za-z0-9+/=]+)", line)
    try:
        blob = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        blob = b""
    if match is None or len(blob) < 5:
        raise VerificationError(f"malformed signature line {line[:80]!r}", evidence=note)
    return NoteSignature(match[1], blob[:4], blob[4:])


def open_note(note: bytes, keys: Sequence[VerifierKey]) -> tuple[bytes, list[VerifierKey]]:
    """The text of a note and the keys that signed it, at least one.

    Raises:
        VerificationError: no known key signed it, or a known key's signature does not hold.
    """
    body, lines = split_note(note)
    known = {(key.name, key.id): key for key in keys}
    signed = []
    for line in lines:
        key = known.get((line.name, line.key_id))
        if key is not None and key not in signed:
            key.verify(body, line.signature)
            signed.append(key)
    if not signed:
        raise VerificationError("no known key signed the note", expected=[k.name for k in keys], evidence=note)
    return body, signed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log claims: `size` leaves under `root_hash`."""

    origin: str
    size: int
    root_hash: bytes


def checkpoint_body(origin: str, size: int, root_hash: bytes) -> bytes:
    """The text of a checkpoint."""
    return f"{origin}\n{size}\n{base64.b64encode(root_hash).decode()}\n".encode()


def parse_checkpoint_body(body: bytes) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint text; extension lines are let be.

    Raises:
        VerificationError: malformed; a size with a leading zero is.
    """
    try:
        lines = body.decode("utf-8").split("\n")
        origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (ValueError, IndexError):  # base64 of non-ASCII text is a plain ValueError
        raise VerificationError("malformed checkpoint", evidence=body) from None
    is_number = re.fullmatch("0|[1-9][0-9]{0,18}", size)
    if not origin or not is_number or len(root) != 32 or lines[-1] or base64.b64encode(root).decode() != lines[2]:
        raise VerificationError("malformed checkpoint", evidence=body)
    return origin, int(size), root


def open_checkpoint(note: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """A checkpoint of the log `origin`, signed by the log itself under one of `keys`.

    Raises:
        VerificationError: as open_note; or another origin; or only cosigners signed.
    """
    body, signed = open_note(note, keys)
    found, size, root = parse_checkpoint_body(body)
    if found != origin:
        raise VerificationError(f"expected the origin {origin}, got {found}", expected=origin, computed=found)
    if not any(key.name == origin and key.kind == ED25519 for key in signed):
        raise VerificationError(f"the log {origin} did not sign its checkpoint", evidence=note)
    return Checkpoint(found, size, root)
