"""C2SP signed notes and checkpoints, and the keys that sign them. Pure.

Implements c2sp.org/signed-note@v1.0.0, c2sp.org/tlog-checkpoint@v1.0.0 and c2sp.org/tlog-cosignature. A note is UTF-8
text ending in a newline, an empty line, and signature lines `— name base64(id || signature)`. Unknown keys are ignored,
a known key with a bad signature rejects the whole note, and no known signature rejects it too.

Types: 0x01 Ed25519 over the text; 0x04 Ed25519 cosignature/v1 over time and text; 0x06 ML-DSA-44 over a `subtree/v1`
message, which names the cosigner, the log, size and root, and which leaves extension lines uncovered. That is why a
checkpoint here is its first three lines and nothing reads the others.

Stricter than the documents where they leave room: base64 must be canonical, so that no other bytes mean the same note;
every line of a known key is verified, not the first alone; notes are at most NOTE_BYTES_MAX long.
Stops at: ECDSA (0x02) and RFC 6962 (0x05) signatures, which are unknown lines; cosignatures of subtrees that do not
begin at 0, for which checkpoints have no form.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muniment.errors import ConfigError, VerificationError
from muniment.limits import NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # cryptography without ML-DSA: such lines are unknown, and none is made
    mldsa = None  # type: ignore[assignment]

__all__ = [
    "COSIGNATURE_V1", "ED25519", "HAS_ML_DSA", "ML_DSA_44", "Checkpoint", "Cosigner", "NoteSignature", "Signer",
    "VerifierKey", "check_ed25519_public", "checkpoint_body", "cosigned_message", "decode_base64", "open_checkpoint",
    "open_note", "parse_checkpoint_body", "split_note", "subtree_message",
]  # fmt: skip

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
ML_DSA_44: Final = 0x06
HAS_ML_DSA: Final = mldsa is not None and hasattr(mldsa, "MLDSA44PublicKey")
_P = 2**255 - 19
_KEY_LENGTH = {ED25519: 32, COSIGNATURE_V1: 32, ML_DSA_44: 1312}
_SIGNATURE_LENGTH = {ED25519: 64, COSIGNATURE_V1: 72, ML_DSA_44: 8 + 2420}
_TIME_MAX = (1 << 63) - 1
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE = re.compile("\u2014 ([^\\s+]+) ([A-Za-z0-9+/=]+)")
_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_D = -121665 * pow(121666, -1, _P) % _P  # edwards25519, RFC 8032 section 5.1


def decode_base64(text: str) -> bytes | None:
    """RFC 4648 section 4 in its one canonical spelling, else None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def check_ed25519_public(public: bytes) -> None:
    """Refuse keys under which one signature can fit many messages: small order, or not canonical; and non-points.

    Raises:
        ConfigError: the key is refused; says why.
    """
    if len(public) != 32:
        raise ConfigError(f"an Ed25519 public key has 32 bytes, this one {len(public)}", setting="key")
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    if y >= _P:
        raise ConfigError("the Ed25519 public key is not in canonical form", setting="key")
    # x^2 = (y^2 - 1) / (d y^2 + 1); the denominator is never 0 because -1/d is no square.
    yy = y * y % _P
    xx = (yy - 1) * pow(_D * yy + 1, -1, _P) % _P
    # Order 1, 2: x = 0. Order 4: y = 0. Order 8: doubling gives y = 0, that is x^2 + y^2 = 0. This also takes the
    # other spelling of x = 0, with the sign bit set.
    if xx == 0 or yy == 0 or (xx + yy) % _P == 0:
        raise ConfigError("the Ed25519 public key is a point of small order", setting="key")
    if pow(xx, (_P - 1) // 2, _P) != 1:
        raise ConfigError("the Ed25519 public key is not a point of the curve", setting="key")


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
        data = decode_base64(match[3]) if match else None
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
        time_s = 0 if self.kind == ED25519 else int.from_bytes(signature[:8], "big")
        if time_s > _TIME_MAX:
            raise VerificationError(f"the cosignature of {self.name} has no possible time", computed=time_s)
        if self.kind == ML_DSA_44 and not HAS_ML_DSA:
            raise VerificationError(f"the signature of {self.name} is ML-DSA-44, which this cryptography lacks")
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, body)
            elif self.kind == COSIGNATURE_V1:
                message = cosigned_message(body, time_s)
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
            else:
                message = subtree_message(body, time_s, self.name)
                mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
        except (InvalidSignature, ValueError):
            raise VerificationError(f"the signature of {self.name} does not hold", evidence=body) from None


def cosigned_message(body: bytes, time_s: int) -> bytes:
    """What an Ed25519 cosigner signs: cosignature/v1."""
    return b"cosignature/v1\ntime %d\n" % time_s + body


def subtree_message(body: bytes, time_s: int, name: str) -> bytes:
    """What an ML-DSA-44 cosigner signs, with an empty context: C2SP tlog-cosignature, for the whole tree [0, size).

    Raises:
        VerificationError: the body is no checkpoint, or a name is longer than its length byte can say.
    """
    origin, size, root = parse_checkpoint_body(body)
    cosigner, log = name.encode(), origin.encode()
    if not 0 < len(cosigner) < 256 or len(log) > 255:
        raise VerificationError("ML-DSA-44 cosignatures need names of 1 to 255 bytes", computed=(name, origin))
    return b"".join((
        b"subtree/v1\n\0", bytes([len(cosigner)]), cosigner, time_s.to_bytes(8, "big"), bytes([len(log)]), log,
        (0).to_bytes(8, "big"), size.to_bytes(8, "big"), root,
    ))  # fmt: skip


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
        return body + b"\n" + _line(self.vkey, signature)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A key that cosigns checkpoints: a witness, or with ML_DSA_44 and the origin as its name the log itself.

    `private` is the 32-byte seed of either kind. One Ed25519 key serves one cosigner: the message does not name it.
    """

    name: str
    private: bytes
    kind: int = ML_DSA_44

    def __post_init__(self) -> None:
        if self.kind not in {COSIGNATURE_V1, ML_DSA_44}:
            raise ConfigError(f"type {self.kind:#04x} is no cosignature", setting="key")
        if self.kind == ML_DSA_44 and not HAS_ML_DSA:
            raise ConfigError("this cryptography lacks ML-DSA-44", setting="key")

    @property
    def vkey(self) -> VerifierKey:
        """Its public half."""
        if self.kind == COSIGNATURE_V1:
            public = Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()
        else:
            public = mldsa.MLDSA44PrivateKey.from_seed_bytes(self.private).public_key().public_bytes_raw()
        return VerifierKey(self.name, self.kind, public)

    def cosign(self, body: bytes, time_s: int) -> bytes:
        """The signature line to append to the note of `body`.

        Whoever calls it has verified that `body` is consistent with everything this key has signed before.
        """
        if not 0 <= time_s <= _TIME_MAX:
            raise ConfigError("the time of a cosignature must be from 0 to 2**63 - 1", setting="time")
        if self.kind == COSIGNATURE_V1:
            signature = Ed25519PrivateKey.from_private_bytes(self.private).sign(cosigned_message(body, time_s))
        else:
            message = subtree_message(body, time_s, self.name)
            signature = mldsa.MLDSA44PrivateKey.from_seed_bytes(self.private).sign(message)
        return _line(self.vkey, time_s.to_bytes(8, "big") + signature)


def _line(key: VerifierKey, signature: bytes) -> bytes:
    return b"\xe2\x80\x94 %b %b\n" % (key.name.encode(), base64.b64encode(key.id + signature))


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
    if len(note) > NOTE_BYTES_MAX:
        raise VerificationError(f"the note is longer than {NOTE_BYTES_MAX} bytes", computed=len(note))
    try:
        text = note.decode("utf-8")
    except UnicodeDecodeError:
        raise VerificationError("the note is not UTF-8", evidence=note) from None
    if _CONTROL.search(text):
        raise VerificationError("the note holds control characters", evidence=note)
    body, separator, block = note.rpartition(b"\n\n")
    if not separator or not block.endswith(b"\n"):
        raise VerificationError("the note has no signatures", evidence=note)
    lines = block[:-1].decode().split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise VerificationError(f"more than {NOTE_SIGNATURES_MAX} signatures", evidence=note)
    return body + b"\n", [_signature_line(line, note) for line in lines]


def _signature_line(line: str, note: bytes) -> NoteSignature:
    match = _LINE.fullmatch(line)
    blob = decode_base64(match[2]) if match else None
    if match is None or blob is None or len(blob) < 5:
        raise VerificationError(f"malformed signature line {line[:80]!r}", evidence=note)
    return NoteSignature(match[1], blob[:4], blob[4:])


def open_note(note: bytes, keys: Sequence[VerifierKey]) -> tuple[bytes, list[VerifierKey]]:
    """The text of a note and the keys that signed it, at least one, each once.

    Raises:
        VerificationError: no known key signed it, or a known key's signature does not hold.
        ConfigError: two of `keys` share name and id, so a line cannot say whose it is.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.id), key) != key:
            raise ConfigError(f"two keys are called {key.name}+{key.id.hex()}", setting="vkey")
    body, lines = split_note(note)
    signed: list[VerifierKey] = []
    for line in lines:
        found = known.get((line.name, line.key_id))
        if found is not None:
            found.verify(body, line.signature)
            if found not in signed:
                signed.append(found)
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
    """Origin, size and root of a checkpoint text; extension lines must not be empty and are not looked at.

    Raises:
        VerificationError: malformed; a size with a leading zero is.
    """
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise VerificationError("malformed checkpoint", evidence=body) from None
    root = decode_base64(lines[2]) if len(lines) > 3 else None
    is_text = lines[-1] == "" and all(lines[:-1])
    if root is None or len(root) != 32 or not is_text or not _SIZE.fullmatch(lines[1]) or int(lines[1]) > _TIME_MAX:
        raise VerificationError("malformed checkpoint", evidence=body)
    return lines[0], int(lines[1]), root


def open_checkpoint(note: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """A checkpoint of the log `origin`, signed by the log itself under one of `keys`.

    The log's own keys carry its origin as their name, and are of type Ed25519 or ML-DSA-44; a witness is no log.

    Raises:
        VerificationError: as open_note; or another origin; or only cosigners signed.
    """
    body, signed = open_note(note, keys)
    found, size, root = parse_checkpoint_body(body)
    if found != origin:
        raise VerificationError(f"expected the origin {origin}, got {found}", expected=origin, computed=found)
    if not any(key.name == origin and key.kind in {ED25519, ML_DSA_44} for key in signed):
        raise VerificationError(f"the log {origin} did not sign its checkpoint", evidence=note)
    return Checkpoint(found, size, root)
