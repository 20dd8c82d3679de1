"""A key said by its words stands for all the usual ways to write it."""

from __future__ import annotations

import re

import pytest

from muniment.spelling import is_name, letters, spellings


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("event_time", ["event_time", "eventTime", "EventTime", "EVENT_TIME", "event-time", "eventtime", "Event Time", "Event-Time"]),
        ("user_id", ["userId", "userID", "UserID", "UserId", "USERID", "User ID", "User Id", "user id"]),
        ("source_ip", ["sourceIP", "SourceIp", "Source-IP", "SOURCE-IP", "Source_IP"]),
        ("ip_address", ["IPAddress", "IpAddress", "ipAddress", "ipaddress", "IP Address", "IP address"]),
        ("source_ip_address", ["sourceIPAddress", "SourceIpAddress", "source_ipaddress", "sourceIpaddress"]),
        ("source_ips", ["sourceIPs", "sourceIps"]),
        ("x_forwarded_for", ["X-Forwarded-For", "xForwardedFor"]),
        ("target_username", ["targetUserName", "TargetUsername", "target_user_name", "TARGET_USERNAME"]),
        ("timestamp", ["Timestamp", "TimeStamp", "time_stamp", "TIMESTAMP"]),
        ("user", ["user", "User", "USER"]),
    ],
)  # fmt: skip
def test_usual_spellings(name: str, keys: list[str]) -> None:
    assert spellings(name)[0] == name
    assert {*keys} <= {*spellings(name)}


@pytest.mark.parametrize("name", ["user", "user_id", "actor_user_name", "event_time_utc", "ipv4_address", "x"])
def test_spellings_differ_in_capitals_and_separators_only(name: str) -> None:
    found = spellings(name)
    assert len(found) == len({*found}) < 40
    assert {re.sub("[_ -]", "", key).lower() for key in found} == {letters(name)}


@pytest.mark.parametrize(
    "text", ["", "User", "user-id", "user id", "_user", "user_", "user__id", "1st", "@type", "a.b"]
)
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)
