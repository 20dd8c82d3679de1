"""A back-test of a rule finds exactly what the rule would have found as the events came in, whatever the SQL could tell."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_ledger import MAPPINGS, MemoryLedger, record

from muniment.detect import history as history_module
from muniment.detect.alerts import SOURCE
from muniment.detect.condition import (
    Address,
    All,
    AnyOf,
    Compare,
    Condition,
    Exists,
    IsNull,
    No,
    Regex,
    SameAs,
    Text,
    TimePart,
    Wild,
)
from muniment.detect.evaluate import Ready
from muniment.detect.history import History
from muniment.detect.rule import LogSource, Rule
from muniment.search.engine import Engine
from muniment.search.projector import Projector

_NAMES = ("", "anna", "ANNA", "Ännä", "ännä", "ann", "a\nn", "bert", "anna.bert", 'a"n\\n', "100%", "a_n",
          "Anna@Example.com", "anna@example.com", "user:anna@example.com", "\u212aim@example.com", "\u0130da@example.com", "\u1c89@example.com")  # fmt: skip
"""Among them mail addresses, one with the sign of Kelvin and one with a dotted I, whose small letters are ASCII or are two, one with a
letter whose small one the engine knows and Python 3.11 does not."""
_MADE = ("account", "target_account", "src_subnet")
_TEXTS = ("actor_id", "actor_name", "target_id", "target_name", "message", "action")
_RECORD = ("record.grantee", "record.metadata.grantee", "record.metadata.who.name")
_ACTIONS = ("role.grant", "role.revoke", "user.login")


def _events() -> Iterator[bytes]:
    """Each name as actor beside each as target, and as what only the record says."""
    for n, actor in enumerate(_NAMES):
        for m, target in enumerate(_NAMES):
            known = {"actor_id": actor, "actor_name": _NAMES[m - n], "target_id": target, "target_name": _NAMES[n - m]}
            more = ({"metadata": {"grantee": target}}, {"grantee": [actor, target]}, {}, {"metadata.grantee": target})
            yield record(
                action=_ACTIONS[(n + m) % 3], message=f"{actor} and {target}", severity=("", "Low", "High")[n % 3],
                **{"class": ("", "3005", "3002")[m % 3]}, **known, **more[(n * 5 + m) % 4],
            )  # fmt: skip
    plain = record(action="role.grant", actor_id="anna", metadata={"grantee": "anna"})
    yield plain.replace(b"grantee", b"gr\\u0061ntee")
    yield record(action="role.grant", actor_id="anna", log='{"metadata": {"grantee": "anna"}}', stream="stdout")
    yield record(action="role.grant", actor_id="anna", log='{"grant\\u0065e": "Anna"}', stream="stdout")
    # Texts that the store keeps once, in a column: the name of the key stands there and not in the rest of the record.
    yield record(action="role.grant", actor_id="anna", target_name="grantee", metadata={"grantee": "anna"})


_WORDS = st.sampled_from(
    [*_NAMES, "nna", "role.", "grant", "low", "high", "kim@", "i̇da@example.com", "ida@example.com"]
)
_PARTS = st.lists(st.one_of(_WORDS.filter(bool), st.sampled_from(list(Wild))), max_size=3).map(tuple)
_COLUMN = st.sampled_from((*_TEXTS, *_MADE, "quarantine"))
_FIELD = st.sampled_from((*_TEXTS, *_MADE, *_RECORD))
_TESTS: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Text, st.one_of(_FIELD, st.none()), _PARTS, st.booleans()),
    st.builds(
        Regex,
        _FIELD,
        st.sampled_from(
            [".", "a.n", "(?s)a.n", "^$", "anna|bert", "^role[.]", "n$", "(?i)ÄNN", "^kim@", "@example", "\u1c8a@"]
        ),
    ),
    st.builds(SameAs, _FIELD, _FIELD, st.booleans(), st.booleans()),
    st.builds(IsNull, st.one_of(_COLUMN, _FIELD)),
    st.builds(Exists, _FIELD, st.booleans()),
    st.builds(Address, st.just("src_ip"), st.sampled_from([ip_network("192.0.2.0/25"), ip_network("2001:db8::/32")])),
    st.builds(
        Text, st.just("src_ip"), st.sampled_from([("192.0.2.9",), ("192.", Wild.MANY), ("2001:DB8::1",)]), st.booleans()
    ),
    st.builds(TimePart, st.just("time"), st.just("minute"), st.integers(10, 14), st.sampled_from(["=", "<"])),
    st.builds(Compare, st.just("severity_id"), st.sampled_from(["<", ">=", "!="]), st.sampled_from([1.0, 2.0, 4.0])),
)
_CONDITIONS = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds(No, inner),
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
_SOURCES = st.builds(
    LogSource,
    st.sampled_from(["", "", "user_access_management"]),
    st.just("muniment"),
    st.sampled_from(["", "", "flat", "other"]),
)


@pytest.fixture
def size(engine: Engine) -> int:
    """The events are in the store."""
    ledger = MemoryLedger()
    ledger.append(list(_events()))
    Projector(engine, ledger, None, MAPPINGS).recover()
    return ledger.size


_ANY = LogSource("", "muniment", "")


def _rule(condition: Condition, source: LogSource = _ANY) -> Rule:
    return Rule("it", "It", "low", "", "", "", (), (), (), source, condition)


def _back_tested(engine: Engine, rule: Rule, size: int) -> tuple[int, list[int]]:
    found = History(engine, {rule.key: rule}.__getitem__, {}).back_test(rule.key, None, None, size)
    assert sum(found.by_day.values()) == found.hits
    return found.hits, list(found.indexes)


def _came_in(engine: Engine, rule: Rule) -> list[int]:
    ready = Ready((rule,), (), {})
    rows = ready.wanted.read_new(engine, 0, 2**40, SOURCE)
    return [rows.indexes[place] for _, places in ready.found(rows, engine) for place in places]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=_CONDITIONS, source=_SOURCES)
@example(condition=Regex("account", "\u1c8a@"), source=_ANY)
@example(condition=No(Text("target_account", (Wild.MANY, "da@example.com"), False)), source=_ANY)
@example(condition=SameAs("account", "target_account", False, False), source=_ANY)
def test_a_back_test_finds_what_came_in(engine: Engine, size: int, condition: Condition, source: LogSource) -> None:
    rule = _rule(condition, source)
    expected = _came_in(engine, rule)
    assert _back_tested(engine, rule, size) == (len(expected), expected)


_SELF = All(
    (
        Text("action", ("role.grant",)),
        AnyOf((SameAs("actor_id", "target_id", False, False), SameAs("actor_id", "record.metadata.grantee", False, False))),
    )
)  # fmt: skip


def test_what_columns_decide_is_counted_and_the_rest_looked_at(
    engine: Engine, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of both are shown, and all are counted."""
    monkeypatch.setattr(history_module, "BACKTEST_HITS_MAX", 5)
    monkeypatch.setattr(history_module, "DETECT_HISTORY_PART_EVENTS", 7)
    monkeypatch.setattr(history_module, "DETECT_HISTORY_STEP", 3)
    rule = _rule(_SELF)
    expected = _came_in(engine, rule)
    found = History(engine, {rule.key: rule}.__getitem__, {}).back_test(rule.key, None, None, size)
    assert (found.hits, list(found.indexes)) == (len(expected), expected[-5:])
    grants = engine.query("SELECT count() FROM events WHERE action = 'role.grant'").rows[0][0]
    assert len(expected) > 5
    assert 0 < found.looked_at < grants
