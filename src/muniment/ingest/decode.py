"""Content encodings undone within bounds: gzip, deflate, zstd, snappy.

A body is decoded step by step; the bounds of size and ratio are looked at after each step, so a bomb costs at most
one step of memory beyond the bound and a fraction of a second. Cut-off and trailing bytes are refused: half a body
must not be taken for a whole one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import cramjam
import pyarrow as pa

from muniment.errors import RejectedError
from muniment.limits import BODY_BYTES_MAX, BODY_CHUNK_BYTES, BODY_RATIO_FREE_BYTES, BODY_RATIO_MAX

__all__ = ["decode_content", "decode_snappy_block"]

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW_DEFLATE: Final = -15
_ENCODINGS_MAX: Final = 2  # a proxy may compress what was compressed; more is play


def decode_content(body: bytes, encodings: str, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """`body` with its Content-Encoding undone, last encoding first (RFC 9110 section 8.4).

    Raises:
        RejectedError: 415 unknown encoding, 413 too large or too dense, 400 not what it says it is.
    """
    names = [name for name in (part.strip().lower() for part in encodings.split(",")) if name and name != "identity"]
    if len(names) > _ENCODINGS_MAX:
        raise RejectedError(f"more than {_ENCODINGS_MAX} encodings", field="Content-Encoding", status=415)
    for name in reversed(names):
        if name in {"gzip", "x-gzip"}:
            body = _inflate(body, _GZIP, name, bytes_max)
        elif name == "deflate":
            # RFC 9110 means zlib; some senders write raw deflate. A zlib header is a multiple of 31 and says method 8.
            is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            body = _inflate(body, _ZLIB if is_zlib else _RAW_DEFLATE, name, bytes_max)
        elif name == "zstd":
            body = _unzstd(body, bytes_max)
        elif name in {"snappy", "x-snappy-framed"}:
            body = _unsnappy(body, bytes_max)
        else:
            raise RejectedError(f"unknown encoding {name[:32]!r}", field="Content-Encoding", status=415)
    return body


def decode_snappy_block(body: bytes, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """One raw snappy block, the form Loki and Prometheus clients send; it states its size in front."""
    try:
        n_bytes = cramjam.snappy.decompress_raw_len(body)
        # A snappy copy of 64 bytes takes 3, so a stated size beyond 22 : 1 is a lie and would only cost memory.
        if n_bytes > bytes_max or n_bytes > 24 * len(body) + 64:
            raise _too_large(n_bytes, bytes_max)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise RejectedError("not snappy", field="body") from error


def _inflate(body: bytes, wbits: int, name: str, bytes_max: int) -> bytes:
    steps: list[bytes] = []
    n_bytes = 0
    rest = body
    while True:  # once per gzip member
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            try:
                step = stream.decompress(rest, BODY_CHUNK_BYTES)
            except zlib.error as error:
                raise RejectedError(f"not {name}", field="body") from error
            rest = stream.unconsumed_tail
            n_bytes += len(step)
            steps.append(step)
            _check(n_bytes, len(body), bytes_max)
            if not step and not rest and not stream.eof:
                raise RejectedError(f"{name} is cut off", field="body")
        rest = stream.unused_data
        if not rest:
            return steps[0] if len(steps) == 1 else b"".join(steps)
        if wbits != _GZIP:
            raise RejectedError(f"bytes after the {name} stream", field="body")


def _unzstd(body: bytes, bytes_max: int) -> bytes:
    return _pieces(pa.CompressedInputStream(pa.BufferReader(body), "zstd"), body, "zstd", bytes_max)


def _pieces(stream: Any, body: bytes, name: str, bytes_max: int) -> bytes:
    steps: list[bytes] = []
    n_bytes = 0
    try:
        while step := stream.read(BODY_CHUNK_BYTES):
            n_bytes += len(step)
            steps.append(step)
            _check(n_bytes, len(body), bytes_max)
    except (OSError, pa.ArrowException) as error:
        raise RejectedError(f"not {name}, or cut off", field="body") from error
    if not body:
        raise RejectedError(f"{name} is cut off", field="body")
    return b"".join(steps)


def _unsnappy(body: bytes, bytes_max: int) -> bytes:
    if not body.startswith(b"\xff\x06\x00\x00sNaPpY"):
        return decode_snappy_block(body, bytes_max=bytes_max)
    # The framing format: each chunk says its size and decodes to at most 64 KiB, so 24 : 1 bounds the whole.
    if sum(_framed_sizes(body)) > bytes_max:
        raise _too_large(sum(_framed_sizes(body)), bytes_max)
    try:
        return bytes(cramjam.snappy.decompress(body))
    except cramjam.DecompressionError as error:
        raise RejectedError("not snappy", field="body") from error


def _framed_sizes(body: bytes) -> Sequence[int]:
    sizes, at = [], 0
    while at + 4 <= len(body):
        length = int.from_bytes(body[at + 1 : at + 4], "little")
        if body[at] in {0, 1}:
            sizes.append(min(65_536, 24 * length + 64))
        at += 4 + length
    return sizes


def _check(n_bytes: int, n_encoded: int, bytes_max: int) -> None:
    if n_bytes > bytes_max:
        raise _too_large(n_bytes, bytes_max)
    if n_bytes > BODY_RATIO_FREE_BYTES and n_bytes > BODY_RATIO_MAX * n_encoded:
        raise RejectedError(
            f"decodes to more than {BODY_RATIO_MAX} times its size; send it less compressed", field="body", status=413
        )


def _too_large(n_bytes: int, bytes_max: int) -> RejectedError:
    return RejectedError(
        f"decodes to {n_bytes} bytes or more, {bytes_max} are taken; split it", field="body", status=413
    )
