"""Framing of syslog streams: both framings, told apart frame by frame, whole and byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.wire.syslog_framing import Frame, Framer


def _counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def _whole(data: bytes, limit: int = 1000) -> list[Frame]:
    framer = Framer(limit)
    return framer.feed(data) + framer.close()


def _bytewise(data: bytes, limit: int = 1000) -> list[Frame]:
    framer = Framer(limit)
    frames = [frame for k in range(len(data)) for frame in framer.feed(data[k : k + 1])]
    return frames + framer.close()


CASES: dict[str, tuple[bytes, list[Frame]]] = {
    "counted": (_counted(b"<1>a") + _counted(b"<2>b\nc"), [Frame(b"<1>a", "octet"), Frame(b"<2>b\nc", "octet")]),
    "counted, with line ends between": (
        _counted(b"<1>a") + b"\n" + _counted(b"<2>b") + b"\r\n",
        [Frame(b"<1>a", "octet"), Frame(b"<2>b", "octet")],
    ),
    "lines": (b"<1>a\n<2>b\r\n\nc\n", [Frame(b"<1>a", "lf"), Frame(b"<2>b", "lf"), Frame(b"c", "lf")]),
    "lines that begin with a number": (
        b"2026-11-23 a\n29: *Mar\n5 users\n",
        [Frame(b"2026-11-23 a", "lf"), Frame(b"29: *Mar", "lf"), Frame(b"5 users", "lf")],
    ),
    "a last line without its end": (b"<1>a\n<2>b", [Frame(b"<1>a", "lf"), Frame(b"<2>b", "lf")]),
    "both framings on one connection": (
        b"<1>a\n" + _counted(b"<2>b") + b"<3>c\n" + _counted(b"<4>d"),
        [Frame(b"<1>a", "lf"), Frame(b"<2>b", "octet"), Frame(b"<3>c", "lf"), Frame(b"<4>d", "octet")],
    ),
    "counted without priority, once counting is known": (
        _counted(b"<1>a") + _counted(b"hello"),
        [Frame(b"<1>a", "octet"), Frame(b"hello", "octet")],
    ),
    "half a counted frame": (
        b"4 <1>a9 <2>b",
        [Frame(b"<1>a", "octet"), Frame(b"9 <2>b", "octet", "frame_incomplete", 1)],
    ),
    "a count too small": (
        b"4 <1>abc" + _counted(b"<2>b"),
        [Frame(b"<1>a", "octet"), Frame(b"bc", "octet", "framing_lost", 1), Frame(b"<2>b", "octet")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_frames(name: str) -> None:
    data, expected = CASES[name]
    assert _whole(data) == expected
    assert _bytewise(data) == expected


def test_nul_ends_the_lines_of_a_sender_that_began_so() -> None:
    """Python's SysLogHandler: NUL behind each message, and tracebacks have line ends inside."""
    framer = Framer()
    assert framer.feed(b"<1>a\nb\0<2>c\0") == [Frame(b"<1>a\nb", "nul"), Frame(b"<2>c", "nul")]


def test_a_line_sender_with_one_nul_is_not_held_back() -> None:
    framer = Framer()
    assert framer.feed(b"<1>a\n") == [Frame(b"<1>a", "lf")]
    assert framer.feed(b"<2>b\0c\n<3>d\n")[-1] == Frame(b"<3>d", "lf")


@pytest.mark.parametrize("feed", [_whole, _bytewise])
def test_an_overlong_counted_frame_leaves_in_pieces_and_the_stream_stays_in_step(feed: object) -> None:
    message = b"<1>" + b"x" * 2_500
    frames = feed(_counted(message) + _counted(b"<2>b"))  # type: ignore[operator]
    pieces = frames[:-1]
    assert b"".join(frame.data for frame in pieces) == message
    assert [(frame.reason, frame.part) for frame in pieces] == [("frame_too_large", k) for k in (1, 2, 3)]
    assert frames[-1] == Frame(b"<2>b", "octet")


@pytest.mark.parametrize("feed", [_whole, _bytewise])
def test_an_overlong_line_leaves_in_pieces_and_the_stream_stays_in_step(feed: object) -> None:
    message = b"<1>" + b"x" * 2_500
    frames = feed(message + b"\n<2>b\n")  # type: ignore[operator]
    assert b"".join(frame.data for frame in frames[:-1]) == message
    assert {frame.reason for frame in frames[:-1]} == {"frame_too_large"}
    assert frames[-1] == Frame(b"<2>b", "lf")


def test_a_count_beyond_belief_is_a_line() -> None:
    assert _whole(b"999999999 <1>a\n<2>b\n")[-1] == Frame(b"<2>b", "lf")


def test_a_count_beyond_belief_among_counted_frames_costs_its_line_and_no_more() -> None:
    frames = _whole(b"4 <1>a999999999 <2>b\n4 <3>c")
    assert [frame for frame in frames if not frame.reason] == [Frame(b"<1>a", "octet"), Frame(b"<3>c", "octet")]
    assert [frame.data for frame in frames if frame.reason] == [b"999999999 <2>b"]


MESSAGES = st.binary(min_size=0, max_size=40).map(lambda tail: b"<13>" + tail)


@given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(1, 30), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_counted_messages_survive_any_cutting(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(_counted, messages))
    framer = Framer()
    frames: list[Frame] = []
    position = k = 0
    while position < len(data):
        step = cuts[k % len(cuts)]
        frames += framer.feed(data[position : position + step])
        position, k = position + step, k + 1
    assert [frame.data for frame in frames + framer.close()] == messages
    assert not any(frame.reason for frame in frames)


@given(st.binary(max_size=300), st.integers(20, 60), st.integers(1, 50))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_framed_within_bounds_and_none_is_made_up(data: bytes, limit: int, step: int) -> None:
    framer = Framer(limit)
    frames: list[Frame] = []
    for start in range(0, len(data), step):
        frames += framer.feed(data[start : start + step])
        assert framer.n_bytes <= limit + 16
    frames += framer.close()
    assert all(len(frame.data) <= limit + 16 for frame in frames)
    position = 0
    for frame in frames:  # in order, each where the one before ended or later
        position = data.index(frame.data, position) + len(frame.data)


@given(
    st.lists(st.sampled_from([b"<1>a\n", b"4 <1>b", b"x\n", b"9 <", b"\0", b"\n", b"7 c", b"<2>", b"12"]), max_size=12)
)
@settings(max_examples=300, deadline=None)
def test_nothing_but_counts_and_trailers_is_left_out(parts: list[bytes]) -> None:
    data = b"".join(parts)
    kept = b"".join(frame.data for frame in _whole(data, 20))
    assert [byte for byte in data if byte in b"abcx<>"] == [byte for byte in kept if byte in b"abcx<>"]
