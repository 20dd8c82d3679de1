"""Sources persist, are checked, say what is personal, and count what they sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from muniment.errors import RejectedError
from muniment.event.model import Arrival
from muniment.sources.catalogue import Catalogue
from muniment.sources.registry import Counters, SourceRegistry


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{tmp_path}/admin.db")


def test_a_source_is_there_after_a_restart(database: sa.Engine, catalogue: Catalogue) -> None:
    added = SourceRegistry(database, catalogue).add("okta-prod", format="okta", now_ns=5)
    again = SourceRegistry(database, catalogue)
    assert again.get("okta-prod") == added
    assert again.format_of("okta-prod") == "okta"
    assert (added.owner, added.rhythm_s, added.privacy) == (catalogue["okta"].owner, 300, "sealed")


def test_changes_and_retirement_persist(database: sa.Engine, catalogue: Catalogue) -> None:
    registry = SourceRegistry(database, catalogue)
    registry.add("a", now_ns=1)
    registry.change("a", format="json", privacy="clear", title="App")
    registry.retire("a", 9)
    found = SourceRegistry(database, catalogue).get("a")
    assert found
    assert (found.format, found.privacy, found.title, found.retired_at) == ("json", "clear", "App", 9)


@pytest.mark.parametrize("bad", ["", "A", "a b", "-a", "a" * 65, "ä", "a/b", "a\n"])
def test_an_id_that_people_could_mistype_is_refused(database: sa.Engine, catalogue: Catalogue, bad: str) -> None:
    with pytest.raises(RejectedError, match="must match"):
        SourceRegistry(database, catalogue).add(bad, now_ns=1)


def test_a_second_source_of_the_same_id_is_refused(database: sa.Engine, catalogue: Catalogue) -> None:
    registry = SourceRegistry(database, catalogue)
    registry.add("a", now_ns=1)
    with pytest.raises(RejectedError, match="already a source 'a'"):
        registry.add("a", now_ns=2)


def test_an_unknown_format_is_refused(database: sa.Engine, catalogue: Catalogue) -> None:
    with pytest.raises(RejectedError, match="no format 'splunk'"):
        SourceRegistry(database, catalogue).add("a", format="splunk", now_ns=1)


def test_a_clear_source_has_no_plan_and_an_unknown_one_is_sealed(database: sa.Engine, catalogue: Catalogue) -> None:
    registry = SourceRegistry(database, catalogue)
    registry.add("a", privacy="clear", now_ns=1)
    registry.add("b", format="okta", now_ns=1)
    assert registry.plan_for("a") is None
    plan, unknown = registry.plan_for("b"), registry.plan_for("nobody")
    assert plan
    assert plan.fields
    assert unknown
    assert set(plan.fields) <= set(unknown.fields)


def test_syslog_seals_what_is_found_inside_it(database: sa.Engine, catalogue: Catalogue) -> None:
    registry = SourceRegistry(database, catalogue)
    assert set(map(str, catalogue["sudo"].personal)) <= set(map(str, registry.personal("syslog")))


def test_counters_count_gaps_and_late_numbers_fill_them(database: sa.Engine, catalogue: Catalogue) -> None:
    registry = SourceRegistry(database, catalogue)
    records = [b"{}"] * 3
    registry.heard(Arrival("a", "http", 10, records, sqs=[1, 2, 5], quarantined=[None, "not JSON", None]))
    assert registry.counters("a") == Counters(received=3, quarantined=1, last_heard=10, last_sq=5, gaps=2)
    registry.heard(Arrival("a", "http", 20, records[:1], sqs=[3]))
    assert registry.counters("a").gaps == 1
    registry.seed("a", Counters(received=100, last_heard=5))
    assert registry.counters("a").received == 104
    assert registry.counters("nobody") == Counters()
