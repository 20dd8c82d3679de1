"""The folders of rules: what lies in them that is no rule stops nobody, and is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa

from muniment.detect.alerts import AlertBook
from muniment.detect.detector import Detector
from muniment.detect.rulebook import RuleBook
from muniment.errors import RejectedError
from muniment.limits import RULE_FILE_BYTES_MAX
from muniment.search.engine import Engine
from muniment.search.projector import Projector

RULE = (
    "title: {title}\nlogsource: {{product: muniment}}\ndetection: {{selection: {{action: a}}, condition: selection}}\n"
)
MANY = "title: Many\ncorrelation: {type: event_count, rules: [A], timespan: 5m, condition: {gte: 3}}\n"


def _database() -> sa.Engine:
    return sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})


def _book(*folders: Path, database: sa.Engine | None = None) -> RuleBook:
    return RuleBook(folders, database or _database(), lambda: 1)


def _own(book: RuleBook) -> list[str]:
    return [rule.title for rule in book.current.all_rules if not rule.file.startswith("muniment/")]


def test_a_pipe_and_links_to_nowhere_are_named_and_the_rules_run(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A"))
    book = _book(tmp_path)
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "gone.yml").symlink_to(tmp_path / "nobody")
    (tmp_path / "self.yml").symlink_to(tmp_path / "self.yml")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "folder.yml").mkdir()
    assert book.look()
    assert _own(book) == ["A"]
    assert sorted(Path(each.file).name for each in book.current.refused) == ["gone.yml", "pipe.yml", "self.yml"]
    assert not book.look()


def test_a_file_that_cannot_be_read_is_named_with_place_and_fix(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A\nname: A"))
    (tmp_path / "b.yml").write_text(RULE.format(title="B\nname: A"))
    (tmp_path / "big.yml").write_text(f"title: Big\n# {'x' * RULE_FILE_BYTES_MAX}")
    (tmp_path / "latin.yml").write_bytes("title: A\nauthor: Jürgen\n".encode("latin-1"))
    (tmp_path / "wide.yml").write_bytes(RULE.format(title="W").encode("utf-16"))
    (tmp_path / "marked.yml").write_bytes(RULE.format(title="M").encode("utf-8-sig"))
    book = _book(tmp_path)
    assert _own(book) == ["A", "M"]
    told = {each.where.partition("/")[2]: (each.reason, each.fix) for each in book.current.refused}
    assert told == {
        "big.yml": ("larger than 1,048,576 bytes", "split the file"),
        "latin.yml:2:10": ("not UTF-8: byte 0xfc", "save the file as UTF-8"),
        "wide.yml:1:1": ("not UTF-8 but UTF-16", "save the file as UTF-8"),
        "b.yml:2:7": (
            f"its id 'A' is that of {tmp_path.name}/a.yml", "give one of the two another id, or take its folder out"
        ),
    }  # fmt: skip


def test_folders_of_one_name_keep_their_rules_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "mine" / "rules", tmp_path / "theirs" / "rules"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "shop.yml").write_text(RULE.format(title=f"Rule {number}"))
    book = _book(*folders)
    assert _own(book) == ["Rule 0", "Rule 1"]
    assert [book.current.get(f"Rule {n}").file for n in (0, 1)] == [f"{folder}/shop.yml" for folder in folders]


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "rules"
    (folder / ".git").mkdir(parents=True)
    (folder / "a.yml").write_text(RULE.format(title="A"))
    (folder / ".git" / "b.yml").write_text(RULE.format(title="B"))
    assert _own(_book(folder)) == ["A"]


def test_of_two_correlations_with_one_name_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A\nname: A"))
    (tmp_path / "b.yml").write_text(MANY)
    (tmp_path / "c.yml").write_text(MANY)
    book = _book(tmp_path)
    assert _own(book) == ["A", "Many"]
    assert [Path(each.file).name for each in book.current.refused] == ["c.yml"]


def test_a_rule_that_is_taken_away_runs_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A"))
    book = _book(tmp_path)
    (tmp_path / "a.yml").unlink()
    assert book.look()
    assert _own(book) == []


@pytest.mark.parametrize("query", ["*", "**", "* *", "(*) OR actor:x"])
def test_an_exception_does_not_hide_everything(tmp_path: Path, query: str) -> None:
    book = _book(tmp_path)
    for rule in ("", book.current.all_rules[0].key):
        with pytest.raises(RejectedError, match="it would hide everything"):
            book.exempt(rule, query, "because", "ana", 10**18)


def test_a_correlation_says_which_of_its_parts_do_not_run(tmp_path: Path) -> None:
    both = "title: {0}\nname: {0}\ncorrelation: {{type: {1}, rules: [A, B], timespan: 5m{2}}}\n"
    for name in "AB":
        (tmp_path / f"{name}.yml").write_text(RULE.format(title=f"{name}\nname: {name}"))
    (tmp_path / "c.yml").write_text(both.format("Count", "event_count", ", condition: {gte: 2}"))
    (tmp_path / "d.yml").write_text(both.format("Order", "temporal_ordered", ""))
    (tmp_path / "e.yml").write_text(both.format("Either", "temporal", ", condition: A or B"))
    (tmp_path / "f.yml").write_text(MANY.replace("[A]", "[Order]"))
    book = _book(tmp_path)

    def told(name: str) -> tuple[list[str], bool]:
        return book.off_parts(book.get(name), book.switches())

    assert [told(name) for name in ("A", "Count", "Order", "Either", "Many")] == [([], False)] * 5
    book.switch("A", False, "noisy", "ana")
    assert [told(name) for name in ("Count", "Order", "Either")] == [(["A"], False), (["A"], True), (["A"], False)]
    assert told("Many") == (["Order"], True)
    book.switch("B", False, "noisy", "ana")
    assert [told(name) for name in ("Count", "Either")] == [(["A", "B"], True)] * 2


def test_an_exception_about_a_misspelt_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A\nname: a"))
    book = _book(tmp_path)
    with pytest.raises(RejectedError) as refused:
        book.exempt("a", "actr:anna", "why", "ana", 2)
    assert (refused.value.field, "did you mean actor?" in refused.value.reason) == ("query", True)
    assert book.exempt("a", "actor:anna", "why", "ana", 2).number == 1


def test_what_placeholders_stand_for_is_a_file_among_the_rules(tmp_path: Path) -> None:
    rule = RULE.format(title="Admins\nname: admins").replace("action: a", "actor_id|expand: '%admins%'")
    (tmp_path / "rule.yml").write_text(rule)
    book = _book(tmp_path)
    (refused,) = book.current.refused
    assert "placeholders.yml" in refused.fix
    (tmp_path / "placeholders.yml").write_text("admins: [anna, 7]\n")
    assert book.look()
    assert _own(book) == ["Admins"]
    assert str(book.get("admins").condition).count("actor_id") == 2  # type: ignore[union-attr]  # a rule over events
    (tmp_path / "placeholders.yml").write_text("admins: [anna\n")
    assert book.look()
    assert [(Path(each.file).name, each.line) for each in book.current.refused] == [
        ("placeholders.yml", 2),
        ("rule.yml", 4),
    ]


def _told(book: RuleBook) -> list[tuple[str, str]]:
    return [(Path(each.file).name, each.reason) for each in book.current.refused]


@pytest.mark.parametrize("kind", ["rule", "correlation", "behaviour"])
def test_a_newcomer_does_not_take_the_place_of_a_rule_that_runs(tmp_path: Path, kind: str) -> None:
    """Its file comes first by name; what it is makes no difference; nor does a restart, nor that the old file is broken for a while."""
    odd = {
        "rule": RULE.format(title="New\nname: many"),
        "correlation": MANY.replace("Many\n", "New\nname: many\n"),
        "behaviour": "title: New\nname: many\nbehaviour: {type: first_seen, rules: [A], group-by: [actor], field: action}\n",
    }
    (tmp_path / "x.yml").write_text(RULE.format(title="A\nname: A"))
    (tmp_path / "y.yml").write_text(MANY.replace("Many\n", "Old\nname: many\n"))
    database = _database()
    book = _book(tmp_path, database=database)
    (tmp_path / "b.yml").write_text(odd[kind])
    for _ in range(2):
        book.look()
        assert _own(book) == ["A", "Old"]
        assert _told(book) == [("b.yml", f"its id 'many' is that of {tmp_path.name}/y.yml")]
        book = _book(tmp_path, database=database)
    (tmp_path / "y.yml").write_text("title: [")
    book.look()
    assert _own(book) == ["A"]
    assert ("b.yml", f"its id 'many' is that of {tmp_path.name}/y.yml, which cannot be run now") in _told(book)
    (tmp_path / "y.yml").unlink()
    book.look()
    assert sorted(_own(book)) == ["A", "New"]
    (tmp_path / "a.yml").write_text(odd[kind].replace("New", "Newer"))
    assert sorted(_own(_book(tmp_path, database=database))) == ["A", "New"]


def test_a_file_that_is_given_another_name_keeps_its_rules(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(title="A"))
    database = _database()
    book = _book(tmp_path, database=database)
    (tmp_path / "a.yml").rename(tmp_path / "z.yml")
    book.look()
    (tmp_path / "b.yml").write_text(RULE.format(title="A"))
    book.look()
    assert [Path(rule.file).name for rule in book.current.all_rules if rule.title == "A"] == ["z.yml"]


def test_a_name_that_two_rules_have_means_that_of_the_own_file_else_the_one_that_had_it_first(tmp_path: Path) -> None:
    """A newcomer that calls itself as another rule does would be counted instead of it."""
    ids = [f"0f4a5f0c-54c9-4b63-8a4b-54b8f6a1d00{n}" for n in (1, 2, 3, 4)]
    (tmp_path / "x.yml").write_text(RULE.format(title=f"A\nid: {ids[0]}\nname: A"))
    (tmp_path / "y.yml").write_text(MANY)
    book = _book(tmp_path)
    (tmp_path / "b.yml").write_text(
        RULE.format(title=f"B\nid: {ids[1]}\nname: A") + "---\n" + MANY.replace("Many", "Own")
    )
    book.look()
    assert (book.get("Many").rules, book.get("Own").rules) == ((ids[0],), (ids[1],))  # type: ignore[union-attr]  # correlations
    assert [len(book.get(id).remarks) for id in ids[:2]] == [0, 1]
    assert "x.yml" in book.get(ids[1]).remarks[0]


def test_a_paused_rule_goes_on_when_its_own_file_changes_and_not_when_another_does(tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / f"{name}.yml").write_text(RULE.format(title=name))
    book = _book(tmp_path)
    book.pause("A", "it is slow")
    (tmp_path / "B.yml").write_text(RULE.format(title="B\nlevel: high"))
    book.look()
    assert book.paused == {"A": "it is slow"}
    (tmp_path / "A.yml").write_text(RULE.format(title="A\nlevel: high"))
    book.look()
    assert book.paused == {}


def test_a_file_whose_name_is_not_utf_8_is_read_and_named_so_that_it_can_be_written(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.yml")).write_text(RULE.format(title="A"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.yml")).write_text("title: [")
    book = _book(tmp_path)
    assert _own(book) == ["A"]
    assert (book.get("A").file, book.current.refused[0].file) == (
        f"{tmp_path.name}/a\\xff.yml",
        f"{tmp_path.name}/b\\xff.yml",
    )
    assert not book.look()


def test_a_newcomer_does_not_say_otherwise_what_a_placeholder_stands_for(tmp_path: Path) -> None:
    rule = RULE.format(title="Admins\nname: admins").replace("action: a", "actor_id|expand: '%admins%'")
    (tmp_path / "rule.yml").write_text(rule)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "placeholders.yml").write_text("admins: [anna]\n")
    database = _database()
    book = _book(tmp_path, database=database)
    (tmp_path / "placeholders.yml").write_text("admins: [bert]\nothers: [kim]\n")
    for _ in range(2):
        book.look()
        assert "anna" in str(book.get("admins").condition)  # type: ignore[union-attr]  # a rule over events
        assert _told(book) == [("placeholders.yml", f"%admins% is said by {tmp_path.name}/z/placeholders.yml")]
        book = _book(tmp_path, database=database)
    (tmp_path / "z" / "placeholders.yml").unlink()
    book.look()
    assert "bert" in str(book.get("admins").condition)  # type: ignore[union-attr]  # a rule over events


def test_a_slow_rule_is_paused_with_a_record_and_one_whose_file_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / f"{name}.yml").write_text(RULE.format(title=name))
    book, told = _book(tmp_path), list[tuple[str, dict[str, object]]]()
    detector = Detector(
        cast(Engine, None), cast(Projector, None), book, AlertBook(lambda records, ids: None, lambda: 1), {}, lambda: 1,
        lambda action, found: told.append((action, found)),
    )  # fmt: skip
    (tmp_path / "B.yml").unlink()
    book.look()
    detector._spent_s |= {"A": 59.0, "B": 59.0, "C": 0.1}
    detector._pause_the_slow()
    assert list(book.paused) == ["A"]
    assert [(action, found["title"]) for action, found in told] == [("rule.pause", "A")]
    assert not detector._spent_s
