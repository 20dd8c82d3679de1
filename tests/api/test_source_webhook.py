"""The webhook of a source, by the API and on its page: made, told of, replaced and removed; its secret is shown once."""

import hashlib
import hmac
import html
import re
import time

import httpx
import pytest
from tests.live import LiveServer


def _source(server: LiveServer, name: str) -> str:
    server.client.post("/api/v1/sources", json={"id": name, "privacy": "clear"}).raise_for_status()
    return name


def _state(server: LiveServer, source: str) -> dict[str, object]:
    found: list[dict[str, object]] = server.get("/api/v1/webhooks")["webhooks"]
    return next((each for each in found if each["source"] == source), {})


def _deliver(server: LiveServer, source: str, secret: str, body: bytes = b'{"action":"x"}') -> int:
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature-256": f"sha256={mac}"}
    return server.nobody().post(f"/ingest/webhook/{source}", content=body, headers=headers).status_code


def _reasons(state: dict[str, object]) -> dict[str, int]:
    refused = state["refused"]
    assert isinstance(refused, list)
    return {each["reason"]: each["count"] for each in refused}


def _panel(page: str) -> str:
    found = page.split('id="webhook"')[1].split("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def _form(client: httpx.Client, page: str, do: str, **more: str) -> dict[str, str]:
    seen = re.findall(r'name="seen" value="(\d+)"', page)[0]
    return {"csrf": client.headers["x-csrf-token"], "seen": seen, "do": do, **more}


@pytest.fixture(scope="module")
def ana(live_server: LiveServer) -> httpx.Client:
    return live_server.session("hook-ana", "administrator")


def test_what_was_delivered_and_refused_is_told_with_the_reason_and_without_the_secret(live_server: LiveServer) -> None:
    source = _source(live_server, "told-hook")
    made = live_server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "github"}).json()
    fresh = _state(live_server, source)
    assert (fresh["accepted"], fresh["last_at"], fresh["refused"]) == (0, 0, [])
    assert _deliver(live_server, source, made["secret"]) == 200
    assert _deliver(live_server, source, "another-secret-0000") == 401
    assert _deliver(live_server, source, made["secret"], b'{"broken":') == 400
    url = f"/ingest/webhook/{source}"
    assert live_server.nobody().post(url, content=b"{}").status_code == 401
    state = _state(live_server, source)
    assert (state["kind"], state["url"], state["accepted"]) == ("github", made["url"], 1)
    assert _reasons(state) == {"wrong signature": 1, "unreadable": 1, "no signature": 1}
    assert state["last_at"] >= state["since"] >= fresh["created_at"] > 0  # type: ignore[operator]
    assert made["secret"] not in live_server.client.get("/api/v1/webhooks").text


def test_a_right_signature_of_another_hour_is_too_old_and_a_wrong_one_is_wrong(live_server: LiveServer) -> None:
    source, secret = _source(live_server, "late-hook"), "0123456789abcdef0123456789abcdef"
    live_server.client.post(
        f"/api/v1/sources/{source}/webhook", json={"kind": "slack", "secret": secret}
    ).raise_for_status()
    for at, key in ((time.time() - 3_600, secret), (time.time() - 3_600, "x" * 16)):
        body, stamp = b"{}", str(int(at))
        mac = hmac.new(key.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={mac}"}
        assert live_server.nobody().post(f"/ingest/webhook/{source}", content=body, headers=headers).status_code == 401
    assert _reasons(_state(live_server, source)) == {"too old": 1, "wrong signature": 1}


def test_another_secret_ends_the_first_and_counts_anew_and_removal_ends_both(live_server: LiveServer) -> None:
    source = _source(live_server, "turned-hook")
    first = live_server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "github"}).json()["secret"]
    assert _deliver(live_server, source, "another-secret-0000") == 401
    second = live_server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "github"}).json()["secret"]
    assert _state(live_server, source)["refused"] == []
    assert [_deliver(live_server, source, each) for each in (first, second)] == [401, 200]
    assert live_server.client.delete(f"/api/v1/sources/{source}/webhook").json()["kind"] == "github"
    assert (_deliver(live_server, source, second), _state(live_server, source)) == (401, {})
    again = live_server.client.delete(f"/api/v1/sources/{source}/webhook")
    assert (again.status_code, "no webhook" in again.text) == (404, True)
    live_server.wait_until_visible()
    did = [row["action"] for row in live_server.rows(f"source:muniment target_id:{source} action:webhook.*")]
    assert did == ["webhook.remove", "webhook.replace", "webhook.create"]


def test_nobody_sends_as_muniment_itself_and_slack_makes_its_own_secret(live_server: LiveServer) -> None:
    for source in ("muniment", "muniment.alerts"):
        for path, body in (("webhook", {"kind": "github"}), ("keys", {})):
            refused = live_server.client.post(f"/api/v1/sources/{source}/{path}", json=body)
            assert (refused.status_code, "Muniment itself" in refused.text) == (400, True), path
    source = _source(live_server, "slack-hook")
    refused = live_server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "slack"})
    assert (refused.status_code, "Signing Secret" in refused.text) == (400, True)


def test_a_webhook_is_made_on_the_page_which_shows_the_secret_once(live_server: LiveServer, ana: httpx.Client) -> None:
    source = _source(live_server, "page-hook")
    page = ana.get(f"/sources/{source}").text
    assert "None. Okta, Auth0" in _panel(page)
    form = _form(ana, page, "make", kind="github", secret="")
    made = ana.post(f"/sources/{source}/webhook", data=form)
    secret = re.findall(r"<pre[^>]*>([0-9a-f]{64})</pre>", made.text)[0]
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert _deliver(live_server, source, secret) == 200
    assert _deliver(live_server, source, "another-secret-0000") == 401
    page = ana.get(f"/sources/{source}").text
    assert secret not in page
    told = _panel(page)
    assert "Signed by GitHub" in told
    assert f"/ingest/webhook/{source}" in told
    assert re.search(r"Delivered last .* 1 since", told)
    assert re.search(r"wrong signature , last .* 1 ", told)


def test_a_form_sent_twice_changes_nothing_the_second_time(live_server: LiveServer, ana: httpx.Client) -> None:
    source = _source(live_server, "twice-hook")
    form = _form(ana, ana.get(f"/sources/{source}").text, "make", kind="github", secret="")
    secret = re.findall(r"<pre[^>]*>([0-9a-f]{64})</pre>", ana.post(f"/sources/{source}/webhook", data=form).text)[0]
    for do in ("make", "remove"):
        again = ana.post(f"/sources/{source}/webhook", data=form | {"do": do})
        assert (again.status_code, "another one by now" in again.text) == (409, True)
    assert _deliver(live_server, source, secret) == 200


def test_a_secret_that_is_none_is_told_at_its_field_and_not_shown_again(
    live_server: LiveServer, ana: httpx.Client
) -> None:
    source = _source(live_server, "short-hook")
    page = ana.get(f"/sources/{source}").text
    for secret, words in (("too-short-47", "16 to 256"), ("", "Slack makes the secret")):
        told = ana.post(f"/sources/{source}/webhook", data=_form(ana, page, "make", kind="slack", secret=secret))
        assert told.status_code == 400
        assert words in _panel(told.text)
        assert 'value="slack" selected' in told.text
        assert "too-short-47" not in told.text
    assert _state(live_server, source) == {}


def test_removal_on_the_page_is_confirmed_there_and_is_a_record(live_server: LiveServer, ana: httpx.Client) -> None:
    source = _source(live_server, "gone-hook")
    made = live_server.client.post(f"/api/v1/sources/{source}/webhook", json={"kind": "okta"}).json()
    page = ana.get(f"/sources/{source}").text
    assert "Remove the webhook" in page
    gone = ana.post(f"/sources/{source}/webhook", data=_form(ana, page, "remove"), follow_redirects=True)
    assert "The webhook is removed" in gone.text
    headers = {"authorization": made["secret"]}
    assert live_server.nobody().post(f"/ingest/webhook/{source}", content=b"{}", headers=headers).status_code == 401
    row = live_server.one(f"source:muniment target_id:{source} action:webhook.remove")
    assert row["actor_id"] == "hook-ana"


@pytest.mark.parametrize("role", ["analyst", "reader"])
def test_who_may_not_change_sources_sees_and_changes_no_webhook(live_server: LiveServer, role: str) -> None:
    source = f"closed-hook-{role}"
    _source(live_server, source)
    client = live_server.session(f"hook-{role}", role)
    page = client.get(f"/sources/{source}")
    assert (page.status_code, 'id="webhook"' in page.text) == (200, False)
    form = {"csrf": client.headers["x-csrf-token"], "seen": "0", "kind": "github", "do": "make"}
    denied = client.post(f"/sources/{source}/webhook", data=form)
    assert (denied.status_code, _state(live_server, source)) == (403, {})
    assert client.get("/api/v1/webhooks").status_code == 403


def test_muniments_own_sources_have_no_webhook(ana: httpx.Client) -> None:
    assert 'id="webhook"' not in ana.get("/sources/muniment").text
