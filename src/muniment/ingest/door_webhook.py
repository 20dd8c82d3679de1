"""The webhook door: `POST /ingest/webhook/SOURCE`, signed by the sender in its own way.

    github     X-Hub-Signature-256: sha256=HMAC(body); the delivery is the event's id, its name stands under `$webhook`;
               a body of either content type, JSON or a form with `payload`
    slack      X-Slack-Signature: v0=HMAC("v0:" timestamp ":" body), not older than five minutes; answers the challenge
    okta       Authorization: the secret; an event hook's events are taken one by one; answers the verification (GET)
    auth0      Authorization: the secret, alone or after `Bearer `; a log stream's entries
    standard   Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature

A signature is over the bytes as they came, so it is checked before anything is parsed; without a right one nothing is
said about the source, not even whether it exists; only who may change the source is told why. Resent deliveries have the
same id and are kept once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from muniment.access.webhooks import (
    NO_SIGNATURE,
    TOO_OLD,
    UNREADABLE,
    UNTAKEN,
    WRONG_SIGNATURE,
    IncomingWebhook,
)
from muniment.errors import AuditError, DeniedError, RejectedError
from muniment.ingest.door_native import receipt_of
from muniment.ingest.http_request import Answer, Request, json_answer, seal
from muniment.limits import WEBHOOK_AGE_S
from muniment.wire.jsonl import decode_body
from muniment.wire.records import Records, producer_id

__all__ = ["PREFIX", "post_webhook", "unsigned"]

PREFIX: Final = "/ingest/webhook/"
DOOR: Final = "webhook"
_FORM: Final = "application/x-www-form-urlencoded"
_REFUSED: Final = "the signature is missing or wrong, or this source takes no webhooks"


async def post_webhook(request: Request) -> Answer:
    """Take what a webhook brings; the path is the source."""
    webhook = request.ctx.webhook_of(request.path.strip("/"))
    if webhook is not None and webhook.kind == "okta" and request.method == "GET":
        return json_answer(200, {"verification": request.headers.get("x-okta-verification-challenge", "")})
    body = await request.body()
    now_ns = request.ctx.now_ns()
    why = unsigned(webhook, request.headers, body, now_ns // 10**9) if webhook else NO_SIGNATURE
    if webhook is None or why:
        if webhook is not None:
            request.ctx.webhook_told(webhook.source, now_ns, why)
        raise DeniedError(_REFUSED, permission="ingest", is_authenticated=False)
    request.source = webhook.source
    try:
        answer = await _taken(webhook, request, body)
    except AuditError as error:
        request.ctx.webhook_told(webhook.source, now_ns, UNREADABLE if isinstance(error, RejectedError) else UNTAKEN)
        raise
    request.ctx.webhook_told(webhook.source, now_ns, "")
    return answer


async def _taken(webhook: IncomingWebhook, request: Request, body: bytes) -> Answer:
    if webhook.kind == "slack" and (challenge := _challenge(body)):
        return json_answer(200, {"challenge": challenge})
    found = _records(webhook.kind, request.headers, body)
    ack = await seal(request, found, DOOR)
    return json_answer(200, receipt_of(found, ack, is_full=False))


def unsigned(webhook: IncomingWebhook, headers: Mapping[str, str], body: bytes, now_s: int) -> str:
    """Empty when the holder of the secret sent these bytes, lately where the sender says when; else why that is not so."""
    secret, at = webhook.secret.encode(), str(now_s)
    match webhook.kind:
        case "github":
            given = headers.get("x-hub-signature-256", "")
            is_same = _is_same(given, f"sha256={_hex(secret, body)}")
        case "slack":
            at, given = headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", "")
            is_same = _is_same(given, f"v0={_hex(secret, b'v0:' + at.encode() + b':' + body)}")
        case "standard":
            at, given = headers.get("webhook-timestamp", ""), headers.get("webhook-signature", "")
            is_same = _is_standard(webhook.secret, headers, body)
        case _:
            given = headers.get("authorization", "")
            is_same = _is_same(given.removeprefix("Bearer ").strip(), webhook.secret)
    if not given:
        return NO_SIGNATURE
    if not is_same:
        return WRONG_SIGNATURE
    return "" if _is_recent(at, now_s) else TOO_OLD


def _is_standard(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    at = headers.get("webhook-timestamp", "")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = secret.encode()
    signed = f"{headers.get('webhook-id', '')}.{at}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")[:8]
    return any(_is_same(each, wanted) for each in given)


def _hex(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _is_recent(at: str, now_s: int) -> bool:
    return at.isascii() and at.isdigit() and len(at) < 13 and abs(now_s - int(at)) <= WEBHOOK_AGE_S


def _challenge(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    if isinstance(found, dict) and found.get("type") == "url_verification":
        return str(found.get("challenge", ""))
    return ""


def _records(kind: str, headers: Mapping[str, str], body: bytes) -> Records:
    if kind == "okta":
        return _hook_events(body)
    if kind == "github":
        name, delivery = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
        marked = msgspec.json.encode({"$webhook": {"event": name, "delivery": delivery}})
        rest = _payload(headers, body).strip()
        if rest[:1] == b"{" and rest[1:].lstrip()[:1] != b"}":
            rest = marked[:-1] + b"," + rest[1:]
        return _with_id(decode_body(rest, door=DOOR), delivery)
    found = decode_body(body, door=DOOR)
    if kind == "standard":
        return _with_id(found, headers.get("webhook-id", ""))
    name = {"auth0": "log_id", "slack": "event_id"}[kind]
    found.ids = [own or _id_of(record, name) for own, record in zip(found.ids, found.records, strict=True)]
    return found


def _payload(headers: Mapping[str, str], body: bytes) -> bytes:
    """The event of a GitHub delivery: the body, or what stands under `payload` of a form, GitHub's first choice for new webhooks."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return body
    try:
        given = parse_qs(body, max_num_fields=8).get(b"payload", [])
    except ValueError as error:
        raise RejectedError(f"not a webhook's form: {error}", field="body") from None
    if len(given) != 1:
        raise RejectedError(f"a webhook's form has one field `payload`, this one {len(given)}", field="body")
    return given[0]


def _hook_events(body: bytes) -> Records:
    """The events of an Okta event hook, each as it stands in the system log."""
    try:
        events = msgspec.json.decode(body, type=_Hook).data.events
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RejectedError(f"not an event hook's body: {error}", field="body") from None
    found = Records()
    for event in events:
        found.add(bytes(event), _id_of(bytes(event), "uuid"), None, door=DOOR)
    return found


class _Data(msgspec.Struct):
    events: list[msgspec.Raw] = []


class _Hook(msgspec.Struct):
    data: _Data


def _with_id(found: Records, delivery: str) -> Records:
    if delivery:
        found.ids = [producer_id(delivery if n == 0 else f"{delivery}/{n}") for n in range(len(found.ids))]
    return found


def _id_of(record: bytes, name: str) -> str | None:
    try:
        document: Any = msgspec.json.decode(record)
    except msgspec.DecodeError:
        return None
    return producer_id(document.get(name)) if isinstance(document, dict) else None
