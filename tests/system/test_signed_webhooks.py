"""The webhook door against a running server: right signatures are taken once, others learn nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.live import LiveServer

from muniment.access.webhooks import IncomingWebhook
from muniment.ingest.door_webhook import unsigned


def _made(server: LiveServer, source: str, kind: str, format: str = "auto") -> dict[str, Any]:
    server.client.post("/api/v1/sources", json={"id": source, "format": format, "privacy": "clear"}).raise_for_status()
    body = {"kind": kind, "secret": "0123456789abcdef0123456789abcdef"} if kind == "slack" else {"kind": kind}
    made = server.client.post(f"/api/v1/sources/{source}/webhook", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def _hmac(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _post(server: LiveServer, source: str, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.nobody().post(f"/ingest/webhook/{source}", content=body, headers=named)


def test_github_deliveries_are_kept_once_with_their_name(live_server: LiveServer) -> None:
    secret = _made(live_server, "hook-github", "github")["secret"]
    body = json.dumps(
        {"action": "member_added", "sender": {"login": "octo"}, "organization": {"login": "example"}}
    ).encode()
    headers = {
        "x_hub_signature_256": f"sha256={_hmac(secret, body)}",
        "x_github_event": "organization",
        "x_github_delivery": "d-1",
    }
    assert _post(live_server, "hook-github", body, **headers).json()["accepted"] == 1
    assert _post(live_server, "hook-github", body, **headers).json()["duplicates"] == 1
    live_server.wait_until_visible()
    rows = live_server.rows("source:hook-github")
    assert len(rows) == 1
    record = json.loads(live_server.get(f"/api/v1/events/{rows[0]['index']}")["record"])
    assert record["$webhook"] == {"event": "organization", "delivery": "d-1"}
    assert record["sender"] == {"login": "octo"}


def test_github_may_send_forms(live_server: LiveServer) -> None:
    """`application/x-www-form-urlencoded` is what GitHub proposes for a new webhook; the signature is over the form."""
    secret = _made(live_server, "hook-form", "github")["secret"]
    event = {"action": "created", "sender": {"login": "octo+1"}, "repository": {"full_name": "example/a&b"}}
    form = {"content_type": "application/x-www-form-urlencoded", "x_github_event": "repository", "x_github_delivery": "d-f"}  # fmt: skip

    def sent(body: bytes) -> httpx.Response:
        return _post(live_server, "hook-form", body, x_hub_signature_256=f"sha256={_hmac(secret, body)}", **form)

    assert sent(urlencode({"payload": json.dumps(event)}).encode()).json()["accepted"] == 1
    record = json.loads(live_server.get(f"/api/v1/events/{live_server.one('source:hook-form')['index']}")["record"])
    assert record == {"$webhook": {"event": "repository", "delivery": "d-f"}, **event}
    for body in (b"a=1", b"payload=%7B%7D&payload=%7B%7D", b"&".join(b"a=1" for _ in range(50))):
        assert sent(body).status_code == 400


def test_okta_event_hooks_are_verified_and_split(live_server: LiveServer) -> None:
    made = _made(live_server, "hook-okta", "okta", "okta")
    asked = live_server.nobody().get("/ingest/webhook/hook-okta", headers={"x-okta-verification-challenge": "c-1"})
    assert asked.json() == {"verification": "c-1"}
    event = {"uuid": "u-1", "published": "2026-11-23T09:00:00.000Z", "eventType": "user.session.start", "actor": {"id": "a", "alternateId": "anna@example.com"}, "outcome": {"result": "SUCCESS"}}  # fmt: skip
    body = json.dumps(
        {"eventType": "com.okta.event_hook", "data": {"events": [event, {**event, "uuid": "u-2"}]}}
    ).encode()
    assert _post(live_server, "hook-okta", body, authorization=made["secret"]).json()["accepted"] == 2
    assert _post(live_server, "hook-okta", body, authorization=made["secret"]).json()["duplicates"] == 2
    assert live_server.one("source:hook-okta action:user.login")["actor_email"] == "anna@example.com"


def test_slack_is_answered_and_old_timestamps_are_refused(live_server: LiveServer) -> None:
    secret = _made(live_server, "hook-slack", "slack")["secret"]
    body = b'{"type":"url_verification","challenge":"xyz"}'

    def signed(at: int, text: bytes = body) -> dict[str, str]:
        return {"x_slack_request_timestamp": str(at), "x_slack_signature": f"v0={_hmac(secret, b'v0:%d:' % at + text)}"}

    now = int(time.time())
    assert _post(live_server, "hook-slack", body, **signed(now)).json() == {"challenge": "xyz"}
    assert _post(live_server, "hook-slack", body, **signed(now - 3_600)).status_code == 401
    assert _post(live_server, "hook-slack", body + b" ", **signed(now)).status_code == 401
    # A digit to `isdigit`, no number to `int`.
    raw = {b"x-slack-signature": b"v0=00", b"x-slack-request-timestamp": "\u00b2".encode("latin-1")}
    assert live_server.nobody().post("/ingest/webhook/hook-slack", content=body, headers=raw).status_code == 401


def test_auth0_streams_and_standard_webhooks(live_server: LiveServer) -> None:
    secret = _made(live_server, "hook-auth0", "auth0", "auth0")["secret"]
    logs = [
        {
            "log_id": "l-1",
            "data": {
                "type": "fp",
                "date": "2026-11-23T09:00:00.000Z",
                "user_name": "anna@example.com",
                "ip": "203.0.113.8",
            },
        }
    ]
    body = json.dumps(logs).encode()
    assert _post(live_server, "hook-auth0", body, authorization=f"Bearer {secret}").json()["accepted"] == 1
    assert live_server.one("source:hook-auth0 outcome:failure")["src_ip"] == "203.0.113.8"
    secret = _made(live_server, "hook-standard", "standard")["secret"]
    at, body = str(int(time.time())), b'{"type":"order.paid"}'
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, b"m-1." + at.encode() + b"." + body, hashlib.sha256).digest()).decode()
    headers = {"webhook_id": "m-1", "webhook_timestamp": at, "webhook_signature": f"v1a,zzz v1,{mac}"}
    assert _post(live_server, "hook-standard", body, **headers).json()["accepted"] == 1


def test_a_wrong_signature_and_an_unknown_source_sound_the_same(live_server: LiveServer) -> None:
    _made(live_server, "hook-wrong", "github")
    wrong = _post(live_server, "hook-wrong", b"{}", x_hub_signature_256="sha256=00")
    unknown = _post(live_server, "hook-nobody", b"{}", x_hub_signature_256="sha256=00")
    without = _post(live_server, "hook-wrong", b"{}")
    assert {wrong.status_code, unknown.status_code, without.status_code} == {401}
    assert wrong.text == unknown.text == without.text


@pytest.mark.parametrize("kind", ["github", "slack", "okta", "auth0", "standard"])
def test_no_header_is_no_signature(kind: str) -> None:
    assert unsigned(IncomingWebhook("s", kind, "0123456789abcdef", 0), {}, b"{}", 0) == "no signature"
