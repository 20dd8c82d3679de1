"""Files as they are kept: packed with gzip. Pure."""

from __future__ import annotations

import zlib

from muniment.errors import RejectedError

__all__ = ["unpacked"]


def unpacked(data: bytes, n_bytes_max: int) -> bytes:
    """Without gzip, of one or several members; what is not packed as it is.

    Raises:
        RejectedError: it is damaged, or more than `n_bytes_max` when unpacked.
    """
    if data[:2] != b"\x1f\x8b":
        return data
    parts: list[bytes] = []
    left = n_bytes_max
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(data, left)
        except zlib.error as error:
            raise RejectedError(f"damaged gzip: {error}") from None
        parts.append(part)
        left -= len(part)
        if unpacker.unconsumed_tail or left <= 0:
            raise RejectedError(f"more than {n_bytes_max} bytes when unpacked")
        if not unpacker.eof:
            raise RejectedError("damaged gzip: it ends too early")
        data = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts)
