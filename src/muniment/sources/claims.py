"""What an operator's entry would take from shipped ones: it is tried on all their samples before it is in force.

An entry that recognises too much is worse than none: what it takes is read without what the general readers know, and rules
see nobody and no act. One pass of the engine over all samples; only the conditions of the operator's entries are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from muniment.envelope import opened
from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue, Entry
from muniment.sources.testing import recognise

__all__ = ["check_claims", "claims"]

_NAMED: Final = 3


def check_claims(shipped: Catalogue, entry: Entry, client: Any) -> None:
    """RejectedError for an entry that would take samples of shipped ones; it names some of them."""
    if (found := claims(shipped, [entry], client).get(entry.name)) is not None:
        raise found


def claims(shipped: Catalogue, own: Iterable[Entry], client: Any) -> dict[str, RejectedError]:
    """What is wrong with those entries that would take samples that a shipped entry reads now, by name.

    Those that take nothing are asked again without the others, behind which they may have stood.
    """
    left = {
        entry.name: entry for entry in own if entry.recognise is not None or entry.alone is not None or entry.inside
    }
    if not left:
        return {}
    samples = [
        (each.name, sample.name, opened(sample.record)[0]) for each in shipped.values() for sample in each.samples
    ]
    wrong: dict[str, RejectedError] = {}
    while left:
        taken = _taken(shipped, left, samples, client)
        if not taken:
            break
        wrong |= {name: _error(left[name], some) for name, some in taken.items()}
        left = {name: entry for name, entry in left.items() if name not in taken}
    return wrong


def _taken(
    shipped: Catalogue, own: Mapping[str, Entry], samples: Sequence[tuple[str, str, bytes]], client: Any
) -> dict[str, list[str]]:
    """Samples of shipped entries by the name of the operator's that would read them."""
    asked = dict(own)
    for entry in own.values():
        around = entry.inside
        while around and around not in asked:
            asked[around] = shipped[around]
            around = shipped[around].inside
    found = recognise(Catalogue(asked), [record for *_, record in samples], client)
    taken: dict[str, list[str]] = {}
    for (reader, sample, _), name in zip(samples, found, strict=True):
        if name in own and reader != name and own[name].place < shipped[reader].place:
            taken.setdefault(name, []).append(f"{sample!r} of {reader}")
    return taken


def _error(entry: Entry, taken: Sequence[str]) -> RejectedError:
    more = f" and {len(taken) - _NAMED:,} more" if len(taken) > _NAMED else ""
    return RejectedError(
        f"it would take records that entries of Muniment read, as their samples {', '.join(taken[:_NAMED])}{more}; narrow what "
        "stands under `recognise:`, or leave it out and set this format for the source",
        field=entry.file,
    )
