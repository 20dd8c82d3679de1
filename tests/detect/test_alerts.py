"""An alert says how many of its events came from each address it names, however they came to be counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from muniment.detect.alerts import Alert, AlertBook, Finding, alert_of, record_of
from muniment.detect.correlation import Correlation
from muniment.errors import RejectedError

_RULE = Correlation(
    "r", "r", "Many addresses of one network", "high", "", "Muniment", "", (), (), (), "value_count", (), 600, ("src_subnet",)
)  # fmt: skip
_NETWORK = (("src_subnet", "198.51.100.0/24"),)


def _finding(first: int, *origins: str, **more: Any) -> Finding:
    """Events from `first` on, a second each, one from each of these addresses."""
    indexes = tuple(range(first, first + len(origins)))
    values = {"addresses": tuple(dict.fromkeys(filter(None, origins)))}
    found = Finding(_RULE, _NETWORK, indexes, first * 10**6, (first + len(origins)) * 10**6, values, origins=origins)
    return replace(found, **more)


def _book() -> tuple[AlertBook, list[bytes]]:
    written: list[bytes] = []
    return AlertBook(lambda records, ids: written.extend(records), lambda: 10**18), written


def _only(book: AlertBook) -> Alert:
    (alert,) = book.all()
    return alert


def test_events_are_counted_by_address_as_an_alert_grows() -> None:
    book, _ = _book()
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2", "198.51.100.1")])
    assert _only(book).by_address == {"198.51.100.1": 2, "198.51.100.2": 1}
    book.apply([_finding(4, "198.51.100.2"), _finding(5, "198.51.100.3"), _finding(6, "")])
    assert _only(book).by_address == {"198.51.100.1": 2, "198.51.100.2": 2, "198.51.100.3": 1}
    assert _only(book).count == 6


def test_what_was_counted_before_a_crash_is_not_counted_again() -> None:
    book, _ = _book()
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2")])
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2")])
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2", "198.51.100.2")])
    assert _only(book).by_address == {"198.51.100.1": 1, "198.51.100.2": 2}
    assert _only(book).count == 3


def test_the_record_has_the_counts_beside_the_addresses_and_gives_them_back() -> None:
    """Beside, not as a mapping: an address is personal, and the keys of an object are not sealed."""
    book, written = _book()
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2", "198.51.100.1")])
    event = orjson.loads(written[0])
    assert (event["addresses"], event["address_counts"]) == (["198.51.100.1", "198.51.100.2"], [2, 1])
    assert alert_of(written[0]).by_address == {"198.51.100.1": 2, "198.51.100.2": 1}
    assert alert_of(record_of(_only(book), "alert.update")).by_address == _only(book).by_address


def test_an_alert_of_before_says_no_counts_and_goes_on_without() -> None:
    book, written = _book()
    book.apply([_finding(1, "198.51.100.1", "198.51.100.2")])
    event = orjson.loads(written[0])
    del event["address_counts"]
    book.forget()
    book.load([orjson.dumps(event).decode()])
    assert _only(book).by_address == {}
    book.apply([_finding(3, "198.51.100.1")])
    assert _only(book).by_address == {}
    assert _only(book).count == 3


def test_of_many_addresses_those_that_are_named_are_counted() -> None:
    book, _ = _book()
    book.apply([_finding(1, *(f"2001:db8::{n:x}" for n in range(80)), "2001:db8::1")])
    counts = _only(book).by_address
    assert len(counts) == len(_only(book).of("addresses")) == 50
    assert counts["2001:db8::1"] == 2
    assert counts["2001:db8::2"] == 1


def test_an_alert_that_is_told_without_origins_has_no_counts() -> None:
    """What alerts add up to names an address, and no event."""
    book, _ = _book()
    book.apply([_finding(1, "198.51.100.1", origins=())])
    assert _only(book).of("addresses") == ("198.51.100.1",)
    assert _only(book).by_address == {}
    with pytest.raises(RejectedError, match="no such alert"):
        book.get("0" * 36)
