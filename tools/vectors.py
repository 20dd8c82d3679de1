"""Writes vectors/muniment/: a small ledger in our own formats, from fixed seeds, for verifiers in any language.

`python tools/vectors.py` writes; `--check` fails when a file differs from what the code gives. Compressed files (the
segment, the zip) are compared by what is in them: other versions of zstd and deflate give other bytes for the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from muniment.evidence.bundle import EvidenceItem, verify_evidence, write_evidence
from muniment.ledger.check import check_ledger
from muniment.ledger.folder import Folder
from muniment.ledger.head import FolderHeadStore
from muniment.ledger.ledger import Ledger
from muniment.ledger.segment import decode_frames
from muniment.ledger.storage import LocalFiles
from muniment.ledger.types import Entries, SealedPart
from muniment.merkle.note import VerifierKey
from muniment.privacy.parts import make_part, open_part

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "vectors" / "muniment"
ORIGIN = "log.example/audit"
BEGIN_NS = 1_795_500_000_000_000_000  # 2026-11-24
OLDER, SIZE = 200, 260  # one full tile, and a partial one on levels 0 and 1
SEALED = (3, 4, 7, 201, 258)
SQS = {2: 0, 5: 17, 6: 2**53 + 1, 8: 2**63 - 1}


def _bytes(label: str, n_bytes: int) -> bytes:
    """Fixed bytes that look random: whoever reads the vectors could make them too."""
    blocks = range(-(-n_bytes // 32))
    return b"".join(hashlib.sha256(f"muniment vectors/{label}/{k}".encode()).digest() for k in blocks)[:n_bytes]


class _FixedFiles(LocalFiles):
    """The real disk with a clock and a random source that always give the same."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks = 0
        self._draws = 0

    def now_ns(self) -> int:
        self._ticks += 1
        return BEGIN_NS + self._ticks * 1_000_000

    def random(self, n_bytes: int) -> bytes:
        self._draws += 1
        return _bytes(f"draw {self._draws}", n_bytes)


SUBJECTS = [(_bytes(f"subject {k}", 16), _bytes(f"subject key {k}", 32)) for k in range(2)]


def _parts(index: int) -> tuple[SealedPart, ...]:
    if index not in SEALED:
        return ()
    anna, carl = {1: b'"anna.m\\u00fcller@example.com"', 2: b'"198.51.100.7"'}, {3: b'"carl@example.com"'}
    made = [(0, anna), (1, carl)] if index != 7 else [(0, anna)]
    return tuple(
        make_part(*SUBJECTS[who], ORIGIN.encode(), _bytes(f"nz {index} {who}", 16), values) for who, values in made
    )


def _record(index: int) -> bytes:
    if index == 7:
        return b'{"who":{"$sealed":1}, "message":"login of {$sealed:1} from {$sealed:2}"}'
    if index in SEALED:
        return (
            b'{"actor":{"email":{"$sealed":1},"ip":{"$sealed":2}},"action":"role.grant","to":{"$sealed":3},"n":%d}'
            % index
        )
    if index == 1:
        return '{ "action" : "document.read",  "title":"Größe \\"1/2\\" \\u20ac \U0001f600" }'.encode()
    return b'{"action":"user.login","outcome":"success","n":%d}' % index


def _entries(start: int, end: int) -> Entries:
    indexes = range(start, end)
    ids = [_bytes(f"id {i}", 16).hex() for i in indexes]
    return Entries(
        ["github" if i in SEALED else "app.crm-2" for i in indexes],
        [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in ids],
        [SQS.get(i) for i in indexes],
        [BEGIN_NS + i * 1_234_567_000 for i in indexes],
        [_record(i) for i in indexes],
        [_parts(i) for i in indexes],
    )


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _row(ledger: Ledger, index: int) -> dict[str, Any]:
    entry = ledger.entry(index)
    return {
        "id": entry.id, "source": entry.source, "sq": entry.sq, "received_us": entry.received_at // 1000,
        "salt": entry.salt.hex(), "record": entry.record.decode(),
        "parts": [
            {"subject": p.subject.hex(), "nz": p.nz.hex(), "commitment": p.commitment.hex(), "ciphertext": p.ciphertext.hex()}
            for p in entry.parts
        ],
    }  # fmt: skip


def _disclosure(ledger: Ledger, index: int, number: int) -> dict[str, object]:
    part = ledger.entry(index).parts[number - 1]
    plaintext, salt = open_part(part, dict(SUBJECTS)[part.subject], ORIGIN.encode())
    return {"index": index, "part": number, "salt": salt.hex(), "plaintext": plaintext.decode()}


def _evidence(ledger: Ledger) -> bytes:
    """A clear record, one with a part withheld, one wholly disclosed."""
    items = []
    for index, shown in ((1, {0}), (4, {0, 2}), (258, {0, 1, 2})):
        entry = ledger.entry(index)
        parts = {0: (entry.salt, entry.record)}
        for number, part in enumerate(entry.parts, 1):
            plaintext, salt = open_part(part, dict(SUBJECTS)[part.subject], ORIGIN.encode())
            parts[number] = (salt, plaintext)
        kept = {number: each for number, each in parts.items() if number in shown}
        items.append(EvidenceItem(entry.leaf, ledger.tlog_proof(index), kept))
    return write_evidence(items, ledger.vkeys, {"made_at": "2026-11-24T06:00:00Z"})


def made() -> dict[str, bytes]:
    """Every file by its path below vectors/muniment."""
    with tempfile.TemporaryDirectory() as temporary:
        files = _FixedFiles()
        for name in ("ledger", "head"):
            Path(temporary, name).mkdir()
        store = FolderHeadStore(Folder(files, f"{temporary}/head"))
        ledger = Ledger(Folder(files, f"{temporary}/ledger"), store, ORIGIN, static_bundles=True, is_publishing=False)
        ledger.append(_entries(1, OLDER))
        older = ledger.checkpoint
        ledger.append(_entries(OLDER, SIZE))
        ledger.publish()
        consistency = [step.hex() for step in ledger.consistency_proof(OLDER, SIZE)]
        found = {
            "entries.jsonl": b"".join(
                json.dumps(_row(ledger, i), ensure_ascii=False).encode() + b"\n" for i in range(SIZE)
            ),
            "subject-keys.json": _json({subject.hex(): key.hex() for subject, key in SUBJECTS}),
            "disclosure.json": _json(_disclosure(ledger, 4, 2)),
            "proof.tlog-proof": ledger.tlog_proof(258),
            "older-checkpoint": older,
            "consistency.json": _json({"size1": OLDER, "size2": SIZE, "hashes": consistency}),
            "evidence.zip": _evidence(ledger),
        }
        verify_evidence(found["evidence.zip"], [VerifierKey.parse(ledger.vkeys[0])])
        ledger.close()
        check_ledger(Path(temporary, "ledger"), since=older)
        for path in sorted(Path(temporary, "ledger").rglob("*")):
            if path.is_file() and path.name != "log.key":
                found[f"ledger/{path.relative_to(Path(temporary, 'ledger')).as_posix()}"] = path.read_bytes()
        files.close()
    return found


def _content(path: str, data: bytes) -> object:
    """What must be the same: the bytes, or of compressed files what they hold."""
    if path.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, info.date_time, archive.read(info)) for info in archive.infolist()]
    return [frame for _, frame in decode_frames(data, path)] if path.endswith(".seg") else data


def main(arguments: list[str]) -> int:
    """0, or 1 when `--check` finds a difference."""
    wanted = made()
    present = {p.relative_to(VECTORS).as_posix(): p.read_bytes() for p in sorted(VECTORS.rglob("*")) if p.is_file()}
    if arguments == ["--check"]:
        different = [
            path for path in sorted(wanted.keys() | present.keys())
            if path not in wanted or path not in present or _content(path, wanted[path]) != _content(path, present[path])
        ]  # fmt: skip
        for path in different:
            print(f"vectors/muniment/{path} is not what tools/vectors.py gives", file=sys.stderr)
        return 1 if different else 0
    for path in present.keys() - wanted.keys():
        (VECTORS / path).unlink()
    for path, data in wanted.items():
        (VECTORS / path).parent.mkdir(parents=True, exist_ok=True)
        (VECTORS / path).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
