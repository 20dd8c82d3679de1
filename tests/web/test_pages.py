"""The pages as a browser without scripts gets them."""

import asyncio
import re
from dataclasses import replace

import pytest
from memory import NOW_NS, MemoryBackend, application, company, event
from starlette.testclient import TestClient

from muniment.web.backend import Page, Viewer
from muniment.web.proving import verdict

PAGES = [
    "/",
    "/?q=outcome:failure&when=7d",
    "/?when=all",
    "/events/5",
    "/events/5/proof",
    "/sources",
    "/status",
    "/saved",
    "/help",
]


def _client(backend: MemoryBackend) -> TestClient:
    return TestClient(application(backend), cookies={"muniment_session": backend.session}, follow_redirects=False)


@pytest.mark.parametrize("url", [*PAGES, "/login/nonsense", "/events/99999"])
def test_every_answer_carries_the_strict_headers_and_nothing_inline(client: TestClient, url: str) -> None:
    answer = client.get(url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", answer.text) == [""]


@pytest.mark.parametrize("url", PAGES)
def test_without_a_session_every_page_leads_to_the_login(backend: MemoryBackend, url: str) -> None:
    answer = TestClient(application(backend), follow_redirects=False).get(url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_looking_at_a_login_link_does_not_spend_it_and_using_it_does() -> None:
    client = TestClient(application(MemoryBackend()), follow_redirects=False)
    link = "/login/first-login-link-0001"
    assert "Sign in" in client.get(link).text
    entered = client.post(link)
    cookie = entered.headers["set-cookie"]
    assert entered.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "no longer works" in TestClient(application(MemoryBackend(links=set()))).post(link).text


def test_a_form_without_the_token_changes_nothing(client: TestClient, backend: MemoryBackend) -> None:
    before = list(backend.kept)
    assert client.post("/saved", data={"name": "x", "q": "a:b"}).status_code == 403
    assert client.post("/look", data={"csrf": "wrong", "theme": "dark"}).status_code == 403
    foreign = client.post("/logout", data={"csrf": "csrf-of-the-tests"}, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    assert backend.kept == before


def test_a_preference_never_redirects_away(client: TestClient) -> None:
    for back in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        answer = client.post("/look", data={"csrf": "csrf-of-the-tests", "theme": "dark", "back": back})
        assert answer.headers["location"] == "/"


def test_a_search_can_be_saved_opened_and_deleted() -> None:
    backend = MemoryBackend()
    client = _client(backend)
    client.post("/saved", data={"csrf": "csrf-of-the-tests", "name": "Mine", "q": "outcome:failure", "when": "7d"})
    assert (backend.kept[0].q, backend.kept[0].start, backend.kept[0].end) == ("outcome:failure", "-7d", "now")
    assert "/?q=outcome:failure&amp;when=7d" in client.get("/saved").text
    client.post("/saved/s0/delete", data={"csrf": "csrf-of-the-tests"})
    assert backend.kept == []


def test_a_wrong_query_is_shown_where_it_is_wrong_with_a_way_to_mend_it(client: TestClient) -> None:
    answer = client.get("/", params={"q": 'outcome:failure actor:"ann'})
    assert answer.status_code == 400
    assert "<mark>&#34;ann</mark>" in answer.text
    assert "at character 23" in answer.text
    assert 'Did you mean <a class="mono" href="/?q=outcome:failure%20actor:%22ann%22"' in answer.text


def test_an_unknown_field_suggests_the_nearest(client: TestClient) -> None:
    assert "outcome:failure</a>?" in client.get("/", params={"q": "outcom:failure"}).text


def test_nothing_found_says_what_each_part_removes_and_what_is_near(client: TestClient) -> None:
    text = client.get("/", params={"q": "outcome:failure action:door.open"}).text
    assert "Nothing matches" in text
    assert 'events<span class="sr"> without action:door.open</span>' in text
    assert (
        re.search(r"Nearest before: <a", client.get("/", params={"q": "outcome:failure", "when": "1970-01-02"}).text)
        is None
    )
    assert "Nearest after" in client.get("/", params={"q": "outcome:failure", "when": "1970-01-02"}).text


def _outside(client: TestClient, **params: str) -> str:
    text = client.get("/", params=params).text
    return re.sub(r"<[^>]+>|\s+", " ", text.split('class="note outside"')[1].split("</div>")[0])


def test_events_outside_of_the_range_are_counted_and_one_click_away(client: TestClient, backend: MemoryBackend) -> None:
    n = sum(row["outcome"] == "failure" for row in backend.rows)
    text = client.get("/", params={"q": "outcome:failure", "when": "1970-01-02"}).text
    assert f'<b class="num">{n}</b> after' in text
    shown = re.search(r'<a class="button primary" href="([^"]+)">Show all of them</a>', text)
    assert shown
    assert 'data-index="' in client.get(shown[1].replace("&amp;", "&")).text
    assert 'class="note outside"' not in client.get("/", params={"q": "action:door.open"}).text


def test_what_arrives_now_and_happened_long_ago_is_one_click_from_the_range_in_which_it_arrived() -> None:
    old, hour = NOW_NS - 200 * 86_400 * 10**9, 3_600 * 10**9
    backend = MemoryBackend(rows=[])
    for n, received in enumerate((NOW_NS - hour, NOW_NS - 2 * hour, NOW_NS - 100 * 24 * hour)):
        backend.rows.append(event(n, old, source="s", action="file.read", actor_id="u") | {"received_at": received})
    client = _client(backend)
    said = _outside(client)
    assert "3 events happened outside of it: 3 before" in " ".join(said.split())
    assert "2 of them arrived in this time, with another time in them" in " ".join(said.split())
    text = client.get("/").text
    assert "No events in this time" in text
    link = re.search(r'<a class="button primary" href="([^"]+)">Show what arrived', text)
    assert link
    assert re.findall(r'data-index="(\d)"', client.get(link[1]).text) == ["1", "0"]


def test_an_empty_ledger_shows_how_to_connect() -> None:
    text = _client(MemoryBackend(rows=[])).get("/").text
    assert "Waiting for the first event" in text
    assert "/v1/events" in text
    assert "rsyslog" in text


def test_an_address_that_is_no_page_is_told_to_people_on_a_page_and_to_programs_in_a_line(client: TestClient) -> None:
    shown = client.get("/no-such-page", headers={"accept": "text/html,*/*"})
    assert (shown.status_code, "there is no such page" in shown.text) == (404, True)
    assert 'href="/sources"' in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    told = client.get("/no-such-page", headers={"accept": "application/json"})
    assert (told.status_code, told.text) == (404, "Not Found")
    assert client.post("/no-such-page", headers={"accept": "text/html"}).text == "Not Found"


def test_an_alert_is_about_somebody_who_did_not_make_it() -> None:
    row = event(0, NOW_NS - 10**9, source="muniment.alerts", action="alert.create", actor_name="Jonas Petrov",
                target_type="alert", target_name="Ports are scanned", src_ip="203.0.113.9")  # fmt: skip
    backend = MemoryBackend(rows=[])
    backend.rows.append(row)
    text = " ".join(re.sub(r"<[^>]+>", " ", _client(backend).get("/").text).split())
    assert "Alert Ports are scanned about Jonas Petrov" in text
    assert "created alert" not in text


def test_a_missing_permission_is_named_with_who_can_grant_it() -> None:
    answer = _client(MemoryBackend(permissions=frozenset())).get("/")
    assert answer.status_code == 403
    assert "Missing permission" in answer.text
    assert "An administrator can grant it" in answer.text


def test_what_is_pending_is_said_on_every_result() -> None:
    text = _client(MemoryBackend(pending=14)).get("/").text
    assert re.search(r'<b class="num">14</b> on the way', text)
    assert 'class="unseen"' in text


def test_paging_goes_through_every_row_once(client: TestClient) -> None:
    url, seen = "/?when=all", []
    while url:
        text = client.get(url).text
        seen += re.findall(r'<tr data-index="(\d+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        url = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == len(set(seen)) == 900


def test_columns_and_typed_times_become_short_addresses(client: TestClient) -> None:
    answer = client.get("/?cols=source,action&col=action&col=app&typed=yesterday+9-17")
    assert answer.headers["location"] == "/?when=yesterday%209-17&cols=action,app"


def test_the_proof_holds_step_by_step_and_a_changed_record_fails() -> None:
    backend = MemoryBackend()
    assert "holds" in _client(backend).get("/events/5/proof").text
    backend.tampered = True
    answer = _client(backend).get("/events/5/proof")
    assert answer.status_code == 500
    assert "The proof fails" in answer.text


def test_the_event_page_shows_the_difference_and_what_is_sealed(client: TestClient, backend: MemoryBackend) -> None:
    index = next(r["index"] for r in backend.rows if r["changes_after"])
    text = client.get(f"/events/{index}").text
    assert "max_connections" in text
    assert "owner" not in text.split("<h2>What changed</h2>")[1].split("</table>")[0]
    assert '<span class="r-sealed">sealed #1</span>' in text
    assert '<span class="r-secret">secret: api-key</span>' in text
    assert (
        "owner" in client.get(f"/events/{index}?fields=all").text.split("<h2>What changed</h2>")[1].split("</table>")[0]
    )


def test_hidden_characters_are_seen_not_obeyed() -> None:
    row = event(0, NOW_NS - 10**9, source="s", action="file.read", actor_id="u", actor_name="a\u202eb\x1b[31m\ud800", target_name="x\u200by", target_type="file", target_id="t", src_ip="::ffff:10.0.0.1", session_id="", request_id="", dst_host="", app="", activity_name="", actor_email="", device_name="")  # fmt: skip
    backend = MemoryBackend(rows=[])
    backend.rows.append(row)
    text = _client(backend).get("/").text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "U+202E RIGHT-TO-LEFT OVERRIDE" in text
    assert "\\u200b" in text
    assert "10.0.0.1" in text
    assert "::ffff" not in text


def test_every_record_of_every_small_tree_has_a_proof_that_holds() -> None:
    for n in (1, 2, 3, 7, 8, 13):
        backend = MemoryBackend(rows=company(n))
        for index in range(n):
            proof = asyncio.run(backend.proof(Viewer("", "", "", "", frozenset()), index))
            assert verdict(proof, backend.rows[index]["id"]).is_valid
            longer = replace(proof, inclusion_proof=[*proof.inclusion_proof, bytes(32)])
            assert not verdict(longer, backend.rows[index]["id"]).is_valid


def test_a_name_that_is_only_part_of_a_value_is_offered_in_a_form_that_finds_it(client: TestClient) -> None:
    text = client.get("/", params={"q": "outcome:success actor:ann", "when": "7d"}).text
    assert "Did you mean" in text
    assert '<a class="mono" href="/?q=outcome:success%20actor:%2Aann%2A&amp;when=7d">' in text


def test_of_several_parts_the_one_that_finds_nothing_alone_stands_out(client: TestClient) -> None:
    text = client.get("/", params={"q": "outcome:failure action:door.open actor:ghost", "when": "7d"}).text
    table = text.split('class="list parts"')[1].split("</table>")[0]
    alone = dict(re.findall(r'<td class="mono">([^<]+)</td><td class="num r([ a-z]*)">', table))
    assert alone == {"outcome:failure": "", "action:door.open": " none", "actor:ghost": " none"}


def test_a_facet_is_searched_and_a_pinned_field_stands_first(client: TestClient, backend: MemoryBackend) -> None:
    assert client.get("/?when=7d&within.actor_name=kel").headers["location"] == "/?when=7d&find=actor_name:kel"
    found = client.get("/?when=7d&find=actor_name:kel").text.split('id="facet-actor_name"')[1].split("</section>")[0]
    assert "Ann Keller" in found
    assert "Jun Li" not in found
    answer = client.post("/look", data={"csrf": "csrf-of-the-tests", "pin": "device_name", "back": "/?when=7d"})
    assert answer.headers["location"] == "/?when=7d"
    assert "muniment_pins=device_name;" in answer.headers["set-cookie"]
    pinned = TestClient(
        application(backend),
        cookies={"muniment_session": backend.session, "muniment_pins": "device_name.no_such.record"},
    )
    assert re.findall(r'id="facet-(\w+)"', pinned.get("/?when=7d").text)[:2] == ["device_name", "outcome"]


def test_a_silence_of_everybody_is_drawn_as_a_gap_and_a_rare_event_is_not() -> None:
    minutes = [k for k in range(180) if not 60 <= k < 100]
    rows = [
        event(n, NOW_NS - (180 - k) * 60 * 10**9, source="s", action="file.read", actor_id="u")
        for n, k in enumerate(minutes)
    ]
    rows[10]["outcome"] = rows[-3]["outcome"] = "failure"
    backend = MemoryBackend(rows=[])
    backend.rows.extend(rows)
    drawn = re.compile(r'<rect class="gap" x="([\d.]+)%" width="([\d.]+)%".*?<title>([^<]*)')
    for q in ("", "action:file.read", "outcome:failure"):
        gaps = drawn.findall(_client(backend).get("/", params={"when": "3h", "q": q}).text)
        assert [(round(float(x)), round(float(width))) for x, width, _ in gaps] == [(33, 22)]
        assert "Nothing was recorded" in gaps[0][2]


def test_a_range_of_receipt_finds_what_came_late() -> None:
    row = event(0, NOW_NS - 3 * 86_400 * 10**9, source="s", action="file.read", actor_id="u", late=True)
    backend = MemoryBackend(rows=[])
    backend.rows.append(row | {"received_at": NOW_NS - 60 * 10**9})
    client = _client(backend)
    assert 'data-index="0"' not in client.get("/?when=1h").text
    late = client.get("/?when=1h&by=received").text
    assert 'data-index="0"' in late
    assert "Last hour, received" in late
    assert "/api/v1/export?q=received_at%3E%3D" in late


def test_the_reader_is_told_that_looking_is_recorded_and_where(client: TestClient) -> None:
    assert '<a class="wide-only" href="/?q=source:muniment%20actor_id:p-1"' in client.get("/").text


def test_without_scripts_the_lock_of_a_row_leads_to_the_check(client: TestClient) -> None:
    lock = re.search(r'<a class="lock" href="([^"]+)"', client.get("/?when=7d").text)
    assert lock
    assert "holds" in client.get(lock[1]).text


def test_every_pair_of_text_and_ground_has_the_contrast_of_aa_in_both_themes(client: TestClient) -> None:
    address = re.search(r'href="(/static/[^"]+muniment.css)"', client.get("/").text)
    assert address
    blocks = re.findall(r"--bg:.*?--bar2: #\w+", client.get(address[1]).text, re.S)
    assert len(blocks) == 3
    for block in blocks:
        theme = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))
        for ink in ("ink", "soft", "accent", "bad", "warn"):
            for ground in ("bg", "paper", "hover", "tint", "bad-tint"):
                assert _contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
        assert _contrast(theme["on-accent"], theme["accent"]) >= 4.5
        assert min(_contrast(theme[bar], theme["paper"]) for bar in ("bar", "bar2", "bad")) >= 3, (
            "bars of the histogram"
        )


def test_what_nobody_foresaw_shows_a_number_that_stands_in_the_log_and_no_inner_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(MemoryBackend):
        async def search(self, *given: object, **named: object) -> Page:
            raise RuntimeError("inner words")

    answer = _client(Failing()).get("/")
    number = re.search(r'Number <span class="mono">([0-9a-f]{12})<', answer.text)
    assert answer.status_code == 500
    assert number
    assert number[1] in caplog.text
    assert "inner words" in caplog.text
    assert "inner words" not in answer.text


def _contrast(a: str, b: str) -> float:
    """WCAG 2.1: the ratio of two relative luminances."""

    def light(text: str) -> float:
        digits = text[1:] if len(text) == 7 else "".join(c * 2 for c in text[1:])
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        red, green, blue = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted((light(a), light(b)))
    return (bright + 0.05) / (dark + 0.05)
