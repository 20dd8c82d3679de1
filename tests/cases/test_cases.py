"""What people decide about cases is kept with its record, whatever fails or stops in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.cases.case import Case, Subject, check_change, verdicts
from muniment.cases.cases import Cases
from muniment.errors import RejectedError
from muniment.limits import CASE_ALERTS_MAX, CASE_TWICE_S
from muniment.search.persons import Person

NOW = 1_790_000_000_000_000_000
LOW, HIGH = Subject("a-1", "Tries", "low"), Subject("a-2", "Got in", "high")


def told(case: Case) -> bytes:
    return json.dumps({"case": case.number, "state": case.state, "alerts": list(case.alerts)}).encode()


def broken(case: Case) -> bytes:
    raise OSError("no room for the record")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/m.db"


@pytest.fixture
def cases(url: str) -> Iterator[Cases]:
    engine = open_database(url)
    yield Cases(engine)
    engine.dispose()


def _opened(cases: Cases, alert: Subject = LOW, *also: Subject) -> Case:
    return cases.open(alert, also, "ana", "ana", NOW, told)[0]


def test_a_case_is_called_by_the_gravest_and_has_what_is_free(cases: Cases) -> None:
    first = _opened(cases, LOW, HIGH)
    assert (first.number, first.title, first.level, first.alerts) == (1, "Got in", "high", ("a-1", "a-2"))
    second = _opened(cases, Subject("a-3", "Else", "medium"), HIGH)
    assert second.alerts == ("a-3",)
    assert cases.of_alert("a-2") == first == cases.get(1)
    assert cases.of_alert("a-9") is None


def test_whoever_opens_the_same_alert_at_once_gets_the_same_case(cases: Cases) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: cases.open(LOW, [HIGH], "", "x", NOW, told), range(64)))
    assert {case.number for case, _ in found} == {1}
    assert sum(is_new for _, is_new in found) == 1
    assert len(cases.unrecorded()) == 1


def test_two_who_open_overlapping_alerts_at_once_lose_none(cases: Cases) -> None:
    """One has the other's as company: whoever is first has it, and nothing is in two cases."""
    with ThreadPoolExecutor(8) as pool:
        pairs = [(LOW, HIGH), (HIGH, LOW)] * 16
        found = list(pool.map(lambda pair: cases.open(pair[0], [pair[1]], "", "x", NOW, told)[0], pairs))
    inside = [uid for case in cases.all() for uid in case.alerts]
    assert sorted(inside) == sorted(set(inside)) == ["a-1", "a-2"]
    assert {case.number for case in found} <= {case.number for case in cases.all()}


def test_an_act_whose_record_fails_did_not_happen(cases: Cases) -> None:
    with pytest.raises(OSError, match="no room"):
        cases.open(LOW, [], "ana", "ana", NOW, broken)
    assert cases.all() == []
    assert cases.of_alert("a-1") is None
    case = _opened(cases)
    before = (cases.get(1), cases.notes(1), cases.marks(1), cases.unrecorded())
    for act in (
        lambda: cases.add(1, HIGH, "ben", NOW, broken),
        lambda: cases.set_state(1, "contained", "", "", case.version, "ben", NOW, broken),
        lambda: cases.assign(1, "ben", case.version, "ben", NOW, broken),
        lambda: cases.note(1, "x", "ben", NOW, broken),
        lambda: cases.mark(1, 7, "pinned", "", "ben", NOW, broken),
    ):
        with pytest.raises(OSError, match="no room"):
            act()
        assert (cases.get(1), cases.notes(1), cases.marks(1), cases.unrecorded()) == before


KILLED = """
import os, sys
from muniment.access.database import open_database
from muniment.cases.case import Subject
from muniment.cases.cases import Cases
cases = Cases(open_database(sys.argv[1]))
case, _ = cases.open(Subject("a-1", "Tries", "low"), [], "ana", "ana", 5, lambda case: b'{"n":1}')
cases.note(case.number, "hello", "ana", 6, lambda case: b'{"n":2}')
if sys.argv[2] == "inside":  # of a transaction: what is not committed is gone, and its record with it
    def dies(case):
        os.kill(os.getpid(), 9)
    cases.note(case.number, "never", "ana", 7, dies)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("where", ["between", "inside"])
def test_a_process_that_is_killed_leaves_acts_with_their_records(url: str, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, url, where], env=os.environ, check=False)
    assert done.returncode == -9
    engine = open_database(url)
    cases = Cases(engine)
    assert [each.text for each in cases.notes(1)] == ["hello"]
    waiting = cases.unrecorded()
    assert [record for _, record in waiting] == [b'{"n":1}', b'{"n":2}']
    cases.recorded([waiting[0][0]])
    assert cases.unrecorded() == waiting[1:]
    engine.dispose()


def test_two_processes_do_not_overwrite_each_other(cases: Cases, url: str) -> None:
    case = _opened(cases)
    engine = open_database(url)
    other = Cases(engine)
    assert other.assign(1, "ben", case.version, "ben", NOW + 1, told).version == 2
    with pytest.raises(RejectedError, match="ben changed it meanwhile") as refused:
        cases.set_state(1, "contained", "", "", case.version, "ana", NOW + 2, told)
    assert (refused.value.status, refused.value.field) == (409, "version")
    # The same between the look and the write: what was read is compared again when it is written.
    stale = cases.get(1)
    other.assign(1, "", stale.version, "ben", NOW + 3, told)
    with cases._database.begin() as connection, pytest.raises(RejectedError, match="meanwhile"):
        cases._put(connection, stale, stale)
    engine.dispose()


def test_what_is_the_same_already_changes_nothing_and_records_nothing(cases: Cases) -> None:
    case = _opened(cases)
    case = cases.set_state(1, "closed", "benign", "a test", case.version, "ana", NOW, told)
    n = len(cases.unrecorded())
    assert cases.set_state(1, "closed", "benign", " a test ", 1, "ben", NOW + 9, told) == case
    assert cases.assign(1, "ana", 1, "ben", NOW + 9, told) == case
    assert cases.add(1, LOW, "ben", NOW + 9, told) == case
    cases.note(1, "once", "ana", NOW, told)
    cases.note(1, " once", "ana", NOW + 10**9, told)
    assert len(cases.notes(1)) == 1
    assert len(cases.unrecorded()) == n + 1
    cases.note(1, "once", "ana", NOW + CASE_TWICE_S * 10**9, told)
    cases.note(1, "once", "ben", NOW + CASE_TWICE_S * 10**9, told)
    assert [each.by for each in cases.notes(1)] == ["ana", "ana", "ben"]


def test_closing_says_what_it_was_and_why(cases: Cases) -> None:
    for state, verdict, reason, field in (
        ("gone", "", "", "state"), ("closed", "", "x", "verdict"), ("closed", "unknown", "x", "verdict"),
        ("closed", "benign", " ", "reason"), ("contained", "benign", "x", "verdict"),
    ):  # fmt: skip
        with pytest.raises(RejectedError) as refused:
            check_change(state, verdict, reason)
        assert refused.value.field == field
    assert {"true_positive", "false_positive", "benign", "duplicate"} <= set(verdicts())
    case = _opened(cases)
    closed = cases.set_state(1, "closed", "true_positive", "reset", case.version, "ana", NOW + 5, told)
    assert (closed.closed_at, closed.changed_by) == (NOW + 5, "ana")
    for act in (
        lambda: cases.add(1, HIGH, "ana", NOW, told),
        lambda: cases.mark(1, 3, "pinned", "", "ana", NOW, told),
    ):
        with pytest.raises(RejectedError, match="open it again first"):
            act()
    again = cases.set_state(1, "open", "", "", closed.version, "ben", NOW + 6, told)
    assert (again.closed_at, again.verdict, again.reason) == (0, "", "")


def test_drills_stay_among_themselves_and_a_case_has_an_end(cases: Cases) -> None:
    _opened(cases)
    with pytest.raises(RejectedError, match="drills"):
        cases.add(1, Subject("d-1", "Drill", "low", "brute-force"), "ana", NOW, told)
    many = [Subject(f"m-{k}", "More", "low") for k in range(CASE_ALERTS_MAX + 5)]
    full = _opened(cases, many[0], *many[1:])
    assert len(full.alerts) == CASE_ALERTS_MAX
    with pytest.raises(RejectedError, match="at most"):
        cases.add(full.number, HIGH, "ana", NOW, told)
    assert cases.of_alert(many[-1].uid) is None


def test_marks_are_changed_and_taken_back(cases: Cases) -> None:
    _opened(cases)
    with pytest.raises(RejectedError, match="say why"):
        cases.mark(1, 3, "left_out", "", "ana", NOW, told)
    with pytest.raises(RejectedError, match="one of"):
        cases.mark(1, 3, "hidden", "x", "ana", NOW, told)
    cases.mark(1, 3, "left_out", "planned", "ana", NOW, told)
    cases.mark(1, 3, "pinned", "", "ben", NOW + 1, told)
    cases.mark(1, 4, "drafted", "", "ben", NOW + 1, told)
    assert [(each.index, each.mark, each.by) for each in cases.marks(1)] == [(3, "pinned", "ben")]
    cases.mark(1, 3, "drafted", "", "ana", NOW + 2, told)
    assert cases.marks(1) == []


def test_an_erased_person_is_in_no_note_and_no_reason(cases: Cases, url: str) -> None:
    case = _opened(cases)
    cases.note(1, "Called M.Ruiz at home", "ana", NOW, told)
    cases.note(1, "m.ruizo is somebody else", "ana", NOW, told)
    cases.mark(1, 3, "left_out", "m.ruiz was on leave", "ana", NOW, told)
    cases.set_state(1, "closed", "benign", "it was m.ruiz", case.version, "ana", NOW, told)
    cases.recorded([id for id, _ in cases.unrecorded()])
    assert sorted(cases.forget_person(Person(("m.ruiz",)))) == [
        "Called M.Ruiz at home", "it was m.ruiz", "m.ruiz was on leave",
    ]  # fmt: skip
    assert [each.text for each in cases.notes(1)] == ["Called [erased] at home", "m.ruizo is somebody else"]
    assert cases.get(1).reason == "it was [erased]"
    with sa.create_engine(url).connect() as connection:
        for table in ("cases", "case_notes", "case_marks", "case_acts"):
            text = str(connection.exec_driver_sql(f"SELECT * FROM {table}").all()).lower()
            assert "m.ruiz " not in text
            assert "'it was m.ruiz'" not in text
