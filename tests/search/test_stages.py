"""What is expected of sources that mix formats is learned of whole blocks, and given up for a while where it was wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from muniment.search.stages import Stages
from muniment.sources.catalogue import load
from muniment.sources.recognition import Recogniser


def test_signs_are_learned_of_whole_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.search.stages._ROWS_MIN", 4)
    monkeypatch.setattr("muniment.search.stages._TRUSTED", 1)
    catalogue = load()
    recogniser, stages = Recogniser(catalogue), Stages()
    told = [(sample.record, name) for name in ("okta", "kubernetes") for sample in catalogue[name].samples[:6]]
    rows = pa.table({"source": ["s"] * len(told), "record": pa.array([text for text, _ in told], pa.binary())})
    names = np.asarray([name for _, name in told], object)

    def expected() -> list[str]:
        return [name for name, _ in stages.expected(rows, recogniser)]

    assert expected() == []
    stages.learn(rows, recogniser, names)
    assert expected() == ["kubernetes", "okta"]
    stages.learn(rows.slice(0, 6), recogniser, names[:6])  # what no guess was right about
    assert expected() == [], "it is time to name all, and not that alone"
    stages.learn(rows, recogniser, names)
    assert expected() == ["kubernetes", "okta"]
    stages.doubt(recogniser, wrong=6, count=12)
    assert expected() == [], "given up"
    assert expected() == [], "and named"
    stages.learn(rows, recogniser, names)
    assert expected() == ["kubernetes", "okta"]
