"""Staging segments: a batch becomes durable here, before it is acknowledged (INTEGRITY.md 2.7 step 4).

Frame: `MUN1` | u32 payload length | u32 crc32 of the payload | payload, the payload being zstd of one msgpack list:
[first index, ids, sources, sqs, received_us, salts, records, parts]. The roots are not kept in the frame: they are
re-derived, so a frame can never disagree with its content. A torn tail is cut only beyond the head.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cramjam
import msgspec

from muniment.errors import VerificationError
from muniment.ledger.types import SealedPart

__all__ = ["Frame", "decode_frames", "encode_frame"]

_MAGIC = b"MUN1"
_HEADER = 12
PAYLOAD_BYTES_MAX = 256 * 1024 * 1024
"""A batch is at most 8 MiB and one record 1 MiB; anything near this is not a length."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch as staged: consecutive entries from `first` on."""

    first: int
    ids: Sequence[str]
    sources: Sequence[str]
    sqs: Sequence[int | None]
    received_us: Sequence[int]
    salts: Sequence[bytes]
    records: Sequence[bytes]
    parts: Sequence[tuple[SealedPart, ...]]

    @property
    def end(self) -> int:
        """The index after the last."""
        return self.first + len(self.records)


_Raw = tuple[
    int, list[bytes], list[str], list[int | None], list[int], list[bytes], list[bytes], list[tuple[SealedPart, ...]]
]
_decoder = msgspec.msgpack.Decoder(_Raw)
_encoder = msgspec.msgpack.Encoder()


def encode_frame(frame: Frame) -> bytes:
    """The frame's bytes."""
    has_parts = any(frame.parts)
    raw = (
        frame.first,
        [bytes.fromhex(i.replace("-", "")) for i in frame.ids],
        frame.sources,
        frame.sqs,
        frame.received_us,
        frame.salts,
        frame.records,
        frame.parts if has_parts else [],
    )
    payload = bytes(cramjam.zstd.compress(_encoder.encode(raw), level=1))
    return _MAGIC + len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload


def decode_frames(data: bytes, path: str) -> Iterator[tuple[int, Frame | None]]:
    """(offset, frame) for every frame; a last (offset, None) where something stands that is no whole frame."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + _HEADER + length
        payload = data[at + _HEADER : end]
        is_whole = data[at : at + 4] == _MAGIC and length <= PAYLOAD_BYTES_MAX and len(payload) == length
        if not is_whole or zlib.crc32(payload).to_bytes(4, "little") != data[at + 8 : at + 12]:
            yield at, None
            return
        yield at, _decode(payload, f"{path} at byte {at}")
        at = end


def _decode(payload: bytes, where: str) -> Frame:
    try:
        first, ids, sources, sqs, received, salts, records, parts = _decoder.decode(
            bytes(cramjam.zstd.decompress(payload))
        )
    except (msgspec.DecodeError, cramjam.DecompressionError) as error:
        raise VerificationError(f"{where}: the frame's check sum holds but its content does not: {error}") from error
    return Frame(
        first, [_uuid_text(i) for i in ids], sources, sqs, received, salts, records, parts or [()] * len(records)
    )


def _uuid_text(data: bytes) -> str:
    h = data.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
