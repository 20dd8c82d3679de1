"""Every sample of every catalogue file gives the columns beside it and a valid OCSF object."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.sources.catalogue import Catalogue, Entry, Sample, load
from muniment.sources.testing import check_sample

SAMPLES = [(entry, sample) for entry in load().values() for sample in entry.samples]


@pytest.mark.parametrize(("entry", "sample"), SAMPLES, ids=lambda v: v.name)
def test_a_sample_becomes_what_stands_beside_it(
    entry: Entry, sample: Sample, catalogue: Catalogue, client: Any
) -> None:
    wrong = check_sample(catalogue, entry, sample, client)
    assert not wrong, f"{entry.file}:{sample.line}\n" + "\n".join(wrong)
