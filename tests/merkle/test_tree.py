"""The fast tree against a slow transcription of RFC 6962, and forged proofs."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import RejectedError, VerificationError
from muniment.ledger.tree import Tails
from muniment.merkle.tiles import bundle_path, parse_tile_path, tile_path
from muniment.merkle.tree import consistency_path, inclusion_path, leaf_hash, verify_consistency, verify_inclusion


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1, word for word."""
    n = len(leaves)
    if n == 1:
        return []
    k = 1
    while k * 2 < n:
        k *= 2
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: list[bytes], is_complete: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2 (SUBPROOF), word for word."""
    n = len(leaves)
    if m == n:
        return [] if is_complete else [mth(leaves)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*proof(m, leaves[:k], is_complete), mth(leaves[k:])]
    return [*proof(m - k, leaves[k:], False), mth(leaves[:k])]


def made(size: int) -> list[bytes]:
    return [b"leaf %d" % n for n in range(size)]


def reader(leaves: list[bytes]):  # type: ignore[no-untyped-def]
    return lambda level, at: mth(leaves[at << level : (at + 1) << level])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_growing_by_any_batches_gives_the_same_root(sizes: list[int]) -> None:
    leaves = made(sum(sizes))
    tails, start = Tails(), 0
    for size in sizes:
        tails, _ = tails.grown([leaf_hash(leaf) for leaf in leaves[start : start + size]])
        start += size
        assert tails.root() == mth(leaves[:start])


@given(st.integers(1, 130), st.data())
def test_inclusion_proofs_are_those_of_the_rfc_and_forgeries_are_refused(size: int, data: st.DataObject) -> None:
    leaves = made(size)
    index = data.draw(st.integers(0, size - 1))
    steps = inclusion_path(reader(leaves), index, size)
    assert steps == path(index, leaves)
    root, leaf = mth(leaves), leaf_hash(leaves[index])
    verify_inclusion(leaf, index, size, steps, root)
    forged = [
        (leaf, index + 1, size, steps, root),
        (leaf, index, size, [*steps, root], root),
        (leaf_hash(b"another"), index, size, steps, root),
        (leaf, index, size, steps, sha256(root).digest()),
        (leaf, size, size, steps, root),
        (leaf, -1, size, steps, root),
        (leaf, index, size, [step[:31] for step in steps] or [b""], root),
    ]
    for case in forged:
        with pytest.raises(VerificationError):
            verify_inclusion(*case)


@given(st.integers(1, 130), st.data())
def test_consistency_proofs_are_those_of_the_rfc_and_forgeries_are_refused(size2: int, data: st.DataObject) -> None:
    leaves = made(size2)
    size1 = data.draw(st.integers(1, size2))
    steps = consistency_path(reader(leaves), size1, size2)
    assert steps == proof(size1, leaves)
    root1, root2 = mth(leaves[:size1]), mth(leaves)
    verify_consistency(size1, size2, root1, root2, steps)
    for case in [
        (0, size2, sha256(b"").digest(), root2, []),
        (size1, size2, sha256(root1).digest(), root2, steps),
        (size1, size2, root1, sha256(root2).digest(), steps),
        (size1, size2, root1, root2, [*steps, root2]),
        (size2 + 1, size2, root1, root2, steps),
    ]:
        with pytest.raises(VerificationError):
            verify_consistency(*case)


@given(st.integers(0, 2**40), st.integers(1, 256), st.integers(0, 5))
def test_tile_paths_round_trip_and_no_other_spelling_is_taken(number: int, width: int, level: int) -> None:
    made_path = tile_path(level, number, width)
    parsed = parse_tile_path(made_path)
    assert (parsed.level, parsed.number, parsed.width) == (level, number, width)
    assert parse_tile_path(bundle_path(number, width)).level is None
    for other in (
        made_path + "/",
        "/" + made_path,
        made_path.replace("tile/", "tile//"),
        made_path + ".p/0",
        made_path + ".p/257",
    ):
        with pytest.raises(RejectedError):
            parse_tile_path(other)
