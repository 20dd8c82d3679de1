"""All patterns over a text tried at once find what they find one by one, and keys that stand twice are seen."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.limits import SEAL_PATTERNS_BYTES_MAX
from muniment.privacy import seal
from muniment.privacy.places import Reader, Spans, has_twins
from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Patterns, Sealer
from muniment.sources import catalogue

ENTRIES = catalogue.load()
PLAN = SealPlan.compile(
    {json.dumps(row, sort_keys=True): row for e in ENTRIES.values() for row in (*e.personal, *e.people)}.values()
)
RECORDS = [sample.record for entry in ENTRIES.values() for sample in entry.samples]
AT_ONCE = Sealer(PLAN)


@pytest.fixture(scope="module")
def one_by_one() -> Sealer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "SEAL_PATTERNS_AT_ONCE_MIN", 10**9)
        return Sealer(PLAN)


def test_every_sample_of_the_catalogue_is_sealed_alike(one_by_one: Sealer) -> None:
    assert any(patterns._set is not None for _, patterns in AT_ONCE._found_by)
    assert not any(patterns._set is not None for _, patterns in one_by_one._found_by)
    for record in RECORDS:
        assert AT_ONCE.seal(record) == one_by_one.seal(record)


_WORDS = st.sampled_from(
    "Failed password for invalid user anna from 203.0.113.7 port 22 ssh2 user=bob rhost=2001:db8::1 login: 'eve' "
    'SRC=192.0.2.4 DST=192.0.2.5 acct="root" COMMAND=/bin/su <mail@example.com> [client 198.51.100.1:80] é \x00 \n'.split(
        " "
    )
)


@given(st.lists(_WORDS, max_size=14).map(" ".join), st.sampled_from(["message", "event", "log"]), st.booleans())
def test_any_text_is_sealed_alike(one_by_one: Sealer, text: str, name: str, is_syslog: bool) -> None:
    document: dict[str, Any] = {"syslog": {"app": "sshd", "message": text}} if is_syslog else {name: text}
    record = json.dumps(document).encode()
    assert AT_ONCE.seal(record) == one_by_one.seal(record)


def test_the_engine_has_room_for_all_patterns_of_a_place() -> None:
    """Measured: with 470 bytes for each instruction of the patterns it began anew at nearly every text, with 590 it did not."""
    for place, patterns in AT_ONCE._found_by:
        size = sum(PLAN.texts[number].pattern.programsize for number in patterns._numbers)
        assert size * 600 <= SEAL_PATTERNS_BYTES_MAX, AT_ONCE._paths[place]


def test_where_the_engine_gives_up_every_pattern_is_tried() -> None:
    numbers = [n for n, text in enumerate(PLAN.texts) if text.path == ("message",)]
    patterns = Patterns(numbers, PLAN.texts)
    assert len(patterns.that_match("nothing of interest")) < len(numbers)

    patterns._set = type("GivenUp", (), {"Match": lambda self, text: None})()
    assert list(patterns.that_match("nothing of interest")) == numbers


_KEYS = st.sampled_from(["user", "name", "x", "a b", "é", 'q"q', ":"])
_DOCUMENTS = st.recursive(
    st.sampled_from(['"user"', '"a\\":\\"user\\":"', "1", "null", '":"', '"\\\\"']),
    lambda inner: st.lists(st.tuples(_KEYS, inner), max_size=4).map(
        lambda pairs: "{" + ", ".join(f"{json.dumps(key)} : {value}" for key, value in pairs) + "}"
    ),
    max_leaves=8,
)


@given(_DOCUMENTS)
def test_a_key_that_stands_twice_in_an_object_is_seen(document: str) -> None:
    twice = list[str]()

    def look(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        twice.extend(key for key in keys if keys.count(key) > 1)

    json.loads(document, object_pairs_hook=look)
    found = has_twins(document.encode(), frozenset({b"user", b"name"}))
    if {"user", "name"}.intersection(chain(twice)):
        assert found
    if not twice:
        assert not found


_PATHS = [("user",), ("user", "name"), ("user", -1, "name"), ("user", 0), ("x", "user"), ("x", 1, "user"), ("é", -1)]


@given(_DOCUMENTS | st.lists(_DOCUMENTS, max_size=3).map(lambda inner: f'{{"user": [{", ".join(inner)}], "x": {{}}}}'))
def test_the_quick_way_to_values_finds_what_the_walk_over_all_tokens_finds(document: str) -> None:
    record = document.encode()
    if not record.startswith(b"{") or has_twins(record, frozenset(key.encode() for key in ("user", "name", "x", "é"))):
        return
    walked = {n: [record[a:b] for a, b in where] for n, where in Spans(_PATHS).of(record).items()}
    walked = {n: kept for n, raws in walked.items() if (kept := [raw for raw in raws if raw != b"null"])}
    assert Reader(_PATHS).read(record) == walked
