"""What somebody might try: other spellings, a whole office behind one address, two people at once, old previews, clocks."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.live import LiveServer, within

from muniment.access.database import open_database
from muniment.errors import DeniedError, RejectedError
from muniment.limits import BLOCK_ENDED_DAYS, BLOCK_SHARED_ACCOUNTS, BLOCK_TICKET_S
from muniment.respond.block import Seen, among, canonical
from muniment.respond.blocks import Blocks
from muniment.respond.preview import Tickets
from muniment.respond.stix import changed_at, indicator, microseconds
from muniment.search.persons import Person

NOW = 1_795_000_000 * 10**9
HOUR = 3_600 * 10**9


@pytest.fixture
def blocks() -> Blocks:
    return Blocks(open_database("sqlite://"))


def _ask(blocks: Blocks, kind: str, value: str, *, needs_second: bool = False, hours: int = 1, now: int = NOW) -> Any:
    known, text = canonical(kind, value)
    return blocks.ask(
        known, text, hours=hours, reason="because", by="ana", person="ana", now_ns=now, needs_second=needs_second
    )


def test_a_request_nobody_answered_in_time_cannot_be_approved(blocks: Blocks) -> None:
    asked = _ask(blocks, "address", "192.0.2.1", needs_second=True)
    with pytest.raises(RejectedError, match="it is expired"):
        blocks.approve(asked.id, "bob", NOW + HOUR, person="bob")
    with pytest.raises(RejectedError, match="it is expired"):
        blocks.undo(asked.id, "ana", NOW + HOUR)
    assert _ask(blocks, "address", "192.0.2.1", now=NOW + HOUR).state == "active"


def test_another_spelling_of_an_account_is_blocked_once_and_found(blocks: Blocks) -> None:
    made = _ask(blocks, "account", "M.Ruiz@Example.com")
    with pytest.raises(RejectedError, match="already"):
        _ask(blocks, "account", "m.ruiz@example.com")
    found = blocks.find(*canonical("account", " m.RUIZ@example.com "), NOW)
    assert found is not None
    assert found.id == made.id
    assert blocks.find(*canonical("key", "m.ruiz@example.com"), NOW) is None


def test_every_block_is_found_by_what_it_covers_and_not_after_its_end(blocks: Blocks) -> None:
    _ask(blocks, "range", "192.0.2.0/24")
    _ask(blocks, "range", "192.0.2.128/25", hours=2)
    _ask(blocks, "range", "::ffff:198.51.100.0/120")
    _ask(blocks, "range", "2001:db8::/48")
    inside = ["192.0.2.5", "::ffff:192.0.2.5", "198.51.100.255", "2001:db8:0:1::1"]
    for text in inside:
        assert blocks.find(*canonical("address", text), NOW), text
    for text in ("192.0.3.5", "198.51.101.0", "2001:db8:1::1"):
        assert blocks.find(*canonical("address", text), NOW) is None, text
    assert blocks.find(*canonical("address", "192.0.2.5"), NOW + HOUR) is None
    assert blocks.find(*canonical("address", "192.0.2.200"), NOW + HOUR) is not None


def test_no_spelling_passes_by_the_allow_list_and_no_entry_covers_the_world(blocks: Blocks) -> None:
    blocks.allow("::ffff:198.51.100.0/120", "Office", "ana", NOW)
    assert [each.network for each in blocks.allowed()] == ["198.51.100.0/24"]
    for kind, value in (
        ("address", "::ffff:c633:6407"),
        ("range", "::ffff:198.51.0.0/112"),
        ("range", "198.51.100.7/32"),
    ):
        with pytest.raises(RejectedError, match="Office"):
            _ask(blocks, kind, value)
    for network in ("0.0.0.0/0", "::/0", "10.0.0.0/7", "::ffff:0:0/96"):
        with pytest.raises(RejectedError, match=r"wider|every IPv4|every address"):
            blocks.allow(network, "all", "ana", NOW)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("address", "::ffff:198.51.100.7"),
        ("address", "64:ff9b::c633:6407"),  # behind NAT64
        ("address", "64:ff9b::198.51.100.7"),
        ("range", "64:ff9b::c633:0/112"),
        ("address", "2002:c633:6407::1"),  # in 6to4
        ("range", "2002:c633:6407:17::/64"),
        ("range", "2002:c633::/32"),
    ],
)
def test_an_allowed_range_protects_what_ipv6_calls_it(blocks: Blocks, kind: str, value: str) -> None:
    blocks.allow("198.51.100.0/24", "Office", "ana", NOW)
    with pytest.raises(RejectedError, match="Office"):
        _ask(blocks, kind, value)
    for other in ("64:ff9b::c633:6507", "2002:c633:6507::1", "2001:db8::c633:6407", "64:ff9b:1::c633:6407"):
        assert _ask(blocks, "address", other).state == "active"


def test_what_ipv6_calls_a_blocked_address_is_not_allowed_before_it_is_undone(blocks: Blocks) -> None:
    block = _ask(blocks, "address", "64:ff9b::c633:6407")
    with pytest.raises(RejectedError, match="64:ff9b::c633:6407 in it is blocked"):
        blocks.allow("198.51.100.0/24", "Office", "ana", NOW)
    blocks.undo(block.id, "ana", NOW)
    assert blocks.allow("198.51.100.0/24", "Office", "ana", NOW).network == "198.51.100.0/24"


def test_a_clock_that_is_put_back_an_hour_ends_no_block_and_makes_none_longer() -> None:
    """Real time goes on by a clock that nobody sets; the other one is wrong from then on."""
    real = 0
    blocks = Blocks(open_database("sqlite://"), steady=lambda: real)
    two_hours = _ask(blocks, "address", "192.0.2.1", hours=2)
    half_over = _ask(blocks, "address", "192.0.2.2", hours=1)
    asked = _ask(blocks, "address", "192.0.2.3", hours=1, needs_second=True)
    real = 40 * 60 * 10**9
    assert len(blocks.active(NOW + real)) == 2

    real += HOUR // 12  # 45 minutes in, and the clock says 15 minutes before they were made
    put_back = NOW + real - HOUR
    assert blocks.active(put_back) == [two_hours, half_over]
    assert blocks.find("address", "192.0.2.2", put_back) == half_over
    assert blocks.expire(put_back) == []
    assert blocks.approve(asked.id, "bob", put_back, person="bob").expires_at == put_back + HOUR

    real = HOUR + 1  # over, though the clock says that there is an hour left
    assert [b.value for b in blocks.active(NOW + 1)] == ["192.0.2.1", "192.0.2.3"]
    assert blocks.find("address", "192.0.2.2", NOW + 1) is None
    with pytest.raises(RejectedError, match="it is expired"):
        blocks.undo(half_over.id, "ana", NOW + 1)
    assert [b.id for b in blocks.expire(NOW + 1)] == [half_over.id]
    assert _ask(blocks, "address", "192.0.2.2", now=NOW + 1).state == "active"
    assert [b.value for b in blocks.active(NOW + 1)] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    real = 2 * HOUR + 1
    assert two_hours.id in {b.id for b in blocks.expire(NOW + HOUR)}


def test_who_asks_what_has_changed_since_misses_nothing_when_the_clock_is_put_back() -> None:
    """A TAXII client asks for what was added after the last it has seen."""
    database = open_database("sqlite://")
    blocks = Blocks(database)
    first, asked = _ask(blocks, "address", "192.0.2.1"), _ask(blocks, "address", "192.0.2.2", needs_second=True)
    seen = [changed_at(first)]
    blocks.undo(first.id, "ana", NOW - HOUR)
    seen.append(changed_at(blocks.get(first.id)))
    blocks = Blocks(database)  # also after a start
    seen.append(changed_at(_ask(blocks, "address", "192.0.2.3", now=NOW - HOUR)))
    assert blocks.get(asked.id).changed_at == 0
    seen.append(changed_at(blocks.approve(asked.id, "bob", NOW - HOUR, person="bob")))
    seen.append(changed_at(_ask(blocks, "address", "192.0.2.4", now=NOW - HOUR)))
    assert [microseconds(at) for at in seen] == sorted({microseconds(at) for at in seen})
    modified = [
        indicator(replace(first, state=state, changed_at=at))["modified"]
        for state, at in zip(("active", "undone"), seen[:2], strict=True)
    ]
    assert modified[0] < modified[1]


def test_an_ended_block_stays_ended_when_the_clock_is_put_back(blocks: Blocks) -> None:
    block = _ask(blocks, "address", "192.0.2.1")
    assert [each.id for each in blocks.expire(NOW + HOUR)] == [block.id]
    assert blocks.find("address", "192.0.2.1", NOW) is None
    assert blocks.active(NOW) == []


@pytest.mark.parametrize("hours", [0, -1, 24 * 365])
def test_a_time_limit_is_an_hour_to_ninety_days(blocks: Blocks, hours: int) -> None:
    with pytest.raises(RejectedError, match="every block ends"):
        _ask(blocks, "address", "192.0.2.1", hours=hours)


def test_two_people_who_approve_at_once_are_one_approval(blocks: Blocks) -> None:
    asked = _ask(blocks, "address", "192.0.2.1", needs_second=True)

    def approve(who: str) -> str:
        try:
            return blocks.approve(asked.id, who, NOW + 1, person=who).approved_by
        except RejectedError as error:
            return str(error.status)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(approve, [f"p{n}" for n in range(8)]))
    assert outcomes.count("409") == 7
    assert blocks.get(asked.id).approved_by in outcomes


def test_blocks_of_before_keys_had_owners_are_read_on() -> None:
    """What a session asked for is that account's request, what a key asked for nobody's in particular."""
    database = open_database("sqlite://")
    blocks = Blocks(database)
    asked = {
        by: blocks.ask(
            "address", f"192.0.2.{n}", hours=1, reason="x", by=by, person="ana", now_ns=NOW, needs_second=True
        ).id
        for n, by in enumerate(("ana", "key:0123456789ab"), 1)
    }
    with database.begin() as connection:
        for column in ("asked_person", "changed_at"):
            connection.exec_driver_sql(f"ALTER TABLE blocks DROP COLUMN {column}")
    blocks = Blocks(database)
    assert {by: blocks.get(id).asked_person for by, id in asked.items()} == {"ana": "ana", "key:0123456789ab": ""}
    with pytest.raises(DeniedError, match="ana asked for this"):
        blocks.approve(asked["ana"], "key:0", NOW, person="ana")
    with pytest.raises(DeniedError, match="belongs to nobody"):
        blocks.approve(asked["ana"], "key:0", NOW, person="")
    assert blocks.approve(asked["key:0123456789ab"], "ana", NOW, person="ana").state == "asked"
    assert Blocks(database).approve(asked["key:0123456789ab"], "bob", NOW, person="bob").state == "active"


def test_a_ticket_is_no_other_text_and_no_other_time() -> None:
    tickets = Tickets(b"s" * 32)
    ticket = tickets.issue("address", "192.0.2.1", "ana", NOW)
    tickets.check(ticket, "address", "192.0.2.1", "ana", NOW + BLOCK_TICKET_S * 10**9)
    later = tickets.issue("address", "192.0.2.1", "ana", NOW + 2_000_000)
    assert tickets.issued_at(later) - tickets.issued_at(ticket) == 2_000_000, (
        "a block undone within its second ended before it"
    )
    late = NOW + (BLOCK_TICKET_S + 1) * 10**9
    for wrong, now in (
        (ticket, late),
        (ticket, NOW - (late - NOW)),
        ("²." + ticket.partition(".")[2], NOW),
        ("", NOW),
        (".", NOW),
        ("1.ü", NOW),
    ):
        with pytest.raises(RejectedError):
            tickets.check(wrong, "address", "192.0.2.1", "ana", now)


def test_ended_blocks_are_forgotten_and_an_erased_person_at_once(blocks: Blocks) -> None:
    old, other, named = (
        _ask(blocks, "address", "192.0.2.1"),
        _ask(blocks, "account", "Anna"),
        blocks.ask(
            "address",
            "192.0.2.9",
            hours=9_00,
            reason="anna's laptop",
            by="bob",
            person="bob",
            now_ns=NOW,
            needs_second=False,
        ),
    )
    blocks.expire(NOW + HOUR)
    assert blocks.forget_ended(NOW + HOUR + BLOCK_ENDED_DAYS * 24 * HOUR) == 0
    assert blocks.forget_person(Person(("anna", "u-17")), NOW) == []  # it was over
    assert {each.id for each in blocks.all()} == {old.id, named.id}
    assert blocks.get(named.id).reason == "[erased]'s laptop"
    assert blocks.forget_ended(NOW + HOUR + BLOCK_ENDED_DAYS * 24 * HOUR + 1) == 1
    assert other.id not in {each.id for each in blocks.all()}


# --- from the outside -------------------------------------------------------------------------------------------------


def _preview(client: httpx.Client, kind: str, value: str) -> dict[str, Any]:
    found: dict[str, Any] = client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
    return found


def test_a_whole_office_is_not_shut_out_by_accident(live_server: LiveServer) -> None:
    server, office = live_server, "198.18.207.1"
    key = server.key_for("office", "clear")
    people = [f"worker{n}" for n in range(BLOCK_SHARED_ACCOUNTS + 2)]
    server.send(key, *(
        {"action": "user.login", "actor": {"id": who}, "context": {"ip": office}, "outcome": "success"} for who in people
    ))  # fmt: skip
    within(10, lambda: len(server.rows(f"ip:{office} source:office", limit=20)) == len(people), "not there")
    ana, bob = server.session("ana", "analyst"), server.session("bob", "analyst")
    preview = _preview(ana, "address", office)
    assert (preview["is_shared"], preview["n_people"], preview["needs_second_person"]) == (True, len(people), True)
    assert f"{len(people)} accounts" in preview["verdict"]
    body = {"kind": "address", "value": office, "preview": preview["preview"], "reason": "x", "hours": 1}
    for given in ({}, {"accounts": 1}, {"accounts": len(people) - 1}):
        refused = ana.post("/api/v1/blocks", json=body | given)
        assert refused.status_code == 409
        assert f"{len(people)} accounts work from there" in refused.json()["error"]["reason"]
    page = ana.get("/blocks/new", params={"kind": "address", "v": office}).text
    assert "Type their number" in page
    form = {
        "csrf": ana.headers["x-csrf-token"],
        "kind": "address",
        "value": office,
        "preview": preview["preview"],
        "reason": "x",
    }
    assert ana.post("/blocks", data=form | {"hours": "1"}).status_code == 409
    asked = ana.post("/api/v1/blocks", json=body | {"accounts": len(people)}).json()
    assert asked["state"] == "asked"

    # Who agrees sees the same and says the same.
    path = f"/api/v1/blocks/{asked['id']}"
    shown = bob.get(f"/blocks/{asked['id']}").text
    assert "worker0" in shown
    assert "Type their number" in shown
    assert bob.get(f"{path}/hits").json()["n_people"] == len(people)
    assert server.one(f"source:muniment action:block.preview target_id:{office} actor_id:bob", 5)
    assert bob.post(f"{path}/approve").status_code == 409
    assert ana.post(f"{path}/approve", json={"accounts": len(people)}).status_code == 403
    assert bob.post(f"{path}/approve", json={"accounts": len(people)}).json()["state"] == "active"
    assert bob.post(f"{path}/undo").json()["state"] == "undone"


def test_what_is_refused_is_a_record_of_who_tried_what(live_server: LiveServer) -> None:
    """A network that is never blocked, one's own request agreed to by oneself, a block that has ended undone again."""
    server, ana = live_server, live_server.session("tries.ana", "analyst")
    ana.post("/api/v1/allowed", json={"network": "198.18.77.0/24", "title": "Monitoring"}).raise_for_status()
    server.send(server.key_for("tries", "clear"), {"action": "user.login", "actor": {"id": "w"}, "context": {"ip": "198.18.78.1"}, "outcome": "success"})  # fmt: skip
    server.one("source:tries", 10)

    def asked(address: str) -> httpx.Response:
        ticket = _preview(ana, "address", address)["preview"]
        body = {"kind": "address", "value": address, "preview": ticket, "reason": "x", "hours": 1}
        return ana.post("/api/v1/blocks", json=body)

    assert asked("198.18.77.9").status_code == 409
    waiting = asked("198.18.78.1").json()
    path = f"/api/v1/blocks/{waiting['id']}"
    assert ana.post(f"{path}/approve").status_code == 403
    assert ana.post(f"{path}/undo").json()["state"] == "undone"
    assert ana.post(f"{path}/undo").status_code == 409
    for action, target, reason in (
        ("block.create", "198.18.77.9", "198.18.77.0/24 (Monitoring) must not be blocked"),
        ("block.approve", "198.18.78.1", "a second person has to agree"),
        ("block.undo", "198.18.78.1", "it has ended: it is undone"),
    ):
        row = server.one(f"source:muniment action:{action} outcome:failure actor_id:tries.ana target_id:{target}", 5)
        record = json.loads(server.get(f"/api/v1/events/{row['index']}")["record"])
        assert reason in record["reason"]


def test_a_reason_does_not_name_the_account(live_server: LiveServer) -> None:
    preview = _preview(live_server.client, "account", "q.named")
    body = {"kind": "account", "value": "q.named", "preview": preview["preview"], "reason": "Q.Named was phished"}
    answer = live_server.client.post("/api/v1/blocks", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "reason")


def test_an_effect_is_verified_only_when_somebody_heard_of_the_block(live_server: LiveServer) -> None:
    server, address = live_server, "198.18.206.66"
    key = server.key_for("effects", "clear")
    preview = _preview(server.client, "address", address)
    body = {"kind": "address", "value": address, "preview": preview["preview"], "reason": "x", "hours": 1}
    block = server.client.post("/api/v1/blocks", json=body).json()
    assert server.get(f"/api/v1/blocks/{block['id']}")["taken_at"] == 0
    with server.reader(role="enforcer") as enforcer:
        enforcer.get("/feeds/accounts.txt")  # a feed that does not carry it
        assert server.get(f"/api/v1/blocks/{block['id']}")["taken_at"] == 0
        enforcer.get("/feeds/nginx.conf")
    assert server.get(f"/api/v1/blocks/{block['id']}")["taken_at"] >= block["active_at"]

    def event(seconds: float) -> dict[str, Any]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        return {"action": "user.login", "outcome": "failure", "occurred_at": stamp, "context": {"ip": address}}

    server.send(key, event(-120))  # told late: it happened before
    server.send(key, event(30))  # a clock that is ahead
    found = within(10, lambda: server.get(f"/api/v1/blocks/{block['id']}")["attempts_since"], "not counted")
    assert found == 1
    server.client.post(f"/api/v1/blocks/{block['id']}/undo")


def test_an_erased_person_leaves_blocks_orders_exceptions_and_silences(live_server: LiveServer) -> None:
    server = live_server
    key = server.key_for("leaving", "sealed")
    server.send(key, {"action": "user.login", "outcome": "failure",
                      "actor": {"id": "u-8810", "name": "Quitta Holm", "email": "quitta@example.org"}})  # fmt: skip
    server.one("actor_email:quitta@example.org")
    preview = _preview(server.client, "account", "quitta@example.org")
    body = {"kind": "account", "value": "quitta@example.org", "preview": preview["preview"], "reason": "phished"}
    block = server.client.post("/api/v1/blocks", json=body).json()
    server.one("source:muniment action:block.create target_id:quitta@example.org", 5)
    made = server.client.post(
        "/api/v1/rules/exceptions", json={"rule": "", "query": "actor:u-8810", "reason": "u-8810 travels", "days": 3}
    )
    assert made.status_code == 201, made.text
    silence = server.client.post("/api/v1/silences", json={"source": "Quitta*", "reason": "Quitta Holm moves"})
    assert silence.status_code == 201
    first = server.reader(role="administrator", owner="first")
    for identifier, source in (("u-8810", "leaving"), ("quitta@example.org", "")):
        asked = first.post(
            "/api/v1/erasures", json={"identifier": identifier, "source": source, "reason": "request 2026-18"}
        ).json()
        with server.reader(role="administrator", owner="second") as second:
            assert second.post(f"/api/v1/erasures/{asked['number']}/approval").status_code == 202
            within(30, lambda n=asked["number"]: [e for e in server.get("/api/v1/erasures")["erasures"] if e["number"] == n and e["done_at"]], "not erased")  # type: ignore[misc]  # fmt: skip
    assert block["id"] not in {each["id"] for each in server.get("/api/v1/blocks")["blocks"]}
    exceptions = [
        e for e in server.get("/api/v1/rules/exceptions")["exceptions"] if e["number"] == made.json()["number"]
    ]
    assert (exceptions[0]["query"], exceptions[0]["reason"], exceptions[0]["is_active"]) == (
        "[erased]",
        "[erased] travels",
        False,
    )
    assert server.get("/api/v1/silences")["silences"][0]["reason"] == "[erased] moves"
    # The block's records stay, and say no more whom they are about.
    rows = server.rows(f'source:muniment action:block.create "{block["id"]}"')
    assert len(rows) == 1
    assert "quitta" not in str(server.get(f"/api/v1/events/{rows[0]['index']}")).lower()
    files = [path for path in server.folder.iterdir() if path.is_file() and path.name.startswith("muniment.")]
    assert files, list(server.folder.iterdir())
    for path in files:
        assert b"quitta@example.org" not in path.read_bytes(), path


def test_an_entity_names_every_block_that_reaches_it(blocks: Blocks) -> None:
    """Its own, those of ranges around it or within it, under any spelling; ended ones, too."""
    inside = _ask(blocks, "address", "192.0.2.9")
    around = _ask(blocks, "range", "192.0.2.0/24", now=NOW + 1)
    _ask(blocks, "address", "192.0.3.9")
    account = _ask(blocks, "account", "M.Ruiz", now=NOW + 2)
    blocks.undo(inside.id, "ana", NOW + 3)
    assert [b.id for b in blocks.about(*canonical("address", "::ffff:192.0.2.9"))] == [around.id, inside.id]
    assert [b.id for b in blocks.about(*canonical("address", "192.0.2.10"))] == [around.id]
    assert [b.id for b in blocks.about(*canonical("range", "192.0.2.8/29"))] == [around.id, inside.id]
    assert [b.id for b in blocks.about(*canonical("account", "m.ruiz"))] == [account.id]
    assert blocks.about(*canonical("key", "M.Ruiz")) == []


def test_blocks_of_what_something_was_seen_with_are_found(blocks: Blocks) -> None:
    for kind, value in (("address", "192.0.2.9"), ("range", "198.51.100.0/24"), ("range", "2001:db8::/48"), ("account", "M.Ruiz"), ("key", "k-1"), ("address", "192.0.2.8")):  # fmt: skip
        _ask(blocks, kind, value)
    seen = Seen(
        frozenset({"192.0.2.9", "198.51.100.77", "2001:db9::1"}), frozenset({"m.ruiz", "anna"}), frozenset({"k-1"})
    )
    found = [b.value for b in among(blocks.open(NOW), seen)]
    assert found == ["M.Ruiz", "192.0.2.9", "k-1", "198.51.100.0/24"]
    assert among(blocks.open(NOW), Seen()) == []
    assert blocks.open(NOW + HOUR) == []


def test_an_account_says_which_of_its_addresses_are_blocked_and_an_address_whose_accounts(
    live_server: LiveServer,
) -> None:
    address = "203.0.113.88"
    key = live_server.key_for("linked", "clear")
    event = {"action": "user.login", "outcome": "failure", "actor": {"id": "u-77", "name": "linked.person", "email": "linked@example.com"},
             "context": {"ip": address}}  # fmt: skip
    live_server.send(key, event)
    live_server.one("source:linked")

    def made(kind: str, value: str) -> str:
        shown = live_server.client.post("/api/v1/blocks/preview", json={"kind": kind, "value": value}).json()
        body = {"kind": kind, "value": value, "preview": shown["preview"], "reason": "because"}
        answer = live_server.client.post("/api/v1/blocks", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    on_range, on_name = made("range", "203.0.113.80/28"), made("account", "Linked.Person")
    by_id = live_server.get("/api/v1/entities/account/u-77")
    assert not by_id["is_blocked"]
    assert [b["id"] for b in by_id["related_blocks"]] == [on_name, on_range]
    by_address = live_server.get(f"/api/v1/entities/address/{address}")
    assert by_address["is_blocked"]
    assert [b["id"] for b in by_address["blocks"]] == [on_range]
    assert [b["id"] for b in by_address["related_blocks"]] == [on_name]
    page = live_server.session("linker", "analyst").get("/entities/account?v=u-77").text
    assert f'href="/blocks/{on_range}"' in page
    assert "is blocked</a> by " in page
    for each in (on_range, on_name):
        live_server.client.post(f"/api/v1/blocks/{each}/undo")
    ended = live_server.get(f"/api/v1/entities/address/{address}")
    assert not ended["is_blocked"]
    assert [(b["id"], b["state"]) for b in ended["blocks"]] == [(on_range, "undone")]
    assert ended["related_blocks"] == []


def test_who_fetched_a_feed_and_when_is_known_after_a_restart() -> None:
    database = open_database("sqlite://")
    blocks = Blocks(database)
    blocks.note_fetch("nginx.conf", "edge-1", NOW, id="key:1", address="192.0.2.1")
    blocks.note_fetch("nginx.conf", "edge-1", NOW + 10**9, id="key:1", address="192.0.2.2")
    blocks.note_fetch(
        "nginx.conf", "edge-1", NOW + 2 * 10**9, id="key:1", address="192.0.2.2"
    )  # too soon to be written
    again = Blocks(database)
    assert again.fetches() == {("nginx.conf", "edge-1"): NOW + 10**9}
    assert again.fetchers() == {"key:1": "192.0.2.2"}
    assert again.fetched_at(["nginx.conf"]) == NOW + 10**9
    again.note_fetch("nginx.conf", "edge-1", NOW + 61 * 10**9, id="key:1", address="192.0.2.2")
    assert Blocks(database).fetched_at(["nginx.conf"]) == NOW + 61 * 10**9


def test_a_database_that_fails_holds_up_no_fetch_and_the_next_one_is_kept() -> None:
    database = open_database("sqlite://")
    blocks = Blocks(database)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE feed_fetches RENAME TO away")
    blocks.note_fetch("nginx.conf", "edge-1", NOW, id="key:1", address="192.0.2.1")
    assert blocks.fetched_at(["nginx.conf"]) == NOW, "in memory it is known"
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO feed_fetches")
    blocks.note_fetch("nginx.conf", "edge-1", NOW + 10**9, id="key:1", address="192.0.2.1")
    assert Blocks(database).fetched_at(["nginx.conf"]) == NOW + 10**9
