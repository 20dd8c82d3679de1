"""An analyst's morning in a real server and a real browser: find the grave one, see that somebody was let in, take it
up, write to it, close the rest together with a reason; see what a rule is fed by and what ATT&CK coverage is only on paper.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.live import LiveServer, within
from tests.system.browser import needs_browser, signed_in

pytestmark = needs_browser
ATTACKER, OTHER = "203.0.113.7", "203.0.113.8"


def _login(number: int, address: str, outcome: str, name: str, seconds_ago: int) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))
    return {
        "action": "user.login", "outcome": outcome, "actor": {"id": name, "name": name}, "context": {"ip": address},
        "occurred_at": at, "metadata": {"n": number},
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(live_server: LiveServer) -> LiveServer:
    key = live_server.key_for("door", "sealed")
    tries = [_login(n, ATTACKER, "failure", f"user{n % 7}", 300 - n) for n in range(30)]
    live_server.send(key, *tries, _login(31, ATTACKER, "success", "m.ruiz", 200))
    live_server.send(key, *[_login(n, OTHER, "failure", f"user{n % 7}", 300 - n) for n in range(30)])

    def found() -> bool:
        alerts = live_server.get("/api/v1/alerts")["alerts"]
        return {a["level"] for a in alerts if ATTACKER in a["group"].values()} >= {"critical", "high"} and any(
            OTHER in a["group"].values() for a in alerts
        )

    within(20, found, "no alerts")
    return live_server


@pytest.fixture(scope="module")
def page(server: LiveServer) -> Iterator[Any]:
    with signed_in(server, "dana", "analyst") as found:
        yield found


def test_the_gravest_card_says_who_how_many_how_long_and_who_was_let_in(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/alerts")
    words = page.inner_text(".alert-card >> nth=0")
    assert ATTACKER in words
    assert "30 failed logins, 7 accounts" in words.replace("\n", " ") or "31 logins" in words, words
    assert "1 success (m.ruiz)" in words
    assert "rule by Muniment" in words
    other = page.inner_text(f".alert-card:has-text('{OTHER}')")
    assert "none succeeded" in other


def test_an_alert_is_taken_up_with_its_history_and_chart(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/alerts")
    page.click(".alert-card .to >> nth=0")
    page.wait_for_load_state()
    words = page.inner_text("main")
    assert "Before, during and after" in words
    assert "ISO 27001 A.8.16 monitoring activities" in words
    assert "The MITRE Corporation" in words
    assert page.locator("svg.bars .b-failure").count() > 0
    assert page.locator(".near a[href$='/proof']").count() > 0
    page.click("text=Take it up: it is mine")
    page.wait_for_load_state()
    page.fill("#text", "called m.ruiz")
    page.click("button:has-text('Write')")
    page.wait_for_load_state()
    words = page.inner_text("#steps")
    assert "took it up" in words
    assert "called m.ruiz" in words
    page.goto(f"{server.url}/alerts")
    page.click("text=Mine")
    page.wait_for_load_state()
    assert page.locator(".alert-card").count() == 1
    alert = next(a for a in server.get("/api/v1/alerts", assignee="dana")["alerts"])
    assert [step["what"] for step in alert["steps"]] == ["in_progress", "comment"]
    record = server.one(f"source:muniment.alerts target_id:{alert['uid']}")
    assert server.get(f"/api/v1/events/{record['index']}")["ocsf"]["class_uid"] == 2004


def test_an_alert_leads_straight_to_the_preview_and_says_when_it_is_blocked(server: LiveServer, page: Any) -> None:
    uid = server.get("/api/v1/alerts", entity=OTHER)["alerts"][0]["uid"]
    page.goto(f"{server.url}/alerts/{uid}")
    page.click(f"a.button:has-text('Preview block of {OTHER}')")
    page.wait_for_load_state()
    assert "It would have hit nobody" in page.inner_text("main")
    assert server.session("rita", "reader").get(f"/alerts/{uid}").text.count("Preview block") == 0
    page.click('button:has-text("Block 24 h")')
    page.wait_for_load_state()
    page.goto(f"{server.url}/alerts/{uid}")
    assert page.locator("text=Preview block").count() == 0
    assert f"{OTHER} is blocked" in page.inner_text("main").replace("\n", " ")
    block = next(each for each in server.get("/api/v1/blocks")["blocks"] if each["value"] == OTHER)
    assert block["alert"] == uid
    server.client.post(f"/api/v1/blocks/{block['id']}/undo", json={"reason": "the test is over"})


def test_what_is_picked_by_keyboard_is_closed_together_with_a_reason(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/alerts?entity={OTHER}&group=none")
    n = page.locator(".alert-card").count()
    assert n >= 2
    assert not page.is_visible(".picked-bar")
    for _ in range(n):
        page.keyboard.press("j")
        page.keyboard.press("x")
    assert f"{n} alerts ticked" in page.inner_text(".picked-bar")
    page.keyboard.press("w")
    page.keyboard.type("a scanner of ours")
    page.click(".picked-bar button:has-text('False alarm')")
    page.wait_for_load_state()
    assert f"{n} alerts closed as false alarms" in page.inner_text("main")
    states = {a["state"] for a in server.get("/api/v1/alerts", entity=OTHER)["alerts"]}
    assert states == {"suppressed"}
    assert server.one("source:muniment action:alert.handle reason:*scanner*")


def test_a_reason_is_asked_for_and_no_other_address_is_gone_back_to(server: LiveServer, page: Any) -> None:
    client = server.session("omar", "analyst")
    uid = server.get("/api/v1/alerts", entity=ATTACKER)["alerts"][0]["uid"]
    html = client.get("/alerts").text
    csrf = html.split('name="csrf" value="')[1].split('"')[0]
    body = {"csrf": csrf, "pick.1": uid, "state": "resolved", "back": "/alerts"}
    assert client.post("/alerts/states", data=body).status_code == 400
    answer = client.post(
        "/alerts/states", data={**body, "reason": "x", "back": "//evil.example"}, follow_redirects=False
    )
    assert answer.headers["location"].startswith("/alerts?")
    assert client.post("/alerts/states", data={**body, "csrf": "no"}).status_code == 403
    server.client.post(f"/api/v1/alerts/{uid}/state", json={"state": "in_progress"})


def test_the_entity_page_adds_up_its_risk_and_links_what_made_it(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/entities/address?v={ATTACKER}")
    words = page.inner_text("main")
    assert "First seen ever" in words
    assert "not known" in words  # no GeoIP here, and it says so
    assert "1 success of 1 account" in words
    parts = [float(text) for text in page.locator(".counted:has(.sum) li:not(.sum) .num").all_inner_texts()]
    total = float(page.inner_text(".counted .sum .num"))
    assert abs(sum(parts) - total) < 0.5
    assert page.locator(".counted:has(.sum) a[href^='/alerts/']").count() >= 2


def test_a_rule_says_what_feeds_it_and_one_that_nothing_feeds_that_it_cannot_fire(
    server: LiveServer, page: Any
) -> None:
    rules = {r["title"]: r for r in server.get("/api/v1/rules")["rules"]}
    fed, paper = rules["Many failed logins from one address"], rules["A mailbox rule soon after a new device"]
    assert fed["sources"]  # of another file's events, where that looked at the rules in the same server before
    assert fed["matches_day"] >= 2
    assert not paper["sources"]
    page.goto(f"{server.url}/rules/one?rule={paper['key']}")
    assert "It cannot fire" in page.inner_text("main")
    page.goto(f"{server.url}/rules/one?rule={fed['key']}&since=-7d")
    words = page.inner_text("main")
    assert "hits in 7 days: here they are" in words
    assert "correlation:" in words
    assert "login_brute_force.yml:" in words
    assert "Brute Force: Password Guessing" in words
    page.goto(f"{server.url}/rules/attack")
    assert "Brute Force: Password Guessing" in page.inner_text(".technique:not(.is-paper):has-text('T1110.001')")
    assert "on paper" in page.inner_text(".technique.is-paper:has-text('T1564.008')")
    assert "The MITRE Corporation" in page.inner_text("main")


def test_small_screens_scroll_one_way_and_lists_work_without_scripts(server: LiveServer, page: Any) -> None:
    paths = ("/alerts", "/rules", "/rules/attack", "/sources", "/formats", f"/entities/address?v={ATTACKER}")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in paths:
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.set_viewport_size({"width": 1280, "height": 900})
    state = page.context.storage_state()
    plain = page.context.browser.new_context(java_script_enabled=False, storage_state=state).new_page()
    plain.goto(f"{server.url}/alerts")
    assert plain.is_visible(".picked-bar")
    assert plain.locator(".alert-card .pick").count() >= 1
    plain.close()


def test_from_an_alert_to_a_block_by_keyboard_alone(server: LiveServer, page: Any) -> None:
    """The path of who answers an attack: list, alert, address, preview, reason, block, undo; no key is pressed 40 times."""
    keys = 0

    def press(key: str) -> None:
        nonlocal keys
        keys += 1
        page.keyboard.press(key)

    def reach(selector: str) -> None:
        for _ in range(40):
            press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not come to {selector}")

    def enter() -> None:
        with page.expect_navigation():
            press("Enter")

    page.goto(f"{server.url}/alerts?entity={OTHER}&state=all&group=none")
    press("j")
    enter()
    assert "What it means, what to do" in page.inner_text("main")
    reach(f".lede a[href*='v={OTHER}']")
    enter()
    reach(".button.primary")
    enter()
    assert "Nothing is blocked yet" not in page.inner_text("main")
    reach("#reason")
    reason = page.input_value("#reason")
    assert "events" not in reason, reason  # in the words of the list: failed logins, alerts that add up
    reach("button[name=hours][value='24']")
    enter()
    assert "Blocked, 24 hours left" in page.inner_text("main")
    reach("form[action$='/undo'] button")
    enter()
    assert "Undone by dana" in page.inner_text("main")
    assert keys < 120
    assert not server.get(f"/api/v1/entities/address/{OTHER}")["is_blocked"]
