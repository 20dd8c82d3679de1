"""An entry that is like a shipped one: what it says comes first, all else is read and sealed as by the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.privacy.seal import Sealer
from muniment.sources.catalogue import Catalogue, beside, load_over, read_entry
from muniment.sources.narrowing import Narrowing
from muniment.sources.registry import SourceRegistry
from muniment.sources.testing import check_samples, explain, map_records

HEAD = """\
name: shop
title: Shop
vendor: us
docs: none
owner: shops
rhythm_s: 3600
"""
TAIL = """\
samples:
  - {origin: ours, record: {"shopAct": "x"}, expect: {outcome: unknown}}
"""
RECORD = {
    "shopAct": "BASKET_EMPTIED", "when": "2026-11-28T08:00:00Z", "user": {"name": "Ana Lima", "mail": "ana@example.com"}, "ip": "198.51.100.23",
    "status": "OK", "basket": "B7", "target_id": "T1",
}  # fmt: skip


def _entry(said: str, catalogue: Catalogue, head: str = HEAD) -> Catalogue:
    return beside(catalogue, read_entry(f"{head}{said}{TAIL}", "shop.yaml"))


def _read(known: Catalogue, client: Any, record: object = RECORD) -> dict[str, Any]:
    (found,) = map_records(known["shop"], [json.dumps(record).encode()], client)
    return found


def test_an_entry_that_says_nothing_reads_what_the_other_reads(catalogue: Catalogue, client: Any) -> None:
    records = [sample.record for sample in catalogue["json"].samples]
    known = _entry("like: json\n", catalogue)
    assert map_records(known["shop"], records, client) == map_records(catalogue["json"], records, client)


def test_what_it_says_comes_first_and_the_other_s_where_that_is_empty(catalogue: Catalogue, client: Any) -> None:
    known = _entry(
        "like: json\nlet:\n  name: shopAct\nfields:\n  target_id: basket\n  app: =shop\n  severity_id: 3\n", catalogue
    )
    row = _read(known, client)
    assert (row["action"], row["target_id"], row["app"], row["severity_id"]) == ("basket_emptied", "B7", "shop", 3)
    assert (row["actor_name"], row["src_ip"], row["outcome"]) == ("Ana Lima", "198.51.100.23", "success")
    assert row["time"] == "2026-11-28T08:00:00.000000Z"
    other = {key: value for key, value in RECORD.items() if key != "basket"}
    assert _read(known, client, other)["target_id"] == "T1"


def test_with_an_action_of_its_own_the_class_follows_from_it(catalogue: Catalogue, client: Any) -> None:
    row = _read(_entry("like: json\nfields:\n  action: =user.login\n", catalogue), client)
    assert (row["action"], row["class_uid"], row["activity_id"]) == ("user.login", 3002, 1)


def test_its_cases_are_asked_first_and_its_fields_stand_over_the_other_s_cases(
    catalogue: Catalogue, client: Any
) -> None:
    record = {"method": "DELETE", "url": "/baskets/7", "basket": "B7"}
    assert _read(_entry("like: json\n", catalogue), client, record)["class_uid"] == 4002  # by a case of the other
    case = "cases:\n  - when: {basket: {present: true}}\n    set: {class_uid: 6001, activity_id: 4, action: =basket.delete}\n"
    row = _read(_entry(f"like: json\n{case}", catalogue), client, record)
    assert (row["class_uid"], row["action"]) == (6001, "basket.delete")
    row = _read(_entry("like: json\nfields:\n  class_uid: 6001\n  activity_id: 4\n", catalogue), client, record)
    assert row["class_uid"] == 6001


def test_its_records_are_sealed_as_those_that_are_known_by_content(catalogue: Catalogue) -> None:
    known = _entry("like: json\npersonal:\n  - {path: basket, kind: name}\n", catalogue)
    registry = SourceRegistry(sa.create_engine("sqlite://"), known)
    registry.add("mine", now_ns=1, format="shop")
    registry.add("any", now_ns=1)
    plan = registry.plan_for("mine")
    assert plan is not None
    sealed = Sealer(plan).seal(json.dumps(RECORD).encode())[0].decode()
    assert not [each for each in ("Ana", "ana@", "198.51.100.23", "B7") if each in sealed]
    before = SourceRegistry(sa.create_engine("sqlite://"), catalogue).personal("auto")
    places = {tuple(sorted(row.items())) for row in registry.personal("auto")}
    assert {tuple(sorted(row.items())) for row in before} <= places
    assert registry.plan_for("any") == plan


def test_it_has_the_secrets_the_log_source_and_the_parts_of_the_other(catalogue: Catalogue) -> None:
    head = HEAD.replace("name: shop", "name: shop\ninside: syslog")
    shop, auditd = _entry("like: auditd\nrecognise: {shopAct: x}\n", catalogue, head)["shop"], catalogue["auditd"]
    assert shop.sigma == auditd.sigma
    assert shop.together is not None
    assert auditd.together is not None
    assert (shop.together.entry, shop.together.event) == ("shop", auditd.together.event)


@pytest.mark.parametrize("said", ["nothing", "shop", "7", "[json]", "../json"])
def test_what_it_is_like_must_come_with_muniment(said: str, catalogue: Catalogue) -> None:
    with pytest.raises(RejectedError, match=r"shop.yaml:7:1: like names no other entry that comes with Muniment"):
        _entry(f"like: {said}\n", catalogue)


def test_a_circle_through_the_other_is_named(catalogue: Catalogue) -> None:
    with pytest.raises(RejectedError, match="depends on itself"):
        _entry("like: json\nlet:\n  name: {lower: $act}\n", catalogue)


def test_its_keys_are_looked_for_by_what_looks_for_the_other_s(catalogue: Catalogue, client: Any) -> None:
    known = _entry("like: json\nlet:\n  name: shopAct\nfields:\n  target_id: basket\n", catalogue)
    base = Narrowing(catalogue["json"])
    shop = Narrowing(known["shop"], base)
    records = [
        json.dumps(RECORD).encode(),
        b'{"shopAct":"a","User":[{"name":"b"}],"basket":"\\u0041"}',
        b'[{"shopAct":"x"}]',
    ]
    for some in (records[:1], records[1:2], records):
        narrow = shop.mapping(pa.array(some, pa.binary()))
        assert map_records(known["shop"], some, client, mapping=narrow) == map_records(known["shop"], some, client)
    assert shop.n_keys == base.n_keys + 2
    assert shop.mapping(pa.array(records[:1], pa.binary())).columns.keys() >= {"action", "actor_name", "target_id"}


def test_it_is_tried_after_products_that_are_known_by_name(catalogue: Catalogue, tmp_path: Path, client: Any) -> None:
    (tmp_path / "shop.yaml").write_text(
        f"{HEAD}rank: 1\nlike: json\nrecognise: {{syslog.message: {{present: true}}}}\n{TAIL}"
    )
    known, problems = load_over(catalogue, tmp_path)
    assert not problems
    names = list(known)
    assert (
        names.index("openssh")
        < names.index("strongswan")
        < names.index("shop")
        < names.index("keyvalue")
        < names.index("syslog")
    )
    sample = catalogue["openssh"].samples[0].record
    assert next(iter(explain(known, [sample], client))).entry == "openssh"


def test_its_samples_are_checked_as_those_of_any_entry(catalogue: Catalogue, client: Any) -> None:
    known = _entry("like: json\nrecognise: {shopAct: {present: true}}\n", catalogue)
    assert check_samples(known, known["shop"], client) == {known["shop"].samples[0].line: []}
