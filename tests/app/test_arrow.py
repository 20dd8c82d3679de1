"""Arrow takes lists without pandas, which whoever asks for it still gets."""

import importlib.util
import subprocess
import sys

import pytest

SPARED = """
import sys
import pyarrow as pa
from muniment.app.arrow import spare_pandas
spare_pandas()
assert pa.array(["a", None]).to_pylist() == ["a", None]
assert pa.table({"n": [1, 2]}).column("n").to_pylist() == [1, 2]
assert "pandas" not in sys.modules, "arrays were made with pandas"
"""


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_arrays_are_made_of_lists_without_pandas() -> None:
    assert _run(SPARED) == ""


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed here")
def test_who_asks_for_pandas_afterwards_gets_it() -> None:
    assert _run(SPARED + "assert pa.table({'n': [1]}).to_pandas().shape == (1, 1)\nimport pandas\n") == ""
