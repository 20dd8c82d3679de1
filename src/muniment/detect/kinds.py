"""Which of Sigma's log sources one event is, where its format alone does not say: by channel and id, or by what was done. Pure."""

from __future__ import annotations

import orjson

from muniment.detect.logsources import Kind, Taxonomy, windows_kind, windows_kind_of
from muniment.detect.match import Event

__all__ = ["is_told_apart", "kind_of"]


def is_told_apart(kind: Kind) -> bool:
    """Are the events of such a format of several kinds?"""
    return bool(kind.acts) or kind.product == "windows"


def kind_of(kind: Kind, taxonomy: Taxonomy, action: str, record: str) -> Kind:
    """The kind of one event. `kind` and `taxonomy` are those of its format.

    >>> windows = Kind("windows")
    >>> sorted(kind_of(windows, Taxonomy(), "", '{"Channel": "Security", "EventID": 4688}').services)
    ['security']
    """
    if kind.acts:
        return kind.of_act(action, record)
    if kind.product != "windows":
        return kind
    known = windows_kind_of(record.encode())
    if known is not None:
        return known
    event = Event(orjson.loads(record), taxonomy)
    channel, number = event.plain("Channel"), event.plain("EventID")
    return windows_kind(channel[0] if channel else "", number[0] if number else "")
