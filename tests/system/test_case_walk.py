"""A case in a real browser: from an alert in one click, worked on without a script too, closed with a reason, on a phone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.test_case_operations import _event, _tries
from tests.live import LiveServer, within
from tests.system.browser import needs_browser, signed_in

pytestmark = needs_browser
ADDRESS = "198.18.71.9"


@pytest.fixture(scope="module")
def server(live_server: LiveServer) -> LiveServer:
    key = live_server.key_for("case-vpn", "sealed")
    exports = [
        _event("customer.export", "success", "c.ase", ADDRESS, 190 - k, targets=[{"type": "list", "id": f"p{k}"}])
        for k in range(9)
    ]
    grant = _event("role.grant", "success", "c.ase", ADDRESS, 195, targets=[{"type": "role", "id": "administrator"}])
    live_server.send(key, *_tries(ADDRESS), _event("user.login", "success", "c.ase", ADDRESS, 200), grant, *exports)

    def critical() -> bool:
        return any(a["level"] == "critical" for a in live_server.get("/api/v1/alerts", entity=ADDRESS)["alerts"])

    within(30, critical, "no alert")
    return live_server


@pytest.fixture(scope="module")
def page(server: LiveServer) -> Iterator[Any]:
    with signed_in(server, "dana", "analyst") as found:
        yield found


def _alert(server: LiveServer) -> str:
    return str(server.get("/api/v1/alerts", entity=ADDRESS, sort="gravest")["alerts"][0]["uid"])


def _open(server: LiveServer) -> int:
    made = server.client.post("/api/v1/cases", json={"alert": _alert(server)}).json()
    return int(made["case"]["number"])


def _story(page: Any, words: str) -> str:
    """The timeline as it reads, once the store has what was done a moment ago."""

    def look() -> str:
        page.reload()
        text = " ".join(page.inner_text(".story >> nth=0").split())
        return text if words in text else ""

    return within(10, look, f"the timeline does not say {words!r}")


def test_one_click_on_an_alert_makes_a_case_with_its_story(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/alerts/{_alert(server)}")
    page.click("button:has-text('Open a case')")
    page.wait_for_load_state()
    assert "/cases/" in page.url
    story = _story(page, "dana opened the case")
    for told in (
        "30 failed sign-ins as 7 accounts", "c.ase signed in", "c.ase granted role administrator",
        "c.ase exported customer (9 times, 9 targets)", "Alert: A login after many failed ones",
    ):  # fmt: skip
        assert told in story, (told, story)
    assert story.index("30 failed sign-ins") < story.index("c.ase signed in") < story.index("granted role")
    assert page.locator(".story a[href$='/proof']").count() >= 6
    assert "Open, dana's" in page.inner_text("main")
    page.goto(f"{server.url}/alerts/{_alert(server)}")
    assert "In case" in page.inner_text("main")


def test_a_line_is_taken_out_and_put_back_with_a_reason(server: LiveServer, page: Any) -> None:
    page.goto(f"{server.url}/cases/{_open(server)}")
    line = page.locator(".story li", has_text="exported customer").first
    line.locator("summary").click()
    line.locator("input[name=reason]").fill("a planned export")
    line.locator("button:has-text('Take it out')").click()
    page.wait_for_load_state()
    assert "exported customer" not in _story(page, "took the line of record")
    page.click("summary:has-text('taken out')")
    assert "taken out by dana: a planned export" in " ".join(page.inner_text(".more .story").split())
    page.click("button:has-text('Put it back')")
    page.wait_for_load_state()
    assert "exported customer" in _story(page, "exported customer")


def test_it_is_closed_with_a_verdict_and_its_evidence_verifies(server: LiveServer, page: Any, tmp_path: Path) -> None:
    number = _open(server)
    page.goto(f"{server.url}/cases/{number}")
    page.fill("#text", "called c.ase: was not them")
    page.click("button:has-text('Write')")
    page.wait_for_load_state()
    page.click("summary:has-text('Close it')")
    page.select_option("#verdict", "true_positive")
    page.fill("#why", "password reset, address blocked")
    page.click("form[action$='/state'] button[value='closed']")
    page.wait_for_load_state()
    assert "Closed as true positive by dana" in " ".join(page.inner_text("main").split())
    _story(page, "closed the case as true positive: password reset, address blocked")
    with page.expect_download() as download:
        page.click("a:has-text('Evidence file')")
    file = tmp_path / "case.zip"
    download.value.save_as(file)
    pinned = [part for key in server.get("/api/v1/log-keys")["vkeys"] for part in ("--vkey", key)]
    done = subprocess.run(
        [sys.executable, "-m", "muniment.evidence", str(file), *pinned], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert {a["state"] for a in server.get(f"/api/v1/cases/{number}")["case"]["alerts"]} == {"resolved"}
    page.goto(f"{server.url}/cases/{number}")
    page.click("button:has-text('Open again')")
    page.wait_for_load_state()


def test_it_reads_on_a_phone_and_works_without_scripts(server: LiveServer, page: Any) -> None:
    number = _open(server)
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/cases", f"/cases/{number}", "/cases?pin=1", f"/alerts/{_alert(server)}"):
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.set_viewport_size({"width": 1280, "height": 900})
    state = page.context.storage_state()
    plain = page.context.browser.new_context(java_script_enabled=False, storage_state=state).new_page()
    plain.goto(f"{server.url}/cases/{number}")
    plain.click("summary:has-text('Close it')")
    assert plain.is_visible("#verdict")
    plain.fill("#text", "without a script")
    plain.click("button:has-text('Write')")
    plain.wait_for_load_state()
    assert "without a script" in plain.inner_text("#notes")
    plain.close()
