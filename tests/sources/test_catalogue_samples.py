"""Every sample of every catalogue file gives the columns beside it and a valid OCSF object."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.sources.catalogue import Catalogue, Entry, load
from muniment.sources.testing import check_samples


@pytest.mark.parametrize("entry", [entry for entry in load().values() if entry.samples], ids=lambda entry: entry.name)
def test_samples_become_what_stands_beside_them(entry: Entry, catalogue: Catalogue, client: Any) -> None:
    found = check_samples(catalogue, entry, client)
    assert len(found) == len(entry.samples)
    wrong = [f"{entry.file}:{line}: {each}" for line, all_of_it in found.items() for each in all_of_it]
    assert not wrong, "\n".join(wrong)
