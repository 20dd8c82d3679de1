"""What holds for every answer of the API: statuses, headers, methods, bounds, errors that name the place."""

import httpx
import pytest
from tests.live import LiveServer, within

HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, object] = answer.json()["error"]
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/search", "/api/v1/histogram", "/api/v1/events/0", "/api/v1/events/0/proof", "/api/v1/checkpoint",
        "/api/v1/evidence?indexes=0", "/api/v1/openapi.json", "/api/v1/nothing", "/api/v1/events/x", "/health",
        "/metrics", "/api/v1/export?format=csv&q=index:0",
    ],
)  # fmt: skip
def test_every_answer_is_not_stored_not_guessed_at_and_not_framed(live_server: LiveServer, path: str) -> None:
    answer = live_server.client.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/search"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_path_that_is_not_there_is_a_404_in_json(live_server: LiveServer, path: str, method: str) -> None:
    found = problem(live_server.client.request(method, path), 404)
    assert found["field"] == "path"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/search", "GET, HEAD"),
        ("DELETE", "/api/v1/events/1", "GET, HEAD"),
        ("PUT", "/api/v1/keys", "GET, HEAD, POST"),
        ("OPTIONS", "/api/v1/verify", "GET, HEAD, POST"),
        ("QUERY", "/api/v1/search", "GET, HEAD"),
        ("GET", "/api/v1/links", "POST"),
    ],
)
def test_a_method_that_is_not_there_is_a_405_that_names_the_others(
    live_server: LiveServer, method: str, path: str, allowed: str
) -> None:
    answer = live_server.client.request(method, path)
    assert problem(answer, 405)["field"] == "method"
    assert answer.headers["allow"] == allowed


def test_head_has_the_headers_of_get_and_no_body(live_server: LiveServer) -> None:
    answer = live_server.client.head("/api/v1/events/0")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 100
    assert live_server.client.head("/api/v1/tail", timeout=5).headers["content-type"].startswith("text/event-stream")
    assert live_server.client.head("/api/v1/export?format=parquet", timeout=5).status_code == 200


def test_a_refusal_names_field_and_column(live_server: LiveServer) -> None:
    found = problem(live_server.client.get("/api/v1/search", params={"q": "actor:anna ip:nowhere"}), 400)
    assert (found["type"], found["field"], found["column"]) == ("RejectedError", "q", 14)
    assert problem(live_server.client.get("/api/v1/search?limit=5000"), 400)["field"] == "limit"
    assert problem(live_server.client.get("/api/v1/search?colour=red"), 400)["field"] == "colour"
    assert problem(live_server.client.get("/api/v1/search?q=a&q=b"), 400)["field"] == "q"
    assert problem(live_server.client.get("/api/v1/search?start=yesterday"), 400)["field"] == "start"
    assert problem(live_server.client.get("/api/v1/search?cursor=x"), 400)["field"] == "cursor"
    assert problem(live_server.client.get("/api/v1/search?columns=nothing"), 400)["field"] == "columns"
    assert problem(live_server.client.get("/api/v1/evidence?indexes="), 400)["field"] == "indexes"
    body = {"name": "x", "scope": "ip:nowhere"}
    assert problem(live_server.client.post("/api/v1/keys", json=body), 400)["field"] == "scope"


@pytest.mark.parametrize("index", ["-1", "1e3", "01", "999999999999999999", "9" * 30, "%20", "0.5", "١"])
def test_an_index_that_is_none_or_beyond_the_end_is_not_found(live_server: LiveServer, index: str) -> None:
    for path in (f"/api/v1/events/{index}", f"/api/v1/events/{index}/proof"):
        assert problem(live_server.client.get(path), 404)["field"] == "index"


def test_bodies_are_bounded_and_json_only(live_server: LiveServer) -> None:
    post = live_server.client.post
    assert problem(post("/api/v1/saved", content=b'{"name":"' + b"a" * 300_000 + b'"}'), 413)["field"] == "body"
    assert problem(post("/api/v1/saved", content=b"{"), 400)["field"] == "body"
    assert problem(post("/api/v1/saved", content=b'{"name":"\xff"}'), 400)["field"] == "body"
    assert problem(post("/api/v1/saved", data={"name": "x"}), 415)["field"] == "content-type"
    deep = b"[" * 100_000 + b"]" * 100_000
    assert problem(post("/api/v1/saved", content=deep), 400)["field"] == "body"


def test_a_saved_search_comes_back_as_it_was_given_and_goes(live_server: LiveServer) -> None:
    body = {"name": "Failed logins", "q": "outcome:failure", "start": "-7d", "end": "now", "columns": ["actor_name"]}
    made = live_server.client.post("/api/v1/saved", json=body)
    assert made.status_code == 201
    assert {name: made.json()[name] for name in body} == body
    assert made.json() in live_server.get("/api/v1/saved")["saved"]
    again = live_server.client.post("/api/v1/saved", json=body | {"q": "outcome:success"}).json()
    assert (again["id"], again["q"]) == (made.json()["id"], "outcome:success")
    with live_server.reader() as other:
        assert other.get("/api/v1/saved").json() == {"saved": []}
        assert other.delete(f"/api/v1/saved/{again['id']}").status_code == 404
    assert live_server.client.delete(f"/api/v1/saved/{again['id']}").json()["id"] == again["id"]
    assert live_server.client.delete(f"/api/v1/saved/{again['id']}").status_code == 404


def test_a_source_is_added_once_and_a_link_changes_no_role(live_server: LiveServer) -> None:
    body = {"id": "twice", "format": "muniment"}
    assert live_server.client.post("/api/v1/sources", json=body).status_code == 201
    assert problem(live_server.client.post("/api/v1/sources", json=body), 409)["field"] == "id"
    found = problem(live_server.client.post("/api/v1/sources", json={"id": "x", "format": "no-such"}), 400)
    assert found["field"] == "format"
    link = {"person": "rita", "name": "Rita", "role": "reader"}
    assert live_server.client.post("/api/v1/links", json=link).status_code == 201
    raised = live_server.client.post("/api/v1/links", json=link | {"role": "administrator"})
    assert problem(raised, 409)["field"] == "role"
    assert problem(live_server.client.post("/api/v1/links", json=link | {"person": "rita\n"}), 400)["field"] == "person"


def test_health_tells_strangers_nothing_but_that_it_works(live_server: LiveServer) -> None:
    with live_server.nobody() as nobody:
        assert nobody.get("/health").json() == {"status": "ok"}
        assert nobody.get("/metrics").status_code == 401
    text = live_server.client.get("/metrics").text
    names = [line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert "muniment_ledger_size" in names
    assert all(float(line.rsplit(" ", 1)[1]) >= 0 for line in text.splitlines() if not line.startswith("#"))


def test_the_description_is_of_openapi_and_every_operation_says_what_it_needs(live_server: LiveServer) -> None:
    document = live_server.get("/api/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) >= 26
    open_to_all = {each["operationId"] for each in operations if "security" not in each}
    assert open_to_all == {"checkpoint", "log_keys"}
    for each in operations:
        assert {"400", "401", "500", "503"} <= set(each["responses"])
        assert ("requestBody" in each) == ("415" in each["responses"]) == ("413" in each["responses"])


def test_who_was_refused_is_on_record(live_server: LiveServer) -> None:
    """Somebody who tries the doors of others is worth knowing by name."""
    curious = live_server.session("curious", "analyst")
    for _ in range(3):
        assert curious.get("/api/v1/keys").status_code == 403
    found = within(
        30, lambda: live_server.rows('action:access.deny actor_id:"curious"'), "the refusals are not on record"
    )
    assert found[0]["outcome"] == "failure"
