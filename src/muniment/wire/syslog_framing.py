"""Framing of syslog on byte streams: RFC 6587 octet-counting and non-transparent framing, told apart frame by frame.

Bytes in, `Frame`s out. Rules it keeps:

- Every byte fed comes out again in exactly one frame, except the counts and the trailers between frames.
- The remainder kept between two feeds is bounded by the frame limit.
- A frame above the limit is not cut in silence: it leaves as several pieces, each with `reason` and `part`, and the
  stream stays in step behind it.
- A count that lies (characters counted instead of bytes, a dead sender) costs the bytes up to the next recognisable
  frame; they leave with `reason` `framing_lost`.

Where it stops: what a frame means is `wire.syslog`. A counted first frame that does not begin with `<` cannot be told
from a line that begins with a number; it is taken for a line.

    SYSLOG-FRAME = MSG-LEN SP SYSLOG-MSG     ; RFC 6587 section 3.4.1; MSG-LEN = NONZERO-DIGIT *DIGIT
    SYSLOG-FRAME = SYSLOG-MSG TRAILER        ; section 3.4.2; TRAILER = LF, or NUL (Python's SysLogHandler, Log4j)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from muniment.limits import SYSLOG_COUNT_MAX, SYSLOG_MESSAGE_BYTES_MAX

__all__ = ["Frame", "Framer"]

# Why 9 digits at most: a longer "count" is a serial number or a time stamp at the start of a line.
_COUNT: Final = re.compile(rb"([1-9][0-9]{0,8}) (?=<)")
_COUNT_STICKY: Final = re.compile(rb"([1-9][0-9]{0,8}) ")
_COUNT_BEGUN: Final = re.compile(rb"[1-9][0-9]{0,8} ?\Z")
_RESYNC: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{0,8} <[0-9]{1,3}>|\n")
_LINE_END: Final = re.compile(rb"[\n\0]")
_NUL_END: Final = re.compile(rb"\0|\n(?=<[0-9]{1,3}>)")
_NUL_END_BYTES: Final = 6  # the longest beginning of `_NUL_END` that is not yet one
_SEPARATORS: Final = b"\n\r\0"


class Frame(NamedTuple):
    """One frame, or a piece of a damaged one: then `reason` says why and `part` counts pieces from 1."""

    data: bytes
    framing: str  # "octet", "lf", "nul"
    reason: str = ""
    part: int = 0


class Framer:
    """The state of one connection. Not shared between connections."""

    __slots__ = ("_buffer", "_framing", "_left", "_limit", "_part", "_seen")

    def __init__(self, limit: int = SYSLOG_MESSAGE_BYTES_MAX) -> None:
        self._limit = limit
        self._buffer = b""
        self._framing = ""  # what the last frame used; "" before the first
        self._left = 0  # bytes still to come of an over-long counted frame; -1: over-long line, until its trailer
        self._part = 0
        self._seen = 0  # bytes of the remainder in which no trailer stands: a trickled line is not searched twice

    @property
    def n_bytes(self) -> int:
        """Bytes held back until their frame is complete; never above the limit and one count."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`, in order."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        end = len(buffer)
        position = 0
        while position < end:
            if self._left:
                after = self._pieces(buffer, position, frames)
            elif buffer[position] in _SEPARATORS:
                after = position + 1
            else:
                after = self._next(buffer, position, frames)
            if after < 0:
                break
            position = after
        self._buffer = buffer[position:]
        return frames

    def close(self) -> list[Frame]:
        """What is left when the stream ends: a last line without trailer is a frame, half a counted frame is not."""
        rest, self._buffer = self._buffer, b""
        part, self._part, left, self._left = self._part, 0, self._left, 0
        if not rest:
            return []
        if left:
            return [Frame(rest, self._framing, "frame_too_large", part + 1)]
        if self._counted(rest, 0) or (self._framing == "octet" and not rest.startswith(b"<")):
            return [Frame(rest, "octet", "frame_incomplete", 1)]
        stripped = rest.rstrip(_SEPARATORS)
        return [Frame(stripped, self._framing if self._framing in ("lf", "nul") else "lf")] if stripped else []

    def _counted(self, buffer: bytes, position: int) -> re.Match[bytes] | None:
        pattern = _COUNT_STICKY if self._framing == "octet" else _COUNT
        found = pattern.match(buffer, position)
        return found if found and int(found[1]) <= SYSLOG_COUNT_MAX else None

    def _next(self, buffer: bytes, position: int, frames: list[Frame]) -> int:
        """Take one frame at `position`; the position behind it, or -1 when more bytes are needed."""
        found = self._counted(buffer, position) if 49 <= buffer[position] <= 57 else None
        if found:
            return self._octets(buffer, found.end(), int(found[1]), position, frames)
        if _COUNT_BEGUN.match(buffer, position):
            return -1
        if self._framing == "octet" and buffer[position] != 60:  # neither a count nor "<"
            return self._resync(buffer, position, frames)
        return self._line(buffer, position, frames)

    def _octets(self, buffer: bytes, begin: int, count: int, position: int, frames: list[Frame]) -> int:
        self._framing = "octet"
        if count > self._limit:
            self._left = count
            return begin
        if len(buffer) - begin < count:
            return -1
        frames.append(Frame(buffer[begin : begin + count], "octet"))
        return begin + count

    def _line(self, buffer: bytes, position: int, frames: list[Frame]) -> int:
        # (1) Which trailer? The first line of the connection decides; one NUL later on must not hold lines back.
        if self._framing == "":
            self._framing = "nul" if 0 in buffer else "lf"
        elif self._framing == "octet":
            self._framing = "lf"
        # (2) Its end.
        end = (_NUL_END if self._framing == "nul" else _LINE_END).search(buffer, position + self._seen)
        stop = end.start() if end else len(buffer)
        if stop - position > self._limit:
            self._left = -1
            self._seen = 0
            return position
        if end is None:
            self._seen = max(0, stop - position - _NUL_END_BYTES)
            return -1
        self._seen = 0
        data = buffer[position:stop]
        frames.append(Frame(data.removesuffix(b"\r"), self._framing))
        return end.end()

    def _resync(self, buffer: bytes, position: int, frames: list[Frame]) -> int:
        found = _RESYNC.search(buffer, position + 1)  # never here: what stands here was no frame, and we must move
        if found is None and len(buffer) - position < self._limit:
            return -1
        # Keep the last bytes back: they may be the beginning of a count.
        stop = found.start() if found else position + self._limit - 16
        self._part += 1
        frames.append(Frame(buffer[position:stop], "octet", "framing_lost", self._part))
        if found:
            self._part = 0
        return stop

    def _pieces(self, buffer: bytes, position: int, frames: list[Frame]) -> int:
        """Give out an over-long frame in pieces of at most the limit."""
        available = len(buffer) - position
        is_last = False
        if self._left > 0:
            stop = position + min(self._left, self._limit, available)
            is_last = stop - position == self._left
        else:
            end = (_NUL_END if self._framing == "nul" else _LINE_END).search(buffer, position)
            stop = min(end.start() if end else len(buffer), position + self._limit)
            is_last = end is not None and stop == end.start()
        if not is_last and stop - position < self._limit:
            return -1
        self._part += 1
        if stop > position:
            frames.append(Frame(buffer[position:stop], self._framing, "frame_too_large", self._part))
        if is_last:
            self._left = self._part = 0
        elif self._left > 0:
            self._left -= stop - position
        return stop
