"""An unmodified TAXII client, OASIS's own, finds the blocks and follows them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.live import LiveServer

taxii2client = pytest.importorskip("taxii2client.v21")


def test_the_client_of_oasis_reads_discovery_collection_pages_and_manifest(live_server: LiveServer) -> None:
    with live_server.reader(role="enforcer") as client:
        key = client.headers["authorization"].partition(" ")[2]
    ids = []
    for n in range(70, 75):
        value = f"192.0.2.{n}"
        preview = live_server.client.post("/api/v1/blocks/preview", json={"kind": "address", "value": value}).json()
        body = {"kind": "address", "value": value, "preview": preview["preview"], "reason": "test", "hours": 1}
        ids.append(live_server.client.post("/api/v1/blocks", json=body).json()["id"])
    server = taxii2client.Server(f"{live_server.url}/taxii2/", user="muniment", password=key)
    assert server.title == "Muniment"
    (collection,) = server.default.collections
    assert collection.can_read
    pages = list(taxii2client.as_pages(collection.get_objects, per_request=2))
    found: list[dict[str, Any]] = [each for page in pages for each in page.get("objects", [])]
    assert len(pages) >= 3
    assert {f"indicator--{id}" for id in ids} <= {each["id"] for each in found}
    assert len({each["id"] for each in found}) == len(found)
    entries = collection.get_manifest()["objects"]
    assert [each["id"] for each in entries] == [each["id"] for each in found]
    listed = [
        each["id"] for page in taxii2client.as_pages(collection.get_manifest, per_request=3) for each in page["objects"]
    ]
    assert listed == [each["id"] for each in entries]
    later = taxii2client.as_pages(collection.get_objects, per_request=2, added_after=entries[-5]["date_added"])
    assert [each["id"] for page in later for each in page["objects"]] == listed[-4:]
    (one,) = collection.get_object(f"indicator--{ids[0]}")["objects"]
    assert one["pattern"] == "[ipv4-addr:value = '192.0.2.70']"
    live_server.client.post(f"/api/v1/blocks/{ids[0]}/undo")
    (changed,) = collection.get_objects(added_after=entries[-1]["date_added"])["objects"]
    assert changed["revoked"] is True
    # What changes between two pages comes again at the end, and nothing is lost.
    rest = taxii2client.as_pages(collection.get_objects, per_request=2)
    first = next(rest)["objects"]
    live_server.client.post(f"/api/v1/blocks/{ids[1]}/undo")
    after = [each for page in rest for each in page["objects"]]
    assert {each["id"] for each in [*first, *after]} == set(listed)
    assert (after[-1]["id"], after[-1]["revoked"]) == (f"indicator--{ids[1]}", True)
    for id in ids[2:]:
        live_server.client.post(f"/api/v1/blocks/{id}/undo")
