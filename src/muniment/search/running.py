"""A statement that runs on: rows come to it through a pipe, block by block, so that the engine plans it once.

The engine plans each statement anew, however few rows it is for; a mapping takes 30 to 220 ms, a block of twenty formats
seconds. So the statement reads a pipe as a table (Arrow's stream format) and stays. Rows go on to a table that shows
them at once; who sends rows asks that table until they are there.

Rules: for the embedded engine only, which has our file descriptors. A statement that fails is over, and its error is raised
at the next `send` or `check`. It holds its tables: they cannot be dropped before it is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import select
import struct
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from muniment.errors import StorageError

__all__ = ["RUNNING_SETTINGS", "Running"]

RUNNING_SETTINGS: Final[Mapping[str, int | str]] = {
    "max_threads": 1,  # rows come out in the order in which they went in
    "min_insert_block_size_rows": 0,  # and at once
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "storage_file_read_method": "read",
}
"""For the connection of a statement that runs on."""

_PIPE_BYTES: Final = 1 << 20
_CHUNK_ROWS: Final = 16_384
"""Rows the engine works on at a time: fewer fit its caches better, and a long mapping costs 60 ms for each such piece."""
_FRAME: Final = bytes.fromhex("04224d18604082")
"""LZ4's magic number, then: version 1, blocks that do not refer to each other, of at most 64 KiB (of which the reader holds
two), no checksums."""
_STORED_MAX: Final = 64 << 10
_IS_STORED: Final = 1 << 31
_FRAME_END: Final = bytes(4)
_END: Final = pa.compress(b"\xff\xff\xff\xff\0\0\0\0", codec="lz4", asbytes=True)


class Running:
    """One statement, from its start to `close`. Used by one thread at a time."""

    def __init__(self, client: Any, statement: Callable[[str], str], columns_sql: str) -> None:
        """`client`: a connection for itself. `statement`: its text, given the table it reads, which has the columns `columns_sql`."""
        reading, self._pipe = os.pipe()
        self._reading = reading
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(OSError):  # the system allows less: it works, in more steps
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        columns = columns_sql.replace("\\", "\\\\").replace("'", "\\'")
        # Framed as compressed only because the engine's reader of this format seeks in what it takes for a file.
        sql = statement(f"file('/proc/self/fd/{reading}', 'ArrowStream', '{columns}', 'lz4')")
        self._client = client
        self._error: Exception | None = None
        self._is_over = threading.Event()
        self._is_begun = self._is_closed = False
        self._thread = threading.Thread(target=self._run, args=(sql,), name="running", daemon=True)
        self._thread.start()
        _all.add(self)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def send(self, rows: pa.Table) -> None:
        """Give it rows. StorageError: it is over, and why."""
        messages = [] if self._is_begun else [rows.schema.serialize()]
        self._is_begun = True
        is_whole = all(column.num_chunks == 1 for column in rows.columns)
        batches = (rows if is_whole else rows.combine_chunks()).to_batches(max_chunksize=_CHUNK_ROWS)
        for message in (*messages, *(batch.serialize() for batch in batches)):
            for part in _framed(memoryview(message)):
                self._write(part)

    def check(self) -> None:
        """StorageError when it is over before it was closed, or failed."""
        if self._error is not None or (self._is_over.is_set() and not self._is_closed):
            error = self._error
            raise StorageError(f"search store: {str(error or 'a statement ended by itself')[:2_000]}") from error

    def close(self) -> None:
        """Let it read what it was given, and wait until it holds nothing any more."""
        if self._is_closed:
            return
        self._is_closed = True
        _all.discard(self)
        if not self._is_over.is_set():
            with contextlib.suppress(OSError):
                os.write(self._pipe, _END)
        os.close(self._pipe)
        self._thread.join()
        os.close(self._reading)
        self._client.close()

    def _run(self, sql: str) -> None:
        try:
            self._client.command(sql)
        except Exception as error:  # whatever it is: who sends rows, or asks for them, is told
            self._error = error
        finally:
            self._is_over.set()

    def _write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            self.check()
            try:
                left = left[os.write(self._pipe, left) :]
            except BlockingIOError:
                select.select([], [self._pipe], [], 0.1)


def _framed(message: memoryview) -> Iterator[bytes | memoryview]:
    """A message as a frame of LZ4 whose blocks are stored as they are: compressing them costs a microsecond a record."""
    yield _FRAME
    for start in range(0, len(message), _STORED_MAX):
        block = message[start : start + _STORED_MAX]
        yield struct.pack("<I", len(block) | _IS_STORED)
        yield block
    yield _FRAME_END


_all: weakref.WeakSet[Running] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """The engine does not survive the end of a process in the middle of a statement."""
    for each in list(_all):
        each.close()
