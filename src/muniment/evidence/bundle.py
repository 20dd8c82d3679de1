"""The evidence file: a zip of data, no code; written from plain values, verified offline.

For each record `events/<shard>/<index>/` (the log's last name and the number in its tree): `leaf` (the bytes the tree hashes), `proof.tlog-proof`, and what was disclosed:
`part0.json` with `part0.salt` (the record), `part<k>.json` with `part<k>.salt` (personal parts). A part that is not
there was withheld; its commitment stays in the leaf. `summary.json` is for people and proves nothing; `vkeys.txt` is
what the log says its keys are, which a verifier compares with the keys it pinned and never believes by itself.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.errors import VerificationError
from muniment.merkle.note import VerifierKey, parse_checkpoint_body, split_note
from muniment.merkle.proof_file import parse_proof, verify_proof
from muniment.merkle.tree import leaf_hash

__all__ = ["MEMBERS_MAX", "EvidenceItem", "Finding", "VerifiedEvidence", "verify_evidence", "write_evidence"]

MEMBER_BYTES_MAX: Final = 8 * 1024 * 1024
MEMBERS_MAX: Final = 50_000
TOTAL_BYTES_MAX: Final = 1024 * 1024 * 1024
_MEMBER = re.compile(
    r"events/([0-9a-z][0-9a-z.-]{0,31}/(?:0|[1-9][0-9]{0,17}))/(leaf|proof\.tlog-proof|part(?:0|[1-9][0-9]{0,3})\.(?:json|salt))|summary\.json|vkeys\.txt"
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """One record to hand out: part number -> (salt, bytes) for everything that is disclosed."""

    leaf: bytes
    proof: bytes
    parts: Mapping[int, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One verified record: `index` in the tree of the log `origin`.

    `verdict` is `valid` or `valid - withheld`; `withheld` names the parts not disclosed.
    """

    origin: str
    index: int
    verdict: str
    time: str
    source: str
    record: bytes | None
    withheld: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """A whole file that held: each log that signed and over how many entries at most, and each record."""

    logs: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...] = field(default_factory=tuple)


def write_evidence(items: Iterable[EvidenceItem], vkeys: Sequence[str], summary: Mapping[str, object]) -> bytes:
    """The zip's bytes; the same input gives the same bytes."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)

        put("summary.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())
        put("vkeys.txt", "".join(f"{vkey}\n" for vkey in vkeys).encode())
        for item in items:
            proof = parse_proof(item.proof)
            origin, _, _ = parse_checkpoint_body(split_note(proof.checkpoint)[0])
            folder = f"events/{_shard(origin)}/{proof.index}"
            put(f"{folder}/leaf", item.leaf)
            put(f"{folder}/proof.tlog-proof", item.proof)
            for number, (salt, data) in sorted(item.parts.items()):
                put(f"{folder}/part{number}.json", data)
                put(f"{folder}/part{number}.salt", salt)
    return sink.getvalue()


def verify_evidence(data: bytes, keys: Sequence[VerifierKey]) -> VerifiedEvidence:
    """Check an evidence file under pinned keys.

    Raises:
        VerificationError: anything does not hold: a proof, a signature, a commitment, an unknown or missing file, no
            record at all. Absence of proof is a failure, never a pass.
    """
    if not keys:
        raise VerificationError("no key was pinned: a file cannot vouch for itself")
    members = _members(data)
    by_place: dict[str, dict[str, bytes]] = {}
    for name, content in members.items():
        match = _MEMBER.fullmatch(name)
        if match and match[1] is not None:
            by_place.setdefault(match[1], {})[match[2]] = content
    if not by_place:
        raise VerificationError("the file holds no record")
    findings: list[Finding] = []
    logs: dict[str, int] = {}
    for place in sorted(by_place, key=lambda place: (place.partition("/")[0], int(place.partition("/")[2]))):
        finding, size = _verify_one(place, by_place[place], keys)
        findings.append(finding)
        logs[finding.origin] = max(size, logs.get(finding.origin, 0))
    return VerifiedEvidence(tuple(sorted(logs.items())), tuple(findings))


def _shard(origin: str) -> str:
    """The last name of a log's origin, by which records of several shards are told apart."""
    return origin.rpartition("/")[2]


def _members(data: bytes) -> dict[str, bytes]:
    """Everything in the zip, within bounds; nothing is ever extracted to a path."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) > MEMBERS_MAX:
                raise VerificationError(f"more than {MEMBERS_MAX} files in the evidence")
            for info in archive.infolist():
                total += info.file_size
                if info.file_size > MEMBER_BYTES_MAX or total > TOTAL_BYTES_MAX:
                    raise VerificationError(f"{info.filename[:80]!r} makes the evidence larger than allowed")
                if not _MEMBER.fullmatch(info.filename) or info.filename in found:
                    raise VerificationError(f"{info.filename[:80]!r} does not belong in an evidence file")
                with archive.open(info) as member:
                    content = member.read(MEMBER_BYTES_MAX + 1)
                if len(content) > MEMBER_BYTES_MAX:
                    raise VerificationError(f"{info.filename[:80]!r} is larger than it says")
                found[info.filename] = content
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise VerificationError(f"this is no readable evidence file: {error}") from error
    except Exception as error:
        if isinstance(error, VerificationError):
            raise
        raise VerificationError(f"this is no readable evidence file: {error}") from error  # zlib.error has no base
    return found


def _verify_one(place: str, files: Mapping[str, bytes], keys: Sequence[VerifierKey]) -> tuple[Finding, int]:
    for name in ("leaf", "proof.tlog-proof"):
        if name not in files:
            raise VerificationError(f"record {place}: {name} is missing")
    leaf, proof_file = files["leaf"], files["proof.tlog-proof"]
    proof = parse_proof(proof_file)
    claimed, _, _ = parse_checkpoint_body(split_note(proof.checkpoint)[0])
    if claimed not in {key.name for key in keys}:
        raise VerificationError(f"record {place}: the log {claimed!r} is none that was pinned", computed=claimed)
    checkpoint = verify_proof(proof_file, leaf_hash(leaf), claimed, keys)
    header = _header(place, leaf)
    # The folder's name is not hashed: without this a record could be shown under another's number, or twice.
    if header["i"] != proof.index or place != f"{_shard(checkpoint.origin)}/{proof.index}":
        raise VerificationError(
            f"record {place}: the leaf says {header['i']}, the proof {proof.index} of {checkpoint.origin}",
            expected=place, computed=proof.index,
        )  # fmt: skip
    commitments = [base64.b64decode(text, validate=True) for text in header["c"]]  # type: ignore[attr-defined]
    withheld = []
    for number, commitment in enumerate(commitments):
        content, salt = files.get(f"part{number}.json"), files.get(f"part{number}.salt")
        if content is None and salt is None:
            withheld.append(number)
            continue
        # Half a part cannot be checked, and what cannot be checked must not travel as merely withheld.
        if content is None or salt is None:
            raise VerificationError(f"record {place}: part {number} lacks its {'bytes' if content is None else 'salt'}")
        computed = hashlib.sha256(salt + content).digest()
        if len(salt) != 16 or computed != commitment:
            raise VerificationError(
                f"record {place}: part {number} is not what the leaf commits to: tampered",
                expected=commitment, computed=computed,
            )  # fmt: skip
    extra = [n for n in files if n.startswith("part") and int(re.sub(r"\D", "", n)) >= len(commitments)]
    if extra:
        raise VerificationError(f"record {place}: {extra[0]} belongs to no commitment of the leaf")
    verdict = "valid - withheld" if withheld else "valid"
    finding = Finding(
        checkpoint.origin,
        proof.index,
        verdict,
        str(header["rt"]),
        str(header["src"]),
        files.get("part0.json"),
        tuple(withheld),
    )
    return finding, checkpoint.size


def _header(place: str, leaf: bytes) -> dict[str, object]:
    try:
        header = json.loads(leaf)
        if (
            isinstance(header, dict)
            and header["v"] == 1
            and isinstance(header["c"], list)
            and isinstance(header["i"], int)
        ):
            header["rt"], header["src"]
            return header
    except (ValueError, KeyError):
        pass
    raise VerificationError(f"record {place}: the leaf has no header this verifier knows", evidence=leaf)
