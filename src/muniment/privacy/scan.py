"""Secrets are found in bulk and replaced before anything is stored.

One Hyperscan pass over the whole batch's joined bytes names candidate records and kinds; only those meet the exact RE2
patterns and their checks. Without Hyperscan the RE2 set does the first pass record by record: slower, same result.

Rules: a record without a secret is returned as the same object; a record with one differs only where the secret
stood (`[secret:<kind>]`); what was valid JSON stays valid JSON; a match never reaches into the next record, because
the exact pattern sees one record alone. Stops at: secrets in encodings other than those the rules name.
"""

from __future__ import annotations

import importlib
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import re2

from muniment.kept import kept
from muniment.privacy.rules import RULES, Rule

hyperscan: Any
try:
    hyperscan = importlib.import_module("hyperscan")
except ImportError:  # not built for this platform
    hyperscan = None

__all__ = ["Scrubbed", "Scrubber"]


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The records in order, and how often each kind was replaced: {(record number, kind): times}."""

    records: list[bytes]
    found: dict[tuple[int, str], int]

    @property
    def counts(self) -> dict[str, int]:
        """Times per kind over the whole batch."""
        total: Counter[str] = Counter()
        for (_, kind), times in self.found.items():
            total[kind] += times
        return dict(total)


class Scrubber:
    """Compiled once a process; `scrub` may be called from any thread."""

    def __init__(self, rules: Sequence[Rule] = RULES, *, use_hyperscan: bool = True) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.log_errors = False
        self._rules = tuple(rules)
        self._exact = [re2.compile(rule.exact.encode(), options) for rule in self._rules]
        self._lock = threading.Lock()
        self._database: Any = None
        if use_hyperscan and hyperscan is not None:
            self._database = _compile(self._rules)
        else:
            self._set = re2.Set.SearchSet(options)
            for rule in self._rules:
                self._set.Add(rule.exact)
            self._set.Compile()

    @property
    def is_bulk(self) -> bool:
        """Whether the one-pass engine is there."""
        return self._database is not None

    def scrub(self, records: Sequence[bytes]) -> Scrubbed:
        """Replace every secret; O(bytes) when there is none."""
        clean = list(records)
        found: dict[tuple[int, str], int] = {}
        candidates = self._candidates(clean) if self._database is not None else self._candidates_slow(clean)
        for number, rules in candidates.items():
            clean[number] = self._replace(clean[number], rules, number, found)
        return Scrubbed(clean, found)

    def _candidates(self, records: list[bytes]) -> dict[int, set[int]]:
        hits: set[tuple[int, int]] = set()

        def on_match(rule: int, _start: int, end: int, _flags: int, _context: object) -> None:
            hits.add((end, rule))

        with self._lock:  # one scratch space per database
            self._database.scan(b"\n".join(records), match_event_handler=on_match)
        found: dict[int, set[int]] = {}
        if hits:
            ends = list(accumulate(len(record) + 1 for record in records))
            for end, rule in hits:
                found.setdefault(bisect_right(ends, end - 1), set()).add(rule)
        return found

    def _candidates_slow(self, records: list[bytes]) -> dict[int, set[int]]:
        matched = ((number, self._set.Match(record)) for number, record in enumerate(records))
        return {number: set(rules) for number, rules in matched if rules}

    def _replace(self, record: bytes, rules: set[int], number: int, found: dict[tuple[int, str], int]) -> bytes:
        spans: list[tuple[int, int, str]] = []
        for rule in sorted(rules):
            self._spans(record, rule, spans)
        if not spans:
            return record
        # A longer span wins over one that begins with it or lies in it; of equals the first rule in the table.
        spans.sort(key=lambda span: (span[0], -span[1]))
        pieces: list[bytes] = []
        at = 0
        for start, end, kind in spans:
            if start < at:
                if end > at:  # overlaps the previous secret: its rest is hidden too
                    at = end
                continue
            mark = f"[secret:{kind}]".encode()
            bare = record[start] in b"-0123456789" and _is_bare(record, start, end)
            pieces += (record[at:start], b'"' + mark + b'"' if bare else mark)
            found[number, kind] = found.get((number, kind), 0) + 1
            at = end
        pieces.append(record[at:])
        return b"".join(pieces)

    def _spans(self, record: bytes, rule: int, spans: list[tuple[int, int, str]]) -> None:
        check, kind, pattern = self._rules[rule].check, self._rules[rule].kind, self._exact[rule]
        at = 0
        # Search again right behind the secret, not behind the match: a border may serve two neighbours.
        while (match := pattern.search(record, at)) is not None:
            start, end = match.span(1)
            if check is None or check(record[start:end], record, start):
                spans.append((start, end, kind))
            at = max(end, at + 1)


def _is_bare(record: bytes, start: int, end: int) -> bool:
    """Whether the span is a JSON number, not text: quotes before it are balanced."""
    masked = record[:start].replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return masked.count(b'"') % 2 == 0


_COMPILED: dict[tuple[str, ...], Any] = {}
_COMPILING = threading.Lock()


def _compile(rules: tuple[Rule, ...]) -> Any:
    """The block database of all signs; compiling takes a moment, so a process does it once, and for our own rules seldom."""
    signs = tuple(rule.sign for rule in rules)
    with _COMPILING:
        if signs not in _COMPILED:
            _COMPILED[signs] = _kept(signs) if rules == RULES else _built(signs)
        return _COMPILED[signs]


def _kept(signs: tuple[str, ...]) -> Any:
    made_from = [hyperscan.__version__.encode(), *(sign.encode() for sign in signs)]
    data = kept(__file__, "signs", made_from, lambda: bytes(hyperscan.dumpb(_built(signs))))
    try:
        database = hyperscan.loadb(data, hyperscan.HS_MODE_BLOCK)
        database.scratch = hyperscan.Scratch(database)
    except hyperscan.error:  # made for another processor
        return _built(signs)
    return database


def _built(signs: tuple[str, ...]) -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[sign.encode() for sign in signs],
        ids=list(range(len(signs))),
        elements=len(signs),
        flags=[hyperscan.HS_FLAG_DOTALL] * len(signs),
    )
    return database
