"""The language: what a query means, where a mistake is, and that SQL and the Python matcher never disagree."""

from __future__ import annotations

import contextlib
import json
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_ledger import MAPPINGS, MemoryLedger, empty, record

from muniment.errors import RejectedError
from muniment.limits import QUERY_CHARS_MAX
from muniment.search.columns import COLUMNS
from muniment.search.engine import Engine
from muniment.search.projector import Projector
from muniment.search.query import matcher, parse_query, where
from muniment.search.rows import as_row, select_list

NOW = 1_790_000_100_000_000_000

EVENTS = [
    record(action="user.login", outcome="failure", actor_name="Anna.Keller", actor_email="anna.keller@example.com",
           ip="10.1.2.3", message="Login failed for anna.keller: wrong password", severity="Medium", **{"class": "3002"},
           time="2026-09-21T12:00:00.000001Z", metadata={"region": "eu-central-1", "try": 3, "tags": ["red", "blue"]}),
    record(action="user.login", outcome="success", actor_name="müller", actor_id="u-17", ip="2001:db8::5",
           message="Grüße, MÜLLER ist da", request_id="ABCDEF-123456-7890", user_agent="Mozilla/5.0 (X11)",
           metadata={"region": "us-east-1", "ok": True, "ratio": 0.5}),
    record(action="document.delete", outcome="success", actor_id="Anna", target_name="quarterly report 2026",
           target_id="doc-00000009", message='deleted "quarterly report 2026" from a_b%c', ip="192.168.7.9",
           reason="ticket OPS-7", time="2026-08-01T00:00:00Z", metadata={"try": "3", "none": None}),
    record(action="", message="", metadata={}),
    record(message="time-out:10:30 fe80::1 https://x.example/y?a=b mail to bob@example.com, foo_bar foo-bar foobar",
           **{"class": "6003"}),
    b'{"$quarantine":{"reason":"not JSON","door":"http"},"$raw":"<<12>> Keller garbage"}',
]  # fmt: skip


@pytest.fixture
def filled(engine: Engine) -> Engine:
    ledger = MemoryLedger()
    ledger.append(EVENTS)
    Projector(engine, ledger, None, MAPPINGS).recover()
    return engine


def _rows(engine: Engine) -> list[dict[str, object]]:
    columns = (*COLUMNS, "record")
    return [as_row(columns, row) for row in engine.query(f"SELECT {select_list(columns)} FROM events").rows]


def _found(engine: Engine, q: str) -> set[int]:
    condition = where(parse_query(q, NOW).node)
    rows = engine.query(f"SELECT `index` FROM events WHERE {condition.sql}", condition.parameters).rows
    return {row[0] for row in rows}


MEANINGS: list[tuple[str, set[int]]] = [
    ("", {0, 1, 2, 3, 4, 5}),
    ("*", {0, 1, 2, 3, 4, 5}),
    ("action:user.login", {0, 1}),
    ("action:USER.LOGIN outcome:success", {1}),
    ("action:user.*", {0, 1}),
    ("action:=User.Login", set()),
    ("action:*", {0, 1, 2}),
    ("-action:*", {3, 4, 5}),
    ("actor:anna", {2}),
    ("actor:anna*", {0, 2}),
    ("actor.name:anna.keller", {0}),
    ("actor:(anna OR u-17)", {1, 2}),
    ("actor_name:MÜLLER", {1}),
    ("müller", {1}),
    ("keller", {0, 5}),
    ("kelle", set()),
    ("kelle*", {0, 5}),
    ("*elle*", {0, 5}),
    ("wrong password", {0}),
    ('"wrong password"', {0}),
    ('"password wrong"', set()),
    ('"rong pass"', set()),
    ("message:password", {0}),
    ("message:*rong*", {0}),
    ('message:"wrong password"', {0}),
    ("abcdef-123456-7890", {1}),
    ("request:abcdef-123456-7890", {1}),
    ("ip:10.0.0.0/8", {0}),
    ("ip:10.1.2.3", {0}),
    ("ip:10.1.*", {0}),
    ("ip:2001:db8::/32", {1}),
    ("ip:[192.168.0.0 TO 192.168.255.255]", {2}),
    ("-ip:*", {3, 4, 5}),
    ("class_uid>=3002", {0, 4}),
    ("class_uid:[3002 TO 6002]", {0}),
    ("class_uid:{3002 TO *]", {4}),
    ("class_uid:3002", {0}),
    ("time:2026-08-01", {2}),
    ("time<2026-08", set()),
    ("time<=2026-08", {2}),
    ("late:true", {0, 2}),
    ("action:/^user\\.(login|logout)$/", {0, 1}),
    ("target:*report*", {2}),
    ("a_b%c", {2}),
    ("foo-bar", {4}),
    ("foo_bar", {4}),
    ("10:30", {4}),
    ("fe80::1", {4}),
    ("https://x.example/y?a=b", {4}),
    ("bob@example.com", {4}),
    ("metadata.region:EU-central-1", {0}),
    ("metadata.region:*east*", {1}),
    ("metadata.try:3", {0, 2}),
    ("metadata.try>2", {0, 2}),
    ("metadata.ratio<1", {1}),
    ("metadata.ok:true", {1}),
    ("metadata.tags.1:blue", {0}),
    ("metadata.none:*", set()),
    ("quarantine:*", {5}),
    ("quarantine:json", {5}),
    ("login OR deleted", {0, 1, 2}),
    ("(login OR deleted) -success", {0}),
    ("NOT (login OR deleted)", {3, 4, 5}),
    ('reason:"ticket ops-7"', {2}),
]


@pytest.mark.parametrize(("q", "expected"), MEANINGS, ids=[q for q, _ in MEANINGS])
def test_a_query_finds_what_it_says_in_the_store_and_in_python(filled: Engine, q: str, expected: set[int]) -> None:
    test = matcher(parse_query(q, NOW).node)
    assert {int(str(row["index"])) for row in _rows(filled) if test(row)} == expected
    assert _found(filled, q) == expected


MISTAKES = [
    ("(a", 0, "never closed"),
    ("a)", 1, "never opened"),
    ('say "x', 4, "never closed"),
    ("a OR", 4, "too early"),
    ("action:", 7, "too early"),
    ("ip:foo", 3, "not an address"),
    ("late:maybe", 5, "neither true nor false"),
    ("time:yesterday", 5, "not a time"),
    ("class_uid:abc", 10, "not a whole number"),
    ("action:/(/ )", 11, "missing before"),
    ("action:/a[/", 7, "pattern is not valid"),
    ("x [a", 2, "range"),
    ("id:5", 3, "UUID"),
    ("a\x00b", 1, "control character"),
    ("x" * (QUERY_CHARS_MAX + 1), QUERY_CHARS_MAX, "longer than"),
    ("(" * 65 + "a" + ")" * 65, 64, "more than 64"),
]


@pytest.mark.parametrize(("q", "column", "words"), MISTAKES, ids=[q[:20] for q, _, _ in MISTAKES])
def test_a_mistake_is_shown_at_its_column(q: str, column: int, words: str) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        parse_query(q, NOW)
    assert caught.value.column == column


def test_an_unknown_field_is_a_warning_with_the_nearest_name() -> None:
    assert "did you mean outcome?" in parse_query("outcom:failure", NOW).warnings[0]


_WORDS = st.sampled_from(
    ["anna", "ANNA", "keller", "müller", "login", "user.login", "failed", "foo-bar", "10.1.2.3", "3", "quarterly report",
     "a_b%c", "bob@example.com", "eu-central-1", "true", "x", 'say "hi"', "back\\slash", "*", "an*", "*er*", "fo*ar", "%", "_", "'"]
)  # fmt: skip
_FIELDS = st.sampled_from(
    [
        "actor",
        "actor_name",
        "action",
        "message",
        "target",
        "metadata.region",
        "metadata.try",
        "outcome",
        "request",
        "zzz",
    ]
)


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _term(word: str, field: str | None, operator: str, quoted: bool) -> str:
    plain = not quoted and not set(word) & set(' "\\()')
    value = word if plain else _quoted(word)
    return f"{field}{operator}{value}" if field else value


_TERMS = st.builds(
    _term, _WORDS, st.none() | _FIELDS, st.sampled_from([":", ":", ":", ":=", ">=", "<", ">", "<="]), st.booleans()
)
_QUERIES = st.recursive(
    _TERMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + " OR ".join(parts) + ")"),
        inner.map(lambda part: f"-({part})"),
    ),
    max_leaves=5,
)
_RECORDS = st.fixed_dictionaries(
    {"message": st.lists(_WORDS, max_size=4).map(" ".join)},
    optional=dict.fromkeys(
        ("actor_name", "actor_id", "action", "outcome", "target_name", "request_id", "user_agent", "reason"), _WORDS
    )
    | {"metadata": st.dictionaries(st.sampled_from(["region", "try"]), st.one_of(_WORDS, st.integers(-5, 5)))},
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=st.lists(_RECORDS, min_size=1, max_size=8), queries=st.lists(_QUERIES, min_size=8, max_size=16))
def test_sql_and_matcher_agree(engine: Engine, records: list[dict[str, object]], queries: list[str]) -> None:
    empty(engine)
    ledger = MemoryLedger()
    ledger.append([json.dumps(each, ensure_ascii=len(records) % 2 == 0).encode() for each in records])
    Projector(engine, ledger, None, MAPPINGS).recover()
    rows = _rows(engine)
    for q in queries:
        test = matcher(parse_query(q, NOW).node)
        assert _found(engine, q) == {int(str(row["index"])) for row in rows if test(row)}, q


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet='ab:()"-*/[]{}=<> \\.TOANDR', max_size=60))
def test_any_text_gives_a_tree_or_a_place(q: str) -> None:
    try:
        where(parse_query(q, NOW).node)
    except RejectedError as error:
        is_placed = error.column is not None and 0 <= error.column <= len(q)
    else:
        is_placed = True
    assert is_placed


@pytest.mark.parametrize("piece", ["a ", "(a) ", "-", "a:b ", '"', "a OR ", "[", "/", "*", "a:/b/ ", "\\", "a:[b TO "])
def test_parsing_work_grows_with_the_length_only(piece: str) -> None:
    def parse(pieces: int) -> None:
        with contextlib.suppress(RejectedError):
            where(parse_query((piece * pieces).strip(), NOW).node)

    def calls(pieces: int) -> int:
        """How many calls, of Python's functions and of C's, so many pieces take."""
        made = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            parse(pieces)
        finally:
            sys.setprofile(None)
        return made

    most = QUERY_CHARS_MAX // len(piece)
    began = time.process_time()  # what happens inside one call, as a pattern that backtracks: seconds, if it does
    parse(most)
    assert time.process_time() - began < 10.0
    assert calls(most) < 4.2 * calls(most // 4) + 1_000
