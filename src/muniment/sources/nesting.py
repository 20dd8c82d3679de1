"""How deep and how large a YAML text is, known before it is read whole. Pure.

The binding of libyaml calls itself for every level, and a text of a hundred thousand brackets would end the process; an
alias may stand for a thousand aliases. Events come one after the other and are only counted here.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from muniment.errors import RejectedError

__all__ = ["FAST_LOADER", "check_nesting"]

FAST_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH_MAX: Final = 64
_NODES_MAX: Final = 100_000


def check_nesting(text: str, name: str) -> None:
    """Refuse a text that no reader should meet.

    Raises:
        RejectedError: `field` is name:line.
        yaml.YAMLError: it is no YAML.
    """
    sizes: dict[str, int] = {}  # by anchor; an alias counts as all that it stands for
    above: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=FAST_LOADER):
        reason = ""
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = above.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in above):
                reason = f"*{event.anchor} stands within what it names"
            count += sizes.get(event.anchor or "", 0)
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                above.append((event.anchor, count))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
            count += 1
        if len(above) > _DEPTH_MAX:
            reason = f"nested deeper than {_DEPTH_MAX} levels"
        if count > _NODES_MAX:
            reason = f"more than {_NODES_MAX:,} values, aliases counted as what they stand for"
        if reason:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise RejectedError(reason, field=f"{name}:{line}")
