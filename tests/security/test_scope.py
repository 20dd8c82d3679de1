"""A reader whose key sees the rows of one source learns nothing of another one, by no route and no trick."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
import pytest

from tests.live import LiveServer
from tests.security.conftest import Neighbours

TRICKS = [
    "", "source:bravo-bank", "source:alpha-shop OR source:bravo-bank", "source:alpha-shop) OR (source:bravo-bank",
    "(source:bravo-bank)", "-source:alpha-shop", "NOT source:alpha-shop", "action:*", "action:*.delete OR index:>=0",
    "index:>=0", "actor:zirkon-1", '"zirkon papers"', "zirkon", "ip:198.51.100.0/24", "target:*papers", "time>=-30d",
    "-(source:alpha-shop)", "source:*", "record:*zirkon*", "quarantine:*", "a' OR 1=1 --", "a\\' OR 1=1 --",
]  # fmt: skip


def _silent(neighbours: Neighbours, answer: httpx.Response, asked: str = "") -> None:
    """No mark of the other source stands in an answer (but those that the reader itself has sent)."""
    headers = " ".join(f"{k}: {v}" for k, v in answer.headers.items())
    for mark in neighbours.marks:
        if mark.lower() not in asked.lower():
            assert mark not in answer.text, (answer.request.url, mark)
            assert mark not in headers


@pytest.mark.parametrize("trick", TRICKS)
def test_no_query_finds_rows_of_another_source(neighbours: Neighbours, trick: str) -> None:
    get = neighbours.reader.get
    params = {"q": trick, "start": "-1h"}
    page = get("/api/v1/search", params=params | {"limit": "1000"})
    _silent(neighbours, page, trick)
    if page.status_code == 400:
        assert page.json()["error"]["field"] == "q"
        return
    rows = page.json()["rows"]
    assert {row["source"] for row in rows} <= {"alpha-shop"}
    n_visible = len(rows)
    counts = get("/api/v1/histogram", params=params | {"by": "source"}).json()["series"]
    assert {name for name, series in counts.items() if sum(series)} <= {"alpha-shop"}
    assert sum(map(sum, counts.values())) == n_visible
    facets = get("/api/v1/facets", params=params | {"fields": "source,action,actor,ip,target,quarantine,class_name"})
    _silent(neighbours, facets, trick)
    assert sum(each["count"] for each in facets.json()["facets"]["source"]) == n_visible
    for format in ("jsonl", "csv", "ocsf", "parquet"):
        export = get("/api/v1/export", params=params | {"format": format})
        assert export.status_code == 200
        for mark in neighbours.marks:
            assert mark.lower() in trick.lower() or mark.encode() not in export.content
        if format == "jsonl":
            assert len(export.content.splitlines()) == n_visible


def test_numbers_of_others_are_as_if_they_were_not_there(neighbours: Neighbours) -> None:
    reader = neighbours.reader
    for index in [*neighbours.bravo, 0]:
        texts = set()
        for path in (f"/api/v1/events/{index}", f"/api/v1/events/{index}/proof", f"/api/v1/events/{index}/proof?format=json",
                     f"/api/v1/evidence?indexes={index}", f"/api/v1/evidence?indexes={neighbours.alpha[0]},{index}"):  # fmt: skip
            answer = reader.get(path)
            assert answer.status_code == 404, path
            texts.add(answer.json()["error"]["reason"])
            assert reader.head(path).status_code == 404
        assert texts == {f"no record with index {index} is visible to you"}
    index = neighbours.alpha[0]
    assert reader.get(f"/api/v1/events/{index}").json()["columns"]["source"] == "alpha-shop"
    assert reader.get(f"/api/v1/events/{index}/proof").status_code == 200


def test_what_one_can_prove_tells_nothing_of_the_rows_between(neighbours: Neighbours) -> None:
    index = neighbours.alpha[-1]
    proof = neighbours.reader.get(f"/api/v1/events/{index}/proof?format=json")
    _silent(neighbours, proof)
    body = neighbours.reader.get(f"/api/v1/evidence?indexes={','.join(map(str, neighbours.alpha))}").content
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        whole = b"".join(file.read(name) for name in file.namelist())
    assert b"amber-1" in whole
    assert not any(mark.encode() in whole for mark in neighbours.marks)


def test_completion_offers_values_of_visible_rows_only(neighbours: Neighbours) -> None:
    for text in ("source:", "source:b", "action:", "action:z", "actor:", "actor:z", "target:", "ip:", "ip:198", "z"):
        answer = neighbours.reader.get("/api/v1/complete", params={"text": text, "column": len(text)})
        assert answer.status_code == 200
        _silent(neighbours, answer)
    found = neighbours.reader.get("/api/v1/complete", params={"text": "source:", "column": 7}).text
    assert "alpha-shop" in found
    assert "muniment" not in found


def test_cursors_of_others_lead_to_no_rows_of_others(neighbours: Neighbours) -> None:
    page = neighbours.server.get("/api/v1/search", q="source:bravo-bank", limit=2)
    for order in ("desc", "asc"):
        params = {"cursor": page["cursor"], "limit": "1000", "order": order}
        answer = neighbours.reader.get("/api/v1/search", params=params)
        _silent(neighbours, answer)
        assert answer.status_code == 400 or {row["source"] for row in answer.json()["rows"]} <= {"alpha-shop"}


def test_the_tail_of_a_scoped_reader_is_silent_about_others(neighbours: Neighbours) -> None:
    server = neighbours.server
    first = server.send(neighbours.bravo_key, {"action": "zirkon.tail", "actor": {"id": "zirkon-t"}})["first_index"]
    server.send(neighbours.alpha_key, {"action": "amber.tail", "actor": {"id": "amber-t"}})
    seen: list[dict[str, Any]] = []
    text = ""
    params = {"after": str(first - 1), "q": "action:*.tail OR source:bravo-bank"}
    with neighbours.reader.stream("GET", "/api/v1/tail", params=params, timeout=10) as stream:
        for line in stream.iter_lines():
            text += line
            if line.startswith("data: {") and '"index"' in line:
                seen.append(json.loads(line[6:]))
                break
    assert [row["action"] for row in seen] == ["amber.tail"]
    assert "zirkon" not in text


def test_lists_and_states_name_no_other_source(neighbours: Neighbours) -> None:
    reader = neighbours.reader
    sources = reader.get("/api/v1/sources")
    _silent(neighbours, sources)
    assert [each["id"] for each in sources.json()["sources"]] == ["alpha-shop"]
    saved = reader.get("/api/v1/saved")
    _silent(neighbours, saved)
    assert saved.json() == {"saved": []}
    status = reader.get("/api/v1/status").json()
    assert all(len(door) == 2 for door in status["doors"].values())
    assert not {"sealed_events", "batches", "pending_events"} & set(status["process"])
    assert reader.get("/metrics").status_code == 403
    reader.post("/api/v1/verify", json={})
    state = reader.get("/api/v1/verify")
    _silent(neighbours, state)
    assert "sequence_gaps" not in state.json()["result"]


def test_bundles_of_entries_which_name_sources_are_for_those_who_see_all_rows(neighbours: Neighbours) -> None:
    shard = neighbours.server.get("/api/v1/log-keys")["origin"].rsplit("/", 1)[1]
    size = neighbours.server.get("/api/v1/status")["ledger"]["size"]
    path = f"/tlog/{shard}/tile/entries/000.p/{min(size, 255)}"
    whole = neighbours.server.client.get(path)
    if whole.status_code == 200:
        assert b"bravo-bank" in whole.content
    refused = neighbours.reader.get(path)
    assert (refused.status_code, refused.json()["error"]["permission"]) == (403, "search")
    assert neighbours.reader.get(f"/tlog/{shard}/tile/entries/nothing").status_code == 403
    assert neighbours.reader.get(f"/tlog/{shard}/checkpoint").status_code == 200


def test_refusals_quote_the_reader_and_nobody_else(neighbours: Neighbours) -> None:
    for q in ("source:bravo-bank AND", "nosuch:field", "(((", "time>=yesterday", "ip:1.2.3.4/99", "action:/(a+)+$/"):
        answer = neighbours.reader.get("/api/v1/search", params={"q": q})
        _silent(neighbours, answer, q)
        assert answer.status_code in {200, 400}


def test_an_own_saved_search_of_a_scoped_reader_runs_in_its_scope(neighbours: Neighbours) -> None:
    body = {"name": "everything there is", "q": "source:bravo-bank OR index:>=0", "is_shared": True}
    made = neighbours.reader.post("/api/v1/saved", json=body).json()
    assert [each["id"] for each in neighbours.reader.get("/api/v1/saved").json()["saved"]] == [made["id"]]
    rows = neighbours.reader.get("/api/v1/search", params={"q": made["q"], "limit": "1000"}).json()["rows"]
    assert {row["source"] for row in rows} == {"alpha-shop"}
    neighbours.reader.delete(f"/api/v1/saved/{made['id']}").raise_for_status()


def test_a_scope_is_a_query_that_must_hold_and_no_text_to_be_continued(live_server: LiveServer) -> None:
    for scope in ("(source:alpha-shop", "source:alpha-shop) OR (index:>=0"):
        answer = live_server.client.post("/api/v1/keys", json={"name": "x", "scope": scope})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "scope")
    body = {"name": "x", "scope": "source:alpha-shop", "role": "administrator"}
    assert live_server.client.post("/api/v1/keys", json=body).status_code == 400


def test_a_scope_with_or_is_one_condition_and_not_the_first_of_two(neighbours: Neighbours) -> None:
    """`a OR b` ANDed with a query must not become `a OR (b AND query)`."""
    with neighbours.server.reader("action:amber.nothing OR source:alpha-shop") as reader:
        rows = reader.get("/api/v1/search", params={"q": "actor:amber-1 OR actor:zirkon-1"}).json()["rows"]
    assert {row["actor_id"] for row in rows} == {"amber-1"}
