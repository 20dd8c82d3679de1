"""Every route of the application has a declared policy, and deny is tested first on each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.live import LiveServer
from tests.security.conftest import Neighbours

OPEN = "open"
PAGE = "page"
FORM = "form"
DOOR = "door"

POLICY: dict[str, str] = {
    # The API: the permission each operation needs.
    "GET /api/v1/search": "search",
    "GET /api/v1/histogram": "search",
    "GET /api/v1/facets": "search",
    "GET /api/v1/complete": "search",
    "GET /api/v1/tail": "search",
    "GET /api/v1/export": "export",
    "GET /api/v1/events/{index}": "search",
    "GET /api/v1/events/{index}/proof": "search",
    "GET /api/v1/evidence": "export",
    "GET /api/v1/saved": "search",
    "POST /api/v1/saved": "search",
    "DELETE /api/v1/saved/{number}": "search",
    "GET /api/v1/consistency": "search",
    "POST /api/v1/verify": "verify",
    "GET /api/v1/verify": "verify",
    "POST /api/v1/rebuild": "admin",
    "GET /api/v1/rebuild": "admin",
    "GET /api/v1/status": "search",
    "GET /api/v1/sources": "search",
    "POST /api/v1/sources": "sources",
    "POST /api/v1/sources/{id}/keys": "sources",
    "GET /api/v1/keys": "admin",
    "POST /api/v1/keys": "admin",
    "DELETE /api/v1/keys/{id}": "admin",
    "POST /api/v1/links": "admin",
    "GET /api/v1/people": "admin",
    "POST /api/v1/people/{id}/leave": "admin",
    "GET /api/v1/erasures": "admin",
    "POST /api/v1/erasures": "admin",
    "POST /api/v1/erasures/{number}/approval": "admin",
    "GET /api/v1/webhooks": "sources",
    "POST /api/v1/sources/{id}/webhook": "sources",
    "DELETE /api/v1/sources/{id}/webhook": "sources",
    "GET /api/v1/formats": "sources",
    "POST /api/v1/sources/{id}/format": "sources",
    "POST /api/v1/formats": "sources",
    "GET /api/v1/formats/{id}": "sources",
    "DELETE /api/v1/formats/{id}": "sources",
    "POST /api/v1/formats/{id}/try": "sources",
    "GET /api/v1/risk": "alerts",
    "GET /api/v1/alerts": "alerts",
    "GET /api/v1/alerts/{uid}": "alerts",
    "POST /api/v1/alerts/{uid}/state": "alerts",
    "POST /api/v1/alerts/states": "alerts",
    "POST /api/v1/alerts/{uid}/assign": "alerts",
    "POST /api/v1/alerts/{uid}/comment": "alerts",
    "GET /api/v1/rules/one": "alerts",
    "GET /api/v1/rules": "alerts",
    "POST /api/v1/rules/switch": "rules",
    "POST /api/v1/rules/backtest": "alerts",
    "GET /api/v1/rules/exceptions": "alerts",
    "POST /api/v1/rules/exceptions": "rules",
    "POST /api/v1/rules/exceptions/{number}/end": "rules",
    "GET /api/v1/rules/coverage": "alerts",
    "GET /api/v1/entities/{kind}/{value}": "alerts",
    "POST /api/v1/blocks/preview": "block",
    "GET /api/v1/blocks": "alerts",
    "POST /api/v1/blocks": "block",
    "GET /api/v1/blocks/check": "feeds",
    "GET /api/v1/blocks/{id}": "alerts",
    "POST /api/v1/blocks/{id}/approve": "block",
    "POST /api/v1/blocks/{id}/undo": "block",
    "GET /api/v1/allowed": "alerts",
    "POST /api/v1/allowed": "block",
    "POST /api/v1/allowed/remove": "block",
    "GET /api/v1/notifications": "alerts",
    "POST /api/v1/notifications/discard": "rules",
    "POST /api/v1/notifications/revive": "rules",
    "POST /api/v1/notifications/test": "rules",
    "GET /api/v1/silences": "alerts",
    "POST /api/v1/silences": "rules",
    "POST /api/v1/silences/{number}/end": "rules",
    "GET /feeds/{name}": "feeds",
    "GET /api/v1/blocks/{id}/hits": "block",
    "GET /api/v1/orders": "alerts",
    "POST /api/v1/orders": "block",
    "GET /api/v1/orders/{id}": "alerts",
    "GET /api/v1/cases": "search",
    "POST /api/v1/cases": "alerts",
    "GET /api/v1/cases/{number}": "search",
    "POST /api/v1/cases/{number}/alerts": "alerts",
    "POST /api/v1/cases/{number}/state": "alerts",
    "POST /api/v1/cases/{number}/owner": "alerts",
    "POST /api/v1/cases/{number}/notes": "alerts",
    "POST /api/v1/cases/{number}/marks": "alerts",
    "GET /api/v1/cases/{number}/evidence": "export",
    "GET /taxii2/": "feeds",
    "GET /taxii2/muniment/": "feeds",
    "GET /taxii2/muniment/status/{id}/": "feeds",
    "GET /taxii2/muniment/collections/": "feeds",
    "GET /taxii2/muniment/collections/{id}/": "feeds",
    "GET /taxii2/muniment/collections/{id}/manifest/": "feeds",
    "GET /taxii2/muniment/collections/{id}/objects/": "feeds",
    "GET /taxii2/muniment/collections/{id}/objects/{object}/": "feeds",
    "GET /taxii2/muniment/collections/{id}/objects/{object}/versions/": "feeds",
    "GET /metrics": "search",
    "GET /tlog/{shard}/{path:path}": "search",
    # Nothing of anybody's records is in these.
    "GET /api/v1/checkpoint": OPEN,
    "GET /api/v1/log-keys": OPEN,
    "GET /api/v1/openapi.json": OPEN,
    "GET /health": OPEN,
    "GET /login": OPEN,
    "GET /login/{token}": OPEN,
    "POST /login/{token}": OPEN,
    "GET /static/{tree}/{name}": OPEN,
    "* /api": OPEN,
    "* /api/{path:path}": OPEN,
    # Pages: a session; forms: its token as well.
    "GET /": PAGE,
    "GET /rows": PAGE,
    "GET /events/{index}": PAGE,
    "GET /events/{index}/proof": PAGE,
    "GET /sources": PAGE,
    "GET /sources/{id}": PAGE,
    "GET /formats": PAGE,
    "GET /formats/{id}": PAGE,
    "POST /formats/{id}": FORM,
    "POST /formats/own/{name}/remove": FORM,
    "GET /notices": PAGE,
    "POST /notices/again": FORM,
    "POST /notices/discard": FORM,
    "POST /notices/test": FORM,
    "POST /notices/silences": FORM,
    "POST /notices/silences/end": FORM,
    "GET /people": PAGE,
    "GET /keys": PAGE,
    "GET /erasures": PAGE,
    "POST /people/{id}/leave": FORM,
    "POST /keys/{id}/revoke": FORM,
    "POST /sources/{id}/webhook": FORM,
    "POST /erasures": FORM,
    "POST /erasures/{number}/approve": FORM,
    "GET /status": PAGE,
    "GET /saved": PAGE,
    "GET /help": PAGE,
    "GET /alerts": PAGE,
    "GET /alerts/{uid}": PAGE,
    "GET /entities/{kind}": PAGE,
    "GET /blocks": PAGE,
    "GET /blocks/new": PAGE,
    "GET /blocks/{id}": PAGE,
    "GET /orders": PAGE,
    "GET /orders/new": PAGE,
    "GET /orders/{id}": PAGE,
    "POST /orders": FORM,
    "GET /cases": PAGE,
    "GET /cases/{number}": PAGE,
    "POST /cases": FORM,
    "POST /cases/{number}/alerts": FORM,
    "POST /cases/{number}/state": FORM,
    "POST /cases/{number}/owner": FORM,
    "POST /cases/{number}/notes": FORM,
    "POST /cases/{number}/marks": FORM,
    "GET /rules": PAGE,
    "GET /rules/one": PAGE,
    "GET /rules/attack": PAGE,
    "POST /alerts/states": FORM,
    "POST /alerts/{uid}/assign": FORM,
    "POST /alerts/{uid}/comment": FORM,
    "POST /alerts/{uid}/state": FORM,
    "POST /blocks": FORM,
    "POST /blocks/allow": FORM,
    "POST /blocks/disallow": FORM,
    "POST /blocks/{id}/approve": FORM,
    "POST /blocks/{id}/undo": FORM,
    "POST /rules/switch": FORM,
    "POST /rules/exceptions": FORM,
    "POST /rules/exceptions/end": FORM,
    "POST /saved": FORM,
    "POST /saved/{id}/delete": FORM,
    "POST /look": FORM,
    "POST /logout": FORM,
}
READS_OF_A_READER = {"search", "export", "verify"}
PAGES_OF_ANALYSTS = (
    "/alerts",
    "/alerts/x",
    "/entities/address?v=203.0.113.1",
    "/blocks",
    "/blocks/new",
    "/orders",
    "/orders/new?account=x",
    "/rules",
    "/rules/one",
    "/rules/attack",
)
PAGES_OF_ADMINISTRATORS = ("/people", "/keys", "/erasures")
DOORS_OPEN_TO_ALL = {
    # Health checks of shippers; they say whether records can be sealed and nothing else.
    "/ready", "/services/collector/health", "/services/collector/health/1.0",
}  # fmt: skip
BODIES = {
    "POST /api/v1/saved": {"name": "x"},
    "POST /api/v1/verify": {},
    "POST /api/v1/sources": {"id": "not-made"},
    "POST /api/v1/formats": {"text": "name: not_made"},
    "POST /api/v1/formats/{id}/try": {"text": "name: not_made"},
    "POST /api/v1/keys": {"name": "not made"},
    "POST /api/v1/links": {"person": "not-made", "name": "Not made"},
    "POST /api/v1/erasures": {"identifier": "nobody@example.org", "reason": "a test"},
}

_LIST = """
import json, sys
from muniment.app.server import Server
from muniment.config import load_settings
server = Server(load_settings(flags={"data": sys.argv[1]}))
server.open()
found, doors = [], []
for route in server.application().routes:
    if type(route).__name__ == "_DoorRoute":
        doors += [[method, path] for path, (_, _, methods) in route.doors._exact.items() for method in methods]
    elif hasattr(route.endpoint, "_methods"):
        found += [f"{method} {route.path}" for method in route.endpoint._methods]
    else:
        methods = sorted(set(route.methods) - {"HEAD"})
        found += [f"* {route.path}"] if len(methods) > 3 else [f"{method} {route.path}" for method in methods]
print(json.dumps([found, doors]))
server.close()
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[list[str]]]:
    """All routes, as the application itself has them; in a process of its own, as the store allows one a process."""
    folder = tmp_path_factory.mktemp("routes") / "data"
    done = subprocess.run([sys.executable, "-c", _LIST, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    found, doors = json.loads(done.stdout.splitlines()[-1])
    return found, doors


def _path(route: str) -> str:
    names = {"index": "0", "number": "1", "id": "1", "token": "x", "tree": "x", "name": "x", "shard": "x",
             "uid": "x", "kind": "address", "value": "203.0.113.1"}  # fmt: skip
    path = route.partition(" ")[2].replace("{path:path}", "nothing")
    for name, value in names.items():
        path = path.replace("{" + name + "}", value)
    return path


def _ask(client: httpx.Client, route: str, headers: dict[str, str]) -> httpx.Response:
    """A request; of an answer that flows, the head only."""
    method = route.partition(" ")[0]
    body = BODIES.get(route)
    request = client.build_request(method, _path(route), headers=headers, json=body)
    answer = client.send(request, stream=True)
    if "event-stream" not in answer.headers.get("content-type", ""):
        answer.read()
    answer.close()
    return answer


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_route_has_a_declared_policy_and_every_policy_a_route(listed: tuple[list[str], list[list[str]]]) -> None:
    assert sorted(set(listed[0])) == sorted(POLICY)


def test_nobody_and_wrong_and_revoked_and_sending_keys_get_nothing_anywhere(
    live_server: LiveServer, neighbours: Neighbours
) -> None:
    made = live_server.client.post("/api/v1/keys", json={"name": "short-lived"}).json()
    live_server.client.delete(f"/api/v1/keys/{made['info']['id']}").raise_for_status()
    wrong = made["key"][:-4] + "AAAA"
    size, asked = live_server.get("/api/v1/status")["ledger"]["size"], 0
    for route, policy in POLICY.items():
        if policy in {OPEN, PAGE, FORM}:
            continue
        asked += 8
        with live_server.nobody() as nobody:
            for headers in ({}, _bearer(wrong), _bearer(made["key"]), {"Authorization": "Basic YTpi"},
                            {"Cookie": "muniment_session=guess"}, _bearer("mk_"), _bearer("é".encode().hex())):  # fmt: skip
                answer = _ask(nobody, route, headers)
                assert answer.status_code == 401, (route, headers)
                assert "www-authenticate" in answer.headers
                assert answer.json()["error"]["type"] == "DeniedError"
            answer = _ask(nobody, route, _bearer(neighbours.bravo_key))
            assert (answer.status_code, answer.json()["error"]["permission"]) == (403, policy), route
    # Refusals are counted and written down by the minute, one record for what was asked and lacked (two an operation
    # here, where a minute ends), not one by one: noise is cheap (S12).
    assert live_server.get("/api/v1/status")["ledger"]["size"] - size < asked / 3


def test_a_reader_gets_what_readers_may_and_a_403_that_names_the_permission_elsewhere(neighbours: Neighbours) -> None:
    for route, policy in POLICY.items():
        if policy in {OPEN, PAGE, FORM} or policy in READS_OF_A_READER:
            continue
        answer = _ask(neighbours.reader, route, {})
        found = answer.json()["error"]
        assert (answer.status_code, found["permission"]) == (403, policy), route
        assert "an administrator can grant it" in found["reason"]


def test_pages_and_forms_send_strangers_to_the_login_and_keys_open_no_page(
    live_server: LiveServer, neighbours: Neighbours
) -> None:
    for route, policy in POLICY.items():
        if policy not in {PAGE, FORM}:
            continue
        for headers in ({}, {"Cookie": "muniment_session=guess"}, {"X-Forwarded-User": "admin"}):
            with live_server.nobody() as nobody:
                answer = _ask(nobody, route, headers)
            assert (answer.status_code, answer.headers.get("location")) == (303, "/login"), (route, headers)
    with live_server.nobody() as nobody:
        for key in (neighbours.alpha_key, neighbours.reader.headers["authorization"].removeprefix("Bearer ")):
            assert nobody.get("/events/0", headers=_bearer(key)).status_code == 303


def test_pages_of_analysts_are_closed_to_readers_and_name_the_permission(live_server: LiveServer) -> None:
    with closing(live_server.session("plain-reader", "reader")) as person:
        for path in PAGES_OF_ANALYSTS:
            answer = person.get(path)
            assert answer.status_code == 403, path
            assert (
                "'alerts'" in answer.text
                or "'block'" in answer.text
                or "&#39;alerts&#39;" in answer.text
                or "&#39;block&#39;" in answer.text
            )
        assert "/alerts" not in person.get("/help").text
    with closing(live_server.session("an-analyst", "analyst")) as person:
        assert person.get("/alerts").status_code == 200


def test_pages_of_administrators_are_closed_to_analysts_and_name_the_permission(live_server: LiveServer) -> None:
    with closing(live_server.session("an-analyst", "analyst")) as person:
        for path in PAGES_OF_ADMINISTRATORS:
            answer = person.get(path)
            assert (answer.status_code, "&#39;admin&#39;" in answer.text) == (403, True), path
    with closing(live_server.session("an-administrator", "administrator")) as person:
        assert [person.get(path).status_code for path in PAGES_OF_ADMINISTRATORS] == [200, 200, 200]


def test_forms_refuse_a_session_without_its_token_and_other_sites(live_server: LiveServer) -> None:
    with closing(live_server.session("form-tester")) as person:
        token = person.headers.pop("x-csrf-token")
        for route in (route for route, policy in POLICY.items() if policy == FORM):
            path = _path(route)
            assert person.post(path, data={}).status_code == 403, route
            assert person.post(path, data={"csrf": token[:-1]}).status_code == 403, route
            crossing = {"Sec-Fetch-Site": "cross-site"}
            assert person.post(path, data={"csrf": token}, headers=crossing).status_code == 403, route
        for route in (r for r in BODIES if r != "POST /api/v1/verify"):
            assert person.post(_path(route), json=BODIES[route]).status_code == 403, route


def test_a_session_is_dead_everywhere_when_it_is_left(live_server: LiveServer) -> None:
    with closing(live_server.session("leaver")) as person:
        cookie = person.cookies["muniment_session"]
        assert person.get("/events/0").status_code == 200
        assert person.post("/logout", data={"csrf": person.headers["x-csrf-token"]}).status_code == 303
        headers = {"Cookie": f"muniment_session={cookie}"}
        with live_server.nobody() as nobody:
            assert nobody.get("/events/0", headers=headers).status_code == 303
            assert nobody.get("/api/v1/search", headers=headers).status_code == 401


def test_doors_take_sending_keys_only(
    live_server: LiveServer, neighbours: Neighbours, listed: tuple[list[str], list[list[str]]]
) -> None:
    paths = [(method, path) for method, path in listed[1] if method != "OPTIONS"]
    assert len(paths) > 10
    reading = neighbours.reader.headers["authorization"]
    size = live_server.get("/api/v1/status")["ledger"]["size"]
    with live_server.nobody() as nobody:
        for method, path in [*paths, ("POST", "/_bulk"), ("POST", "/ingest/es/_bulk"), ("PUT", "/x/_doc/1")]:
            if path.removeprefix("/ingest/splunk").removeprefix("/ingest/loki") in DOORS_OPEN_TO_ALL:
                continue
            for header in ("", "Bearer mk_x_y", reading, reading.replace("Bearer", "Splunk"), "Basic YTpi"):
                headers = {"Authorization": header} if header else {}
                status = nobody.request(method, path, headers=headers, content=b'{"a":1}').status_code
                assert status in {401, 403}, (method, path, header, status)
    assert live_server.get("/api/v1/status")["ledger"]["size"] - size < 10


def test_a_key_writes_under_its_own_source_whatever_the_event_says(neighbours: Neighbours) -> None:
    server = neighbours.server
    event = {"action": "claims.other", "source": "muniment", "src": "muniment", "actor": {"id": "liar"}}
    headers = {**_bearer(neighbours.alpha_key), "X-Source": "muniment", "X-Scope-OrgID": "muniment"}
    server.client.post("/v1/events?source=muniment", json=event, headers=headers)
    index = server.send(neighbours.alpha_key, event)["first_index"]
    assert server.one("action:claims.other")["source"] == "alpha-shop"
    server.wait_until_visible()
    assert server.rows("action:claims.other source:muniment") == []
    assert server.get(f"/api/v1/events/{index}")["columns"]["source"] == "alpha-shop"


def test_nothing_but_the_application_says_what_is_open(live_server: LiveServer) -> None:
    with live_server.nobody() as nobody:
        for path in ("/api/v1//search", "/api/v1/../v1/search", "/API/v1/search", "/api/v1/search/", "/%61pi/v1/search",
                     "/api/v1/search%2f", "/tlog/../var/cli.json", "/static/../cli.json", "/static/x/..%2f..%2fcli.json"):  # fmt: skip
            assert nobody.get(path).status_code in {303, 401, 404}, path
        for header in ("X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Forwarded-User"):
            assert nobody.get("/api/v1/search", headers={header: "/health"}).status_code == 401
    assert Path(live_server.folder / "cli.json").stat().st_mode & 0o777 == 0o600
