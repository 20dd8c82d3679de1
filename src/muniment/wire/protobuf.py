"""The protobuf wire format, read field by field: enough for Loki's push message and for answers we write.

Pure. Only fields asked for are looked at; unknown ones are skipped, as the format demands. Lengths are checked before
anything is sliced, groups (never used by the messages here) are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from muniment.errors import RejectedError

__all__ = ["fields_of", "length_delimited", "varint"]


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field; varints as unsigned int, the rest as bytes.

    Raises:
        RejectedError: not protobuf.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint_at(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise RejectedError("not protobuf: field number 0", field="body")
        if kind == 0:
            value, at = _varint_at(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint_at(message, at)
        elif kind in {1, 5}:
            length = 8 if kind == 1 else 4
        else:
            raise RejectedError(f"not protobuf: wire type {kind}", field="body")
        if length > end - at:
            raise RejectedError("not protobuf: a field is cut off", field="body")
        yield number, message[at : at + length]
        at += length


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise RejectedError("not protobuf: a number is cut off or too long", field="body")


def varint(value: int) -> bytes:
    """A non-negative number in base 128.

    >>> varint(300)
    b'\\xac\\x02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_delimited(number: int, value: bytes) -> bytes:
    """Field `number` holding a string, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(value)) + value
