"""In a sealed source a mail address is sealed wherever it stands, and nothing else is taken for one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer, unseal
from muniment.sources.catalogue import load
from muniment.sources.registry import SourceRegistry

PLAN = SealPlan.compile([{"path": "user.email", "kind": "email"}], has_addresses=True)
SEALER = Sealer(SealPlan.from_bytes(PLAN.to_bytes()))
ANNA = "anna@example.com"


def back(record: bytes) -> tuple[bytes, set[str]]:
    """A record once sealed, and whose values were taken out; it can be put together again."""
    sealed, groups = SEALER.seal(record)
    values = {b"%d" % number: raw for taken in groups.values() for number, raw in taken.items()}
    assert unseal(sealed, values) == record
    json.loads(sealed)
    return sealed, set(groups)


@pytest.mark.parametrize(
    "record",
    [
        {"invited": ANNA},
        {"user": {"email": ANNA}, "note": f"sent to {ANNA}"},
        {"recipients": ["x", {"to": f"Anna Example <{ANNA}>"}]},
        {"by": {ANNA: 1}},
        {"body": json.dumps({"who": ANNA, "lines": f"a\n{ANNA}"})},
        {"url": "https://example.org/reset?mail=anna%40example.com&n=1", "next": "/?q=%3Danna%40example.com"},
        {"message": f"user='{ANNA}', rcpt=<{ANNA}>; mailto:{ANNA}."},
    ],
)
def test_an_address_at_a_place_that_nobody_named_is_sealed(record: dict[str, Any]) -> None:
    for text in (json.dumps(record), json.dumps(record).replace("<", "\\u003c"), json.dumps(record, indent=1)):
        sealed, people = back(text.encode())
        assert b"anna" not in sealed.lower().replace(b"anna example", b"")
        assert people == {ANNA}


def test_letters_beyond_ascii_belong_to_an_address() -> None:
    sealed, people = back('{"to":"jürgen@müller.de, o\'brien@example.org"}'.encode())
    assert people == {"jürgen@müller.de", "o'brien@example.org"}
    assert b"@" not in sealed


@pytest.mark.parametrize(
    "text",
    [
        '{"InternetMessageId":"<20261128.1@mx.example.com>","messageID":"1@mx.example.com","message_id":["<1@mx.example.com>"]}',
        '{"line":"message-id=<20261128.1@mx.example.com>","also":"{\\"msgid\\":\\"\\\\u003c1@mx.example.com\\"}"}',
        '{"unit":"user@1000.service","also":"getty@tty1.service"}',
        '{"file":"icon@2x.png","package":"lodash@4.17.21","image":"app@sha256:0a1b","at":"@example.com","host":"a@b"}',
    ],
)
def test_what_only_looks_like_an_address_stays(text: str) -> None:
    assert back(text.encode()) == (text.encode(), set())


def test_without_the_plan_saying_so_only_named_places_count() -> None:
    sealer = Sealer(SealPlan.compile([{"path": "user.email", "kind": "email"}]))
    assert sealer.seal(b'{"invited":"anna@example.com"}')[1] == {}


@given(
    local=st.from_regex(r"[a-z][a-z0-9]{1,8}([._+-][a-z0-9]{2,6})?", fullmatch=True),
    domain=st.from_regex(r"([a-z][a-z0-9-]{0,8}[a-z0-9]\.){1,3}(com|de|example)", fullmatch=True),
    around=st.lists(st.text(max_size=12), max_size=4),
    before=st.sampled_from(["", " ", "<", "\n", '"', "=", "(", "\t", "\u2028", "“", "。"]),
    after=st.sampled_from(["", " ", ">", '"', ".", "”", ", b@c.de", "\\"]),
    deep=st.integers(0, 2),
    is_ascii=st.booleans(),
)
def test_an_address_anywhere_in_a_document_is_sealed_and_comes_back(
    local: str, domain: str, around: list[str], before: str, after: str, deep: int, is_ascii: bool
) -> None:
    text: Any = f"{before}{local}@{domain}{after}"
    for _ in range(deep):
        text = json.dumps({"in": text, "n": 1}, ensure_ascii=is_ascii)
    record = json.dumps({"a": around, "b": [{"c": text}], "d": around}, ensure_ascii=is_ascii).encode()
    sealed, people = back(record)
    assert f"{local}@{domain}" in people
    assert f"{local}@{domain}".encode() not in sealed


_ADDRESS = re.compile(r"[\w+.-]+@(?:[\w-]+\.)+[A-Za-z]{2,}")
_MESSAGE_ID = re.compile(r'(?i)"message_?id": *"<[^"]*>"')


def test_no_address_of_any_sample_is_left_in_the_clear() -> None:
    registry = SourceRegistry(sa.create_engine("sqlite://"), load())
    plan = registry.plan_for("a source that nobody registered")
    assert plan is not None
    sealer = Sealer(plan)
    left = []
    for entry in load().values():
        for sample in entry.samples:
            if not sample.record.startswith(b"{"):
                continue
            sealed, groups = sealer.seal(sample.record)
            values = {b"%d" % number: raw for taken in groups.values() for number, raw in taken.items()}
            assert unseal(sealed, values) == sample.record
            left += [
                (entry.name, sample.name, found) for found in _ADDRESS.findall(_MESSAGE_ID.sub("", sealed.decode()))
            ]
    assert left == []
