"""The rules that come with Muniment find what the files beside them say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.detect.rulebook import PACK
from muniment.detect.rules import load_rules
from muniment.detect.trial import Trial, found_by, read_trials
from muniment.errors import RejectedError

FILES = sorted(path for path in PACK.glob("*.yml") if not path.name.endswith(".events.yml"))
LOADED = load_rules((path.name, path.read_text("utf-8")) for path in FILES)
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
    assert found_by(LOADED, trial) == trial.finds


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


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "expected"), ("x: 1", "list"), ("- {name: n}", "events"), ("- {name: n, finds: [], events: [{oops: 1}]}", "no column 'oops'")],
)  # fmt: skip
def test_a_trial_file_that_is_wrong_says_where(text: str, words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        read_trials(text, "x.events.yml")


def test_the_folder_is_complete() -> None:
    assert all(Path(str(path).replace(".yml", ".events.yml")).exists() for path in FILES)
