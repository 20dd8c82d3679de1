"""The forms about rules, silences, sessions and alerts: what is refused is told at its field, beside all that was typed."""

from __future__ import annotations

import html
from collections.abc import Iterator

import httpx
import pytest
from tests.live import LiveServer, within


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("refused")
    (folder / "idp.secret").write_text("whsec_" + "c2VjcmV0" * 5, "utf-8")
    (folder / "notify.toml").write_text(
        f'[actions.idp]\nurl = "https://idp.example.com/end"\nsecrets_file = "{folder}/idp.secret"\nfor = "sessions.end"\n',
        "utf-8",
    )
    found = LiveServer(folder)
    found._settings = {**found._settings, "notify": str(folder / "notify.toml")}
    found.start()
    yield found
    found.stop()
    assert "Traceback" not in found.log.read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def ana(server: LiveServer) -> httpx.Client:
    return server.session("ana", "administrator")


def _sent(client: httpx.Client, path: str, **fields: str) -> tuple[int, str]:
    answer = client.post(path, data={"csrf": client.headers["x-csrf-token"], **fields})
    return answer.status_code, html.unescape(answer.text)


def _rule(client: httpx.Client) -> str:
    return str(client.get("/api/v1/rules").json()["rules"][0]["key"])


WRONG_SILENCES = [
    ({"reason": ""}, "reason", "Reason: fill it in"),
    ({"source": "  "}, "source", "Alerts of: "),
    ({"reason": "x" * 1_001}, "reason", "Reason: longer than 1000 characters"),
    ({"hours": "9999"}, "hours", "How long: a number of 720 or less"),
    ({"hours": "soon"}, "hours", "How long: a number of 1 or more"),
    (
        {"severity_max": "all"},
        "severity_max",
        "Up to level: 'all' is none of informational, low, medium, high, critical",
    ),
]


@pytest.mark.parametrize(("more", "field", "words"), WRONG_SILENCES)
def test_a_silence_that_is_refused_keeps_what_was_typed(
    ana: httpx.Client, more: dict[str, str], field: str, words: str
) -> None:
    typed = {
        "source": "Ports are scanned",
        "reason": "the <yearly> pen test",
        "hours": "24",
        "severity_max": "critical",
    }
    status, page = _sent(ana, "/notices/silences", **typed | more)
    assert status == 400
    assert "Who is told" in page
    assert words in page
    assert page.count('id="refused"') == 1
    assert f'name="{field}"' in page.split('aria-describedby="refused"')[0].rpartition("<")[2]
    for name in typed.keys() - more.keys():
        assert {
            "source": 'name="source" required maxlength="200" value="Ports are scanned"',
            "reason": 'name="reason" required maxlength="1000" value="the <yearly> pen test"',
            "hours": '<option value="24" selected>', "severity_max": "<option selected>critical",
        }[name] in page  # fmt: skip
    assert ana.get("/api/v1/silences").json()["silences"] == []


WRONG_EXCEPTIONS = [
    ({"reason": ""}, "reason", "Reason: fill it in"),
    ({"reason": "  "}, "reason", "Reason: say why"),
    ({"query": ""}, "query", "Events: fill it in"),
    ({"query": "ip:("}, "query", "never closed; add ) (at letter 4)"),
    ({"days": "400"}, "days", "For how many days: a number of 365 or less"),
    ({"days": "-1"}, "days", "For how many days: a number of 1 or more"),
]


@pytest.mark.parametrize(("more", "field", "words"), WRONG_EXCEPTIONS)
def test_an_exception_that_is_refused_keeps_what_was_typed(
    ana: httpx.Client, more: dict[str, str], field: str, words: str
) -> None:
    typed = {"query": "ip:198.51.100.0/24", "reason": "our own scanner", "days": "7"}
    status, page = _sent(ana, "/rules/exceptions", rule=_rule(ana), **typed | more)
    assert status == 400
    assert "Overlook some events" in page
    assert words in page
    assert f'name="{field}"' in page.split('aria-describedby="refused"')[0].rpartition("<")[2]
    for name in typed.keys() - more.keys():
        assert f'value="{typed[name]}"' in page, name
    assert ana.get("/api/v1/rules/exceptions").json()["exceptions"] == []


@pytest.mark.parametrize(("reason", "words"), [("", "Reason: fill it in"), ("  ", "Reason: say why")])
def test_a_switch_without_a_reason_is_told_at_the_reason(ana: httpx.Client, reason: str, words: str) -> None:
    status, page = _sent(ana, "/rules/switch", rule=_rule(ana), on="0", reason=reason)
    assert (status, words in page, "Switch it off" in page) == (400, True, True)


@pytest.mark.parametrize(
    ("path", "fields", "words", "heading"),
    [
        ("/notices/silences/end", {"number": "4711"}, "there is no such silence that goes on", "Who is told"),
        ("/notices/silences/end", {"number": "x"}, "there is no such silence", "Who is told"),
        ("/notices/again", {"notice": "n", "channel": "idp"}, "there is no such dead letter", "Who is told"),
        ("/notices/test", {"channel": "nobody"}, "there is no channel 'nobody'", "Who is told"),
        ("/blocks/disallow", {"network": "198.51.100.0/24"}, "it is not on the allow-list", "Never blocked"),
    ],
)
def test_a_button_that_comes_too_late_says_so_on_its_own_page(
    ana: httpx.Client, path: str, fields: dict[str, str], words: str, heading: str
) -> None:
    status, page = _sent(ana, path, **fields)
    assert status in {400, 404}
    assert words in page
    assert heading in page
    assert "That cannot be done" not in page


def test_an_exception_that_is_over_says_so_on_the_rule(ana: httpx.Client) -> None:
    status, page = _sent(ana, "/rules/exceptions/end", rule=_rule(ana), number="4711")
    assert (status, "Overlook some events" in page) == (404, True)
    assert "no such exception that goes on" in page


def test_sessions_are_not_ended_without_a_reason_or_with_the_account_in_it(ana: httpx.Client) -> None:
    for reason, words in (("", "Reason: fill it in"), ("m.ruiz was phished", "Reason: leave the account out of it")):
        status, page = _sent(ana, "/orders", account="m.ruiz", reason=reason)
        assert status == 400
        assert words in page
        assert f'value="{reason}"' in page
        assert "End m.ruiz's sessions" in page
    assert ana.get("/api/v1/orders").json()["orders"] == []


def test_a_block_undone_twice_says_that_it_has_ended(ana: httpx.Client) -> None:
    shown = ana.post("/api/v1/blocks/preview", json={"kind": "address", "value": "203.0.113.90"}).json()
    body = {"kind": "address", "value": "203.0.113.90", "preview": shown["preview"], "reason": "twice"}
    id = ana.post("/api/v1/blocks", json=body).json()["id"]
    assert _sent(ana, f"/blocks/{id}/undo")[0] == 303
    status, page = _sent(ana, f"/blocks/{id}/undo")
    assert (status, "it has ended: it is undone" in page, "Block of address" in page) == (409, True, True)


def test_an_alert_is_not_closed_without_a_reason_and_what_is_ticked_stays(
    server: LiveServer, ana: httpx.Client
) -> None:
    guesses = [
        {"action": "user.login", "actor": {"id": f"r.{n}"}, "context": {"ip": "203.0.113.91"}, "outcome": "failure"}
        for n in range(25)
    ]
    server.send(server.key_for("refusals", "clear"), *guesses)
    alert = within(20, lambda: server.get("/api/v1/alerts", entity="203.0.113.91")["alerts"], "no alert")[0]["uid"]
    status, page = _sent(ana, f"/alerts/{alert}/state", state="resolved", reason=" ")
    assert (status, "Reason: say why: the next reader will ask" in page) == (400, True)
    status, page = _sent(ana, f"/alerts/{alert}/comment", text="")
    assert (status, "Text: fill it in" in page) == (400, True)
    back = "/alerts?entity=203.0.113.91"
    status, page = _sent(ana, "/alerts/states", **{"pick.1": alert}, state="resolved", reason="", back=back)
    assert (status, "Reason: say why: the next reader will ask" in page) == (400, True)
    assert 'value="203.0.113.91"' in page
    assert " checked aria-label=" in page
    status, page = _sent(ana, "/alerts/states", state="in_progress", reason="not lost", back=back)
    assert (status, "nothing is ticked" in page, 'value="not lost"' in page) == (400, True, True)
