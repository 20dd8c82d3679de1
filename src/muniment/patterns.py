"""Patterns of linear time (RE2), compiled in silence: what is wrong with one is an error to tell, not a line on stderr.

A leaf: every room compiles its patterns here. RE2 also speaks up when a search outgrows its memory and goes on more slowly;
that is silent, too.
"""

from __future__ import annotations

from typing import Any

import re2

__all__ = ["PatternError", "compiled_pattern"]


class PatternError(ValueError):
    """A text that RE2 does not read; what it says is why."""


def compiled_pattern(pattern: str | bytes, *, bytes_max: int = 0) -> Any:
    """The compiled pattern; the same text is compiled once. `bytes_max`: memory it may take, 0 for RE2's own 8 MiB.

    >>> compiled_pattern("(?i)ab+").search("xABB").group()
    'ABB'

    Raises:
        PatternError: RE2 does not read it.
    """
    options = re2.Options()
    options.log_errors = False
    if bytes_max:
        options.max_mem = bytes_max
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise PatternError(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from None
