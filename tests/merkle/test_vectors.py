"""Published vectors: hashing, proofs, tiles, notes, cosignatures, key edge cases, and the crypto library we stand on."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from muniment.errors import ConfigError, VerificationError
from muniment.ledger.tree import Tails
from muniment.merkle.note import VerifierKey, check_ed25519_public, open_checkpoint, open_note
from muniment.merkle.tiles import decode_bundle, encode_bundle, tile_path
from muniment.merkle.tree import leaf_hash, verify_consistency, verify_inclusion

VECTORS = Path(__file__).parents[2] / "vectors"
PROOFS = VECTORS / "merkle-proofs" / "testdata"


def read_gz(path: str) -> Any:
    return json.loads(gzip.decompress((VECTORS / path).read_bytes()))


def test_rfc6962_leaf_hashes_and_roots() -> None:
    known = json.loads((VECTORS / "rfc6962-kat" / "roots.json").read_text())
    hashes = [leaf_hash(bytes.fromhex(text)) for text in known["leaf_inputs_hex"]]
    assert [h.hex() for h in hashes] == known["leaf_hashes_hex"]
    roots = [Tails().grown(hashes[:size])[0].root().hex() for size in range(len(hashes) + 1)]
    listed = next(value for name, value in known.items() if name.startswith("root"))
    assert roots == (listed if isinstance(listed, list) else [listed[str(n)] for n in range(len(roots))])


def _decoded(case: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(case[name] or "")


@pytest.mark.parametrize("path", sorted(PROOFS.glob("inclusion/**/*.json")), ids=lambda p: str(p.relative_to(PROOFS)))
def test_inclusion_cases(path: Path) -> None:
    case = json.loads(path.read_text())
    proof = [base64.b64decode(step) for step in case["proof"] or []]

    def verify() -> None:
        verify_inclusion(_decoded(case, "leafHash"), case["leafIdx"], case["treeSize"], proof, _decoded(case, "root"))

    if case["wantErr"]:
        with pytest.raises(VerificationError):
            verify()
    else:
        verify()


@pytest.mark.parametrize("path", sorted(PROOFS.glob("consistency/**/*.json")), ids=lambda p: str(p.relative_to(PROOFS)))
def test_consistency_cases(path: Path) -> None:
    case = json.loads(path.read_text())
    proof = [base64.b64decode(step) for step in case["proof"] or []]

    def verify() -> None:
        roots = _decoded(case, "root1"), _decoded(case, "root2")
        verify_consistency(case["size1"], case["size2"], *roots, proof)

    # From size 0, and roots that are no SHA-256 hashes, are errors with us (INTEGRITY.md 2.9), whatever a case says.
    is_no_hash = len(_decoded(case, "root1")) != 32
    if case["wantErr"] or case["size1"] == 0 or is_no_hash:
        with pytest.raises(VerificationError):
            verify()
    else:
        verify()


@pytest.mark.parametrize("size", range(16))
def test_tessera_log_checkpoints_bundles_and_tiles(size: int) -> None:
    folder = VECTORS / "tessera-log" / "testdata" / "log"
    key = VerifierKey.parse(json.loads((VECTORS / "rfc6962-kat" / "notes.json").read_text())["tessera_log"]["vkey"])
    checkpoint = open_checkpoint((folder / f"checkpoint.{size}").read_bytes(), key.name, [key])
    assert checkpoint.size == size
    if size:
        bundle = (folder / f"tile/entries/000.p/{size}").read_bytes()
        hashes = [leaf_hash(leaf) for leaf in decode_bundle(bundle)]
        assert encode_bundle(decode_bundle(bundle)) == bundle
        assert (folder / tile_path(0, 0, size)).read_bytes() == b"".join(hashes)
        assert Tails().grown(hashes)[0].root() == checkpoint.root_hash


def test_the_signed_note_example_opens() -> None:
    note = json.loads((VECTORS / "rfc6962-kat" / "notes.json").read_text())["note"]
    key = VerifierKey.parse(note["vkey"])
    body, signed = open_note(note["signed_note"].encode(), [key])
    assert (body, signed) == (b"This is an example message.\n", [key])
    with pytest.raises(VerificationError):
        open_note(note["signed_note"].replace("example message", "exemple message").encode(), [key])


@pytest.mark.parametrize("name", ["witness", "witness2", "witness/mirror"])
def test_sunlight_cosignatures_hold_and_break(name: str) -> None:
    folder = VECTORS / "sunlight-tlog" / name
    config = json.loads(next(folder.glob("*.v0.json")).read_text())
    keys = [VerifierKey.parse(text) for text in config["verifier_keys"]]
    note = next(folder.glob("*/checkpoint")).read_bytes()
    body, signed = open_note(note, keys)
    assert signed
    with pytest.raises(VerificationError):
        open_note(note.replace(body.split(b"\n")[1] + b"\n", b"301\n", 1), keys)


def test_the_mirrored_log_of_300_leaves_gives_its_root() -> None:
    folder = next((VECTORS / "sunlight-tlog/witness/mirror").glob("0*"))
    hashes = (folder / "tile/0/000").read_bytes() + (folder / "tile/0/001.p/44").read_bytes()
    tails, full = Tails().grown([hashes[k : k + 32] for k in range(0, len(hashes), 32)])
    body = (folder / "checkpoint").read_bytes().split(b"\n")
    assert (tails.size, base64.b64encode(tails.root())) == (int(body[1]), body[2])
    assert full[0][2] == (folder / "tile/0/000").read_bytes()
    assert b"".join(tails.tails[1]) == (folder / "tile/1/000.p/1").read_bytes()


def test_keys_of_small_order_and_other_spellings_are_refused() -> None:
    refused = accepted = 0
    for case in read_gz("cctv-ed25519/ed25519vectors.json.gz"):
        is_bad = {"low_order_A", "non_canonical_A"} & set(case["flags"] or [])
        try:
            check_ed25519_public(bytes.fromhex(case["key"]))
            assert not is_bad, case["number"]
            accepted += 1
        except ConfigError:
            refused += 1
    assert refused > 100
    assert accepted > 100


def test_the_library_agrees_with_wycheproof_on_ed25519() -> None:
    for group in read_gz("wycheproof/ed25519_test.json.gz")["testGroups"]:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
        for test in group["tests"]:
            try:
                key.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
                verdict = "valid"
            except InvalidSignature:
                verdict = "invalid"
            assert verdict == test["result"], test["tcId"]


def test_the_library_agrees_with_wycheproof_on_hkdf_and_aes_gcm() -> None:
    for group in read_gz("wycheproof/hkdf_sha256_test.json.gz")["testGroups"]:
        for test in group["tests"]:
            if test["result"] == "valid":
                salt, info = bytes.fromhex(test["salt"]), bytes.fromhex(test["info"])
                derived = HKDF(SHA256(), test["size"], salt, info).derive(bytes.fromhex(test["ikm"]))
                assert derived.hex() == test["okm"], test["tcId"]
    for group in read_gz("wycheproof/aes_gcm_test.json.gz")["testGroups"]:
        if group["keySize"] != 256 or group["ivSize"] != 96 or group["tagSize"] != 128:
            continue
        for test in group["tests"]:
            data = bytes.fromhex(test["ct"] + test["tag"])
            try:
                aead = AESGCM(bytes.fromhex(test["key"]))
                opened = aead.decrypt(bytes.fromhex(test["iv"]), data, bytes.fromhex(test["aad"])).hex()
            except InvalidTag:
                assert test["result"] == "invalid", test["tcId"]
            else:
                assert (opened, test["result"]) == (test["msg"], "valid"), test["tcId"]


def test_every_set_names_its_origin() -> None:
    origin = (VECTORS / "ORIGIN.md").read_text()
    named = set(re.findall(r"^\| `([a-z0-9-]+)`", origin, re.M))
    assert named == {path.name for path in VECTORS.iterdir() if path.is_dir()}
