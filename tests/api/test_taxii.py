"""TAXII 2.1 as its specification says, over plain HTTP; the objects as STIX 2.1 says."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from tests.live import LiveServer

MEDIA = "application/taxii+json;version=2.1"
ROOT = "/taxii2/muniment/"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def taxii(live_server: LiveServer) -> Iterator[httpx.Client]:
    with live_server.reader(role="enforcer") as client:
        client.headers["accept"] = MEDIA
        yield client


def _block(server: LiveServer, kind: str, value: str) -> str:
    preview = server.client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    body = {"kind": kind, "value": value, "preview": preview["preview"], "reason": "it's \\ bad", "hours": 1}
    made = server.client.post("/api/v1/blocks", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def _get(client: httpx.Client, path: str, **params: Any) -> httpx.Response:
    answer = client.get(
        path, params={name.replace("__", "[") + "]" if "__" in name else name: v for name, v in params.items()}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == MEDIA
    return answer


def _all(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    """Every object, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = _get(client, f"{ROOT}collections/blocks/objects/", **params).json()
        found += page.get("objects", [])
        if not page.get("more"):
            return found
        params["next"] = page["next"]


def test_discovery_leads_to_the_objects(live_server: LiveServer, taxii: httpx.Client) -> None:
    found = _get(taxii, "/taxii2/").json()
    assert found["default"] in found["api_roots"]
    root = _get(taxii, httpx.URL(found["default"]).path).json()
    assert MEDIA in root["versions"]
    assert root["max_content_length"] > 0
    (collection,) = _get(taxii, f"{ROOT}collections/").json()["collections"]
    assert str(uuid.UUID(collection["id"])) == collection["id"]
    assert (collection["can_read"], collection["can_write"]) == (True, False)
    assert _get(taxii, f"{ROOT}collections/{collection['id']}/").json() == collection
    _get(taxii, f"{ROOT}collections/{collection['id']}/objects/")


def test_objects_are_indicators_that_are_revoked_when_undone(live_server: LiveServer, taxii: httpx.Client) -> None:
    values = (("address", "192.0.2.31"), ("range", "2001:db8:31::/48"), ("account", "o'neil\\x"), ("key", "k-31"))
    ids = [_block(live_server, kind, value) for kind, value in values]
    mine = {each["id"]: each for each in _all(taxii) if each["id"].removeprefix("indicator--") in ids}
    assert len(mine) == 4
    for each in mine.values():
        assert (each["type"], each["spec_version"], each["pattern_type"]) == ("indicator", "2.1", "stix")
        assert str(uuid.UUID(each["id"].removeprefix("indicator--"))) in each["id"]
        times = [datetime.fromisoformat(each[name]) for name in ("created", "modified", "valid_from", "valid_until")]
        assert times[0] <= times[1]
        assert times[2] < times[3]
        assert "revoked" not in each
    assert [mine[f"indicator--{id}"]["pattern"] for id in ids] == [
        "[ipv4-addr:value = '192.0.2.31']", "[ipv6-addr:value ISSUBSET '2001:db8:31::/48']",
        "[user-account:user_id = 'o\\'neil\\\\x']", "[x-api-key:value = 'k-31']",
    ]  # fmt: skip
    since = _get(taxii, f"{ROOT}collections/blocks/objects/").headers["x-taxii-date-added-last"]
    live_server.client.post(f"/api/v1/blocks/{ids[0]}/undo")
    (changed,) = _all(taxii, added_after=since)
    assert (changed["id"], changed["revoked"]) == (f"indicator--{ids[0]}", True)
    before = mine[changed["id"]]
    assert changed["modified"] > before["modified"]
    assert {k: v for k, v in changed.items() if k not in {"modified", "revoked"}} == {
        k: v for k, v in before.items() if k != "modified"
    }
    bundle = taxii.get("/feeds/stix.json", headers={"accept": "*/*"}).json()
    assert bundle["type"] == "bundle"
    assert changed in bundle["objects"]
    for id in ids[1:]:
        live_server.client.post(f"/api/v1/blocks/{id}/undo")


def test_pages_are_whole_in_order_and_without_repeats(live_server: LiveServer, taxii: httpx.Client) -> None:
    ids = [_block(live_server, "address", f"192.0.2.{n}") for n in range(40, 47)]
    whole = [each["id"] for each in _all(taxii)]
    for limit in (1, 2, 3, 1000):
        assert [each["id"] for each in _all(taxii, limit=limit)] == whole
    page = _get(taxii, f"{ROOT}collections/blocks/objects/", limit=2)
    first, last = (page.headers[f"x-taxii-date-added-{end}"] for end in ("first", "last"))
    assert STAMP.fullmatch(first)
    assert STAMP.fullmatch(last)
    assert first <= last
    assert page.json()["more"] is True
    manifest = _get(taxii, f"{ROOT}collections/blocks/manifest/").json()["objects"]
    assert [each["id"] for each in manifest] == whole
    assert all(
        STAMP.fullmatch(each["date_added"]) and each["version"] and "stix+json" in each["media_type"]
        for each in manifest
    )
    rest = _all(taxii, added_after=manifest[2]["date_added"])
    assert [each["id"] for each in rest] == whole[3:]
    assert _get(taxii, f"{ROOT}collections/blocks/objects/", added_after="2099-01-01T00:00:00Z").json() == {
        "more": False
    }
    fetched = live_server.one("source:muniment action:feed.fetch target_id:taxii2", 5)
    assert fetched["outcome"] == "success"
    for id in ids:
        live_server.client.post(f"/api/v1/blocks/{id}/undo")


def test_filters_and_single_objects(live_server: LiveServer, taxii: httpx.Client) -> None:
    id = f"indicator--{_block(live_server, 'address', '192.0.2.60')}"
    version = _get(taxii, f"{ROOT}collections/blocks/objects/{id}/").json()["objects"][0]["modified"]
    assert _get(taxii, f"{ROOT}collections/blocks/objects/{id}/versions/").json()["versions"] == [version]
    for given, n in (({"match__id": id}, 1), ({"match__id": f"{id},indicator--x"}, 1), ({"match__id": "x"}, 0),
                     ({"match__id": id, "match__type": "indicator"}, 1), ({"match__id": id, "match__type": "malware"}, 0),
                     ({"match__id": id, "match__version": version}, 1), ({"match__id": id, "match__version": "2001-01-01T00:00:00.000Z"}, 0),
                     ({"match__id": id, "match__version": "first,last"}, 1), ({"match__id": id, "match__spec_version": "2.0"}, 0)):  # fmt: skip
        assert len(_get(taxii, f"{ROOT}collections/blocks/objects/", **given).json().get("objects", [])) == n, given


def test_what_is_not_there_or_not_understood_is_refused(live_server: LiveServer, taxii: httpx.Client) -> None:
    objects = f"{ROOT}collections/blocks/objects/"
    for path, status in (
        (f"{ROOT}collections/nothing/", 404), (f"{ROOT}collections/nothing/objects/", 404), (f"{objects}indicator--x/", 404),
        (f"{ROOT}status/x/", 404), (f"{objects}?added_after=yesterday", 400), (f"{objects}?added_after=2026-13-01T00:00:00Z", 400),
        (f"{objects}?limit=0", 400), (f"{objects}?next=x", 400), (f"{objects}?limit=many", 400), (f"{objects}?match[x]=y", 400),
    ):  # fmt: skip
        assert taxii.get(path).status_code == status, path
    assert taxii.get("/taxii2/", headers={"accept": "text/html"}).status_code == 406
    assert taxii.get("/taxii2/", headers={"accept": "application/taxii+json;version=2.0"}).status_code == 406
    for accept in ("application/taxii+json", "*/*", "application/taxii+json; version=2.1", "text/html, */*;q=0.1"):
        assert taxii.get("/taxii2/", headers={"accept": accept}).status_code == 200, accept
    for method in ("POST", "DELETE"):
        assert taxii.request(method, objects, json={}).status_code == 405
    for path in ("/taxii2/", "/feeds/addresses.txt"):
        asked = live_server.nobody().get(path)
        assert (asked.status_code, asked.headers["www-authenticate"].split()[0]) == (401, "Basic")
    assert live_server.reader().get(objects).status_code == 403


def test_http_basic_reads_and_changes_nothing(live_server: LiveServer) -> None:
    with live_server.reader(role="administrator") as client:
        key = client.headers["authorization"].partition(" ")[2]
    basic = {"authorization": "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()}
    nobody = live_server.nobody()
    assert nobody.get("/taxii2/", headers=basic).status_code == 200
    assert nobody.get("/feeds/addresses.txt", headers=basic).status_code == 200
    body = {"network": "192.0.2.0/24", "title": "x"}
    assert nobody.post("/api/v1/allowed", headers=basic, json=body).status_code == 401
    for wrong in (
        "Basic",
        "Basic !",
        "Basic " + base64.b64encode(b"x").decode(),
        "Basic " + base64.b64encode(b"a:mk_x").decode(),
    ):
        assert nobody.get("/taxii2/", headers={"authorization": wrong}).status_code == 401
