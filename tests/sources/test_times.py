"""Every form of a moment that real sources write; one table, one query."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.sources.sql import quote
from muniment.sources.times import moment_sql, time_sql

RECEIVED = "2026-11-24 01:02:03"
FORMS = {
    "2026-11-23T06:36:01.123456789Z": "2026-11-23 06:36:01.123456",
    "2026-11-23T06:36:01.5+02:00": "2026-11-23 04:36:01.500000",
    "2026-11-23T06:36:01-0730": "2026-11-23 14:06:01.000000",
    "2026-11-23 06:36:01": "2026-11-23 06:36:01.000000",
    "2026-11-23t06:36:01z": "2026-11-23 06:36:01.000000",
    "2026-11-23T06:36:01,123Z": "2026-11-23 06:36:01.123000",
    "1700000000": "2023-11-14 22:13:20.000000",
    "1700000000.25": "2023-11-14 22:13:20.250000",
    "1700000000123": "2023-11-14 22:13:20.123000",
    "1700000000123456": "2023-11-14 22:13:20.123456",
    "1700000000123456789": "2023-11-14 22:13:20.123456",
    "Mon, 23 Nov 2026 06:36:01 GMT": "2026-11-23 06:36:01.000000",
    "23/Nov/2026:06:36:01 +0100": "2026-11-23 05:36:01.000000",
    "Nov 23 06:36:01": "2026-11-23 06:36:01.000000",
    "Nov  3 06:36:01.123": "2026-11-03 06:36:01.123000",
    "Dec 31 23:59:59": "2025-12-31 23:59:59.000000",
    "Mon Nov 23 06:36:01": "2026-11-23 06:36:01.000000",
    "Nov 23 06:36:01,5 CET": "2026-11-23 05:36:01.500000",
    "Nov 23 06:36:01 +0100": "2026-11-23 05:36:01.000000",
    "Nov 23 06:36:01-05:00": "2026-11-23 11:36:01.000000",
    "Nov 23 06:36:01 2025": "2025-11-23 06:36:01.000000",
    "Nov 23 2026 06:36:01.123 EST": "2026-11-23 11:36:01.123000",
    "Nov 23 2026 06:36:01 PM": "2026-11-23 18:36:01.000000",
    "2026 Nov 23 06:36:01 UTC": "2026-11-23 06:36:01.000000",
    "2026-11-23 06:36:01 pst": "2026-11-23 14:36:01.000000",
    "/Date(1700000000000)/": "2023-11-14 22:13:20.000000",
    "/Date(1700000000123+0100)/": "2023-11-14 22:13:20.123000",
    "/Date(x)/": "2026-11-24 01:02:03.000000",
    "134444469611234560": "2027-01-15 00:36:01.123456",
    "2026:11:23-06:36:01": "2026-11-23 06:36:01.000000",
    "2026/11/23-06:36:01": "2026-11-23 06:36:01.000000",
    "11/23/2026:06:36:01 GMT": "2026-11-23 06:36:01.000000",
}
NOT_TIMES = ["", "garbage", "0", "1", "2026", "20261123", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z",
             "9999-12-31T23:59:59Z", "99999999999999999999", "-", "null"]  # fmt: skip


def _read(client: Any, text: str, received: str = RECEIVED) -> str:
    moment = f"toDateTime64({quote(received)}, 6, 'UTC')"
    sql = time_sql(any_form="text")
    found = client.query(f"SELECT toString({sql}) FROM (SELECT {quote(text)} AS text, {moment} AS received_at)")
    return str(found.result_rows[0][0])


@pytest.mark.parametrize(("text", "moment"), FORMS.items())
def test_a_form_is_read(client: Any, text: str, moment: str) -> None:
    assert _read(client, text) == moment


@pytest.mark.parametrize("text", NOT_TIMES)
def test_what_is_no_time_is_the_time_of_receipt(client: Any, text: str) -> None:
    assert _read(client, text) == f"{RECEIVED}.000000"


def test_a_block_may_have_times_of_both_kinds(client: Any) -> None:
    rows = "SELECT arrayJoin([('Nov 23 06:36:01', ''), ('', 'Nov 23 06:36:01'), ('1700000000', ''), ('', '')]) AS row"
    sql = time_sql(standard="row.1", any_form="row.2", received_at=f"toDateTime64({quote(RECEIVED)}, 6, 'UTC')")
    found = [str(row[0]) for row in client.query(f"SELECT toString({sql}) FROM ({rows})").result_rows]
    old = time_sql(standard="row.1", received_at=f"toDateTime64({quote(RECEIVED)}, 6, 'UTC')")
    first = client.query(f"SELECT toString({old}) FROM ({rows})").result_rows[0][0]
    assert found == [first, "2026-11-23 06:36:01.000000", "2023-11-14 22:13:20.000000", f"{RECEIVED}.000000"]


def test_a_stamp_of_december_received_in_january_is_last_years(client: Any) -> None:
    assert _read(client, "Dec 31 23:59:59", "2027-01-01 00:00:03") == "2026-12-31 23:59:59.000000"


def test_a_clock_ahead_over_new_year_is_next_years(client: Any) -> None:
    assert _read(client, "Jan  1 00:00:01", "2026-12-31 23:59:58") == "2027-01-01 00:00:01.000000"


IN_LINES = {
    "Mon Nov 23 06:36:01 2026 [pid 2] OK": "2026-11-23 06:36:01",
    "[Mon Nov  3 06:36:01.123456 2026] [core:error]": "2026-11-03 06:36:01.123456",
    "Mon Nov 23 06:36:01 CET 2026 x": "2026-11-23 06:36:01+01:00",
    "2026-11-23  6:36:01 12 [Warning] x": "2026-11-23 06:36:01",
    "2026.11.23 06:36:01.5 [ 812 ]": "2026-11-23 06:36:01.5",
    "2026:11:23-06:36:01: x": "2026-11-23 06:36:01",
    "[GIN] 2026/11/23 - 06:36:01 | 404": "2026-11-23 06:36:01",
    "2026-11-23\t06:36:01\tCDG": "2026-11-23 06:36:01",
    "x 2026-11-23T06:36:01,123+0000 y": "2026-11-23 06:36:01.123+0000",
    "[Nest] 7  - 08/02/2026, 7:32:47 PM    WARN": "2026-08-02 19:32:47",
    "08/02/2026, 12:02:47 AM": "2026-08-02 00:02:47",
    "01/25/22 16:08:02.393003 web": "2022-01-25 16:08:02.393003",
    "23/11/2026 06:36:01": "2026-11-23 06:36:01",
    "8.9.2026 06:36:01": "2026-09-08 06:36:01",
    "[23-Nov-2026 06:36:01 Europe/Berlin]": "2026-11-23 06:36:01",
    "Nov 23, 2026 6:36:01 PM org.x": "2026-11-23 18:36:01",
    'a - - [23/Nov/2026:06:36:01 +0100] "GET': "2026-11-23 06:36:01+0100",
    "11/23/2026-06:36:01.123456  [**]": "2026-11-23 06:36:01.123456",
    "Nov 23 06:36:01 host x": "",
    "done in 12:13:14 by 10.0.0.7": "",
    "": "",
}


@pytest.mark.parametrize("line", IN_LINES)
def test_the_first_moment_in_a_line(client: Any, line: str) -> None:
    found = client.query(f"SELECT {moment_sql('x')} FROM (SELECT {quote(line)} AS x)")
    assert found.result_rows[0][0] == IN_LINES[line]
