"""Blocks on their way to the store learn what earlier records of the same events said: see `sources.together`.

Rules: a block gets the same `earlier` whoever asks and however it was cut, because what is remembered is counted back
from each record. `Recall` that was not there for the entries before a block reads them from the ledger again, with the
seals that keys still open: after somebody was erased, what it remembers of them are placeholders. It must be forgotten
then, as the store is. Sources without such records cost one look for two bytes a record, those of another format nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from muniment.limits import TOGETHER_ENTRIES_MAX
from muniment.search.blocks import Block, LedgerReader, Unsealer, ledger_blocks
from muniment.search.schema import MappingSet
from muniment.sources.together import Memory, Together

__all__ = ["Recall"]


class Recall:
    """Gives blocks their `earlier`. Cheapest when they follow each other. Used by one thread at a time."""

    def __init__(
        self,
        ledger: LedgerReader,
        unsealer: Unsealer | None,
        mappings: Callable[[], MappingSet],
        source_format: Callable[[str], str],
    ) -> None:
        self._ledger = ledger
        self._unsealer = unsealer
        self._mappings = mappings
        self._source_format = source_format
        self.forget()

    def forget(self) -> None:
        """Read again from the ledger what comes before the next block."""
        self._memory = Memory()
        self._from = self._next = -1  # the memory has seen all of [from, next)
        self._seen: MappingSet | None = None

    def blocks(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Each with its `earlier`."""
        return map(self.block, blocks)

    def block(self, block: Block) -> Block:
        """The block with what earlier records say of its records' events. StorageError: the ledger cannot be read."""
        mappings = self._mappings()
        if block.first != self._next or mappings is not self._seen:
            self.forget()
            self._from, self._seen = block.first, mappings
        self._next = block.end
        if not mappings.together:
            return block
        asked = self._asked(block, mappings)
        if not asked:
            return block
        start = max(0, block.first - TOGETHER_ENTRIES_MAX)
        if self._from > start:
            self._memory, self._from = Memory(), start
            for older in ledger_blocks(self._ledger, self._unsealer, start, block.first):
                self._learn(older, self._asked(older, mappings))
        earlier = [""] * len(block.records)
        for number, said in self._learn(block, asked):
            earlier[number] = said
        return replace(block, earlier=earlier) if any(earlier) else block

    def _learn(self, block: Block, asked: Sequence[tuple[int, Sequence[Together]]]) -> list[tuple[int, str]]:
        recall = self._memory.recall
        return [
            (number, recall(block.first + number, block.sources[number], kinds, block.records[number]))
            for number, kinds in asked
        ]

    def _asked(self, block: Block, mappings: MappingSet) -> list[tuple[int, Sequence[Together]]]:
        """The records that may be parts of events, with the rules that may say so."""
        by_source = {
            source: mappings.together.get(mappings.format_of(self._source_format(source)), ())
            for source in set(block.sources)
        }
        asked: dict[int, list[Together]] = {}
        for kind in dict.fromkeys(kind for kinds in by_source.values() for kind in kinds):
            wanted = {source for source, kinds in by_source.items() if kind in kinds}
            among: Sequence[int] = range(len(block.records))
            if len(wanted) < len(by_source):
                among = [number for number in among if block.sources[number] in wanted]
            for number in kind.having_marks(block.records, among):
                asked.setdefault(number, []).append(kind)
        return sorted(asked.items())
