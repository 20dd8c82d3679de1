"""What `docs/how-to/detect.md` gives receivers of webhooks takes what is ours and fresh, and nothing else."""

from __future__ import annotations

import base64
import re
import runpy
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.respond.servers import hooks

from muniment.respond.channels.egress import Egress
from muniment.respond.channels.webhook import Webhook
from muniment.respond.notice import new_notice

PAGE = Path(__file__).parents[2] / "docs/how-to/detect.md"
KEYS = [b"k" * 32, b"o" * 24]
NEW, OLD = ("whsec_" + base64.b64encode(key).decode() for key in KEYS)
SENT_AT = 1_795_000_000


@pytest.fixture(scope="module")
def is_from_muniment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bool]:
    """The program of the page, as it stands there."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    file = tmp_path_factory.mktemp("receiver") / "receiver.py"
    file.write_text(program, "utf-8")
    function: Callable[..., bool] = runpy.run_path(str(file))["is_from_muniment"]
    return function


@pytest.fixture(scope="module")
def delivered() -> tuple[dict[str, str], bytes]:
    """Headers and body of a notice as a receiver gets it, while one secret replaces another."""
    with hooks() as receiver:
        told = new_notice(
            id="n1", title="Ports are scanned", severity="high", source="fw", occurred_at=5, lines=["ten"],
            link="https://muniment.example/alerts/1", fields={"actor": "anna"},
        )  # fmt: skip
        Webhook(Egress([ip_network("127.0.0.0/8")]), receiver.url(), [NEW, OLD]).deliver(told, SENT_AT * 10**9)
        (request,) = receiver.posted
        return request.headers, request.body


def test_what_we_send_is_taken_while_it_is_fresh(
    is_from_muniment: Callable[..., bool], delivered: tuple[dict[str, str], bytes]
) -> None:
    for secret in (NEW, OLD):
        for late_s, is_taken in ((0, True), (300, True), (-300, True), (301, False), (-301, False), (3_600, False)):
            assert is_from_muniment(*delivered, secret, lambda late=late_s: SENT_AT + late) is is_taken, late_s


@pytest.mark.parametrize(
    ("changed", "now"),
    [
        ({"webhook-timestamp": str(SENT_AT + 3_600)}, SENT_AT + 3_600),  # a copy that somebody kept, with a newer time
        ({"webhook-timestamp": str(SENT_AT + 1)}, SENT_AT),
        ({"webhook-timestamp": ""}, SENT_AT),
        ({"webhook-timestamp": "²"}, SENT_AT),
        ({"webhook-timestamp": "soon"}, SENT_AT),
        ({"webhook-id": "n2"}, SENT_AT),
        ({"webhook-signature": ""}, SENT_AT),
        ({"webhook-signature": "v1,ü"}, SENT_AT),
        ({"webhook-signature": "v1a,AAAA"}, SENT_AT),
    ],
)
def test_what_was_changed_is_not_ours(
    is_from_muniment: Callable[..., bool], delivered: tuple[dict[str, str], bytes], changed: dict[str, str], now: int
) -> None:
    headers, body = delivered
    assert not is_from_muniment(headers | changed, body, NEW, lambda: now)


def test_another_body_or_secret_is_not_ours(
    is_from_muniment: Callable[..., bool], delivered: tuple[dict[str, str], bytes]
) -> None:
    headers, body = delivered
    assert not is_from_muniment(headers, body + b" ", NEW, lambda: SENT_AT)
    assert not is_from_muniment(headers, body, "whsec_" + base64.b64encode(b"x" * 32).decode(), lambda: SENT_AT)
    assert not is_from_muniment({}, body, NEW, lambda: SENT_AT)
