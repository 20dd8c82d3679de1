"""The page of notices and the folding of alerts, without a server."""

from __future__ import annotations

import pytest

from muniment.web.notice_pages import Delivery, NoticeRoute, Notices, _channel

S = 10**9
NOW = 1_790_000_000 * S
ROUTES = (NoticeRoute("all", ("hook",), "low", ("*",), ("*",), "always"),)


def _delivery(state: str, **given: int | str) -> Delivery:
    values = {"notice_id": "alert_1", "channel": "hook", "state": state, "attempts": 1, "put_at": NOW - 90 * S,
              "next_at": NOW + 60 * S, "ended_at": 0 if state == "pending" else NOW - 60 * S, "remark": "410 Gone"}  # fmt: skip
    return Delivery(**(values | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("deliveries", "state", "remark"),
    [
        ((), "never", ""),
        ((_delivery("delivered"),), "fresh", ""),
        ((_delivery("delivered"), _delivery("dead", ended_at=NOW - S)), "silent", "410 Gone"),
        ((_delivery("dead"), _delivery("delivered", ended_at=NOW - S)), "fresh", ""),
        ((_delivery("delivered"), _delivery("pending", attempts=2)), "quiet", "410 Gone"),
        ((_delivery("pending", attempts=0),), "never", ""),
    ],
)
def test_how_a_channel_fares(deliveries: tuple[Delivery, ...], state: str, remark: str) -> None:
    row = _channel("hook", Notices(("hook",), ROUTES, deliveries), NOW)
    assert (row.state, row.remark, row.routes) == (state, remark, ("all",))


def test_a_channel_without_a_route_says_so() -> None:
    assert _channel("other", Notices(("other",), ROUTES, ()), NOW).words == "no route leads to it"
