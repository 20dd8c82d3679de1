"""Who watches is watched: every read leaves one record that says who, what, from where and how much was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.live import within
from tests.security.conftest import Neighbours
from tests.security.test_routes import OPEN, PAGE, POLICY

UNRECORDED = {
    # No content of records, and nobody's name; asked for all the time by monitors, mirrors and progress bars.
    "GET /api/v1/status", "GET /metrics", "GET /api/v1/verify", "GET /api/v1/rebuild", "GET /api/v1/consistency",
    "GET /tlog/{shard}/{path:path}", "GET /status", "GET /help",
    # An application asks at every login; the answer is in the records of blocks.
    "GET /api/v1/blocks/check",
    # What there is to be fetched, the same for everybody; the fetching is recorded.
    "GET /taxii2/", "GET /taxii2/muniment/", "GET /taxii2/muniment/collections/", "GET /taxii2/muniment/collections/{id}/",
    "GET /taxii2/muniment/status/{id}/",
}  # fmt: skip

Reader = Callable[[httpx.Client, Neighbours], httpx.Response]


def _get(path: str, **params: str) -> Reader:
    return lambda client, n: client.get(path.format(a=n.alpha[0], b=n.bravo[0]), params=params)


READS: dict[str, tuple[Reader, str, dict[str, Any]]] = {
    "GET /api/v1/search": (
        _get("/api/v1/search", q="action:amber.delete", limit="5"), "log.search",
        {"query": "action:amber.delete", "limit": 5, "results": 5},
    ),
    "GET /api/v1/histogram": (
        _get("/api/v1/histogram", q="action:amber.delete", by="action"), "log.aggregate",
        {"query": "action:amber.delete", "by": "action", "results": 8},
    ),
    "GET /api/v1/facets": (
        _get("/api/v1/facets", q="action:amber.delete", fields="actor_id"), "log.aggregate",
        {"query": "action:amber.delete", "fields": ["actor_id"], "results": 8},
    ),
    "GET /api/v1/complete": (_get("/api/v1/complete", text="action:amb", column="10"), "log.complete", {"field": "action"}),
    "GET /api/v1/export": (
        _get("/api/v1/export", q="action:amber.delete", format="csv"), "log.export",
        {"query": "action:amber.delete", "format": "csv", "results": 8},
    ),
    "GET /api/v1/events/{index}": (_get("/api/v1/events/{a}"), "log.view", {"results": 1}),
    "GET /api/v1/events/{index}/proof": (_get("/api/v1/events/{a}/proof"), "log.prove", {"results": 1}),
    "GET /api/v1/evidence": (
        lambda client, n: client.get(f"/api/v1/evidence?indexes={n.alpha[0]},{n.alpha[1]}"), "log.export",
        {"format": "evidence", "results": 2},
    ),
    "GET /api/v1/saved": (_get("/api/v1/saved"), "search.list", {}),
    "GET /api/v1/sources": (_get("/api/v1/sources"), "source.list", {}),
    "GET /api/v1/formats": (_get("/api/v1/formats"), "format.list", {}),
    "GET /api/v1/webhooks": (_get("/api/v1/webhooks"), "webhook.list", {}),
    "GET /api/v1/keys": (_get("/api/v1/keys"), "key.list", {}),
    "GET /api/v1/people": (_get("/api/v1/people"), "user.list", {}),
    "GET /api/v1/erasures": (_get("/api/v1/erasures"), "privacy.list", {}),
    "GET /people": (_get("/people"), "user.list", {"page": "/people"}),
    "GET /keys": (_get("/keys"), "key.list", {"page": "/keys"}),
    "GET /erasures": (_get("/erasures"), "privacy.list", {"page": "/erasures"}),
    "GET /": (_get("/", q="action:amber.delete", when="24h"), "log.search", {"query": "action:amber.delete", "results": 8, "page": "/"}),
    "GET /rows": (_get("/rows", q="action:amber.delete", after="0"), "log.tail", {"query": "action:amber.delete", "page": "/rows"}),
    "GET /events/{index}": (_get("/events/{a}"), "log.view", {"results": 1}),
    "GET /events/{index}/proof": (_get("/events/{a}/proof"), "log.view", {"results": 1}),
    "GET /sources": (_get("/sources"), "source.list", {}),
    "GET /sources/{id}": (_get("/sources/alpha-shop"), "key.list", {"page": "/sources/alpha-shop"}),
    "GET /formats": (_get("/formats"), "format.list", {}),
    "GET /api/v1/risk": (_get("/api/v1/risk", entity="203.0.113.199"), "risk.list", {"results": 0, "entity": "203.0.113.199"}),
    "GET /api/v1/alerts": (_get("/api/v1/alerts", entity="203.0.113.199"), "alert.list", {"results": 0, "entity": "203.0.113.199"}),
    "GET /api/v1/rules": (_get("/api/v1/rules"), "rule.list", {}),
    "GET /api/v1/rules/one": (
        _get("/api/v1/rules/one", rule="5d6a1c3e-3b1e-4d55-9d4f-2f7f2a6d7a03"), "rule.view", {},
    ),
    "GET /api/v1/rules/exceptions": (_get("/api/v1/rules/exceptions"), "exception.list", {}),
    "GET /api/v1/rules/coverage": (_get("/api/v1/rules/coverage"), "rule.list", {}),
    "GET /api/v1/entities/{kind}/{value}": (_get("/api/v1/entities/address/203.0.113.199"), "entity.view", {"results": 0}),
    "GET /api/v1/blocks": (_get("/api/v1/blocks"), "block.list", {}),
    "GET /api/v1/allowed": (_get("/api/v1/allowed"), "allowed.list", {}),
    "GET /api/v1/notifications": (_get("/api/v1/notifications"), "notify.list", {"results": 0}),
    "GET /api/v1/silences": (_get("/api/v1/silences"), "silence.list", {"results": 0}),
    "GET /feeds/{name}": (_get("/feeds/nginx.conf"), "feed.fetch", {}),
    "GET /api/v1/orders": (_get("/api/v1/orders"), "order.list", {}),
    "GET /orders": (_get("/orders"), "order.list", {}),
    "GET /orders/new": (_get("/orders/new", account="x"), "order.list", {}),
    "GET /api/v1/cases": (_get("/api/v1/cases", value="203.0.113.199"), "case.list", {"results": 0, "entity": "203.0.113.199"}),
    "GET /cases": (_get("/cases"), "case.list", {"page": "/cases"}),
    "GET /alerts": (_get("/alerts"), "alert.list", {"page": "/alerts"}),
    "GET /entities/{kind}": (_get("/entities/address", v="203.0.113.199"), "entity.view", {"results": 0}),
    "GET /blocks": (_get("/blocks"), "block.list", {}),
    "GET /blocks/new": (_get("/blocks/new", kind="address", v="203.0.113.199"), "block.preview", {"results": 0}),
    "GET /notices": (_get("/notices"), "notify.list", {"results": 0, "page": "/notices"}),
    "GET /rules": (_get("/rules"), "rule.list", {}),
    "GET /rules/one": (_get("/rules/one", rule="5d6a1c3e-3b1e-4d55-9d4f-2f7f2a6d7a03"), "rule.view", {}),
    "GET /rules/attack": (_get("/rules/attack"), "rule.list", {}),
    "GET /saved": (_get("/saved"), "search.list", {}),
}  # fmt: skip
APART = {
    "GET /api/v1/tail",
    # One alert, one block: tests/system/test_detection.py and test_brute_force.py make some and look for the records.
    "GET /api/v1/alerts/{uid}", "GET /alerts/{uid}", "GET /api/v1/blocks/{id}", "GET /blocks/{id}",
    # What waits for a second person, an order, objects of blocks: tests/api/test_block_holes.py, test_orders.py, test_taxii.py.
    "GET /api/v1/blocks/{id}/hits", "GET /api/v1/orders/{id}", "GET /orders/{id}",
    "GET /taxii2/muniment/collections/{id}/manifest/", "GET /taxii2/muniment/collections/{id}/objects/",
    "GET /taxii2/muniment/collections/{id}/objects/{object}/",
    "GET /taxii2/muniment/collections/{id}/objects/{object}/versions/",
    # One case: tests/api/test_case_operations.py.
    "GET /api/v1/cases/{number}", "GET /cases/{number}", "GET /api/v1/cases/{number}/evidence",
    # A group of records that no entry knows: so does tests/system/test_formats.py.
    "GET /api/v1/formats/{id}", "GET /formats/{id}",
}  # fmt: skip


def _records(n: Neighbours, since: int) -> list[dict[str, Any]]:
    """Own records from index `since` on, oldest first, straight from the ledger's end."""
    size = int(n.server.get("/api/v1/status")["ledger"]["size"])
    within(5, lambda: n.server.get("/api/v1/status")["store"]["complete_to_index"] >= size - 1, "store is behind")
    text = n.server.client.get("/api/v1/export", params={"q": f"source:muniment index:>={since} index:<{size}"}).text
    rows = sorted((json.loads(line) for line in text.splitlines()), key=lambda row: int(row["index"]))
    return [json.loads(row["record"]) if isinstance(row.get("record"), str) else row["record"] for row in rows]


def _size(n: Neighbours) -> int:
    return int(n.server.get("/api/v1/status")["ledger"]["size"])


def test_every_read_route_is_listed_with_what_it_records() -> None:
    reads = {route for route, policy in POLICY.items() if route.startswith("GET ") and policy != OPEN}
    assert reads == set(READS) | UNRECORDED | APART
    assert "POST" not in {policy for policy in POLICY.values() if policy == PAGE}


@pytest.mark.parametrize("route", sorted(READS))
def test_a_read_is_one_record(neighbours: Neighbours, route: str) -> None:
    read, action, expected = READS[route]
    n = neighbours
    is_page = POLICY[route] == PAGE
    with closing(n.server.session("watched") if is_page else n.server.reader(role="administrator")) as client:
        client.headers["user-agent"] = "watched-agent/1"
        since = _size(n)
        answer = read(client, n)
        assert answer.status_code == 200, answer.text[:300]
        found = [
            record for record in _records(n, since) if record.get("context", {}).get("user_agent") == "watched-agent/1"
        ]
    assert len(found) == 1, [(record["action"], record.get("metadata")) for record in found]
    record = found[0]
    assert (record["action"], record["outcome"]) == (action, "success")
    assert record["actor"]["id"] == "watched" if is_page else record["actor"]["id"].startswith("key:")
    assert record["context"]["ip"] == "127.0.0.1"
    metadata = record["metadata"]
    assert {name: metadata[name] for name in expected} == expected
    assert isinstance(metadata["results"], int)


def test_the_record_of_a_page_lists_every_read_behind_it(neighbours: Neighbours) -> None:
    n = neighbours
    with closing(n.server.session("watched")) as client:
        client.headers["user-agent"] = "watched-agent/2"
        since = _size(n)
        client.get(f"/events/{n.alpha[0]}")
        client.get("/", params={"q": "action:amber.delete", "when": "24h"})
        client.get(f"/events/{10**9}")
        view, search, missed = (
            record for record in _records(n, since) if record.get("context", {}).get("user_agent") == "watched-agent/2"
        )
    assert (view["metadata"]["index"], view["metadata"]["page"]) == (n.alpha[0], f"/events/{n.alpha[0]}")
    near = next(each for each in view["metadata"]["also"] if each["action"] == "log.search")
    assert "amber-0" in near["query"]
    assert any(each["action"] == "log.prove" for each in view["metadata"]["also"])
    # The histogram, the values beside the rows, and the silences of everybody behind the histogram.
    assert [each["action"] for each in search["metadata"]["also"]] == ["log.aggregate"] * 3
    assert (missed["action"], missed["metadata"]["results"]) == ("log.view", 0)


def test_numbers_that_are_tried_are_recorded_with_nothing_found(neighbours: Neighbours) -> None:
    n = neighbours
    since = _size(n)
    n.reader.get(f"/api/v1/events/{n.bravo[0]}")
    n.reader.get(f"/api/v1/events/{n.bravo[0]}/proof")
    found = [r for r in _records(n, since) if r["actor"]["name"] == "reader of source:alpha-shop"]
    assert [(r["action"], r["outcome"], r["metadata"]["index"], r["metadata"]["results"]) for r in found] == [
        ("log.view", "success", n.bravo[0], 0), ("log.prove", "failure", n.bravo[0], 0),
    ]  # fmt: skip


def test_a_tail_is_recorded_when_it_begins(neighbours: Neighbours) -> None:
    n = neighbours
    since = _size(n)
    with n.reader.stream("GET", "/api/v1/tail", params={"q": "action:amber.*"}) as stream:
        assert stream.status_code == 200
    found = [r for r in _records(n, since) if r["action"] == "log.tail"]
    assert [r["metadata"]["query"] for r in found] == ["action:amber.*"]


def test_a_query_that_cannot_be_read_has_read_nothing_and_records_nothing(neighbours: Neighbours) -> None:
    n = neighbours
    since = _size(n)
    assert n.reader.get("/api/v1/search", params={"q": "(never:closed"}).status_code == 400
    assert [r["action"] for r in _records(n, since)] == []
