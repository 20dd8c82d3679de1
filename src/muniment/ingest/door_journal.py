"""The systemd-journal-upload door: `POST /upload`, an endless chunked stream in Journal Export Format.

The sender keeps one request open for as long as it lives, so entries are sealed while they arrive: after
JOURNAL_BATCH_ENTRIES of them or a pause of JOURNAL_PAUSE_MS. At most one batch is under way while the next is read;
TCP holds the sender back. When sealing fails the stream is answered with 503 at once and the sender begins again
where its own state file says; entries are recognised by their cursor.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from muniment.errors import RejectedError
from muniment.ingest.http_request import Answer, Request, failure_of, seal, text_answer
from muniment.limits import JOURNAL_BATCH_ENTRIES, JOURNAL_PAUSE_MS, MIB
from muniment.wire.journal_export import JournalExport
from muniment.wire.records import Records

__all__ = ["refuse", "upload"]

DOOR = "journal"
_BATCH_BYTES = 4 * MIB


async def upload(request: Request) -> Answer:
    """`POST /upload`."""
    await request.authenticate()
    if request.headers.get("content-encoding", "identity") not in {"", "identity"}:
        raise RejectedError("a journal is taken uncompressed", field="Content-Encoding", status=415)
    parser = JournalExport(door=DOOR)
    waiting = Records()
    n_entries = 0
    broke_off: RejectedError | None = None
    async with aclosing(request.stream()) as chunks:
        coming: asyncio.Future[bytes] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(chunks))
                timeout_s = JOURNAL_PAUSE_MS / 1000 if waiting.records else None
                await asyncio.wait({coming}, timeout=timeout_s)
                if coming.done():
                    chunk, coming = coming.result(), None
                    _join(waiting, parser.feed(chunk))
                    if len(waiting.records) < JOURNAL_BATCH_ENTRIES and sum(map(len, waiting.records)) < _BATCH_BYTES:
                        continue
                n_entries += await _seal(request, waiting)
                waiting = Records()
        except StopAsyncIteration:
            try:
                _join(waiting, parser.finish())
            except RejectedError as error:
                broke_off = error
        except RejectedError as error:
            # What was complete before the stream went wrong is sealed; the sender hears of the rest.
            broke_off = error
        finally:
            if coming is not None:
                coming.cancel()
    n_entries += await _seal(request, waiting)
    if broke_off is not None:
        raise broke_off
    return Answer(200, f"OK, {n_entries} entries.\n".encode(), "text/plain")


async def _seal(request: Request, waiting: Records) -> int:
    if waiting.records:
        await seal(request, waiting, DOOR)
    return waiting.n_items


def _join(waiting: Records, found: Records) -> None:
    offset = len(waiting.records)
    waiting.records += found.records
    waiting.ids += found.ids
    waiting.sqs += found.sqs
    waiting.quarantined += found.quarantined
    waiting.item_first += [first + offset for first in found.item_first]


def refuse(request: Request, error: Exception) -> Answer:
    """Plain text, which systemd-journal-upload prints."""
    status, words, headers = failure_of(error)
    return text_answer(status, words, headers)
