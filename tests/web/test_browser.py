"""The pages in a real browser: hostile log text in every field runs nowhere; scripts, keys and proof work."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import NOW_NS, MemoryBackend, company, event, serving

CHROMIUM = os.environ.get("MUNIMENT_TEST_CHROMIUM", "/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs a Chromium")
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync".split()
HOSTILE = (
    "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert(1) )//%0D%0A//</stYle/</titLe/</teXtarEa/</scRipt/--!>\\x3csVg/<sVg/oNloAd=alert(1)//>",
    '"><script>alert(1)</script><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)><a href=javascript:alert(1)>x</a>{{7*7}}${7*7}",
    "</script><iframe srcdoc='<script>parent.alert(1)</script>'>\u202e\x1b]8;;",
)
TEXTS = ("source", "action", "actor_id", "actor_name", "actor_email", "actor_type", "target_type", "target_name", "target_id", "dst_host", "app", "src_ip", "session_id", "request_id",
         "device_name", "activity_name", "outcome", "class_name", "severity", "src_country", "user_agent", "status_detail", "message", "on_behalf_of", "reason", "trace_id", "id", "format")  # fmt: skip


def _hostile() -> list[dict[str, object]]:
    rows = company(30)
    for k, text in enumerate(HOSTILE):
        row = event(30 + k, NOW_NS - (10 - k) * 10**9, **dict.fromkeys(TEXTS, text))
        row["changes_before"], row["changes_after"] = (
            '{"a<b>": "<img src=x onerror=alert(1)>"}',
            '{"</td><script>alert(1)</script>": 1}',
        )
        rows.append(row | {"drill": text if k == 1 else "", "quarantine": text if k == 2 else ""})
    return rows


@pytest.fixture(scope="module")
def backend() -> MemoryBackend:
    return MemoryBackend(rows=_hostile())


@pytest.fixture(scope="module")
def base(backend: MemoryBackend) -> Iterator[str]:
    with serving(backend) as url:
        yield url


@pytest.fixture(scope="module")
def page(base: str) -> Iterator[object]:
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([{"name": "muniment_session", "value": "session-of-the-tests", "url": base}])
        context.add_init_script(
            "window.bad=[];window.alert=(x)=>bad.push('ran '+x);"
            "document.addEventListener('securitypolicyviolation',e=>bad.push(e.violatedDirective+' '+e.sourceFile+':'+e.lineNumber));"
            "window.addEventListener('error',e=>bad.push('error '+e.message));"
        )
        found = context.new_page()
        found.bad = []
        found.on("dialog", lambda d: (found.bad.append("dialog"), d.dismiss()))
        found.on(
            "console", lambda m: found.bad.append(m.text) if m.type == "error" and "status of" not in m.text else None
        )
        yield found
        browser.close()


def _clean(page: object) -> None:
    assert page.evaluate("window.bad") == []  # type: ignore[attr-defined]
    assert page.bad == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    ["/", "/?live=1", "/?when=all&cols=" + ",".join(TEXTS[:12]), "/?when=all&cols=" + ",".join(TEXTS[12:24]), *[f"/events/{30 + k}" for k in range(4)],
     "/events/30/proof", "/sources", "/status", "/saved", "/help", '/?q="><script>alert(1)</script>', "/?q=nothing:<svg onload=alert(1)>&when=<script>"],
)  # fmt: skip
def test_hostile_text_runs_nowhere_and_breaks_no_policy(page: object, base: str, url: str) -> None:
    page.goto(base + url)  # type: ignore[attr-defined]
    page.wait_for_timeout(60)  # type: ignore[attr-defined]
    _clean(page)
    assert (
        page.evaluate(
            "document.querySelectorAll('main script, main iframe, main img[src=x], [onload], [onerror]').length"
        )
        == 0
    )  # type: ignore[attr-defined]


def test_the_browser_itself_computes_the_proof(page: object, base: str) -> None:
    page.goto(f"{base}/events/5")  # type: ignore[attr-defined]
    page.click("[data-verify]")  # type: ignore[attr-defined]
    page.wait_for_selector("#verify .steps")  # type: ignore[attr-defined]
    assert "Computed in this browser: the proof holds." in page.inner_text("#verify")  # type: ignore[attr-defined]
    _clean(page)


def test_keys_move_open_and_return_and_stay_silent_while_typing(page: object, base: str) -> None:
    page.goto(f"{base}/?when=all")  # type: ignore[attr-defined]
    for key in ("j", "j"):
        page.keyboard.press(key)  # type: ignore[attr-defined]
    assert (
        page.evaluate("[...document.querySelectorAll('#rows tbody tr')].findIndex(r=>r.classList.contains('is-at'))")
        == 1
    )  # type: ignore[attr-defined]
    page.keyboard.press("o")  # type: ignore[attr-defined]
    page.wait_for_url("**/events/**")  # type: ignore[attr-defined]
    page.keyboard.press("Escape")  # type: ignore[attr-defined]
    page.wait_for_url("**/?when=all")  # type: ignore[attr-defined]
    page.keyboard.press("/")  # type: ignore[attr-defined]
    page.keyboard.type("act?jk")  # type: ignore[attr-defined]
    assert page.input_value("#q") == "act?jk"  # type: ignore[attr-defined]
    assert not page.evaluate("document.querySelector('#keys').open")  # type: ignore[attr-defined]


def test_dragging_over_the_histogram_zooms(page: object, base: str) -> None:
    page.goto(f"{base}/")  # type: ignore[attr-defined]
    box = page.locator("#histogram").bounding_box()  # type: ignore[attr-defined]
    y = box["y"] + 40
    page.mouse.move(box["x"] + box["width"] * 0.25, y)  # type: ignore[attr-defined]
    page.mouse.down()  # type: ignore[attr-defined]
    page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)  # type: ignore[attr-defined]
    page.mouse.up()  # type: ignore[attr-defined]
    page.wait_for_url("**when=**")  # type: ignore[attr-defined]
    assert "%2F20" in page.url or "/20" in page.url.split("when=")[1]  # type: ignore[attr-defined]
    _clean(page)


def test_live_rows_arrive_as_text_and_are_held_while_paused(page: object, base: str, backend: MemoryBackend) -> None:
    page.goto(f"{base}/?live=1")  # type: ignore[attr-defined]
    page.mouse.move(5, 5)  # type: ignore[attr-defined]
    first = len(backend.rows)
    backend.rows.append(event(first, NOW_NS - 10**9, **dict.fromkeys(TEXTS, HOSTILE[1])))
    page.wait_for_selector(f"#rows tr.is-new[data-index='{first}']")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Pause").click()  # type: ignore[attr-defined]
    backend.rows.append(event(first + 1, NOW_NS - 10**9, **dict.fromkeys(TEXTS, HOSTILE[0])))
    page.wait_for_selector("#held:not([hidden])")  # type: ignore[attr-defined]
    assert page.locator(f"#rows tr[data-index='{first + 1}']").count() == 0  # type: ignore[attr-defined]
    page.click("#held")  # type: ignore[attr-defined]
    page.wait_for_selector(f"#rows tr[data-index='{first + 1}']")  # type: ignore[attr-defined]
    _clean(page)
