"""What a reader does on the search page, in a real browser: open, verify, pick, copy, narrow, move, go."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from memory import NOW_NS, MemoryBackend, serving

CHROMIUM = os.environ.get("MUNIMENT_TEST_CHROMIUM", "/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs a Chromium")
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync".split()
Open = Callable[..., Any]
_MIDNIGHT = NOW_NS - NOW_NS % (86_400 * 10**9)


@pytest.fixture(scope="module")
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture(scope="module")
def base(backend: MemoryBackend) -> Iterator[str]:
    with serving(backend) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as p:
        found = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any, base: str) -> Iterator[Open]:
    """A page of a browser of one's own, signed in; whatever its console complains of fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def start(path: str, width: int = 1280, cookies: dict[str, str] | None = None, **how: Any) -> Any:
        context = browser.new_context(base_url=base, viewport={"width": width, "height": 900}, **how)
        context.set_default_timeout(8_000)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        jar = {"muniment_session": "session-of-the-tests", **(cookies or {})}
        context.add_cookies([{"name": k, "value": v, "url": base} for k, v in jar.items()])
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda m: complaints.append(m.text) if m.type == "error" and "status of" not in m.text else None
        )
        page.goto(path)
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []


def _index(page: Any, n: int) -> str:
    return str(page.locator(f"#rows tbody tr:nth-child({n})").get_attribute("data-index"))


def _clipboard(page: Any) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_record_opens_beside_the_rows_and_the_address_says_so(opened: Open) -> None:
    page = opened("/?when=7d")
    first, second = _index(page, 1), _index(page, 2)
    page.click("#rows tbody tr:nth-child(1) a.open")
    page.wait_for_selector("#detail article >> text=In OCSF")
    assert f"open={first}" in page.url
    assert page.locator("#rows tbody tr").count() == 50
    page.keyboard.press("j")
    page.wait_for_selector(f"#detail .detail-head b:text-is('{second}')")
    assert f"open={second}" in page.url
    page.reload()
    page.wait_for_selector(f"#detail .detail-head b:text-is('{second}')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert "open=" not in page.url
    page.go_back()
    page.wait_for_selector("#detail article")
    page.click("#detail [data-page]")
    page.wait_for_url(f"**/events/{second}?**")


def test_on_a_small_screen_a_row_leads_to_the_page_of_its_record(opened: Open) -> None:
    page = opened("/?when=7d", width=390)
    page.click("#rows tbody tr:nth-child(1) a.open")
    page.wait_for_url("**/events/**")


def test_from_a_search_to_a_verified_record_is_one_click(opened: Open) -> None:
    page = opened("/?q=outcome:failure&when=7d")
    page.click("#rows tbody tr:nth-child(3) a.lock")
    page.wait_for_selector("#rows tbody tr:nth-child(3) .lock.is-proved")
    assert "proof holds, computed in this browser" in page.inner_text("#said")
    assert page.url.endswith("/?q=outcome:failure&when=7d")


def test_a_record_that_was_changed_breaks_its_lock_before_the_readers_eyes(
    opened: Open, backend: MemoryBackend
) -> None:
    page = opened("/?when=7d")
    backend.tampered = True
    try:
        page.keyboard.press("j")
        page.keyboard.press("v")
        page.wait_for_selector("#rows tbody tr:nth-child(1) .lock.is-broken")
        assert "does NOT hold" in page.inner_text("#said")
    finally:
        backend.tampered = False


def test_picked_rows_are_copied_as_text_and_as_json_and_go_into_one_evidence_file(opened: Open) -> None:
    page = opened("/?when=7d")
    numbers = [_index(page, n) for n in (2, 3, 4)]
    page.click("#rows tbody tr:nth-child(2) .pick")
    page.click("#rows tbody tr:nth-child(4) .pick", modifiers=["Shift"])
    assert page.inner_text("#picked [data-count]") == "3 selected"
    assert str(page.get_attribute("#picked [data-evidence]", "href")).endswith(f"indexes={','.join(numbers)}")
    page.click("#picked [data-act=text]")
    page.wait_for_selector("#said:text('3 rows as text copied')")
    lines = _clipboard(page).splitlines()
    actor = page.inner_text("#rows tbody tr:nth-child(2) .p-actor >> nth=0")
    assert len(lines) == 3
    assert actor in lines[0]
    assert lines[0].count("\t") == 6
    page.click("#picked [data-act=json]")
    page.wait_for_selector("#said:text('3 records as JSON copied')")
    assert [str(row["index"]) for row in json.loads(_clipboard(page))] == numbers
    page.click("#picked [data-act=prove]")
    page.wait_for_selector("#said:text('All 3 proofs hold')")
    page.click("#picked [data-act=clear]")
    page.wait_for_selector("#picked", state="hidden")


def test_a_value_in_a_row_is_left_out_by_the_button_beside_it(opened: Open) -> None:
    page = opened("/?when=7d")
    cell = page.locator("#rows tbody tr:nth-child(1) td[data-label=Source]")
    value = cell.locator("a").inner_text()
    cell.hover()
    page.click(".not-this")
    page.wait_for_url(f"**/?q=-source:{value}&when=7d")
    assert page.locator("#rows td[data-label=Source] a", has_text=re.compile(f"^{value}$")).count() == 0


def test_go_to_leads_to_pages_ranges_and_searches_even_from_the_search_box(opened: Open) -> None:
    page = opened("/?q=outcome:failure")
    page.focus("#q")
    page.keyboard.press("Control+k")
    page.keyboard.type("yesterday 9-17")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=outcome:failure&when=yesterday%209-17")
    page.keyboard.press("Control+k")
    page.keyboard.type("sourc")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sources")
    page.keyboard.press("Control+k")
    page.keyboard.type("Northwind invoice")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/\?q=Northwind(%20|\+)invoice"))


def test_single_keys_do_nothing_when_switched_off_and_go_to_still_works(opened: Open) -> None:
    page = opened("/?when=7d", cookies={"muniment_keys": "off"})
    for key in ("j", "x", "?", "t", "/"):
        page.keyboard.press(key)
    assert page.locator("#rows tr.is-at, dialog[open], details.menu[open]").count() == 0
    assert page.evaluate("document.activeElement.id") != "q"
    page.keyboard.press("Control+k")
    page.wait_for_selector("#palette[open]")


def test_shift_and_an_arrow_move_the_window(opened: Open) -> None:
    page = opened("/?when=1h")
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_url("**/?when=20**")
    earlier = page.url
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_url(lambda url: url != earlier)
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_url(earlier)


def test_the_copied_link_has_absolute_times_and_the_reader_is_told(opened: Open) -> None:
    page = opened("/?q=outcome:failure&when=1h")
    page.keyboard.press("c")
    page.wait_for_selector("#said:text('with absolute times')")
    assert re.search(r"q=outcome:failure&when=20\d\d-.*Z/20\d\d-.*Z$", _clipboard(page))


def test_an_empty_box_offers_what_was_asked_before(opened: Open) -> None:
    page = opened("/")
    page.fill("#q", "outcome:failure action:user.login")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=outcome**")
    page.fill("#q", "")
    page.locator("#q-options li", has_text="asked before").click()
    page.wait_for_url(re.compile("/[?]q=outcome:failure%20action:user.login$|/[?]q=outcome%3Afailure[+]action"))


def test_a_record_is_copied_as_a_link_a_query_and_its_original_json(opened: Open) -> None:
    page = opened("/events/5")
    page.get_by_role("button", name="link", exact=True).click()
    page.wait_for_selector("#said:text('link to this record copied')")
    assert _clipboard(page).endswith("/events/5")
    page.get_by_role("button", name="query", exact=True).click()
    page.wait_for_selector("#said:text('query copied')")
    assert _clipboard(page) == "index:5"
    page.get_by_role("button", name="JSON", exact=True).click()
    page.wait_for_selector("#said:text('JSON copied')")
    assert json.loads(_clipboard(page))["actor"]["name"] == {"$sealed": 1}


def test_a_filter_is_set_aside_used_again_and_edited_without_scripts(opened: Open) -> None:
    page = opened("/?q=outcome:failure%20source:okta&when=7d", java_script_enabled=False)
    page.click(".chip:nth-child(2) summary")
    page.click(".chip:nth-child(2) >> text=Set aside")
    page.wait_for_url("**/?q=outcome:failure&when=7d&off=source:okta")
    page.click(".chip.is-off a >> nth=0")
    page.wait_for_url("**/?q=outcome:failure%20source:okta&when=7d")
    page.click(".chip:nth-child(1) summary")
    page.fill("#part-0", "-outcome:success")
    page.click(".chip:nth-child(1) >> text=Change")
    page.wait_for_url("**/?q=-outcome:success%20source:okta&when=7d")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path",
    [
        "/?when=7d",
        "/?q=outcome:failure%20action:door.open",
        "/?q=actor:%22ann",
        "/events/5",
        "/events/5/proof",
        "/help",
    ],
)
def test_nothing_scrolls_sideways_at_390_pixels(opened: Open, path: str, scheme: str) -> None:
    page = opened(path, width=390, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_moves_for_readers_who_asked_for_less_motion(opened: Open) -> None:
    page = opened("/?live=1&when=7d", reduced_motion="reduce")
    page.wait_for_selector("#live.is-on")
    assert page.evaluate("document.getAnimations().length") == 0


def test_what_has_the_focus_is_always_to_be_seen(opened: Open) -> None:
    page = opened("/?when=7d")
    for _ in range(40):
        page.keyboard.press("Tab")
        what, has_ring, is_there = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();"
            " return [e.outerHTML.slice(0, 90), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1, b.width > 0]; })()"
        )
        assert has_ring, what
        assert is_there, what


def test_failed_logins_of_one_person_yesterday_take_five_clicks_or_two_after_typing(
    opened: Open, backend: MemoryBackend
) -> None:
    person = next(
        r["actor_name"] for r in reversed(backend.rows) if r["outcome"] == "failure" and r["time"] < _MIDNIGHT
    )
    page = opened("/")
    for click in (
        "#time > summary",
        ".presets >> text=Yesterday",
        ".legend .key.is-failure",
        ".facet >> a.v:has-text('user.login')",
        f".facet >> a.v:has-text('{person}')",
    ):
        page.click(click)
    page.wait_for_url("**actor_name**")
    by_mouse = page.locator("#rows tbody tr").count()
    page.goto("/")
    page.fill("#q", f'actor:"{person}" action:*.login outcome:failure')
    page.keyboard.press("Enter")
    page.wait_for_url("**outcome**")
    page.click("#time > summary")
    page.click(".presets >> text=Yesterday")
    page.wait_for_url("**when=yesterday")
    assert page.locator("#rows tbody tr").count() == by_mouse > 0
    assert set(page.locator("#rows td[data-label=Actor] a").all_inner_texts()) == {person}
