"""Webhooks against real servers: signed, bounded, never into our own network, never after a redirect."""

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ingest.syslog_harness import Authority
from tests.respond.servers import HANG, Hooks, hooks

from muniment.access.database import open_database
from muniment.errors import ConfigError
from muniment.limits import TEAMS_MESSAGE_BYTES_MAX, WEBHOOK_RESPONSE_BYTES_MAX
from muniment.respond.channels.egress import Egress, Target, is_inside
from muniment.respond.channels.webhook import Slack, Teams, Webhook, slack_message, teams_message
from muniment.respond.notice import DeliveryError, Notice, new_notice
from muniment.respond.notify import RETRY_SECONDS, Deliveries, Outbox

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND + 5
HERE = [ipaddress.ip_network("127.0.0.0/8")]
KEY, OLD_KEY = b"k" * 32, b"o" * 24
SECRET, OLD_SECRET = ("whsec_" + base64.b64encode(key).decode() for key in (KEY, OLD_KEY))


def notice(**changed: Any) -> Notice:
    values: dict[str, Any] = {
        "id": "n1", "title": "Many failed logins", "severity": "high", "source": "Many failed logins", "occurred_at": 5, "origins": ["okta", "vpn"],
        "lines": ["ten in a minute", "<!channel> *bold*"], "link": "https://muniment.example/alerts/1",
        "fields": {"actor": "anna"},
    }  # fmt: skip
    return new_notice(**{**values, **changed})


@pytest.fixture
def receiver() -> Iterator[Hooks]:
    with hooks() as state:
        yield state


def webhook(receiver: Hooks, **options: Any) -> Webhook:
    return Webhook(Egress(HERE, **options), receiver.url("/hook?token=hush"), [SECRET])


def test_a_webhook_is_signed_as_standard_webhooks_says(receiver: Hooks) -> None:
    """The receiver's side, written from the specification; both secrets sign while one replaces the other."""
    Webhook(Egress(HERE), receiver.url(), [SECRET, OLD_SECRET]).deliver(notice(), NOW)
    (request,) = receiver.posted
    assert (request.headers["webhook-id"], request.headers["webhook-timestamp"]) == ("n1", "1700000000")
    assert request.headers["content-type"] == "application/json"
    signed = b"n1.1700000000." + request.body
    for key, signature in zip((KEY, OLD_KEY), request.headers["webhook-signature"].split(" "), strict=True):
        version, _, mac = signature.partition(",")
        assert version == "v1"
        assert base64.b64decode(mac) == hmac.new(key, signed, hashlib.sha256).digest()
    assert json.loads(request.body) == {
        "type": "notice.raised",
        "timestamp": "1970-01-01T00:00:00.000000005Z",
        "data": {
            "id": "n1", "title": "Many failed logins", "severity": "high",
                "rule": "Many failed logins", "sources": ["okta", "vpn"],
            "lines": ["ten in a minute", "<!channel> *bold*"], "link": "https://muniment.example/alerts/1",
            "fields": [{"name": "actor", "value": "anna"}],
        },
    }  # fmt: skip


def test_the_outbox_tries_a_failing_webhook_until_it_is_taken(receiver: Hooks, tmp_path: Path) -> None:
    receiver.script = [
        b"HTTP/1.1 500 Oh\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: 900\r\n\r\n",
        b"",
        b"SSH-2.0-x\r\n\r\n\r\n",
    ]
    outbox = Outbox(open_database(f"sqlite:///{tmp_path / 'm.db'}"), {"hook": webhook(receiver)})
    outbox.put(notice(), ["hook"], NOW)
    now, remarks = NOW, []
    for _ in range(4):
        assert outbox.deliver_due(now) == Deliveries(failed=1)
        (entry,) = outbox.entries()
        remarks.append(entry.remark)
        if "429" in entry.remark:
            assert entry.next_at == now + 900 * SECOND > now + RETRY_SECONDS[1] * SECOND * 11 // 10
        now = entry.next_at
    assert remarks == [
        "localhost: answered 500", "localhost: answered 429", "localhost: the connection ended before an answer",
        "localhost: the answer is no HTTP/1",
    ]  # fmt: skip
    assert outbox.deliver_due(now) == Deliveries(delivered=1)
    assert {request.headers["webhook-id"] for request in receiver.posted} == {"n1"}
    assert len({request.body for request in receiver.posted}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.posted}) == 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Hooks, status: int) -> None:
    receiver.script = [f"HTTP/1.1 {status} Moved\r\nLocation: {receiver.url('/elsewhere')}\r\n\r\n".encode()]
    with pytest.raises(DeliveryError, match=f"localhost: answered {status}"):
        webhook(receiver).deliver(notice(), NOW)
    assert [request.path for request in receiver.posted] == ["/hook?token=hush"]


def test_gone_is_the_end(receiver: Hooks) -> None:
    receiver.script = [b"HTTP/1.1 410 Gone\r\n\r\n"]
    with pytest.raises(DeliveryError) as caught:
        webhook(receiver).deliver(notice(), NOW)
    assert caught.value.is_permanent


def test_an_answer_after_early_hints_counts(receiver: Hooks) -> None:
    receiver.script = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]
    webhook(receiver).deliver(notice(), NOW)


def test_a_receiver_that_hangs_is_left_at_the_deadline(receiver: Hooks) -> None:
    receiver.script = [HANG]
    with pytest.raises(DeliveryError, match=r"localhost: no answer within 0\.2 s"):
        webhook(receiver, deadline_s=0.2).deliver(notice(), NOW)


def test_a_receiver_that_drips_is_left_at_the_deadline_too() -> None:
    """Every read succeeds, and each one makes the clock go on by a second."""
    seconds = iter(range(10_000))
    egress = Egress(HERE, clock=lambda: float(next(seconds)))

    class Dripping(socket.socket):
        def recv(self, *_: Any) -> bytes:
            return b"x"

    with Dripping() as wire, pytest.raises(TimeoutError):
        egress._read_head(wire, deadline=10.0)
    assert next(seconds) < 20


def test_an_endless_header_is_cut_off(receiver: Hooks) -> None:
    receiver.script = [b"HTTP/1.1 200 OK\r\nX: " + b"x" * (WEBHOOK_RESPONSE_BYTES_MAX * 2)]
    with pytest.raises(DeliveryError, match=f"more than {WEBHOOK_RESPONSE_BYTES_MAX} bytes of headers"):
        webhook(receiver).deliver(notice(), NOW)


def test_a_long_body_of_an_answer_is_not_read(receiver: Hooks) -> None:
    receiver.script = [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000]
    webhook(receiver).deliver(notice(), NOW)


INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.88.99.1",
    "203.0.113.1", "::", "::1", "fe80::1", "fec0::1", "fd00:ec2::254", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:db8::1", "2001::1", "::127.0.0.1",
    "4000::1", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_inside_addresses_are_refused_before_a_connection(address: str) -> None:
    assert is_inside(ipaddress.ip_address(address))
    egress = Egress(resolver=lambda host, port: [address])
    with pytest.raises(DeliveryError, match="is inside") as caught:
        egress.post(Target.of("https://hooks.example.com/x"), {}, b"")
    assert caught.value.is_permanent


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_addresses_are_not_inside(address: str) -> None:
    assert not is_inside(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0"])
def test_other_spellings_of_this_machine_are_refused(receiver: Hooks, host: str) -> None:
    with pytest.raises(DeliveryError, match=r"inside|no address"):
        Slack(Egress(), receiver.url(host=host, scheme="https")).deliver(notice(), NOW)
    assert receiver.posted == []


def test_one_inside_address_among_public_ones_refuses_all() -> None:
    egress = Egress(resolver=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(DeliveryError, match=r"10\.0\.0\.1 is inside"):
        egress.post(Target.of("https://hooks.example.com/"), {}, b"")


def test_the_name_is_resolved_once_and_that_address_is_used(receiver: Hooks) -> None:
    """DNS rebinding: the second answer would be another network's; nobody asks for it."""
    answers = iter([["127.0.0.1"]])
    egress = Egress(HERE, resolver=lambda host, port: next(answers))
    Slack(egress, receiver.url(host="hooks.example.com")).deliver(notice(), NOW)
    assert receiver.posted[0].headers["host"] == f"hooks.example.com:{receiver.port}"


def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Hooks) -> None:
    egress = Egress(HERE, resolver=lambda host, port: ["127.0.0.77", "127.0.0.1"])
    Slack(egress, receiver.url()).deliver(notice(), NOW)
    assert len(receiver.posted) == 1


def test_plain_http_goes_to_allowed_networks_only() -> None:
    egress = Egress(HERE, resolver=lambda host, port: ["8.8.8.8"])
    with pytest.raises(DeliveryError, match="http only to a network of the allow list"):
        egress.post(Target.of("http://hooks.example.com/"), {}, b"")


def test_tls_checks_the_certificate_against_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("receiver")
    trusting = ssl.create_default_context(cafile=str(authority.path))
    with hooks(certificate) as receiver:
        Slack(Egress(HERE, tls=trusting), receiver.url(scheme="https")).deliver(notice(), NOW)
        resolver = {"resolver": lambda host, port: ["127.0.0.1"]}
        for egress, host in (
            (Egress(HERE), "localhost"),
            (Egress(HERE, tls=trusting, **resolver), "other.example"),
        ):  # type: ignore[arg-type]
            with pytest.raises(DeliveryError, match=f"{host}: the certificate is refused"):
                Slack(egress, receiver.url(scheme="https", host=host)).deliver(notice(), NOW)
        assert len(receiver.posted) == 1


def test_errors_never_show_the_path(receiver: Hooks) -> None:
    receiver.script = [b"HTTP/1.1 500 x\r\n\r\n", b"junk\r\n\r\n", b""]
    for _ in range(3):
        with pytest.raises(DeliveryError) as caught:
            webhook(receiver).deliver(notice(), NOW)
        assert "hush" not in str(caught.value)
    assert "hush" not in repr(Target.of("https://h.example/hush"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h.example/", "https://", "https:///x", "https://u:hush@h.example/", "https://h.example/#hush", "file:///etc/passwd",
        "https://h.example/a\r\nX: y", "https://h.example:99999/", "https://h.example/ x", "h.example", "https://[::1", "https://é.example/",
    ],
)  # fmt: skip
def test_a_url_that_may_not_be_posted_to_is_refused_at_configuration(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Slack(Egress(), url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!", base64.b64encode(KEY).decode(), "whsec_" + base64.b64encode(b"short").decode()]
)
def test_a_weak_or_mistyped_secret_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError):
        Webhook(Egress(), "https://h.example/", [secret])


def test_a_webhook_without_a_secret_is_refused() -> None:
    with pytest.raises(ConfigError):
        Webhook(Egress(), "https://h.example/", [])


def test_slack_gets_plain_texts_and_no_mention() -> None:
    message = json.loads(slack_message(notice(title="<!here> & <https://evil.example|click>")))
    assert message["text"] == "[high] &lt;!here&gt; &amp; &lt;https://evil.example|click&gt;"
    texts = [block["text"] for block in message["blocks"] if "text" in block]
    texts += [field for block in message["blocks"] for field in block.get("fields", [])]
    assert {text["type"] for text in texts} == {"plain_text"}
    assert message["blocks"][-1]["elements"][0]["url"] == "https://muniment.example/alerts/1"


def test_slack_messages_keep_its_bounds() -> None:
    long = notice(title="t" * 999, lines=["x" * 500] * 20, fields={str(n): "v" * 500 for n in range(10)}, link="")
    for block in json.loads(slack_message(long))["blocks"]:
        assert len(block.get("fields", [])) <= 10
        if "text" in block:
            assert 0 < len(block["text"]["text"]) <= (150 if block["type"] == "header" else 3_000)


def test_teams_gets_an_adaptive_card_without_markdown(receiver: Hooks) -> None:
    Teams(Egress(HERE), receiver.url()).deliver(notice(title="[click](https://evil.example)"), NOW)
    message = json.loads(receiver.posted[0].body)
    assert message["type"] == "message"
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {element["type"] for element in card["body"]} == {"RichTextBlock"}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open", "url": "https://muniment.example/alerts/1"}]


@pytest.mark.parametrize("letter", ["x", "漢", "🔥", '"', "\\"])
def test_teams_messages_stay_below_its_bound_and_say_what_is_missing(letter: str) -> None:
    long = notice(lines=[letter * 500] * 20, fields={str(n): letter * 500 for n in range(10)}, link="")
    message = teams_message(long)
    assert len(message) <= TEAMS_MESSAGE_BYTES_MAX
    assert letter == "x" or "…".encode() in message
