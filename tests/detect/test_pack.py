"""The rules that come with Muniment find what the files beside them say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.detect.rulebook import PACK
from muniment.detect.rules import load_rules
from muniment.detect.trial import Trial, found_by, read_trials, ready_for_trials
from muniment.errors import RejectedError

FILES = sorted(path for path in PACK.glob("*.yml") if not path.name.endswith(".events.yml"))
LOADED = load_rules((path.name, path.read_text("utf-8")) for path in FILES)
READY = ready_for_trials(LOADED)
TRIALS = [
    (path.stem, trial)
    for path in sorted(PACK.glob("*.events.yml"))
    for trial in read_trials(path.read_text("utf-8"), path.name)
]


def test_every_rule_can_be_run() -> None:
    assert not LOADED.refused, LOADED.refused
    assert not [remark for rule in (*LOADED.rules, *LOADED.correlations) for remark in rule.remarks]


@pytest.mark.parametrize(("file", "trial"), TRIALS, ids=lambda each: each.name if isinstance(each, Trial) else each)
def test_trials(file: str, trial: Trial) -> None:
    assert found_by(READY, trial) == trial.finds


def test_every_rule_has_events_it_must_and_must_not_match() -> None:
    found = frozenset[str]().union(*(trial.finds for _, trial in TRIALS))
    alerting = [
        rule.name
        for rule in (*LOADED.rules, *LOADED.correlations)
        if not rule.is_silent and rule.level.lower() != "informational" and rule.name != "entity_risk"  # about alerts
    ]
    assert set(alerting) == found
    for path in FILES:
        beside = path.with_suffix(".events.yml")
        trials = read_trials(beside.read_text("utf-8"), beside.name)
        assert any(trial.finds for trial in trials), beside
        assert any(not trial.finds for trial in trials), beside


def test_every_rule_says_what_to_do_and_what_it_is_tagged_with() -> None:
    for rule in (*LOADED.rules, *LOADED.correlations):
        assert rule.author == "Muniment"
        assert rule.id
        if not rule.is_silent and rule.level.lower() != "informational":
            assert "What to do:" in rule.description, rule.title
            assert rule.name == "entity_risk" or any(tag.startswith("attack.t") for tag in rule.tags), rule.title
            assert any(tag.startswith("iso27001.") for tag in rule.tags), rule.title


GOOD = "- name: one\n  finds: []\n  events:\n    - {action: user.login}\n"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("- name: [one\n", "2:1", "not YAML: "),
        ("x: 1", "1:1", "expected a list of trials"),
        ("", "1:1", "expected a list of trials"),
        ("- {name: n}", "1:3", "finds is missing"),
        ("- just words", "1:3", "a trial is a mapping of name, finds, events, places"),
        (GOOD + GOOD.replace("finds:", "find:"), "6:3", "there is no key 'find' in a trial; did you mean finds?"),
        (GOOD.replace("[]", "mass_export"), "2:10", "finds is a list of names of rules"),
        (GOOD.replace("{action: user.login}", "user.login"), "4:7", "an event is a mapping"),
        (GOOD.replace("action:", "actoin:"), "4:8", "there is no column 'actoin' in an event; did you mean action?"),
        (GOOD.replace("user.login", "x, action: y"), "4:19", "'action' stands twice"),
        (GOOD.replace("{action", "{repeat: many, action"), "4:16", "repeat is a whole number from 0, got 'many'"),
        (GOOD.replace("{action", "{repeat: 1000000000, action"), "4:16", "at most 100,000 events"),
        (GOOD.replace("{action", "{varying: actr_id, action"), "4:17", "did you mean actor_id?"),
        (GOOD.replace("user.login", "!what x"), "4:16", "quote what is a text"),
        (GOOD + "  places: {192.0.2.1: {contry: CH}}\n", "5:24", "there is no key 'contry' in a place; did you mean country?"),
        (GOOD + "  places: {192.0.2.1: {city: Bern}}\n", "5:23", "a place has a country"),
    ],
)  # fmt: skip
def test_a_trial_file_that_is_wrong_says_where_and_how_to_mend_it(text: str, where: str, words: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read_trials(text, "x.events.yml")
    assert caught.value.field == f"x.events.yml:{where}", caught.value
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("203.0.113.*", ["203.0.113.0", "203.0.113.1"]),
        ("203.*.113.7", ["203.0.113.7", "203.1.113.7"]),
        ("/p", ["/p0", "/p1"]),
    ],
)
def test_a_number_stands_where_the_star_is_else_at_the_end(value: str, found: list[str]) -> None:
    text = f"- name: one\n  finds: []\n  events:\n    - {{repeat: 2, target_name: '{value}', varying: target_name}}\n"
    (trial,) = read_trials(text, "x.events.yml")
    assert [row.columns["target_name"] for row in trial.rows] == found


def test_the_folder_is_complete() -> None:
    assert all(Path(str(path).replace(".yml", ".events.yml")).exists() for path in FILES)
