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
    (one,) = collection.get_object(f"indicator--{ids[0]}")["objects"]
    assert one["pattern"] == "[ipv4-addr:value = '192.0.2.70']"
    live_server.client.post(f"/api/v1/blocks/{ids[0]}/undo")
    (changed,) = collection.get_objects(added_after=entries[-1]["date_added"])["objects"]
    assert changed["revoked"] is True
    for id in ids[1:]:
        live_server.client.post(f"/api/v1/blocks/{id}/undo")
