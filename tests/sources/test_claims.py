"""An operator's entry that would take records of shipped entries is told so, with some of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue, Entry, beside, read_entry
from muniment.sources.claims import check_claims, claims

TEXT = """\
name: {name}
title: Mine
vendor: us
docs: none
owner: me
rhythm_s: 60
time: [at]
{said}
samples:
  - {{origin: ours, record: {{"mine": "x"}}, expect: {{outcome: unknown}}}}
"""


def _entry(catalogue: Catalogue, said: str, name: str = "mine") -> Entry:
    return beside(catalogue, read_entry(TEXT.format(name=name, said=said), f"{name}.yaml"))[name]


@pytest.mark.parametrize(
    "said",
    [
        "recognise: {message: {present: true}}",
        "recognise: {syslog.message: {present: true}}",
        "recognise: {syslog.message: {present: true}}\ninside: syslog",
        "inside: syslog",
        "recognise: {mine: x}\ninside: syslog\nalone: {message: {matches: '.'}}",
        "recognise: {user: {present: true}}",
    ],
)
def test_what_everybody_has_takes_the_records_of_general_readers(said: str, catalogue: Catalogue, client: Any) -> None:
    with pytest.raises(
        RejectedError, match=r"mine\.yaml: it would take records .* narrow what stands under `recognise:`"
    ) as error:
        check_claims(catalogue, _entry(catalogue, said), client)
    told = re.findall(r"' of (\w+)", str(error.value))
    assert 1 <= len(told) <= 3
    assert catalogue.keys() >= set(told)


def test_what_products_read_is_not_taken_and_so_no_claim(catalogue: Catalogue, client: Any) -> None:
    by_name = "recognise: {eventSource: {present: true}, eventVersion: {present: true}}"  # as CloudTrail's
    assert not claims(catalogue, [_entry(catalogue, by_name)], client)


@pytest.mark.parametrize(
    "said", ["recognise: {mine: {present: true}}", "", "recognise: {syslog.app: mined}\ninside: syslog"]
)
def test_what_is_somebody_s_own_takes_nothing(said: str, catalogue: Catalogue, client: Any) -> None:
    check_claims(catalogue, _entry(catalogue, said), client)


def test_each_of_several_is_told_also_behind_another(catalogue: Catalogue, client: Any) -> None:
    said = "recognise: {message: {present: true}}"
    own = [_entry(catalogue, said, name) for name in ("first", "second")]
    good = _entry(catalogue, "recognise: {mine: {present: true}}", "good")
    assert set(claims(catalogue, [*own, good], client)) == {"first", "second"}


def test_an_entry_in_the_place_of_a_shipped_one_may_read_its_samples(catalogue: Catalogue, client: Any) -> None:
    said = "rank: 10\nrecognise: {eventSource: {matches: 'amazonaws'}, eventVersion: {present: true}}"
    assert not claims(catalogue, [_entry(catalogue, said, "aws_cloudtrail")], client)
