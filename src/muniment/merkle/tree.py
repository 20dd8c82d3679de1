"""RFC 6962 hashing, the right edge of a growing tree, and proofs from any reader of subtree hashes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from muniment.errors import VerificationError

__all__ = [
    "EMPTY_ROOT",
    "Edge",
    "consistency_path",
    "inclusion_path",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT = sha256(b"").digest()
HashReader = Callable[[int, int], bytes]
"""(level, position) of a complete subtree of 2**level leaves -> its hash."""


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 section 2.1."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


class Edge:
    """The complete subtrees along the right edge of a tree of `size` leaves, largest first."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count():
            raise VerificationError("wrong number of edge hashes", expected=size.bit_count(), computed=len(hashes))
        self.size = size
        self.hashes = list(hashes)

    def copy(self) -> Edge:
        return Edge(self.size, self.hashes)

    def append(self, hashes: Sequence[bytes], new: Callable[[int, int, Sequence[bytes]], None] | None = None) -> None:
        """Append leaf hashes. `new(level, first, hashes)` hears of every run of complete subtrees made per level."""
        level, first, run = 0, self.size, list(hashes)
        old = {}
        size = self.size
        for stack_level, value in zip(
            [i for i in range(size.bit_length()) if size >> i & 1][::-1], self.hashes, strict=True
        ):
            old[stack_level] = value
        edge: dict[int, bytes] = {}
        total = self.size + len(hashes)
        while run:
            if new:
                new(level, first, run)
            if first & 1:
                run = [old[level], *run]
                first -= 1
            if len(run) & 1:
                edge[level] = run[-1]
            run = [sha256(b"\x01" + run[k] + run[k + 1]).digest() for k in range(0, len(run) - 1, 2)]
            first >>= 1
            level += 1
        for stack_level, value in old.items():
            if stack_level >= level:
                edge[stack_level] = value
        self.size = total
        self.hashes = [edge[i] for i in range(total.bit_length() - 1, -1, -1) if total >> i & 1]

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        value = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            value = sha256(b"\x01" + left + value).digest()
        return value


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 6962: k)."""
    return 1 << (size - 1).bit_length() - 1


def _subtree_root(read: HashReader, start: int, end: int) -> bytes:
    """MTH(D[start:end]) where start is a multiple of a power of two >= end - start."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(level, start >> level)
    k = _split(size)
    return node_hash(_subtree_root(read, start, start + k), _subtree_root(read, start + k, end))


def inclusion_path(read: HashReader, index: int, size: int) -> list[bytes]:
    """The inclusion proof of `index` in the tree of `size` leaves, from leaf to root (RFC 6962 section 2.1.1)."""
    start, end, path = 0, size, []
    while end - start > 1:
        k = _split(end - start)
        if index < start + k:
            path.append(_subtree_root(read, start + k, end))
            end = start + k
        else:
            path.append(_subtree_root(read, start, start + k))
            start += k
    return path[::-1]


def consistency_path(read: HashReader, size1: int, size2: int) -> list[bytes]:
    """The consistency proof between two sizes, 0 < size1 <= size2 (RFC 6962 section 2.1.2)."""
    start, end, path, is_complete = 0, size2, [], True
    m = size1
    while m != end - start:
        k = _split(end - start)
        if m <= k:
            path.append(_subtree_root(read, start + k, end))
            end = start + k
        else:
            path.append(_subtree_root(read, start, start + k))
            start, m, is_complete = start + k, m - k, False
    if not is_complete:
        path.append(_subtree_root(read, start, end))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check that the tree of `size` leaves with `root_hash` holds the leaf hash `leaf` at `index`.

    Raises:
        VerificationError: index out of range, wrong number or length of hashes, or another root.

    RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise VerificationError(f"index {index} is not in a tree of {size} leaves", expected=size, computed=index)
    _check_lengths(proof, leaf, root_hash)
    fn, sn, r = index, size - 1, leaf
    for step in proof:
        if sn == 0:
            raise VerificationError("the inclusion proof has surplus hashes", expected=None, computed=len(proof))
        if fn & 1 or fn == sn:
            r = node_hash(step, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, step)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise VerificationError("the inclusion proof is too short", computed=len(proof))
    if r != root_hash:
        raise VerificationError(f"expected the root {root_hash.hex()}, got {r.hex()}", expected=root_hash, computed=r)


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (size2, root2) grew from (size1, root1).

    Raises:
        VerificationError: size1 is 0 or above size2, surplus or missing hashes, or other roots.

    RFC 9162, section 2.1.4.2.
    """
    if not 0 < size1 <= size2:
        raise VerificationError(f"a consistency proof needs 0 < size1 <= size2, got {size1} and {size2}")
    _check_lengths(proof, root1, root2)
    if size1 == size2:
        if proof:
            raise VerificationError("the proof between equal sizes must be empty", expected=0, computed=len(proof))
        if root1 != root2:
            raise VerificationError("two roots of the same size", expected=root1, computed=root2)
        return
    steps = list(proof)
    if size1 & (size1 - 1) == 0:
        steps.insert(0, root1)
    if not steps:
        raise VerificationError("the consistency proof is empty")
    fn, sn = size1 - 1, size2 - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = steps[0]
    for step in steps[1:]:
        if sn == 0:
            raise VerificationError("the consistency proof has surplus hashes")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(step, fr), node_hash(step, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, step)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise VerificationError("the consistency proof is too short")
    if fr != root1:
        raise VerificationError(f"expected the older root {root1.hex()}, got {fr.hex()}", expected=root1, computed=fr)
    if sr != root2:
        raise VerificationError(f"expected the newer root {root2.hex()}, got {sr.hex()}", expected=root2, computed=sr)


def _check_lengths(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > 64:
        raise VerificationError("more than 64 hashes in a proof", expected=64, computed=len(proof))
    for step in (*proof, *others):
        if len(step) != 32:
            raise VerificationError("a hash must have 32 bytes", expected=32, computed=len(step))
