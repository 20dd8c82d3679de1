"""Evidence files: what holds, what is withheld, and that every changed byte of content is found."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from muniment.errors import ConfigError, VerificationError
from muniment.evidence.__main__ import main
from muniment.evidence.bundle import EvidenceItem, verify_evidence, write_evidence
from muniment.ledger.leaf import build_leaf
from muniment.ledger.tree import Tails
from muniment.merkle.note import Signer, VerifierKey, checkpoint_body, parse_checkpoint_body
from muniment.merkle.proof_file import encode_proof, parse_proof
from muniment.merkle.tree import inclusion_path, leaf_hash, node_hash

SIGNER = Signer("log.example/audit/2026h2", bytes(range(32)))
RECORD, SALT = b'{"action":"document.delete"}', b"s" * 16
PART, PART_SALT = b'{"s":"00","v":{"1":"anna"}}', b"t" * 16
UUID = "0193e2a1-7c3b-7abc-8def-0123456789ab"


def item(*, is_whole: bool = True) -> EvidenceItem:
    commitments = [hashlib.sha256(SALT + RECORD).digest(), hashlib.sha256(PART_SALT + PART).digest()]
    leaves = [build_leaf(n, UUID, 1_700_000_000_000_000, None, "app", commitments) for n in range(5)]
    hashes = [leaf_hash(leaf) for leaf in leaves]

    def read(level: int, at: int) -> bytes:
        row = hashes
        for _ in range(level):
            row = [node_hash(row[k], row[k + 1]) for k in range(0, len(row) - 1, 2)]
        return row[at]

    root = Tails().grown(hashes)[0].root()
    note = SIGNER.sign(checkpoint_body(SIGNER.name, 5, root))
    parts = {0: (SALT, RECORD)} | ({1: (PART_SALT, PART)} if is_whole else {})
    return EvidenceItem(leaves[3], encode_proof(3, inclusion_path(read, 3, 5), note), parts)


def rezipped(data: bytes, change: dict[str, bytes | None]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w") as new:
        for name in old.namelist():
            content = change.pop(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in change.items():
            new.writestr(name, content or b"")
    return sink.getvalue()


def test_a_whole_file_is_valid_and_a_withheld_part_is_said() -> None:
    data = write_evidence([item()], [SIGNER.vkey.text], {})
    found = verify_evidence(data, [SIGNER.vkey])
    assert (found.logs, found.findings[0].verdict) == (((SIGNER.name, 5),), "valid")
    assert (found.findings[0].origin, found.findings[0].index) == (SIGNER.name, 3)
    found = verify_evidence(write_evidence([item(is_whole=False)], [], {}), [SIGNER.vkey])
    assert (found.findings[0].verdict, found.findings[0].withheld) == ("valid - withheld", (1,))


def test_the_same_input_gives_the_same_bytes() -> None:
    assert write_evidence([item()], ["k"], {"a": 1}) == write_evidence([item()], ["k"], {"a": 1})


@pytest.mark.parametrize("name", ["leaf", "proof.tlog-proof", "part0.json", "part0.salt", "part1.json"])
def test_every_changed_byte_of_a_member_is_found(name: str) -> None:
    data = write_evidence([item()], [], {})
    member = f"events/2026h2/3/{name}"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = archive.read(member)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        with pytest.raises(VerificationError):
            verify_evidence(rezipped(data, {member: bytes(changed)}), [SIGNER.vkey])


def test_missing_foreign_and_oversized_members_are_refused() -> None:
    data = write_evidence([item()], [], {})
    changes: list[dict[str, bytes | None]] = [
        {"events/2026h2/3/leaf": None},
        {"events/2026h2/3/proof.tlog-proof": None},
        {"../../etc/passwd": b"x"},
        {"events/2026h2/3/run.py": b"x"},
        {"events/2026h2/3/part7.json": b"x"},
        {"summary.json": bytes(9 * 1024 * 1024)},
    ]
    for change in changes:
        with pytest.raises(VerificationError):
            verify_evidence(rezipped(data, change), [SIGNER.vkey])
    for junk in (b"", b"PK", data[:-30], write_evidence([], [], {})):
        with pytest.raises(VerificationError):
            verify_evidence(junk, [SIGNER.vkey])


def test_without_a_pinned_key_or_with_another_nothing_passes() -> None:
    data = write_evidence([item()], [SIGNER.vkey.text], {})
    stranger = Signer(SIGNER.name, b"x" * 32).vkey
    other_log = Signer("other.example/audit", bytes(range(32))).vkey
    for keys in ([], [stranger], [other_log]):
        with pytest.raises(VerificationError):
            verify_evidence(data, keys)


def test_the_command_says_it_with_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "evidence.zip"
    file.write_bytes(write_evidence([item()], [], {}))
    assert main([str(file), "--vkey", SIGNER.vkey.text]) == 0
    assert "record 3: valid" in capsys.readouterr().out
    assert main([str(file)]) == 10
    assert main([str(file), "--vkey", "nonsense"]) == 5
    assert main([str(tmp_path / "none.zip"), "--vkey", SIGNER.vkey.text]) == 6


def test_proof_files_are_read_strictly() -> None:
    good = item().proof
    parse_proof(good)
    for bad in (b"", good[1:], good.replace(b"index 3", b"index 03"), good.replace(b"\n\n", b"\n", 1), b"\xff" + good):
        with pytest.raises(VerificationError):
            parse_proof(bad)


def test_a_vkey_with_a_wrong_id_or_small_order_is_refused() -> None:
    name, _, rest = SIGNER.vkey.text.partition("+")
    for bad in (f"{name}+00000000+{rest.partition('+')[2]}", "x+y+z", "", name):
        with pytest.raises(ConfigError):
            VerifierKey.parse(bad)


@pytest.mark.parametrize("half", ["part0.json", "part0.salt", "part1.json", "part1.salt"])
def test_half_a_part_is_tampered_never_withheld(half: str) -> None:
    """Without its salt, bytes cannot be checked: forged ones must not come back as the record."""
    data = write_evidence([item()], [], {})
    with pytest.raises(VerificationError, match="lacks its"):
        verify_evidence(rezipped(data, {f"events/2026h2/3/{half}": None}), [SIGNER.vkey])
    forged = rezipped(data, {"events/2026h2/3/part0.json": b"{}", "events/2026h2/3/part0.salt": None})
    with pytest.raises(VerificationError, match="lacks its salt"):
        verify_evidence(forged, [SIGNER.vkey])


@pytest.mark.parametrize("place", ["2026h2/4", "2026h1/3", "3"])
def test_a_record_stands_only_under_its_own_number_and_log(place: str) -> None:
    data = write_evidence([item()], [], {})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name.startswith("events/")}
    copies = {name.replace("2026h2/3", place): content for name, content in files.items()}
    for changes in (copies, copies | dict.fromkeys(files)):
        with pytest.raises(VerificationError, match=f"record {place}: the leaf says 3|does not belong"):
            verify_evidence(rezipped(data, changes), [SIGNER.vkey])


@pytest.mark.parametrize(
    "name", ["events/2026h2/003/leaf", "events/2026h2/3/part00.json", "events/2026h2/3/part01.salt"]
)
def test_numbers_in_names_have_one_spelling(name: str) -> None:
    data = rezipped(write_evidence([item()], [], {}), {name: b"x"})
    with pytest.raises(VerificationError, match="does not belong"):
        verify_evidence(data, [SIGNER.vkey])


def test_a_root_that_is_not_ascii_is_a_malformed_checkpoint() -> None:
    with pytest.raises(VerificationError, match="malformed checkpoint"):
        parse_checkpoint_body("log.example\n1\n\u00e9\n".encode())
