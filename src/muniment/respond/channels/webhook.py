"""Webhooks: our own signed JSON (Standard Webhooks), and the messages that Slack and Teams understand.

Standard Webhooks: `webhook-id` is the notice's id (the same at every attempt, for the receiver to know it again),
`webhook-timestamp` the attempt's time in seconds, `webhook-signature` `v1,` and the base64 of HMAC-SHA-256 over
`id.timestamp.body`. With two secrets both sign, so that a receiver can change over.

2xx is taken. 410 Gone ends it, as the specification asks. Anything else, redirects too, is tried again later.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from muniment.errors import ConfigError
from muniment.limits import TEAMS_MESSAGE_BYTES_MAX
from muniment.respond.channels.egress import Egress, Target
from muniment.respond.notice import DeliveryError, Notice, Severity, told_of

__all__ = ["Slack", "Teams", "Webhook", "sign", "slack_message", "teams_message", "webhook_body"]

_SECRET_BYTES: Final = range(24, 65)
"""Standard Webhooks: a symmetric secret has 24 to 64 bytes, base64 after `whsec_`."""

_COLORS: Final[dict[Severity, str]] = {
    "informational": "Default", "low": "Accent", "medium": "Warning", "high": "Attention", "critical": "Attention",
}  # fmt: skip


class Webhook:
    """Our notice as JSON, signed."""

    def __init__(self, egress: Egress, url: str, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ConfigError("a webhook is signed; give a secret `whsec_...`", setting="secrets")
        self._egress = egress
        self._target = Target.of(url)
        self._secrets = tuple(_secret(text) for text in secrets)

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Post it once."""
        self.post(notice.id, webhook_body(notice), now_ns)
        return ""

    def post(self, id: str, body: bytes, now_ns: int) -> str:
        """Sign and post a body of that id once; `answered 200`."""
        seconds = now_ns // 1_000_000_000
        signatures = " ".join(sign(secret, id, seconds, body) for secret in self._secrets)
        headers = {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": signatures}
        return f"answered {_post(self._egress, self._target, headers, body)}"


class Slack:
    """A Slack incoming webhook; the secret is in its URL."""

    def __init__(self, egress: Egress, url: str) -> None:
        self._egress = egress
        self._target = Target.of(url)

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Post it once."""
        _post(self._egress, self._target, {}, slack_message(notice))
        return ""


class Teams:
    """A Teams workflow that starts when a webhook request is received; the secret is in its URL."""

    def __init__(self, egress: Egress, url: str) -> None:
        self._egress = egress
        self._target = Target.of(url)

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Post it once."""
        _post(self._egress, self._target, {}, teams_message(notice))
        return ""


def sign(secret: bytes, id: str, seconds: int, body: bytes) -> str:
    """One signature of Standard Webhooks.

    >>> sign(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def webhook_body(notice: Notice) -> bytes:
    """The payload in the form Standard Webhooks proposes; the same bytes at every attempt. Times in RFC 3339."""
    seconds, rest = divmod(notice.occurred_at, 1_000_000_000)
    occurred_at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
    data = {
        "id": notice.id, "title": notice.title, "severity": notice.severity, "rule": notice.source, "sources": notice.origins,
        "lines": notice.lines, "link": notice.link,
        "fields": [{"name": name, "value": value} for name, value in notice.fields],
    }  # fmt: skip
    body = {"type": "notice.raised", "timestamp": occurred_at, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError("expected `whsec_` and base64", setting="secrets") from error
    if not text.startswith("whsec_") or len(secret) not in _SECRET_BYTES:
        raise ConfigError("expected `whsec_` and the base64 of 24 to 64 bytes", setting="secrets")
    return secret


def _post(egress: Egress, target: Target, headers: dict[str, str], body: bytes) -> int:
    answer = egress.post(target, {"Content-Type": "application/json", **headers}, body)
    if 200 <= answer.status < 300:
        return answer.status
    raise DeliveryError(
        f"{target.host}: answered {answer.status}",
        is_permanent=answer.status == 410, retry_after_ms=answer.retry_after_ms,
    )  # fmt: skip


def slack_message(notice: Notice) -> bytes:
    """Block Kit. All texts are `plain_text`, where nothing is markup; the fallback text is escaped (`<!channel>`)."""
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": _plain(f"[{notice.severity}] {notice.title}", 150)},
    ]
    if notice.lines:
        blocks.append({"type": "section", "text": _plain("\n".join(notice.lines), 3_000)})
    facts = [_plain(f"{name}: {value}", 2_000) for name, value in (*told_of(notice), *notice.fields)]
    blocks += [{"type": "section", "fields": facts[start : start + 10]} for start in range(0, len(facts), 10)]
    if notice.link:
        button = {"type": "button", "text": _plain("Open", 75), "url": notice.link}
        blocks.append({"type": "actions", "elements": [button]})
    fallback = f"[{notice.severity}] {notice.title}".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    message = {"text": fallback, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False, "blocks": blocks}
    return json.dumps(message, separators=(",", ":")).encode()


def teams_message(notice: Notice) -> bytes:
    """An Adaptive Card as the workflow wants it, at most TEAMS_MESSAGE_BYTES_MAX; what does not fit is said to be missing.

    Texts are TextRuns: TextBlock and FactSet would read them as Markdown.
    """
    for kept in range(len(notice.lines), -1, -1):
        lines = notice.lines[:kept]
        if kept < len(notice.lines):
            lines = (*lines, f"… {len(notice.lines) - kept} more lines")
        message = _teams_message(notice, lines, notice.fields)
        if len(message) <= TEAMS_MESSAGE_BYTES_MAX:
            return message
    return _teams_message(notice, ("… the details are too long for Teams",), ())


def _teams_message(notice: Notice, lines: Sequence[str], fields: Sequence[tuple[str, str]]) -> bytes:
    title = {
        "type": "TextRun",
        "text": notice.title,
        "weight": "Bolder",
        "size": "Large",
        "color": _COLORS[notice.severity],
    }
    body: list[dict[str, object]] = [{"type": "RichTextBlock", "inlines": [title]}]
    for name, value in (("severity", notice.severity), *told_of(notice), *fields):
        runs = [{"type": "TextRun", "text": f"{name}: ", "weight": "Bolder"}, {"type": "TextRun", "text": value}]
        body.append({"type": "RichTextBlock", "inlines": runs, "spacing": "Small"})
    body += [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]} for line in lines]
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
        "body": body,
    }  # fmt: skip
    if notice.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": notice.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return json.dumps(
        {"type": "message", "attachments": [attachment]}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def _plain(text: str, chars_max: int) -> dict[str, object]:
    cut = text if len(text) <= chars_max else text[: chars_max - 1] + "…"
    return {"type": "plain_text", "text": cut or " ", "emoji": False}
