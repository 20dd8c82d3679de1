"""Which texts tell the kinds of event apart that a sender mixes, learned from records whose kinds are known. Pure.

A *sign* is a mark of a recogniser: a text that records of some kind have (see `marks`). The signs of a record, found in one
pass over all, are enough to guess its kind where a few of them tell what was learned from apart. It is no more than a guess:
others may have the same texts elsewhere, so who uses it asks of each record whether it is so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from muniment.sources.finder import Finder

__all__ = ["Names", "Signs"]

_SAMPLES: Final = 48
"""Records of each kind that signs are chosen by."""
_SIGNS_MAX: Final = 16
_GAIN_MIN: Final = 0.02
"""Bits that a sign must tell."""
_LOOK: Final = 0.3
"""What looking for one more costs, where each time that it stands in a record costs 1 (0.2 us)."""
_SURE: Final = 0.95
"""Of so many of the records with the same signs one kind is expected; those of others are asked about twice."""

Names = npt.NDArray[np.object_]
_Masks = npt.NDArray[np.int64]


class Signs:
    """Thread-safe."""

    def __init__(self, marks: Sequence[str], names: Mapping[int, str]) -> None:
        """`names`: what records with these marks are, a bit for each mark."""
        self._finder = Finder(marks)
        self._names = dict(names)

    @classmethod
    def learned(cls, records: pa.BinaryArray, names: Names, marks: Sequence[str]) -> Signs:
        """Those among the `marks` that tell records of these names apart. Of names with few records nothing is learned."""
        known, codes = np.unique(names.astype(str), return_inverse=True)
        chosen = _chosen(records, codes, marks)
        finder = Finder(chosen)
        masks = _masks(finder, records)
        pairs, counts = np.unique(np.stack((masks, codes)), axis=1, return_counts=True)
        sure = {}
        for mask in np.unique(masks).tolist():
            those = pairs[0] == mask
            most = int(counts[those].argmax())
            if counts[those][most] >= _SURE * counts[those].sum():
                sure[mask] = str(known[pairs[1][those][most]])
        return cls(chosen, sure)

    def guessed(self, records: pa.BinaryArray) -> Names:
        """What each record may be, or ''.

        >>> Signs(["GET", "sshd"], {1: "web", 2: "ssh"}).guessed(pa.array([b"sshd", b"GET /", b"GET sshd"])).tolist()
        ['ssh', 'web', '']
        """
        found, which = np.unique(_masks(self._finder, records), return_inverse=True)
        names = np.asarray([self._names.get(mask, "") for mask in found.tolist()], object)
        return names[which]


def _masks(finder: Finder, records: pa.BinaryArray) -> _Masks:
    """Of each record the signs it has, a bit for each."""
    masks = np.zeros(len(records), np.int64)
    if not finder.patterns:
        return masks
    places, numbers = finder.each(records)
    np.bitwise_or.at(masks, places, np.int64(1) << numbers)
    return masks


def _chosen(records: pa.BinaryArray, codes: npt.NDArray[np.int64], marks: Sequence[str]) -> list[str]:
    """The marks that tell most, one after another, given those before."""
    if not marks:
        return []
    picked = np.concatenate([_spread(np.flatnonzero(codes == code)) for code in range(int(codes.max(initial=-1)) + 1)])
    kinds = codes[picked]
    places, numbers = Finder(marks).each(records.take(pa.array(picked)))
    has = np.zeros((len(picked), len(marks)), bool)
    has[places, numbers] = True
    times = np.bincount(numbers, minlength=len(marks)) / len(picked)
    groups = np.zeros(len(picked), np.int64)
    chosen: list[int] = []
    while len(chosen) < min(_SIGNS_MAX, len(marks)):
        left = _open_bits(groups, kinds)
        gains = np.asarray([left - _open_bits(groups * 2 + has[:, k], kinds) for k in range(len(marks))])
        best = int(np.argmax(np.where(gains >= _GAIN_MIN, gains / (_LOOK + times), 0)))
        if gains[best] < _GAIN_MIN:
            break
        chosen.append(best)
        _, groups = np.unique(groups * 2 + has[:, best], return_inverse=True)
    return [marks[k] for k in chosen]


def _spread(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return places[np.linspace(0, len(places) - 1, min(_SAMPLES, len(places))).astype(np.int64)]


def _open_bits(groups: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64]) -> float:
    """Bits that are open about the kind of a record whose group is known, on average."""
    counts = np.zeros((int(groups.max()) + 1, int(kinds.max()) + 1))
    np.add.at(counts, (groups, kinds), 1)
    of_group = counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(counts > 0, counts * np.log2(of_group / counts), 0.0)
    return float(bits.sum() / len(kinds))
