"""Patterns: what is wrong with one is told by whoever compiles it, and never on the server's stderr."""

from collections.abc import Callable

import pytest

from muniment.detect.rules import load_rules
from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern
from muniment.privacy.plan import SealPlan
from muniment.search.query.parse import parse_query
from muniment.sources.values import check_pattern

RULE = "title: R\nlogsource: {product: muniment}\ndetection: {s: {action|re: 'a\\Cb{2000}'}, condition: s}\n"


@pytest.mark.parametrize(
    "compile",
    [
        lambda: check_pattern("(a"),
        lambda: parse_query(r"message:/a(?=b)/", 0),
        lambda: SealPlan.compile([{"text": "message", "pattern": "(a", "kind": "name"}]),
    ],
)
def test_a_bad_pattern_is_told_in_words_and_not_on_stderr(
    compile: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RejectedError) as told:
        compile()
    assert "b'" not in str(told.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("modifiers", ["re", "re|i", "re|i|s"])
def test_a_rule_with_a_bad_pattern_is_told_in_words_and_not_on_stderr(
    modifiers: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (refused,) = load_rules([("r.yml", RULE.replace("action|re", f"action|{modifiers}"))]).refused
    assert "invalid repetition size: {2000}" in refused.reason
    assert capfd.readouterr().err == ""


def test_a_search_that_outgrows_its_memory_goes_on_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    pattern, text = "(?:a|b)*a(?:a|b){200}c", "ab" * 20_000
    loud = compiled_pattern(pattern, bytes_max=120_000)
    assert loud.search(text) is None
    assert capfd.readouterr().err == ""


def test_what_is_wrong_is_said_as_a_text() -> None:
    with pytest.raises(PatternError, match=r"^missing \): \(a$"):
        compiled_pattern("(a")
