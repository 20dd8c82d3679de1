"""A file of samples is read as the doors would read what is in it."""

from __future__ import annotations

import gzip

import orjson
import pytest

from muniment.errors import RejectedError
from muniment.wire.lines import records_of_file, text_of_file


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}\n\n{"a":2}\n',
        b'[{"a":1},{"a":2}]',
        b'{\n  "a": 1\n}\n{\n  "a": 2\n}\n',
        b'\xef\xbb\xbf{"a":1}\r\n{"a":2}\r\n',
    ],
)
def test_objects_are_records_however_they_are_written(data: bytes) -> None:
    assert [orjson.loads(each) for each in records_of_file(data)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "line",
    [
        b"<38>Nov  7 10:00:01 host-1 sshd[99]: Failed password for root",
        b"Nov  7 10:00:01 host-1 sshd[99]: Failed password for root",
        b"<38>1 2026-11-07T10:00:01Z host-1 sshd 99 - - Failed password for root",
    ],
)
def test_a_line_of_syslog_is_what_its_door_makes_of_it(line: bytes) -> None:
    (record,) = records_of_file(line + b"\n")
    head = orjson.loads(record)["syslog"]
    assert (head["hostname"], head["app"], head["procid"]) == ("host-1", "sshd", "99")
    assert head["message"] == "Failed password for root"


@pytest.mark.parametrize(
    "line",
    [
        '203.0.113.7 - - [07/Nov/2026:10:00:01 +0000] "GET / HTTP/1.1" 200 1',
        "2026-11-07 10:00:01.123 UTC [99] anna@till LOG:  disconnection",
        "type=USER_LOGIN msg=audit(1795424500.001:4): pid=1",
        "[07-Nov-2026] {not an object",
        "grün",
    ],
)
def test_another_line_is_what_a_shipper_of_files_sends(line: str) -> None:
    assert [orjson.loads(each) for each in records_of_file(f"{line}\r\n".encode())] == [{"message": line}]


def test_what_is_broken_is_left_for_the_reader_to_see() -> None:
    assert records_of_file(b'{"a": \n') == [b'{"a":']
    assert orjson.loads(records_of_file(b"\xff\xfeg\x00")[0])["message"]
    assert records_of_file(b"") == records_of_file(b" \n\n") == []


def test_a_file_is_read_as_it_is_kept() -> None:
    """Packed, as CloudTrail delivers; in UTF-16, as PowerShell's `>` writes."""
    text = '{"user": "Zoë"}\n'
    assert text_of_file(gzip.compress(text.encode()) + gzip.compress(b"{}")) == text.encode() + b"{}"
    for mark in ("utf-16", "utf-16-le"):
        data = text.encode(mark) if mark == "utf-16" else b"\xff\xfe" + text.encode(mark)
        assert text_of_file(data) == text.encode()
    with pytest.raises(RejectedError, match="begins as UTF-16"):
        text_of_file(b"\xff\xfe\x00")
    with pytest.raises(RejectedError, match="ends too early"):
        text_of_file(gzip.compress(text.encode())[:-4])
