"""Packs: immutable Parquet files of PACK_ENTRIES entries, the long copy of the truth in an open format.

A pack holds what leaves commit to (salts, records, sealed parts) and what leaves are made of, so entry bundles are
rendered from it byte for byte. Commitment 0 is not stored while its record is there: it is computed from it.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from muniment.errors import VerificationError
from muniment.ledger.folder import Folder
from muniment.ledger.segment import Frame
from muniment.ledger.types import SealedPart
from muniment.limits import PACK_ENTRIES

__all__ = ["ROW_GROUP", "PackReader", "pack_path", "read_digests", "tighten_pack", "write_pack"]

ROW_GROUP = 4096
"""Reading one entry decodes one row group's column chunks: about 3 ms for records of 800 bytes."""

HASTY_LEVEL, TIGHT_LEVEL = 3, 14
"""zstd levels at full load and afterwards: 126 and 103 bytes a record of 808, for 2 and 64 us; the tighter is also read faster."""

_PART = pa.struct(
    [("subject", pa.binary(16)), ("nz", pa.binary(16)), ("commitment", pa.binary(32)), ("ciphertext", pa.binary())]
)
_SCHEMA = pa.schema(
    [
        ("id", pa.binary(16)), ("source", pa.dictionary(pa.int32(), pa.string())), ("sq", pa.int64()),
        ("received_at", pa.int64()), ("salt", pa.binary(16)), ("record", pa.binary()), ("parts", pa.list_(_PART)),
    ]
)  # fmt: skip


def pack_path(number: int) -> str:
    """The pack of entries [number * PACK_ENTRIES, (number + 1) * PACK_ENTRIES)."""
    return f"packs/{number:08d}.parquet"


def write_pack(files: Folder, number: int, frames: Sequence[Frame], origin: str, root: bytes) -> None:
    """Write one full pack, durable on return. The same entries give a file with the same content hash."""
    # Frame by frame: lists become arrays under the interpreter's lock, and put together they are without it.
    table = pa.concat_tables([_table_of(frame) for frame in frames]).combine_chunks()
    sources = table["source"].combine_chunks().dictionary_encode()
    table = table.set_column(1, "source", sources).cast(_SCHEMA)
    if table.num_rows != PACK_ENTRIES:
        raise VerificationError("a pack must be full", expected=PACK_ENTRIES, computed=table.num_rows)
    meta = {"origin": origin, "first": number * PACK_ENTRIES, "root": root.hex()}
    data = _encoded(table, meta, HASTY_LEVEL)
    files.write_atomic(pack_path(number), data, is_durable=True)
    _write_digests(files, number, hashlib.sha256(data).hexdigest())


def tighten_pack(files: Folder, number: int) -> int:
    """Write a pack again at the level there was no time for; bytes saved, 0 when it is tight already.

    The digest of the new file is listed beside the old one before the file is replaced, so at every moment the file
    is one of those that are listed.

    Raises:
        VerificationError: the pack is not what its digest says; it is left alone.
    """
    path = pack_path(number)
    before = files.view(path)
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(before)))
        meta = json.loads(file.schema_arrow.metadata[b"muniment"])
        if meta.get("level", HASTY_LEVEL) >= TIGHT_LEVEL:
            return 0
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise VerificationError(f"{path}: cannot be read as a pack ({error}); restore it from a mirror") from error
    old = hashlib.sha256(before).hexdigest()
    if old not in read_digests(files, number):
        raise VerificationError(f"{path}: the file's digest differs; restore it from a mirror", computed=old)
    data = _encoded(table, meta, TIGHT_LEVEL)
    if not pq.read_table(pa.BufferReader(data), use_threads=False).equals(table):
        raise VerificationError(f"{path}: written again it reads differently; the old file is kept")
    new = hashlib.sha256(data).hexdigest()
    _write_digests(files, number, old, new)
    files.write_atomic(path, data, is_durable=True)
    _write_digests(files, number, new)
    return len(before) - len(data)


def read_digests(files: Folder, number: int) -> tuple[str, ...]:
    """The SHA-256 a pack may have, in hex: one, or two while it is being replaced."""
    return tuple(files.read(f"{pack_path(number)}.sha256").decode("ascii", "replace").split())


def _write_digests(files: Folder, number: int, *digests: str) -> None:
    data = "".join(f"{digest}\n" for digest in digests).encode()
    files.write_atomic(f"{pack_path(number)}.sha256", data, is_durable=True)


def _encoded(table: Any, meta: dict[str, object], level: int) -> bytes:
    table = table.replace_schema_metadata({"muniment": json.dumps({**meta, "level": level})})
    sink = BytesIO()
    encodings = {"received_at": "DELTA_BINARY_PACKED", "sq": "DELTA_BINARY_PACKED", "id": "BYTE_STREAM_SPLIT"}
    pq.write_table(
        table, sink, row_group_size=ROW_GROUP, compression="zstd", compression_level=level, column_encoding=encodings,
        use_dictionary=["source"], write_statistics=False, data_page_size=4 << 20,
    )  # fmt: skip
    return sink.getvalue()


def _table_of(frame: Frame) -> Any:
    columns = [
        pa.array([bytes.fromhex(each.replace("-", "")) for each in frame.ids], pa.binary(16)),
        pa.array(frame.sources, pa.string()),
        pa.array(frame.sqs, pa.int64()),
        pa.array(frame.received_us, pa.int64()),
        pa.array(frame.salts, pa.binary(16)),
        pa.array(frame.records, pa.binary()),
        _parts_array(frame),
    ]
    return pa.table(columns, names=_SCHEMA.names)


def _parts_array(frame: Frame) -> Any:
    flat = [part for parts in frame.parts for part in parts]
    offsets = [0, *accumulate(len(parts) for parts in frame.parts)]
    columns = [
        pa.array([getattr(part, field.name) for part in flat], field.type)
        for field in _PART  # one list a column
    ]
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(_PART))
    )


class PackReader:
    """Reads entries out of packs, one row group at a time, with a small cache of Arrow tables. Thread-safe."""

    def __init__(self, files: Folder, cached_groups: int = 8) -> None:
        self._files = files
        self._cached = cached_groups
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = Lock()

    def group(self, index: int) -> Frame:
        """The row group that holds entry `index`.

        Raises:
            VerificationError: the pack is not there, or is not what a pack must be; names the file.
        """
        return _frame(index - index % ROW_GROUP, self._table(index))

    def row(self, index: int) -> Frame:
        """Entry `index` alone; nothing else of its row group is made into Python objects."""
        return _frame(index, self._table(index).slice(index % ROW_GROUP, 1))

    def _table(self, index: int) -> Any:
        number, offset = divmod(index, PACK_ENTRIES)
        key = (number, offset // ROW_GROUP)
        with self._lock:
            found = self._groups.get(key)
            if found is not None:
                self._groups.move_to_end(key)
                return found
        found = self._read(number, key[1])
        with self._lock:
            self._groups[key] = found
            while len(self._groups) > self._cached:
                self._groups.popitem(last=False)
        return found

    def _read(self, number: int, group: int) -> Any:
        path = pack_path(number)
        try:
            file = pq.ParquetFile(self._files.local_path(path), memory_map=True)
            table = file.read_row_group(group, use_threads=False)
            if file.metadata.num_rows != PACK_ENTRIES:
                raise VerificationError(f"{path}: expected {PACK_ENTRIES} entries, got {file.metadata.num_rows}")
        except (OSError, pa.ArrowException) as error:
            raise VerificationError(f"{path}: cannot be read as a pack ({error}); restore it from a mirror") from error
        return table


def _frame(first: int, table: Any) -> Frame:
    """Python objects of rows, cut out of whole columns: a scalar of Arrow's own for each value costs several times as much."""
    n = table.num_rows
    columns = {name: _whole(table[name]) for name in table.column_names}
    parts = columns["parts"]
    has_parts = parts.values is not None and len(parts.flatten()) > 0
    sealed = (
        [
            tuple(SealedPart(p["subject"], p["nz"], p["commitment"], p["ciphertext"]) for p in each)
            for each in parts.to_pylist()
        ]
        if has_parts
        else [()] * n
    )
    sources, sqs = columns["source"], columns["sq"]
    return Frame(
        first,
        _id_texts(_fixed_bytes(columns["id"]), n),
        _names(sources),
        [None] * n if sqs.null_count == n else sqs.to_pylist(),
        columns["received_at"].to_numpy(zero_copy_only=False).tolist(),
        _cut(_fixed_bytes(columns["salt"]), range(0, 16 * n + 1, 16)),
        _binaries(columns["record"]),
        sealed,
    )


def _whole(column: Any) -> Any:
    """One array of a column, which may be in chunks."""
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _names(sources: Any) -> list[str]:
    if not pa.types.is_dictionary(sources.type):
        sources = sources.dictionary_encode()
    names = sources.dictionary.to_pylist()
    return [names[k] for k in sources.indices.to_numpy(zero_copy_only=False).tolist()]


def _fixed_bytes(column: Any) -> bytes:
    start = column.offset * column.type.byte_width
    return bytes(column.buffers()[1][start : start + len(column) * column.type.byte_width])


def _binaries(column: Any) -> list[bytes]:
    """The values of a binary column: 32-bit offsets, then the bytes."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
    first = int(ends[0])
    return _cut(bytes(data[first : int(ends[-1])]) if data else b"", (ends - first).tolist())


def _cut(data: bytes, ends: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise(ends)]


def _id_texts(ids: bytes, count: int) -> list[str]:
    """UUIDs as text: 8-4-4-4-12 lower-case hex digits."""
    digits = np.frombuffer(ids.hex().encode(), np.uint8).reshape(count, 32)
    texts = np.full((count, 36), ord("-"), np.uint8)
    for start, end, shift in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        texts[:, start + shift : end + shift] = digits[:, start:end]
    text = texts.tobytes().decode()
    return [text[k : k + 36] for k in range(0, 36 * count, 36)]
