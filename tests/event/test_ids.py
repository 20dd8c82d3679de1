"""Ids: order, form, and that a producer's personal id never shows."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from muniment.event.ids import UUID_PATTERN, event_uuid, uuid7

KEY = bytes(range(32))


@given(st.integers(0, 2**61), st.binary(min_size=10, max_size=10))
def test_uuid7_is_a_valid_version_7_uuid_of_its_moment(now_ns: int, random: bytes) -> None:
    value = uuid.UUID(uuid7(now_ns, random))
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == now_ns // 1_000_000


@given(st.text(max_size=64), st.text(max_size=600))
def test_any_producer_id_becomes_one_stable_uuid(source: str, producer_id: str) -> None:
    first = event_uuid(source.encode("utf-8", "replace").decode(), producer_id, KEY)
    assert UUID_PATTERN.fullmatch(first)
    assert first == event_uuid(source.encode("utf-8", "replace").decode(), producer_id, KEY)


def test_a_uuid_is_kept_and_anything_else_depends_on_source_and_key() -> None:
    assert event_uuid("a", "0190163D-8694-739B-AEA5-966C26F8AD91", KEY) == "0190163d-8694-739b-aea5-966c26f8ad91"
    ids = {
        event_uuid("a", "anna@x.example", KEY),
        event_uuid("b", "anna@x.example", KEY),
        event_uuid("a", "anna@x.example", b"k" * 32),
    }
    assert len(ids) == 3
