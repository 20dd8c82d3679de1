"""Syslog messages become records: labelled cases, vendors' variants, and any bytes."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.limits import RECORD_BYTES_MAX, SYSLOG_MESSAGE_BYTES_MAX
from muniment.wire.syslog import origin_suffix, quarantine_record, syslog_record

CASES = Path(__file__).parent / "syslog"
SUFFIX = origin_suffix(transport="tcp", framing="octet", peer="10.0.0.1")


def _load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text("utf-8").splitlines()]


def _parse(data: bytes) -> dict[str, Any]:
    record, reason = syslog_record(data, SUFFIX)
    assert reason is None, reason
    found = json.loads(record)
    raw = found["raw"].encode() if "raw" in found else base64.b64decode(found["raw_b64"])
    assert raw == data
    fields: dict[str, Any] = found["syslog"]
    return fields


def _is_strict(data: bytes) -> bool:
    record, reason = syslog_record(data, SUFFIX)
    fields = json.loads(record).get("syslog", {})
    return reason is None and fields.get("version") is not None and "deviations" not in fields


RFC = _load("rfc-cases.jsonl")
# Bytes that are not UTF-8 are allowed without a BOM; the record still says "encoding".
NOT_UTF8 = {"rfc5424#138", "rfc5424#140", "rfc5424#143"}


@pytest.mark.parametrize("case", [c for c in RFC if c["rfc"] == "5424"], ids=lambda c: c["case"])
def test_strictness_agrees_with_the_labelled_cases(case: dict[str, Any]) -> None:
    data = case["input_latin1"].encode("latin-1")
    if case["case"] in NOT_UTF8:
        assert _parse(data)["deviations"] == ["encoding"]
    else:
        assert _is_strict(data) == case["valid"]


@pytest.mark.parametrize("case", [c for c in RFC if c["valid"]], ids=lambda c: c["case"])
def test_fields_agree_with_the_labelled_cases(case: dict[str, Any]) -> None:
    fields = _parse(case["input_latin1"].encode("latin-1"))
    expected = case["expected"]
    names = {"priority": "pri", "version": "version", "timestamp": "timestamp", "hostname": "hostname",
             "appname": "app", "procid": "procid", "msgid": "msgid"}  # fmt: skip
    for theirs, ours in names.items():
        if theirs in expected:
            assert fields[ours] == expected[theirs]
    if "message" in expected:  # the BOM marks UTF-8, it is no part of the text
        assert fields["message"] == expected["message"].removeprefix("\ufeff")


@pytest.mark.parametrize("case", _load("vendor-messages.jsonl"), ids=lambda c: c["case"])
def test_vendor_messages_keep_what_is_certain(case: dict[str, Any]) -> None:
    fields = _parse(case["message"].encode())
    assert {name: fields[name] for name in ("pri", "timestamp", "hostname", "app")} == {
        name: case[name] for name in ("pri", "timestamp", "hostname", "app")
    }
    assert case["message"].endswith(fields["message"])


@pytest.mark.parametrize("tail", ["", " and more", "\n", ": 1 <13>x"], ids=["whole", "more", "newline", "junk"])
@pytest.mark.parametrize("case", _load("appliance-headers.jsonl"), ids=lambda c: c["case"])
def test_headers_of_appliances_are_read_whatever_follows(case: dict[str, Any], tail: str) -> None:
    fields = _parse((case["message"] + tail).encode())
    assert {name: fields[name] for name in ("pri", "timestamp", "hostname", "app", "msgid")} == {
        name: case[name] for name in ("pri", "timestamp", "hostname", "app", "msgid")
    }
    assert fields["message"].startswith(case["rest"])


@pytest.mark.parametrize("case", _load("appliance-headers.jsonl"), ids=lambda c: c["case"])
def test_a_header_cut_anywhere_is_still_a_record(case: dict[str, Any]) -> None:
    data = case["message"].encode()
    for end in range(1, len(data)):
        record, _ = syslog_record(data[:end], SUFFIX)
        assert _raw(json.loads(record)) == data[:end]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<166>Jul 06 2018 20:33:28: %ASA-6-302014: Teardown TCP",
         {"msgid": "%ASA-6-302014", "message": "%ASA-6-302014: Teardown TCP", "hostname": None}),
        ("<166>Jul 06 2018 20:33:28 ASA01 : %ASA-6-302014: Teardown", {"hostname": "ASA01", "msgid": "%ASA-6-302014"}),
        ("<166>%ASA-6-302014: Teardown", {"msgid": "%ASA-6-302014", "timestamp": None}),
        ("%ASA-3-302014: no priority", {"pri": None, "severity": "err", "facility": None}),
        ("<189>29: *Mar  1 18:46:11: %SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)",
         {"sequence": "29", "timestamp": "Mar  1 18:46:11", "msgid": "%SYS-5-CONFIG_I", "hostname": None}),
        ("<189>29: router1: .Mar  1 18:46:11.233 UTC: %SYS-5-CONFIG_I: x",
         {"hostname": "router1", "timestamp": "Mar  1 18:46:11.233 UTC", "sequence": "29"}),
        ("<187>4593: 4590: Jan  2 03:04:05.678: %LINK-3-UPDOWN: y", {"sequence": "4593", "msgid": "%LINK-3-UPDOWN"}),
        ("<189>: 2013 Dec  1 10:10:10 UTC: %ETHPORT-5-IF_UP: x",
         {"timestamp": "2013 Dec  1 10:10:10 UTC", "msgid": "%ETHPORT-5-IF_UP"}),
        ("<134>1 1563249630.774247467 office_mx urls src=1.2.3.4",
         {"version": 1, "timestamp": "1563249630.774247467", "hostname": "office_mx", "deviations": ["header"]}),
        ("Nov 23 06:51:41 2001:db8::1 sshd[1]: x", {"pri": None, "hostname": "2001:db8::1", "app": "sshd"}),
        ("<38>Nov 23 06:51:41 fe80::1%eth0 sshd[1]: x", {"hostname": "fe80::1%eth0", "procid": "1"}),
        ("<38>2026-11-23T06:51:41.5+01:00 web sshd[1]: x", {"timestamp": "2026-11-23T06:51:41.5+01:00", "app": "sshd"}),
        ("<38>Nov 23 06:51:41 sshd[1]: x", {"hostname": None, "app": "sshd"}),
        ("<38>Nov  3 06:51:41 h CEF:0|a|b|1|2|c|3|src=1.1.1.1", {"app": None, "message": "CEF:0|a|b|1|2|c|3|src=1.1.1.1"}),
        ("<14>hello", {"message": "hello", "app": None, "hostname": None}),
        ("hello", {"message": "hello", "pri": None, "facility": None, "severity": None}),
        ("<192>hello", {"pri": None, "deviations": ["pri"], "message": "hello"}),
        ("<34>1 - h a - - - \ufefftext", {"message": "text"}),
        ('<34>1 - h a - - [x@1 ip="1" ip="2" ip="3"] m', {"sd": {"x@1": {"ip": ["1", "2", "3"]}}}),
        ('<34>1 - h a - - [x a="\\"\\\\\\]\\n"] m', {"sd": {"x": {"a": '"\\]\\n'}}, "deviations": ["sd"]}),
        ('<34>1 - h a 7 - [a:"x"; b:"y"; ]', {"app": "a", "procid": "7", "sd": None, "message": '[a:"x"; b:"y"; ]'}),
        ("<191>1 2026-11-23T00:00:00.123456789Z h a - - - m", {"facility": "local7", "severity": "debug",
         "deviations": ["timestamp"]}),
    ],
)  # fmt: skip
def test_variants(text: str, expected: dict[str, Any]) -> None:
    fields = _parse(text.encode())
    assert {name: fields.get(name) for name in expected} == expected


def test_the_record_has_the_documented_shape() -> None:
    record, _ = syslog_record(b"<38>1 2026-11-23T06:51:41Z h sshd 1 - - ok", SUFFIX)
    assert json.loads(record) == {
        "syslog": {
            "facility": "auth", "severity": "info", "pri": 38, "version": 1, "timestamp": "2026-11-23T06:51:41Z",
            "hostname": "h", "app": "sshd", "procid": "1", "msgid": None, "sd": None, "message": "ok",
        },
        "raw": "<38>1 2026-11-23T06:51:41Z h sshd 1 - - ok",
        "transport": "tcp", "framing": "octet", "peer": "10.0.0.1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"\n\0", "empty"), (b"\x16\x03\x01\x02\0", "not_text"), (b"\xff\xfe", "not_text")],
)
def test_bytes_that_say_nothing_are_quarantined_whole(data: bytes, reason: str) -> None:
    record, found = syslog_record(data, SUFFIX)
    assert found == reason
    kept = json.loads(record)
    assert kept["$quarantine"] == {"reason": reason, "door": "syslog"}
    assert _raw(kept) == data


def test_bytes_outside_utf8_stay_exact_and_readable() -> None:
    fields = _parse(b"<13>fond\xfc bruucht")
    assert fields["message"] == "fond\\xfc bruucht"
    assert fields["deviations"] == ["encoding"]


def test_a_piece_of_a_frame_carries_its_number() -> None:
    kept = json.loads(quarantine_record(b"x", "frame_too_large", SUFFIX, part=3))
    assert kept["$quarantine"] == {"reason": "frame_too_large", "door": "syslog", "part": 3}


def _raw(kept: dict[str, Any]) -> bytes:
    for name in ("$raw", "raw"):
        if name in kept:
            return str(kept[name]).encode()
    return base64.b64decode(kept.get("raw_b64") or kept.get("$raw_b64") or "")


HEADS = st.sampled_from(
    [b"", b"<34>", b"<34>1 ", b"<34>1 2026-11-23T06:51:41Z ", b"<34>1 - - - - - [", b"<34>Nov 23 06:51:41 ", b"29: *Mar",
     b"<34>Nov 23 06:51:41 h a[1]: ", b'<34>1 - - - - - [a b="', b"<999>", b"\xef\xbb\xbf<34>"]
)  # fmt: skip


@given(head=HEADS, tail=st.binary(max_size=200), trailer=st.sampled_from([b"", b"\n", b"\r\n", b"\0"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_become_one_record_that_keeps_them(head: bytes, tail: bytes, trailer: bytes) -> None:
    data = head + tail + trailer
    record, reason = syslog_record(data, SUFFIX)
    kept = json.loads(record)
    assert _raw(kept) == data
    assert ("$quarantine" in kept) == (reason is not None)
    assert kept["transport"] == "tcp"


@given(st.text(max_size=120))
@settings(max_examples=200, deadline=None)
def test_trailing_bytes_change_nothing_but_the_message(text: str) -> None:
    head = b"<38>1 2026-11-23T06:51:41Z h sshd 1 - - m"
    fields = _parse(head + text.encode())
    assert (fields["hostname"], fields["app"], fields["procid"]) == ("h", "sshd", "1")


@pytest.mark.parametrize(
    "unit",
    [b"a", b" ", b"1", b"[", b'[a b="', b"\\", b'"', b":", b"a-", b"%A-", b"<", b"\x01", b"\xff", b"1 ", b"[a]", b"- "],
)
@pytest.mark.parametrize(
    "head", [b"", b"<1>", b"<1>1 - - - - - ", b"<1>1 - - - - - [", b"<1>1 -", b"<1>Jan  1 00:00:00 ", b"<1>%"]
)
def test_the_longest_message_takes_milliseconds_and_fits_a_record(head: bytes, unit: bytes) -> None:
    data = (head + unit * SYSLOG_MESSAGE_BYTES_MAX)[:SYSLOG_MESSAGE_BYTES_MAX]
    start = time.thread_time()  # an embedded engine of other tests works on in this process
    record, _ = syslog_record(data, SUFFIX)
    assert time.thread_time() - start < 0.25
    assert len(record) <= RECORD_BYTES_MAX
    assert _raw(json.loads(record)) == data
