"""systemd's Journal Export Format to records, as a stream: feed bytes, get entries.

Pure. An entry is lines `NAME=value`, or `NAME`, a 64-bit little-endian length, that many bytes and a line end; an
empty line ends it. The record is `{"journal": {NAME: value, ...}}`, a name that comes twice holds a list, a value
that is not UTF-8 is `{"$b64": "..."}`. `__CURSOR` is the producer's event id: a journal sent again is recognised.

    entry  = 1*field LF
    field  = name "=" value LF  /  name LF length data LF
"""

from __future__ import annotations

import base64
from typing import Any

import orjson

from muniment.errors import RejectedError
from muniment.limits import JOURNAL_ENTRY_BYTES_MAX, RECORD_BYTES_MAX
from muniment.wire.records import Records, producer_id

__all__ = ["JournalExport"]

_NAME_BYTES_MAX = 64  # what journald itself allows


class JournalExport:
    """One stream. Holds at most JOURNAL_ENTRY_BYTES_MAX of an entry that is not complete yet."""

    def __init__(self, *, door: str) -> None:
        self._door = door
        self._rest = b""
        self._fields: dict[str, Any] = {}
        self._raw: list[bytes] = []
        self._n_bytes = 0
        self._failure: RejectedError | None = None

    @property
    def is_between_entries(self) -> bool:
        """Was everything fed so far part of a complete entry?"""
        return not self._rest and not self._fields

    def feed(self, data: bytes) -> Records:
        """The entries that `data` completes.

        Raises:
            RejectedError: not the format, or an entry beyond JOURNAL_ENTRY_BYTES_MAX; the stream is lost.
        """
        if self._failure is not None:
            raise self._failure
        found = Records()
        try:
            self._read(self._rest + data, found)
        except RejectedError as error:
            # What was whole before the mistake is handed over; the next call tells.
            self._failure = error
            if not found.records:
                raise
        return found

    def _read(self, buffer: bytes, found: Records) -> None:
        at = 0
        while True:
            end = buffer.find(b"\n", at)
            if end < 0:
                break
            line = buffer[at:end]
            if not line:
                self._finish(found)
                at = end + 1
                continue
            name, is_text, value = line.partition(b"=")
            if is_text:
                after = end + 1
            else:
                length = int.from_bytes(buffer[end + 1 : end + 9], "little")
                if len(buffer) - end - 1 >= 8 and self._n_bytes + length > JOURNAL_ENTRY_BYTES_MAX:
                    raise _too_large()
                after = end + 9 + length + 1
                if len(buffer) < after:
                    break
                value = buffer[end + 9 : after - 1]
                if buffer[after - 1 : after] != b"\n":
                    raise RejectedError("a binary field does not end where it says", field="journal")
            self._field(name, value, buffer[at:after])
            at = after
        self._rest = buffer[at:]
        if self._n_bytes + len(self._rest) > JOURNAL_ENTRY_BYTES_MAX:
            raise _too_large()

    def finish(self) -> Records:
        """The last entry, when the stream ended without an empty line; refused when it ended inside a field."""
        if self._failure is not None:
            raise self._failure
        found = Records()
        if self._rest:
            raise RejectedError("the stream ended inside a field", field="journal")
        self._finish(found)
        return found

    def _field(self, name_bytes: bytes, value_bytes: bytes, raw: bytes) -> None:
        if not name_bytes or len(name_bytes) > _NAME_BYTES_MAX or not name_bytes.isascii():
            raise RejectedError("not a field name", field="journal")
        name = name_bytes.decode()
        if not name.replace("_", "A").isalnum() or name != name.upper():
            raise RejectedError("not a field name", field="journal")
        self._n_bytes += len(raw)
        if self._n_bytes > JOURNAL_ENTRY_BYTES_MAX:
            raise _too_large()
        self._raw.append(raw)
        value: Any
        try:
            value = value_bytes.decode()
        except UnicodeDecodeError:
            value = {"$b64": base64.b64encode(value_bytes).decode()}
        known = self._fields.get(name)
        if known is None:
            self._fields[name] = value
        elif type(known) is list:
            known.append(value)
        else:
            self._fields[name] = [known, value]

    def _finish(self, found: Records) -> None:
        if not self._fields:
            return  # more than one empty line; journald writes one
        event_id = producer_id(self._fields.get("__CURSOR"))
        record = orjson.dumps({"journal": self._fields})
        if len(record) > RECORD_BYTES_MAX:
            found.quarantine(b"".join(self._raw), "oversized", door=self._door, event_id=event_id)
        else:
            found.add(record, event_id, None, door=self._door)
        self._fields, self._raw, self._n_bytes = {}, [], 0


def _too_large() -> RejectedError:
    return RejectedError(f"an entry of more than {JOURNAL_ENTRY_BYTES_MAX} bytes", field="journal", status=413)
