"""Pages, cursors, horizon, scope, histogram, facets, completion, tail, exports, rebuild, comparison, saved searches."""

from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from memory_ledger import MAPPINGS, START_NS, MemoryLedger, record

from muniment.errors import DeniedError, RejectedError
from muniment.search.engine import Engine
from muniment.search.export import CSV_NOTE
from muniment.search.projector import Projector
from muniment.search.rebuild import compare
from muniment.search.saved import SavedSearches
from muniment.search.service import SearchService


class Store:
    """A ledger of 200 events, projected, and the service over it."""

    def __init__(self, engine: Engine) -> None:
        self.ledger = MemoryLedger(piece=64)
        self.ledger.append(
            [
                record(
                    action="user.login" if k % 2 else "document.read",
                    outcome="failure" if k % 4 == 1 else "success",
                    actor_name=f"user{k % 5}",
                    message=f"=formula {k}" if k % 10 == 0 else f"event number {k}",
                    ip=f"10.0.{k % 3}.1",
                )
                for k in range(200)
            ]
        )
        self.projector = Projector(engine, self.ledger, None, MAPPINGS)
        self.projector.recover()
        self.service = SearchService(
            engine, self.projector, to_ocsf=lambda row: {"class_uid": 3002, "at": row["time"]}, now_ns=lambda: START_NS
        )


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_each_other_without_gap_or_repeat_while_events_arrive(store: Store, order: str) -> None:
    seen: list[object] = []
    cursor = None
    while True:
        page = store.service.search("user.login OR document.read", limit=33, cursor=cursor, order=order)  # type: ignore[arg-type]
        seen += [row["index"] for row in page.rows]
        store.ledger.append([record(action="other.thing", message="x")])
        store.projector.catch_up()
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == (list(range(200)) if order == "asc" else list(range(199, -1, -1)))


def test_every_answer_tells_the_pending_range_and_shows_nothing_beyond(store: Store) -> None:
    store.ledger.append([record(message="not yet projected")] * 3)
    page = store.service.search("")
    assert page.horizon.complete_to_index == 199
    assert page.horizon.ledger_size == 203
    assert page.horizon.pending == 3
    assert page.horizon.complete_to_time == store.ledger.received_at[199]


def test_the_scope_holds_in_every_kind_of_read(store: Store) -> None:
    service, scope = store.service, "actor:user1"
    hidden = "actor:user2 OR actor:user1"
    assert {row["actor_name"] for row in service.search(hidden, scope=scope).rows} == {"user1"}
    assert service.count("", scope=scope) == 40
    assert service.facets("", None, None, ["actor_name"], scope=scope) == {"actor_name": [("user1", 40)]}
    assert sum(map(sum, service.histogram("", None, None, scope=scope).series.values())) == 40
    assert service.event(2, scope=scope) is None
    assert {row["actor_name"] for row in service.tail("", -1, scope=scope, columns=["actor_name"])} == {"user1"}
    exported = b"".join(service.export(hidden, None, None, "jsonl", scope=scope)).splitlines()
    assert len(exported) == 40
    assert [each.text for each in service.complete("actor_name:", 11, scope=scope)] == ["user1"]
    with pytest.raises(RejectedError):
        service.search("a) OR (b", scope=scope)


def test_a_time_range_is_half_open(store: Store) -> None:
    at = store.ledger.received_at
    page = store.service.search("", at[10], at[20], order="asc")
    assert [row["index"] for row in page.rows] == list(range(10, 20))


def test_addresses_are_counted_as_people_write_them_and_a_query_for_one_finds_as_many(store: Store) -> None:
    addresses = ["10.30.7.121"] * 3 + ["203.0.113.7"] * 2 + ["2001:db8::5"]
    store.ledger.append([record(action="probe", ip=address) for address in addresses])
    store.projector.catch_up()
    expected = [("10.30.7.121", 3), ("203.0.113.7", 2), ("2001:db8::5", 1)]
    assert store.service.facets("action:probe", None, None, ["src_ip"]) == {"src_ip": expected}
    assert [(address, store.service.count(f"ip:{address}")) for address, _ in expected] == expected
    drawn = store.service.histogram("action:probe", None, None, by="src_ip").series
    assert sorted((address, sum(counts)) for address, counts in drawn.items()) == sorted(expected)


def test_histogram_counts_every_event_once(store: Store) -> None:
    at = store.ledger.received_at
    found = store.service.histogram("", at[0], at[199] + 1_000, buckets=10)
    assert {name: sum(counts) for name, counts in found.series.items()} == {"failure": 50, "success": 150}
    assert all(len(counts) == 10 for counts in found.series.values())


def test_one_event_has_its_record_and_its_ocsf_form(store: Store) -> None:
    event = store.service.event(7)
    assert event is not None
    assert event["record"] == store.ledger.records[7].decode()
    assert event["src_ip"] == "10.0.1.1"
    assert event["ocsf"] == {"class_uid": 3002, "at": event["time"]}


def test_completion_offers_fields_and_then_values_with_counts(store: Store) -> None:
    assert "outcome:" in [each.text for each in store.service.complete("user.login out", 14)]
    values = store.service.complete("user.login outcome:f", 20)
    assert [(each.text, each.detail, each.start) for each in values] == [("failure", "50", 19)]


def test_exports_hold_the_same_rows_in_every_format(store: Store) -> None:
    def export(form: str) -> bytes:
        return b"".join(store.service.export("user.login", None, None, form, columns=["action", "message", "record"]))

    lines = [json.loads(line) for line in export("jsonl").splitlines()]
    table = pq.read_table(io.BytesIO(export("parquet"))).to_pylist()
    cells = list(csv.DictReader(io.StringIO(export("csv").decode().split("\n", 1)[1])))
    assert [row["index"] for row in lines] == list(range(1, 200, 2))
    assert table == lines
    assert [int(row["index"]) for row in cells] == [row["index"] for row in lines]
    assert len(export("ocsf").splitlines()) == 100


def test_csv_cells_cannot_run_as_formulas_and_the_file_says_so(store: Store) -> None:
    text = b"".join(store.service.export("document.read", None, None, "csv", columns=["message"])).decode()
    assert text.startswith(CSV_NOTE)
    rows = list(csv.DictReader(io.StringIO(text.split("\n", 1)[1])))
    assert {row["message"][:2] for row in rows} == {"'=", "ev"}


def test_the_service_refuses_what_it_does_not_know(store: Store) -> None:
    for wrong in (
        lambda: store.service.search("", cursor="nonsense"),
        lambda: store.service.search("", columns=["nope"]),
        lambda: store.service.search("", limit=0),
        lambda: store.service.facets("", None, None, ["1; DROP TABLE events"]),
        lambda: store.service.export("", None, None, "xls"),
    ):
        with pytest.raises(RejectedError):
            wrong()


def test_a_rebuild_swaps_in_a_complete_table_and_comparison_finds_what_was_changed(
    engine: Engine, store: Store
) -> None:
    assert list(compare(engine, store.ledger, None, 200)) == []
    engine.command("ALTER TABLE events DELETE WHERE `index` = 70 SETTINGS mutations_sync = 2")
    engine.command("ALTER TABLE events UPDATE source = 'forged' WHERE `index` = 130 SETTINGS mutations_sync = 2")
    found = [(each.start, each.end, each.in_store) for each in compare(engine, store.ledger, None, 200)]
    assert found == [(64, 128, 63), (128, 192, 64)]
    told: list[tuple[int, int]] = []
    store.ledger.append([record(message="new")])
    assert store.projector.rebuild(lambda done, size: told.append((done, size))) == 201
    assert told[-1] == (201, 201)
    assert list(compare(engine, store.ledger, None, 201)) == []
    store.ledger.append([record(message="after")])
    store.projector.catch_up()
    assert store.service.count("") == 202


def test_saved_searches_are_shared_to_read_and_changed_by_their_owner() -> None:
    saved = SavedSearches(sa.create_engine("sqlite://", poolclass=sa.StaticPool))
    mine = saved.save("ann", "Failed logins", "outcome:failure", "24h", ("time", "message"), is_shared=True)
    saved.save("ann", "Private", "action:*")
    assert [each.name for each in saved.visible_to("bob")] == ["Failed logins"]
    assert saved.save("ann", "Failed logins", "outcome:failure action:user.login", is_shared=True).version == 2
    with pytest.raises(DeniedError):
        saved.remove("bob", mine.id)
    with pytest.raises(RejectedError):
        saved.save("ann", "Broken", "(a")
    saved.remove("ann", mine.id)
    assert saved.get("bob", mine.id) is None
