"""Lines of services that mostly have no entry of their own: what they say of logins and requests is understood.

`service_lines.yaml` was written after the documentation of the services. A line counts as a file shipper sends it, or as
the message of a program in syslog.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from muniment.sources.catalogue import Catalogue
from muniment.sources.testing import map_records, recognise

LINES = yaml.safe_load((Path(__file__).parent / "service_lines.yaml").read_text("utf-8"))
Row = Mapping[str, Any]


def _record(given: Row) -> bytes:
    line = given["line"]
    if "as" in given:
        head = {"timestamp": "Nov 23 06:36:01", "hostname": "host-1", "app": given["as"], "severity": "info"}
        return json.dumps({"syslog": {**head, "message": line}, "raw": line}).encode()
    return line.encode() if line.startswith("{") else json.dumps({"message": line}).encode()


def _read(lines: Sequence[Row], catalogue: Catalogue, client: Any) -> list[Row]:
    """The columns of all lines, by as few queries as there are entries that read them."""
    records = [_record(line) for line in lines]
    names = recognise(catalogue, records, client)
    found: list[Row] = [{} for _ in lines]
    for name in set(names):
        places = [k for k, each in enumerate(names) if each == name]
        rows = map_records(catalogue[name], [records[k] for k in places], client)
        for place, row in zip(places, rows, strict=True):
            found[place] = row
    return found


@pytest.fixture(scope="module")
def logins(catalogue: Catalogue, client: Any) -> list[Row]:
    return _read(LINES["logins"], catalogue, client)


@pytest.fixture(scope="module")
def requests(catalogue: Catalogue, client: Any) -> list[Row]:
    return _read(LINES["requests"], catalogue, client)


@pytest.fixture(scope="module")
def others(catalogue: Catalogue, client: Any) -> list[Row]:
    return _read(LINES["others"], catalogue, client)


def _says(given: Row, row: Row, wanted: Mapping[str, object]) -> None:
    wanted = dict(wanted) | ({"src_ip": given["ip"]} if "ip" in given else {})
    got = {name: row[name] for name in wanted}
    if "time" in given:
        got["time"], wanted["time"] = row["time"][:19], given["time"]
    assert got == wanted, given["line"]


@pytest.mark.parametrize("k", range(len(LINES["logins"])), ids=lambda k: LINES["logins"][k]["service"])
def test_a_login_is_understood(logins: list[Row], k: int) -> None:
    given, row = LINES["logins"][k], logins[k]
    _says(given, row, {"class_name": "Authentication", "outcome": given["outcome"]})
    if "who" in given:
        assert given["who"] in (row["actor_name"], row["actor_id"], row["actor_email"]), given["line"]


@pytest.mark.parametrize("k", range(len(LINES["requests"])), ids=lambda k: LINES["requests"][k]["service"])
def test_a_request_is_understood(requests: list[Row], k: int) -> None:
    given, row = LINES["requests"][k], requests[k]
    wanted = {"class_name": "HTTP Activity", "target_name": given["path"], "status_detail": given.get("status", "")}
    _says(given, row, wanted | {"action": f"http.{given['method']}"})
    assert row["user_agent"] == given.get("agent", row["user_agent"])


@pytest.mark.parametrize("k", range(len(LINES["others"])), ids=lambda k: LINES["others"][k]["line"][-30:])
def test_words_of_logins_alone_are_no_login_and_no_name(others: list[Row], k: int) -> None:
    given, row = LINES["others"][k], others[k]
    assert row["class_name"] != "Authentication", given["line"]
    assert (row["actor_name"], row["actor_id"], row["actor_email"]) == ("", "", ""), given["line"]
