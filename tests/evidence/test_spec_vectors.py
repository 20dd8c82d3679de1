"""A second, slow reader of our formats, written from docs/spec/ alone, against vectors/muniment/.

It imports nothing of ours. It takes every vector as true, and none of them with one bit changed.
"""

import ast
import base64
import hashlib
import hmac
import io
import json
import random
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "vectors" / "muniment"
SHARD = "ledger/2026h2/"
VKEY = "log.example/audit/2026h2+a12a8f1c+AToBds2orKkdBVxZZFPgTV5kJcTD1XG4PASFyla1L5N1"
BASE_ORIGIN = b"log.example/audit"
CHANGES_MAX = 400

Row = dict[str, Any]


class RefusedError(Exception):
    """What a verifier says of something that does not hold."""


def demand(is_true: object, words: str) -> None:
    if not is_true:
        raise RefusedError(words)


# --- leaf.md ----------------------------------------------------------------------------------------------------------


def unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise RefusedError("no base64") from None
    demand(base64.b64encode(data).decode() == text, "another spelling of base64")
    return data


def unhex(text: str, n_bytes: int | None = None) -> bytes:
    demand(re.fullmatch("([0-9a-f]{2})*", text), "no hex")
    demand(n_bytes in (None, len(text) // 2), "another length")
    return bytes.fromhex(text)


def sha256(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


LEAF = re.compile(
    r'\{"c":\[((?:"[A-Za-z0-9+/]{43}=",)*"[A-Za-z0-9+/]{43}=")\],"i":(0|[1-9][0-9]*),'
    r'"id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","rt":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)",'
    r'"sq":(null|0|[1-9][0-9]*),"src":"([a-z0-9][a-z0-9._-]{0,63})","v":1\}',
    re.ASCII,
)


def read_leaf(leaf: bytes) -> tuple[int, list[bytes]]:
    """Index and commitments."""
    match = LEAF.fullmatch(leaf.decode("ascii", "replace"))
    demand(match and len(leaf) < 65_536, "no leaf")
    assert match
    return int(match[2]), [unb64(text.strip('"')) for text in match[1].split(",")]


def make_leaf(index: int, row: Row) -> bytes:
    commitments = [sha256(unhex(row["salt"], 16), row["record"].encode())]
    commitments += [unhex(part["commitment"], 32) for part in row["parts"]]
    c = ",".join(f'"{base64.b64encode(each).decode()}"' for each in commitments)
    rt = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["received_us"])).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ"
    )
    sq = "null" if row["sq"] is None else str(row["sq"])
    return f'{{"c":[{c}],"i":{index},"id":"{row["id"]}","rt":"{rt}","sq":{sq},"src":"{row["source"]}","v":1}}'.encode()


def open_part(part: dict[str, str], key: bytes) -> tuple[bytes, bytes]:
    """(salt, plaintext) of a personal part."""

    def with_length(x: bytes) -> bytes:
        return len(x).to_bytes(2, "big") + x

    commitment = unhex(part["commitment"], 32)
    info = b"muniment/part/v1" + with_length(BASE_ORIGIN) + with_length(unhex(part["nz"], 16))
    t1 = hmac.digest(key, info + b"\x01", "sha256")
    okm = t1 + hmac.digest(key, t1 + info + b"\x02", "sha256")
    try:
        plaintext = AESGCM(okm[16:48]).decrypt(bytes(12), unhex(part["ciphertext"]), commitment)
    except InvalidTag:
        raise RefusedError("the part does not open") from None
    demand(sha256(okm[:16], plaintext) == commitment, "the part is not what was committed to")
    demand(json.loads(plaintext)["s"] == part["subject"], "the part is another person's")
    return okm[:16], plaintext


def put_back(record: str, plaintexts: list[bytes]) -> str:
    for plaintext in plaintexts:
        text = plaintext.decode()
        for number in json.loads(text)["v"]:
            found = re.search(rf'"{number}":("(?:[^"\\]|\\.)*")', text)
            assert found
            record = record.replace(f'{{"$sealed":{number}}}', found[1]).replace(
                f"{{$sealed:{number}}}", found[1][1:-1]
            )
    return record


# --- ledger-folder.md -------------------------------------------------------------------------------------------------


def open_vkey(text: str) -> tuple[str, bytes, Ed25519PublicKey]:
    name, key_id, encoded = text.split("+", 2)
    data = unb64(encoded)
    demand(len(data) == 33 and data[0] == 1, "no Ed25519 key")
    demand(sha256(name.encode(), b"\n", data)[:4].hex() == key_id, "another key id")
    return name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(data[1:])


def open_checkpoint(note: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint of the one log we trust."""
    origin, key_id, key = open_vkey(VKEY)
    try:
        note.decode()
    except UnicodeDecodeError:
        raise RefusedError("not UTF-8") from None
    demand(not re.search(rb"[\x00-\x09\x0b-\x1f]", note), "control characters")
    text, empty, block = note.rpartition(b"\n\n")
    demand(empty and block.endswith(b"\n"), "no signatures")
    is_signed = False
    for line in block[:-1].decode().split("\n"):
        match = re.fullmatch("— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        demand(match, "a malformed signature line")
        assert match
        signature = unb64(match[2])
        if (match[1], signature[:4]) == (origin, key_id):
            try:
                key.verify(signature[4:], text + b"\n")
            except InvalidSignature:
                raise RefusedError("the signature does not hold") from None
            is_signed = True
    demand(is_signed, "not signed by the log")
    lines = text.decode().split("\n")
    demand(
        lines[0] == origin and re.fullmatch("0|[1-9][0-9]*", lines[1]) and len(unb64(lines[2])) == 32, "no checkpoint"
    )
    return int(lines[1]), unb64(lines[2])


def root_of(hashes: list[bytes]) -> bytes:
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256()
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01", root_of(hashes[:k]), root_of(hashes[k:]))


def tile_name(level: int | str, number: int, width: int) -> str:
    assert number < 1000
    return f"tile/{level}/{number:03d}" + ("" if width == 256 else f".p/{width}")


def tiles_of(hashes: list[bytes]) -> Iterator[tuple[str, bytes]]:
    level = 0
    while hashes:
        for number, start in enumerate(range(0, len(hashes), 256)):
            run = hashes[start : start + 256]
            yield tile_name(level, number, len(run)), b"".join(run)
        hashes = [root_of(hashes[k : k + 256]) for k in range(0, len(hashes) - 255, 256)]
        level += 1


def leaves_in(bundle: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        demand(end <= len(bundle), "the bundle ends inside an entry")
        found.append(bundle[at + 2 : end])
        at = end
    return found


def check_segment(data: bytes) -> None:
    at = 0
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at + 4 : at + 8], "little")
        demand(data[at : at + 4] == b"MUN1" and end <= len(data), "no frame")
        demand(zlib.crc32(data[at + 12 : end]) == int.from_bytes(data[at + 8 : at + 12], "little"), "another check sum")
        at = end


def check_shard(files: dict[str, bytes]) -> list[bytes]:
    """Everything below a shard's folder; its leaves."""
    demand(files["log.vkey"] == VKEY.encode() + b"\n", "another key than the one we trust")
    size, root = open_checkpoint(files["checkpoint"])
    leaves: list[bytes] = []
    wanted = {"log.vkey", "checkpoint", "segments/" + "0" * 20 + ".seg"}
    for number, start in enumerate(range(0, size, 256)):
        wanted.add(name := tile_name("entries", number, min(256, size - start)))
        leaves += leaves_in(files[name])
    demand([read_leaf(leaf)[0] for leaf in leaves] == list(range(size)), "leaves are not in order")
    hashes = [sha256(b"\x00", leaf) for leaf in leaves]
    demand(root_of(hashes) == root, "another root")
    for name, tile in tiles_of(hashes):
        wanted.add(name)
        demand(files[name] == tile, f"{name} is not what the leaves give")
    check_segment(files["segments/" + "0" * 20 + ".seg"])
    demand(wanted == files.keys(), "files that belong to nothing")
    return leaves


def check_entries(data: bytes, keys: bytes, leaves: list[bytes]) -> None:
    lines = data.decode().split("\n")
    demand(lines.pop() == "" and len(lines) == len(leaves), "another number of entries")
    subjects = {unhex(subject, 16).hex(): unhex(key, 32) for subject, key in json.loads(keys).items()}
    seen = set()
    for index, line in enumerate(lines):
        row = json.loads(line)
        demand(row.keys() == {"id", "source", "sq", "received_us", "salt", "record", "parts"}, "other columns")
        demand(make_leaf(index, row) == leaves[index], f"entry {index} is not what the leaf says")
        for part in row["parts"]:
            open_part(part, subjects[part["subject"]])
            seen.add(part["subject"])
    demand(seen == subjects.keys(), "a key of nobody")


def check_consistency(data: bytes, older: bytes, newer: bytes) -> None:
    """RFC 9162, section 2.1.4.2."""
    found = json.loads(data)
    demand(found.keys() == {"size1", "size2", "hashes"}, "other members")
    (size1, root1), (size2, root2) = open_checkpoint(older), open_checkpoint(newer)
    demand((found["size1"], found["size2"]) == (size1, size2) and size1 < size2, "other sizes")
    path = [unhex(text, 32) for text in found["hashes"]]
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    demand(path, "no hashes")
    fn, sn = size1 - 1, size2 - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        demand(sn, "surplus hashes")
        if fn & 1 or fn == sn:
            fr, sr = sha256(b"\x01", c, fr), sha256(b"\x01", c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha256(b"\x01", sr, c)
        fn, sn = fn >> 1, sn >> 1
    demand(sn == 0 and fr == root1 and sr == root2, "not grown from the older one")


# --- evidence-file.md -------------------------------------------------------------------------------------------------


def check_proof(data: bytes, leaf: bytes) -> None:
    head, empty, note = data.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    demand(empty and lines.pop(0) == "c2sp.org/tlog-proof@v1" and lines, "no proof file")
    if lines[0].startswith("extra "):
        demand(unb64(lines.pop(0)[6:]), "an empty extra line")
    match = re.fullmatch("index (0|[1-9][0-9]*)", lines.pop(0) if lines else "")
    demand(match and len(lines) <= 63, "no index")
    assert match
    size, root = open_checkpoint(note)
    index = int(match[1])
    demand(read_leaf(leaf)[0] == index < size, "another index")
    fn, sn, r = index, size - 1, sha256(b"\x00", leaf)
    for p in map(unb64, lines):
        demand(sn and len(p) == 32, "surplus hashes")
        if fn & 1 or fn == sn:
            r = sha256(b"\x01", p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\x01", r, p)
        fn, sn = fn >> 1, sn >> 1
    demand(sn == 0 and r == root, "another root")


def check_disclosed(leaf: bytes, number: int, salt: bytes, content: bytes) -> None:
    _, commitments = read_leaf(leaf)
    demand(0 <= number < len(commitments), "a part of no commitment")
    demand(len(salt) == 16 and sha256(salt, content) == commitments[number], "tampered")


MEMBER = re.compile(r"(events/.+)/(leaf|proof\.tlog-proof|part(0|[1-9][0-9]*)\.(json|salt))|summary\.json|vkeys\.txt")


def check_evidence(data: bytes) -> dict[int, tuple[list[int], bytes | None]]:
    """Index -> (parts withheld, the record) of every record."""
    records: dict[str, dict[str, bytes]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            demand(len(set(archive.namelist())) == len(archive.namelist()), "a name twice")
            for info in archive.infolist():
                match = MEMBER.fullmatch(info.filename)
                demand(match and info.file_size <= 8 << 20, "a member that does not belong")
                assert match
                content = archive.read(info)
                if match[1]:
                    records.setdefault(match[1], {})[match[2]] = content
    except RefusedError:
        raise
    except Exception as error:  # whatever the zip reader says of damaged bytes
        raise RefusedError(str(error)) from error
    demand(records, "no record")
    found: dict[int, tuple[list[int], bytes | None]] = {}
    for files in records.values():
        demand({"leaf", "proof.tlog-proof"} <= files.keys(), "no leaf or no proof")
        leaf = files["leaf"]
        check_proof(files["proof.tlog-proof"], leaf)
        index, commitments = read_leaf(leaf)
        numbers = {int(name[4:-5]) for name in files if name.startswith("part")}
        for number in numbers:
            demand({f"part{number}.json", f"part{number}.salt"} <= files.keys(), "half a part")
            check_disclosed(leaf, number, files[f"part{number}.salt"], files[f"part{number}.json"])
        demand(index not in found, "a record twice")
        found[index] = (sorted(set(range(len(commitments))) - numbers), files.get("part0.json"))
    return found


def check_disclosure(data: bytes, leaves: list[bytes]) -> None:
    found = json.loads(data)
    demand(found.keys() == {"index", "part", "salt", "plaintext"}, "other members")
    demand(0 <= found["index"] < len(leaves), "no such entry")
    check_disclosed(leaves[found["index"]], found["part"], unhex(found["salt"]), found["plaintext"].encode())


# --- the vectors hold, and nothing else does --------------------------------------------------------------------------

FILES = {path.relative_to(VECTORS).as_posix(): path.read_bytes() for path in VECTORS.rglob("*") if path.is_file()}
SHARD_FILES = {name.removeprefix(SHARD): data for name, data in FILES.items() if name.startswith(SHARD)}
LEAVES = [leaf for name in sorted(SHARD_FILES) if "entries" in name for leaf in leaves_in(SHARD_FILES[name])]
CHECKPOINT = SHARD_FILES["checkpoint"]
CHECKS: dict[str, Callable[[bytes], object]] = {
    "entries.jsonl": lambda data: check_entries(data, FILES["subject-keys.json"], LEAVES),
    "subject-keys.json": lambda data: check_entries(FILES["entries.jsonl"], data, LEAVES),
    "disclosure.json": lambda data: check_disclosure(data, LEAVES),
    "proof.tlog-proof": lambda data: check_proof(data, LEAVES[258]),
    "older-checkpoint": lambda data: check_consistency(FILES["consistency.json"], data, CHECKPOINT),
    "consistency.json": lambda data: check_consistency(data, FILES["older-checkpoint"], CHECKPOINT),
    "evidence.zip": check_evidence,
}


def check(name: str, data: bytes) -> object:
    """One file of the vectors, beside all others as they are."""
    if name.startswith(SHARD):
        return check_shard(SHARD_FILES | {name.removeprefix(SHARD): data})
    return CHECKS[name](data)


def changes(name: str, data: bytes) -> Iterator[bytes]:
    """One bit changed in every byte, or in CHANGES_MAX bytes of a long file, the same ones each time."""
    draw = random.Random(name)
    places = range(len(data))
    for at in places if len(data) <= CHANGES_MAX else draw.sample(places, CHANGES_MAX):
        yield data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_vector_holds(name: str) -> None:
    check(name, FILES[name])


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"evidence.zip"}))
def test_no_vector_holds_with_one_bit_changed(name: str) -> None:
    for changed in changes(name, FILES[name]):
        with pytest.raises((RefusedError, KeyError, ValueError)):
            check(name, changed)


def rezipped(change: dict[str, bytes | None]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(FILES["evidence.zip"])) as old, zipfile.ZipFile(sink, "w") as new:
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return sink.getvalue()


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(FILES["evidence.zip"])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_no_member_of_the_evidence_file_holds_with_one_bit_changed() -> None:
    for name, content in members().items():
        if name.startswith("events/"):
            for changed in changes(name, content):
                with pytest.raises(RefusedError):
                    check_evidence(rezipped({name: changed}))


def test_a_bit_changed_anywhere_in_the_evidence_file_changes_no_finding() -> None:
    """Times and modes in the zip, and the words for people, are proved by nothing and mean nothing."""
    true, refused = check_evidence(FILES["evidence.zip"]), 0
    for changed in changes("evidence.zip", FILES["evidence.zip"]):
        try:
            assert check_evidence(changed) == true
        except RefusedError:
            refused += 1
    assert refused > CHANGES_MAX / 2
    assert check_evidence(rezipped({"summary.json": b"{}", "vkeys.txt": b"x+y+z"})) == true


def test_withheld_parts_are_said_and_half_a_part_is_refused() -> None:
    found = check_evidence(FILES["evidence.zip"])
    assert {index: withheld for index, (withheld, _) in found.items()} == {1: [], 4: [1], 258: []}
    halves = [name for name in members() if "/part" in name]
    for name in halves:
        with pytest.raises(RefusedError, match="half a part"):
            check_evidence(rezipped({name: None}))


def test_values_put_back_give_what_the_source_sent() -> None:
    row = json.loads(FILES["entries.jsonl"].split(b"\n")[7])
    keys = json.loads(FILES["subject-keys.json"])
    plaintexts = [open_part(part, bytes.fromhex(keys[part["subject"]]))[1] for part in row["parts"]]
    name = r"anna.m\u00fcller@example.com"
    assert put_back(row["record"], plaintexts) == (f'{{"who":"{name}", "message":"login of {name} from 198.51.100.7"}}')
    assert put_back(row["record"], []) == row["record"]


def test_the_reader_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.split(".")[0] in {"muniment", "tools", "tests", ""}]


def test_the_vectors_are_those_the_code_gives() -> None:
    done = subprocess.run(
        [sys.executable, "tools/vectors.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
