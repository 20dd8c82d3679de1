"""Arrow without pandas."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa

__all__ = ["spare_pandas"]


def spare_pandas() -> None:
    """Have Arrow look for pandas now and not find it. Called once, before there are threads.

    Arrow looks when it first makes an array of a list, to know whether the list is a series, and imports all of pandas
    where something else has installed it: a third of a second and 36 MB (measured), and nothing here is ever one.
    Whoever asks for pandas itself afterwards gets it.
    """
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(absent)


class _Absent(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not looked for", name=fullname)
        return None
